//! A resource as the cache holds it: decoded as far as the state service looks into it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use krake_proto::Kind;
use krake_proto::krake::meta::v1::{Metadata, View};
use prost_reflect::MessageDescriptor;

use crate::kinds::rules;
use crate::object::key;
use crate::object::keyring::Keyring;
use crate::object::projection;
use crate::object::sections::Sections;
use crate::object::wire::Malformed;
use crate::store::{Entry, Key, Revision};

/// A resource as it was stored at a revision.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    /// Its kind.
    pub kind: &'static Kind,
    /// Its encoded sections.
    pub sections: Sections,
    /// Its decoded metadata; `resource_version` is 0. Shared by revisions that have the same.
    pub metadata: Arc<Metadata>,
    /// Store revision of the last write.
    pub revision: Revision,
    /// What [`Stored::clusters`] found.
    clusters: OnceLock<Result<Vec<String>, Malformed>>,
}

/// A stored value that is not a resource of the kind that its key names.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {key}: {reason}")]
pub(crate) struct Unreadable {
    key: String,
    reason: String,
}

impl Stored {
    /// A resource of these sections, whose metadata section holds `metadata`.
    pub(crate) fn new(
        kind: &'static Kind,
        sections: Sections,
        metadata: Metadata,
        revision: Revision,
    ) -> Self {
        Stored { kind, sections, metadata: Arc::new(metadata), revision, clusters: OnceLock::new() }
    }

    /// The same with another status.
    pub(super) fn with_status(&self, status: Option<Bytes>) -> Self {
        let sections = Sections { status, ..self.sections.clone() };
        let (metadata, clusters) = (self.metadata.clone(), OnceLock::new());
        Stored { kind: self.kind, sections, metadata, revision: self.revision, clusters }
    }

    /// The same, in as little memory as can be: sections that the state before has, too, are shared with it. Most writes
    /// change the status alone, and the history holds many states of one object.
    pub(super) fn after(mut self, before: Option<&Stored>) -> Self {
        if let Some(before) = before.filter(|before| before.sections.metadata == self.sections.metadata) {
            self.metadata = before.metadata.clone();
        }
        self.sections = self.sections.shared_with(before.map(|before| &before.sections));
        self
    }

    /// Reads a store entry; `None` if the key is not a resource's.
    pub(crate) fn read(keyring: &Keyring, entry: &Entry) -> Result<Option<Self>, Unreadable> {
        let Some(parts) = key::parse(&entry.key) else { return Ok(None) };
        let unreadable = |reason: String| Unreadable { key: entry.key.to_string(), reason };
        let message = keyring
            .open(&entry.key, parts.kind.message, &entry.value)
            .map_err(|e| unreadable(e.to_string()))?;
        let sections = Sections::parse(&message).map_err(|e| unreadable(e.to_string()))?;
        let mut metadata = sections.decode_metadata().map_err(|e| unreadable(e.to_string()))?;
        // Decoding makes room for four elements. Most lists hold one, and the cache holds each object several times.
        metadata.owners.shrink_to_fit();
        metadata.finalizers.shrink_to_fit();
        Ok(Some(Stored::new(parts.kind, sections, metadata, entry.modified)))
    }

    /// The resource as clients see it.
    pub(crate) fn encode(&self) -> Bytes {
        self.sections.encode_at(self.revision.0)
    }

    /// The resource, whose message is `descriptor`, as `view` shows it. `None`, with a line in the log, if its bytes cannot
    /// be read as deep as the view looks: lists and watches leave it out, as they do what cannot be read at all.
    pub(crate) fn view(&self, descriptor: &MessageDescriptor, view: View) -> Option<Bytes> {
        match projection::project(self.encode(), descriptor, view) {
            Ok(shown) => Some(shown),
            Err(error) => {
                let Metadata { namespace, name, .. } = &*self.metadata;
                tracing::error!(kind = self.kind.kind, namespace, name, %error, "an object is left out of a view");
                None
            }
        }
    }

    /// Its metadata alone, as clients see it.
    pub(crate) fn encode_metadata(&self) -> Bytes {
        let metadata = Sections { metadata: self.sections.metadata.clone(), ..Default::default() };
        metadata.encode_at(self.revision.0)
    }

    /// The uids of the clusters that the object is on, by its kind's rules. Computed at the first call, since most
    /// objects never need it.
    ///
    /// # Errors
    /// When its status cannot be read: it may be on any cluster.
    pub(crate) fn clusters(&self) -> Result<&[String], &Malformed> {
        let found = self.clusters.get_or_init(|| {
            let status = self.sections.status.as_deref().unwrap_or_default();
            rules(self.kind).map_or(Ok(Vec::new()), |rules| (rules.clusters)(status))
        });
        found.as_deref()
    }
}

/// A resource entry that is to be kept; anything that cannot be read is logged and left out.
pub(crate) fn readable(keyring: &Keyring, entry: &Entry) -> Option<(Key, Arc<Stored>)> {
    match Stored::read(keyring, entry) {
        Ok(stored) => stored.map(|stored| (entry.key.clone(), Arc::new(stored.after(None)))),
        Err(error) => {
            tracing::error!(%error, "a stored value is left out");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use krake_proto::krake::meta::v1::OwnerReference;
    use prost::Message;

    use super::*;
    use crate::object::value;

    #[test]
    fn a_cached_object_takes_no_more_memory_than_its_lists_need() {
        let metric = krake_proto::kind("core", "Metric").unwrap();
        let metadata = Metadata {
            owners: vec![OwnerReference::default()],
            finalizers: vec!["first".to_owned()],
            ..Metadata::default()
        };
        let sections = Sections { metadata: metadata.encode_to_vec().into(), ..Sections::default() };
        let entry = Entry {
            key: key::resource(metric, "", "m"),
            value: value::encode(metric.message, &sections.encode()),
            created: Revision(1),
            modified: Revision(1),
        };
        let stored = Stored::read(&Keyring::default(), &entry).unwrap().unwrap();
        assert_eq!(*stored.metadata, metadata);
        assert_eq!((stored.metadata.owners.capacity(), stored.metadata.finalizers.capacity()), (1, 1));
    }

    #[test]
    fn what_a_write_leaves_as_it_is_is_kept_once() {
        let metric = krake_proto::kind("core", "Metric").unwrap();
        let stored = |name: &str, status: &str| {
            let metadata = Metadata { name: name.to_owned(), ..Metadata::default() };
            let sections = Sections {
                metadata: metadata.encode_to_vec().into(),
                spec: Some(vec![7; 100].into()),
                status: Some(status.to_owned().into()),
                ..Sections::default()
            };
            let sections = Sections::parse(&sections.encode()).unwrap();
            Stored::new(metric, sections, metadata, Revision(1))
        };
        let spec = |stored: &Stored| stored.sections.spec.as_ref().unwrap().as_ptr();
        let first = stored("m", "new").after(None);
        let (plain, second) = (stored("m", "old"), stored("m", "old").after(Some(&first)));
        assert_eq!((&second.sections, &second.metadata), (&plain.sections, &plain.metadata));
        assert!(spec(&second) == spec(&first) && Arc::ptr_eq(&second.metadata, &first.metadata));
        let renamed = stored("n", "old").after(Some(&second));
        assert_eq!(
            (renamed.metadata.name.as_str(), renamed.sections.decode_metadata().unwrap().name),
            ("n", "n".into())
        );
        assert!(spec(&renamed) == spec(&first));
    }
}
