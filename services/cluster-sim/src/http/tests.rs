//! The listener over real connections.

mod scripted;

use std::sync::Arc;
use std::time::Duration;

use krake_runtime::shutdown::Shutdown;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use crate::faults::Faults;
use crate::fleet::{Fleet, Options};
use crate::tls::Tls;

/// Longest time that a test waits for something that must come. A machine that is busy with other work may be many times
/// slower than an idle one, so only a hang takes as long.
const HANG_GUARD: Duration = Duration::from_secs(120);

struct Served {
    fleet: Fleet,
    address: std::net::SocketAddr,
    shutdown: Shutdown,
    task: JoinHandle<std::io::Result<()>>,
}

async fn serve() -> Served {
    serve_by("http", None).await
}

async fn serve_by(scheme: &str, tls: Option<Tls>) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let options =
        Options { ready_after: Duration::ZERO, tls, ..Options::new(format!("{scheme}://{address}")) };
    let fleet = Fleet::new(options);
    let shutdown = Shutdown::new();
    let task = tokio::spawn({
        let (fleet, shutdown) = (fleet.clone(), shutdown.clone());
        async move { fleet.serve(listener, shutdown).await }
    });
    Served { fleet, address, shutdown, task }
}

impl Served {
    async fn ask(&self, path: &str, token: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        BufReader::new(stream)
    }

    async fn first_line(&self, path: &str, token: &str) -> String {
        let mut line = String::new();
        timeout(HANG_GUARD, self.ask(path, token).await.read_line(&mut line)).await.unwrap().unwrap();
        line.trim_end().to_owned()
    }
}

#[tokio::test]
async fn a_kubeconfig_leads_to_its_cluster_and_no_other() {
    let served = serve().await;
    served.fleet.add("north").unwrap();
    // Added while the listener serves.
    served.fleet.add("south").unwrap();
    assert!(served.fleet.add("south").is_err() && served.fleet.add("So/uth").is_err());
    let config: Value = serde_json::from_str(&served.fleet.kubeconfig("south").unwrap()).unwrap();
    let server = config.pointer("/clusters/0/cluster/server").unwrap().as_str().unwrap();
    let base = server.strip_prefix(&format!("http://{}", served.address)).unwrap();
    let token = config.pointer("/users/0/user/token").unwrap().as_str().unwrap();
    let line = served.first_line(&format!("{base}/api/v1/nodes"), token).await;
    assert_eq!(line, "HTTP/1.1 200 OK");
    let line = served.first_line("/clusters/north/api/v1/nodes", token).await;
    assert_eq!(line, "HTTP/1.1 401 Unauthorized");
    let line = served.first_line("/clusters/west/api/v1/nodes", token).await;
    assert_eq!(line, "HTTP/1.1 404 Not Found");
}

fn fault(fault: &Value, verbs: &Value) -> Faults {
    serde_json::from_value(json!({"rules": [{"verbs": verbs, "fault": fault}]})).unwrap()
}

/// Reads what is left of an answer; whether it came to its end.
async fn rest(answer: &mut BufReader<TcpStream>) -> (String, bool) {
    let mut text = Vec::new();
    let end = timeout(HANG_GUARD, answer.read_to_end(&mut text)).await.expect("it ends");
    let text = String::from_utf8(text).unwrap();
    let whole = end.is_ok() && text.ends_with("\r\n0\r\n\r\n");
    (text, whole)
}

/// Asks over a connection of its own; the answer, and whether it came to its end.
async fn closing(served: &Served, token: &str, path: &str) -> (String, bool) {
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    rest(&mut BufReader::new(stream)).await
}

#[tokio::test]
async fn rules_refuse_with_a_status_and_spare_other_requests() {
    let served = serve().await;
    let cluster = served.fleet.add("north").unwrap();
    let rules = json!([{"kinds": ["nodes"], "verbs": ["list"], "fault": {"code": 403}, "times": 1},
        {"kinds": ["discovery"], "fault": {"code": 429}}]);
    cluster.set_faults(Faults {
        rules: serde_json::from_value(rules).unwrap(),
        retry_after_seconds: 3,
        ..Faults::default()
    });
    let nodes = "/clusters/north/api/v1/nodes";
    assert_eq!(served.first_line(nodes, cluster.token()).await, "HTTP/1.1 403 Forbidden");
    assert_eq!(served.first_line(nodes, cluster.token()).await, "HTTP/1.1 200 OK", "it is used up");
    let mut answer = served.ask("/clusters/north/apis", cluster.token()).await;
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        assert!(timeout(HANG_GUARD, answer.read_line(&mut text)).await.unwrap().unwrap() > 0, "{text}");
    }
    assert!(text.contains(" 429 ") && text.contains("retry-after: 3"), "{text}");
}

#[tokio::test]
async fn answers_break_are_garbled_or_come_slowly() {
    let served = serve().await;
    let cluster = served.fleet.add("north").unwrap();
    let closing = async |path: &str| closing(&served, cluster.token(), path).await;
    let nodes = "/clusters/north/api/v1/nodes";
    let watch = "/clusters/north/api/v1/nodes?watch=true";
    cluster.set_faults(fault(&json!("cut"), &json!([])));
    for path in [nodes, watch] {
        let (text, whole) = closing(path).await;
        assert!(text.contains("200 OK") && !whole, "{text}");
    }
    cluster.set_faults(fault(&json!("bad_json"), &json!([])));
    for path in [nodes, watch] {
        let (text, _) = closing(path).await;
        let body = text.split_once("\r\n\r\n").unwrap().1;
        assert!(text.contains("200 OK") && serde_json::from_str::<Value>(body).is_err(), "{text}");
    }
    cluster.set_faults(fault(&json!({"huge": {"bytes": 300_000}}), &json!([])));
    for path in [nodes, watch] {
        let (text, whole) = closing(path).await;
        assert!(whole && (300_000..300_500).contains(&text.len()), "{}", text.len());
    }
    let size = cluster.read("/api/v1/nodes").unwrap().to_string().len();
    let rate = u32::try_from(size).unwrap();
    cluster.set_faults(fault(&json!({"slow": {"bytes_per_second": rate * 4}}), &json!(["list"])));
    let begun = Instant::now();
    assert!(closing(nodes).await.1);
    assert!(begun.elapsed() >= Duration::from_millis(200), "about a quarter of a second");
}

#[tokio::test]
async fn a_slow_watch_that_is_cut_ends() {
    let served = serve().await;
    let cluster = served.fleet.add("north").unwrap();
    let rules = json!([{"verbs": ["watch"], "fault": {"slow": {"bytes_per_second": 100_000_000}}}]);
    cluster.set_faults(serde_json::from_value(json!({"cut_watches_after_ms": 1, "rules": rules})).unwrap());
    let watch = "/clusters/north/api/v1/namespaces/default/configmaps?watch=true&resourceVersion=0";
    let (text, whole) = closing(&served, cluster.token(), watch).await;
    assert!(text.contains("200 OK") && !whole, "{text}");
    assert_eq!(served.first_line("/clusters/north/version", cluster.token()).await, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn a_request_that_hangs_is_judged_by_the_next_faults() {
    let served = serve().await;
    let cluster = served.fleet.add("north").unwrap();
    cluster.set_faults(fault(&json!("hang"), &json!(["get"])));
    let mut hanging = served.ask("/clusters/north/api/v1/nodes/north-node-0", cluster.token()).await;
    let line = served.first_line("/clusters/north/api/v1/nodes", cluster.token()).await;
    assert_eq!(line, "HTTP/1.1 200 OK", "another verb is answered");
    cluster.set_faults(fault(&json!({"code": 503}), &json!(["get"])));
    let mut line = String::new();
    timeout(HANG_GUARD, hanging.read_line(&mut line)).await.unwrap().unwrap();
    assert_eq!(line.trim_end(), "HTTP/1.1 503 Service Unavailable");
}

#[tokio::test]
async fn a_write_whose_answer_is_cut_is_carried_out_and_a_refused_one_is_not() {
    let served = serve().await;
    let cluster = served.fleet.add("north").unwrap();
    let path = "/clusters/north/api/v1/namespaces/default/configmaps";
    let post = async |name: &str| {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let body = json!({"metadata": {"name": name}}).to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            cluster.token(),
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut line = String::new();
        let _ = timeout(HANG_GUARD, BufReader::new(stream).read_line(&mut line)).await.expect("an answer");
        line
    };
    let there = |name: &str| cluster.read(&format!("/api/v1/namespaces/default/configmaps/{name}")).is_some();
    cluster.set_faults(fault(&json!("cut"), &json!(["create"])));
    post("cut").await;
    cluster.set_faults(fault(&json!({"code": 500}), &json!(["create"])));
    assert!(post("refused").await.contains(" 500 "));
    assert!(there("cut") && !there("refused"));
}

#[tokio::test]
async fn the_authority_in_a_kubeconfig_vouches_for_the_address_in_it() {
    use base64::Engine as _;
    let served = serve_by("https", Some(Tls::of_hosts(["127.0.0.1"]).unwrap())).await;
    let cluster = served.fleet.add("north").unwrap();
    let config: Value = serde_json::from_str(&served.fleet.kubeconfig("north").unwrap()).unwrap();
    let access = &config["clusters"][0]["cluster"];
    let server = access["server"].as_str().unwrap();
    assert_eq!(server, format!("https://{}/clusters/north", served.address));
    let pem = access["certificate-authority-data"].as_str().unwrap();
    let pem = base64::engine::general_purpose::STANDARD.decode(pem).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(client));
    let dial = async |name: &str| {
        let stream = TcpStream::connect(served.address).await.unwrap();
        connector.connect(name.to_owned().try_into().unwrap(), stream).await
    };
    // A connection without handshake keeps no other waiting.
    let _silent = TcpStream::connect(served.address).await.unwrap();
    let mut stream = dial("127.0.0.1").await.unwrap();
    let token = cluster.token();
    let request =
        format!("GET /clusters/north/version HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut line = String::new();
    timeout(HANG_GUARD, BufReader::new(stream).read_line(&mut line)).await.unwrap().unwrap();
    assert_eq!(line.trim_end(), "HTTP/1.1 200 OK");
    assert!(dial("other.example").await.is_err(), "another name is not vouched for");
}

#[tokio::test]
async fn shutdown_ends_watches_and_connections() {
    let served = serve().await;
    let cluster = served.fleet.add("north").unwrap();
    let path = "/clusters/north/api/v1/nodes?watch=true";
    let mut watch = served.ask(path, cluster.token()).await;
    let mut text = String::new();
    while !text.contains("ADDED") {
        assert!(timeout(HANG_GUARD, watch.read_line(&mut text)).await.unwrap().unwrap() > 0, "{text}");
    }
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    served.shutdown.request();
    timeout(HANG_GUARD, served.task).await.expect("it ends").unwrap().unwrap();
    // An end or a cut: in any case not silence.
    let _ = timeout(HANG_GUARD, watch.read_to_end(&mut Vec::new())).await.expect("the watch ends");
    let _ = timeout(HANG_GUARD, idle.read_u8()).await.expect("an idle connection ends");
}

#[tokio::test]
async fn workloads_come_to_run_while_the_fleet_is_served() {
    let served = serve().await;
    let cluster = served.fleet.add("north").unwrap();
    let path = "/apis/apps/v1/namespaces/default/deployments/web";
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let before = cluster.objects();
    assert!(cluster.apply(path, &object).is_some());
    assert_eq!(cluster.objects(), before + 1, "no pods are made");
    let mut changes = cluster.changes();
    let runs = || cluster.read(path).unwrap()["status"]["availableReplicas"] == 3;
    timeout(HANG_GUARD, async {
        while !runs() {
            changes.changed().await.unwrap();
        }
    })
    .await
    .expect("it runs");
    assert!(cluster.delete(path) && cluster.read(path).is_none() && !cluster.delete(path));
}
