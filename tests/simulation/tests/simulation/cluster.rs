//! A FAKE Kubernetes cluster: an API server that knows Deployments, Nodes and Namespaces and has moods, and a controller
//! that makes Deployments available after a while. What it holds survives crashes of its host, and so does its mood.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::mood::{self, Asked, Moods, Whim};
use crate::objects::{Contents, Target};
use crate::refusal::{self, refusal};

/// The server ends a watch after this time at the latest.
const LONGEST_WATCH: Duration = Duration::from_secs(20);
/// How often the controller looks at Deployments; one is available after the second look.
const CONTROLLER: Duration = Duration::from_millis(300);

/// A cluster, as long as the simulation.
#[derive(Default)]
pub(crate) struct FakeCluster {
    contents: Mutex<Contents>,
    changed: watch::Sender<u64>,
    pub(crate) moods: Moods,
}

impl FakeCluster {
    /// A cluster with one healthy node, that is known by its name.
    pub(crate) fn start(name: &str) -> Arc<Self> {
        let cluster = FakeCluster::default();
        let ready = json!({"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""});
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"},
            "status": {"conditions": [ready]}});
        cluster.contents().put("nodes", node);
        let uid = format!("kube-system-of-{name}");
        let identity =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system", "uid": uid}});
        cluster.contents().put("namespaces", identity);
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
    let target = Target::parse(uri.path());
    let watches = target.is_some() && query.get("watch").is_some_and(|watch| watch == "true");
    let asked = match method {
        Method::GET if watches => Asked::Watch,
        Method::GET => Asked::Read,
        _ => Asked::Write,
    };
    let mood = cluster.moods.meet(asked).await;
    let whim = mood.map(|mood| mood.whim);
    if let (Some(mood), Some(Whim::Refuse(code))) = (mood, whim) {
        return refusal::of_mood(code, mood.retry_after, target.as_ref(), method == Method::POST);
    }
    let Some(target) = target else { return with(whim, discovery(uri.path())).await };
    if asked == Asked::Watch {
        return match whim {
            Some(Whim::Cut) => mood::cut_watch(),
            _ => watch_objects(cluster, target, &query),
        };
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
    let answer = match answer {
        Ok(object) => ok(&object),
        Err((code, reason)) => {
            refusal(code, reason, &format!("{}: {reason}", target.subject()), &target.details())
        }
    };
    with(whim, answer).await
}

/// What arrives of the answer to a request that was carried out.
async fn with(whim: Option<Whim>, answer: Response) -> Response {
    match whim {
        Some(Whim::Cut) => mood::cut(answer).await,
        Some(Whim::Huge) => mood::huge(),
        _ => answer,
    }
}

fn ok(value: &Value) -> Response {
    Response::builder()
        .header("content-type", "application/json")
        .body(Body::from(value.to_string()))
        .unwrap()
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
        "/api/v1" => {
            list("v1", vec![resource("nodes", "Node", false), resource("namespaces", "Namespace", false)])
        }
        "/apis/apps/v1" => list("apps/v1", vec![resource("deployments", "Deployment", true)]),
        _ => refusal::not_served(),
    }
}

/// A place in the cluster's history, and what is watched from there.
struct Watch {
    cluster: Arc<FakeCluster>,
    changed: watch::Receiver<u64>,
    ends: watch::Receiver<u64>,
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
            tokio::select! {
                changed = self.changed.changed() => changed.ok()?,
                _ = self.ends.changed() => return None,
            }
        }
    }
}

fn watch_objects(cluster: Arc<FakeCluster>, target: Target, query: &HashMap<String, String>) -> Response {
    let number = |name: &str| query.get(name).and_then(|value| value.parse::<u64>().ok());
    let limit = number("timeoutSeconds").map_or(LONGEST_WATCH, Duration::from_secs).min(LONGEST_WATCH);
    let end = tokio::time::Instant::now() + limit;
    let (changed, ends) = (cluster.changed.subscribe(), cluster.moods.end_of_watches());
    let (selector, from) =
        (query.get("labelSelector").cloned(), number("resourceVersion").unwrap_or_default());
    let watch = Watch { cluster, changed, ends, target, selector, from };
    let lines = futures::stream::unfold(watch, move |watch| async move {
        tokio::time::timeout_at(end, watch.next()).await.ok().flatten()
    });
    Response::builder().header("content-type", "application/json").body(Body::from_stream(lines)).unwrap()
}
