//! The Krake garbage collector: owners and cascading deletion.
//!
//! An object that is being deleted waits for this service while `cascade_deletion` is its last finalizer. As long as
//! other objects name it as an owner (and do not say `RELEASE`), those are deleted; when none is left, the finalizer is
//! removed. The metadata of all objects is mirrored; from it `graph` keeps who owns whom, `decide` says what to do
//! about one object, `collector` does it.

mod collector;
mod config;
mod decide;
mod graph;
mod member;

use std::sync::Arc;

use anyhow::{Context, bail};
use krake_client::{Client, Mirror};
use krake_runtime::admin::Admin;
use krake_runtime::controller::{self, ControllerMetrics, ControllerOptions, Priority, Queue, Reconciler};
use krake_runtime::serve::bind;
use krake_runtime::shutdown::Shutdown;

use collector::Collector;
pub use config::{Args, Config};
use graph::SharedGraph;
use member::Member;

/// Of the replicas, the leader of this election collects.
const ELECTION: &str = "gc";

/// Runs the garbage collector until shutdown is requested.
///
/// # Errors
/// When the API's address or the admin listener cannot be used, or the API refuses to show objects. An API that is not
/// there is waited for.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let client = Client::new(&config.connect)?;
    let admin = Admin::new();
    let synced = admin.readiness.condition("objects-synced");
    let options = ControllerOptions {
        workers: config.workers,
        resync: Some(config.resync),
        metrics: ControllerMetrics::register(&admin.metrics),
        ..ControllerOptions::default()
    };
    let listener = bind(config.admin, false).await?;

    let queue = Queue::new();
    let graph = SharedGraph::default();
    let (mirror, feed) = Mirror::of_objects(Member::of);
    let leadership = config.election.lead(ELECTION, &client, &admin.metrics);
    let collector =
        Arc::new(Collector::new(leadership.client(), graph.clone(), mirror.clone(), queue.clone()));

    let follow = async {
        let woken = queue.clone();
        let on_change = move |notice| {
            for key in graph.apply(&notice) {
                woken.add(key, Priority::Change);
            }
        };
        feed.run(client.watch_objects(&[]), on_change).await.context("cannot follow the objects")?;
        bail!("the watch of the objects ended")
    };
    let serve = async {
        admin.serve(listener, shutdown.clone()).await.context("the admin listener failed")?;
        // Ended by the shutdown: the rest ends in its own time.
        std::future::pending().await
    };
    let work = async {
        tokio::select! {
            result = mirror.synced() => result?,
            () = shutdown.requested() => return Ok(()),
        }
        synced.set(true);
        tracing::info!(objects = mirror.len(), "all objects are known");
        let collect = |stop: Shutdown| {
            // What a leader before has left, and what this process had begun in a term before.
            for key in collector.keys() {
                queue.add(key, Priority::Resync);
            }
            let run = controller::run("gc", collector.clone(), queue.clone(), options.clone(), stop);
            async {
                run.await;
                Ok(())
            }
        };
        leadership.while_leading(&shutdown, collect).await
    };
    tokio::select! {
        result = work => result,
        result = follow => result,
        result = serve => result,
    }
}
