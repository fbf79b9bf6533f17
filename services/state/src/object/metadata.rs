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
            field::REQUEST_DIGEST,
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

    /// The Create that makes the object.
    pub(crate) fn request(self, request_id: String, request_digest: String) -> Result<Self, Malformed> {
        let value = Metadata { request_id, request_digest, ..Default::default() };
        self.set(&[field::REQUEST_ID, field::REQUEST_DIGEST], &value)
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
