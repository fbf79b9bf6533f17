//! Edits of the encoded metadata section: named fields are replaced, everything else stays as it was.

use std::time::SystemTime;

use bytes::Bytes;
use krake_proto::krake::meta::v1::{Deletion, Metadata, OwnerReference};
use krake_proto::numbers::meta::v1::metadata as field;
use prost::Message;
use prost_types::Timestamp;

use super::wire::{self, Malformed};

/// The fields that callers may write with Create and Update, by name.
pub(crate) const WRITABLE: [&str; 5] = ["labels", "annotations", "finalizers", "owners", "inherit_labels"];

/// Number of the digest of the Create that made an object. The contract reserves it, because it is stored and never
/// shown: a reader could guess secrets in the spec by comparing digests.
const REQUEST_DIGEST: u32 = 17;

/// The digest of the Create that made the object; empty if its request had no id.
pub(crate) fn request_digest(section: &[u8]) -> &[u8] {
    let digests = wire::fields(section).flatten().filter(|field| field.number == REQUEST_DIGEST);
    digests.last().and_then(|field| field.content()).unwrap_or_default()
}

/// A stored metadata section as callers see it. A section that was stored can be read, so nothing of it is cut off.
pub(crate) fn shown(section: &Bytes) -> Bytes {
    if wire::fields(section).flatten().all(|field| field.number != REQUEST_DIGEST) {
        return section.clone();
    }
    let kept = wire::fields(section).flatten().filter(|field| field.number != REQUEST_DIGEST);
    kept.flat_map(|field| field.raw.iter().copied()).collect()
}

/// An encoded metadata section being edited.
#[derive(Debug, Clone)]
pub(crate) struct Edit(Vec<u8>);

impl Edit {
    /// Begins with `section`.
    pub(crate) fn new(section: &[u8]) -> Self {
        Edit(section.to_vec())
    }

    /// Drops what callers may not write and what is not stored.
    pub(crate) fn clear_output(self) -> Result<Self, Malformed> {
        let numbers = [
            field::UID,
            field::CREATED,
            field::MODIFIED,
            field::DELETED,
            field::GENERATION,
            field::RESOURCE_VERSION,
            field::TRACE_PARENT,
            field::DELETION,
            field::REQUEST_ID,
            REQUEST_DIGEST,
        ];
        self.set(&numbers, &Metadata::default())
    }

    /// Name and namespace.
    pub(crate) fn identity(self, namespace: &str, name: &str) -> Result<Self, Malformed> {
        let value = Metadata { namespace: namespace.into(), name: name.into(), ..Default::default() };
        self.set(&[field::NAME, field::NAMESPACE], &value)
    }

    /// The bookkeeping of a new object.
    pub(crate) fn born(self, uid: String, now: SystemTime) -> Result<Self, Malformed> {
        let now = Some(timestamp(now));
        let value = Metadata { uid, created: now, modified: now, generation: 1, ..Default::default() };
        self.set(&[field::UID, field::CREATED, field::MODIFIED, field::GENERATION], &value)
    }

    /// The time of the last write of metadata or spec.
    pub(crate) fn modified(self, now: SystemTime) -> Result<Self, Malformed> {
        self.set(&[field::MODIFIED], &Metadata { modified: Some(timestamp(now)), ..Default::default() })
    }

    /// The time at which deletion was asked for.
    pub(crate) fn deleted(self, now: SystemTime) -> Result<Self, Malformed> {
        self.set(&[field::DELETED], &Metadata { deleted: Some(timestamp(now)), ..Default::default() })
    }

    /// What the deletion includes.
    pub(crate) fn deletion(self, deletion: Deletion) -> Result<Self, Malformed> {
        self.set(&[field::DELETION], &Metadata { deletion: Some(deletion), ..Default::default() })
    }

    /// The Create that makes the object: its id, and the digest by which a repetition is recognised.
    pub(crate) fn request(self, request_id: String, digest: &str) -> Result<Self, Malformed> {
        let edited = self.set(&[field::REQUEST_ID], &Metadata { request_id, ..Default::default() })?;
        let digest =
            if digest.is_empty() { Vec::new() } else { wire::delimited(REQUEST_DIGEST, digest.as_bytes()) };
        Ok(Edit(wire::overwrite(&edited.0, &[REQUEST_DIGEST], &digest)?))
    }

    /// The count of spec changes.
    pub(crate) fn generation(self, generation: i64) -> Result<Self, Malformed> {
        self.set(&[field::GENERATION], &Metadata { generation, ..Default::default() })
    }

    /// The stack of finalizers.
    pub(crate) fn finalizers(self, finalizers: Vec<String>) -> Result<Self, Malformed> {
        self.set(&[field::FINALIZERS], &Metadata { finalizers, ..Default::default() })
    }

    /// The owners.
    pub(crate) fn owners(self, owners: Vec<OwnerReference>) -> Result<Self, Malformed> {
        self.set(&[field::OWNERS], &Metadata { owners, ..Default::default() })
    }

    /// The trace of the write that is being made.
    pub(crate) fn trace_parent(self, trace_parent: &str) -> Result<Self, Malformed> {
        self.set(
            &[field::TRACE_PARENT],
            &Metadata { trace_parent: trace_parent.into(), ..Default::default() },
        )
    }

    /// The edited section.
    pub(crate) fn finish(self) -> Bytes {
        self.0.into()
    }

    fn set(self, numbers: &[u32], value: &Metadata) -> Result<Self, Malformed> {
        Ok(Edit(wire::overwrite(&self.0, numbers, &value.encode_to_vec())?))
    }
}

/// `time` in microseconds, which is what upstream's timestamps hold.
pub(crate) fn timestamp(time: SystemTime) -> Timestamp {
    let mut timestamp = Timestamp::from(time);
    timestamp.nanos -= timestamp.nanos % 1_000;
    timestamp
}

#[cfg(test)]
mod tests {
    use super::*;
    use krake_proto::POOL;

    #[test]
    fn the_writable_fields_are_those_of_the_contract_that_are_not_output() {
        let descriptor = POOL.get_message_by_name("krake.meta.v1.Metadata").unwrap();
        for name in WRITABLE {
            assert!(descriptor.get_field_by_name(name).is_some(), "{name}");
        }
    }

    #[test]
    fn the_digest_of_a_create_is_stored_and_never_shown() {
        let descriptor = POOL.get_message_by_name("krake.meta.v1.Metadata").unwrap();
        assert!(descriptor.reserved_ranges().any(|range| range.contains(&REQUEST_DIGEST)));
        let before = Metadata { name: "n".into(), ..Default::default() };
        let stored = Edit::new(&before.encode_to_vec()).request("id".into(), "abc").unwrap().finish();
        assert_eq!(request_digest(&stored), b"abc");
        let seen = shown(&stored);
        assert_eq!(request_digest(&seen), b"");
        assert_eq!(Metadata::decode(seen).unwrap(), Metadata { request_id: "id".into(), ..before });
        let sent_by_a_caller = Edit::new(&stored).clear_output().unwrap().finish();
        assert_eq!(request_digest(&sent_by_a_caller), b"");
    }

    #[test]
    fn an_edit_replaces_what_it_names() {
        let before = Metadata {
            uid: "client's".into(),
            generation: 9,
            finalizers: vec!["a".into()],
            resource_version: 5,
            ..Default::default()
        };
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_nanos(1_234_567);
        let edited = Edit::new(&before.encode_to_vec())
            .clear_output()
            .and_then(|edit| edit.identity("ns", "n"))
            .and_then(|edit| edit.born("u".into(), now))
            .unwrap()
            .finish();
        let after = Metadata::decode(edited).unwrap();
        assert_eq!((after.uid.as_str(), after.generation, after.resource_version), ("u", 1, 0));
        assert_eq!(after.created.unwrap().nanos, 1_234_000);
        assert_eq!(after.finalizers, ["a"]);
    }
}
