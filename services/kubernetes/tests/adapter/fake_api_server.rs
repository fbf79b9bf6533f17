//! A FAKE Kubernetes API server: a router handed to `kube::Client`, no sockets. It knows discovery, get, list, watch, create,
//! server-side apply (merging maps, replacing lists; no field ownership), merge patch and delete, with their preconditions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use futures::StreamExt;
use krake_kubernetes::cluster::connection::{Connection, Deadlines};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::fake_faults::Faults;
use crate::fake_objects::{Contents, KINDS, Target, create, delete, failure, ok, patch, read};

/// The versions of API groups that it names.
const GROUPS: [&str; 6] = [
    "apps/v1",
    "autoscaling/v2",
    "batch/v1",
    "apiextensions.k8s.io/v1",
    "baths.example/v1",
    "metrics.k8s.io/v1beta1",
];

/// How the server behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mood {
    Well,
    /// 503 for everything, watches end.
    Down,
    /// Everything is answered with a `Status` of this code, and watches end.
    Answers(u16),
    /// Takes requests and does not answer; watches go silent for ever.
    Hanging,
}

/// What happened, in order, on several fakes.
pub(crate) type Journal = Arc<Mutex<Vec<String>>>;

type Race = (Method, String, Box<dyn FnOnce(&mut Contents) + Send>);

pub(crate) struct FakeApiServer {
    contents: Mutex<Contents>,
    changed: watch::Sender<u64>,
    mood: watch::Sender<Mood>,
    requests: Mutex<Vec<String>>,
    races: Mutex<Vec<Race>>,
    /// Lists and watches of objects in all namespaces are forbidden.
    narrow: Mutex<bool>,
    extra_kinds: Mutex<Vec<&'static str>>,
    /// Writes are told here too, under this name.
    journal: Mutex<Option<(String, Journal)>>,
    /// Writes to paths with this part get no answer.
    hangs: watch::Sender<Option<&'static str>>,
    /// Such writes fail with 503: a part of their path.
    broken: Mutex<Option<String>>,
    /// What is wrong with some requests.
    pub(crate) faults: Mutex<Faults>,
    /// Its version.
    version: Mutex<&'static str>,
    /// It names only groups that answer.
    whole: Mutex<bool>,
}

impl FakeApiServer {
    /// A server with one node that is ready.
    pub(crate) fn start() -> Arc<Self> {
        let server = Self::without_nodes();
        server.put(
            "nodes",
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
        );
        server
    }

    pub(crate) fn without_nodes() -> Arc<Self> {
        Arc::new(Self {
            contents: Mutex::default(),
            changed: watch::Sender::new(0),
            mood: watch::Sender::new(Mood::Well),
            requests: Mutex::default(),
            races: Mutex::default(),
            narrow: Mutex::new(false),
            extra_kinds: Mutex::default(),
            journal: Mutex::default(),
            hangs: watch::Sender::new(None),
            broken: Mutex::default(),
            faults: Mutex::default(),
            version: Mutex::new("v1.35.8"),
            whole: Mutex::new(false),
        })
    }

    pub(crate) fn connection(self: &Arc<Self>) -> Connection {
        let router = axum::Router::new().fallback(answer).with_state(Arc::clone(self));
        let client = kube::Client::new(router.into_service::<kube::client::Body>(), "default");
        Connection::over(client, "context-ns", "api.example", Deadlines::default())
    }

    pub(crate) fn put(&self, plural: &str, object: Value) -> Value {
        let stored = self.contents().put(plural, object);
        self.tell();
        stored
    }

    pub(crate) fn erase(&self, plural: &str, namespace: &str, name: &str) {
        self.contents().erase(plural, namespace, name);
        self.tell();
    }

    pub(crate) fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        self.contents().objects.get(&key).cloned()
    }

    /// Just before the next such request is carried out, somebody else does this.
    pub(crate) fn race(&self, method: Method, path: &str, act: impl FnOnce(&mut Contents) + Send + 'static) {
        self.races.lock().unwrap().push((method, path.to_owned(), Box::new(act)));
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        self.mood.send_replace(mood);
        self.tell();
    }

    pub(crate) fn forbid_lists_in_all_namespaces(&self) {
        *self.narrow.lock().unwrap() = true;
    }

    fn is_narrow(&self) -> bool {
        *self.narrow.lock().unwrap()
    }

    /// Serves a further kind of group `example.org/v1`.
    pub(crate) fn serve_kind(&self, kind: &'static str) {
        self.extra_kinds.lock().unwrap().push(kind);
    }

    /// Tells of writes in `journal`, as `<name> <METHOD> <plural>/<object>`.
    pub(crate) fn keep_journal(&self, name: &str, journal: &Journal) {
        *self.journal.lock().unwrap() = Some((name.to_owned(), journal.clone()));
    }

    /// From now on writes get no answer, or do again.
    pub(crate) fn hang_writes(&self, hang: bool) {
        self.hangs.send_replace(hang.then_some(""));
    }

    /// From now on writes to such paths get no answer.
    pub(crate) fn hang_writes_to(&self, path: &'static str) {
        self.hangs.send_replace(Some(path));
    }

    /// From now on writes to such paths fail, or none do.
    pub(crate) fn break_writes(&self, path: Option<&str>) {
        *self.broken.lock().unwrap() = path.map(str::to_owned);
    }

    /// From now on it names only groups that answer.
    pub(crate) fn mend(&self) {
        *self.whole.lock().unwrap() = true;
    }

    /// From now on it says that it is of this version.
    pub(crate) fn set_version(&self, version: &'static str) {
        *self.version.lock().unwrap() = version;
    }

    /// Makes Deployments available at once, those that are there and those that come.
    pub(crate) fn run_workloads(&self) {
        self.contents().runs_workloads = true;
        let deployments =
            self.contents().objects.clone().into_iter().filter(|((plural, ..), _)| plural == "deployments");
        for (_, deployment) in deployments {
            self.put("deployments", deployment);
        }
    }

    /// A webhook sets a value of all ConfigMaps from now on.
    pub(crate) fn overrule(&self, value: &'static str) {
        self.contents().overrules = Some(value);
    }

    /// Deployments that come from now on do not become available.
    pub(crate) fn stop_workloads(&self) {
        self.contents().runs_workloads = false;
    }

    /// Names of the objects of a kind.
    pub(crate) fn names(&self, plural: &str) -> Vec<String> {
        let contents = self.contents();
        let of_kind = contents.objects.keys().filter(|(kind, ..)| kind == plural);
        of_kind.map(|(.., name)| name.clone()).collect()
    }

    /// Requests so far, as `METHOD /path`, with ` (watch)` where it is one.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// Requests so far that write.
    pub(crate) fn writes(&self) -> Vec<String> {
        let writes = |request: &String| !request.starts_with("GET ") && !request.ends_with(" (dry run)");
        self.requests().into_iter().filter(writes).collect()
    }

    pub(crate) fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap()
    }

    fn next_race(&self, method: &Method, path: &str) -> Option<Race> {
        let mut races = self.races.lock().unwrap();
        let fits = |(of, to, _): &Race| of == method && to == path;
        races.iter().position(fits).map(|index| races.remove(index))
    }

    fn tell_journal(&self, write: &str) {
        if let Some((server, journal)) = &*self.journal.lock().unwrap() {
            journal.lock().unwrap().push(format!("{server} {write}"));
        }
    }

    pub(crate) fn tell(&self) {
        self.changed.send_modify(|times| *times += 1);
    }
}

async fn answer(
    State(server): State<Arc<FakeApiServer>>,
    method: Method,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let watching = query.get("watch").is_some_and(|watch| watch == "true");
    let tries = query.get("dryRun").is_some_and(|dry_run| dry_run == "All");
    let note = note(&method, &body, watching, tries);
    server.requests.lock().unwrap().push(format!("{method} {}{note}", uri.path()));
    server.faults.lock().unwrap().note(&method, &uri);
    let mut moods = server.mood.subscribe();
    let mood = *moods.borrow();
    match mood {
        Mood::Well => {}
        Mood::Down => return failure(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", "down"),
        Mood::Answers(code) => {
            return failure(StatusCode::from_u16(code).unwrap(), "Injected", "injected by the test");
        }
        Mood::Hanging => drop(moods.wait_for(|mood| *mood != Mood::Hanging).await),
    }
    if method != Method::GET {
        let passes = |hangs: &Option<&str>| hangs.is_none_or(|part| !uri.path().contains(part));
        drop(server.hangs.subscribe().wait_for(passes).await);
        let broken = server.broken.lock().unwrap().clone();
        if broken.is_some_and(|broken| uri.path().contains(&broken)) {
            return failure(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", "broken");
        }
    }
    let is_later_page = query.contains_key("continue");
    let refusal = server.fault(&method, uri.path(), tries);
    if let Some(answer) = refusal.or_else(|| server.expired(uri.path(), is_later_page)) {
        return answer;
    }
    let target = Target::parse(uri.path())
        .filter(|target| server.contents().serves(&target.api_version, &target.plural));
    let Some(target) = target else { return discovery(&server, uri.path()) };
    let is_wide = target.name.is_none() && target.namespace.is_empty() && target.namespaced;
    if is_wide && server.is_narrow() {
        return failure(StatusCode::FORBIDDEN, "Forbidden", "cannot list resource at the cluster scope");
    }
    if watching {
        return watch_objects(server, target, &query);
    }
    let race = (!tries).then(|| server.next_race(&method, uri.path())).flatten();
    let answer = {
        let mut contents = server.contents();
        if let Some((_, _, act)) = race {
            act(&mut contents);
        }
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        if method != Method::GET && !tries {
            let name = target.name.as_deref().or(body["metadata"]["name"].as_str()).unwrap_or_default();
            server.tell_journal(&format!("{method} {}/{name}", target.plural));
        }
        let apply =
            headers.get("content-type").is_some_and(|kind| kind.to_str().unwrap().contains("apply-patch"));
        match tries {
            true => carry_out(&mut contents.copy(), &method, &target, body, &query, apply),
            false => carry_out(&mut contents, &method, &target, body, &query, apply),
        }
    };
    if !tries {
        server.tell();
    }
    server.warned(&method, uri.path(), answer)
}

/// What a request is noted with, beside its method and path.
fn note(method: &Method, body: &[u8], watching: bool, tries: bool) -> &'static str {
    let foreground = serde_json::from_slice::<Value>(body)
        .is_ok_and(|options| *method == Method::DELETE && options["propagationPolicy"] == "Foreground");
    match (watching, tries, foreground) {
        (true, ..) => " (watch)",
        (_, true, _) => " (dry run)",
        (_, _, true) => " (foreground)",
        _ => "",
    }
}

fn carry_out(
    contents: &mut Contents,
    method: &Method,
    target: &Target,
    body: Value,
    query: &HashMap<String, String>,
    apply: bool,
) -> Response {
    match *method {
        Method::GET => {
            let answer = read(contents, target, query);
            contents.establish(target);
            answer
        }
        Method::POST => create(contents, target, body, query),
        Method::PATCH => patch(contents, target, &body, apply, query),
        Method::DELETE => delete(contents, target, &body),
        _ => failure(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "no"),
    }
}

fn discovery(server: &FakeApiServer, path: &str) -> Response {
    if path == "/version" {
        let version = *server.version.lock().unwrap();
        return ok(
            &json!({"major": "1", "minor": "", "gitVersion": version, "gitCommit": "", "buildDate": "",
            "gitTreeState": "", "goVersion": "", "compiler": "", "platform": ""}),
        );
    }
    if path == "/apis" {
        let group = |version: &str| {
            let version = json!({"groupVersion": version, "version": version.rsplit('/').next()});
            let name = version["groupVersion"].as_str().unwrap().split('/').next();
            json!({"name": name, "versions": [version], "preferredVersion": version})
        };
        let whole = *server.whole.lock().unwrap();
        let tubs = server.contents().serves_kind("tubs");
        let answers = |version: &&str| match *version {
            "metrics.k8s.io/v1beta1" => !whole,
            "baths.example/v1" => !whole || tubs,
            _ => true,
        };
        let versions = GROUPS.into_iter().filter(answers);
        let groups: Vec<Value> = versions.map(group).collect();
        return ok(&json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}));
    }
    let api_version = path.trim_start_matches("/apis/").trim_start_matches("/api/");
    let verbs = ["create", "delete", "get", "list", "patch", "update", "watch"];
    let resource = |plural: &str, kind: &str, namespaced: bool, verbs: &[&str]| json!({"name": plural, "kind": kind, "namespaced": namespaced, "verbs": verbs, "singularName": ""});
    let mut resources: Vec<Value> = KINDS
        .iter()
        .filter(|(version, plural, ..)| *version == api_version && server.contents().serves(version, plural))
        .flat_map(|(_, plural, kind, namespaced)| {
            let status = resource(&format!("{plural}/status"), kind, *namespaced, &["get", "patch"]);
            [resource(plural, kind, *namespaced, &verbs), status]
        })
        .collect();
    match api_version {
        "example.org/v1" => {
            let kinds = server.extra_kinds.lock().unwrap();
            let of = |kind: &&str| resource(&kind.to_lowercase(), kind, true, &verbs);
            resources.extend(kinds.iter().map(of));
            resources.push(resource("always", "Always", true, &verbs));
        }
        "authorization.k8s.io/v1" => {
            resources.push(resource("subjectaccessreviews", "SubjectAccessReview", false, &["create"]));
        }
        "metrics.k8s.io/v1beta1" => {
            return failure(
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "aggregated API is broken",
            );
        }
        "garbage.example/v1" => {
            return ok(&json!({"kind": "APIResourceList", "groupVersion": "x", "resources": []}));
        }
        // As real servers say it of groups that they do not serve.
        _ if resources.is_empty() => {
            let text = Body::from("404 page not found\n");
            return Response::builder().status(StatusCode::NOT_FOUND).body(text).unwrap();
        }
        _ => {}
    }
    ok(
        &json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": resources}),
    )
}

fn watch_objects(server: Arc<FakeApiServer>, target: Target, query: &HashMap<String, String>) -> Response {
    let selector = query.get("labelSelector").cloned();
    let from: u64 = query.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
    let changed = server.changed.subscribe();
    let stream = futures::stream::unfold((server, changed, from), move |(server, mut changed, from)| {
        let (target_plural, selector) = (target.plural.clone(), selector.clone());
        let scope = Target { name: None, ..Target::parse(&path_of(&target)).unwrap() };
        async move {
            loop {
                let mood = *server.mood.borrow();
                match mood {
                    Mood::Well => {}
                    Mood::Down | Mood::Answers(_) => return None,
                    // As over a connection that was lost unnoticed: nothing comes any more.
                    Mood::Hanging => std::future::pending().await,
                }
                let (lines, version) = {
                    let contents = server.contents();
                    let new = contents.events.iter().filter(|(version, ..)| *version > from);
                    let ours = new.filter(|(_, _, plural, object)| {
                        *plural == target_plural && scope.holds(object, selector.as_ref())
                    });
                    let lines: String = ours
                        .map(|(_, kind, _, object)| format!("{}\n", json!({"type": kind, "object": object})))
                        .collect();
                    (lines, contents.version)
                };
                if !lines.is_empty() {
                    return Some((Ok::<_, std::io::Error>(lines), (server, changed, version)));
                }
                changed.changed().await.ok()?;
            }
        }
    });
    Response::builder()
        .header("content-type", "application/json")
        .body(Body::from_stream(stream.boxed()))
        .unwrap()
}

fn path_of(target: &Target) -> String {
    let root = if target.api_version == "v1" { "api" } else { "apis" };
    match target.namespace.as_str() {
        "" => format!("/{root}/{}/{}", target.api_version, target.plural),
        namespace => format!("/{root}/{}/namespaces/{namespace}/{}", target.api_version, target.plural),
    }
}
