//! A manifest as it is kept: as text, since parsed it takes ten times the memory, and most of them are asked for rarely.

use std::sync::Arc;

use krake_proto::json::document_value;
use krake_proto::krake::kubernetes::v1 as api;
use serde_json::Value;

/// The documents of a manifest, each as JSON that was readable once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manifest(Arc<[Box<str>]>);

impl Manifest {
    /// Reads the entries of a spec.
    ///
    /// # Errors
    /// When one of them is no JSON document.
    pub(crate) fn read(entries: &[api::Manifest]) -> serde_json::Result<Self> {
        let text = |entry: &api::Manifest| {
            let value = document_value(&entry.document.clone().unwrap_or_default())?;
            Ok(value.to_string().into_boxed_str())
        };
        entries.iter().map(text).collect::<serde_json::Result<_>>().map(Manifest)
    }

    /// The documents, parsed.
    pub(crate) fn documents(&self) -> serde_json::Result<Vec<Value>> {
        self.0.iter().map(|text| serde_json::from_str(text)).collect()
    }
}

#[cfg(test)]
mod tests {
    use krake_proto::krake::meta::v1::Document;
    use krake_proto::krake::meta::v1::document::Content;

    use super::*;

    fn entry(text: &str) -> api::Manifest {
        let document = Some(Document { content: Some(Content::Json(text.to_owned())) });
        api::Manifest { document, ..Default::default() }
    }

    #[test]
    fn documents_come_back_as_they_were_large_integers_included() {
        let text = r#"{"kind":"Job","spec":{"big":9007199254740993,"half":0.5,"none":null,"text":"ü\n"}}"#;
        let manifest = Manifest::read(&[entry(text), entry("{}")]).unwrap();
        let expected: Vec<Value> = [text, "{}"].map(|text| serde_json::from_str(text).unwrap()).into();
        assert_eq!(manifest.documents().unwrap(), expected);
    }

    #[test]
    fn what_is_no_document_is_found_at_once() {
        assert!(Manifest::read(&[entry("{}"), entry("{")]).is_err());
    }
}
