//! The clusters, what runs on them, and the count of the requests that they get.

use std::collections::HashSet;
use std::fmt;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use krake_client::{Client, Mask, WatchEvent, WatchOptions};
use krake_cluster_sim::{Cluster, Fault, Faults, Fleet, Options, Rule, RuleVerb};
use krake_proto::json::document;
use krake_proto::krake::kubernetes::v1::{
    Application, ApplicationSpec, ApplicationState, Cluster as Registered, ClusterConstraints, ClusterSpec,
    Constraints, Manifest,
};
use krake_proto::krake::meta::v1::View;
use krake_runtime::shutdown::Shutdown;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::objects;

/// Everything is in this namespace.
const NAMESPACE: &str = "clusters";
/// Writes at the same time.
const WRITERS: usize = 32;
/// Number that counts down with each request: more than there will be.
const MANY: u32 = u32::MAX;
/// Applications between two lines on how far the deployment has come.
const PROGRESS: usize = 1000;
/// Speed at which answers are slowed down so little that it is not noticed: such a fault only counts.
const AT_ONCE: std::num::NonZeroU32 = std::num::NonZeroU32::MAX;

/// How many there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) clusters: usize,
    /// Applications of each cluster.
    pub(super) applications: usize,
}

/// The clusters.
pub(super) struct Terrain {
    size: Size,
    fleet: Fleet,
    pub(super) clusters: Vec<Cluster>,
    shutdown: Shutdown,
    serving: JoinHandle<std::io::Result<()>>,
}

/// Numbers of requests.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// What shows whether a cluster answers, and which one it is.
    probes: u64,
    watches: u64,
    discovery: u64,
    reads: u64,
    writes: u64,
}

impl Requests {
    /// Those that are neither probes nor watches.
    pub(super) fn others(&self) -> u64 {
        self.discovery + self.reads + self.writes
    }
}

impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Requests { probes, watches, discovery, reads, writes } = self;
        write!(
            f,
            "{probes} probes, {watches} watches opened, {discovery} of discovery, {reads} reads, {writes} writes"
        )
    }
}

impl Terrain {
    pub(super) async fn start(size: Size) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listening for the clusters")?;
        let fleet = Fleet::new(Options::new(format!("http://{}", listener.local_addr()?)));
        let clusters = (0..size.clusters).map(|number| fleet.add(&format!("c{number}")));
        let clusters = clusters.collect::<Result<_, _>>()?;
        let shutdown = Shutdown::new();
        let serving = tokio::spawn({
            let (fleet, stop) = (fleet.clone(), shutdown.clone());
            async move { fleet.serve(listener, stop).await }
        });
        Ok(Self { size, fleet, clusters, shutdown, serving })
    }

    pub(super) async fn stop(self) -> Result<()> {
        self.shutdown.request();
        Ok(self.serving.await??)
    }

    /// The number of an application of a cluster, whatever number is given.
    pub(super) fn number(&self, number: usize) -> usize {
        number % self.size.applications
    }

    /// The cluster that gets faults.
    pub(super) fn first(&self) -> &Cluster {
        &self.clusters[0]
    }

    /// Takes all faults back, counts included.
    pub(super) fn mend(&self) {
        for cluster in &self.clusters {
            cluster.set_faults(Faults::default());
        }
    }

    /// From now on the requests are counted: by rules that let them pass.
    pub(super) fn count_requests(&self) {
        let rule = |verbs: &[RuleVerb], kinds: &[&str]| Rule {
            verbs: verbs.to_vec(),
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            fault: Fault::Slow { bytes_per_second: AT_ONCE },
            times: Some(MANY),
        };
        let rules = vec![
            rule(&[RuleVerb::Get], &["namespaces"]),
            rule(&[RuleVerb::Watch], &[]),
            rule(&[], &["discovery"]),
            rule(&[RuleVerb::Get, RuleVerb::List], &[]),
            rule(&[], &[]),
        ];
        for cluster in &self.clusters {
            cluster.set_faults(Faults { rules: rules.clone(), ..Faults::default() });
        }
    }

    /// The requests since then.
    pub(super) fn requests(&self) -> Requests {
        let mut counts = [0u64; 5];
        for cluster in &self.clusters {
            for (count, rule) in counts.iter_mut().zip(cluster.faults().rules) {
                *count += u64::from(MANY - rule.times.unwrap_or(MANY));
            }
        }
        let [probes, watches, discovery, reads, writes] = counts;
        Requests { probes, watches, discovery, reads, writes }
    }

    /// Registers all clusters.
    pub(super) async fn register(&self, client: &Client) -> Result<()> {
        let api = client.api::<Registered>();
        let write = |cluster: &Cluster| {
            let (api, name) = (api.clone(), cluster.name().to_owned());
            let kubeconfig = self.fleet.kubeconfig(&name);
            async move {
                let kubeconfig: Value = serde_json::from_str(&kubeconfig.context("it was added")?)?;
                let mut metadata = objects::metadata(NAMESPACE, &name);
                metadata.labels.insert("name".to_owned(), name);
                let spec = ClusterSpec { kubeconfig: Some(document(&kubeconfig)), ..ClusterSpec::default() };
                api.create(&Registered { metadata: Some(metadata), spec: Some(spec), status: None }).await?;
                anyhow::Ok(())
            }
        };
        let writes: Vec<_> = self.clusters.iter().map(write).collect();
        stream::iter(writes).buffer_unordered(WRITERS).try_collect().await
    }

    /// Creates the applications of all clusters and waits until they are RUNNING.
    pub(super) async fn deploy(&self, client: &Client) -> Result<()> {
        let api = client.api::<Application>();
        let of = |cluster: &Cluster| {
            let name = cluster.name().to_owned();
            (0..self.size.applications).map(move |number| application(&name, number))
        };
        let all: Vec<Application> = self.clusters.iter().flat_map(of).collect();
        let count = all.len();
        let write = |application: Application| {
            let api = api.clone();
            async move { api.create(&application).await.map(drop).context("creating an application") }
        };
        let options = WatchOptions { view: View::Basic, ..WatchOptions::namespace(NAMESPACE) };
        let mut watch = api.watch(options);
        let all_run = async {
            let (mut running, mut shown) = (HashSet::new(), 0);
            while running.len() < count {
                if running.len() >= shown + PROGRESS {
                    shown = running.len();
                    eprintln!("  {shown} of {count} applications RUNNING");
                }
                let event = watch.next().await.context("the watch of the applications ended")??;
                let WatchEvent::Applied { object, .. } = event else { continue };
                let name = object.metadata.unwrap_or_default().name;
                if object.status.is_some_and(|status| status.state() == ApplicationState::Running) {
                    running.insert(name);
                } else {
                    running.remove(&name);
                }
            }
            anyhow::Ok(())
        };
        let created = stream::iter(all).map(write).buffer_unordered(WRITERS).try_collect::<()>();
        tokio::try_join!(created, all_run).map(drop)
    }

    /// As users do: changes the manifests of the first applications of a cluster.
    pub(super) async fn change_specs(&self, client: &Client, cluster: &str, count: usize) -> Result<()> {
        let api = client.api::<Application>();
        for number in 0..count.min(self.size.applications) {
            let name = format!("{cluster}-{number}");
            let mut changed = api.get(NAMESPACE, &name).await?;
            let mut manifest = application(cluster, number).spec.unwrap_or_default().manifest;
            manifest.truncate(2);
            changed.spec.get_or_insert_default().manifest = manifest;
            api.update(&changed, Mask::fields(["spec.manifest"])).await.context("changing an application")?;
        }
        Ok(())
    }
}

/// Path of the Deployment of an application.
pub(super) fn workload(cluster: &str, number: usize) -> String {
    format!("/apis/apps/v1/namespaces/default/deployments/{cluster}-{number}")
}

/// The Deployment of an application, with so many replicas.
pub(super) fn deployment(cluster: &str, number: usize, replicas: u32) -> Value {
    let name = format!("{cluster}-{number}");
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "registry.example/main:1.0"}]},
            },
        },
    })
}

/// Three objects, for one cluster.
fn application(cluster: &str, number: usize) -> Application {
    let name = format!("{cluster}-{number}");
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
        "data": {"mode": "fast"}});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80}]}});
    let manifest = [config, deployment(cluster, number, REPLICAS), service];
    let manifest = manifest.iter().map(|it| Manifest { document: Some(document(it)), ..Manifest::default() });
    let labels = vec![format!("name is {cluster}")];
    let cluster = Some(ClusterConstraints { labels, ..ClusterConstraints::default() });
    let spec = ApplicationSpec {
        manifest: manifest.collect(),
        constraints: Some(Constraints { cluster, ..Constraints::default() }),
        ..ApplicationSpec::default()
    };
    Application { metadata: Some(objects::metadata(NAMESPACE, &name)), spec: Some(spec), status: None }
}

/// Replicas of each Deployment, as the manifests say.
pub(super) const REPLICAS: u32 = 2;
