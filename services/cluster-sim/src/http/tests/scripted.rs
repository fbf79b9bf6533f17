//! What only programs that use the simulator as a library can do: scripts, aggregated APIs that are away, kinds that take a
//! while, and connections that were lost unnoticed.

use std::sync::Mutex;

use super::*;
use crate::faults::Down;
use crate::script::{Call, Reply, Script};

/// Reads on until a text was received.
async fn until(answer: &mut BufReader<TcpStream>, part: &str) -> String {
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains(part) {
        let byte = timeout(HANG_GUARD, answer.read_u8()).await.expect("it answers").expect("it goes on");
        text.push(byte);
    }
    String::from_utf8(text).unwrap()
}

/// Refuses Secrets, warns of ConfigMaps, and notes all requests.
#[derive(Default)]
struct Notes {
    arrived: Mutex<Vec<String>>,
    decided: Mutex<usize>,
}

impl Script for Notes {
    fn arrived(&self, call: &Call<'_>) {
        let watch = if call.is_watch() { " (watch)" } else { "" };
        self.arrived.lock().unwrap().push(format!("{} {}{watch}", call.method, call.path));
    }

    fn decide(&self, call: &Call<'_>) -> Reply {
        *self.decided.lock().unwrap() += 1;
        match call.path {
            "/api/v1/secrets" => Reply::status(418, "Teapot", "short and stout"),
            "/api/v1/configmaps" => Reply::CarryOut { body: None, warnings: vec!["a \"pot\"".to_owned()] },
            _ => Reply::default(),
        }
    }
}

#[tokio::test]
async fn a_script_sees_every_request_and_may_answer_in_the_servers_place() {
    let served = serve().await;
    let cluster = served.fleet.add("north").unwrap();
    let notes = Arc::new(Notes::default());
    cluster.set_script(notes.clone());
    let mut refused = served.ask("/clusters/north/api/v1/secrets?limit=1", cluster.token()).await;
    let text = until(&mut refused, "short and stout").await;
    assert!(text.starts_with("HTTP/1.1 418"), "{text}");
    let mut warned = served.ask("/clusters/north/api/v1/configmaps", cluster.token()).await;
    let text = until(&mut warned, "ConfigMapList").await;
    assert!(text.contains("warning: 299 - \"a \\\"pot\\\"\""), "{text}");
    let _watch = served.ask("/clusters/north/api/v1/nodes?watch=true", cluster.token()).await;
    // What suffers a fault has arrived, and is not decided on.
    cluster.set_faults(Faults { down: Some(Down::Unavailable), ..Faults::default() });
    let line = served.first_line("/clusters/north/api/v1/nodes", cluster.token()).await;
    assert_eq!(line, "HTTP/1.1 503 Service Unavailable");
    let arrived = notes.arrived.lock().unwrap().clone();
    assert_eq!(arrived[..2], ["GET /api/v1/secrets", "GET /api/v1/configmaps"]);
    assert_eq!(arrived.last().unwrap(), "GET /api/v1/nodes");
    assert!(*notes.decided.lock().unwrap() < arrived.len());
}

/// Another data of all objects, as of an admission webhook.
struct Overrules;

impl Script for Overrules {
    fn decide(&self, call: &Call<'_>) -> Reply {
        let Ok(mut object) = serde_json::from_slice::<Value>(call.body) else { return Reply::default() };
        object["data"] = json!({"k": "overruled"});
        Reply::CarryOut { body: Some(object.to_string().into_bytes()), warnings: Vec::new() }
    }
}

#[tokio::test]
async fn a_script_may_change_what_is_written() {
    let served = serve().await;
    let cluster = served.fleet.add("north").unwrap();
    cluster.set_script(Arc::new(Overrules));
    let body = json!({"metadata": {"name": "c"}, "data": {"k": "v"}}).to_string();
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let (token, length) = (cluster.token(), body.len());
    let head = format!(
        "POST /clusters/north/api/v1/namespaces/default/configmaps HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let text = until(&mut BufReader::new(stream), "\"metadata\"").await;
    assert!(text.starts_with("HTTP/1.1 201"), "{text}");
    let stored = cluster.read("/api/v1/namespaces/default/configmaps/c").unwrap();
    assert_eq!(stored["data"], json!({"k": "overruled"}));
}

#[tokio::test]
async fn an_aggregated_api_that_is_away_is_listed_and_does_not_answer() {
    let served = serve().await;
    let cluster = served.fleet.add("north").unwrap();
    cluster.set_aggregated(&["metrics.k8s.io/v1beta1"]);
    let mut groups = served.ask("/clusters/north/apis", cluster.token()).await;
    until(&mut groups, "metrics.k8s.io/v1beta1").await;
    for path in ["", "/nodes"] {
        let path = format!("/clusters/north/apis/metrics.k8s.io/v1beta1{path}");
        let mut answer = served.ask(&path, cluster.token()).await;
        let text = until(&mut answer, "service unavailable\n").await;
        assert!(text.starts_with("HTTP/1.1 503") && !text.contains('{'), "{text}");
    }
    let line = served.first_line("/clusters/north/apis/apps/v1", cluster.token()).await;
    assert_eq!(line, "HTTP/1.1 200 OK", "others are not concerned");
}

#[tokio::test]
async fn the_kinds_of_a_definition_are_served_after_their_time() {
    let served = serve().await;
    let cluster = served.fleet.add("north").unwrap();
    cluster.set_established_after(Duration::from_millis(50));
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "tubs.example.org"}, "spec": {"group": "example.org", "scope": "Namespaced",
            "names": {"kind": "Tub", "plural": "tubs"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/tubs.example.org";
    let made = cluster.apply(path, &definition).unwrap();
    assert_eq!(made["status"]["conditions"], Value::Null);
    let tub = json!({"apiVersion": "example.org/v1", "kind": "Tub", "metadata": {"name": "t"}});
    let tubs = "/apis/example.org/v1/namespaces/default/tubs/t";
    assert_eq!(cluster.apply(tubs, &tub), None, "it is not served yet");
    let mut changes = cluster.changes();
    timeout(HANG_GUARD, async {
        while cluster.read(path).unwrap()["status"]["conditions"].is_null() {
            changes.changed().await.unwrap();
        }
    })
    .await
    .expect("it is established");
    assert!(cluster.apply(tubs, &tub).is_some());
}

#[tokio::test]
async fn a_watch_over_a_lost_connection_stays_silent_when_the_cluster_is_back() {
    let served = serve().await;
    let cluster = served.fleet.add("north").unwrap();
    let path = "/clusters/north/api/v1/configmaps?watch=true&resourceVersion=0";
    let config = |name: &str| {
        let path = format!("/api/v1/namespaces/default/configmaps/{name}");
        assert!(
            cluster.apply(&path, &json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {}})).is_some()
        );
    };
    config("a");
    let mut lost = served.ask(path, cluster.token()).await;
    // To the end of the event's chunk.
    until(&mut lost, "}\n\r\n").await;
    cluster.set_faults(Faults { down: Some(Down::Lost), ..Faults::default() });
    let mut waiting = served.ask("/clusters/north/api/v1/nodes", cluster.token()).await;
    let silence = timeout(Duration::from_millis(100), waiting.read_u8()).await;
    assert!(silence.is_err(), "{silence:?}");
    cluster.set_faults(Faults::default());
    until(&mut waiting, "NodeList").await;
    config("b");
    let mut anew = served.ask(path, cluster.token()).await;
    until(&mut anew, "\"b\"").await;
    let silence = timeout(Duration::from_millis(100), lost.read_u8()).await;
    assert!(silence.is_err(), "{silence:?}");
}
