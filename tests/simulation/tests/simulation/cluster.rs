//! A FAKE Kubernetes cluster: an API server that knows Deployments and Nodes, and a controller that makes Deployments
//! available after a while. What it holds survives crashes of its host.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::objects::{Contents, Target};

/// The server ends a watch after this time at the latest.
const LONGEST_WATCH: Duration = Duration::from_secs(20);
/// How often the controller looks at Deployments; one is available after the second look.
const CONTROLLER: Duration = Duration::from_millis(300);

/// A cluster, as long as the simulation.
#[derive(Default)]
pub(crate) struct FakeCluster {
    contents: Mutex<Contents>,
    changed: watch::Sender<u64>,
}

impl FakeCluster {
    /// A cluster with one healthy node.
    pub(crate) fn start() -> Arc<Self> {
        let cluster = FakeCluster::default();
        let ready = json!({"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""});
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"},
            "status": {"conditions": [ready]}});
        cluster.contents().put("nodes", node);
        Arc::new(cluster)
    }

    pub(crate) fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap()
    }

    /// What runs on the cluster's host.
    pub(crate) async fn run(self: Arc<Self>) -> Result<(), Box<dyn std::error::Error>> {
        let router = axum::Router::new().fallback(answer).with_state(self.clone());
        let controller = async {
            loop {
                tokio::time::sleep(CONTROLLER).await;
                self.contents().control();
                self.tell();
            }
        };
        tokio::select! {
            result = crate::network::serve(router) => result.map(drop),
            () = controller => Ok(()),
        }
    }

    fn tell(&self) {
        let version = self.contents().version;
        self.changed.send_if_modified(|told| std::mem::replace(told, version) != version);
    }
}

async fn answer(
    State(cluster): State<Arc<FakeCluster>>,
    method: Method,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(target) = Target::parse(uri.path()) else { return discovery(uri.path()) };
    if query.get("watch").is_some_and(|watch| watch == "true") {
        return watch_objects(cluster, target, &query);
    }
    let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let answer = {
        let mut contents = cluster.contents();
        match method {
            Method::GET => contents.read(&target, query.get("labelSelector")),
            Method::POST => contents.create(&target, body),
            Method::PATCH => contents.patch(&target, &body, kind.contains("apply-patch")),
            Method::DELETE => contents.delete(&target, &body),
            _ => Err((405, "MethodNotAllowed")),
        }
    };
    cluster.tell();
    match answer {
        Ok(object) => ok(&object),
        Err((code, reason)) => failure(code, reason),
    }
}

fn ok(value: &Value) -> Response {
    Response::builder()
        .header("content-type", "application/json")
        .body(Body::from(value.to_string()))
        .unwrap()
}

fn failure(code: u16, reason: &str) -> Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason,
        "reason": reason, "code": code});
    let mut response = ok(&status);
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

fn discovery(path: &str) -> Response {
    let verbs = ["create", "delete", "get", "list", "patch", "update", "watch"];
    let resource = |name: &str, kind: &str, namespaced: bool| json!({"name": name, "kind": kind, "namespaced": namespaced, "verbs": verbs, "singularName": ""});
    let list = |version: &str, resources: Vec<Value>| {
        ok(&json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version,
            "resources": resources}))
    };
    match path {
        "/version" => ok(&json!({"major": "1", "minor": "34", "gitVersion": "v1.34.0", "gitCommit": "",
            "buildDate": "", "gitTreeState": "", "goVersion": "", "compiler": "", "platform": ""})),
        "/api" => ok(&json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
        "/apis" => {
            let version = json!({"groupVersion": "apps/v1", "version": "v1"});
            let group = json!({"name": "apps", "versions": [version], "preferredVersion": version});
            ok(&json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]}))
        }
        "/api/v1" => list("v1", vec![resource("nodes", "Node", false)]),
        "/apis/apps/v1" => list("apps/v1", vec![resource("deployments", "Deployment", true)]),
        _ => failure(404, "NotFound"),
    }
}

/// A place in the cluster's history, and what is watched from there.
struct Watch {
    cluster: Arc<FakeCluster>,
    changed: watch::Receiver<u64>,
    target: Target,
    selector: Option<String>,
    from: u64,
}

impl Watch {
    async fn next(mut self) -> Option<(Result<String, std::convert::Infallible>, Self)> {
        loop {
            let (lines, version) = {
                let contents = self.cluster.contents();
                (contents.events(self.from, &self.target, self.selector.as_ref()), contents.version)
            };
            self.from = version;
            if !lines.is_empty() {
                return Some((Ok(lines), self));
            }
            self.changed.changed().await.ok()?;
        }
    }
}

fn watch_objects(cluster: Arc<FakeCluster>, target: Target, query: &HashMap<String, String>) -> Response {
    let number = |name: &str| query.get(name).and_then(|value| value.parse::<u64>().ok());
    let limit = number("timeoutSeconds").map_or(LONGEST_WATCH, Duration::from_secs).min(LONGEST_WATCH);
    let end = tokio::time::Instant::now() + limit;
    let (changed, selector) = (cluster.changed.subscribe(), query.get("labelSelector").cloned());
    let watch = Watch { cluster, changed, target, selector, from: number("resourceVersion").unwrap_or(0) };
    let lines = futures::stream::unfold(watch, move |watch| async move {
        tokio::time::timeout_at(end, watch.next()).await.ok().flatten()
    });
    Response::builder().header("content-type", "application/json").body(Body::from_stream(lines)).unwrap()
}
