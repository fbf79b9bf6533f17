//! Watches whose callers do not read, and too many of them: they must not hold up other watches and calls.

use crate::fake_state::{FakeState, changes, metric};
use crate::gateway::Options;

const METRICS: &str = "/core/namespaces/demo/metrics";
/// Number of unread watches, and the bytes sent to each: together more than any window of a connection that
/// HTTP/2 libraries choose by default.
const WATCHES: usize = 16;
const BYTES_OF_EACH: usize = 2 << 20;

#[tokio::test]
async fn watches_that_are_not_read_hold_up_no_other_watch_and_no_call() {
    let mut state = FakeState::start().await;
    let name = "x".repeat(BYTES_OF_EACH);
    let mut open = Vec::new();
    for _ in 0..WATCHES {
        let (response, messages) = state.unread_watch(&format!("{METRICS}?watch&heartbeat=0"), 10).await;
        messages.send(&changes(&[&name], 11));
        open.push((response, messages));
    }
    // Long enough for the windows to fill: each line passes through the same connection.
    let (mut lines, messages) = state.watch(&format!("{METRICS}?watch&heartbeat=0"), 10).await;
    for round in 0..50 {
        let name = format!("m{round}");
        messages.send(&changes(&[&name], 11 + round));
        assert_eq!(lines.names::<1>().await, [name]);
        let read = state.get(&format!("{METRICS}/heat"));
        state.call("GetMetric").await.answer(&metric("heat", 1));
        assert_eq!(read.await.unwrap().status, 200);
    }
    assert_eq!(state.connections(), 2, "one for all watches, one for all other calls");
}

#[tokio::test]
async fn watches_beyond_the_limit_are_refused_until_one_ends() {
    let watch = format!("{METRICS}?watch&heartbeat=0");
    let mut state = FakeState::behind(Options { max_watches: 2, ..Options::default() }).await;
    let one = state.unread_watch(&watch, 10).await;
    let _two = state.unread_watch(&watch, 10).await;
    assert_eq!(state.get(&watch).await.unwrap().status, 429);
    let read = state.get(&format!("{METRICS}/heat"));
    state.call("GetMetric").await.answer(&metric("heat", 1));
    assert_eq!(read.await.unwrap().status, 200);
    drop(one);
    state.unread_watch(&watch, 10).await;
}
