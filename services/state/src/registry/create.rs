//! Create: admit the object, give it its identity and its first status, store it if the name is free.

use std::sync::Arc;

use bytes::Bytes;
use krake_proto::Kind;
use krake_proto::envelope::CreateRequest;
use krake_proto::error::Violation;

use super::{Call, Error, Registry, checked_key, section_descriptor, what};
use crate::admission;
use crate::cache::Stored;
use crate::derive;
use crate::object::key;
use crate::object::metadata::Edit;
use crate::object::sections::Sections;
use crate::store::Revision;

impl Registry {
    /// Serves `Create<Kind>`.
    pub(crate) async fn create(
        &self,
        call: &Call,
        kind: &'static Kind,
        request: CreateRequest,
    ) -> Result<Bytes, Error> {
        let submitted = Sections::parse(&request.object)?;
        let metadata = submitted.decode_metadata()?;
        let name = one("name", &request.name, &metadata.name)?;
        let namespace = one("namespace", &request.namespace, &metadata.namespace)?;
        let mut violations = admission::metadata::validate(&metadata);
        let key = match checked_key(kind, &namespace, &name) {
            Err(Error::Invalid(more)) => {
                violations.extend(more);
                key::ROOT
            }
            key => key?,
        };
        let spec = admit(kind, &namespace, submitted.spec.as_deref().unwrap_or_default());
        let spec = spec.unwrap_or_else(|mut more| {
            violations.append(&mut more);
            Vec::new()
        });
        if !violations.is_empty() {
            return Err(Error::Invalid(violations));
        }
        let now = (self.clock)();
        let metadata = Edit::new(&submitted.metadata)
            .clear_output()?
            .identity(&namespace, &name)?
            .born(uid(now), now)?
            .trace_parent(&call.trace_parent)?
            .finish();
        let mut sections = Sections { metadata, spec: Some(spec.into()), status: None, rest: submitted.rest };
        sections.status = derive::status(kind, &sections)?;
        size(&sections)?;
        if request.validate_only {
            if self.fetch(&key).await?.is_some() {
                return Err(Error::AlreadyExists { what: what(kind, &namespace, &name) });
            }
            let metadata = sections.decode_metadata()?;
            return Ok(Stored::new(kind, sections, metadata, Revision::default()).encode());
        }
        match self.insert(call, kind, &key, sections).await? {
            Ok(stored) => Ok(Arc::new(stored).encode()),
            Err(_) => Err(Error::AlreadyExists { what: what(kind, &namespace, &name) }),
        }
    }
}

/// The one value of a name that a request may give in two places.
pub(super) fn one(field: &str, outer: &str, inner: &str) -> Result<String, Error> {
    match (outer, inner) {
        (outer, "") => Ok(outer.to_owned()),
        ("", inner) => Ok(inner.to_owned()),
        (outer, inner) if outer == inner => Ok(outer.to_owned()),
        (outer, inner) => Err(Error::Immutable(Violation::new(
            format!("metadata.{field}"),
            format!("is {inner:?}, the request is for {outer:?}"),
        ))),
    }
}

/// The admitted spec.
pub(super) fn admit(kind: &Kind, namespace: &str, spec: &[u8]) -> Result<Vec<u8>, Vec<Violation>> {
    match section_descriptor(kind, "spec") {
        Some(descriptor) => admission::spec(kind, &descriptor, namespace, spec),
        None => Ok(spec.to_vec()),
    }
}

/// Refuses objects that are too large to be stored.
pub(super) fn size(sections: &Sections) -> Result<(), Error> {
    let size = sections.encoded_len();
    if size > admission::MAX_OBJECT {
        let text = format!("the object would be {size} bytes; at most {} are allowed", admission::MAX_OBJECT);
        return Err(Error::invalid("", text));
    }
    Ok(())
}

/// A new uid: UUIDv7 of the registry's time.
fn uid(now: std::time::SystemTime) -> String {
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let time = uuid::Timestamp::from_unix(uuid::NoContext, since.as_secs(), since.subsec_nanos());
    uuid::Uuid::new_v7(time).to_string()
}
