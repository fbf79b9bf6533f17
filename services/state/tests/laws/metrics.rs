//! Laws of metrics: what happens is counted, by labels that callers cannot multiply, and reading costs no look at objects.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::uri::PathAndQuery;
use krake_client::{ListOptions, Mask};
use krake_proto::codec::RawCodec;
use krake_proto::krake::core::v1::watch_metrics_request::Start;
use krake_proto::krake::core::v1::{Metric, WatchMetricsRequest};
use krake_state::store::{Store, Txn};
use tokio::time::{sleep, timeout};
use tonic::Code;
use tonic::client::Grpc;

use crate::support::server::{Server, metric};
use crate::support::{PATIENCE, have_etcd, memory, shared_etcd, sqlite};

/// The value of a metric, by its name and labels as they are shown.
fn shown(server: &Server, series: &str) -> Option<f64> {
    let text = server.metrics.encode().unwrap();
    let start = format!("krake_{series} ");
    text.lines().find_map(|line| line.strip_prefix(&start)).map(|value| value.parse().unwrap())
}

/// Waits until a metric has this value.
async fn becomes(server: &Server, series: &str, value: f64) {
    let reached = timeout(PATIENCE, async {
        while shown(server, series) != Some(value) {
            sleep(Duration::from_millis(10)).await;
        }
    });
    if reached.await.is_err() {
        panic!("{series} is {:?}, not {value}", shown(server, series));
    }
}

fn calls(server: &Server, method: &str, code: &str) -> f64 {
    let series = format!("rpc_duration_seconds_count{{method=\"{method}\",code=\"{code}\"}}");
    shown(server, &series).unwrap_or_default()
}

fn operations(server: &Server, backend: &str, operation: &str, outcome: &str) -> f64 {
    let labels = format!("{{backend=\"{backend}\",operation=\"{operation}\",outcome=\"{outcome}\"}}");
    shown(server, &format!("store_operation_duration_seconds_count{labels}")).unwrap_or_default()
}

async fn calls_and_what_they_do_to_the_store_are_counted(backend: &str, store: Arc<dyn Store>) {
    let server = Server::start(store).await;
    let api = server.client.api::<Metric>();
    let mut first = api.create(&metric("demo", "a", 1.0)).await.unwrap();
    let before = operations(&server, backend, "commit", "ok");
    assert!(before >= 1.0, "{before}");
    api.create(&metric("demo", "a", 1.0)).await.unwrap_err();
    first.spec.as_mut().unwrap().max = Some(2.0);
    api.update(&first, Mask::All).await.unwrap();
    assert!(operations(&server, backend, "commit", "ok") > before);
    for _ in 0..3 {
        api.get("demo", "missing").await.unwrap_err();
    }
    let service = "krake.core.v1.MetricService";
    let counted = [
        ("CreateMetric", "OK", 1.0),
        ("CreateMetric", "ALREADY_EXISTS", 1.0),
        ("UpdateMetric", "OK", 1.0),
        ("GetMetric", "NOT_FOUND", 3.0),
        ("GetMetric", "OK", 0.0),
        ("DeleteMetric", "OK", 0.0),
    ];
    for (method, code, count) in counted {
        assert_eq!(calls(&server, &format!("{service}/{method}"), code), count, "{method} {code}");
    }
    assert!(operations(&server, backend, "revision", "ok") >= 3.0, "reads ask how far the store is");
    becomes(&server, "objects{api=\"core\",kind=\"Metric\"}", 1.0).await;
    assert!(shown(&server, "cache_revision").unwrap() > 0.0);
    assert!(shown(&server, "cache_history_bytes").unwrap() > 0.0);
}

#[tokio::test]
async fn calls_and_what_they_do_to_the_store_are_counted_in_memory() {
    calls_and_what_they_do_to_the_store_are_counted("memory", memory()).await;
}

#[tokio::test]
async fn calls_and_what_they_do_to_the_store_are_counted_on_sqlite() {
    calls_and_what_they_do_to_the_store_are_counted("sqlite", sqlite().await).await;
}

#[tokio::test]
async fn calls_and_what_they_do_to_the_store_are_counted_on_etcd() {
    if have_etcd() {
        calls_and_what_they_do_to_the_store_are_counted("etcd", shared_etcd().await).await;
    }
}

async fn each_commit_is_in_one_counted_transaction(backend: &str, store: Arc<dyn Store>) {
    let server = Server::start(store.clone()).await;
    server.client.api::<Metric>().create(&metric("demo", "a", 1.0)).await.unwrap();
    let sum = format!("store_transaction_commits_sum{{backend=\"{backend}\"}}");
    let before = shown(&server, &sum).unwrap();
    const COUNT: u32 = 60;
    let commits = (0..COUNT).map(|number| store.commit(Txn::new().put(format!("/x/{number}"), "")));
    for answer in join_all(commits).await {
        answer.unwrap().unwrap();
    }
    let commits = shown(&server, &sum).unwrap() - before;
    // The service itself writes now and then.
    assert!((f64::from(COUNT)..f64::from(COUNT) + 10.0).contains(&commits), "{commits}");
    let transactions = shown(&server, &format!("store_transaction_commits_count{{backend=\"{backend}\"}}"));
    assert!(transactions.unwrap() < before + f64::from(COUNT), "they shared transactions");
}

#[tokio::test]
async fn each_commit_is_in_one_counted_transaction_on_sqlite() {
    each_commit_is_in_one_counted_transaction("sqlite", sqlite().await).await;
}

#[tokio::test]
async fn each_commit_is_in_one_counted_transaction_on_etcd() {
    if have_etcd() {
        each_commit_is_in_one_counted_transaction("etcd", shared_etcd().await).await;
    }
}

#[tokio::test]
async fn watches_and_connections_are_counted_while_they_are_open() {
    let server = Server::start(memory()).await;
    server.client.api::<Metric>().create(&metric("demo", "a", 1.0)).await.unwrap();
    assert_eq!(shown(&server, "watches"), Some(0.0));
    becomes(&server, "connections{listener=\"grpc\"}", 1.0).await;
    let other = server.connect();
    let start = Some(Start::InitialState(true));
    let request = WatchMetricsRequest { namespace: "demo".into(), start, ..Default::default() };
    let mut watch = other.metrics().watch_metrics(request).await.unwrap().into_inner();
    assert!(!watch.message().await.unwrap().unwrap().events.is_empty());
    becomes(&server, "watches", 1.0).await;
    becomes(&server, "watch_lag_revisions", 0.0).await;
    becomes(&server, "connections{listener=\"grpc\"}", 2.0).await;
    assert_eq!(shown(&server, "connections_accepted_total{listener=\"grpc\"}"), Some(2.0));
    drop((watch, other));
    becomes(&server, "watches", 0.0).await;
    becomes(&server, "watch_pending_bytes", 0.0).await;
    becomes(&server, "connections{listener=\"grpc\"}", 1.0).await;
    assert_eq!(calls(&server, "krake.core.v1.MetricService/WatchMetrics", "OK"), 1.0);
}

#[tokio::test]
async fn invented_methods_are_counted_together() {
    let server = Server::start(memory()).await;
    const COUNT: u16 = 300;
    let series = || server.metrics.encode().unwrap().lines().count();
    let mut before = None;
    for number in 0..COUNT {
        let path = match number % 3 {
            0 => format!("/krake.core.v1.MetricService/Get{number}"),
            1 => format!("/evil{number}.Service/Get"),
            _ => format!("/krake.core.v1.MetricService/GetMetric/%22,x=%22{number}"),
        };
        let mut grpc = Grpc::new(server.client.transport());
        grpc.ready().await.unwrap();
        let path: PathAndQuery = path.parse().unwrap();
        let answer = grpc.unary(tonic::Request::new(Bytes::new()), path, RawCodec).await;
        assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
        before.get_or_insert_with(series);
    }
    assert_eq!(calls(&server, "other", "UNIMPLEMENTED"), f64::from(COUNT));
    // Housekeeping may do something to the store for the first time meanwhile: less than a series for each call.
    assert!(series() < before.unwrap() + usize::from(COUNT) / 2);
    assert!(!server.metrics.encode().unwrap().contains("evil"));
}

#[tokio::test]
async fn reading_metrics_looks_at_no_object() {
    const COUNT: u32 = 200;
    let server = Server::start(memory()).await;
    let api = server.client.api::<Metric>();
    let creates = (0..COUNT).map(|number| {
        let api = api.clone();
        async move { api.create(&metric("demo", &format!("m{number}"), 1.0)).await.unwrap() }
    });
    join_all(creates).await;
    becomes(&server, "objects{api=\"core\",kind=\"Metric\"}", f64::from(COUNT)).await;
    let visited = "cache_visited_objects_total";
    let before = shown(&server, visited).unwrap();
    for _ in 0..50 {
        server.metrics.encode().unwrap();
    }
    assert_eq!(shown(&server, visited), Some(before));
    assert_eq!(api.list("demo", &ListOptions::default()).await.unwrap().items.len(), COUNT as usize);
    assert!(shown(&server, visited) >= Some(before + f64::from(COUNT)), "lists are counted");
}

#[tokio::test]
async fn the_cache_is_behind_while_others_write_and_not_after_a_read() {
    let store = memory();
    let server = Server::start(store.clone()).await;
    server.client.api::<Metric>().create(&metric("demo", "a", 1.0)).await.unwrap();
    becomes(&server, "cache_lag_revisions", 0.0).await;
    // The service looks by itself how far the store is. Its own writes, now and then, bring the cache up to date.
    let behind = timeout(PATIENCE, async {
        while shown(&server, "cache_lag_revisions") < Some(3.0) {
            store.commit(Txn::new().put("/theirs", "")).await.unwrap().unwrap();
            sleep(Duration::from_millis(10)).await;
        }
    });
    behind.await.unwrap();
    server.client.api::<Metric>().get("demo", "a").await.unwrap();
    becomes(&server, "cache_lag_revisions", 0.0).await;
}

#[tokio::test]
async fn a_service_that_has_ended_shows_no_figures_and_lets_its_store_go() {
    let store = memory();
    let mut server = Server::start(store.clone()).await;
    server.client.api::<Metric>().create(&metric("demo", "a", 1.0)).await.unwrap();
    server.stop().await;
    // Its tasks are cancelled, and gone a little later.
    let let_go = timeout(PATIENCE, async {
        while Arc::strong_count(&store) > 1 {
            sleep(Duration::from_millis(10)).await;
        }
    });
    let_go.await.unwrap();
    assert_eq!(shown(&server, "cache_revision"), None);
    assert!(calls(&server, "krake.core.v1.MetricService/CreateMetric", "OK") > 0.0, "counts stay");
}
