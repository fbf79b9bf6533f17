//! A Krake restored from an older back-up deletes nothing that it does not know, and reports it.

use std::path::Path;

use krake_integration::etcd::Etcd;
use krake_integration::krake;
use krake_integration::stack::Stack;
use krake_integration::wait::{self, HANG_GUARD, ROK_HANG_GUARD};
use serde_json::{Value, json};

use crate::world::{DEPLOYMENT, DEPLOYMENTS, SERVICE, SETTINGS, World, available, ground};

/// Runs `krake-state backup` or `restore` on an etcd, which must succeed.
async fn krake_state(etcd: &Etcd, command: &str, option: &str, file: &Path) {
    let args = [command, "--etcd-endpoints", etcd.endpoint(), option, file.to_str().unwrap()];
    let output = krake::run("krake-state", &args, &[], HANG_GUARD).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
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
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("krake.backup");
    krake_state(&world.etcd, "backup", "--to", &backup).await;

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), later().to_string()).unwrap();
    let create =
        ["kube", "app", "create", "-f", file.path().to_str().unwrap(), "-L", "location is DE", "later"];
    world.stack.rok_ok(&[&create[..], &["--wait", "--timeout", ROK_HANG_GUARD]].concat()).await.unwrap();
    let path = format!("{DEPLOYMENTS}/later");
    let uid = api.get(&path).await.unwrap().unwrap()["metadata"]["uid"].clone();
    let known = api.get(DEPLOYMENT).await.unwrap().unwrap()["metadata"]["uid"].clone();
    drop(world);

    let etcd = Etcd::start(&ground.binaries).await.unwrap();
    krake_state(&etcd, "restore", "--from", &backup).await;
    let stack = Stack::start(&etcd, SETTINGS).await.unwrap();
    let reported = async || {
        let cluster = stack.rok_json(&["kube", "cluster", "get", "one"]).await.ok()?;
        let orphans = cluster["status"]["orphans"].as_array()?;
        orphans.iter().any(|orphan| orphan["object"]["name"] == "later").then_some(())
    };
    wait::until("the unknown workload to be reported", HANG_GUARD, reported).await.unwrap();
    // What the back-up knows goes on, and can be removed as ever.
    let settled = async || {
        let shown = stack.rok_json(&["kube", "app", "get", "echo-demo"]).await.ok()?;
        (shown["status"]["state"] == "RUNNING").then_some(())
    };
    wait::until("the known application to be RUNNING", HANG_GUARD, settled).await.unwrap();
    let still = api.get(DEPLOYMENT).await.unwrap().unwrap();
    assert_eq!(still["metadata"]["uid"], known, "it is the same workload");
    stack
        .rok_ok(&["kube", "app", "delete", "echo-demo", "--wait", "--timeout", ROK_HANG_GUARD])
        .await
        .unwrap();
    assert!(api.get(DEPLOYMENT).await.unwrap().is_none() && api.get(SERVICE).await.unwrap().is_none());
    let stays = api.get(&path).await.unwrap().unwrap();
    assert_eq!(stays["metadata"]["uid"], uid, "the unknown workload was not touched");
    assert!(available(&stays));
    api.delete(&path).await.unwrap();
}
