//! Laws of watches that resume: over a restart of the service, after a compaction, in another history, and too late.

use std::sync::Arc;
use std::time::Duration;

use crate::support::server::{Server, metric, stored};
use crate::support::{Etcd, PATIENCE, have_etcd, memory, shared_etcd};
use krake_client::{DeleteOptions, Mask};
use krake_proto::Resource;
use krake_proto::error::{ErrorReason, reason};
use krake_proto::krake::core::v1::watch_metrics_request::Start;
use krake_proto::krake::core::v1::{Metric, WatchMetricsRequest, WatchMetricsResponse};
use krake_proto::krake::meta::v1::EventType;
use krake_state::store::{Revision, Store, Txn};
use prost::Message;
use tokio::time::timeout;
use tonic::{Status, Streaming};

fn after(revision: i64) -> WatchMetricsRequest {
    WatchMetricsRequest {
        namespace: "demo".into(),
        start: Some(Start::After(revision)),
        ..Default::default()
    }
}

async fn watch(
    server: &Server,
    request: WatchMetricsRequest,
) -> Result<Streaming<WatchMetricsResponse>, Status> {
    Ok(server.client.metrics().watch_metrics(request).await?.into_inner())
}

/// The next `count` events of the stream in short: type, name and maximum.
async fn events(stream: &mut Streaming<WatchMetricsResponse>, count: usize) -> Vec<(EventType, String, f64)> {
    let mut found = Vec::new();
    while found.len() < count {
        let message = timeout(PATIENCE, stream.message()).await.expect("a message comes in time").unwrap();
        for event in message.expect("a watch does not end").events {
            let (kind, metric) = (event.r#type(), event.object.unwrap_or_default());
            let max = metric.spec.unwrap_or_default().max();
            found.push((kind, metric.metadata.unwrap_or_default().name, max));
        }
    }
    found
}

fn version(metric: &Metric) -> i64 {
    metric.metadata.as_ref().unwrap().resource_version
}

async fn a_restart_of_the_service_hides_nothing(store: Arc<dyn Store>) {
    let first = Server::start(store.clone()).await;
    let api = first.client.api::<Metric>();
    let place = version(&api.create(&metric("demo", "a", 1.0)).await.unwrap());
    let mut changed = api.create(&metric("demo", "b", 1.0)).await.unwrap();
    changed.spec.as_mut().unwrap().max = Some(2.0);
    api.update(&changed, Mask::All).await.unwrap();
    api.create(&metric("other", "hidden", 1.0)).await.unwrap();
    let force = DeleteOptions { force: true, ..Default::default() };
    api.delete("demo", "a", &force).await.unwrap();
    api.create(&metric("demo", "a", 3.0)).await.unwrap();
    drop(first);

    let second = Server::start(store).await;
    let mut stream = watch(&second, after(place)).await.unwrap();
    let seen = events(&mut stream, 4).await;
    let expected = [
        (EventType::Added, "b".to_owned(), 1.0),
        (EventType::Modified, "b".to_owned(), 2.0),
        (EventType::Deleted, "a".to_owned(), 1.0),
        (EventType::Added, "a".to_owned(), 3.0),
    ];
    assert_eq!(seen, expected);
    second.client.api().create(&metric("demo", "c", 4.0)).await.unwrap();
    assert_eq!(events(&mut stream, 1).await, [(EventType::Added, "c".to_owned(), 4.0)]);
}

#[tokio::test]
async fn a_restart_on_memory_hides_nothing() {
    a_restart_of_the_service_hides_nothing(memory()).await;
}

#[tokio::test]
async fn a_restart_on_etcd_hides_nothing() {
    if have_etcd() {
        a_restart_of_the_service_hides_nothing(shared_etcd().await).await;
    }
}

/// Whoever resumes on one replica learns at least how far the store is, whatever another one wrote just before.
async fn a_resumed_watch_tells_how_far_the_store_is(store: Arc<dyn Store>) {
    let (one, other) = (Server::start(store.clone()).await, Server::start(store).await);
    let place = version(&one.client.api().create(&metric("demo", "a", 1.0)).await.unwrap());
    for round in 0..20 {
        let hidden = metric("other", &format!("m{round}"), 1.0);
        let written = version(&other.client.api().create(&hidden).await.unwrap());
        let now = WatchMetricsRequest { start: Some(Start::Now(true)), ..after(0) };
        for request in [after(place), now] {
            let mut stream = watch(&one, request).await.unwrap();
            let first = timeout(PATIENCE, stream.message()).await.unwrap().unwrap().unwrap();
            assert!(first.events.is_empty() && !first.partial && !first.synced, "{first:?}");
            assert!(first.resource_version >= written, "{} < {written}", first.resource_version);
        }
    }
}

#[tokio::test]
async fn a_resumed_watch_on_memory_tells_how_far_the_store_is() {
    a_resumed_watch_tells_how_far_the_store_is(memory()).await;
}

#[tokio::test]
async fn a_resumed_watch_on_etcd_tells_how_far_the_store_is() {
    if have_etcd() {
        a_resumed_watch_tells_how_far_the_store_is(shared_etcd().await).await;
    }
}

/// After a restart the service still tells what the store remembers, and says of the rest that it is gone.
async fn what_is_compacted_is_refused_and_the_rest_is_told(store: Arc<dyn Store>) {
    let first = Server::start(store.clone()).await;
    let api = first.client.api::<Metric>();
    let mut versions = Vec::new();
    for index in 0..6 {
        versions.push(version(&api.create(&metric("demo", &format!("m{index}"), 1.0)).await.unwrap()));
    }
    drop(first);
    store.compact(Revision(versions[2])).await.unwrap();
    let second = Server::start(store).await;
    let refused = watch(&second, after(versions[1])).await.unwrap_err();
    assert_eq!(reason(&refused), Some(ErrorReason::RevisionCompacted), "{refused}");
    let mut stream = watch(&second, after(versions[2])).await.unwrap();
    let names: Vec<String> = events(&mut stream, 3).await.into_iter().map(|(_, name, _)| name).collect();
    assert_eq!(names, ["m3", "m4", "m5"]);
}

#[tokio::test]
async fn a_restart_over_a_compacted_memory_tells_what_it_can() {
    what_is_compacted_is_refused_and_the_rest_is_told(memory()).await;
}

#[tokio::test]
async fn a_restart_over_a_compacted_etcd_tells_what_it_can() {
    if have_etcd() {
        let etcd = Etcd::start().await;
        what_is_compacted_is_refused_and_the_rest_is_told(etcd.store("/compacted/").await).await;
    }
}

#[tokio::test]
async fn another_history_or_the_future_is_refused() {
    let server = Server::start(memory()).await;
    let created = server.client.api().create(&metric("demo", "m", 1.0)).await.unwrap();
    let other = WatchMetricsRequest { epoch: "restored".into(), ..after(version(&created)) };
    let refused = watch(&server, other).await.unwrap_err();
    assert_eq!(reason(&refused), Some(ErrorReason::RevisionCompacted), "{refused}");
    let refused = watch(&server, after(version(&created) + 1_000)).await.unwrap_err();
    assert_eq!(reason(&refused), Some(ErrorReason::RevisionCompacted), "{refused}");
    assert!(watch(&server, after(version(&created))).await.is_ok());
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_let_go_and_nobody_else_notices() {
    let store = memory();
    let server = Server::start(store.clone()).await;
    let created = server.client.api().create(&metric("demo", "m", 1.0)).await.unwrap();
    let lazy = server.connect().metrics().watch_metrics(after(version(&created))).await;
    let mut lazy = lazy.unwrap().into_inner();
    let mut keen = watch(&server, after(version(&created))).await.unwrap();
    // Far more than a connection holds, and more than the service keeps.
    let mut large = metric("demo", "m", 2.0);
    large.spec.as_mut().unwrap().provider.as_mut().unwrap().metric = "x".repeat(1 << 20);
    let value = bytes::Bytes::from(stored(Metric::KIND, &large.encode_to_vec()));
    for _ in 0..180 {
        store.commit(Txn::new().put("/krake/core/metrics/demo/m", value.clone())).await.unwrap().unwrap();
        events(&mut keen, 1).await;
    }
    let mut last = version(&created);
    let ended = async {
        loop {
            match lazy.message().await {
                Ok(message) => last = last.max(message.expect("it ends with an error").resource_version),
                Err(status) => return status,
            }
        }
    };
    let status = timeout(PATIENCE + Duration::from_secs(30), ended).await.unwrap();
    assert_eq!(reason(&status), Some(ErrorReason::WatcherTooSlow), "{status}");
    let refused = watch(&server, after(last)).await.unwrap_err();
    assert_eq!(reason(&refused), Some(ErrorReason::RevisionCompacted), "what it missed is not kept");
}
