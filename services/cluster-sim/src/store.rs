//! The objects of one cluster, in memory, with the recent changes for watches.

mod controllers;
mod history;
mod read;
mod remove;
mod stored;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::definition;
use crate::api::failure::Failure;
use crate::api::kinds::{self, Kind};
use crate::api::path::Target;
use crate::request::Request;
use history::History;
pub(crate) use history::{Change, Event};
pub(crate) use read::Form;
use stored::Name;
pub(crate) use stored::Stored;

/// An answer in JSON.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: String,
    /// For headers `Warning`.
    pub(crate) warnings: Vec<String>,
}

impl Answer {
    fn new(code: u16, body: String) -> Self {
        Self { code, body, warnings: Vec::new() }
    }

    /// Warns of these first.
    fn warning(mut self, warnings: Vec<String>) -> Self {
        self.warnings.splice(0..0, warnings);
        self
    }
}

/// What happened to an object and may concern others.
enum Touched {
    Put(Arc<Kind>, Name),
    Erased { kind: Arc<Kind>, name: Name, uid: String, orphan: bool },
}

/// A workload whose pods are on their way.
struct Work {
    kind: Arc<Kind>,
    uid: String,
    generation: u64,
    since: Instant,
    due: Option<Instant>,
}

/// The store.
pub(crate) struct Store {
    version: u64,
    objects: BTreeMap<String, BTreeMap<Name, Arc<Stored>>>,
    history: History,
    /// Kinds of custom resource definitions.
    defined: Vec<Arc<Kind>>,
    touched: VecDeque<Touched>,
    works: HashMap<(String, Name), Work>,
    /// What is being deleted in the foreground, by resource and name.
    foreground: BTreeSet<(String, Name)>,
    ready_after: Duration,
    established_after: Duration,
    /// When the definitions are established that are not yet.
    establishing: BTreeMap<Name, Instant>,
}

impl Store {
    /// A cluster as it is after its installation, with nodes `<name>-node-<n>`.
    pub(crate) fn new(cluster: &str, identity: &str, nodes: usize, ready_after: Duration, now: &str) -> Self {
        let mut store = Self {
            version: 1,
            objects: BTreeMap::new(),
            history: History::default(),
            defined: Vec::new(),
            touched: VecDeque::new(),
            works: HashMap::new(),
            foreground: BTreeSet::new(),
            ready_after,
            established_after: Duration::ZERO,
            establishing: BTreeMap::new(),
        };
        for namespace in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            store.install(
                "Namespace",
                json!({"metadata": {"name": namespace, "labels": {"kubernetes.io/metadata.name": namespace}}, "spec": {"finalizers": ["kubernetes"]},
                "status": {"phase": "Active"}}),
                now,
            );
        }
        let service = json!({"metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"}},
            "spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "sessionAffinity": "None",
                "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": 443}]},
            "status": {"loadBalancer": {}}});
        store.install("Service", service, now);
        for index in 0..nodes {
            store.install("Node", node(&format!("{cluster}-node-{index}"), now), now);
        }
        store.identify(identity);
        store.settle(now, None);
        store.history.forget(store.version);
        store
    }

    /// Gives the namespace kube-system this uid, by which clients tell clusters apart.
    pub(crate) fn identify(&mut self, identity: &str) {
        let namespaces = kinds::built_in().iter().find(|kind| kind.is("", "Namespace"));
        let Some(namespaces) = namespaces else { return };
        let Some(stored) = self.get(namespaces, &(String::new(), "kube-system".to_owned())) else { return };
        let mut object = stored.value(namespaces);
        if object["metadata"]["uid"] != identity {
            object["metadata"]["uid"] = json!(identity);
            self.put(namespaces, object);
        }
    }

    /// Stores an object as it is; false if its kind is not served.
    pub(crate) fn insert(&mut self, object: Value, now: &str) -> bool {
        let is_of =
            |kind: &&Arc<Kind>| object["apiVersion"] == kind.api_version() && object["kind"] == kind.kind;
        let kinds = self.kinds();
        let Some(kind) = kinds.iter().find(is_of) else { return false };
        self.put(kind, object);
        self.settle(now, None);
        true
    }

    fn install(&mut self, kind: &str, mut object: Value, now: &str) {
        let Some(kind) = kinds::built_in().iter().find(|known| known.kind == kind) else { return };
        object["metadata"]["uid"] = json!(uuid::Uuid::new_v4().to_string());
        object["metadata"]["creationTimestamp"] = json!(now);
        self.put(kind, object);
    }

    /// All kinds that are served.
    pub(crate) fn kinds(&self) -> Vec<Arc<Kind>> {
        kinds::built_in().iter().chain(&self.defined).cloned().collect()
    }

    /// The kind that a target names, if it is served, and the target is of its scope.
    pub(crate) fn kind(&self, target: &Target) -> Result<Arc<Kind>, Failure> {
        let mut known = kinds::built_in().iter().chain(&self.defined);
        let fits = |kind: &&Arc<Kind>| {
            kind.group == target.group && kind.version == target.version && kind.plural == target.plural
        };
        // Real servers answer a version of a built-in group that they do not serve with a Status, others in plain text.
        let served = known.clone().any(|kind| kind.group == target.group && !kind.custom);
        let absent = if served { Failure::not_served } else { Failure::no_page };
        let kind = known.find(fits).ok_or_else(absent)?;
        let scoped = match (kind.namespaced, &target.namespace, &target.name) {
            (true, None, Some(_)) | (false, Some(_), _) => false,
            (true, Some(_), _) | (true, None, None) | (false, None, _) => true,
        };
        if scoped { Ok(Arc::clone(kind)) } else { Err(Failure::not_served()) }
    }

    /// The version of the last change.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Changes after `version`, as far as they are remembered.
    pub(crate) fn events_after(&self, version: u64) -> Result<impl Iterator<Item = &Event>, Failure> {
        self.history.after(version)
    }

    /// Forgets all changes so far: a watch that resumes from them gets 410 Gone.
    pub(crate) fn forget_history(&mut self) {
        self.history.forget(self.version);
    }

    /// From now on pods take so long to become ready; workloads that are on their way are looked at `now`.
    pub(crate) fn set_ready_after(&mut self, ready_after: Duration, now: Instant) {
        self.ready_after = ready_after;
        let under_way = self.works.values_mut().filter(|work| work.due.is_some());
        under_way.for_each(|work| work.due = Some(now));
    }

    /// From now on the kinds of a new definition are served after this time.
    pub(crate) fn set_established_after(&mut self, established_after: Duration) {
        self.established_after = established_after;
    }

    /// Number of objects.
    pub(crate) fn len(&self) -> usize {
        self.objects.values().map(BTreeMap::len).sum()
    }

    /// Carries out a request that is no watch, and what follows from it.
    pub(crate) fn answer(&mut self, request: &Request, now: Instant) -> Result<Answer, Failure> {
        let kind = self.kind(&request.target)?;
        let answer = self.dispatch(&kind, request);
        self.settle(&request.now, Some(now));
        answer
    }

    fn get(&self, kind: &Kind, name: &Name) -> Option<&Arc<Stored>> {
        self.objects.get(&kind.resource())?.get(name)
    }

    /// Stores an object, whose metadata is complete but for its version.
    fn put(&mut self, kind: &Arc<Kind>, mut object: Value) -> Arc<Stored> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let name = (text("namespace"), text("name"));
        let stored = Arc::new(Stored::of(object));
        let objects = self.objects.entry(kind.resource()).or_default();
        let before = objects.insert(name.clone(), Arc::clone(&stored));
        let change = if before.is_some() { Change::Modified } else { Change::Added };
        self.history.push(Event {
            version: self.version,
            change,
            resource: kind.resource().into(),
            object: Arc::clone(&stored),
            before,
        });
        if kind.is("apiextensions.k8s.io", "CustomResourceDefinition") {
            self.define(&stored.value(kind));
        }
        self.touched.push_back(Touched::Put(Arc::clone(kind), name));
        stored
    }

    /// Removes an object; gives its last state.
    fn erase(&mut self, kind: &Arc<Kind>, name: &Name, orphan: bool) -> Option<Arc<Stored>> {
        let before = self.objects.get_mut(&kind.resource())?.remove(name)?;
        self.version += 1;
        let mut object = before.value(kind);
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        if kind.is("apiextensions.k8s.io", "CustomResourceDefinition") {
            let resource = name.1.clone();
            self.defined.retain(|kind| kind.resource() != resource);
            self.objects.remove(&resource);
            self.establishing.remove(name);
        }
        let last = Arc::new(Stored::of(object));
        self.history.push(Event {
            version: self.version,
            change: Change::Deleted,
            resource: kind.resource().into(),
            object: Arc::clone(&last),
            before: Some(before),
        });
        self.works.remove(&(kind.resource(), name.clone()));
        self.touched.push_back(Touched::Erased { kind: Arc::clone(kind), name: name.clone(), uid, orphan });
        Some(last)
    }

    fn define(&mut self, object: &Value) {
        let resource = object["metadata"]["name"].as_str().unwrap_or_default();
        self.defined.retain(|kind| kind.resource() != resource);
        if definition::is_established(object) {
            self.defined.extend(definition::kinds(object));
        }
    }
}

fn node(name: &str, now: &str) -> Value {
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({"type": kind, "status": status, "reason": reason, "message": "", "lastHeartbeatTime": now,
            "lastTransitionTime": now})
    };
    json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
        "spec": {},
        "status": {
            "capacity": {"cpu": "4", "memory": "16Gi", "pods": "110"},
            "allocatable": {"cpu": "4", "memory": "16Gi", "pods": "110"},
            "addresses": [{"type": "Hostname", "address": name}],
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID"),
                condition("Ready", "True", "KubeletReady"),
            ],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_of_another_cluster_keeps_what_that_gave_it() {
        let mut store = Store::new("idle", "uid", 1, Duration::ZERO, "now");
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "status": {"readyReplicas": 7},
            "metadata": {"name": "web", "namespace": "default", "uid": "u", "generation": 3}});
        assert!(store.insert(object.clone(), "now"));
        assert!(!store.insert(json!({"apiVersion": "v1", "kind": "Tub", "metadata": {"name": "t"}}), "now"));
        let kind = kinds::built_in().iter().find(|kind| kind.is("apps", "Deployment")).unwrap();
        let mut stored = store.get(kind, &("default".to_owned(), "web".to_owned())).unwrap().value(kind);
        stored["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        assert_eq!((stored, store.due()), (object, None));
    }

    #[test]
    fn an_idle_cluster_is_small() {
        let store = Store::new("idle", "uid", 1, Duration::ZERO, "now");
        let bytes: usize =
            store.objects.values().flat_map(BTreeMap::values).map(|object| object.size()).sum();
        assert_eq!(store.len(), 10, "namespaces with their accounts, a Service, a node");
        assert!(bytes < 8 * 1024, "{bytes} bytes");
        assert!(store.events_after(store.version()).unwrap().next().is_none(), "and no history");
    }
}
