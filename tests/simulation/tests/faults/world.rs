//! Krake in one process, the simulated clusters, and what the API shows of all applications.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use krake_client::{Client, ConnectOptions, WatchEvent, WatchOptions};
use krake_cluster_sim::{Fleet, Options};
use krake_kubernetes::cluster::address::AddressPolicy;
use krake_kubernetes::cluster::clusters::Opener;
use krake_kubernetes::cluster::connection::{Connection, Deadlines};
use krake_kubernetes::{SlowRetries, SweepTimes};
use krake_proto::krake::kubernetes::v1::Application;
use krake_runtime::controller::ControllerConfig;
use krake_runtime::leadership::ElectionConfig;
use krake_runtime::serve::ServeOptions;
use krake_runtime::shutdown::Shutdown;
use krake_state::Authentication;
use krake_state::store::MemoryStore;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// How long the adapter waits for clusters: shorter than usual, so that a hang is over soon.
const DEADLINES: Deadlines = Deadlines {
    connect: Duration::from_secs(3),
    request: REQUEST_DEADLINE,
    watch: Duration::from_secs(20),
    silence: Duration::from_secs(23),
};
pub(crate) const REQUEST_DEADLINE: Duration = Duration::from_secs(3);

/// Longest time that the parts may take to end.
const END: Duration = Duration::from_secs(30);

/// All that the cases share.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) fleet: Fleet,
    applications: Arc<Mutex<HashMap<String, Application>>>,
    shutdown: Shutdown,
    parts: JoinSet<anyhow::Result<()>>,
}

impl World {
    pub(crate) async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let shutdown = Shutdown::new();
        let mut parts = JoinSet::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let callers = Authentication { allow_anonymous: true, static_user: None };
        let (store, stop) = (Arc::new(MemoryStore::new()), shutdown.clone());
        let on_ready = move || ready.send(()).unwrap_or_default();
        parts.spawn(krake_state::serve(listener, store, callers, ServeOptions::default(), on_ready, stop));
        is_ready.await.unwrap();

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let ready_after = Duration::from_millis(300);
        let fleet = Fleet::new(Options { ready_after, ..Options::new(base_url) });
        let (served, stop) = (fleet.clone(), shutdown.clone());
        parts.spawn(async move { Ok(served.serve(listener, stop).await?) });

        let controller = || {
            let mut config = ControllerConfig::new(ConnectOptions::new(&url));
            config.election = ElectionConfig::unopposed();
            config
        };
        parts.spawn(krake_scheduler::run(scheduler(controller()), shutdown.clone()));
        parts.spawn(krake_gc::run(krake_gc::Config::new(controller()), shutdown.clone()));
        parts.spawn(krake_kubernetes::run(adapter(controller()), shutdown.clone()));

        let client = Client::new(&ConnectOptions::new(&url)).unwrap();
        let applications = Arc::new(Mutex::new(HashMap::new()));
        parts.spawn(follow(client.clone(), applications.clone(), shutdown.clone()));
        World { client, fleet, applications, shutdown, parts }
    }

    /// The application of a namespace, as last told.
    pub(crate) fn application(&self, namespace: &str) -> Option<Application> {
        self.applications.lock().unwrap().get(namespace).cloned()
    }

    pub(crate) async fn stop(mut self) {
        self.shutdown.request();
        let all = async {
            while let Some(ended) = self.parts.join_next().await {
                ended.unwrap().unwrap();
            }
        };
        tokio::time::timeout(END, all).await.expect("all parts end");
    }
}

fn scheduler(controller: ControllerConfig) -> krake_scheduler::Config {
    let mut config = krake_scheduler::Config::new(controller);
    config.options.reschedule_after = Duration::from_secs(1);
    config.options.failure_cooldown = Duration::from_secs(2);
    config
}

fn adapter(controller: ControllerConfig) -> krake_kubernetes::Config {
    let mut config = krake_kubernetes::Config::new(controller);
    let policy = AddressPolicy { loopback: true, allowed: Vec::new() };
    config.opener = Opener::new(move |kubeconfig, _| Connection::open(kubeconfig, DEADLINES, &policy));
    config.workers = 64;
    config.slow_retries = SlowRetries { first: Duration::from_millis(500), longest: Duration::from_secs(5) };
    config.sweep = SweepTimes { interval: Duration::from_secs(20), pause: Duration::from_secs(2) };
    config
}

/// Keeps the applications up to date, by namespace.
async fn follow(
    client: Client,
    applications: Arc<Mutex<HashMap<String, Application>>>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let mut events = client.api::<Application>().watch(WatchOptions::all_namespaces());
    loop {
        let event = tokio::select! {
            () = shutdown.requested() => return Ok(()),
            event = events.next() => event,
        };
        let namespace = |object: &Application| object.metadata.clone().unwrap_or_default().namespace;
        let mut applications = applications.lock().unwrap();
        match event {
            Some(Ok(WatchEvent::Applied { object, .. })) => {
                applications.insert(namespace(&object), object);
            }
            Some(Ok(WatchEvent::Deleted(object))) => {
                applications.remove(&namespace(&object));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
            None => anyhow::bail!("the watch ended"),
        }
    }
}
