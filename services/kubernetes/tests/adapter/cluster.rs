//! Looking after clusters: states, shared watches, and that one cluster in trouble holds nobody else back.

use std::sync::Arc;
use std::time::Duration;

use krake_kubernetes::cluster::address::AddressPolicy;
use krake_kubernetes::cluster::clusters::{Clusters, Opener};
use krake_kubernetes::cluster::connection::Deadlines;
use krake_kubernetes::cluster::identity::Known;
use krake_kubernetes::cluster::nodes::ClusterState;
use krake_kubernetes::cluster::reachability::Thresholds;
use krake_kubernetes::cluster::wake::{Wake, Wakes};
use krake_kubernetes::cluster::{ClusterHandle, ProbeTimes};
use krake_kubernetes::object::apply::{Claim, apply};
use krake_kubernetes::object::drift::Baseline;
use krake_kubernetes::object::expectation::Expected;
use krake_kubernetes::object::observation::{Baselines, Observation, Whose, observe};
use krake_kubernetes::object::prepare::Target;
use krake_kubernetes::object::validation::Findings;
use krake_kubernetes::object::{ClusterUid, Identity};
use serde_json::{Value, json};

use crate::api_server::{ApiServer, Mood};
use crate::apply::{FIRST, NO_STARTS, config_map, deployment, far, identity};
use crate::world::HANG_GUARD;

/// Deadline of a probe in tests that do not wait for it: a cluster must not be lost on a busy machine.
pub(crate) const CALM: Duration = Duration::from_secs(10);
/// Deadline of a probe in tests that wait for it.
pub(crate) const HASTY: Duration = Duration::from_millis(200);

pub(crate) struct Adapter {
    pub(crate) clusters: Clusters,
    wakes: Arc<Wakes>,
}

impl Adapter {
    pub(crate) fn start(deadline: Duration) -> Self {
        Self::looking(deadline, Duration::from_millis(20))
    }

    /// With this time from one probe to the next.
    pub(crate) fn looking(deadline: Duration, interval: Duration) -> Self {
        let wakes = Arc::new(Wakes::default());
        let second_look = Duration::from_millis(10);
        let thresholds = Thresholds { failing_for: Duration::from_millis(50), ..Thresholds::default() };
        let times = ProbeTimes { interval, second_look, deadline, thresholds };
        let clusters = Clusters::new("inst", Deadlines::default(), times, Arc::clone(&wakes));
        let clusters =
            clusters.opened_by(Opener::over_network(AddressPolicy { loopback: true, allowed: Vec::new() }));
        Self { clusters, wakes }
    }

    pub(crate) fn add(&self, uid: &str, server: &Arc<ApiServer>) -> Arc<ClusterHandle> {
        self.clusters.set_connection(&uid.into(), server.connection())
    }

    /// Waits for the condition, looking again at each wake; returns all wakes.
    pub(crate) async fn until(&self, what: &str, mut condition: impl FnMut() -> bool) -> Vec<Wake> {
        let mut woken = Vec::new();
        let waiting = async {
            while !condition() {
                woken.extend(self.wakes.take().await);
            }
        };
        tokio::time::timeout(HANG_GUARD, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
        woken
    }
}

pub(crate) fn node(name: &str, kind: &str, status: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
        "status": {"conditions": [{"type": kind, "status": status, "reason": "R", "message": "m"}]}})
}

pub(crate) fn state(handle: &ClusterHandle) -> Option<ClusterState> {
    handle.report().map(|report| report.fitness.state)
}

fn claim(identity: &Identity) -> Claim<'_> {
    Claim {
        identity,
        inventory: &[],
        other_user: &|_| None,
        exists: &|_| true,
        adopt_existing: false,
        writes: FIRST,
        starts: &NO_STARTS,
        until: far(),
        secrets: &[],
    }
}

fn seen(handle: &ClusterHandle, targets: &[Target], baselines: &Baselines) -> Option<Observation> {
    let Identity { application, cluster, .. } = identity("app-1");
    let sights = handle.sights(targets, &application);
    let expected = Expected::all(targets, baselines);
    let whose = Whose { application: &application, cluster: &cluster, is_bound: true };
    let seen = observe(&expected, &sights, whose, handle.connection().host());
    seen.map(|seen| seen.observation)
}

#[tokio::test]
async fn a_cluster_is_online_unhealthy_not_ready_and_offline() {
    let server = ApiServer::start();
    server.put("nodes", node("n1", "Ready", "True"));
    let adapter = Adapter::start(CALM);
    let handle = adapter.add("c", &server);
    let woken = adapter.until("online", || state(&handle) == Some(ClusterState::Online)).await;
    assert!(woken.contains(&Wake::Cluster("c".into())));
    let report = handle.report().unwrap();
    assert_eq!((report.nodes[0].name.as_str(), report.version.as_deref()), ("n1", Some("v1.35.8")));

    server.put("nodes", node("n1", "Ready", "Unknown"));
    adapter.until("not ready", || state(&handle) == Some(ClusterState::NotReady)).await;
    server.put("nodes", node("n1", "DiskPressure", "True"));
    adapter.until("unhealthy", || state(&handle) == Some(ClusterState::Unhealthy)).await;

    server.set_mood(Mood::Down);
    let down = "the cluster cannot do it now: the server is currently unable to handle the request";
    adapter.until("offline", || handle.answers() == Some(Err(down.into()))).await;
    server.put("nodes", node("n1", "Ready", "True"));
    server.set_mood(Mood::Well);
    let mut connecting = false;
    let online = || {
        connecting |= state(&handle) == Some(ClusterState::Connecting);
        state(&handle) == Some(ClusterState::Online)
    };
    adapter.until("online again", online).await;
    adapter.clusters.shutdown().await;
}

#[tokio::test]
async fn a_cluster_that_hangs_is_offline_and_holds_nobody_back() {
    let (hanging, well) = (ApiServer::start(), ApiServer::start());
    hanging.set_mood(Mood::Hanging);
    // Longer than the other's first look takes on a busy machine, and short enough to be waited for some times.
    let adapter = Adapter::start(Duration::from_secs(2));
    let (h, w) = (adapter.add("h", &hanging), adapter.add("w", &well));
    adapter.until("online", || state(&w) == Some(ClusterState::Online)).await;
    assert_eq!(h.report(), None, "nothing is known before the first look ends");
    adapter.until("offline", || state(&h) == Some(ClusterState::Offline)).await;
    adapter.clusters.shutdown().await;
}

#[tokio::test]
async fn an_application_is_observed_applied_and_repaired_over_shared_watches() {
    let server = ApiServer::start();
    let adapter = Adapter::start(CALM);
    let handle = adapter.add("c", &server);
    let identity = identity("app-1");
    let targets = handle.targets(&[deployment("d"), config_map("m")], &identity).await.unwrap();
    let no_baselines = Baselines::new();

    assert_eq!(seen(&handle, &targets, &no_baselines), None, "nothing is known before the lists");
    let woken = adapter.until("lists", || seen(&handle, &targets, &no_baselines).is_some()).await;
    assert!(woken.contains(&Wake::Application("app-1".into(), "c".into())));
    assert_eq!(seen(&handle, &targets, &no_baselines).unwrap().missing.len(), 2);

    let mut applied = Vec::new();
    apply(handle.connection(), &targets, &claim(&identity), &mut applied, &mut Findings::default())
        .await
        .unwrap();
    let baseline = |target: &Target, object| Baseline::of(&target.prepared.body, object);
    let baselines: Baselines = targets
        .iter()
        .zip(&applied)
        .map(|(target, applied)| (applied.key.clone(), baseline(target, &applied.object)))
        .collect();
    for (target, applied) in targets.iter().zip(applied) {
        handle.note(target, applied.object, &"app-1".into());
    }
    let at_once = seen(&handle, &targets, &baselines).unwrap();
    assert!(at_once.missing.is_empty() && at_once.drifted.is_empty(), "{at_once:?}");

    // Changed by hand.
    let mut changed = server.get("deployments", "demo", "d").unwrap();
    changed["spec"]["replicas"] = json!(5);
    server.put("deployments", changed);
    adapter.until("drift", || seen(&handle, &targets, &baselines).unwrap().drifted.len() == 1).await;
    // Deleted by hand.
    server.erase("configmaps", "demo", "m");
    adapter.until("missing", || seen(&handle, &targets, &baselines).unwrap().missing.len() == 1).await;

    // Another application on the same kinds needs no further watch.
    let others = handle.targets(&[deployment("other")], &crate::apply::identity("app-2")).await.unwrap();
    assert!(seen(&handle, &others, &no_baselines).is_some());
    let watches = server.requests().into_iter().filter(|request| request.contains("deployments (watch)"));
    assert_eq!(watches.count(), 1);
    adapter.clusters.shutdown().await;
}

#[tokio::test]
async fn changes_during_an_outage_are_seen_after_it() {
    let server = ApiServer::start();
    let adapter = Adapter::start(HASTY);
    let handle = adapter.add("c", &server);
    let identity = identity("app-1");
    let targets = handle.targets(&[config_map("m")], &identity).await.unwrap();
    let mut applied = Vec::new();
    apply(handle.connection(), &targets, &claim(&identity), &mut applied, &mut Findings::default())
        .await
        .unwrap();
    drop(applied);
    let missing = || seen(&handle, &targets, &Baselines::new()).map(|seen| seen.missing.len());
    adapter.until("present", || missing() == Some(0)).await;

    server.set_mood(Mood::Hanging);
    adapter.until("offline", || state(&handle) == Some(ClusterState::Offline)).await;
    server.erase("configmaps", "demo", "m");
    assert_eq!(missing(), Some(0), "nobody could tell");
    server.set_mood(Mood::Well);
    adapter.until("missing", || missing() == Some(1)).await;
    adapter.clusters.shutdown().await;
}

#[tokio::test]
async fn where_no_list_of_all_namespaces_is_allowed_each_is_watched() {
    let server = ApiServer::start();
    server.forbid_lists_in_all_namespaces();
    let adapter = Adapter::start(CALM);
    let handle = adapter.add("c", &server);
    let identity = identity("app-1");
    let targets = handle.targets(&[config_map("m")], &identity).await.unwrap();
    let seen = || seen(&handle, &targets, &Baselines::new());
    adapter.until("the list of the namespace", || seen().is_some()).await;
    apply(handle.connection(), &targets, &claim(&identity), &mut Vec::new(), &mut Findings::default())
        .await
        .unwrap();
    adapter.until("present", || seen().unwrap().missing.is_empty()).await;
    adapter.clusters.shutdown().await;
}

fn kubeconfig(token: &str) -> Value {
    json!({
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]
    })
}

#[tokio::test]
async fn a_handle_lives_as_long_as_its_kubeconfig() {
    let adapter = Adapter::start(CALM);
    let uid = ClusterUid::from("c");
    let first = adapter.clusters.set(&uid, &kubeconfig("one"), &Known::default()).unwrap();
    let same = adapter.clusters.set(&uid, &kubeconfig("one"), &Known::default()).unwrap();
    assert!(Arc::ptr_eq(&first, &same));
    let renewed = adapter.clusters.set(&uid, &kubeconfig("two"), &Known::default()).unwrap();
    assert!(!Arc::ptr_eq(&first, &renewed));
    adapter.until("offline", || state(&renewed) == Some(ClusterState::Offline)).await;

    let mut broken = kubeconfig("two");
    broken["users"][0]["user"]["exec"] = json!({"command": "sh"});
    assert!(adapter.clusters.set(&uid, &broken, &Known::default()).is_err());
    assert!(adapter.clusters.get(&uid).is_some_and(|handle| handle.is_err()));
    adapter.clusters.drop_cluster(&uid);
    assert!(adapter.clusters.get(&uid).is_none());
    tokio::time::timeout(HANG_GUARD, adapter.clusters.shutdown()).await.expect("all tasks end");
}
