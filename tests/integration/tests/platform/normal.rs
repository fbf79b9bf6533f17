//! Making answers of different servers comparable: what is of no concern to a client goes, and all that goes is named here.

use serde_json::{Map, Value, json};

/// What the simulated servers leave out, and why that does no harm: kind, field, reason.
const LEFT_OUT: &[(&str, &str, &str)] = &[
    ("Deployment", "spec/progressDeadlineSeconds", "simulated pods always come to run"),
    ("Deployment", "spec/revisionHistoryLimit", "there is no history of ReplicaSets"),
    ("Deployment", "spec/strategy", "pods are replaced in one go"),
    ("Deployment", "spec/template/metadata/creationTimestamp", "always null"),
    ("Deployment", "spec/template/spec/dnsPolicy", "no container runs"),
    ("Deployment", "spec/template/spec/restartPolicy", "no container runs"),
    ("Deployment", "spec/template/spec/schedulerName", "nothing is scheduled"),
    ("Deployment", "spec/template/spec/securityContext", "no container runs"),
    ("Deployment", "spec/template/spec/terminationGracePeriodSeconds", "no container runs"),
    ("Deployment", "spec/template/spec/containers/*/imagePullPolicy", "no image is pulled"),
    ("Deployment", "spec/template/spec/containers/*/resources", "nothing is scheduled"),
    ("Deployment", "spec/template/spec/containers/*/terminationMessagePath", "no container runs"),
    ("Deployment", "spec/template/spec/containers/*/terminationMessagePolicy", "no container runs"),
    ("Deployment", "metadata/annotations", "the revision, which the real controller counts there"),
    (
        "Deployment",
        "status",
        "it comes whenever the controller comes by; cases wait for what they need of it",
    ),
    ("CustomResourceDefinition", "spec/conversion", "there is one stored form"),
    ("CustomResourceDefinition", "status", "it comes by and by; cases wait for what they need of it"),
    ("CustomResourceDefinition", "metadata/finalizers", "set when its controller comes by"),
    (
        "CustomResourceDefinition",
        "metadata/deletionGracePeriodSeconds",
        "left out by the real server here alone",
    ),
];

/// Controllers that write on real clusters, and whose field ownership is not simulated.
const CONTROLLERS: [&str; 4] = ["kube-controller-manager", "kube-apiserver", "kubelet", "kubemark"];

/// Fields that differ from server to server, or from moment to moment.
const OWN: [&str; 5] = ["uid", "resourceVersion", "creationTimestamp", "selfLink", "clusterName"];

/// Makes an answer comparable: an object, a list, or a status.
pub(crate) fn normalise(answer: &mut Value) {
    let kind = answer["kind"].as_str().unwrap_or_default().to_owned();
    if kind == "Status" {
        return status(answer);
    }
    if let Some(items) = answer.get_mut("items").and_then(Value::as_array_mut) {
        let kind = kind.trim_end_matches("List");
        items.iter_mut().for_each(|item| object(kind, item));
        if let Some(metadata) = answer["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
            metadata.remove("selfLink");
            if let Some(token) = metadata.remove("continue").filter(|token| token != "") {
                metadata.insert("continue".to_owned(), json!(token.is_string()));
            }
        }
        return;
    }
    if answer["metadata"].is_object() {
        object(&kind, answer);
    }
}

/// Messages are for people; `uid` names what was deleted. Real servers are of two minds whether empty details are told.
fn status(status: &mut Value) {
    let Some(fields) = status.as_object_mut() else { return };
    fields.remove("message");
    if let Some(details) = fields.get_mut("details").and_then(Value::as_object_mut) {
        details.remove("uid");
        let causes = details.get_mut("causes").and_then(Value::as_array_mut);
        causes
            .into_iter()
            .flatten()
            .filter_map(Value::as_object_mut)
            .for_each(|cause| drop(cause.remove("message")));
        if details.is_empty() {
            fields.remove("details");
        }
    }
}

fn object(kind: &str, object: &mut Value) {
    for (_, field, _) in LEFT_OUT.iter().filter(|(of, ..)| *of == kind) {
        let steps: Vec<&str> = field.split('/').collect();
        remove(object, &steps);
    }
    assigned(kind, object);
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    OWN.iter().for_each(|field| drop(metadata.remove(*field)));
    if metadata.contains_key("deletionTimestamp") {
        metadata.insert("deletionTimestamp".to_owned(), json!("some time"));
    }
    let entries = metadata.get_mut("managedFields").and_then(Value::as_array_mut);
    let Some(entries) = entries else { return };
    entries.retain(|entry| !CONTROLLERS.iter().any(|controller| entry["manager"] == *controller));
    for entry in entries.iter_mut() {
        entry.as_object_mut().unwrap().remove("time");
        for (_, field, _) in LEFT_OUT.iter().filter(|(of, ..)| *of == kind) {
            let steps: Vec<String> = field
                .split('/')
                .map(|step| if step == "*" { step.to_owned() } else { format!("f:{step}") })
                .collect();
            remove(&mut entry["fieldsV1"], &steps.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
    // Writes within one second have no order of their own.
    entries.sort_by_key(|entry| format!("{}{}", entry["operation"], entry["manager"]));
    if entries.is_empty() {
        metadata.remove("managedFields");
    }
}

/// Addresses and ports that a server chose.
fn assigned(kind: &str, object: &mut Value) {
    if kind != "Service" {
        return;
    }
    let Some(spec) = object["spec"].as_object_mut() else { return };
    for field in ["clusterIP", "clusterIPs"] {
        if let Some(value) = spec.get_mut(field) {
            *value = json!("assigned");
        }
    }
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten();
    for port in ports.filter_map(|port| port.get_mut("nodePort")) {
        *port = json!("assigned");
    }
}

fn remove(value: &mut Value, steps: &[&str]) {
    let Some((step, rest)) = steps.split_first() else { return };
    match value {
        Value::Array(items) if *step == "*" => items.iter_mut().for_each(|item| remove(item, rest)),
        Value::Object(fields) if *step == "*" => fields.values_mut().for_each(|value| remove(value, rest)),
        Value::Object(fields) if rest.is_empty() => drop(fields.remove(*step)),
        Value::Object(fields) => {
            if let Some(below) = fields.get_mut(*step) {
                remove(below, rest);
                if below.as_object().is_some_and(Map::is_empty) {
                    fields.remove(*step);
                }
            }
        }
        _ => {}
    }
}
