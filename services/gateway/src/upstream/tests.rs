//! Watches over REST whose stream from the state service breaks.

use std::time::Duration;

use krake_proto::envelope::{WatchRequest, WatchResponse, WatchStart};
use krake_proto::error::{self, ErrorReason};
use rstest::rstest;
use tonic::{Code, Status};

use crate::Options;
use crate::fake_state::{EPOCH, FakeState, Messages, changes};

const WATCH: &str = "/core/namespaces/demo/metrics?watch&heartbeat=0";

/// The resumed stream, which must begin after `revision`.
async fn resumed(state: &mut FakeState, revision: i64) -> Messages {
    let call = state.call("WatchMetrics").await;
    let request: WatchRequest = call.request();
    assert_eq!(request.start, Some(WatchStart::After(revision)));
    assert_eq!((request.epoch.as_str(), request.namespace.as_str()), (EPOCH, "demo"));
    call.stream()
}

fn unavailable() -> Status {
    error::status(Code::Unavailable, ErrorReason::StoreUnavailable, "the store is away")
}

#[rstest]
#[case::broken(Messages::break_off)]
#[case::ended(drop)]
#[case::shut_down(|messages: Messages| {
    messages.refuse(&error::status(Code::Unavailable, ErrorReason::ShuttingDown, "bye"));
})]
#[case::too_slow(|messages: Messages| {
    messages.refuse(&error::status(Code::Aborted, ErrorReason::WatcherTooSlow, "too slow"));
})]
#[case::from_a_proxy(|messages: Messages| messages.refuse(&Status::internal("h2 protocol error")))]
#[tokio::test]
async fn it_goes_on_without_gap_or_repetition(#[case] interrupt: fn(Messages)) {
    let mut state = FakeState::start().await;
    let (mut lines, messages) = state.watch(WATCH, 10).await;
    messages.send(&changes(&["a"], 11));
    // Half of a revision: what was shown of it must not be shown again.
    messages.send(&WatchResponse { partial: true, ..changes(&["b"], 12) });
    assert_eq!(lines.names().await, ["a", "b"]);
    interrupt(messages);

    // The state service is away for a while.
    state.call("WatchMetrics").await.refuse(&unavailable());
    let messages = resumed(&mut state, 11).await;
    messages.send(&changes(&["b", "c"], 12));
    messages.send(&changes(&["d"], 13));
    assert_eq!(lines.names().await, ["c", "d"]);

    // Again and again.
    interrupt(messages);
    let messages = resumed(&mut state, 13).await;
    messages.send(&changes(&["e"], 14));
    assert_eq!(lines.names().await, ["e"]);
}

#[tokio::test]
async fn heartbeats_go_on_while_it_is_interrupted() {
    let mut state = FakeState::start().await;
    let (mut lines, messages) = state.watch("/core/namespaces/demo/metrics?watch&heartbeat=1", 10).await;
    messages.break_off();
    // Opened, but no message comes: neither is an answer to the caller.
    let messages = resumed(&mut state, 10).await;
    for _ in 0..2 {
        assert_eq!(lines.line().await.unwrap(), "");
    }
    messages.send(&changes(&["a"], 11));
    assert_eq!(lines.names().await, ["a"]);
}

#[rstest]
#[case::compacted(Code::OutOfRange, ErrorReason::RevisionCompacted, 410)]
#[case::permissions(Code::Aborted, ErrorReason::PermissionsChanged, 503)]
#[case::revoked(Code::PermissionDenied, ErrorReason::Forbidden, 403)]
#[case::unknown(Code::Unauthenticated, ErrorReason::Unauthenticated, 401)]
#[tokio::test]
async fn a_gap_ends_it_with_one_line(#[case] code: Code, #[case] reason: ErrorReason, #[case] expected: u64) {
    let mut state = FakeState::start().await;
    let (lines, messages) = state.watch(WATCH, 10).await;
    messages.break_off();
    state.call("WatchMetrics").await.refuse(&error::status(code, reason, "no"));
    assert_eq!(lines.error().await, expected);

    let (lines, messages) = state.watch(WATCH, 10).await;
    messages.refuse(&error::status(code, reason, "no"));
    assert_eq!(lines.error().await, expected, "while it was open");
}

#[tokio::test]
async fn another_history_ends_it_with_one_line() {
    let mut state = FakeState::start().await;
    let (lines, messages) = state.watch(WATCH, 10).await;
    messages.break_off();
    let restored = WatchResponse { epoch: "other".to_owned(), ..changes(&["a"], 5) };
    resumed(&mut state, 10).await.send(&restored);
    assert_eq!(lines.error().await, 410);
}

#[tokio::test]
async fn a_silent_stream_is_given_up_and_resumed() {
    let options = Options { watch_silence: Duration::from_secs(1), ..Options::default() };
    let mut state = FakeState::behind(options).await;
    let (mut lines, messages) = state.watch(WATCH, 10).await;
    // Open, and silent from now on, until a resumed stream has brought its line. A slow test may lose some of them too.
    let mut open = vec![messages];
    let [name] = loop {
        tokio::select! {
            names = lines.names() => break names,
            call = state.call("WatchMetrics") => {
                let messages = call.stream();
                messages.send(&changes(&["a"], 11));
                open.push(messages);
            }
        }
    };
    assert_eq!(name, "a");
}

#[tokio::test]
async fn the_last_line_of_a_quiet_watch_says_where_to_go_on() {
    let mut state = FakeState::start().await;
    let (lines, messages) = state.watch(WATCH, 10).await;
    // A bookmark, which lines do not show.
    messages.send(&changes(&[], 20));
    messages.refuse(&error::status(Code::Unauthenticated, ErrorReason::Unauthenticated, "no"));
    let last = lines.last().await;
    assert_eq!((&last["resource_version"], &last["epoch"]), (&20.into(), &EPOCH.into()), "{last}");

    let (lines, messages) = state.watch(WATCH, 10).await;
    messages.refuse(&error::status(
        Code::OutOfRange,
        ErrorReason::RevisionCompacted,
        "start over with initial_state",
    ));
    let last = lines.last().await;
    assert!(last.get("resource_version").is_none(), "there is a gap: {last}");
    let text = last["object"]["detail"].as_str().unwrap();
    assert!(text.contains("list again") && !text.contains("initial_state"), "{text}");
}

#[tokio::test]
async fn shutdown_ends_it_with_one_line_even_while_it_is_interrupted() {
    let mut state = FakeState::start().await;
    let (open, _messages) = state.watch(WATCH, 10).await;
    let (interrupted, messages) = state.watch(WATCH, 10).await;
    messages.break_off();
    // Held without an answer.
    let _held = state.call("WatchMetrics").await;
    state.shutdown.request();
    assert_eq!(open.error().await, 503);
    assert_eq!(interrupted.error().await, 503);
}
