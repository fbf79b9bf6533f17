//! Which objects a list or a watch shows, and what a change of an object means to a watch.

use std::sync::Arc;

use krake_proto::envelope::WatchRequest;
use krake_proto::krake::meta::v1::EventType;
use krake_proto::{KINDS, Kind};

use super::Error;
use super::read::prefix;
use super::selector::Selector;
use crate::cache::{Change, Span, Stored};
use crate::kinds::rules;
use crate::object::key;
use crate::store::Key;

/// Which objects are shown.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    /// Where they are: disjoint, in ascending order.
    spans: Arc<[Span]>,
    /// The kind, if there is one only.
    kind: Option<&'static Kind>,
    selector: Selector,
    /// Uid of a cluster that objects are on; empty = all.
    cluster: String,
}

impl Filter {
    /// All objects of some kinds; of all kinds if none is given.
    pub(crate) fn kinds(mut kinds: Vec<&'static Kind>) -> Self {
        if kinds.is_empty() {
            kinds = KINDS.to_vec();
        }
        let mut prefixes: Vec<Key> = kinds.into_iter().map(key::all).collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        let spans = prefixes.into_iter().map(Span::below).collect();
        Filter { spans, kind: None, selector: Selector::default(), cluster: String::new() }
    }

    /// The objects of one kind in the namespace of a request.
    pub(super) fn request(kind: &'static Kind, namespace: &str, selector: &str) -> Result<Self, Error> {
        let below = prefix(kind, namespace)?;
        // All namespaces never means global objects, which come first.
        let span = match namespace {
            "-" => Span::below_from(below, key::first_namespace(kind)),
            _ => Span::below(below),
        };
        Filter::of_kind(kind, span, selector)
    }

    /// What a typed watch shows.
    pub(crate) fn watch(kind: &'static Kind, request: &WatchRequest) -> Result<Self, Error> {
        let WatchRequest { namespace, name, label_selector, cluster, .. } = request;
        let filter = match name.as_str() {
            "" => Filter::request(kind, namespace, label_selector)?,
            name => Filter::object(kind, namespace, name, label_selector)?,
        };
        filter.on_cluster(cluster)
    }

    /// One object of a kind, whether it exists or not.
    fn object(kind: &'static Kind, namespace: &str, name: &str, selector: &str) -> Result<Self, Error> {
        if namespace == "-" {
            let text = "is \"-\", which stands for all namespaces; with a name, give its namespace";
            return Err(Error::invalid("namespace", text));
        }
        prefix(kind, namespace)?;
        krake_proto::name::resource_name(name).map_err(|error| Error::invalid("name", error.to_string()))?;
        Filter::of_kind(kind, Span::single(key::resource(kind, namespace, name)), selector)
    }

    fn of_kind(kind: &'static Kind, span: Span, selector: &str) -> Result<Self, Error> {
        let selector = Selector::read(selector)?;
        Ok(Filter { spans: [span].into(), kind: Some(kind), selector, cluster: String::new() })
    }

    /// Of those, the ones on the cluster with this uid, by the rules of their kind.
    fn on_cluster(self, uid: &str) -> Result<Self, Error> {
        let on_clusters = self.kind.and_then(rules).is_some_and(|rules| rules.is_on_clusters);
        if !uid.is_empty() && !on_clusters {
            return Err(Error::invalid("cluster", "objects of this kind are not on clusters; leave it out"));
        }
        Ok(Filter { cluster: uid.to_owned(), ..self })
    }

    /// Where the objects are: disjoint ranges of keys, in ascending order. It may hide some of the objects there.
    pub(super) fn spans(&self) -> &[Span] {
        &self.spans
    }

    pub(super) fn shows(&self, key: &Key, object: &Stored) -> bool {
        self.spans.iter().any(|span| span.contains(key))
            && self.selector.matches(&object.metadata.labels)
            && (self.cluster.is_empty() || self.is_on_cluster(object))
    }

    /// Whether an object is on the cluster of this filter. One whose status cannot be read is hidden: the receiver could
    /// not decode it either, and would lose its watch.
    fn is_on_cluster(&self, object: &Stored) -> bool {
        object.clusters().is_ok_and(|clusters| clusters.contains(&self.cluster))
    }

    /// Whether it may hide objects in its ranges, so that a page of a list may have to be read in several steps.
    pub(super) fn is_selective(&self) -> bool {
        !self.selector.is_empty() || !self.cluster.is_empty()
    }

    /// What a change means to a watch with this filter; `None` if the object was hidden before and after.
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
