//! Large manifests: their documents are a set of their own, and the spec holds its hash and the names of the objects.

use bytes::Bytes;
use krake_proto::error::Violation;
use krake_proto::krake::kubernetes::v1::{Application, ApplicationSpec, Manifest, ManifestSet};
use krake_proto::krake::meta::v1::{Document, document::Content};
use krake_proto::numbers::kubernetes::v1::application_spec::{MANIFEST, MANIFEST_SET};
use krake_proto::numbers::kubernetes::v1::manifest as entry;
use krake_proto::{POOL, Resource, json};
use prost::Message;
use serde_json::Value;
use serde_json::value::RawValue;

use super::lists;
use super::volumes::claims_volumes;
use crate::admission::{self, MAX_SPEC, Outline, document_value};
use crate::documents::{self, MAX_SET_BYTES, Set};
use crate::kinds::{Extracted, LargePart};
use crate::object::wire::{self, Malformed};

/// Maximum size of the canonical JSON of a manifest that the spec itself holds, in bytes. Above it a write, a watch and
/// every cache would carry the documents along with each change of the status.
const MAX_INLINE_BYTES: usize = 64 * 1024;
/// Specs up to this size hold no large manifest: the JSON of a document is at most six times as long as its shortest
/// encoding, where every character needs an escape.
const SURELY_INLINE_BYTES: usize = MAX_INLINE_BYTES / 6;

/// The manifest as the part of a spec that may be large.
pub(super) const LARGE: LargePart =
    LargePart { field: "manifest", set_field: "manifest_set", extract, settle, set, merge };

/// The fields of an entry that follow from its document, and that itself.
const OF_DOCUMENT: [u32; 6] =
    [entry::DOCUMENT, entry::API_VERSION, entry::KIND, entry::NAMESPACE, entry::NAME, entry::CLAIMS_VOLUMES];

/// Takes the documents out of an encoded spec if they are large. Documents that cannot be read are left to admission.
fn extract(namespace: &str, spec: &Bytes) -> Result<Option<Extracted>, Vec<Violation>> {
    if spec.len() <= SURELY_INLINE_BYTES {
        return Ok(None);
    }
    let malformed = |error: Malformed| vec![Violation::new("spec", error.to_string())];
    let entries = wire::elements(spec, MANIFEST).map_err(malformed)?;
    let (mut text, mut named) = (vec![b'['], Vec::new());
    for encoded in &entries {
        let decoded = Manifest::decode(encoded.clone()).map_err(|error| malformed(error.into()))?;
        let Some(document) = document_value(decoded.document.as_ref()) else {
            check(namespace, spec)?;
            return Ok(None);
        };
        for document in lists::flattened(document).unwrap_or_else(|document| vec![document]) {
            let canonical = json::canonical(std::slice::from_ref(&document));
            if text.len() > 1 {
                text.push(b',');
            }
            // Without the brackets of an array of one.
            text.extend_from_slice(&canonical[1..canonical.len() - 1]);
            if text.len() >= MAX_SET_BYTES {
                let text = format!(
                    "is larger than {MAX_SET_BYTES} bytes as JSON; divide it into several applications"
                );
                return Err(vec![Violation::new("spec.manifest", text)]);
            }
            let kept = wire::overwrite(encoded, &OF_DOCUMENT, &names(&document).encode_to_vec());
            named.extend(wire::delimited(MANIFEST, &kept.map_err(malformed)?));
        }
    }
    text.push(b']');
    if text.len() <= MAX_INLINE_BYTES && spec.len() <= MAX_SPEC {
        return Ok(None);
    }
    check(namespace, spec)?;
    let set = Set::of(&text);
    let written = ManifestSet { sha256: Bytes::copy_from_slice(&set.sha256), size: set.size };
    named.extend(wire::delimited(MANIFEST_SET, &written.encode_to_vec()));
    let spec = wire::overwrite(spec, &[MANIFEST, MANIFEST_SET], &named).map_err(malformed)?;
    Ok(Some(Extracted { spec: spec.into(), documents: text.into() }))
}

/// The entry of an object without its document.
fn names(document: &Value) -> Manifest {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &document["metadata"];
    Manifest {
        document: None,
        api_version: text(&document["apiVersion"]),
        kind: text(&document["kind"]),
        namespace: text(&metadata["namespace"]),
        name: text(&metadata["name"]),
        claims_volumes: Outline::of(document).is_ok_and(|object| claims_volumes(&object)),
    }
}

/// Checks the documents of a manifest as those of an inline one, however large they are, and nothing else of the spec.
fn check(namespace: &str, spec: &[u8]) -> Result<(), Vec<Violation>> {
    let manifest = wire::occurrences(spec, MANIFEST).unwrap_or_default();
    let Some(descriptor) = POOL.get_message_by_name("krake.kubernetes.v1.ApplicationSpec") else {
        return Ok(());
    };
    match admission::spec_within(usize::MAX, Application::KIND, &descriptor, namespace, &manifest) {
        Ok(_) => Ok(()),
        Err(mut found) => {
            found.retain(|violation| violation.field.starts_with("spec.manifest"));
            if found.is_empty() { Ok(()) } else { Err(found) }
        }
    }
}

/// The spec with a manifest that either holds its documents or names a set of `known`: of specs whose set is stored.
fn settle(spec: Vec<u8>, known: &[&[u8]]) -> Result<Vec<u8>, Vec<Violation>> {
    let malformed = |error: Malformed| vec![Violation::new("spec", error.to_string())];
    let Some(named) = set(&spec).map_err(malformed)? else {
        return wire::overwrite(&spec, &[MANIFEST_SET], &[]).map_err(malformed);
    };
    let has_document = |encoded: &Bytes| Ok(wire::singular(encoded, entry::DOCUMENT)?.is_some());
    let entries = wire::elements(&spec, MANIFEST).map_err(malformed)?;
    let inline = entries.iter().map(has_document).collect::<Result<Vec<_>, _>>().map_err(malformed)?;
    if inline.is_empty() || inline.contains(&true) {
        return wire::overwrite(&spec, &[MANIFEST_SET], &[]).map_err(malformed);
    }
    for source in known {
        if set(source).map_err(malformed)? == Some(named) {
            let mut with = wire::occurrences(source, MANIFEST).map_err(malformed)?;
            with.extend(wire::occurrences(source, MANIFEST_SET).map_err(malformed)?);
            return wire::overwrite(&spec, &[MANIFEST, MANIFEST_SET], &with).map_err(malformed);
        }
    }
    let text = "holds no documents, and its set is not the stored one; read the application by Get, and send the documents";
    Err(vec![Violation::new("spec.manifest", text)])
}

/// The set that an encoded spec names.
fn set(spec: &[u8]) -> Result<Option<Set>, Malformed> {
    let Some(encoded) = wire::singular(spec, MANIFEST_SET)? else { return Ok(None) };
    let named = ManifestSet::decode(encoded.as_slice())?;
    let sha256 = named.sha256.as_ref().try_into().ok();
    Ok(sha256.map(|sha256| Set { sha256, size: named.size }))
}

/// The spec with the documents of the set that it names.
fn merge(spec: &[u8], text: &[u8]) -> Result<Vec<u8>, Malformed> {
    let entries = wire::elements(spec, MANIFEST)?;
    let (mut merged, mut failure, mut place) = (Vec::with_capacity(text.len() + spec.len()), None, 0);
    let read = documents::each(text, |document: Box<RawValue>| {
        let content = Some(Content::Json(Box::<str>::from(document).into()));
        let with = wire::delimited(entry::DOCUMENT, &Document { content }.encode_to_vec());
        let encoded =
            entries.get(place).ok_or_else(|| Malformed::new("the set has more documents than entries"));
        match encoded.and_then(|encoded| wire::overwrite(encoded, &[entry::DOCUMENT], &with)) {
            Ok(whole) => merged.extend(wire::delimited(MANIFEST, &whole)),
            Err(error) => failure = Some(error),
        }
        place += 1;
    });
    read.map_err(|error| Malformed::new(error.to_string()))?;
    match failure {
        None if place == entries.len() => wire::overwrite(spec, &[MANIFEST], &merged),
        None => Err(Malformed::new("the set has fewer documents than entries")),
        Some(error) => Err(error),
    }
}

/// Whether the manifest is in a set, so that its entries hold names alone.
pub(super) fn is_large(spec: &ApplicationSpec) -> bool {
    spec.manifest_set.is_some() && spec.manifest.iter().all(|entry| entry.document.is_none())
}
