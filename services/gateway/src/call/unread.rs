//! Watches whose callers do not read: they share a connection with all other calls, and must not hold these up.

use crate::fake_state::{FakeState, changes, metric};

const METRICS: &str = "/core/namespaces/demo/metrics";
/// Watches that nobody reads, and the bytes that are sent to each: together more than any window of a connection that
/// HTTP/2 libraries choose by default.
const WATCHES: usize = 16;
const BYTES_OF_EACH: usize = 2 << 20;

#[tokio::test]
async fn watches_that_are_not_read_hold_up_no_other_call() {
    let mut state = FakeState::start().await;
    let name = "x".repeat(BYTES_OF_EACH);
    let mut open = Vec::new();
    for _ in 0..WATCHES {
        let (response, messages) = state.unread_watch(&format!("{METRICS}?watch&heartbeat=0"), 10).await;
        messages.send(&changes(&[&name], 11));
        open.push((response, messages));
    }
    // Long enough for the windows to fill: each read passes through the same connection.
    for _ in 0..50 {
        let read = state.get(&format!("{METRICS}/heat"));
        state.call("GetMetric").await.answer(&metric("heat", 1));
        assert_eq!(read.await.unwrap().status, 200);
    }
    assert_eq!(state.connections(), 1, "the connection that all callers share");
}
