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
use krake_client::Mirror;
use krake_runtime::controller::{self, ControllerOptions, ControllerProcess, Priority, Queue, Reconciler};
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
    let process = config.controller.start(ELECTION, "gc-synced").await?;
    let ControllerProcess { client, leadership, metrics, ready, admin } = process;
    let options = ControllerOptions {
        workers: config.workers,
        resync: Some(config.resync),
        metrics,
        ..ControllerOptions::default()
    };

    let queue = Queue::new();
    let graph = SharedGraph::default();
    let (mirror, feed) = Mirror::of_objects(Member::of);
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
    let work = async {
        tokio::select! {
            result = mirror.synced() => result?,
            () = shutdown.requested() => return Ok(()),
        }
        ready.set(true);
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
        leadership.while_leading(&[mirror.barrier()], &shutdown, collect).await
    };
    let followed = async {
        tokio::select! {
            result = work => result,
            result = follow => result,
        }
    };
    admin.beside(&shutdown, followed).await
}
