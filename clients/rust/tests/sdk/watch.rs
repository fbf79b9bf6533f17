//! Watch and mirror over a real socket, against a fake server.

use std::time::Duration;

use crate::fake::{Fake, HANG_GUARD, compacted, message, metric, synced};
use futures::StreamExt;
use krake_client::{Change, Mirror, MirrorClosed, NamespacedName, Watch, WatchEvent, WatchOptions};
use krake_proto::Resource;
use krake_proto::error::{ErrorReason, status};
use krake_proto::krake::core::v1::watch_metrics_request::Start;
use krake_proto::krake::core::v1::{Metric, WatchMetricsResponse};
use krake_proto::krake::meta::v1::EventType::{Added, Deleted, LeftFilter, Modified};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status};

async fn next(watch: &mut Watch<Metric>) -> WatchEvent<Metric> {
    tokio::time::timeout(HANG_GUARD, watch.next()).await.unwrap().unwrap().unwrap()
}

fn applied(name: &str, version: i64, initial: bool) -> WatchEvent<Metric> {
    WatchEvent::Applied { object: metric(name, version), initial }
}

#[tokio::test]
async fn a_watch_that_is_cut_resumes_after_the_last_whole_revision() {
    let mut server = Fake::start().await;
    let options = WatchOptions { label_selector: "tier=edge".into(), ..WatchOptions::namespace("ns") };
    let mut watch = server.client.api::<Metric>().watch(options);
    let reader = tokio::spawn(async move {
        let mut events = Vec::new();
        for _ in 0..9 {
            events.push(next(&mut watch).await);
        }
        events
    });

    let call = server.watch().await;
    assert_eq!((call.request.namespace.as_str(), call.request.label_selector.as_str()), ("ns", "tier=edge"));
    assert_eq!(call.request.start, Some(Start::InitialState(true)));
    call.send(synced(&[("a", 3)], 5)).await;
    call.send(message(&[(Modified, "a", 6)], 6)).await;
    call.send(WatchMetricsResponse { partial: true, ..message(&[(Added, "b", 7)], 7) }).await;
    call.fail(Status::unavailable("the network is gone")).await;

    let call = server.watch().await;
    assert_eq!(call.request.start, Some(Start::After(6)), "a partial message is no resume point");
    assert_eq!((call.request.epoch.as_str(), call.request.label_selector.as_str()), ("e1", "tier=edge"));
    call.send(message(&[(Added, "b", 7), (LeftFilter, "a", 7)], 7)).await;
    drop(call);

    let call = server.watch().await;
    assert_eq!(call.request.start, Some(Start::After(7)));
    call.send(message(&[(Deleted, "b", 8)], 8)).await;
    let expected = [
        WatchEvent::Restarted,
        applied("a", 3, true),
        WatchEvent::Synced { resource_version: 5 },
        applied("a", 6, false),
        WatchEvent::Bookmark { resource_version: 6 },
        applied("b", 7, false),
        WatchEvent::LeftFilter(metric("a", 7)),
        WatchEvent::Bookmark { resource_version: 7 },
        WatchEvent::Deleted(metric("b", 8)),
    ];
    assert_eq!(reader.await.unwrap(), expected);
}

#[tokio::test]
async fn a_refused_watch_ends_with_the_reason() {
    let mut server = Fake::start().await;
    let mut watch = server.client.api::<Metric>().watch(WatchOptions::all_namespaces());
    let reader = tokio::spawn(async move { (watch.next().await, watch.next().await.is_none()) });
    let forbidden = status(Code::PermissionDenied, ErrorReason::Forbidden, "you may not list metrics");
    server.watch().await.fail(forbidden).await;
    let (first, ended) = reader.await.unwrap();
    assert_eq!(first.unwrap().unwrap_err().reason(), Some(ErrorReason::Forbidden));
    assert!(ended);
}

/// A reader that does not read makes the server wait, whose way out is WATCHER_TOO_SLOW; nothing is lost.
#[tokio::test]
async fn a_slow_reader_holds_the_stream_back_and_resumes_when_the_server_gives_up() {
    let mut server = Fake::start().await;
    let mut watch = server.client.api::<Metric>().watch(WatchOptions::all_namespaces());
    let reading = tokio::spawn(async move {
        assert_eq!(next(&mut watch).await, WatchEvent::Restarted);
        watch
    });
    let call = server.watch().await;
    call.send(synced(&[], 1)).await;
    let mut watch = reading.await.unwrap();

    let mut large = message(&[(Modified, "a", 2)], 2);
    let object = large.events[0].object.as_mut().unwrap();
    object.metadata_mut().annotations.insert("fill".into(), "x".repeat(1 << 20));
    let mut sent = 1;
    while call.takes(large.clone(), Duration::from_millis(500)).await {
        sent += 1;
        large.resource_version += 1;
        large.events[0].object.as_mut().unwrap().metadata_mut().resource_version += 1;
        assert!(sent < 100, "a reader that does not read must not be sent without limit");
    }
    // The buffers are full; what is in flight may be lost with the stream.
    drop(call);
    let reading = tokio::spawn(async move {
        let mut versions = Vec::new();
        while versions.last() != Some(&200) {
            if let WatchEvent::Applied { object, .. } = next(&mut watch).await {
                versions.push(object.metadata().unwrap().resource_version);
            }
        }
        versions
    });
    let call = server.watch().await;
    let Some(Start::After(resumed)) = call.request.start else { panic!("{:?}", call.request) };
    for version in resumed..=sent + 1 {
        call.send(message(&[(Modified, "a", version)], version)).await;
    }
    call.send(message(&[(Modified, "a", 200)], 200)).await;
    let expected: Vec<i64> = (2..=sent + 1).chain([200]).collect();
    assert_eq!(reading.await.unwrap(), expected, "every revision once, in order");
}

type Told = (String, Change, Option<i64>, Option<i64>);

/// A mirror of versions, its feed, and what it tells.
fn mirror(server: &Fake) -> (Mirror<i64>, AbortOnDropHandle<()>, mpsc::Receiver<Told>) {
    let (mirror, feed) =
        Mirror::of_kind(|metric: &Metric| metric.metadata.as_ref().map(|metadata| metadata.resource_version));
    let watch = server.client.api::<Metric>().watch(WatchOptions::namespace(""));
    let (tell, told) = mpsc::channel(1000);
    let task = tokio::spawn(async move {
        let run = feed.run(watch, move |notice| {
            let value = |value: Option<std::sync::Arc<i64>>| value.map(|value| *value);
            let item = (notice.key.to_string(), notice.change, value(notice.before), value(notice.after));
            tell.try_send(item).unwrap();
        });
        assert!(run.await.is_err());
    });
    (mirror, AbortOnDropHandle::new(task), told)
}

async fn wait_for(mirror: &Mirror<i64>, resource_version: i64) {
    tokio::time::timeout(HANG_GUARD, mirror.wait_for(resource_version)).await.unwrap().unwrap();
}

/// There is nothing to wait on for this: looks until it is so.
async fn unsynced(mirror: &Mirror<i64>) {
    while mirror.is_synced() {
        tokio::task::yield_now().await;
    }
}

fn contents(mirror: &Mirror<i64>) -> Vec<(String, i64)> {
    mirror.snapshot().into_iter().map(|(key, value)| (key.to_string(), *value)).collect()
}

#[tokio::test]
async fn after_compaction_the_mirror_reports_what_is_missing_as_vanished_never_as_deleted() {
    let mut server = Fake::start().await;
    let (mirror, _feed, mut told) = mirror(&server);
    let call = server.watch().await;
    assert!(!mirror.is_synced());
    call.send(synced(&[("a", 1), ("b", 2), ("c", 3)], 3)).await;
    tokio::time::timeout(HANG_GUARD, mirror.synced()).await.unwrap().unwrap();
    call.send(message(&[(Deleted, "c", 4)], 4)).await;
    wait_for(&mirror, 4).await;
    assert_eq!(contents(&mirror), [("a".into(), 1), ("b".into(), 2)]);
    call.fail(compacted()).await;

    let call = server.watch().await;
    assert_eq!(call.request.start, Some(Start::InitialState(true)));
    let half = message(&[(Added, "b", 2)], 9);
    call.send(WatchMetricsResponse { partial: true, ..half }).await;
    tokio::time::timeout(HANG_GUARD, unsynced(&mirror)).await.unwrap();
    assert_eq!(contents(&mirror).len(), 2, "old contents serve meanwhile");
    call.send(synced(&[("d", 8)], 9)).await;
    wait_for(&mirror, 9).await;
    assert_eq!(contents(&mirror), [("b".into(), 2), ("d".into(), 8)]);

    let mut all = Vec::new();
    while let Ok(item) = told.try_recv() {
        all.push(item);
    }
    let expected: Vec<Told> = vec![
        ("a".into(), Change::Applied, None, Some(1)),
        ("b".into(), Change::Applied, None, Some(2)),
        ("c".into(), Change::Applied, None, Some(3)),
        ("c".into(), Change::Deleted, Some(3), None),
        ("b".into(), Change::Resynced, Some(2), Some(2)),
        ("d".into(), Change::Applied, None, Some(8)),
        ("a".into(), Change::Vanished, Some(1), None),
    ];
    assert_eq!(all, expected);
}

#[tokio::test]
async fn changes_of_one_object_arrive_in_order_across_cuts() {
    let mut server = Fake::start().await;
    let (mirror, _feed, mut told) = mirror(&server);
    let call = server.watch().await;
    call.send(synced(&[("a", 1)], 1)).await;
    drop(call);
    let mut version = 1;
    for _ in 0..5 {
        let call = server.watch().await;
        assert_eq!(call.request.start, Some(Start::After(version)));
        for _ in 0..3 {
            version += 1;
            // The revision before comes again: the server promises at least once.
            call.send(message(&[(Modified, "a", version - 1), (Modified, "a", version)], version)).await;
        }
        wait_for(&mirror, version).await;
        call.fail(Status::unavailable("cut")).await;
    }
    let mut seen = Vec::new();
    while let Ok((_, _, _, after)) = told.try_recv() {
        seen.push(after.unwrap());
    }
    assert_eq!(seen, (1..=version).collect::<Vec<_>>());
    assert_eq!(mirror.get(&NamespacedName::new("", "a")).as_deref(), Some(&version));
    assert_eq!(mirror.get(&NamespacedName::new("ns", "a")), None);
}

#[tokio::test]
async fn waiting_for_a_mirror_without_feed_is_an_error() {
    let (mirror, feed) = Mirror::of_kind(|_: &Metric| Some(()));
    drop(feed);
    assert_eq!(mirror.synced().await, Err(MirrorClosed));
    assert_eq!(mirror.wait_for(1).await, Err(MirrorClosed));
}
