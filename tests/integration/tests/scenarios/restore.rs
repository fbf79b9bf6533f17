//! A Krake restored from an older back-up deletes nothing that it does not know, and reports it.

use std::collections::BTreeMap;

use krake_integration::etcd::Etcd;
use krake_integration::stack::Stack;
use krake_integration::wait;
use serde_json::{Value, json};

use crate::world::{DEPLOYMENT, DEPLOYMENTS, SERVICE, SETTINGS, SOON, World, available, ground};

/// Where the store's history has its name; a restore makes a new one.
const EPOCH: &str = "/krake/_epoch";

/// Who leads: no part of a back-up.
const ELECTIONS: &str = "/krake/_elections/";

async fn back_up(etcd: &Etcd) -> BTreeMap<String, Vec<u8>> {
    let mut contents = BTreeMap::new();
    for key in etcd.keys("/krake/").await.unwrap() {
        // What is bound to a lease is nothing to keep, and may go between the two questions.
        if let Some(value) = etcd.get(&key).await.unwrap().filter(|_| !key.starts_with(ELECTIONS)) {
            contents.insert(key, value);
        }
    }
    contents
}

fn later() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "later"},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": "later"}},
            "template": {"metadata": {"labels": {"app": "later"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_of_after_the_back_up_are_reported_and_never_removed() {
    let Some((ground, _turn)) = ground().await else { return };
    let api = ground.one.api();
    let world = World::start(ground).await;
    world.create_echo_demo().await;
    let saved = back_up(&world.etcd).await;

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), later().to_string()).unwrap();
    let create =
        ["kube", "app", "create", "-f", file.path().to_str().unwrap(), "-L", "location is DE", "later"];
    world.stack.rok_ok(&[&create[..], &["--wait", "--timeout", "60s"]].concat()).await.unwrap();
    let path = format!("{DEPLOYMENTS}/later");
    let uid = api.get(&path).await.unwrap().unwrap()["metadata"]["uid"].clone();
    let known = api.get(DEPLOYMENT).await.unwrap().unwrap()["metadata"]["uid"].clone();
    drop(world);

    let etcd = Etcd::start(&ground.binaries).await.unwrap();
    for (key, value) in &saved {
        etcd.put(key, value).await.unwrap();
    }
    etcd.put(EPOCH, b"11111111-2222-4333-8444-555555555555").await.unwrap();
    let stack = Stack::start(&etcd, SETTINGS).await.unwrap();
    let reported = async || {
        let cluster = stack.rok_json(&["kube", "cluster", "get", "one"]).await.ok()?;
        let orphans = cluster["status"]["orphans"].as_array()?;
        orphans.iter().any(|orphan| orphan["object"]["name"] == "later").then_some(())
    };
    wait::until("the unknown workload to be reported", SOON, reported).await.unwrap();
    // What the back-up knows goes on, and can be removed as ever.
    let settled = async || {
        let shown = stack.rok_json(&["kube", "app", "get", "echo-demo"]).await.ok()?;
        (shown["status"]["state"] == "RUNNING").then_some(())
    };
    wait::until("the known application to be RUNNING", SOON, settled).await.unwrap();
    let still = api.get(DEPLOYMENT).await.unwrap().unwrap();
    assert_eq!(still["metadata"]["uid"], known, "it is the same workload");
    stack.rok_ok(&["kube", "app", "delete", "echo-demo", "--wait", "--timeout", "60s"]).await.unwrap();
    assert!(api.get(DEPLOYMENT).await.unwrap().is_none() && api.get(SERVICE).await.unwrap().is_none());
    let stays = api.get(&path).await.unwrap().unwrap();
    assert_eq!(stays["metadata"]["uid"], uid, "the unknown workload was not touched");
    assert!(available(&stays));
    api.delete(&path).await.unwrap();
}
