//! One simulated cluster.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::agenda::Agenda;
use crate::api::discovery;
use crate::api::failure::Failure;
use crate::api::path::{self, Path};
use crate::faults::{Asked, Faults, Verdict};
use crate::request::{Query, Request, Verb};
use crate::script::Script;
use crate::store::{Answer, Store};

/// A handle on a cluster of a [`crate::Fleet`]; clones are of the same cluster.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    token: String,
    /// Uid of the namespace kube-system.
    identity: String,
    store: Mutex<Store>,
    /// The version of the last change: wakes watches.
    changed: watch::Sender<u64>,
    faults: watch::Sender<Faults>,
    script: Mutex<Option<Arc<dyn Script>>>,
    /// API versions whose own servers do not answer.
    aggregated: Mutex<Vec<String>>,
    agenda: Arc<Agenda>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("name", &self.inner.name).finish_non_exhaustive()
    }
}

/// The time of now as objects have it.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Cluster {
    pub(crate) fn new(
        name: &str,
        token: &str,
        identity: String,
        nodes: usize,
        ready_after: Duration,
        agenda: &Arc<Agenda>,
    ) -> Self {
        let store = Store::new(name, &identity, nodes, ready_after, &now());
        let changed = watch::Sender::new(store.version());
        Self {
            inner: Arc::new(Inner {
                name: name.to_owned(),
                token: token.to_owned(),
                identity,
                store: Mutex::new(store),
                changed,
                faults: watch::Sender::new(Faults::default()),
                script: Mutex::default(),
                aggregated: Mutex::default(),
                agenda: Arc::clone(agenda),
            }),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The bearer token that its API server accepts.
    pub fn token(&self) -> &str {
        &self.inner.token
    }

    /// The faults in force, with what is left of those that count down.
    pub fn faults(&self) -> Faults {
        self.inner.faults.borrow().clone()
    }

    /// Replaces the faults in force.
    pub fn set_faults(&self, faults: Faults) {
        if faults.expire_watches {
            self.store().forget_history();
        }
        let version = {
            let mut store = self.store();
            store.identify(faults.identity.as_deref().unwrap_or(&self.inner.identity));
            store.version()
        };
        self.tell(version, None);
        self.inner.faults.send_replace(faults);
    }

    /// From now on a script sees all requests, in place of the one before.
    pub fn set_script(&self, script: Arc<dyn Script>) {
        *self.inner.script.lock().unwrap_or_else(PoisonError::into_inner) = Some(script);
    }

    /// The script in force.
    pub(crate) fn script(&self) -> Option<Arc<dyn Script>> {
        self.inner.script.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the aggregated APIs: API versions (`metrics.k8s.io/v1beta1`) that are listed with the others, and whose own
    /// servers do not answer. Requests for them get 503, as of an APIService that is not available.
    pub fn set_aggregated(&self, api_versions: &[&str]) {
        let api_versions = api_versions.iter().map(|version| (*version).to_owned()).collect();
        *self.aggregated() = api_versions;
    }

    fn aggregated(&self) -> MutexGuard<'_, Vec<String>> {
        self.inner.aggregated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a path leads to an aggregated API.
    pub(crate) fn is_aggregated(&self, path: &Path) -> bool {
        let Some((group, version)) = path.group_version() else { return false };
        self.aggregated().iter().any(|one| one.split_once('/') == Some((group, version)))
    }

    /// From now on pods take so long to become ready, those that are on their way too.
    pub fn set_ready_after(&self, ready_after: Duration) {
        let (version, due) = {
            let mut store = self.store();
            store.set_ready_after(ready_after, Instant::now());
            (store.version(), store.due())
        };
        self.tell(version, due);
    }

    /// From now on it takes so long until the kinds of a new custom resource definition are served; at first no time.
    pub fn set_established_after(&self, established_after: Duration) {
        self.store().set_established_after(established_after);
    }

    /// The object at a path of the Kubernetes API (`/apis/apps/v1/namespaces/default/deployments/web`), or the list of a
    /// collection. Faults do not matter here.
    pub fn read(&self, path: &str) -> Option<Value> {
        let Some(Path::Objects(target)) = path::parse(path) else { return None };
        let verb = if target.name.is_some() { Verb::Get } else { Verb::List };
        self.call(verb, target, Vec::new())
    }

    /// Creates or changes an object as a user would, by server-side apply with force, as field manager `hand`. `None` if
    /// it is refused.
    pub fn apply(&self, path: &str, object: &Value) -> Option<Value> {
        let Some(Path::Objects(target)) = path::parse(path) else { return None };
        self.call(Verb::Patch(crate::request::PatchType::Apply), target, object.to_string().into_bytes())
    }

    /// Puts an object as it is, with its uid and all else that a server gave it: of a cluster that was written down. False
    /// if its kind is not served. No workload is taken up for it.
    pub fn put(&self, object: Value) -> bool {
        let (put, version) = {
            let mut store = self.store();
            (store.insert(object, &now()), store.version())
        };
        self.tell(version, None);
        put
    }

    /// Deletes the object at a path; false if there is none.
    pub fn delete(&self, path: &str) -> bool {
        let Some(Path::Objects(target)) = path::parse(path) else { return false };
        self.call(Verb::Delete, target, Vec::new()).is_some()
    }

    /// Number of objects of all kinds.
    pub fn objects(&self) -> usize {
        self.store().len()
    }

    fn call(&self, verb: Verb, target: path::Target, body: Vec<u8>) -> Option<Value> {
        let query = Query { field_manager: Some("hand".to_owned()), force: true, ..Query::default() };
        let program = String::new();
        let request = Request { verb, target, query, program, metadata_only: false, body, now: now() };
        let answer = self.answer(&request).ok()?;
        serde_json::from_str(&answer.body).ok()
    }

    /// Carries out a request that is no watch.
    pub(crate) fn answer(&self, request: &Request) -> Result<Answer, Failure> {
        let (answer, version, due) = {
            let mut store = self.store();
            let answer = store.answer(request, Instant::now());
            (answer, store.version(), store.due())
        };
        self.tell(version, due);
        answer
    }

    /// Takes workloads whose time has come a step on.
    pub(crate) fn work(&self) {
        let (version, due) = {
            let mut store = self.store();
            store.work(Instant::now(), &now());
            (store.version(), store.due())
        };
        self.tell(version, due);
    }

    fn tell(&self, version: u64, due: Option<Instant>) {
        self.inner.changed.send_if_modified(|told| {
            let changed = *told < version;
            *told = version.max(*told);
            changed
        });
        if let Some(due) = due {
            self.inner.agenda.add(due, &self.inner.name);
        }
    }

    /// The cluster's discovery documents.
    pub(crate) fn discover(&self, path: &Path) -> Result<Value, Failure> {
        let kinds = self.store().kinds();
        let found = match path {
            Path::Version => Some(discovery::version()),
            Path::CoreVersions => Some(discovery::core_versions()),
            Path::Groups => Some(discovery::groups(&kinds, &self.aggregated())),
            Path::Group(group) => discovery::group(&kinds, group),
            Path::Resources { group, version } => discovery::resources(&kinds, group, version),
            Path::Health | Path::OpenApi | Path::Objects(_) => Some(json!("ok")),
        };
        let known = match path {
            Path::Resources { group, .. } => kinds.iter().any(|kind| kind.group == *group && !kind.custom),
            _ => false,
        };
        found.ok_or_else(if known { Failure::not_served } else { Failure::no_page })
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.inner.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    pub(crate) fn watch_faults(&self) -> watch::Receiver<Faults> {
        self.inner.faults.subscribe()
    }

    /// Decides about one request by the faults that count down.
    pub(crate) fn judge(&self, asked: &Asked<'_>) -> (Verdict, u64) {
        let mut verdict = Verdict::Pass;
        self.inner.faults.send_if_modified(|faults| {
            verdict = faults.judge(asked);
            false
        });
        (verdict, self.inner.faults.borrow().retry_after_seconds)
    }
}
