//! Requests that the gateway answers by itself. There is no state service, so that every call to it would be a 503.

use http::HeaderMap;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ALLOW, CONTENT_TYPE, ORIGIN};
use http_body_util::BodyExt;
use krake_client::ConnectOptions;
use rstest::rstest;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceExt;

use super::*;

const APPLICATIONS: &str = "/kubernetes/namespaces/ns/applications";
const PAGE: &str = "https://page.example";

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

async fn ask(method: &str, uri: &str, headers: &[(http::HeaderName, &str)], body: impl Into<Body>) -> Answer {
    let client = Client::new(&ConnectOptions::new("http://127.0.0.1:1")).unwrap();
    let options = Options { origins: Origins::Listed(vec![PAGE.to_owned()]), ..Default::default() };
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let router = Gateway::router(&client, options, Shutdown::new());
    let response = router.oneshot(request.body(body.into()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

#[rstest]
#[case::no_such_path("GET", "/kubernetes/pods", "", 404)]
#[case::nothing_below("GET", "/kubernetes/namespaces/ns/applications/a/b", "", 404)]
#[case::no_such_method("PATCH", "/kubernetes/namespaces/ns/applications/a", "", 405)]
#[case::no_such_method_here("POST", "/kubernetes/applications", "{}", 405)]
#[case::no_such_method_on_a_path_of_its_own("DELETE", "/me", "", 405)]
#[case::no_body("POST", APPLICATIONS, "", 415)]
#[case::cut_off("POST", APPLICATIONS, r#"{"metadata": {"#, 415)]
#[case::no_object("POST", APPLICATIONS, "[]", 422)]
#[case::wrong_type("POST", APPLICATIONS, r#"{"metadata": {"name": {}}}"#, 422)]
#[case::wrong_kind("POST", APPLICATIONS, r#"{"kind": "Cluster"}"#, 422)]
#[case::no_object_to_update("PUT", "/kubernetes/namespaces/ns/applications/a", "7", 422)]
#[case::other_name("PUT", "/kubernetes/namespaces/ns/applications/a", r#"{"metadata": {"name": "b"}}"#, 400)]
#[case::other_namespace("PUT", "/core/globalmetrics/m", r#"{"metadata": {"namespace": "ns"}}"#, 400)]
#[case::wrong_status("PUT", "/kubernetes/namespaces/ns/clusters/c/status", r#"{"status": []}"#, 422)]
#[case::wrong_reference("PUT", "/kubernetes/namespaces/ns/applications/a/binding", r#"{"cluster": 1}"#, 422)]
#[case::heartbeat("GET", "/kubernetes/applications?watch&heartbeat=-1", "", 422)]
#[case::heartbeat_of_a_list("GET", "/kubernetes/applications?heartbeat=soon", "", 422)]
#[case::revision("GET", "/kubernetes/applications?watch&resource_version=x", "", 422)]
#[case::revision_of_a_list("GET", "/kubernetes/applications?resource_version=x", "", 422)]
#[case::force("DELETE", "/kubernetes/namespaces/ns/applications/a?force=maybe", "", 422)]
#[case::cascade("DELETE", "/kubernetes/namespaces/ns/applications/a?cascade=", "", 422)]
#[case::wildcard("GET", "/kubernetes/namespaces/-/applications", "", 422)]
#[case::wildcard_of_a_watch("GET", "/kubernetes/namespaces/%2D/applications?watch", "", 422)]
#[case::given_twice("POST", APPLICATIONS, r#"{"metadata": {"name": "a", "name": "b"}}"#, 422)]
#[case::other_application("PUT", "/kubernetes/namespaces/ns/applications/a/binding", r#"{"name": "b"}"#, 422)]
#[case::both_of_a_union(
    "POST",
    "/core/namespaces/ns/metricsproviders",
    r#"{"spec": {"type": "static", "static": {"metrics": {}}, "prometheus": {"url": "http://p"}}}"#,
    422
)]
#[case::rounded("POST", APPLICATIONS, r#"{"spec": {"manifest": [{"replicas": 18446744073709551616}]}}"#, 422)]
#[case::state("DELETE", "/kubernetes/namespaces/ns/applications/a?blocking=bogus", "", 422)]
#[tokio::test]
async fn bad_requests_are_problems_without_a_call(
    #[case] method: &str,
    #[case] uri: &str,
    #[case] body: &'static str,
    #[case] status: u16,
) {
    let answer = ask(method, uri, &[], body).await;
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.headers[CONTENT_TYPE], "application/problem+json; charset=utf-8");
    assert_eq!(answer.body["status"], status);
    assert!(answer.body["detail"].is_string() && answer.body["type"].is_string(), "{}", answer.body);
}

#[tokio::test]
async fn what_the_state_service_must_answer_is_503_without_it() {
    for uri in
        ["/", "/me", "/release", APPLICATIONS, "/core/globalmetrics/m", "/kubernetes/applications?watch"]
    {
        let answer = ask("GET", uri, &[], "").await;
        assert_eq!(answer.status, 503, "{uri}: {}", answer.body);
        assert_eq!(answer.body["type"], "about:blank");
        assert!(!answer.body.to_string().contains("127.0.0.1"), "an inner address: {}", answer.body);
    }
    assert_eq!(ask("GET", "/openapi.json", &[], "").await.status, 200);
}

#[tokio::test]
async fn a_wrong_time_limit_is_refused_by_name() {
    for wrong in ["-1", "0", "soon"] {
        let answer = ask("GET", APPLICATIONS, &[("x-request-timeout".parse().unwrap(), wrong)], "").await;
        assert_eq!(answer.status, 422, "{}", answer.body);
        assert_eq!(answer.body["violations"][0]["field"], "headers.X-Request-Timeout");
    }
}

#[tokio::test]
async fn a_wrong_method_gets_the_allowed_ones() {
    let answer = ask("PATCH", APPLICATIONS, &[], "").await;
    assert_eq!((answer.status, answer.headers[ALLOW].to_str().unwrap()), (405, "GET,POST"));
}

#[tokio::test]
async fn a_preflight_is_answered_for_the_methods_of_its_path() {
    let preflight = async |method, uri| {
        ask("OPTIONS", uri, &[(ORIGIN, PAGE), (ACCESS_CONTROL_REQUEST_METHOD, method)], "").await.status
    };
    assert_eq!(preflight("POST", APPLICATIONS).await, 200);
    assert_eq!(preflight("PUT", APPLICATIONS).await, 403, "not on this path");
    assert_eq!(preflight("GET", "/me").await, 200);
    assert_eq!(preflight("GET", "/nowhere").await, 404);
    assert_eq!(ask("OPTIONS", APPLICATIONS, &[], "").await.status, 403, "without an origin");
}

#[tokio::test]
async fn pages_read_problems_if_their_origin_is_known() {
    let known = ask("GET", "/nowhere", &[(ORIGIN, PAGE)], "").await;
    assert_eq!(known.headers["access-control-allow-origin"], PAGE);
    let stranger = [(ORIGIN, "https://stranger.example")];
    assert!(!ask("GET", "/nowhere", &stranger, "").await.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn the_listener_stops_pages_that_may_not_call() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = Client::new(&ConnectOptions::new("http://127.0.0.1:1")).unwrap();
    let options = Options { origins: Origins::Listed(vec![PAGE.to_owned()]), ..Default::default() };
    // Ends with the test's runtime.
    tokio::spawn(crate::serve(listener, client, options, Shutdown::new()));
    let post = async |host: &str, origin: &str| {
        let request = format!(
            "POST {APPLICATIONS} HTTP/1.1\r\nhost: {host}\r\norigin: {origin}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().parse::<u16>().unwrap()
    };
    assert_eq!(post("localhost", PAGE).await, 503, "let through");
    assert_eq!(post("localhost", "http://localhost").await, 503, "its own page");
    assert_eq!(post("localhost", "https://stranger.example").await, 403);
    assert_eq!(post("localhost", "null").await, 403);
    assert_eq!(post("evil.example", "http://evil.example").await, 421, "whatever a page calls itself");
    assert_eq!(post("evil.example", PAGE).await, 421);
}
