//! The metrics of a running Krake, and the list of them in the documentation: neither has what the other lacks.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helping functions too")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use krake::{Config, Endpoints};
use krake_client::{Client, ConnectOptions};
use krake_proto::krake::kubernetes::v1::Cluster;
use krake_runtime::shutdown::Shutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// Longest time that a test waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is shown only after something has failed, which these tests do not make happen.
const AFTER_A_FAILURE: [&str; 1] = ["krake_reconcile_errors_total"];

const DOCUMENTED: &str = include_str!("../../../../docs/metrics.md");

/// Type and labels of each metric, by its name as queries name it.
type Described = BTreeMap<String, (String, BTreeSet<String>)>;

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    body.to_owned()
}

/// The metrics that a process shows.
fn exposed(text: &str) -> Described {
    let mut found = Described::new();
    let (mut family, mut kind) = (String::new(), String::new());
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, declared) = declared.split_once(' ').unwrap();
            (family, kind) = (name.to_owned(), declared.to_owned());
        }
        if line.starts_with('#') || !line.starts_with("krake_") {
            continue;
        }
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let (name, shown) = match kind.as_str() {
            "histogram" => (family.as_str(), "histogram"),
            // Its samples have a name of their own.
            "info" => (name, "info"),
            other => (name, other),
        };
        let labels = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
        let labels = labels.filter(|label| label != "le");
        let entry = found.entry(name.to_owned()).or_insert_with(|| (shown.to_owned(), BTreeSet::new()));
        entry.1.extend(labels);
    }
    found
}

/// The metrics that the documentation lists: rows of tables that begin with a name.
fn documented() -> Described {
    let rows = DOCUMENTED.lines().filter(|line| line.starts_with("| `krake_"));
    let described = rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, meaning, worry] = cells[..] else { panic!("five columns: {row}") };
        assert!(!meaning.is_empty() && !worry.is_empty(), "{row}");
        let labels = labels.split(',').map(|label| label.trim().trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        (name.trim_matches('`').to_owned(), (kind.to_owned(), labels))
    });
    described.collect()
}

/// Runs `check` beside a Krake on free ports, with a folder of its own.
async fn beside_krake(check: impl AsyncFnOnce(Endpoints)) {
    let folder = tempfile::tempdir().unwrap();
    let (shutdown, (ready, endpoints)) = (Shutdown::new(), oneshot::channel());
    let on_ready = move |endpoints: &Endpoints| ready.send(endpoints.clone()).unwrap();
    let serving = tokio::spawn(krake::serve(Config::new(folder.path()), on_ready, shutdown.clone()));
    let endpoints = timeout(PATIENCE, endpoints).await.unwrap().unwrap();
    check(endpoints).await;
    shutdown.request();
    serving.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shown_is_documented_and_what_is_documented_is_shown() {
    beside_krake(async |endpoints| {
        // One of each: a call, a request by HTTP, and work for the controllers.
        let client = Client::new(&ConnectOptions::new(endpoints.api_url())).unwrap();
        client.api::<Cluster>().get("demo", "none").await.unwrap_err();
        get(endpoints.rest, "/core/metrics").await;
        let applications = "/kubernetes/namespaces/demo/applications";
        let shown = timeout(PATIENCE, async {
            create_application(endpoints.rest, applications).await;
            loop {
                let text = get(endpoints.admin, "/metrics").await;
                if text.contains("krake_reconcile_duration_seconds_count") {
                    break text;
                }
                sleep(Duration::from_millis(50)).await;
            }
        });
        let text = shown.await.unwrap();
        let (mut documented, mut exposed) = (documented(), exposed(&text));
        for name in AFTER_A_FAILURE {
            assert!(documented.remove(name).is_some(), "{name} is not documented");
            exposed.remove(name);
        }
        assert_eq!(exposed, documented, "the left is what is shown, the right what is documented");
        for family in text.lines().filter(|line| line.starts_with("# TYPE ")) {
            assert_eq!(text.lines().filter(|line| line == &family).count(), 1, "{family}");
        }
        for part in [
            "krake_build_info{service=\"krake\"",
            "krake_rpc_duration_seconds_count{method=\"krake.kubernetes.v1.ClusterService/GetCluster\",code=\"NOT_FOUND\"} 1",
            "krake_http_request_duration_seconds_count{method=\"GET\",status=\"200\"}",
            "krake_connections{listener=\"grpc\"}",
            "krake_connections{listener=\"rest\"}",
            "krake_store_transaction_commits_count{backend=\"sqlite\"}",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    })
    .await;
}

async fn create_application(rest: SocketAddr, path: &str) {
    let body = r#"{"metadata": {"name": "a"}, "spec": {"manifest": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}]}}"#;
    let mut stream = TcpStream::connect(rest).await.unwrap();
    let head = "Content-Type: application/json\r\nConnection: close";
    let length = body.len();
    let request =
        format!("POST {path} HTTP/1.1\r\nHost: {rest}\r\n{head}\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
}

#[test]
fn names_follow_the_conventions_of_prometheus() {
    for (name, (kind, _)) in documented() {
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        assert!(
            !["_milliseconds", "_ms", "_kb", "_mb", "_percent"].iter().any(|unit| name.ends_with(unit)),
            "{name}"
        );
    }
}
