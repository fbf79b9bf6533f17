//! What the FAKE API server stores, and what its verbs do to it.

use std::collections::{BTreeMap, HashMap};

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

/// An older version of `apps/v1`.
pub(crate) const OLD_VERSION: &str = "apps/v1beta1";

/// Served kinds: API version, plural, kind, namespaced.
pub(crate) const KINDS: [(&str, &str, &str, bool); 13] = [
    ("v1", "configmaps", "ConfigMap", true),
    ("v1", "secrets", "Secret", true),
    ("v1", "services", "Service", true),
    ("v1", "namespaces", "Namespace", false),
    ("v1", "nodes", "Node", false),
    ("v1", "pods", "Pod", true),
    ("v1", "events", "Event", true),
    ("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", true),
    ("apps/v1", "deployments", "Deployment", true),
    // Served on demand.
    (OLD_VERSION, "deployments", "Deployment", true),
    ("batch/v1", "jobs", "Job", true),
    ("apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", false),
    // Served once its definition is established.
    ("baths.example/v1", "tubs", "Tub", true),
];

/// Plural, namespace (empty for cluster-scoped), name.
pub(crate) type Key = (String, String, String);

#[derive(Clone, Default)]
pub(crate) struct Contents {
    pub(crate) version: u64,
    pub(crate) objects: BTreeMap<Key, Value>,
    /// (version, type, plural, object)
    pub(crate) events: Vec<(u64, &'static str, String, Value)>,
    /// Deployments are available as soon as they are written.
    pub(crate) runs_workloads: bool,
    /// ConfigMaps get this value, whatever is written: as by a webhook.
    pub(crate) overrules: Option<&'static str>,
    /// Kinds are served in [`OLD_VERSION`] too.
    pub(crate) serves_old_version: bool,
}

impl Contents {
    /// What a request that changes nothing is carried out on.
    pub(crate) fn copy(&self) -> Self {
        Self {
            version: self.version,
            objects: self.objects.clone(),
            runs_workloads: self.runs_workloads,
            overrules: self.overrules,
            ..Self::default()
        }
    }

    /// Writes an object as it is; gives it a uid if it has none.
    pub(crate) fn put(&mut self, plural: &str, mut object: Value) -> Value {
        self.version += 1;
        let metadata = &mut object["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let key = (plural.to_owned(), text(&metadata["namespace"]), text(&metadata["name"]));
        if metadata["uid"].is_null() {
            metadata["uid"] = json!(format!("uid-{}", self.version));
        }
        metadata["resourceVersion"] = json!(self.version.to_string());
        if plural == "deployments" && self.runs_workloads {
            let replicas = object["spec"]["replicas"].clone();
            object["status"] = json!({"replicas": replicas, "updatedReplicas": replicas,
                "readyReplicas": replicas, "availableReplicas": replicas});
        }
        if let (Some(value), "configmaps") = (self.overrules, plural) {
            object["data"]["k"] = json!(value);
        }
        let kind = if self.objects.contains_key(&key) { "MODIFIED" } else { "ADDED" };
        self.events.push((self.version, kind, plural.to_owned(), object.clone()));
        self.objects.insert(key, object.clone());
        object
    }

    /// Whether a kind is served at present.
    pub(crate) fn serves_kind(&self, plural: &str) -> bool {
        let definition = || {
            let name =
                ("customresourcedefinitions".to_owned(), String::new(), "tubs.baths.example".to_owned());
            self.objects.get(&name).is_some_and(|definition| !definition["status"].is_null())
        };
        plural != "tubs" || definition()
    }

    pub(crate) fn serves(&self, api_version: &str, plural: &str) -> bool {
        self.serves_kind(plural) && (api_version != OLD_VERSION || self.serves_old_version)
    }

    /// A definition that was looked at is established after that, as if it had taken a moment.
    pub(crate) fn establish(&mut self, target: &Target) {
        let (true, Some(name)) = (target.plural == "customresourcedefinitions", &target.name) else { return };
        let Some(mut definition) = self.objects.get(&target.key(name)).cloned() else { return };
        if definition["status"].is_null() {
            definition["status"] = json!({"conditions": [{"type": "Established", "status": "True"}]});
            self.put("customresourcedefinitions", definition);
        }
    }

    /// Erases an object.
    pub(crate) fn erase(&mut self, plural: &str, namespace: &str, name: &str) {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        if let Some(mut object) = self.objects.remove(&key) {
            self.version += 1;
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
            self.events.push((self.version, "DELETED", plural.to_owned(), object));
        }
    }
}

pub(crate) struct Target {
    pub(crate) api_version: String,
    pub(crate) kind: &'static str,
    pub(crate) plural: String,
    pub(crate) namespaced: bool,
    pub(crate) namespace: String,
    pub(crate) name: Option<String>,
}

impl Target {
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (api_version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ((*version).to_owned(), rest),
            ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let plural = *rest.first()?;
        let (.., kind, namespaced) =
            KINDS.into_iter().find(|(version, name, ..)| *version == api_version && *name == plural)?;
        let name = rest.get(1).map(|name| (*name).to_owned());
        Some(Self { api_version, kind, plural: plural.into(), namespaced, namespace: namespace.into(), name })
    }

    pub(crate) fn key(&self, name: &str) -> Key {
        (self.plural.clone(), self.namespace.clone(), name.to_owned())
    }

    pub(crate) fn holds(&self, object: &Value, selector: Option<&String>) -> bool {
        let wanted = selector.and_then(|selector| selector.split_once('='));
        let labelled = wanted.is_none_or(|(label, value)| object["metadata"]["labels"][label] == value);
        labelled && (self.namespace.is_empty() || object["metadata"]["namespace"] == self.namespace)
    }
}

pub(crate) fn ok(value: &Value) -> Response {
    Response::builder()
        .header("content-type", "application/json")
        .body(Body::from(value.to_string()))
        .unwrap()
}

pub(crate) fn failure(code: StatusCode, reason: &str, message: &str) -> Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message,
        "reason": reason, "code": code.as_u16()});
    let mut response = ok(&status);
    *response.status_mut() = code;
    response
}

pub(crate) fn not_found() -> Response {
    failure(StatusCode::NOT_FOUND, "NotFound", "not found")
}

pub(crate) fn conflict(message: &str) -> Response {
    failure(StatusCode::CONFLICT, "Conflict", message)
}

pub(crate) fn read(contents: &Contents, target: &Target, query: &HashMap<String, String>) -> Response {
    if let Some(name) = &target.name {
        return contents.objects.get(&target.key(name)).map_or_else(not_found, ok);
    }
    let of_plural = contents.objects.iter().filter(|((plural, ..), _)| *plural == target.plural);
    let items = of_plural.map(|(_, object)| object);
    let items = items.filter(|object| target.holds(object, query.get("labelSelector")));
    let number = |name: &str| query.get(name).and_then(|number| number.parse::<usize>().ok());
    // A token is the number of objects on the pages before; every page shows what is there now.
    let (from, limit) = (number("continue").unwrap_or(0), number("limit").unwrap_or(usize::MAX));
    let mut rest = items.skip(from);
    let mut items: Vec<_> = rest.by_ref().take(limit).cloned().collect();
    let token = if rest.next().is_some() { (from + limit).to_string() } else { String::new() };
    // As the real one: items of a list do not repeat what the list says.
    for item in items.iter_mut().filter_map(Value::as_object_mut) {
        item.remove("apiVersion");
        item.remove("kind");
    }
    ok(&json!({"kind": format!("{}List", target.kind), "apiVersion": target.api_version,
        "metadata": {"resourceVersion": contents.version.to_string(), "continue": token}, "items": items}))
}

/// Books the write under the field manager.
pub(crate) fn book(object: &mut Value, operation: &str, query: &HashMap<String, String>) {
    let manager = query.get("fieldManager").map_or("unknown", String::as_str);
    if !object["metadata"]["managedFields"].is_array() {
        object["metadata"]["managedFields"] = json!([]);
    }
    let books = object["metadata"]["managedFields"].as_array_mut().unwrap();
    let entry = json!({"manager": manager, "operation": operation, "fieldsV1": {"f:any": {}}});
    if !books.iter().any(|book| book["manager"] == manager && book["operation"] == operation) {
        books.push(entry);
    }
}

pub(crate) fn create(
    contents: &mut Contents,
    target: &Target,
    mut body: Value,
    query: &HashMap<String, String>,
) -> Response {
    let name = body["metadata"]["name"].as_str().unwrap().to_owned();
    if contents.objects.contains_key(&target.key(&name)) {
        return failure(StatusCode::CONFLICT, "AlreadyExists", &format!("\"{name}\" already exists"));
    }
    book(&mut body, "Update", query);
    ok(&contents.put(&target.plural, body))
}

pub(crate) fn patch(
    contents: &mut Contents,
    target: &Target,
    patch: &Value,
    apply: bool,
    query: &HashMap<String, String>,
) -> Response {
    let name = target.name.clone().unwrap();
    let Some(before) = contents.objects.get(&target.key(&name)).cloned() else {
        if !apply {
            return not_found();
        }
        if !patch["metadata"]["uid"].is_null() {
            return conflict("uid mismatch: no existing object was found");
        }
        let mut created = patch.clone();
        book(&mut created, "Apply", query);
        return ok(&contents.put(&target.plural, created));
    };
    let (wanted, is) = (&patch["metadata"], &before["metadata"]);
    if !wanted["resourceVersion"].is_null() && wanted["resourceVersion"] != is["resourceVersion"] {
        return conflict("the object has been modified");
    }
    if !wanted["uid"].is_null() && wanted["uid"] != is["uid"] {
        return failure(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", "metadata.uid: field is immutable");
    }
    let mut after = before.clone();
    merge(&mut after, patch);
    if apply {
        book(&mut after, "Apply", query);
    }
    if after == before {
        return ok(&before);
    }
    ok(&contents.put(&target.plural, after))
}

pub(crate) fn merge(object: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut object[name], value);
        }
    }
}

pub(crate) fn delete(contents: &mut Contents, target: &Target, options: &Value) -> Response {
    let name = target.name.clone().unwrap();
    let Some(object) = contents.objects.get(&target.key(&name)).cloned() else { return not_found() };
    let guard = &options["preconditions"]["uid"];
    assert!(!guard.is_null(), "deleted without a uid");
    // Nothing here owns anything, so both are the same.
    let policy = options["propagationPolicy"].as_str();
    assert!(matches!(policy, Some("Background" | "Foreground")), "{policy:?}");
    if *guard != object["metadata"]["uid"] {
        return conflict("Precondition failed: UID");
    }
    let version = &options["preconditions"]["resourceVersion"];
    if !version.is_null() && *version != object["metadata"]["resourceVersion"] {
        return conflict("Precondition failed: ResourceVersion");
    }
    if object["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty()) {
        let mut going = object;
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        return ok(&contents.put(&target.plural, going));
    }
    contents.erase(&target.plural, &target.namespace, &name);
    ok(&json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
}
