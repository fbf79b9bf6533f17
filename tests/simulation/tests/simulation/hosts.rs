//! The hosts: state service, scheduler, garbage collector and adapter as they are, and a watcher that checks what it is
//! told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser;
use futures::StreamExt;
use krake_client::{Client, WatchEvent, WatchOptions};
use krake_kubernetes::cluster::clusters::Opener;
use krake_kubernetes::cluster::connection::{Connection, Deadlines};
use krake_proto::krake::kubernetes::v1::Application;
use krake_runtime::serve::ServeOptions;
use krake_runtime::shutdown::Shutdown;
use krake_state::Authentication;
use krake_state::store::MemoryStore;
use serde_json::Value;
use turmoil::Sim;

use crate::cluster::FakeCluster;
use crate::network::{self, KEEP_ALIVE};

/// Names of the clusters; the API server of `a` is on host `kube-a`.
pub(crate) const CLUSTERS: [&str; 3] = ["a", "b", "c"];

/// How long the adapter waits for clusters.
const DEADLINES: Deadlines = Deadlines {
    connect: Duration::from_secs(2),
    request: Duration::from_secs(4),
    watch: Duration::from_secs(10),
    silence: Duration::from_secs(12),
};

/// What outlives crashes, and what the checks look at.
pub(crate) struct World {
    pub(crate) store: MemoryStore,
    pub(crate) clusters: BTreeMap<&'static str, Arc<FakeCluster>>,
    /// Revision of each application by uid, as the watcher was told last.
    pub(crate) told: Mutex<BTreeMap<String, i64>>,
    /// What should not have happened.
    pub(crate) faults: Mutex<Vec<String>>,
    /// The user has nothing more to do.
    pub(crate) idle: Mutex<bool>,
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(World {
            store: MemoryStore::new(),
            clusters: CLUSTERS.into_iter().map(|name| (name, FakeCluster::start())).collect(),
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

/// Starts all hosts but the user.
pub(crate) fn start(sim: &mut Sim<'_>, world: &Arc<World>) {
    for (name, cluster) in &world.clusters {
        let cluster = cluster.clone();
        sim.host(format!("kube-{name}"), move || cluster.clone().run());
    }
    let shared = world.clone();
    sim.host("state", move || state(shared.clone()));
    sim.host("scheduler", move || ended("scheduler", scheduler()));
    sim.host("gc", move || ended("gc", gc()));
    sim.host("adapter", move || ended("adapter", adapter()));
    let shared = world.clone();
    sim.host("watcher", move || watch(shared.clone()));
}

/// A controller does not end by itself, whatever happens to it.
async fn ended(name: &str, run: impl Future<Output = anyhow::Result<()>>) -> HostResult {
    let result = run.await;
    Err(format!("{name} ended by itself: {result:?}").into())
}

async fn state(world: Arc<World>) -> HostResult {
    let listener = network::Listener::bind().await?;
    let authentication = Authentication { allow_anonymous: true, static_user: None };
    let options = ServeOptions {
        keep_alive_interval: KEEP_ALIVE,
        keep_alive_timeout: KEEP_ALIVE,
        ..Default::default()
    };
    let store = Arc::new(world.store.clone());
    krake_state::serve(listener, store, authentication, options, || {}, Shutdown::new()).await?;
    Err("the state service ended by itself".into())
}

/// Flags of a controller. Its admin port is a real one, and nobody asks there.
fn flags<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["krake", "--api-url", "http://state", "--admin-listen", "127.0.0.1:0"], more].concat()
}

/// Wall clock time stands almost still in a simulation, so the scheduler's rules that wait for it are switched off.
async fn scheduler() -> anyhow::Result<()> {
    let rules = ["--reschedule-after", "0", "--offline-grace", "0", "--metrics-interval", "1"];
    let mut config = krake_scheduler::Args::try_parse_from(flags(&rules))?.resolve()?;
    config.connect = network::connect_options();
    krake_scheduler::run(config, Shutdown::new()).await
}

async fn gc() -> anyhow::Result<()> {
    let mut config = krake_gc::Args::try_parse_from(flags(&[]))?.resolve()?;
    config.connect = network::connect_options();
    krake_gc::run(config, Shutdown::new()).await
}

async fn adapter() -> anyhow::Result<()> {
    let mut config = krake_kubernetes::Args::try_parse_from(flags(&[]))?.resolve()?;
    config.connect = network::connect_options();
    config.opener = Opener::new(|kubeconfig: &Value, _| {
        let server = kubeconfig["clusters"][0]["cluster"]["server"].as_str().unwrap();
        let host = server.trim_start_matches("http://");
        Ok(Connection::over(network::kubernetes(host, DEADLINES.silence), "default", host, DEADLINES))
    });
    krake_kubernetes::run(config, Shutdown::new()).await
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
