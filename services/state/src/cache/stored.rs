//! A resource as the cache holds it: decoded as far as the state service looks into it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use krake_proto::krake::kubernetes::v1::Application;
use krake_proto::krake::meta::v1::{Metadata, ResourceRef};
use krake_proto::{Kind, Resource};
use prost::Message;

use crate::object::sections::Sections;
use crate::object::wire::{self, Malformed};
use crate::object::{key, value};
use crate::store::{Entry, Key, Revision};

/// Numbers of `bindings` and `copies` in an application's status.
const PLACES: [u32; 2] = [30, 31];
/// Number of `cluster` in both of their elements.
const CLUSTER: u32 = 1;

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
    clusters: OnceLock<Vec<String>>,
}

/// A stored value that is not the resource that its key says.
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
    pub(crate) fn read(entry: &Entry) -> Result<Option<Self>, Unreadable> {
        let Some(parts) = key::parse(&entry.key) else { return Ok(None) };
        let unreadable = |reason: String| Unreadable { key: entry.key.to_string(), reason };
        let message =
            value::decode(parts.kind.message, &entry.value).map_err(|e| unreadable(e.to_string()))?;
        let sections = Sections::parse(&message).map_err(|e| unreadable(e.to_string()))?;
        let metadata = sections.decode_metadata().map_err(|e| unreadable(e.to_string()))?;
        Ok(Some(Stored::new(parts.kind, sections, metadata, entry.modified)))
    }

    /// The resource as clients see it.
    pub(crate) fn encode(&self) -> Bytes {
        self.sections.encode_at(self.revision.0)
    }

    /// The uids of the clusters that an application is bound to or has a copy on; none for other kinds. Found out at
    /// the first question, since most objects are never asked.
    pub(crate) fn clusters(&self) -> &[String] {
        self.clusters.get_or_init(|| {
            let status = self.sections.status.as_deref().filter(|_| self.kind == Application::KIND);
            // What state admitted can be decoded; anything else is on no cluster that anybody could name.
            status.map(places).and_then(Result::ok).unwrap_or_default()
        })
    }
}

fn places(status: &[u8]) -> Result<Vec<String>, Malformed> {
    let mut found = Vec::new();
    for field in wire::fields(status)?.into_iter().filter(|field| PLACES.contains(&field.number)) {
        let cluster = wire::singular(field.content.unwrap_or_default(), CLUSTER)?.unwrap_or_default();
        let uid = ResourceRef::decode(cluster.as_slice())?.uid;
        if !uid.is_empty() && !found.contains(&uid) {
            found.push(uid);
        }
    }
    Ok(found)
}

/// A resource entry; anything that cannot be read is logged and left out.
pub(crate) fn readable(entry: &Entry) -> Option<(Key, Arc<Stored>)> {
    match Stored::read(entry) {
        Ok(stored) => stored.map(|stored| (entry.key.clone(), Arc::new(stored))),
        Err(error) => {
            tracing::error!(%error, "a stored value is left out");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use krake_proto::krake::kubernetes::v1::{ApplicationStatus, Binding, Copy};

    #[test]
    fn an_application_is_where_it_is_bound_and_where_it_has_copies() {
        let cluster =
            |uid: &str| Some(ResourceRef { uid: uid.into(), name: "c".into(), ..Default::default() });
        let status = ApplicationStatus {
            bindings: vec![Binding { cluster: cluster("new"), ..Default::default() }],
            copies: vec![
                Copy {
                    cluster: cluster("old"),
                    services: [("a".into(), "b".into())].into(),
                    ..Default::default()
                },
                Copy { cluster: cluster("new"), ..Default::default() },
            ],
            scheduled_to: cluster("derived"),
            ..Default::default()
        };
        let sections = Sections { status: Some(status.encode_to_vec().into()), ..Default::default() };
        let stored = |kind| Stored::new(kind, sections.clone(), Metadata::default(), Revision(1));
        assert_eq!(stored(Application::KIND).clusters(), ["new", "old"]);
        let metric = krake_proto::kind("core", "Metric").unwrap();
        assert!(stored(metric).clusters().is_empty(), "other kinds have other fields there");
    }

    #[test]
    fn the_numbers_are_those_of_the_contract() {
        let field = |message: &str, name: &str| {
            let message =
                krake_proto::POOL.get_message_by_name(&format!("krake.kubernetes.v1.{message}")).unwrap();
            message.get_field_by_name(name).unwrap().number()
        };
        assert_eq!(PLACES, ["bindings", "copies"].map(|name| field("ApplicationStatus", name)));
        assert_eq!([CLUSTER; 2], ["Binding", "Copy"].map(|message| field(message, "cluster")));
    }
}
