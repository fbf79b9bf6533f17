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
    /// Its decoded metadata; `resource_version` is 0.
    pub metadata: Metadata,
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
        Stored { kind, sections, metadata, revision, clusters: OnceLock::new() }
    }

    /// Reads a store entry; `None` if the key is not a resource's.
    pub(crate) fn read(keyring: &Keyring, entry: &Entry) -> Result<Option<Self>, Unreadable> {
        let Some(parts) = key::parse(&entry.key) else { return Ok(None) };
        let unreadable = |reason: String| Unreadable { key: entry.key.to_string(), reason };
        let message = keyring
            .open(&entry.key, parts.kind.message, &entry.value)
            .map_err(|e| unreadable(e.to_string()))?;
        let sections = Sections::parse(&message).map_err(|e| unreadable(e.to_string()))?;
        let metadata = sections.decode_metadata().map_err(|e| unreadable(e.to_string()))?;
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
                let Metadata { namespace, name, .. } = &self.metadata;
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

/// A resource entry; anything that cannot be read is logged and left out.
pub(crate) fn readable(keyring: &Keyring, entry: &Entry) -> Option<(Key, Arc<Stored>)> {
    match Stored::read(keyring, entry) {
        Ok(stored) => stored.map(|stored| (entry.key.clone(), Arc::new(stored))),
        Err(error) => {
            tracing::error!(%error, "a stored value is left out");
            None
        }
    }
}
