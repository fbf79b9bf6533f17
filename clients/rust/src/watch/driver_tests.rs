//! Time and streams of the watch, over a scripted source and a clock that jumps.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use krake_proto::error::{ErrorReason, status};
use krake_proto::krake::meta::v1::{EventType, Metadata};
use tokio::time::Instant;
use tonic::Code;

use super::source::MessageStream;
use super::*;

type Script = VecDeque<Result<MessageStream<Metadata>, Error>>;

/// Opens the streams of a script, one after the other; then only streams that never say anything.
struct Scripted {
    script: Mutex<Script>,
    opened: std::sync::Arc<AtomicUsize>,
}

impl Source for Scripted {
    type Object = Metadata;

    fn what(&self) -> &'static str {
        "Test"
    }

    fn open(&self, _: Start) -> BoxFuture<'static, Result<MessageStream<Metadata>, Error>> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let next = self.script.lock().unwrap().pop_front();
        async move { next.unwrap_or_else(|| Ok(futures::stream::pending().boxed())) }.boxed()
    }

    fn metadata(object: &Metadata) -> Option<&Metadata> {
        Some(object)
    }
}

fn watch(
    script: impl IntoIterator<Item = Result<MessageStream<Metadata>, Error>>,
) -> (Watch<Metadata>, std::sync::Arc<AtomicUsize>) {
    let opened = std::sync::Arc::new(AtomicUsize::new(0));
    let script = Mutex::new(script.into_iter().collect());
    (Watch::new(Scripted { script, opened: opened.clone() }, Start::InitialState), opened)
}

fn synced(resource_version: i64) -> Message<Metadata> {
    let changes = vec![(EventType::Added, Metadata { resource_version, ..Default::default() })];
    Message { changes, resource_version, epoch: "e".into(), synced: true, partial: false }
}

fn says_then_is_silent(message: Message<Metadata>) -> Result<MessageStream<Metadata>, Error> {
    Ok(futures::stream::iter([Ok(message)]).chain(futures::stream::pending()).boxed())
}

fn bookmark(resource_version: i64) -> Message<Metadata> {
    Message { changes: Vec::new(), synced: false, ..synced(resource_version) }
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_left_after_ninety_seconds() {
    let (mut watch, opened) = watch([says_then_is_silent(synced(1)), says_then_is_silent(bookmark(2))]);
    for _ in 0..3 {
        watch.next().await.unwrap().unwrap();
    }
    let quiet_since = Instant::now();
    assert_eq!(watch.next().await.unwrap().unwrap(), WatchEvent::Bookmark { resource_version: 2 });
    assert_eq!(opened.load(Ordering::SeqCst), 2);
    let waited = quiet_since.elapsed();
    assert!(waited >= SILENCE && waited < SILENCE + Duration::from_secs(1), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_opens_the_stream_is_left_too() {
    let (mut watch, opened) = watch([Ok(futures::stream::pending().boxed()), says_then_is_silent(synced(1))]);
    assert_eq!(watch.next().await.unwrap().unwrap(), WatchEvent::Restarted);
    assert_eq!(opened.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_wait_longer_and_longer() {
    let refused = || Err(Error::from(Status::unavailable("nobody there")));
    let (mut watch, opened) = watch((0..20).map(|_| refused()).chain([says_then_is_silent(synced(1))]));
    let begun = Instant::now();
    assert_eq!(watch.next().await.unwrap().unwrap(), WatchEvent::Restarted);
    assert_eq!(opened.load(Ordering::SeqCst), 21);
    // 0.2 + 0.4 + … + 3.2 + 15 × 5 s, at least half of it and at most all.
    let waited = begun.elapsed();
    assert!(waited > Duration::from_secs(40) && waited < Duration::from_secs(82), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn an_error_that_trying_again_cannot_help_ends_the_watch() {
    let forbidden = || Err(Error::from(status(Code::PermissionDenied, ErrorReason::Forbidden, "no")));
    let (mut watch, opened) = watch([says_then_is_silent(synced(1)), forbidden()]);
    for _ in 0..3 {
        watch.next().await.unwrap().unwrap();
    }
    assert_eq!(watch.next().await.unwrap().unwrap_err().reason(), Some(ErrorReason::Forbidden));
    assert!(watch.next().await.is_none());
    assert_eq!(opened.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_when_a_poll_is_given_up() {
    let late = futures::stream::once(async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        Ok(synced(1))
    });
    let (mut watch, opened) = watch([Ok(late.chain(futures::stream::pending()).boxed())]);
    assert!(tokio::time::timeout(Duration::from_secs(1), watch.next()).await.is_err());
    assert_eq!(watch.next().await.unwrap().unwrap(), WatchEvent::Restarted);
    assert_eq!(opened.load(Ordering::SeqCst), 1);
}
