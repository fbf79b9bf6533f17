//! Many clusters and applications in one process, the simulated clusters included: from nothing to all running.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use krake_client::{Client, ConnectOptions, Watch, WatchEvent, WatchOptions};
use krake_cluster_sim::{Fleet, Options};
use krake_integration::process::Program;
use krake_integration::{folder, http};
use krake_proto::Resource;
use krake_proto::json::document;
use krake_proto::krake::core::v1::metrics_provider_spec::Type;
use krake_proto::krake::core::v1::{
    Metric, MetricRef, MetricSource, MetricSpec, MetricsProvider, MetricsProviderSpec, StaticProvider,
};
use krake_proto::krake::kubernetes::v1::{
    Application, ApplicationSpec, ApplicationState, Cluster, ClusterConstraints, ClusterSpec, ClusterState,
    Constraints, Manifest,
};
use krake_proto::krake::meta::v1::View;
use krake_runtime::shutdown::Shutdown;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::objects;
use crate::report::{Row, Verdict};
use crate::usage;

/// Everything is in this namespace.
const NAMESPACE: &str = "scale";
/// Applications say in which two of these they may run.
const REGIONS: u64 = 20;
/// Clusters take their rank from one of these.
const METRICS: [(&str, f64); 3] = [("wind-low", 0.2), ("wind-middle", 0.5), ("wind-high", 0.8)];
/// Writes at the same time.
const WRITERS: usize = 64;
/// The longest time for the whole.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);
/// Idle for that long, once all run.
const REST: Duration = Duration::from_secs(10);

/// Options of the process.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long, default_value_t = 1000)]
    clusters: u64,
    #[arg(long, default_value_t = 10_000)]
    applications: u64,
}

/// Does it all and prints, on a line each, what was measured.
pub(crate) async fn run(args: Args) -> Result<()> {
    http::install_tls_provider();
    let data = folder::create("scale")?;
    let mut account = Account::open()?;
    // The clusters end after what looks at them.
    let (shutdown, clusters_stop) = (Shutdown::new(), Shutdown::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.context("listening for the clusters")?;
    let fleet = Fleet::new(Options::new(format!("http://{}", listener.local_addr()?)));
    let clusters: Vec<_> =
        (0..args.clusters).map(|number| kubeconfig(&fleet, number)).collect::<Result<_>>()?;
    let mut serving = JoinSet::new();
    serving.spawn({
        let (fleet, stop) = (fleet.clone(), clusters_stop.clone());
        async move { fleet.serve(listener, stop).await }
    });

    let (tell, told) = oneshot::channel();
    let config = krake::Config::new(data.path());
    let krake = krake::serve(config, |endpoints| drop(tell.send(endpoints.clone())), shutdown.clone());
    let krake = tokio::spawn(krake);
    let endpoints = told.await.context("it does not start")?;
    let client = Client::new(&ConnectOptions::new(endpoints.api_url()))?;
    account.note("started")?;

    metrics(&client).await?;
    register(&client, clusters).await?;
    account.note(&format!("{} clusters registered", args.clusters))?;
    online(&client, args.clusters).await?;
    account.note(&format!("{} clusters ONLINE", args.clusters))?;

    let watch = WatchOptions { view: View::Basic, ..WatchOptions::namespace(NAMESPACE) };
    let watch = client.api::<Application>().watch(watch);
    let begun = Instant::now();
    let (created, progress) =
        tokio::try_join!(create(&client, args.applications), follow(watch, args.applications))?;
    account.note(&format!("{} applications RUNNING", args.applications))?;
    let seconds = |at: Instant| (at - begun).as_secs_f64();
    eprintln!(
        "created after {:.1} s, placed after {:.1} s, RUNNING after {:.1} s",
        seconds(created),
        seconds(progress.placed),
        seconds(progress.running)
    );
    tokio::time::sleep(REST).await;
    account.note(&format!("{} s of rest", REST.as_secs()))?;
    shutdown.request();
    krake.await??;
    clusters_stop.request();
    while let Some(ended) = serving.join_next().await {
        ended??;
    }
    account.note("stopped")
}

/// Adds a cluster; its name and how to reach it.
fn kubeconfig(fleet: &Fleet, number: u64) -> Result<(String, Value)> {
    let name = format!("cluster-{number}");
    fleet.add(&name)?;
    let text = fleet.kubeconfig(&name).context("the cluster is missing")?;
    Ok((name, serde_json::from_str(&text)?))
}

/// What the process has used so far.
struct Account {
    since: Instant,
    cpu: Duration,
}

impl Account {
    fn open() -> Result<Self> {
        Ok(Account { since: Instant::now(), cpu: usage::cpu(std::process::id())? })
    }

    /// Prints what was used since the last note.
    fn note(&mut self, what: &str) -> Result<()> {
        let me = std::process::id();
        let (time, cpu) = (self.since.elapsed().as_secs_f64(), usage::cpu(me)?);
        let used = cpu.saturating_sub(self.cpu).as_secs_f64();
        let files = std::fs::read_dir("/proc/self/fd").context("listing open files")?.count();
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let memory = usage::resident(me)?;
        eprintln!(
            "{what}: {time:.1} s, {used:.1} s of CPU, {memory:.0} MiB, {files} open files, {tasks} tasks"
        );
        (self.since, self.cpu) = (Instant::now(), cpu);
        Ok(())
    }
}

/// Three values by which clusters are ranked.
async fn metrics(client: &Client) -> Result<()> {
    let values = METRICS.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    let provider = MetricsProvider {
        metadata: Some(objects::metadata("", "fixed")),
        spec: Some(MetricsProviderSpec { r#type: Some(Type::Static(StaticProvider { metrics: values })) }),
    };
    client.api().create(&provider).await?;
    for (name, _) in METRICS {
        let source = MetricSource { name: "fixed".to_owned(), metric: name.to_owned() };
        let spec =
            MetricSpec { min: Some(0.0), max: Some(1.0), provider: Some(source), allowed_values: vec![] };
        client
            .api()
            .create(&Metric { metadata: Some(objects::metadata("", name)), spec: Some(spec) })
            .await?;
    }
    Ok(())
}

/// Registers clusters, given by name and kubeconfig: a region and a metric for each.
async fn register(client: &Client, fleet: Vec<(String, Value)>) -> Result<()> {
    let api = client.api::<Cluster>();
    let write = |(number, (name, kubeconfig)): (usize, (String, Value))| {
        let api = api.clone();
        async move {
            let mut metadata = objects::metadata(NAMESPACE, &name);
            metadata.labels.insert("region".to_owned(), format!("r{}", number as u64 % REGIONS));
            let metric = METRICS[number % METRICS.len()].0.to_owned();
            let spec = ClusterSpec {
                kubeconfig: Some(document(&kubeconfig)),
                metrics: vec![MetricRef { name: metric, weight: 1.0, namespaced: false }],
                ..ClusterSpec::default()
            };
            let cluster = Cluster { metadata: Some(metadata), spec: Some(spec), status: None };
            api.create(&cluster).await.map(drop)
        }
    };
    stream::iter(fleet.into_iter().enumerate())
        .map(write)
        .buffer_unordered(WRITERS)
        .try_collect::<()>()
        .await?;
    Ok(())
}

/// Waits until so many clusters take applications.
async fn online(client: &Client, count: u64) -> Result<()> {
    let options = WatchOptions { view: View::Basic, ..WatchOptions::namespace(NAMESPACE) };
    let mut watch = client.api::<Cluster>().watch(options);
    let mut online = HashSet::new();
    let all = async {
        while (online.len() as u64) < count {
            let event = watch.next().await.context("the watch of the clusters ended")??;
            let WatchEvent::Applied { object, .. } = event else { continue };
            let name = object.metadata.unwrap_or_default().name;
            if object.status.is_some_and(|status| status.state() == ClusterState::Online) {
                online.insert(name);
            } else {
                online.remove(&name);
            }
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, all).await.with_context(|| "clusters do not come ONLINE".to_owned())?
}

/// Creates applications; when the last one was stored.
async fn create(client: &Client, count: u64) -> Result<Instant> {
    let api = client.api::<Application>();
    let write = |number: u64| {
        let api = api.clone();
        async move { api.create(&application(number)).await.map(drop) }
    };
    stream::iter(0..count).map(write).buffer_unordered(WRITERS).try_collect::<()>().await?;
    Ok(Instant::now())
}

/// A Deployment of two pods, for two regions.
fn application(number: u64) -> Application {
    let name = format!("app-{number}");
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "registry.example/main:1.0"}]},
            },
        },
    });
    let regions = format!("region in (r{}, r{})", number % REGIONS, (number + 7) % REGIONS);
    let cluster = ClusterConstraints { labels: vec![regions], ..ClusterConstraints::default() };
    Application {
        metadata: Some(objects::metadata(NAMESPACE, &name)),
        spec: Some(ApplicationSpec {
            manifest: vec![Manifest { document: Some(document(&deployment)), ..Manifest::default() }],
            constraints: Some(Constraints { cluster: Some(cluster), ..Constraints::default() }),
            ..ApplicationSpec::default()
        }),
        status: None,
    }
}

struct Progress {
    placed: Instant,
    running: Instant,
}

/// Waits until so many applications are placed, and then RUNNING.
async fn follow(mut watch: Watch<Application>, count: u64) -> Result<Progress> {
    let (mut placed, mut running) = (HashSet::new(), HashSet::new());
    let mut all_placed = None;
    let all = async {
        loop {
            let event = watch.next().await.context("the watch of the applications ended")??;
            let WatchEvent::Applied { object, .. } = event else { continue };
            let name = object.metadata().map(|metadata| metadata.name.clone()).unwrap_or_default();
            let status = object.status.unwrap_or_default();
            if !status.bindings.is_empty() {
                placed.insert(name.clone());
            }
            if status.state() == ApplicationState::Running {
                running.insert(name);
            } else {
                running.remove(&name);
            }
            if placed.len() as u64 == count {
                let placed = *all_placed.get_or_insert_with(Instant::now);
                if running.len() as u64 == count {
                    return anyhow::Ok(Progress { placed, running: Instant::now() });
                }
            }
        }
    };
    let ended = timeout(PATIENCE, all).await;
    match ended {
        Ok(progress) => progress,
        Err(_) => bail!("{} placed and {} RUNNING of {count}", placed.len(), running.len()),
    }
}

pub(super) async fn measure() -> Result<Vec<Row>> {
    let folder = folder::create("scale")?;
    let mut process =
        Program::new("scale", &std::env::current_exe()?, folder.path()).args(["scale"]).start()?;
    let begun = Instant::now();
    let ended = process.ended(PATIENCE).await?;
    let log = process.log();
    ensure!(ended.success(), "it failed: {log}");
    let work = "1,000 simulated clusters and 10,000 applications in one process, from nothing to the end";
    let mut row = Row::new(work, "all RUNNING", Verdict::Met);
    row.measured = format!("{:.0} s", begun.elapsed().as_secs_f64());
    row.notes = log.lines().map(str::to_owned).collect();
    Ok(vec![row])
}
