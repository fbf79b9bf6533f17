//! What the FAKE cluster stores, and what its verbs do to it: merge instead of field ownership, preconditions as the
//! real one has them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// A refusal: HTTP code and reason.
pub(crate) type Answer = Result<Value, (u16, &'static str)>;

/// Plural, namespace (empty for what is in none), name.
type Key = (String, String, String);

#[derive(Default)]
pub(crate) struct Contents {
    /// Rises with every change.
    pub(crate) version: u64,
    objects: BTreeMap<Key, Value>,
    /// Version, type, plural, object.
    history: Vec<(u64, &'static str, String, Value)>,
}

/// What a path names.
pub(crate) struct Target {
    plural: String,
    /// Empty for what is in no namespace.
    pub(crate) namespace: String,
    /// `None` for a collection.
    pub(crate) name: Option<String>,
}

impl Target {
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/apis/apps/v1/").or_else(|| path.strip_prefix("/api/v1/"))?;
        let parts: Vec<&str> = rest.split('/').collect();
        let (namespace, plural, name) = match parts.as_slice() {
            ["namespaces", namespace, plural] => (*namespace, *plural, None),
            ["namespaces", namespace, plural, name] => (*namespace, *plural, Some(*name)),
            [plural] => ("", *plural, None),
            [plural, name] => ("", *plural, Some(*name)),
            _ => return None,
        };
        let known = ["deployments", "nodes", "namespaces"].contains(&plural);
        let (plural, namespace) = (plural.to_owned(), namespace.to_owned());
        known.then(|| Target { plural, namespace, name: name.map(str::to_owned) })
    }

    /// The beginning of messages about it.
    pub(crate) fn subject(&self) -> String {
        let group = if self.plural == "deployments" { ".apps" } else { "" };
        let name = self.name.iter().map(|name| format!(" \"{name}\"")).collect::<String>();
        format!("{}{group}{name}", self.plural)
    }

    /// `details` of a `Status` about it.
    pub(crate) fn details(&self) -> Value {
        let mut details = json!({"kind": self.plural});
        if self.plural == "deployments" {
            details["group"] = json!("apps");
        }
        if let Some(name) = &self.name {
            details["name"] = json!(name);
        }
        details
    }

    fn key(&self, name: &str) -> Key {
        (self.plural.clone(), self.namespace.clone(), name.to_owned())
    }

    fn holds(&self, plural: &str, object: &Value, selector: Option<&String>) -> bool {
        let wanted = selector.and_then(|selector| selector.split_once('='));
        self.plural == plural
            && wanted.is_none_or(|(label, value)| object["metadata"]["labels"][label] == value)
            && (self.namespace.is_empty() || object["metadata"]["namespace"] == self.namespace)
    }
}

impl Contents {
    /// The Deployments.
    pub(crate) fn deployments(&self) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(|((plural, ..), _)| plural == "deployments").map(|(_, object)| object)
    }

    /// Writes an object as it is.
    pub(crate) fn put(&mut self, plural: &str, mut object: Value) -> Value {
        self.version += 1;
        let metadata = &mut object["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let key = (plural.to_owned(), text(&metadata["namespace"]), text(&metadata["name"]));
        if metadata["uid"].is_null() {
            metadata["uid"] = json!(format!("uid-{}", self.version));
        }
        metadata["resourceVersion"] = json!(self.version.to_string());
        let kind = if self.objects.contains_key(&key) { "MODIFIED" } else { "ADDED" };
        self.history.push((self.version, kind, plural.to_owned(), object.clone()));
        self.objects.insert(key, object.clone());
        object
    }

    /// The lines of a watch after a version.
    pub(crate) fn events(&self, after: u64, target: &Target, selector: Option<&String>) -> String {
        let first = self.history.partition_point(|(version, ..)| *version <= after);
        let new = self.history[first..].iter();
        new.filter(|(_, _, plural, object)| target.holds(plural, object, selector))
            .map(|(_, kind, _, object)| format!("{}\n", json!({"type": kind, "object": object})))
            .collect()
    }

    /// What the controller of Deployments does: it takes up a change at the first look, and is done at the second.
    pub(crate) fn control(&mut self) {
        let stale = |object: &&Value| {
            object["status"]["observedGeneration"] != object["metadata"]["generation"]
                || object["status"]["updatedReplicas"] != object["spec"]["replicas"]
        };
        let work: Vec<Value> = self.deployments().filter(stale).cloned().collect();
        for mut object in work {
            let wanted = object["spec"]["replicas"].clone();
            if object["status"]["observedGeneration"] == object["metadata"]["generation"] {
                object["status"]["replicas"] = wanted.clone();
                object["status"]["updatedReplicas"] = wanted.clone();
                object["status"]["readyReplicas"] = wanted.clone();
                object["status"]["availableReplicas"] = wanted;
            } else {
                object["status"]["observedGeneration"] = object["metadata"]["generation"].clone();
                object["status"]["updatedReplicas"] = json!(0);
            }
            self.put("deployments", object);
        }
    }

    pub(crate) fn read(&self, target: &Target, selector: Option<&String>) -> Answer {
        if let Some(name) = &target.name {
            return self.objects.get(&target.key(name)).cloned().ok_or((404, "NotFound"));
        }
        let items =
            self.objects.iter().filter(|((plural, ..), object)| target.holds(plural, object, selector));
        let items: Vec<_> = items.map(|(_, object)| object).collect();
        let (version, kind) = match target.plural.as_str() {
            "nodes" => ("v1", "NodeList"),
            "namespaces" => ("v1", "NamespaceList"),
            _ => ("apps/v1", "DeploymentList"),
        };
        Ok(json!({"kind": kind, "apiVersion": version, "items": items,
            "metadata": {"resourceVersion": self.version.to_string()}}))
    }

    pub(crate) fn create(&mut self, target: &Target, mut body: Value) -> Answer {
        let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if self.objects.contains_key(&target.key(&name)) {
            return Err((409, "AlreadyExists"));
        }
        body["metadata"]["generation"] = json!(1);
        Ok(self.put(&target.plural, body))
    }

    pub(crate) fn patch(&mut self, target: &Target, patch: &Value, apply: bool) -> Answer {
        let name = target.name.clone().unwrap_or_default();
        let Some(before) = self.objects.get(&target.key(&name)).cloned() else {
            if !apply {
                return Err((404, "NotFound"));
            }
            if !patch["metadata"]["uid"].is_null() {
                return Err((409, "Conflict"));
            }
            return self.create(target, patch.clone());
        };
        let (wanted, is) = (&patch["metadata"], &before["metadata"]);
        if !wanted["resourceVersion"].is_null() && wanted["resourceVersion"] != is["resourceVersion"] {
            return Err((409, "Conflict"));
        }
        if !wanted["uid"].is_null() && wanted["uid"] != is["uid"] {
            return Err((422, "Invalid"));
        }
        let mut after = before.clone();
        merge(&mut after, patch);
        if after == before {
            return Ok(before);
        }
        if after["spec"] != before["spec"] {
            after["metadata"]["generation"] = json!(is["generation"].as_u64().unwrap_or(0) + 1);
        }
        Ok(self.put(&target.plural, after))
    }

    pub(crate) fn delete(&mut self, target: &Target, options: &Value) -> Answer {
        let name = target.name.clone().unwrap_or_default();
        let key = target.key(&name);
        let Some(object) = self.objects.get(&key) else { return Err((404, "NotFound")) };
        let (guard, uid) = (&options["preconditions"]["uid"], &object["metadata"]["uid"]);
        if !guard.is_null() && guard != uid {
            return Err((409, "Conflict"));
        }
        if let Some(mut object) = self.objects.remove(&key) {
            self.version += 1;
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
            self.history.push((self.version, "DELETED", target.plural.clone(), object));
        }
        Ok(json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
    }
}

fn merge(object: &mut Value, patch: &Value) {
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
