//! The adapter itself, with real state, scheduler and garbage collector processes, on a cluster of either kind.

mod cases;
mod removal;
mod world;
mod writes;

use anyhow::Result;
use serde_json::Value;

use crate::columns::columns;
use crate::report::{Outcome, Report};
use cases::*;
use removal::{shared, waves};
use world::World;
use writes::{autoscaled, duplicates, unknown_fields};

#[tokio::test(flavor = "multi_thread")]
async fn the_adapter_does_alike() {
    let mut columns = columns().await;
    let columns = &mut *columns;
    let mut report = Report::of(columns);
    let real = async {
        match &mut columns.real {
            Some(cluster) => Some(one_column(World::start(cluster).await).await),
            None => None,
        }
    };
    let (simulated, real) =
        tokio::join!(async { one_column(World::start(&mut columns.simulator).await).await }, real);
    let mut real = real.map(Vec::into_iter);
    for (name, outcome) in simulated {
        let other = real.as_mut().and_then(Iterator::next).map(|(_, outcome)| outcome);
        report.add(name, outcome, other);
    }
    report.finish();
}

/// All cases on one cluster, one after the other: each leaves the cluster as it was.
async fn one_column(world: Result<World<'_>>) -> Vec<(&'static str, Outcome)> {
    let mut world = world.unwrap();
    let mut outcomes = Vec::new();
    macro_rules! run {
        ($($name:literal => $case:ident,)*) => {$(
            let result = Box::pin($case(&mut world)).await;
            let failed = result.err().map(|error: anyhow::Error| format!("{error:#}"));
            let transcript: Vec<Value> = world.take_notes();
            outcomes.push(($name, Outcome { failed, transcript }));
            world.tidy().await;
        )*};
    }
    run! {
        "deployed, it comes to run, with its marks" => deploy,
        "what is changed by hand is put right" => drift,
        "what is deleted by hand comes back" => recreated,
        "what leaves the manifest leaves the cluster" => pruned,
        "a custom resource and its definition in one manifest" => custom,
        "kinds of current clusters" => current,
        "objects of others are refused, and nothing is applied" => refused,
        "adopted objects are released at the end" => adopted,
        "deletion takes all, and leaves bystanders" => deleted,
        "a manifest that the cluster refuses fails, and a better one helps" => rejected,
        "a namespace in the manifest" => namespaced,
        "a namespace that holds what is somebody else's is released" => shared,
        "what later applies would refuse is refused from the start" => duplicates,
        "unknown fields are refused, or left out and told" => unknown_fields,
        "replicas are left to an autoscaler" => autoscaled,
        "an operator outlives its custom resources" => waves,
        "conditions of nodes become the state of the cluster" => nodes,
        "a cluster that hangs is offline, and comes back" => unreachable,
    }
    outcomes
}
