//! The Prometheus source against a fake server: an axum router that answers as Prometheus does, or as it should not.
//! The real server is asked in the integration tests.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use rstest::rstest;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::*;

/// Longest time that a test waits for something that must come. A machine that is busy with other work may be many times
/// slower than an idle one, so only a hang takes as long.
const HANG_GUARD: Duration = Duration::from_secs(120);

/// A fake Prometheus below `/prom`, ended with the test.
struct Fake {
    url: String,
    /// The query "hang" waits for this.
    gate: Arc<Semaphore>,
    _server: JoinSet<()>,
}

impl Fake {
    async fn start() -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let router = Router::new()
            .route("/prom/api/v1/query", axum::routing::get(answer))
            .with_state(Arc::clone(&gate));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/prom/", listener.local_addr().unwrap());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, gate, _server: server }
    }

    async fn ask(&self, query: &str) -> Result<f64, MetricError> {
        ask_at(&self.url, query).await
    }
}

/// A client as the scheduler makes it.
fn client() -> PrometheusClient {
    PrometheusClient::new(AddressPolicy { loopback: true, ..AddressPolicy::default() }).unwrap()
}

async fn ask_at(url: &str, query: &str) -> Result<f64, MetricError> {
    let source = PrometheusSource::new(client(), url).unwrap();
    let mut answers = source.fetch(&[query.to_owned()], Instant::now() + HANG_GUARD).await;
    let answer = answers.remove(query).unwrap();
    assert!(answers.is_empty());
    answer
}

async fn answer(
    State(gate): State<Arc<Semaphore>>,
    Query(parameters): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let vector = |series: &str| {
        format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"vector\",\"result\":[{series}]}}}}")
            .into_response()
    };
    // From one path to the next, and at the end to where the query says.
    let redirect = |to: &str| (StatusCode::TEMPORARY_REDIRECT, [("location", to.to_owned())]).into_response();
    match parameters["query"].as_str() {
        "redirected" => redirect("query?query=scalar(1)"),
        "redirected for ever" => redirect("query?query=redirected+for+ever"),
        metadata if metadata.starts_with("http://") => redirect(metadata),
        "load" => vector(
            r#"{"metric":{"__name__":"other"},"value":[1.5,"1"]},{"metric":{"__name__":"load","a":"b"},"value":[1.5,"2.25"]}"#,
        ),
        // The expression must arrive as it was written.
        r#"sum(rate(x{a="b c"}[5m])) by (z) + 1 & 2 > 0.5 # ö"# => {
            vector(r#"{"metric":{},"value":[1.5,"-3e2"]},{"metric":{"z":"y"},"value":[1.5,"4"]}"#)
        }
        "scalar(1)" => {
            r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"7"]},"warnings":["w"]}"#
                .into_response()
        }
        "empty" => vector(""),
        "nan" => vector(r#"{"metric":{},"value":[1.5,"NaN"]}"#),
        "inf" => vector(r#"{"metric":{},"value":[1.5,"+Inf"]}"#),
        "text" => vector(r#"{"metric":{},"value":[1.5,"much"]}"#),
        "histogram" => vector(r#"{"metric":{},"histogram":[1.5,{"count":"1","sum":"1"}]}"#),
        "up[5m]" => r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#.into_response(),
        "sum(" => (
            StatusCode::BAD_REQUEST,
            r#"{"status":"error","errorType":"bad_data","error":"parse error: unclosed left parenthesis"}"#,
        )
            .into_response(),
        "busy" => (StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"error","error":"query timed out"}"#)
            .into_response(),
        "broken" => (StatusCode::INTERNAL_SERVER_ERROR, "<html>").into_response(),
        "garbage" => "<html>hello</html>".into_response(),
        "huge" => " ".repeat(BODY_MAX + 1).into_response(),
        "authorization" => {
            let sent = headers.get("authorization").map(|value| value.to_str().unwrap()).unwrap_or_default();
            // "Basic " and the base64 of "u:secret".
            vector(&format!(
                r#"{{"metric":{{}},"value":[1.5,"{}"]}}"#,
                u8::from(sent == "Basic dTpzZWNyZXQ=")
            ))
        }
        "hang" => {
            gate.acquire().await.unwrap().forget();
            vector("")
        }
        other => panic!("unexpected query {other}"),
    }
}

#[rstest]
#[case::the_series_of_that_name("load", 2.25)]
#[case::any_expression(r#"sum(rate(x{a="b c"}[5m])) by (z) + 1 & 2 > 0.5 # ö"#, -300.0)]
#[case::a_scalar("scalar(1)", 7.0)]
#[tokio::test]
async fn reads_values(#[case] query: &str, #[case] value: f64) {
    assert_eq!(Fake::start().await.ask(query).await, Ok(value));
}

#[rstest]
#[case("empty", "the provider has no value for \"empty\"")]
#[case("nan", "the value of \"nan\" is not a finite number")]
#[case("inf", "the value of \"inf\" is not a finite number")]
#[case("text", "the value of \"text\" is not a number")]
#[case("histogram", "\"histogram\" gives a histogram, not a number")]
#[case("up[5m]", "\"up[5m]\" gives values over time, not one value")]
#[case("sum(", "\"sum(\" was refused: parse error: unclosed left parenthesis")]
#[case("huge", "the answer to \"huge\" is larger than 1048576 bytes: ask for less")]
#[tokio::test]
async fn refuses_what_is_no_value(#[case] query: &str, #[case] message: &str) {
    assert_eq!(Fake::start().await.ask(query).await, Err(MetricError::Invalid(message.to_owned())));
}

#[rstest]
#[case("busy", "HTTP status 503 Service Unavailable: query timed out")]
#[case("broken", "HTTP status 500 Internal Server Error")]
#[case("garbage", "the answer is not one of Prometheus: expected value at line 1 column 1")]
#[tokio::test]
async fn tells_a_provider_that_does_not_work(#[case] query: &str, #[case] message: &str) {
    assert_eq!(Fake::start().await.ask(query).await, Err(MetricError::Unreachable(message.to_owned())));
}

#[tokio::test]
async fn one_query_that_hangs_costs_only_itself() {
    let fake = Fake::start().await;
    let source = PrometheusSource::new(client(), &fake.url).unwrap();
    // Long enough for the other answer on a busy machine.
    let deadline = Instant::now() + Duration::from_secs(5);
    let answers = source.fetch(&["hang".to_owned(), "load".to_owned()], deadline).await;
    assert_eq!(answers["load"], Ok(2.25));
    assert_eq!(answers["hang"], Err(MetricError::Unreachable("no answer in time".to_owned())));
    fake.gate.close();
}

#[tokio::test]
async fn a_dead_provider_is_unreachable_and_its_password_stays_secret() {
    // Bound and not listening: nobody else can take the port, and connections are refused.
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = bound.local_addr().unwrap();
    let Err(MetricError::Unreachable(message)) = ask_at(&format!("http://u:secret@{address}"), "load").await
    else {
        panic!("a closed port answered");
    };
    assert!(message.contains("onnection refused"), "{message}");
    assert!(!message.contains("secret"), "{message}");
}

#[tokio::test]
async fn credentials_of_the_url_are_sent_and_not_shown() {
    let fake = Fake::start().await;
    let url = fake.url.replace("http://", "http://u:secret@");
    assert_eq!(ask_at(&url, "authorization").await, Ok(1.0));
    let source = PrometheusSource::new(client(), &url).unwrap();
    assert!(!format!("{source:?}").contains("secret"));
}

#[test]
fn only_http_urls_are_providers() {
    let error = |url: &str| PrometheusSource::new(client(), url).unwrap_err().to_string();
    assert_eq!(error("ftp://host"), "must begin with http:// or https://, not \"ftp:\"");
    assert_eq!(error("localhost"), "not a URL: relative URL without a base");
}

#[tokio::test]
async fn redirects_are_followed_a_few_times() {
    let fake = Fake::start().await;
    assert_eq!(fake.ask("redirected").await, Ok(7.0));
    let Err(MetricError::Unreachable(message)) = fake.ask("redirected for ever").await else {
        panic!("followed for ever");
    };
    assert!(message.contains("more than 3 redirects"), "{message}");
}

#[rstest]
#[case("http://169.254.169.254/latest/meta-data/", "169.254.169.254: it is a link-local address")]
#[case("http://[fe80::1]:9090/", "fe80::1: it is a link-local address")]
#[case("http://[::ffff:169.254.169.254]/", "169.254.169.254: it is a link-local address")]
#[case("http://2852039166/", "169.254.169.254: it is a link-local address")]
#[case("http://100.100.100.200/", "100.100.100.200: a cloud serves credentials of its machines there")]
#[case("http://0.0.0.0:9090/", "0.0.0.0: it is no address of a machine")]
#[tokio::test]
async fn a_provider_leads_to_no_address_that_is_not_connected_to(#[case] url: &str, #[case] why: &str) {
    let error = PrometheusSource::new(client(), url).unwrap_err().to_string();
    assert!(error.starts_with(&format!("Krake does not connect to {why}")), "{error}");
    assert!(error.contains("--allow-metrics-address"), "{error}");
    let Err(MetricError::Unreachable(message)) = Fake::start().await.ask(url).await else {
        panic!("the redirect was followed");
    };
    assert!(message.ends_with(&error), "{message}");
}

#[tokio::test]
async fn a_name_is_judged_by_the_addresses_that_it_has() {
    let fake = Fake::start().await;
    let url = fake.url.replace("127.0.0.1", "localhost");
    assert_eq!(ask_at(&url, "scalar(1)").await, Ok(7.0));
    let strict = PrometheusClient::new(AddressPolicy::default()).unwrap();
    let source = PrometheusSource::new(strict, &url).unwrap();
    let answer = source.fetch(&["load".to_owned()], Instant::now() + HANG_GUARD).await.remove("load");
    let Some(Err(MetricError::Unreachable(message))) = answer else { panic!("it was asked: {answer:?}") };
    assert!(message.contains("it is an address of Krake's own machine"), "{message}");
}
