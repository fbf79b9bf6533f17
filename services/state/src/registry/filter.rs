//! Which objects a list or a watch shows, and what a change of an object means to a watch.

use std::sync::Arc;

use krake_proto::Kind;
use krake_proto::krake::meta::v1::EventType;

use super::Error;
use super::read::prefix;
use super::selector::Selector;
use crate::cache::{Change, Stored};
use crate::kinds::rules;
use crate::object::key;
use crate::store::Key;

/// Which objects are shown.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    pub(super) prefix: Key,
    /// Empty = all.
    kinds: Vec<&'static Kind>,
    /// Show objects with a namespace only.
    namespaced: bool,
    selector: Selector,
    /// Uid of a cluster that objects are on; empty = all.
    cluster: String,
}

impl Filter {
    /// All objects of some kinds, or of all.
    pub(crate) fn kinds(kinds: Vec<&'static Kind>) -> Self {
        let (selector, cluster) = (Selector::default(), String::new());
        Filter { prefix: key::ROOT, kinds, namespaced: false, selector, cluster }
    }

    /// The objects of one kind in the namespace of a request.
    pub(super) fn request(kind: &'static Kind, namespace: &str, selector: &str) -> Result<Self, Error> {
        Ok(Filter {
            prefix: prefix(kind, namespace)?,
            kinds: vec![kind],
            // All namespaces never means global objects.
            namespaced: namespace == "-",
            selector: Selector::read(selector)?,
            cluster: String::new(),
        })
    }

    /// Of those, the ones on the cluster with this uid, by the rules of their kind.
    pub(super) fn on_cluster(self, uid: &str) -> Result<Self, Error> {
        let on_clusters = |kind: &&Kind| rules(kind).is_some_and(|rules| rules.is_on_clusters);
        if !uid.is_empty() && !self.kinds.iter().all(on_clusters) {
            return Err(Error::invalid("cluster", "objects of this kind are not on clusters; leave it out"));
        }
        Ok(Filter { cluster: uid.to_owned(), ..self })
    }

    pub(super) fn shows(&self, key: &Key, object: &Stored) -> bool {
        key.starts_with(&self.prefix)
            && (self.kinds.is_empty() || self.kinds.contains(&object.kind))
            && !(self.namespaced && object.metadata.namespace.is_empty())
            && self.selector.matches(&object.metadata.labels)
            && (self.cluster.is_empty() || object.clusters().contains(&self.cluster))
    }

    /// Whether it may hide objects below its prefix, so that a page of a list may have to be read in several steps.
    pub(super) fn is_selective(&self) -> bool {
        !self.selector.is_empty() || self.prefix == key::ROOT
    }

    /// What a change means to whoever sees only what is shown; nothing if it was hidden before and after.
    pub(super) fn event(&self, change: &Change) -> Option<(EventType, Arc<Stored>)> {
        let shows = |object: &&Arc<Stored>| self.shows(&change.key, object);
        let was_shown = change.before.as_ref().filter(shows);
        match (was_shown, &change.after) {
            (None, Some(after)) if shows(&after) => Some((EventType::Added, after.clone())),
            (Some(_), Some(after)) if shows(&after) => Some((EventType::Modified, after.clone())),
            (Some(_), Some(after)) => Some((EventType::LeftFilter, after.clone())),
            (Some(before), None) => Some((EventType::Deleted, before.clone())),
            (None, _) => None,
        }
    }
}
