//! The hosts: state service, scheduler, garbage collector and adapter as they are, and a watcher that checks what it is
//! told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use futures::StreamExt;
use jiff::Timestamp;
use krake_client::{Client, WatchEvent, WatchOptions};
use krake_kubernetes::cluster::clusters::Opener;
use krake_kubernetes::cluster::connection::{Connection, Deadlines};
use krake_proto::krake::kubernetes::v1::Application;
use krake_runtime::controller::ControllerConfig;
use krake_runtime::leadership::ElectionConfig;
use krake_runtime::serve::{ConnectionLimits, ServeOptions};
use krake_runtime::shutdown::Shutdown;
use krake_state::Authentication;
use krake_state::store::MemoryStore;
use serde_json::Value;
use tokio::time::Instant;
use turmoil::Sim;

use crate::cluster::FakeCluster;
use crate::elections::{ADAPTER, Elections};
use crate::network::{self, KEEP_ALIVE, Time};

/// Names of the clusters; the API server of `a` is on host `kube-a`.
pub(crate) const CLUSTERS: [&str; 3] = ["a", "b", "c"];

/// Hosts of the schedulers and of the adapters; one of each leads.
pub(crate) const SCHEDULERS: [&str; 2] = ["scheduler-1", "scheduler-2"];
pub(crate) const ADAPTERS: [&str; 2] = ["adapter-1", "adapter-2"];
/// Host of the garbage collector. It stands for election too, against itself after a crash.
pub(crate) const COLLECTOR: &str = "gc";

/// How long the adapter waits for clusters.
const DEADLINES: Deadlines = Deadlines {
    connect: Duration::from_secs(2),
    request: Duration::from_secs(4),
    watch: Duration::from_secs(10),
    silence: Duration::from_secs(12),
};

/// Time between two probes of a cluster, and the longest that one may take.
const PROBE_INTERVAL: Duration = Duration::from_millis(400);
/// How long a cluster may be silent before its applications are started elsewhere.
pub(crate) const OFFLINE_GRACE: Duration = Duration::from_secs(5);
/// How long it may answer as no Kubernetes API that works, before the same.
const BROKEN_GRACE: Duration = Duration::from_secs(7);

/// How long a leader's place is kept.
const TTL: Duration = Duration::from_secs(3);

/// What outlives crashes, and what the checks look at.
pub(crate) struct World {
    pub(crate) store: MemoryStore,
    pub(crate) clusters: BTreeMap<&'static str, Arc<FakeCluster>>,
    pub(crate) elections: Elections,
    /// Revision of each application by uid, as the watcher was told last.
    pub(crate) told: Mutex<BTreeMap<String, i64>>,
    /// What should not have happened.
    pub(crate) faults: Mutex<Vec<String>>,
    /// The user has nothing more to do.
    pub(crate) idle: Mutex<bool>,
}

impl World {
    /// `time` tells the simulated time at which the present step began.
    pub(crate) fn new(time: Arc<Time>) -> Arc<Self> {
        let begin = Instant::now();
        let store = MemoryStore::with_clock(move || begin + time.elapsed());
        Arc::new(World {
            elections: Elections::new(store.clone()),
            store,
            clusters: CLUSTERS.into_iter().map(|name| (name, FakeCluster::start(name))).collect(),
            told: Mutex::default(),
            faults: Mutex::default(),
            idle: Mutex::default(),
        })
    }

    pub(crate) fn fault(&self, what: String) {
        self.faults.lock().unwrap().push(what);
    }
}

type HostResult = Result<(), Box<dyn std::error::Error>>;

/// Starts all hosts but the user: two schedulers, two adapters, and one of everything else.
pub(crate) fn start(sim: &mut Sim<'_>, world: &Arc<World>) {
    for (name, cluster) in &world.clusters {
        let cluster = cluster.clone();
        sim.host(format!("kube-{name}"), move || cluster.clone().run());
    }
    let shared = world.clone();
    sim.host("state", move || state(shared.clone()));
    for name in SCHEDULERS.into_iter().chain(ADAPTERS).chain([COLLECTOR]) {
        let shared = world.clone();
        sim.host(name, move || controller(shared.clone(), name));
    }
    let shared = world.clone();
    sim.host("watcher", move || watch(shared.clone()));
}

async fn state(world: Arc<World>) -> HostResult {
    let listener = network::Listener::bind().await?;
    let authentication = Authentication { allow_anonymous: true, static_user: None };
    let limits = ConnectionLimits {
        keep_alive_interval: KEEP_ALIVE,
        keep_alive_timeout: KEEP_ALIVE,
        ..Default::default()
    };
    let options = ServeOptions { limits, ..Default::default() };
    let store = Arc::new(world.store.clone());
    let clock = Arc::new(|| UNIX_EPOCH + network::time_of_day());
    krake_state::serve_at(clock, listener, store, authentication, options, || {}, Shutdown::new()).await?;
    Err("the state service ended by itself".into())
}

/// A controller does not end by itself, whatever happens to it.
async fn controller(world: Arc<World>, name: &'static str) -> HostResult {
    let mut config = ControllerConfig::new(network::connect_options());
    // By this address the store tells who leads: no two processes have the same, nor has one after a crash.
    let process = world.elections.process(name);
    config.election = ElectionConfig { ttl: TTL, address: process.clone(), ..ElectionConfig::default() };
    let result = match name.split('-').next() {
        Some("scheduler") => scheduler(config).await,
        Some("gc") => krake_gc::run(krake_gc::Config::new(config), Shutdown::new()).await,
        _ => adapter(config, world, process).await,
    };
    Err(format!("{name} ended by itself: {result:?}").into())
}

fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH + network::time_of_day()
}

async fn scheduler(config: ControllerConfig) -> anyhow::Result<()> {
    let mut config = krake_scheduler::Config::new(config);
    config.options.reschedule_after = Duration::from_secs(1);
    config.options.offline_grace = OFFLINE_GRACE;
    config.options.broken_grace = BROKEN_GRACE;
    config.options.failure_cooldown = Duration::from_secs(5);
    config.metrics_interval = Duration::from_secs(1);
    config.clock = Arc::new(now);
    krake_scheduler::run(config, Shutdown::new()).await
}

async fn adapter(config: ControllerConfig, world: Arc<World>, process: String) -> anyhow::Result<()> {
    let mut config = krake_kubernetes::Config::new(config);
    // A twelfth of what is usual, as OFFLINE_GRACE is: outages here last seconds.
    config.probe.interval = PROBE_INTERVAL;
    config.probe.deadline = PROBE_INTERVAL;
    config.probe.thresholds.failing_for = PROBE_INTERVAL * 3;
    // All is to settle within minutes.
    config.slow_retries.first = Duration::from_secs(5);
    config.slow_retries.longest = Duration::from_secs(10);
    config.clock = Arc::new(now);
    config.rollout_deadline = Duration::from_secs(10);
    config.opener = Opener::new(move |kubeconfig: &Value, _| {
        let server = kubeconfig["clusters"][0]["cluster"]["server"].as_str().unwrap();
        let host = server.trim_start_matches("http://");
        let (world, process) = (world.clone(), process.clone());
        let on_effect = move |what: String| {
            if let Err(leader) = world.elections.acts(ADAPTER, &process) {
                world.fault(format!("{process} does {what}, but the leader is {leader:?}"));
            }
        };
        let client = network::kubernetes(host, DEADLINES.silence, on_effect);
        Ok(Connection::over(client, "default", host, DEADLINES))
    });
    Box::pin(krake_kubernetes::run(config, Shutdown::new())).await
}

/// Follows the applications: of each, revisions rise.
async fn watch(world: Arc<World>) -> HostResult {
    let client = Client::new(&network::connect_options())?;
    let mut events = client.api::<Application>().watch(WatchOptions::all_namespaces());
    let mut present: BTreeMap<String, i64> = BTreeMap::new();
    let mut arrived: Option<BTreeMap<String, i64>> = None;
    while let Some(event) = events.next().await {
        match event? {
            WatchEvent::Restarted => arrived = Some(BTreeMap::new()),
            WatchEvent::Applied { object, initial } => {
                let metadata = object.metadata.unwrap_or_default();
                let (uid, now) = (metadata.uid, metadata.resource_version);
                let before = present.insert(uid.clone(), now).unwrap_or(0);
                if now < before || (now == before && !initial) {
                    world.fault(format!("the watcher was told {now} of {} after {before}", metadata.name));
                }
                if let Some(arrived) = &mut arrived {
                    arrived.insert(uid, now);
                }
            }
            WatchEvent::Deleted(object) => {
                present.remove(&object.metadata.unwrap_or_default().uid);
            }
            WatchEvent::Synced { .. } => present = arrived.take().unwrap_or(present),
            WatchEvent::LeftFilter(_) | WatchEvent::Bookmark { .. } => {}
        }
        world.told.lock().unwrap().clone_from(&present);
    }
    Err("the watch ended".into())
}
