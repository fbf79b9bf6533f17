//! Preconditions of REST belong to the history of the store that they were read in.

use axum::body::Body;
use http::{HeaderMap, HeaderName, Request};

use crate::fake_state::{Call, FakeState, metric};

const METRIC: &str = "/core/namespaces/demo/metrics/heat";

fn request(method: &str, if_match: Option<&str>) -> Request<Body> {
    let request = Request::builder().method(method).uri(METRIC);
    let request = if_match.into_iter().fold(request, |request, tag| request.header("if-match", tag));
    request.body(Body::from(r#"{"spec": {"max": 1}}"#)).unwrap()
}

/// Answers as a state service whose store is in the history `epoch`.
fn answer(call: Call, epoch: &str) {
    let epoch: HeaderMap = [("krake-epoch".parse().unwrap(), epoch.parse().unwrap())].into_iter().collect();
    call.answer_with(&metric("heat", 7), epoch, HeaderMap::new());
}

fn epoch(call: &Call) -> Option<&str> {
    call.metadata.get("krake-epoch").map(|epoch| epoch.to_str().unwrap())
}

#[tokio::test]
async fn a_header_that_is_sent_twice_is_refused_by_its_name() {
    let mut state = FakeState::start().await;
    for name in ["If-Match", "Authorization", "X-Request-Id", "X-Request-Timeout"] {
        for method in ["PUT", "DELETE"] {
            let mut twice = request(method, None);
            for value in ["1", "2"] {
                twice.headers_mut().append(HeaderName::try_from(name).unwrap(), value.parse().unwrap());
            }
            let answer = state.send(twice).await.unwrap();
            assert_eq!(answer.status, 422, "{name}");
            assert_eq!(answer.body["violations"][0]["field"], format!("headers.{name}"));
        }
    }
    let mut watch = request("GET", None);
    *watch.uri_mut() = "/core/namespaces/demo/metrics?watch".parse().unwrap();
    for id in ["7", "8"] {
        watch.headers_mut().append("last-event-id", id.parse().unwrap());
    }
    assert_eq!(state.send(watch).await.unwrap().status, 422);
    assert!(!state.was_called("UpdateMetric") && !state.was_called("WatchMetrics"));
}

#[tokio::test]
async fn an_entity_tag_binds_a_write_to_its_history_and_no_tag_to_none() {
    let mut state = FakeState::start().await;
    let read = state.get(METRIC);
    answer(state.call("GetMetric").await, "one");
    let tag = read.await.unwrap().headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(tag, "\"7/one\"");

    // Another caller reads after a restore, over the same connection.
    let read = state.get(METRIC);
    answer(state.call("GetMetric").await, "two");
    assert_eq!(read.await.unwrap().headers["etag"], "\"7/two\"");

    for (method, rpc) in [("PUT", "UpdateMetric"), ("DELETE", "DeleteMetric")] {
        for (if_match, expected) in
            [(Some(tag.as_str()), Some("one")), (Some("\"7\""), None), (Some("*"), None), (None, None)]
        {
            let write = state.send(request(method, if_match));
            let call = state.call(rpc).await;
            assert_eq!(epoch(&call), expected, "{method} {if_match:?}");
            answer(call, "two");
            assert_eq!(write.await.unwrap().status, 200);
        }
    }
}
