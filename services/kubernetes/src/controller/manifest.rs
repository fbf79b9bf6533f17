//! A manifest as it is kept: as text, since parsed it takes ten times the memory, and most of them are asked for rarely; or,
//! if it is large, by the name of the set in which its documents are stored.

use std::sync::Arc;

use krake_proto::json::{CANONICAL_VERSION, document_value};
use krake_proto::krake::kubernetes::v1 as api;
use serde_json::Value;

use crate::object::rendering::{DocumentHash, DocumentSet};

/// The documents of a spec.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Manifest {
    /// Each as JSON that was readable once.
    Inline(Arc<[Box<str>]>),
    /// Stored apart.
    Stored(DocumentSet),
}

impl Manifest {
    /// Reads the manifest of a spec.
    ///
    /// # Errors
    /// When one of its documents is no JSON, or the name of its set is no SHA-256.
    pub(crate) fn read(spec: &api::ApplicationSpec) -> anyhow::Result<Self> {
        let holds_documents = spec.manifest.iter().any(|entry| entry.document.is_some());
        if let (Some(set), false) = (&spec.manifest_set, holds_documents) {
            let hash = DocumentHash::from_bytes(&set.sha256);
            let hash = hash.ok_or_else(|| anyhow::anyhow!("the hash of its documents is no SHA-256"))?;
            return Ok(Self::Stored(DocumentSet { hash, hash_version: CANONICAL_VERSION, size: set.size }));
        }
        let text = |entry: &api::Manifest| {
            let value = document_value(&entry.document.clone().unwrap_or_default())?;
            Ok(value.to_string().into_boxed_str())
        };
        let texts: serde_json::Result<_> = spec.manifest.iter().map(text).collect();
        Ok(Self::Inline(texts?))
    }
}

/// Parses documents.
///
/// # Errors
/// When one of them is no JSON.
pub(super) fn parsed(texts: &[Box<str>]) -> serde_json::Result<Vec<Value>> {
    texts.iter().map(|text| serde_json::from_str(text)).collect()
}

#[cfg(test)]
mod tests {
    use krake_proto::krake::meta::v1::Document;
    use krake_proto::krake::meta::v1::document::Content;

    use super::*;

    fn spec(texts: &[&str]) -> api::ApplicationSpec {
        let entry = |text: &&str| {
            let document = Some(Document { content: Some(Content::Json((*text).to_owned())) });
            api::Manifest { document, ..Default::default() }
        };
        api::ApplicationSpec { manifest: texts.iter().map(entry).collect(), ..Default::default() }
    }

    #[test]
    fn documents_come_back_as_they_were_large_integers_included() {
        let text = r#"{"kind":"Job","spec":{"big":9007199254740993,"half":0.5,"none":null,"text":"ü\n"}}"#;
        let Manifest::Inline(texts) = Manifest::read(&spec(&[text, "{}"])).unwrap() else { panic!("inline") };
        let expected: Vec<Value> = [text, "{}"].map(|text| serde_json::from_str(text).unwrap()).into();
        assert_eq!(parsed(&texts).unwrap(), expected);
    }

    #[test]
    fn what_is_no_document_is_found_at_once() {
        assert!(Manifest::read(&spec(&["{}", "{"])).is_err());
    }

    #[test]
    fn a_large_manifest_is_the_name_of_its_set() {
        let set = |sha256: Vec<u8>| Some(api::ManifestSet { sha256: sha256.into(), size: 70_000 });
        let entry = api::Manifest { kind: "ConfigMap".into(), ..Default::default() };
        let mut large = api::ApplicationSpec {
            manifest: vec![entry],
            manifest_set: set(vec![7; 32]),
            ..Default::default()
        };
        let Manifest::Stored(stored) = Manifest::read(&large).unwrap() else { panic!("stored") };
        assert_eq!((stored.hash.as_bytes(), stored.size), ([7; 32].as_slice(), 70_000));
        large.manifest_set = set(vec![7; 5]);
        assert!(Manifest::read(&large).is_err());
    }
}
