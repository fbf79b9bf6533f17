//! The process: mirrors, polling, and the controllers over them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::future::{BoxFuture, try_join_all};
use krake_client::{Api, Change, Client, Mirror, MirrorFeed, NamespacedName, Notice, WatchOptions};
use krake_proto::Resource;
use krake_proto::krake::core::v1::{Metric, MetricsProvider};
use krake_proto::krake::kubernetes::v1::{Application, Cluster};
use krake_proto::krake::meta::v1::View;
use krake_runtime::address::AddressPolicy;
use krake_runtime::controller::{
    self, ControllerMetrics, ControllerOptions, ControllerProcess, Priority, Queue,
};
use krake_runtime::leadership::Leadership;
use krake_runtime::shutdown::Shutdown;
use tokio::time::Instant;

use crate::config::Config;
use crate::controller::{Clock, Scheduler};
use crate::decide::Options;
use crate::inputs::Inputs;
use crate::metrics::PrometheusClient;
use crate::project;
use crate::reporter::Reporter;

/// Election whose leader schedules.
const ELECTION: &str = "scheduler";
/// Stands for all namespaces; global objects are followed by a watch of their own.
const ALL: &str = "-";
/// Global objects.
const GLOBAL: &str = "";
/// Pause between two looks at all applications while nothing changes.
const RESYNC: Duration = Duration::from_secs(300);
/// Changes of the world are gathered for this long between two looks at all applications.
const GATHER: Duration = Duration::from_millis(200);
/// Longest time that the first decisions wait for the first answers of the metrics providers.
const FIRST_ANSWERS: Duration = Duration::from_secs(5);
/// Maximum number of concurrent reports on clusters.
const REPORTERS: usize = 4;

/// Runs the scheduler until shutdown is requested.
///
/// # Errors
/// When the API's address or the admin listener cannot be used, or the API refuses to show objects. An API that is not
/// there is waited for.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let process = config.controller.start(ELECTION, "scheduler-synced").await?;
    let ControllerProcess { client: _, leadership, metrics, ready, admin } = process;
    let settings = Settings {
        options: config.options,
        metrics_interval: config.metrics_interval,
        metrics_addresses: config.metrics_addresses,
        workers: config.workers,
        controller_metrics: metrics,
        clock: config.clock,
    };
    let work = schedule(leadership, settings, || ready.set(true), shutdown.clone());
    admin.beside(&shutdown, work).await
}

/// What the controllers need to know.
pub(crate) struct Settings {
    pub(crate) options: Options,
    pub(crate) metrics_interval: Duration,
    pub(crate) metrics_addresses: AddressPolicy,
    pub(crate) workers: usize,
    pub(crate) controller_metrics: ControllerMetrics,
    pub(crate) clock: Clock,
}

/// Follows the API, and schedules while it leads, until shutdown is requested. `on_ready` is called when all objects are
/// known.
pub(crate) async fn schedule(
    leadership: Leadership,
    settings: Settings,
    on_ready: impl FnOnce(),
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let client = leadership.client();
    let (applications, clusters) = (Queue::new(), Queue::new());
    let providers =
        PrometheusClient::new(settings.metrics_addresses).context("cannot make an HTTP client")?;
    let (inputs, feeds) = mirrors(&client, providers, settings.metrics_interval, applications.clone());
    let reporter = Arc::new(Reporter::new(client.clone(), inputs.clone(), clusters.clone()));
    let scheduler = Arc::new(Scheduler::new(
        client,
        inputs.clone(),
        settings.options,
        applications.clone(),
        settings.clock,
    ));
    let controllers = Controllers {
        scheduler,
        reporter,
        inputs: inputs.clone(),
        applications,
        clusters,
        workers: settings.workers,
        metrics: settings.controller_metrics,
    };
    let work = async {
        tokio::select! {
            result = inputs.synced() => result?,
            () = shutdown.requested() => return Ok(()),
        }
        inputs.rebuild();
        tokio::select! {
            // A provider that does not answer becomes a failing metric soon, and decisions need not wait for that.
            _ = tokio::time::timeout(FIRST_ANSWERS, inputs.measured()) => {}
            () = shutdown.requested() => return Ok(()),
        }
        inputs.rebuild();
        on_ready();
        tracing::info!(
            applications = inputs.applications.len(),
            clusters = inputs.clusters.len(),
            "all objects are known"
        );
        let lead = |stop: Shutdown| controllers.run(stop);
        leadership.while_leading(&inputs.barriers(), &shutdown, lead).await
    };
    tokio::select! {
        result = work => result,
        result = try_join_all(feeds) => result.map(drop),
    }
}

/// The controllers and their queues.
struct Controllers {
    scheduler: Arc<Scheduler>,
    reporter: Arc<Reporter>,
    inputs: Arc<Inputs>,
    applications: Queue<NamespacedName>,
    clusters: Queue<NamespacedName>,
    workers: usize,
    metrics: ControllerMetrics,
}

impl Controllers {
    /// Schedules and reports for one term of leadership.
    async fn run(&self, stop: Shutdown) -> anyhow::Result<()> {
        let options = |workers| ControllerOptions {
            workers,
            metrics: self.metrics.clone(),
            ..ControllerOptions::default()
        };
        // What the mirrors show, and the metrics are, by now.
        self.inputs.rebuild();
        let schedule = controller::run(
            "scheduler",
            self.scheduler.clone(),
            self.applications.clone(),
            options(self.workers),
            stop.clone(),
        );
        let report = controller::run(
            "cluster-metrics",
            self.reporter.clone(),
            self.clusters.clone(),
            options(REPORTERS),
            stop,
        );
        // Begins with a look at everything: also at what a leader before has left.
        let reconsider = reconsider(&self.scheduler, &self.reporter, &self.inputs);
        tokio::select! {
            _ = async { tokio::join!(schedule, report) } => Ok(()),
            ended = reconsider => ended,
        }
    }
}

type Feeds = Vec<BoxFuture<'static, anyhow::Result<()>>>;

/// The mirrors, and what fills them. Changes of applications go into the queue, all others into a new world.
fn mirrors(
    client: &Client,
    providers_client: PrometheusClient,
    metrics_interval: Duration,
    queue: Queue<NamespacedName>,
) -> (Arc<Inputs>, Feeds) {
    let (applications, application_feed) = Mirror::of_kind(project::application);
    let (clusters, cluster_feed) = Mirror::of_kind(project::cluster);
    let (global_metrics, global_metric_feed) = Mirror::of_kind(project::metric);
    let (metrics, metric_feed) = Mirror::of_kind(project::metric);
    let (global_providers, global_provider_feed) = Mirror::of_kind(project::provider);
    let (providers, provider_feed) = Mirror::of_kind(project::provider);
    let inputs = Arc::new(Inputs::new(
        applications,
        clusters,
        [global_metrics, metrics],
        [global_providers, providers],
        providers_client,
        metrics_interval,
    ));
    let redefine = || {
        let inputs = inputs.clone();
        move || inputs.redefine()
    };
    let feeds = vec![
        follow(client.api::<Application>(), ALL, View::Basic, application_feed, {
            let inputs = inputs.clone();
            move |notice| {
                inputs.in_flight.shown(&notice.key, notice.after.as_deref());
                inputs.exodus.shown(&notice.key, notice.after.as_deref());
                queue.add(notice.key, Priority::Change);
            }
        }),
        follow(client.api::<Cluster>(), ALL, View::Basic, cluster_feed, {
            let inputs = inputs.clone();
            move |notice| {
                if let (Change::Deleted, Some(before)) = (notice.change, &notice.before) {
                    inputs.erase(&before.cluster.uid);
                }
                inputs.touch();
            }
        }),
        follow(client.api::<Metric>(), GLOBAL, View::Basic, global_metric_feed, told(redefine())),
        follow(client.api::<Metric>(), ALL, View::Basic, metric_feed, told(redefine())),
        // The scheduler queries providers, with their credentials.
        follow(client.api::<MetricsProvider>(), GLOBAL, View::Full, global_provider_feed, told(redefine())),
        follow(client.api::<MetricsProvider>(), ALL, View::Full, provider_feed, told(redefine())),
    ];
    (inputs, feeds)
}

/// Follows a kind for as long as the process lives.
fn follow<K: Resource, T: Send + Sync + 'static>(
    api: Api<K>,
    namespace: &'static str,
    view: View,
    feed: MirrorFeed<K, T>,
    on_change: impl FnMut(Notice<T>) + Send + 'static,
) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(async move {
        let watch = api.watch(WatchOptions { view, ..WatchOptions::namespace(namespace) });
        feed.run(watch, on_change).await.with_context(|| format!("cannot follow {}", K::KIND.plural))?;
        bail!("the watch of {} ended", K::KIND.plural)
    })
}

/// A listener that only wants to know that something changed.
fn told<T>(mut tell: impl FnMut() + Send + 'static) -> impl FnMut(Notice<T>) + Send + 'static {
    move |_| tell()
}

/// Looks at all applications and clusters whenever the world changes, and now and then without that. What changes
/// during a look, or shortly after it, makes one more. At least half of the time goes to other work.
async fn reconsider(scheduler: &Scheduler, reporter: &Reporter, inputs: &Inputs) -> anyhow::Result<()> {
    let (mut world, mut values) = (inputs.changes(), inputs.metric_changes());
    loop {
        let begun = Instant::now();
        world.mark_unchanged();
        inputs.rebuild();
        reporter.reconsider();
        scheduler.reconsider().await;
        tokio::time::sleep(GATHER.saturating_sub(begun.elapsed()).max(begun.elapsed())).await;
        tokio::select! {
            changed = values.changed() => changed?,
            changed = world.changed() => changed?,
            () = tokio::time::sleep(RESYNC) => inputs.touch(),
        }
    }
}

#[cfg(test)]
mod fake_api;
#[cfg(test)]
mod tests;
