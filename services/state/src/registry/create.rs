//! Create: admit the object, give it its identity and its first status, store it if the name is free.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use krake_proto::Kind;
use krake_proto::envelope::CreateRequest;
use krake_proto::error::Violation;
use krake_proto::krake::meta::v1::Metadata;
use ring::digest;

use super::{Call, Error, Registry, checked_key, section_descriptor, what};
use crate::admission;
use crate::cache::Stored;
use crate::derive;
use crate::object::key;
use crate::object::metadata::{Edit, request_digest};
use crate::object::sections::Sections;
use crate::store::Revision;

/// Time in which a repeated Create is answered with the object that the first one made: longer than clients retry.
const REPEATED_CREATE_WINDOW: Duration = Duration::from_secs(10 * 60);
/// Maximum length of a request id, in bytes: a UUID and a prefix fit.
const MAX_REQUEST_ID_BYTES: usize = 64;

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
        let placed = Metadata { namespace: namespace.clone(), ..metadata };
        let mut violations = admission::metadata::validate(&placed, &[]);
        violations.extend(check_request_id(&request.request_id));
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
        let origin = Origin::of(&call.user, &namespace, &name, &request);
        let metadata = Edit::new(&submitted.metadata)
            .clear_output()?
            .identity(&namespace, &name)?
            .born(new_uid(now), now)?
            .request(origin.request_id.clone(), &origin.digest)?
            .trace_parent(&call.trace_parent)?
            .finish();
        let mut sections = Sections { metadata, spec: Some(spec.into()), status: None, rest: submitted.rest };
        sections.status = derive::status(kind, &sections)?;
        check_size(kind, &sections)?;
        if request.validate_only {
            if self.fetch(&key).await?.is_some() {
                return Err(Error::AlreadyExists { what: what(kind, &namespace, &name) });
            }
            let metadata = sections.decode_metadata()?;
            return Ok(Stored::new(kind, sections, metadata, Revision::default()).encode());
        }
        match self.insert(call, kind, &key, sections).await? {
            Ok(stored) => Ok(Arc::new(stored).encode()),
            Err(conflict) => match conflict.current.map(|entry| Stored::read(self.cache.keyring(), &entry)) {
                Some(Ok(Some(present))) if origin.made(&present, now) => Ok(present.encode()),
                _ => Err(Error::AlreadyExists { what: what(kind, &namespace, &name) }),
            },
        }
    }
}

/// The Create that an object comes from, so that its repetition is recognised.
struct Origin {
    /// Empty if the request has none, and is never a repetition.
    request_id: String,
    /// SHA-256 over the caller and the request, in hexadecimal. Stored and never shown: it covers secrets of the spec.
    digest: String,
}

impl Origin {
    fn of(user: &str, namespace: &str, name: &str, request: &CreateRequest) -> Self {
        if request.request_id.is_empty() {
            return Origin { request_id: String::new(), digest: String::new() };
        }
        let mut hash = digest::Context::new(&digest::SHA256);
        for part in [user.as_bytes(), namespace.as_bytes(), name.as_bytes(), &request.object] {
            // Lengths keep parts apart: no text of one can pass for the beginning of the next.
            hash.update(&part.len().to_be_bytes());
            hash.update(part);
        }
        let digest = hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Origin { request_id: request.request_id.clone(), digest }
    }

    /// Whether `present` was made by the same request, not long ago.
    fn made(&self, present: &Stored, now: SystemTime) -> bool {
        let created = present.metadata.created.and_then(|created| SystemTime::try_from(created).ok());
        let age = created.map(|created| now.duration_since(created).unwrap_or_default());
        !self.request_id.is_empty()
            && present.metadata.request_id == self.request_id
            && request_digest(&present.sections.metadata) == self.digest.as_bytes()
            && age.is_some_and(|age| age <= REPEATED_CREATE_WINDOW)
    }
}

fn check_request_id(request_id: &str) -> Option<Violation> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let fine = request_id.len() <= MAX_REQUEST_ID_BYTES && request_id.bytes().all(allowed);
    let text = format!("must be at most {MAX_REQUEST_ID_BYTES} characters of A-Z a-z 0-9 . _ and -");
    (!fine).then(|| Violation::new("request_id", text))
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

/// Refuses a new object that is too large, and so leaves room for [`admission::MAX_ADDITIONS`].
pub(super) fn check_size(kind: &Kind, sections: &Sections) -> Result<(), Error> {
    check_size_within(admission::MAX_OBJECT, kind, sections)
}

/// Refuses a change of `stored` by which a caller would make it too large. What the state service added may have taken
/// the object past the limit: then it must not grow further. An object that is being deleted must be able to go, so
/// callers may use half of [`admission::MAX_ADDITIONS`] for it; the other half is for what its deletion adds.
pub(crate) fn check_growth(stored: &Stored, sections: &Sections) -> Result<(), Error> {
    if sections.encoded_len() <= stored.sections.encoded_len() {
        return Ok(());
    }
    let additions = if stored.metadata.deleted.is_some() { admission::MAX_ADDITIONS / 2 } else { 0 };
    check_size_within(admission::MAX_OBJECT + additions, stored.kind, sections)
}

/// Refuses what is too large even with all that the state service may add.
pub(super) fn check_stored_size(kind: &Kind, sections: &Sections) -> Result<(), Error> {
    check_size_within(admission::MAX_OBJECT + admission::MAX_ADDITIONS, kind, sections)
}

fn check_size_within(limit: usize, kind: &Kind, sections: &Sections) -> Result<(), Error> {
    let size = sections.encoded_len();
    if size <= limit {
        return Ok(());
    }
    let metadata = sections.decode_metadata()?;
    let object = what(kind, &metadata.namespace, &metadata.name);
    Err(Error::invalid("", format!("{object} would have {size} bytes; at most {limit} are allowed")))
}

/// A new uid: UUIDv7 of the registry's time.
pub(crate) fn new_uid(now: SystemTime) -> String {
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let time = uuid::Timestamp::from_unix(uuid::NoContext, since.as_secs(), since.subsec_nanos());
    uuid::Uuid::new_v7(time).to_string()
}
