//! A cluster that stops answering, with the settings that Krake has by default: its applications move in time, and once.

use std::time::Duration;

use krake_client::{Client, ConnectOptions};
use krake_integration::binaries::{Component, require};
use krake_integration::etcd::Etcd;
use krake_integration::simulator::Simulator;
use krake_integration::stack::Stack;
use krake_integration::wait::{self, HANG_GUARD, ROK_HANG_GUARD};
use krake_proto::krake::kubernetes::v1::{Application, Phase};
use serde_json::json;
use tokio::time::Instant;

use crate::applications::{settings, settings_in, web};
use crate::world::World;

const CLUSTERS: [&str; 2] = ["north", "south"];
/// Where the objects are on the clusters.
const SPACE: &str = "default";
/// Longest time from the last answer of a cluster until its applications run on another one.
const IN_TIME: Duration = Duration::from_secs(90);
/// Time for which a cluster may be silent without losing its applications, by default; less a second, as the failure that
/// begins it is of a request that may have been sent just before.
const GRACE: Duration = Duration::from_secs(59);
/// Time between two probes of a cluster: its last answer was so long before it became silent, at most.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// The clusters on which a copy of the application is RUNNING.
async fn running_on(client: &Client) -> Option<Vec<String>> {
    let application = client.api::<Application>().get("demo", "app").await.ok()?;
    let copies = application.status.unwrap_or_default().copies.into_iter();
    let running = copies.filter(|copy| copy.phase() == Phase::Running);
    Some(running.filter_map(|copy| Some(copy.cluster?.name)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_hangs_is_left_within_ninety_seconds() {
    let Some(binaries) = require(&[Component::Etcd]) else { return };
    let (etcd, simulator) = tokio::try_join!(Etcd::start(&binaries), Simulator::start(&CLUSTERS)).unwrap();
    let stack = Stack::start_with_defaults(&etcd).await.unwrap();
    for name in CLUSTERS {
        let file = simulator.kubeconfig_file(name);
        let register = ["kube", "cluster", "register", "-k", file.to_str().unwrap(), name];
        let wait = ["--wait", "--timeout", ROK_HANG_GUARD];
        stack.rok_ok(&[&register[..], &wait].concat()).await.unwrap();
    }
    let client = Client::new(&ConnectOptions::new(stack.url())).unwrap();
    let world = World { etcd, stack };
    world.application("create", &[settings(SPACE, "v"), web(SPACE, 1)], &[]).await;
    world.until_running().await;
    let before = running_on(&client).await.unwrap();
    let [first] = before.as_slice() else { panic!("one copy, not {before:?}") };
    let second = CLUSTERS.into_iter().find(|name| name != first).unwrap();
    let (old, new) = (simulator.api(first).unwrap(), simulator.api(second).unwrap());
    let path = settings_in(SPACE);
    let uid = old.get(&path).await.unwrap().unwrap()["metadata"]["uid"].clone();
    assert_eq!(new.get(&path).await.unwrap(), None);

    let silent = Instant::now();
    simulator.set_faults(first, &json!({"down": "hang"})).await.unwrap();
    let moved = async || running_on(&client).await?.iter().any(|name| name == second).then_some(());
    wait::until("the application to run elsewhere", HANG_GUARD, moved).await.unwrap();
    let took = silent.elapsed();
    println!("RUNNING on {second} {took:.1?} after {first} became silent");
    assert!(took + PROBE_INTERVAL <= IN_TIME, "it took {took:?}");
    assert!(took >= GRACE, "{took:?}: a cluster that is silent for a moment keeps what it has");
    assert!(new.get(&path).await.unwrap().is_some());
    // A minute of failed requests is told once, with the cluster's name, and not by an error of a library for each.
    let log = world.stack.kubernetes.process.log();
    let of_level = |level: &str| -> Vec<&str> {
        log.lines().filter(|line| line.split_whitespace().nth(1) == Some(level)).collect()
    };
    assert_eq!(of_level("ERROR"), [""; 0]);
    assert!(log.lines().any(|line| line.contains(first) && line.contains("OFFLINE")), "{log}");

    // The cluster is back, with the copy that it always had, which has been replaced.
    simulator.set_faults(first, &json!({})).await.unwrap();
    world.until_running().await;
    assert_eq!(running_on(&client).await.unwrap(), [second]);
    let gone = async || old.get(&path).await.ok()?.is_none().then_some(());
    wait::until(&format!("the copy {uid} to be removed"), HANG_GUARD, gone).await.unwrap();
    world.remove().await;
    assert_eq!(new.get(&path).await.unwrap(), None);
}
