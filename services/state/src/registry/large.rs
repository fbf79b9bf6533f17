//! Large parts of specs: taken out of requests, stored as sets of documents before the commit that names them, and put back
//! into what is read.

use std::sync::Arc;

use bytes::Bytes;
use krake_proto::Kind;
use krake_proto::error::Violation;

use super::documents::Form;
use super::{Call, Error, Registry, checked_key, what};
use crate::cache::Stored;
use crate::documents::Set;
use crate::kinds::{Extracted, LargePart, rules};
use crate::object::key;
use crate::object::sections::Sections;
use crate::store::Guard;

/// The large part of a kind's specs.
fn part(kind: &Kind) -> Option<&'static LargePart> {
    rules(kind)?.large
}

/// The field that names the set of a large part, for the part's field.
pub(super) fn set_field(kind: &Kind, field: &str) -> Option<&'static str> {
    part(kind).filter(|part| part.field == field).map(|part| part.set_field)
}

/// Takes the documents out of a submitted spec if they are large.
pub(super) fn extract(
    kind: &Kind,
    namespace: &str,
    submitted: &mut Sections,
) -> Result<Option<Extracted>, Vec<Violation>> {
    let (Some(part), Some(spec)) = (part(kind), &submitted.spec) else { return Ok(None) };
    let extracted = (part.extract)(namespace, spec)?;
    if let Some(extracted) = &extracted {
        submitted.spec = Some(extracted.spec.clone());
    }
    Ok(extracted)
}

/// The spec with a large part that names a set of one of the `known` specs, if any.
pub(super) fn settled(kind: &Kind, spec: Vec<u8>, known: &[&[u8]]) -> Result<Vec<u8>, Vec<Violation>> {
    match part(kind) {
        Some(part) => (part.settle)(spec, known),
        None => Ok(spec),
    }
}

/// The set that the spec of an object names.
pub(super) fn named(kind: &Kind, sections: &Sections) -> Result<Option<Set>, Error> {
    match (part(kind), &sections.spec) {
        (Some(part), Some(spec)) => Ok((part.set)(spec)?),
        _ => Ok(None),
    }
}

/// The guard that a set of the object with this uid is stored whole.
pub(super) fn guard(uid: &str, set: &Set) -> Guard {
    Guard::Exists(key::document_piece(uid, &set.sha256, set.pieces() - 1))
}

impl Registry {
    /// Stores what was taken out of the update of an object, unless the object names it already.
    pub(super) async fn stage(
        &self,
        call: &Call,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
        extracted: &Extracted,
    ) -> Result<(), Error> {
        let holder = checked_key(kind, namespace, name)?;
        let stored = self.fetch(&holder).await?;
        let stored = stored.ok_or_else(|| Error::NotFound { what: what(kind, namespace, name) })?;
        if named(kind, &stored.sections)? != Some(Set::of(&extracted.documents)) {
            self.put_documents(call, Some(&holder), &stored.metadata.uid, &extracted.documents).await?;
        }
        Ok(())
    }

    /// The object as clients see it, with its large part, and with the documents that its status shows.
    pub(super) async fn whole(&self, stored: &Arc<Stored>) -> Result<Bytes, Error> {
        let mut sections = self.cache.shown(stored).sections.clone();
        if let Some(spec) = self.whole_spec(stored).await? {
            sections.spec = Some(spec.into());
        }
        if let Some(documents) = self.shown_documents(stored).await? {
            let status = sections.status.as_deref().unwrap_or_default();
            sections.status = Some([status, documents.as_ref()].concat().into());
        }
        Ok(sections.encode_at(stored.revision.0))
    }

    /// The encoded status fields that show documents; `None` if there are none to be shown.
    async fn shown_documents(&self, stored: &Stored) -> Result<Option<Bytes>, Error> {
        let Some(rules) = rules(stored.kind).and_then(|rules| rules.shown) else { return Ok(None) };
        let Some(shown) = (rules.find)(stored.sections.status.as_deref().unwrap_or_default())? else {
            return Ok(None);
        };
        let uid = &stored.metadata.uid;
        let encode = |text: Bytes, seen: Option<&[u8]>| {
            let encoded = (rules.encode)(&shown, &text, seen);
            encoded.map(Bytes::from).map_err(|error| Error::Internal(error.to_string()))
        };
        let sha256 = &shown.set.sha256;
        let seen = self.read_observation(&key::observation(uid, &shown.cluster_uid)).await;
        // The rest is in memory, and needs no store.
        let seen = seen
            .inspect_err(|error| tracing::debug!(%error, "an object is shown as if nothing was seen of it"));
        let Some(seen) = seen.unwrap_or_default() else {
            return self.made_of_named(uid, sha256, Form::Field, |text| encode(text, None)).await;
        };
        let text = self.made_of_named(uid, sha256, Form::Text, Ok).await?;
        text.map(|text| encode(text, Some(&seen))).transpose()
    }

    /// The encoded spec with its large part; `None` if that is not stored apart.
    async fn whole_spec(&self, stored: &Stored) -> Result<Option<Vec<u8>>, Error> {
        let (Some(part), Some(set)) = (part(stored.kind), named(stored.kind, &stored.sections)?) else {
            return Ok(None);
        };
        let text = self.made_of_named(&stored.metadata.uid, &set.sha256, Form::Text, Ok);
        let Some(text) = text.await? else {
            let object = what(stored.kind, &stored.metadata.namespace, &stored.metadata.name);
            return Err(Error::Internal(format!("the documents of {object} are not stored")));
        };
        let spec = (part.merge)(stored.sections.spec.as_deref().unwrap_or_default(), &text)
            .map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Some(spec))
    }

    /// The same for the answer to a write that has taken effect: without the large part if that cannot be read.
    pub(super) async fn whole_written(&self, stored: &Arc<Stored>) -> Bytes {
        match self.whole(stored).await {
            Ok(whole) => whole,
            Err(error) => {
                tracing::warn!(%error, "a write is answered without its documents");
                self.cache.shown(stored).encode()
            }
        }
    }
}
