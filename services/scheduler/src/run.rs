//! The process: mirrors, polling, and the controller over them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::future::{BoxFuture, try_join_all};
use krake_client::{Api, Change, Client, Mirror, MirrorFeed, Notice, WatchOptions};
use krake_proto::Resource;
use krake_proto::krake::core::v1::{Metric, MetricsProvider};
use krake_proto::krake::kubernetes::v1::{Application, Cluster};
use krake_runtime::admin::Admin;
use krake_runtime::controller::{self, ControllerMetrics, ControllerOptions, Priority, Queue};
use krake_runtime::serve::bind;
use krake_runtime::shutdown::Shutdown;

use crate::config::Config;
use crate::controller::Scheduler;
use crate::inputs::Inputs;
use crate::metrics::PrometheusSource;
use crate::project;

/// All namespaces; objects without one are followed apart.
const ALL: &str = "-";
/// Global objects.
const GLOBAL: &str = "";
/// How often all applications are looked at though nothing changed.
const RESYNC: Duration = Duration::from_secs(300);

/// Follows a kind for as long as the process lives.
fn follow<K: Resource, T: Send + Sync + 'static>(
    api: Api<K>,
    namespace: &'static str,
    feed: MirrorFeed<K, T>,
    on_change: impl FnMut(Notice<T>) + Send + 'static,
) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(async move {
        let watch = api.watch(WatchOptions::namespace(namespace));
        feed.run(watch, on_change).await.with_context(|| format!("cannot follow {}", K::KIND.plural))?;
        bail!("the watch of {} ended", K::KIND.plural)
    })
}

/// Runs the scheduler until shutdown is requested.
///
/// # Errors
/// When the API's address or the admin listener cannot be used, or the API refuses to show objects. An API that is not
/// there is waited for.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let client = Client::new(&config.connect)?;
    let admin = Admin::new();
    let ready = admin.readiness.condition("objects-synced");
    let metrics = ControllerMetrics::register(&admin.metrics);
    let options = ControllerOptions {
        workers: config.workers,
        resync: Some(RESYNC),
        metrics,
        ..ControllerOptions::default()
    };
    let listener = bind(config.admin, false).await?;
    let queue = Queue::new();

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
        PrometheusSource::client().context("cannot make an HTTP client")?,
        config.metrics_interval,
    ));
    let retarget = || {
        let inputs = inputs.clone();
        move || inputs.retarget()
    };
    let feeds = vec![
        follow(client.api::<Application>(), ALL, application_feed, {
            let queue = queue.clone();
            move |notice| queue.add(notice.key, Priority::Change)
        }),
        follow(client.api::<Cluster>(), ALL, cluster_feed, {
            let inputs = inputs.clone();
            move |notice| {
                if let (Change::Deleted, Some(before)) = (notice.change, &notice.before) {
                    inputs.erase(&before.uid);
                }
                inputs.touch();
            }
        }),
        follow(client.api::<Metric>(), GLOBAL, global_metric_feed, told(retarget())),
        follow(client.api::<Metric>(), ALL, metric_feed, told(retarget())),
        follow(client.api::<MetricsProvider>(), GLOBAL, global_provider_feed, told(retarget())),
        follow(client.api::<MetricsProvider>(), ALL, provider_feed, told(retarget())),
    ];
    let scheduler = Arc::new(Scheduler {
        client: client.clone(),
        inputs: inputs.clone(),
        options: config.options,
        queue: queue.clone(),
    });
    let work = async {
        tokio::select! {
            result = synced(&inputs) => result?,
            () = shutdown.requested() => return Ok(()),
        }
        ready.set(true);
        tracing::info!(
            applications = inputs.applications.len(),
            clusters = inputs.clusters.len(),
            "all objects are known: scheduling"
        );
        tokio::select! {
            () = controller::run("scheduler", scheduler.clone(), queue.clone(), options, shutdown.clone()) => Ok(()),
            ended = reconsider(&scheduler, &inputs) => ended,
        }
    };
    let serve = async {
        admin.serve(listener, shutdown.clone()).await.context("the admin listener failed")?;
        // Ended by the shutdown: the rest ends in its own time.
        std::future::pending().await
    };
    tokio::select! {
        result = work => result,
        result = try_join_all(feeds) => result.map(drop),
        result = serve => result,
    }
}

/// A listener that only wants to know that something changed.
fn told<T>(mut tell: impl FnMut() + Send + 'static) -> impl FnMut(Notice<T>) + Send + 'static {
    move |_| tell()
}

async fn synced(inputs: &Inputs) -> anyhow::Result<()> {
    inputs.applications.synced().await?;
    inputs.clusters.synced().await?;
    for mirror in &inputs.metrics {
        mirror.synced().await?;
    }
    for mirror in &inputs.providers {
        mirror.synced().await?;
    }
    Ok(())
}

/// Looks at all applications whenever clusters or metric values change. Changes during a look make one more.
async fn reconsider(scheduler: &Scheduler, inputs: &Inputs) -> anyhow::Result<()> {
    let (mut world, mut values) = (inputs.changes(), inputs.metric_changes());
    loop {
        tokio::select! {
            changed = values.changed() => {
                changed?;
                inputs.touch();
            }
            changed = world.changed() => changed?,
        }
        world.mark_unchanged();
        // A pass over a large fleet takes a core for a moment; other tasks must not wait for it.
        tokio::task::block_in_place(|| scheduler.reconsider());
    }
}
