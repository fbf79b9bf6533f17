//! Deleting: under preconditions, and not before all finalizers are gone.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::definition::CLEAN_UP;
use crate::api::failure::Failure;
use crate::api::kinds::Kind;
use crate::request::Request;
use crate::store::read::name_of;
use crate::store::stored::Name;
use crate::store::{Answer, Store};

/// Finalizer of an object that goes after what it owns.
pub(super) const FOREGROUND: &str = "foregroundDeletion";

impl Store {
    pub(super) fn delete(&mut self, kind: &Arc<Kind>, request: &Request) -> Result<Answer, Failure> {
        let name = name_of(request);
        let options: Value = match request.body.as_slice() {
            [] => Value::Null,
            body => serde_json::from_slice(body)
                .map_err(|error| Failure::bad_request(format!("couldn't read DeleteOptions: {error}")))?,
        };
        let live = self.get(kind, &name).ok_or_else(|| Failure::not_found(kind, &name.1))?.value(kind);
        for (field, called) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
            let (wanted, found) = (&options["preconditions"][field], &live["metadata"][field]);
            if let (Some(wanted), Some(found)) = (wanted.as_str(), found.as_str())
                && wanted != found
            {
                let why = format!(
                    "the {called} in the precondition ({wanted}) does not match the {called} in record ({found}). \
                     The object might have been deleted and then recreated"
                );
                return Err(Failure::precondition(kind, &name.1, &why));
            }
        }
        // Options in a body leave those in the query without effect.
        let all = |values: &Vec<Value>| values.iter().any(|value| value == "All");
        let (asked, dry) = match options.is_null() {
            true => (request.query.propagation_policy.as_deref(), request.query.dry_run),
            false => (options["propagationPolicy"].as_str(), options["dryRun"].as_array().is_some_and(all)),
        };
        let (orphan, foreground) = match asked.unwrap_or("Background") {
            "Background" => (false, false),
            "Orphan" => (true, false),
            "Foreground" => (false, true),
            _ => return Err(Failure::bad_request("propagationPolicy: Unsupported value")),
        };
        let default_namespaces = ["default", "kube-public", "kube-system"];
        if kind.is("", "Namespace") && default_namespaces.contains(&name.1.as_str()) {
            return Err(Failure::forbidden(kind, &name.1, "this namespace may not be deleted"));
        }
        if dry {
            return Ok(Answer::new(200, success(kind, &live)));
        }
        let mut going = live.clone();
        if foreground {
            let finalizers = going["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
            if !finalizers.contains(&json!(FOREGROUND)) {
                going["metadata"]["finalizers"] = finalizers.into_iter().chain([json!(FOREGROUND)]).collect();
            }
            self.foreground.insert((kind.resource(), name.clone()));
        }
        match self.begin_deletion(kind, &name, going, &request.now, orphan) {
            Some(object) => Ok(Answer::new(200, object)),
            None => Ok(Answer::new(200, success(kind, &live))),
        }
    }

    /// Erases an object, or marks it where something holds it; the marked object's text.
    pub(super) fn begin_deletion(
        &mut self,
        kind: &Arc<Kind>,
        name: &Name,
        mut object: Value,
        now: &str,
        orphan: bool,
    ) -> Option<String> {
        if kind.is("apiextensions.k8s.io", "CustomResourceDefinition")
            && object["metadata"]["finalizers"].is_null()
        {
            object["metadata"]["finalizers"] = json!([CLEAN_UP]);
        }
        let held =
            object["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty())
                || kind.is("", "Namespace");
        if !held {
            self.erase(kind, name, orphan);
            return None;
        }
        if object["metadata"]["deletionTimestamp"].is_null() {
            object["metadata"]["deletionTimestamp"] = json!(now);
            if kind.is("", "Namespace") {
                object["status"]["phase"] = json!("Terminating");
            } else {
                object["metadata"]["deletionGracePeriodSeconds"] = json!(0);
            }
            let definition = kind.is("apiextensions.k8s.io", "CustomResourceDefinition");
            if let (Some(generation), false) = (object["metadata"]["generation"].as_u64(), definition) {
                object["metadata"]["generation"] = json!(generation + 1);
            }
            return Some(self.put(kind, object).text(kind));
        }
        let stored = self.get(kind, name)?;
        Some(stored.text(kind))
    }
}

fn success(kind: &Kind, object: &Value) -> String {
    let mut details =
        json!({"name": object["metadata"]["name"], "kind": kind.plural, "uid": object["metadata"]["uid"]});
    if !kind.group.is_empty() {
        details["group"] = json!(kind.group);
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
        .to_string()
}
