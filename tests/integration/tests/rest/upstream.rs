//! Upstream's client library works against the gateway as it is, over every store, and destroys nothing it does not know.

use std::process::Output;

use krake_client::Mask;
use krake_integration::binaries::{Binaries, Component, require};
use krake_integration::etcd::Etcd;
use krake_proto::krake::core::v1::{Metric, MetricSource, MetricSpec};
use krake_proto::krake::kubernetes::v1::{
    Application, ApplicationSpec, Cluster, ClusterSpec, Manifest, MigrationStrategy, Placement,
};
use krake_proto::krake::meta::v1::Metadata;
use serde_json::json;

use crate::world::World;

/// Runs the driver to its end; prints what it said.
async fn drive(binaries: &Binaries, world: &World, what: &str) {
    let driver = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rest/upstream_client.py");
    let mut command = tokio::process::Command::new(binaries.path("krake-test-python").unwrap());
    command.args(["-B", driver, &world.url(""), what]).kill_on_drop(true);
    let deadline = std::time::Duration::from_secs(300);
    let output = tokio::time::timeout(deadline, command.output()).await.expect("the driver comes to its end");
    let Output { status, stdout, stderr } = output.unwrap();
    eprint!("{}", String::from_utf8_lossy(&stdout));
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
}

#[tokio::test]
async fn every_step_over_sqlite() {
    let Some(binaries) = require(&[Component::Python]) else { return };
    let world = World::on(&["--store", "sqlite"], true).await;
    drive(&binaries, &world, "steps").await;
    assert_eq!(world.stored().await, 0, "the driver deletes what it makes");
}

#[tokio::test]
async fn every_step_over_etcd() {
    let Some(binaries) = require(&[Component::Python, Component::Etcd]) else { return };
    let etcd = Etcd::start(&binaries).await.unwrap();
    let world = World::on(&["--etcd-endpoints", etcd.endpoint()], true).await;
    drive(&binaries, &world, "steps").await;
    assert_eq!(world.stored().await, 0, "the driver deletes what it makes");
}

fn metadata(name: &str) -> Option<Metadata> {
    Some(Metadata {
        name: name.into(),
        namespace: "rewritten".into(),
        annotations: [("note".to_owned(), "kept".to_owned())].into(),
        ..Default::default()
    })
}

fn application() -> Application {
    let manifest = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "app" },
        "data": { "text": "written", "large": 18_446_744_073_709_551_615_u64 },
    });
    let spec = ApplicationSpec {
        manifest: vec![Manifest {
            document: Some(krake_proto::json::document(&manifest)),
            ..Default::default()
        }],
        placement: Some(Placement { min_clusters: Some(1), ..Default::default() }),
        migration_strategy: MigrationStrategy::CreateFirst.into(),
        min_gain: Some(0.25),
        min_residency: Some(prost_types::Duration { seconds: 90, nanos: 0 }),
        adopt_existing: true,
        ..Default::default()
    };
    Application { metadata: metadata("app"), spec: Some(spec), status: None }
}

fn cluster() -> Cluster {
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "c", "cluster": { "server": "https://127.0.0.1:1" } }],
        "users": [{ "name": "u", "user": { "token": "t0ken" } }],
        "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
        "current-context": "x",
    });
    let spec = ClusterSpec {
        kubeconfig: Some(krake_proto::json::document(&kubeconfig)),
        allowed_namespaces: vec!["other".into()],
        ..Default::default()
    };
    Cluster { metadata: metadata("cluster"), spec: Some(spec), status: None }
}

fn metric() -> Metric {
    let provider = MetricSource { name: "p".into(), metric: "m".into() };
    let spec = MetricSpec {
        min: Some(0.0),
        max: Some(5.0),
        provider: Some(provider),
        allowed_values: vec![1, 2, 3],
    };
    Metric { metadata: metadata("metric"), spec: Some(spec) }
}

#[tokio::test]
async fn a_read_modify_write_keeps_what_the_library_does_not_know() {
    let Some(binaries) = require(&[Component::Python]) else { return };
    let world = World::on(&["--store", "memory"], false).await;
    let mut app = world.grpc.api().create(&application()).await.unwrap();
    let mut cluster = world.grpc.api().create(&cluster()).await.unwrap();
    let mut metric = world.grpc.api().create(&metric()).await.unwrap();
    // What is kept must not come from the creation: later writes count as well.
    app.spec.as_mut().unwrap().min_gain = Some(0.5);
    app = world.grpc.api().update(&app, Mask::fields(["spec.min_gain"])).await.unwrap();

    drive(&binaries, &world, "rewrite").await;

    let written: Application = world.object("rewritten", "app").await;
    let text = krake_proto::json::to_value(&written, Default::default());
    assert_eq!(text["spec"]["manifest"][0]["data"]["text"], "rewritten");
    assert_eq!(text["spec"]["manifest"][0]["data"]["large"], 18_446_744_073_709_551_615_u64);
    assert_eq!(text["metadata"]["labels"]["seen-by"], "upstream");
    assert_eq!(kept(&written.metadata), kept(&app.metadata));
    // Apart from what the library wrote, the spec is the one before.
    let (mut now, mut before) = (written.spec.unwrap(), app.spec.unwrap());
    for spec in [&mut now, &mut before] {
        spec.manifest.clear();
        known_to_upstream(spec);
    }
    assert_eq!(now, before);
    assert_eq!(
        (now.min_gain, now.adopt_existing),
        (Some(0.5), true),
        "the comparison has something to compare"
    );

    let now: Cluster = world.object("rewritten", "cluster").await;
    assert_eq!(kept(&now.metadata), kept(&cluster.metadata));
    assert_eq!(now.metadata.unwrap().labels["seen-by"], "upstream");
    let (now, before) = (now.spec.unwrap(), cluster.spec.take().unwrap());
    assert_eq!((&now.kubeconfig, now.allowed_namespaces), (&before.kubeconfig, before.allowed_namespaces));

    let now: Metric = world.object("rewritten", "metric").await;
    let before = metric.spec.take().unwrap();
    assert_eq!(now.spec.unwrap(), MetricSpec { max: Some(9.0), ..before });
}

/// Metadata that the library neither knows nor may change.
fn kept(metadata: &Option<Metadata>) -> (String, std::collections::BTreeMap<String, String>) {
    let metadata = metadata.clone().unwrap();
    (metadata.uid, metadata.annotations)
}

/// The library writes its defaults where nothing stood.
fn known_to_upstream(spec: &mut ApplicationSpec) {
    spec.constraints = None;
    spec.tosca = None;
    spec.shutdown_grace_time = None;
}
