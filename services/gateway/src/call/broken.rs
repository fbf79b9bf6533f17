//! Calls whose connection breaks, which others share: reads are repeated on another one, writes are not.

use axum::body::Body;
use http::Request;
use krake_proto::krake::core::v1::GetMetricRequest;

use super::huge_headers::{BEYOND_HEADER_LIMIT, HEADER_LIMIT, headers};
use crate::fake_state::{FakeState, metric};

const METRICS: &str = "/core/namespaces/demo/metrics";

/// Breaks the connection that all calls share.
async fn break_connection(state: &mut FakeState) {
    let huge = state.get(&format!("{METRICS}/huge"));
    let call = state.call("GetMetric").await;
    call.answer_with(&metric("huge", 1), headers(1, BEYOND_HEADER_LIMIT), http::HeaderMap::new());
    // Its own second attempt, which is refused so that the test has an end.
    let call = state.call("GetMetric").await;
    assert_eq!(call.request::<GetMetricRequest>().name, "huge");
    call.refuse(&tonic::Status::not_found("none"));
    assert_eq!(huge.await.unwrap().status, 404);
}

#[tokio::test]
async fn a_read_is_repeated_on_another_connection() {
    let mut state = FakeState::with_max_header_bytes(HEADER_LIMIT).await;
    let reads: Vec<_> = (0..3).map(|_| state.get(&format!("{METRICS}/heat"))).collect();
    let mut held = Vec::new();
    for _ in &reads {
        held.push(state.call("GetMetric").await);
    }
    let huge = state.get(&format!("{METRICS}/huge"));
    let call = state.call("GetMetric").await;
    call.answer_with(&metric("huge", 1), headers(1, BEYOND_HEADER_LIMIT), http::HeaderMap::new());
    // Every read comes again, in any order, and what broke the connection breaks no other.
    for _ in 0..=reads.len() {
        let call = state.call("GetMetric").await;
        match call.request::<GetMetricRequest>().name.as_str() {
            "huge" => {
                call.answer_with(&metric("huge", 1), headers(1, BEYOND_HEADER_LIMIT), http::HeaderMap::new())
            }
            name => call.answer(&metric(name, 1)),
        }
    }
    for read in reads {
        let read = read.await.unwrap();
        assert_eq!((read.status, &read.body["metadata"]["name"]), (200, &"heat".into()), "{}", read.body);
    }
    assert_eq!(huge.await.unwrap().status, 502, "once more is enough");
    assert!(!state.was_called("GetMetric"));
}

#[tokio::test]
async fn a_write_is_not_repeated_and_its_caller_learns_that_it_may_have_happened() {
    let mut state = FakeState::with_max_header_bytes(HEADER_LIMIT).await;
    let delete = Request::delete(format!("{METRICS}/heat")).body(Body::empty()).unwrap();
    let delete = state.send(delete);
    let _held = state.call("DeleteMetric").await;
    break_connection(&mut state).await;
    let answer = delete.await.unwrap();
    assert_eq!(answer.status, 502, "{}", answer.body);
    assert!(answer.body["detail"].as_str().unwrap().contains("may have taken effect"), "{}", answer.body);
    assert!(!state.was_called("DeleteMetric"));
}
