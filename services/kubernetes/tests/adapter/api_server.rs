//! An API server for the adapter's tests: `krake-cluster-sim` in this process, asked over real connections. What tests say
//! of it in their own words becomes faults of the simulator and a script, see [`crate::scripted`].

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::Method;
use krake_cluster_sim::{Cluster, Down, Fault, Faults, Fleet, Options, Rule, RuleVerb};
use krake_kubernetes::cluster::address::AddressPolicy;
use krake_kubernetes::cluster::connection::{Connection, Deadlines};
use krake_runtime::shutdown::Shutdown;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::scripted::{Sees, Wishes};

/// An older version of `apps/v1`.
pub(crate) const OLD_VERSION: &str = "apps/v1beta1";

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(24 * 3600);
/// Time until the kinds of a definition are served: noticed by a client that does not wait for it.
const ESTABLISHED_AFTER: Duration = Duration::from_millis(50);
/// Its node, named after it, comes after those that tests put.
const CLUSTER: &str = "simulated";
/// Where the kinds are that tests look at.
const PLACES: [(&str, &str); 13] = [
    ("configmaps", "/api/v1"),
    ("customresourcedefinitions", "/apis/apiextensions.k8s.io/v1"),
    ("deployments", "/apis/apps/v1"),
    ("events", "/api/v1"),
    ("horizontalpodautoscalers", "/apis/autoscaling/v2"),
    ("jobs", "/apis/batch/v1"),
    ("namespaces", "/api/v1"),
    ("nodes", "/api/v1"),
    ("persistentvolumeclaims", "/api/v1"),
    ("pods", "/api/v1"),
    ("secrets", "/api/v1"),
    ("services", "/api/v1"),
    ("tubs", "/apis/baths.example/v1"),
];

/// How the server behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Mood {
    #[default]
    Well,
    /// 503 for everything, watches end.
    Down,
    /// Everything is answered with a `Status` of this code. Open watches go on.
    Answers(u16),
    /// Takes requests and does not answer; watches go silent for ever.
    Hanging,
}

/// What happened, in order, on several clusters.
pub(crate) type Journal = Arc<Mutex<Vec<String>>>;

/// What decides on the faults of the simulator.
#[derive(Default)]
struct State {
    mood: Mood,
    /// Writes to these kinds, or to all if there are none, get no answer.
    hangs: Option<Vec<String>>,
    /// The uid of its namespace kube-system, where a test gave it one.
    identity: Option<String>,
}

pub(crate) struct ApiServer {
    cluster: Cluster,
    kubeconfig: Value,
    state: Mutex<State>,
    /// Objects that were put so far.
    puts: AtomicUsize,
    pub(crate) wishes: Wishes,
}

impl ApiServer {
    /// A server with one node that is ready, and a namespace `demo`. Must be called inside a Tokio runtime.
    pub(crate) fn start() -> Arc<Self> {
        Self::with_nodes(1)
    }

    pub(crate) fn without_nodes() -> Arc<Self> {
        Self::with_nodes(0)
    }

    fn with_nodes(nodes: usize) -> Arc<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let fleet = Fleet::new(Options { nodes, ready_after: NEVER, ..Options::new(base_url) });
        let cluster = fleet.add(CLUSTER).unwrap();
        cluster.set_established_after(ESTABLISHED_AFTER);
        cluster.set_aggregated(&["metrics.k8s.io/v1beta1"]);
        let kubeconfig = serde_json::from_str(&fleet.kubeconfig(CLUSTER).unwrap()).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        // It ends with the test's runtime.
        tokio::spawn(async move { fleet.serve(listener, Shutdown::new()).await });
        let (state, puts, wishes) = (Mutex::default(), AtomicUsize::new(0), Wishes::default());
        let server = Arc::new(Self { cluster, kubeconfig, state, puts, wishes });
        server.cluster.set_script(Arc::new(Sees(Arc::downgrade(&server))));
        server.put_namespace("demo");
        server
    }

    pub(crate) fn kubeconfig(&self) -> &Value {
        &self.kubeconfig
    }

    pub(crate) fn connection(&self) -> Connection {
        let policy = AddressPolicy { loopback: true, allowed: Vec::new() };
        Connection::open(&self.kubeconfig, Deadlines::default(), &policy).unwrap()
    }

    pub(crate) fn put_namespace(&self, name: &str) -> Value {
        self.put("namespaces", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
    }

    /// Stores an object as it is, whatever is there, and gives it what every object has. Returns it as it is read.
    pub(crate) fn put(&self, plural: &str, mut object: Value) -> Value {
        let metadata = &mut object["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
        if metadata["uid"].is_null() {
            metadata["uid"] = json!(format!("uid-{}", self.puts.fetch_add(1, Ordering::Relaxed)));
        }
        if (plural, name.as_str()) == ("namespaces", "kube-system") {
            let uid = text(&metadata["uid"]);
            self.renew(|state| state.identity = Some(uid));
        } else {
            if plural == "namespaces" {
                metadata["labels"]["kubernetes.io/metadata.name"] = json!(name);
            }
            assert!(self.cluster.put(object), "{plural} are not served");
        }
        self.get(plural, &namespace, &name).unwrap()
    }

    /// Deletes an object, and what a controller would delete with it, whatever its finalizers.
    pub(crate) fn erase(&self, plural: &str, namespace: &str, name: &str) {
        let Some(mut object) = self.get(plural, namespace, name) else { return };
        let is_held = |object: &Value| !object["metadata"]["finalizers"].is_null();
        if is_held(&object) && !matches!(plural, "namespaces" | "customresourcedefinitions") {
            object["metadata"].as_object_mut().unwrap().remove("finalizers");
            assert!(self.cluster.put(object));
        }
        self.cluster.delete(&path(plural, namespace, name));
    }

    pub(crate) fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.cluster.read(&path(plural, namespace, name))
    }

    /// Names of the objects of a kind.
    pub(crate) fn names(&self, plural: &str) -> Vec<String> {
        let list = self.cluster.read(path(plural, "", "").trim_end_matches('/')).unwrap_or_default();
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        self.renew(|state| state.mood = mood);
    }

    /// From now on writes get no answer, or do again.
    pub(crate) fn hang_writes(&self, hang: bool) {
        self.renew(|state| state.hangs = hang.then(Vec::new));
    }

    /// From now on writes to objects of a kind get no answer.
    pub(crate) fn hang_writes_to(&self, plural: &str) {
        self.renew(|state| state.hangs = Some(vec![plural.to_owned()]));
    }

    fn renew(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap();
        change(&mut state);
        self.wishes.answer_all_with(match state.mood {
            Mood::Answers(code) => Some(code),
            Mood::Well | Mood::Down | Mood::Hanging => None,
        });
        let verbs = vec![RuleVerb::Create, RuleVerb::Update, RuleVerb::Patch, RuleVerb::Delete];
        let hang = |kinds: Vec<String>| Rule { verbs, kinds, fault: Fault::Hang, times: None };
        self.cluster.set_faults(Faults {
            down: match state.mood {
                Mood::Down => Some(Down::Unavailable),
                Mood::Hanging => Some(Down::Lost),
                Mood::Well | Mood::Answers(_) => None,
            },
            identity: state.identity.clone(),
            rules: state.hangs.clone().map(hang).into_iter().collect(),
            ..Faults::default()
        });
    }

    /// Makes Deployments available at once, those that are there and those that come.
    pub(crate) fn run_workloads(&self) {
        self.cluster.set_ready_after(Duration::ZERO);
    }

    /// Deployments that come from now on do not become available.
    pub(crate) fn stop_workloads(&self) {
        self.cluster.set_ready_after(NEVER);
    }

    /// From now on it names only groups that answer.
    pub(crate) fn mend(&self) {
        self.cluster.set_aggregated(&[]);
    }

    /// Serves a further kind of group `example.org/v1`.
    pub(crate) fn serve_kind(&self, kind: &str) {
        let plural = kind.to_lowercase();
        self.put("customresourcedefinitions", definition("example.org", kind, &plural));
    }

    /// From now on it says that it is of this version.
    pub(crate) fn set_version(&self, version: &str) {
        let body = json!({"major": "1", "minor": "", "gitVersion": version, "gitCommit": "", "buildDate": "",
            "gitTreeState": "", "goVersion": "", "compiler": "", "platform": ""});
        self.wishes.show("/version", Some(body));
    }

    /// From now on it serves Deployments in [`OLD_VERSION`] too, or does no more.
    pub(crate) fn serve_old_version(&self, serves: bool) {
        let verbs = ["create", "delete", "get", "list", "patch", "update", "watch"];
        let kind = json!({"name": "deployments", "singularName": "", "kind": "Deployment", "namespaced": true, "verbs": verbs});
        self.show_kinds(OLD_VERSION, serves.then(|| json!([kind])));
    }

    /// From now on discovery shows these kinds of an API version, or what is really served.
    pub(crate) fn show_kinds(&self, api_version: &str, resources: Option<Value>) {
        let list = |resources| json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": resources});
        self.wishes.show(&format!("/apis/{api_version}"), resources.map(list));
    }

    /// Just before the next such request is carried out, somebody else does this.
    pub(crate) fn race(&self, method: Method, path: &str, act: impl FnOnce(&Self) + Send + 'static) {
        self.wishes.race(method, path, Box::new(act));
    }
}

/// A definition of a kind that takes any fields.
pub(crate) fn definition(group: &str, kind: &str, plural: &str) -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]}})
}

fn path(plural: &str, namespace: &str, name: &str) -> String {
    let (_, place) = PLACES.iter().find(|(known, _)| *known == plural).unwrap();
    match namespace {
        "" => format!("{place}/{plural}/{name}"),
        namespace => format!("{place}/namespaces/{namespace}/{plural}/{name}"),
    }
}
