//! Create: admit the object, give it its identity and its first status, store it if the name is free.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use krake_proto::Kind;
use krake_proto::envelope::CreateRequest;
use krake_proto::error::Violation;
use krake_proto::krake::meta::v1::Metadata;
use ring::digest;

use super::transact::{MAX_WRITE_DECISIONS, written_without_pause};
use super::{Call, Error, Registry, checked_key, large, section_descriptor, what};
use crate::admission;
use crate::cache::Stored;
use crate::derive;
use crate::kinds::Extracted;
use crate::object::key;
use crate::object::metadata::{Edit, request_digest};
use crate::object::sections::Sections;
use crate::store::{Key, Revision};

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
        let mut submitted = Sections::parse(&request.object)?;
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
        let (spec, extracted) = admit_new(kind, &namespace, &mut submitted).unwrap_or_else(|mut more| {
            violations.append(&mut more);
            Default::default()
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
            self.guard_owners(&[], &metadata.owners)?;
            self.check_owners(call, &[], &metadata.owners).await?;
            return Ok(Stored::new(kind, sections, metadata, Revision::default()).encode());
        }
        let present = match self.insert_with(call, kind, &key, sections, extracted).await? {
            Ok(stored) => return Ok(self.whole_written(&Arc::new(stored)).await),
            Err(present) => present.filter(|present| origin.made(present, now)),
        };
        match present {
            Some(present) => self.whole(&present).await,
            None => Err(Error::AlreadyExists { what: what(kind, &namespace, &name) }),
        }
    }

    /// Writes a new object, after what was taken out of its spec. Returns what has the name already, if there is something;
    /// then nothing of the new object is stored, as far as that is known in time.
    async fn insert_with(
        &self,
        call: &Call,
        kind: &'static Kind,
        key: &Key,
        sections: Sections,
        extracted: Option<Extracted>,
    ) -> Result<Result<Stored, Option<Arc<Stored>>>, Error> {
        let mut guards = Vec::new();
        if let Some(extracted) = &extracted {
            if let Some(present) = self.fetch(key).await? {
                return Ok(Err(Some(present)));
            }
            let uid = sections.decode_metadata()?.uid;
            let set = self.put_documents(call, None, &uid, &extracted.documents).await?;
            guards.push(large::guard(&uid, &set));
        }
        let owners = sections.decode_metadata()?.owners;
        for _ in 0..MAX_WRITE_DECISIONS {
            let of_owners = match self.guard_owners(&[], &owners) {
                Ok(of_owners) => of_owners,
                // What has the name comes first: it may have been made by the same request, before its owner went.
                Err(error) => {
                    let present = self.fetch(key).await?;
                    return present.map(|present| Err(Some(present))).ok_or(error);
                }
            };
            let guards = [&guards[..], &of_owners].concat();
            let conflict = match self.insert(call, kind, key, sections.clone(), guards).await? {
                Ok(stored) => return Ok(Ok(stored)),
                Err(conflict) => conflict,
            };
            if conflict.key == *key {
                let present = conflict.current.map(|entry| Stored::read(self.cache.keyring(), &entry));
                return Ok(Err(present.and_then(Result::ok).flatten().map(Arc::new)));
            }
            self.catch_up(&conflict).await?;
        }
        Err(written_without_pause("an owner of the object"))
    }
}

/// The admitted spec of a new object, and what was taken out of it.
fn admit_new(
    kind: &Kind,
    namespace: &str,
    submitted: &mut Sections,
) -> Result<(Vec<u8>, Option<Extracted>), Vec<Violation>> {
    let extracted = large::extract(kind, namespace, submitted)?;
    let known: Vec<&[u8]> = extracted.iter().map(|extracted| extracted.spec.as_ref()).collect();
    let spec = submitted.spec.as_deref().unwrap_or_default().to_vec();
    let spec = admit(kind, namespace, &large::settled(kind, spec, &known)?)?;
    Ok((spec, extracted))
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
