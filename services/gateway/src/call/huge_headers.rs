//! Answers of the state service, or of a proxy before it, with huge headers: they harm only their own caller.

use http::{HeaderMap, HeaderName, HeaderValue};
use rstest::rstest;
use tonic::{Code, Status};

use crate::fake_state::{Call, FakeState, changes, metric};

const METRICS: &str = "/core/namespaces/demo/metrics";
const WATCH: &str = "/core/namespaces/demo/metrics?watch&heartbeat=0";

/// Maximum size of headers in tests that go beyond it, in bytes: small, because a debug build decodes them slowly.
pub(super) const HEADER_LIMIT: u32 = 64 << 10;
/// Headers that close the connection, in bytes: HTTP/2 refuses more than five frames of 16 KiB beyond the limit.
pub(super) const BEYOND_HEADER_LIMIT: usize = 1 << 20;

/// Answers a call, with these headers too.
type Answering = fn(Call, HeaderMap);

/// `count` headers of `size` bytes each.
pub(super) fn headers(count: usize, size: usize) -> HeaderMap {
    let value = HeaderValue::try_from("x".repeat(size)).unwrap();
    (0..count).map(|n| (HeaderName::try_from(format!("x-huge-{n}")).unwrap(), value.clone())).collect()
}

fn before(call: Call, huge: HeaderMap) {
    call.answer_with(&metric("huge", 1), huge, HeaderMap::new());
}

fn after(call: Call, huge: HeaderMap) {
    call.answer_with(&metric("huge", 1), HeaderMap::new(), huge);
}

fn refusal(call: Call, huge: HeaderMap) {
    call.refuse_with(&Status::new(Code::InvalidArgument, "wrong"), huge);
}

#[rstest]
#[tokio::test]
async fn they_are_read_and_other_calls_and_watches_go_on(
    #[values((before as Answering, 200), (after as Answering, 200), (refusal as Answering, 422))]
    (answer, expected): (Answering, u16),
    #[values((1, 20 << 10), (100, 5 << 10), (200, 10 << 10), (1, 2 << 20))] (count, size): (usize, usize),
) {
    let mut state = FakeState::start().await;
    let (mut lines, messages) = state.watch(WATCH, 10).await;
    let other = state.get(&format!("{METRICS}/other"));
    let others_call = state.call("GetMetric").await;

    let huge = state.get(&format!("{METRICS}/huge"));
    answer(state.call("GetMetric").await, headers(count, size));
    let huge = huge.await.unwrap();
    assert_eq!((huge.status, &huge.body["detail"].is_string()), (expected, &(expected == 422)));

    others_call.answer(&metric("other", 1));
    assert_eq!(other.await.unwrap().body["metadata"]["name"], "other");
    messages.send(&changes(&["a"], 11));
    assert_eq!(lines.names().await, ["a"]);
    assert_eq!(state.connections(), 2, "one for all watches, one for all other calls");
}

#[rstest]
#[tokio::test]
async fn beyond_every_limit_calls_fail_as_passing_and_watches_go_on(
    #[values(before, after, refusal)] answer: Answering,
) {
    let mut state = FakeState::with_max_header_bytes(HEADER_LIMIT).await;
    let (mut lines, messages) = state.watch(WATCH, 10).await;
    let huge = state.get(&format!("{METRICS}/huge"));
    answer(state.call("GetMetric").await, headers(1, BEYOND_HEADER_LIMIT));
    // The gateway repeats the read on a connection of its own.
    answer(state.call("GetMetric").await, headers(1, BEYOND_HEADER_LIMIT));
    let huge = huge.await.unwrap();
    assert_eq!((huge.status, &huge.body["status"]), (502, &502.into()), "{}", huge.body);

    messages.send(&changes(&["a"], 11));
    assert_eq!(lines.names().await, ["a"]);
    let other = state.get(&format!("{METRICS}/other"));
    state.call("GetMetric").await.answer(&metric("other", 1));
    assert_eq!(other.await.unwrap().status, 200);
}
