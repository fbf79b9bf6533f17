//! The test environment itself works: each real component starts, answers, and follows what a test does to it.
#![allow(clippy::unwrap_used, reason = "in a test, its helpers included, a panic is the verdict")]

use std::time::Duration;

use krake_integration::binaries::{Binaries, Component, require};
use krake_integration::etcd::Etcd;
use krake_integration::exporter::Exporter;
use krake_integration::krake;
use krake_integration::kubernetes::Kubernetes;
use krake_integration::prometheus::Prometheus;
use krake_integration::wait::{self, HANG_GUARD};
use serde_json::{Value, json};

#[tokio::test]
async fn etcd_keeps_its_data_over_a_kill() {
    let Some(binaries) = require(&[Component::Etcd]) else { return };
    let mut etcd = Etcd::start(&binaries).await.unwrap();
    etcd.put("/a/one", b"1").await.unwrap();
    etcd.put("/a/two", b"2").await.unwrap();
    etcd.put("/b", b"3").await.unwrap();

    etcd.process.kill().unwrap();
    assert!(etcd.get("/a/one").await.is_err());
    etcd.process.restart().unwrap();
    etcd.ready().await.unwrap();

    assert_eq!(etcd.get("/a/one").await.unwrap(), Some(b"1".to_vec()));
    assert_eq!(etcd.get("/c").await.unwrap(), None);
    assert_eq!(etcd.keys("/a/").await.unwrap(), ["/a/one", "/a/two"]);
}

#[tokio::test]
async fn prometheus_follows_the_values_that_a_test_sets() {
    let Some(binaries) = require(&[Component::Prometheus]) else { return };
    let exporter = Exporter::start().unwrap();
    exporter.set("load", &[("cluster", "one")], 0.25);
    exporter.set("load", &[("cluster", "two")], 0.75);
    let prometheus = Prometheus::start(&binaries, &[exporter.address()]).await.unwrap();
    prometheus.wait_for("load{cluster=\"one\"}", 0.25, HANG_GUARD).await.unwrap();

    exporter.set("load", &[("cluster", "one")], 0.5);
    prometheus.wait_for("load{cluster=\"one\"}", 0.5, HANG_GUARD).await.unwrap();

    let mut samples = prometheus.query("load").await.unwrap();
    samples.sort_by(|one, other| one.value.total_cmp(&other.value));
    let shown: Vec<_> =
        samples.iter().map(|sample| (sample.labels["cluster"].as_str(), sample.value)).collect();
    assert_eq!(shown, [("one", 0.5), ("two", 0.75)]);

    exporter.remove("load", &[("cluster", "one")]);
    let gone = async || prometheus.query("load{cluster=\"one\"}").await.ok()?.is_empty().then_some(());
    wait::until("the series to be gone", HANG_GUARD, gone).await.unwrap();
}

#[tokio::test]
async fn two_kubernetes_clusters_run_workloads_apart() {
    let Some(binaries) = require(&[Component::Etcd35, Component::Kubernetes]) else { return };
    let etcd = Kubernetes::etcd(&binaries).await.unwrap();
    let (mut one, two) = two_clusters(&binaries, &etcd).await;

    let path = "/apis/apps/v1/namespaces/default/deployments/web";
    one.api().apply(path, &deployment("web", 2)).await.unwrap();
    let available = |deployment: &Value| deployment["status"]["availableReplicas"] == 2;
    one.wait_for(path, HANG_GUARD, available).await.unwrap();
    assert_eq!(two.api().get(path).await.unwrap(), None, "the clusters share their objects");

    let scaled = json!({"spec": {"replicas": 3}});
    one.api().patch(path, &scaled).await.unwrap().unwrap();
    one.wait_for(path, HANG_GUARD, |deployment| deployment["status"]["availableReplicas"] == 3)
        .await
        .unwrap();

    // An API server that stands still answers nobody, and serves the same objects when it goes on.
    one.api_server.pause().unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(1), one.api().get(path)).await.is_err());
    one.api_server.resume().unwrap();
    one.ready().await.unwrap();
    assert_eq!(one.api().list("/api/v1/namespaces/default/pods").await.unwrap().len(), 3);

    assert!(one.api().delete(path).await.unwrap());
    one.wait_for_absence(path, HANG_GUARD).await.unwrap();
    assert!(!one.api().delete(path).await.unwrap());
}

#[tokio::test]
async fn every_executable_of_krake_is_built() {
    for name in ["krake-state", "krake-scheduler", "krake-gc", "krake-kubernetes", "rok"] {
        let output = krake::run(name, &["--help"], &[], HANG_GUARD).await.unwrap();
        assert!(output.status.success(), "{name} --help: {output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("Usage"), "{name} --help: {output:?}");
    }
}

/// At the same time, which is quicker than one after the other.
async fn two_clusters(binaries: &Binaries, etcd: &Etcd) -> (Kubernetes, Kubernetes) {
    let one = Kubernetes::start(binaries, etcd, "one", 1);
    let two = Kubernetes::start(binaries, etcd, "two", 1);
    tokio::try_join!(one, two).unwrap()
}

fn deployment(name: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "none"}]},
            },
        },
    })
}
