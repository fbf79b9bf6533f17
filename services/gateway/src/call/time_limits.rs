//! `X-Request-Timeout`: how long a caller waits for the answer to begin.

use axum::body::Body;
use http::Request;
use krake_proto::krake::kubernetes::v1::Application;
use rstest::rstest;

use crate::fake_state::{FakeState, changes, metric};

const APPLICATION: &str = "/kubernetes/namespaces/demo/applications/a";
/// Enough for the calls of a request on a loaded machine, in seconds.
const LIMIT: &str = "1.5";

fn request(method: &str, uri: &str) -> Request<Body> {
    Request::builder().method(method).uri(uri).header("X-Request-Timeout", LIMIT).body(Body::empty()).unwrap()
}

#[rstest]
#[case::read("GET", APPLICATION)]
#[case::write("DELETE", APPLICATION)]
#[case::list("GET", "/kubernetes/applications")]
#[case::watch("GET", "/kubernetes/applications?watch")]
#[case::blocking("DELETE", &format!("{APPLICATION}?blocking=deleted"))]
#[case::identity("GET", "/me")]
#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_504(#[case] method: &str, #[case] uri: &str) {
    let mut state = FakeState::start().await;
    let mut held = Vec::new();
    let answer = state.send(request(method, uri));
    let answer = state.answered_by(answer, |call| held.push(call)).await;
    assert_eq!((answer.status, &answer.body["status"]), (504, &504.into()), "{}", answer.body);
    assert!(!answer.body.to_string().contains("127.0.0.1"), "{}", answer.body);
    let says_so = answer.body["detail"].as_str().unwrap().contains("may have taken effect");
    // A deletion that blocks is not sent before its watch is open.
    assert_eq!(says_so, (method, uri) == ("DELETE", APPLICATION), "{}", answer.body);
}

#[tokio::test]
async fn the_wait_for_a_state_is_limited_too() {
    let mut state = FakeState::start().await;
    let mut watches = Vec::new();
    let answer = state.send(request("DELETE", &format!("{APPLICATION}?blocking=deleted")));
    let answer = state.answered_by(answer, |call| match call.method() {
        "WatchApplications" => {
            let messages = call.stream();
            messages.send(&changes(&[], 1));
            watches.push(messages);
        }
        _ => call.answer(&Application { metadata: metric("a", 1).metadata, ..Application::default() }),
    });
    let answer = answer.await;
    assert_eq!(answer.status, 504, "{}", answer.body);
    assert!(answer.body["detail"].as_str().unwrap().contains("within 1.5 s"), "{}", answer.body);
}
