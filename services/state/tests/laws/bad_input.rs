//! Laws of bad input: it is named by field, nothing of it is stored, and nobody else notices.

use crate::support::memory;
use crate::support::server::{Server, application, cluster, document, metric, named};
use krake_client::{Api, Error, ListOptions, Mask};
use krake_proto::Resource;
use krake_proto::error::{self, ErrorReason};
use krake_proto::krake::core::v1::{Metric, MetricsProvider};
use krake_proto::krake::kubernetes::v1::{
    Application, ApplicationSpec, Cluster, GetClusterRequest, ListClustersRequest, Manifest,
    WatchClustersRequest, watch_clusters_request,
};
use serde_json::json;

/// Creates `object`, which must be refused because of `field` with `text`, and must not be there afterwards.
async fn refused<K: Resource + std::fmt::Debug>(api: &Api<K>, object: &K, field: &str, text: &str) {
    let error: Error = api.create(object).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::InvalidField), "{error}");
    let violations = error.violations();
    let found = violations.iter().any(|found| found.field == field && found.description.contains(text));
    assert!(found, "{field} {text}: {violations:?}");
    let stored = api.list("-", &ListOptions::default()).await.unwrap();
    assert!(stored.items.is_empty(), "{:?}", stored.items);
}

fn with(change: impl FnOnce(&mut ApplicationSpec)) -> Application {
    let mut wanted = application("a");
    change(wanted.spec.as_mut().unwrap());
    wanted
}

fn constrained(labels: &[&str], metrics: &[&str]) -> Application {
    let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    with(|spec| {
        let constraints = spec.constraints.get_or_insert_default().cluster.get_or_insert_default();
        (constraints.labels, constraints.metrics) = (own(labels), own(metrics));
    })
}

fn pod(extra: serde_json::Value) -> Manifest {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": extra});
    Manifest { document: document(pod), ..Default::default() }
}

#[tokio::test]
async fn applications() {
    let server = Server::start(memory()).await;
    let api = server.client.api::<Application>();
    let deep = (0..100).fold(json!(1), |inner, _| json!({ "x": inner }));
    let bad = [
        (with(|spec| spec.manifest.push(pod(deep))), "spec.manifest[1]", "is nested 101 deep; at most 64"),
        (with(|spec| spec.csar = Some("x".repeat(256 * 1024))), "spec", "at most 262144"),
        (
            with(|spec| spec.manifest.push(pod(json!("x".repeat(4 * 1024 * 1024))))),
            "spec.manifest",
            "is larger than 4194304 bytes",
        ),
        (
            constrained(&["location ~ DE"], &[]),
            "spec.constraints.cluster.labels[0]",
            "unexpected \"~\" at column 10: expected an operator",
        ),
        (
            constrained(&[], &["load <= 3", "heat > NaN"]),
            "spec.constraints.cluster.metrics[1]",
            "unexpected \"NaN\" at column 8: expected a number",
        ),
        (with(|spec| spec.backoff_delay = Some(-5)), "spec.backoff_delay", "must not be negative"),
        (with(|spec| spec.min_gain = Some(f64::NAN)), "spec.min_gain", "must be a finite number"),
        (
            with(|spec| {
                spec.min_residency = Some(prost_types::Duration { seconds: -1, nanos: 0 });
            }),
            "spec.min_residency",
            "must not be negative",
        ),
        (
            Application { metadata: named("demo", "../a"), ..application("a") },
            "metadata.name",
            "'/' (its character 3) is not allowed",
        ),
        (Application { spec: None, ..application("a") }, "spec.manifest", "is empty"),
    ];
    for (object, field, text) in &bad {
        refused(&api, object, field, text).await;
    }
    assert!(api.create(&application("a")).await.is_ok());
}

#[tokio::test]
async fn clusters() {
    let server = Server::start(memory()).await;
    let api = server.client.api::<Cluster>();
    let configured = |config: serde_json::Value| {
        let mut wanted = cluster("c");
        wanted.spec.as_mut().unwrap().kubeconfig = document(config);
        wanted
    };
    let whole = json!({
        "clusters": [{"name": "c", "cluster": {"server": "https://h:6443"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    });
    let mut program = whole.clone();
    program["users"][0]["user"] = json!({"exec": {"command": "sh"}});
    let mut other = whole.clone();
    other["contexts"][0]["context"]["user"] = json!("somebody");
    let bad = [
        (configured(json!({})), "spec.kubeconfig", "is empty"),
        (configured(json!({"clusters": "c"})), "spec.kubeconfig.clusters", "must hold exactly one"),
        (configured(program), "spec.kubeconfig.users[0].user.exec", "is not allowed"),
        (configured(other), "spec.kubeconfig.contexts[0].context.user", "the only user"),
    ];
    for (object, field, text) in &bad {
        refused(&api, object, field, text).await;
    }
    assert!(api.create(&configured(whole)).await.is_ok());
}

#[tokio::test]
async fn metrics_and_their_providers() {
    let server = Server::start(memory()).await;
    let api = server.client.api::<Metric>();
    refused(&api, &metric("demo", "m", 0.0), "spec.min", "it must be less than spec.max").await;
    refused(&api, &metric("demo", "m", -1.0), "spec.min", "it must be less than spec.max").await;
    refused(&api, &metric("demo", "m", f64::NAN), "spec.max", "must be a finite number").await;
    let mut homeless = metric("demo", "m", 1.0);
    homeless.spec.as_mut().unwrap().provider = None;
    refused(&api, &homeless, "spec.provider", "is missing").await;
    let none = MetricsProvider { metadata: named("demo", "p"), ..Default::default() };
    refused(&server.client.api(), &none, "spec.type", "is missing or unknown").await;
}

#[tokio::test]
async fn what_is_stored_stays_as_it_was() {
    let server = Server::start(memory()).await;
    let api = server.client.api::<Application>();
    let created = api.create(&application("a")).await.unwrap();
    let mut worse = created.clone();
    worse.spec.as_mut().unwrap().backoff = Some(0);
    for mask in [Mask::All, Mask::Populated, Mask::fields(["spec.backoff"])] {
        let error = api.update(&worse, mask).await.unwrap_err();
        assert_eq!(error.violations()[0].field, "spec.backoff");
    }
    assert_eq!(api.get("demo", "a").await.unwrap(), created);
}

#[tokio::test]
async fn a_view_that_is_not_known_is_refused_and_not_taken_for_everything() {
    let server = Server::start(memory()).await;
    let list = ListClustersRequest { namespace: "demo".into(), view: 7, ..Default::default() };
    let refused = server.client.clusters().list_clusters(list).await.unwrap_err();
    assert_eq!(error::violations(&refused)[0].field, "view", "{refused}");
    let start = Some(watch_clusters_request::Start::InitialState(true));
    let watch = WatchClustersRequest { namespace: "demo".into(), view: 7, start, ..Default::default() };
    let refused = server.client.clusters().watch_clusters(watch).await.unwrap_err();
    assert_eq!(error::violations(&refused)[0].field, "view", "{refused}");
}

#[tokio::test]
async fn a_consistency_that_is_not_known_is_refused_and_not_taken_for_another() {
    let server = Server::start(memory()).await;
    let get = GetClusterRequest { namespace: "demo".into(), name: "c".into(), consistency: 7 };
    let refused = server.client.clusters().get_cluster(get).await.unwrap_err();
    assert_eq!(error::violations(&refused)[0].field, "consistency", "{refused}");
    let list = ListClustersRequest { namespace: "demo".into(), consistency: 7, ..Default::default() };
    let refused = server.client.clusters().list_clusters(list).await.unwrap_err();
    assert_eq!(error::violations(&refused)[0].field, "consistency", "{refused}");
}
