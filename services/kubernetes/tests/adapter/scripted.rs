//! What tests wish of single requests to an API server: answers that an exact request gets, what happens just before it, and
//! which requests there were.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, Weak};

use axum::http::Method;
use krake_cluster_sim::{Call, Reply, Script};
use serde_json::{Value, json};

use crate::api_server::{ApiServer, Journal};

type Act = Box<dyn FnOnce(&ApiServer) + Send>;

/// The wishes that are in force, and the requests so far.
#[derive(Default)]
pub(crate) struct Wishes(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    refusals: Vec<Refusal>,
    warnings: Vec<(Method, String, String)>,
    races: Vec<(Method, String, Act)>,
    /// Pages after the first of lists at such paths are gone, so many times.
    expiring: Option<(String, usize)>,
    /// Bodies of answers by their path.
    shown: HashMap<String, Value>,
    /// Every request is answered with this code.
    all: Option<u16>,
    /// Lists and watches of objects in all namespaces are forbidden.
    is_narrow: bool,
    /// ConfigMaps get this value, whatever is written: as by a webhook.
    overrules: Option<&'static str>,
    /// Writes are told here too, under this name.
    journal: Option<(String, Journal)>,
    /// Requests so far, as `METHOD /path`, with what they are noted with.
    requests: Vec<String>,
    /// Requests so far, as `METHOD /path?query`.
    asked: Vec<String>,
    /// Deletions that no adapter may ask for.
    careless: Vec<String>,
}

/// Requests that fail, and how.
struct Refusal {
    method: Method,
    /// A part of their path, or with a `$` its end.
    path: String,
    code: u16,
    reason: String,
    message: String,
    /// Only requests that change nothing fail, or only the next one that does not.
    only: Option<Only>,
}

#[derive(Clone, Copy, PartialEq)]
enum Only {
    DryRuns,
    Once,
}

impl Refusal {
    fn is_for(&self, call: &Call<'_>) -> bool {
        let is_meant = match self.only {
            None => true,
            Some(Only::DryRuns) => call.is_dry_run(),
            Some(Only::Once) => !call.is_dry_run(),
        };
        let is_there = match self.path.strip_suffix('$') {
            Some(end) => call.path.ends_with(end),
            None => call.path.contains(&self.path),
        };
        is_meant && self.method == call.method && is_there
    }

    fn reply(&self) -> Reply {
        Reply::status(self.code, &self.reason, &self.message)
    }
}

impl Wishes {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// From now on every request is answered with a `Status` of this code, or none is any more.
    pub(crate) fn answer_all_with(&self, code: Option<u16>) {
        self.lock().all = code;
    }

    /// From now on the answer at a path is this, or the server's own.
    pub(crate) fn show(&self, path: &str, body: Option<Value>) {
        let shown = &mut self.lock().shown;
        match body {
            Some(body) => drop(shown.insert(path.to_owned(), body)),
            None => drop(shown.remove(path)),
        }
    }

    /// Just before the next such request is carried out, somebody else does this.
    pub(crate) fn race(&self, method: Method, path: &str, act: Act) {
        self.lock().races.push((method, path.to_owned(), act));
    }

    fn next_race(&self, call: &Call<'_>) -> Option<Act> {
        let races = &mut self.lock().races;
        let fits = |(method, path, _): &(Method, String, Act)| *method == call.method && path == call.path;
        let place = races.iter().position(fits).filter(|_| !call.is_dry_run())?;
        Some(races.remove(place).2)
    }

    /// What is answered in place of the server.
    fn answer(&self, call: &Call<'_>) -> Option<Reply> {
        let mut wishes = self.lock();
        if let Some(code) = wishes.all {
            return Some(Reply::status(code, "Injected", "injected by the test"));
        }
        if let Some(place) = wishes.refusals.iter().position(|refusal| refusal.is_for(call)) {
            let reply = wishes.refusals[place].reply();
            if wishes.refusals[place].only == Some(Only::Once) {
                wishes.refusals.remove(place);
            }
            return Some(reply);
        }
        let is_later_page = call.query.contains_key("continue");
        if let Some((path, times)) = &mut wishes.expiring
            && is_later_page
            && *times > 0
            && call.path.contains(path.as_str())
        {
            *times -= 1;
            return Some(Reply::status(410, "Expired", "the provided continue parameter is too old"));
        }
        let is_wide = call.method == "GET" && call.path.ends_with("/configmaps");
        if wishes.is_narrow && is_wide && !call.path.contains("/namespaces/") {
            return Some(Reply::status(403, "Forbidden", "cannot list resource at the cluster scope"));
        }
        let body = wishes.shown.get(call.path).filter(|_| call.method == "GET")?;
        Some(Reply::Answer { code: 200, body: body.to_string() })
    }

    /// Notes a write that is carried out.
    fn note_write(&self, call: &Call<'_>) {
        let wishes = &mut *self.lock();
        let body: Value = serde_json::from_slice(call.body).unwrap_or_default();
        if call.method == "DELETE" {
            let policy = body["propagationPolicy"].as_str();
            let has_guard = body["preconditions"]["uid"].is_string();
            if !has_guard || !matches!(policy, Some("Background" | "Foreground")) {
                wishes.careless.push(format!("{} {body}", call.path));
            }
        }
        if let Some((server, journal)) = &wishes.journal {
            let mut steps = call.path.rsplit('/');
            let last = steps.next().unwrap_or_default();
            let (plural, name) = match call.method {
                "POST" => (last, body["metadata"]["name"].as_str().unwrap_or_default()),
                _ => (steps.next().unwrap_or_default(), last),
            };
            journal.lock().unwrap().push(format!("{server} {} {plural}/{name}", call.method));
        }
    }

    /// What the server makes of a request that it carries out.
    fn carried_out(&self, call: &Call<'_>) -> Reply {
        let wishes = self.lock();
        let is_for = |(method, part, _): &&(Method, String, String)| {
            *method == call.method && call.path.contains(part.as_str())
        };
        let warnings = wishes.warnings.iter().filter(is_for).map(|(_, _, text)| text.clone()).collect();
        let overruled = wishes.overrules.filter(|_| call.path.contains("/configmaps"));
        let overrule = |value| {
            let mut object: Value = serde_json::from_slice(call.body).ok()?;
            object["data"]["k"] = json!(value);
            matches!(call.method, "POST" | "PATCH").then(|| object.to_string().into_bytes())
        };
        Reply::CarryOut { body: overruled.and_then(overrule), warnings }
    }
}

/// The script of a server.
pub(crate) struct Sees(pub(crate) Weak<ApiServer>);

impl Script for Sees {
    fn arrived(&self, call: &Call<'_>) {
        let Some(server) = self.0.upgrade() else { return };
        let query: Vec<_> = call.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut wishes = server.wishes.lock();
        wishes.requests.push(format!("{} {}{}", call.method, call.path, note(call)));
        wishes.asked.push(format!("{} {}?{}", call.method, call.path, query.join("&")));
    }

    fn decide(&self, call: &Call<'_>) -> Reply {
        let Some(server) = self.0.upgrade() else { return Reply::default() };
        if let Some(reply) = server.wishes.answer(call) {
            return reply;
        }
        if let Some(act) = server.wishes.next_race(call) {
            act(&server);
        }
        if call.method != "GET" && !call.is_dry_run() {
            server.wishes.note_write(call);
        }
        server.wishes.carried_out(call)
    }
}

/// What a request is noted with, beside its method and path.
fn note(call: &Call<'_>) -> &'static str {
    let foreground = serde_json::from_slice::<Value>(call.body)
        .is_ok_and(|options| call.method == "DELETE" && options["propagationPolicy"] == "Foreground");
    match (call.is_watch(), call.is_dry_run(), foreground) {
        (true, ..) => " (watch)",
        (_, true, _) => " (dry run)",
        (_, _, true) => " (foreground)",
        _ => "",
    }
}

impl ApiServer {
    /// From now on such requests fail: by their method, watches and lists being GET, and a part of their path, which is its
    /// end if it ends with `$`. Open watches go on.
    pub(crate) fn fail(&self, method: Method, path: &str, code: u16, reason: &str, message: &str) {
        self.refuse(method, path, code, reason, message, None);
    }

    /// From now on applies to such paths that change nothing fail.
    pub(crate) fn fail_dry_runs(&self, path: &str, code: u16, reason: &str, message: &str) {
        self.refuse(Method::PATCH, path, code, reason, message, Some(Only::DryRuns));
    }

    /// The next such request fails that is not a dry run.
    pub(crate) fn fail_once(&self, method: Method, path: &str, code: u16, reason: &str, message: &str) {
        self.refuse(method, path, code, reason, message, Some(Only::Once));
    }

    /// From now on writes to such paths fail.
    pub(crate) fn break_writes(&self, path: &str) {
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            self.fail(method, path, 503, "ServiceUnavailable", "broken");
        }
    }

    fn refuse(&self, method: Method, path: &str, code: u16, reason: &str, message: &str, only: Option<Only>) {
        let (path, reason, message) = (path.to_owned(), reason.to_owned(), message.to_owned());
        self.wishes.lock().refusals.push(Refusal { method, path, code, reason, message, only });
    }

    /// From now on answers to such requests bear this warning.
    pub(crate) fn warn(&self, method: Method, path: &str, text: &str) {
        self.wishes.lock().warnings.push((method, path.to_owned(), text.to_owned()));
    }

    /// Requests do not fail any more and are not warned of.
    pub(crate) fn heal(&self) {
        let mut wishes = self.wishes.lock();
        wishes.refusals.clear();
        wishes.warnings.clear();
    }

    /// The next pages after the first of lists at such paths are gone, so many times.
    pub(crate) fn expire_pages(&self, path: &str, times: usize) {
        self.wishes.lock().expiring = Some((path.to_owned(), times));
    }

    /// ConfigMaps of all namespaces may not be listed, only those of one.
    pub(crate) fn forbid_lists_in_all_namespaces(&self) {
        self.wishes.lock().is_narrow = true;
    }

    /// A webhook sets a value of all ConfigMaps from now on.
    pub(crate) fn overrule(&self, value: &'static str) {
        self.wishes.lock().overrules = Some(value);
    }

    /// Tells of writes in `journal`, as `<name> <METHOD> <plural>/<object>`.
    pub(crate) fn keep_journal(&self, name: &str, journal: &Journal) {
        self.wishes.lock().journal = Some((name.to_owned(), journal.clone()));
    }

    /// Requests so far, as `METHOD /path`, with ` (watch)` where it is one.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.wishes.lock().requests.clone()
    }

    /// Requests so far with their queries, as `METHOD /path?query`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.wishes.lock().asked.clone()
    }

    /// Requests so far that write.
    pub(crate) fn writes(&self) -> Vec<String> {
        let writes = |request: &String| !request.starts_with("GET ") && !request.ends_with(" (dry run)");
        self.requests().into_iter().filter(writes).collect()
    }
}

impl Drop for ApiServer {
    /// Whatever a test is about, nothing was deleted without a guard.
    fn drop(&mut self) {
        let careless = std::mem::take(&mut self.wishes.lock().careless);
        if !std::thread::panicking() {
            assert_eq!(careless, [""; 0], "deleted without a uid or a policy");
        }
    }
}
