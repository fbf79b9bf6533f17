//! The rules that the simulated server holds objects to: those that a wrong manifest runs into first.

use serde_json::Value;

use crate::api::failure::Failure;
use crate::api::kinds::Kind;
use crate::api::schema;

type Causes = Vec<(String, &'static str, String)>;

const NAME_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
    and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// Checks an object that is complete; `before` is the object that it replaces.
pub(crate) fn check(kind: &Kind, object: &Value, before: Option<&Value>) -> Result<(), Failure> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let mut causes = Causes::new();
    if !is_name(name) && kind.group != "rbac.authorization.k8s.io" {
        causes.push(invalid("metadata.name", &format!("\"{name}\": {NAME_RULE}")));
    }
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") => {
            workload(object, before, &mut causes)
        }
        ("batch", "Job") => {
            containers(&object["spec"]["template"]["spec"], "spec.template.spec", &mut causes)
        }
        ("", "Pod") => containers(&object["spec"], "spec", &mut causes),
        ("", "Service") => service(object, &mut causes),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object, &mut causes),
        _ => {}
    }
    if kind.custom {
        causes.extend(schema::check(&kind.fields, object));
    }
    if causes.is_empty() { Ok(()) } else { Err(Failure::invalid(kind, name, &causes)) }
}

/// What a server warns of in an object that it accepts: what server-side apply cannot tell apart.
pub(crate) fn warnings(kind: &Kind, object: &Value) -> Vec<String> {
    let path = match (kind.group.as_str(), kind.kind.as_str()) {
        ("apps", _) | ("batch", "Job") => "spec.template.spec",
        ("batch", "CronJob") => "spec.jobTemplate.spec.template.spec",
        ("", "Pod") => "spec",
        _ => return Vec::new(),
    };
    let Some(spec) = object.pointer(&format!("/{}", path.replace('.', "/"))) else { return Vec::new() };
    let mut warnings = Vec::new();
    for (index, container) in spec["containers"].as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}.containers[{index}]");
        for (at, _, name) in repeated(&container["env"], |variable| variable["name"].clone()) {
            warnings.push(format!(
                "{path}.env[{at}]: hides previous definition of {name}, which may be dropped when using apply"
            ));
        }
        let place =
            |port: &Value| serde_json::json!([port["containerPort"], port["protocol"], port["hostPort"]]);
        for (at, first, _) in repeated(&container["ports"], place) {
            warnings
                .push(format!("{path}.ports[{at}]: duplicate port definition with {path}.ports[{first}]"));
        }
    }
    warnings
}

/// The items of a list that have the key of an earlier one: place, place of the first, and key.
fn repeated(list: &Value, key: impl Fn(&Value) -> Value) -> Vec<(usize, usize, Value)> {
    let keys: Vec<Value> = list.as_array().into_iter().flatten().map(key).collect();
    let found = keys.iter().enumerate().filter_map(|(at, key)| {
        let first = keys.iter().position(|other| other == key)?;
        (first < at).then(|| (at, first, key.clone()))
    });
    found.collect()
}

/// A field that may not change.
pub(crate) fn immutable(kind: &Kind, name: &str, field: &str, value: &str) -> Failure {
    let cause = invalid(field, &format!("\"{value}\": field is immutable"));
    Failure::invalid(kind, name, &[cause.clone(), cause])
}

/// A custom object that replaces another without naming its version. The server names the kind by its plural here.
pub(crate) fn unversioned(kind: &Kind, name: &str) -> Failure {
    let cause = invalid("metadata.resourceVersion", "0: must be specified for an update");
    Failure::invalid_resource(kind, name, &[cause])
}

/// An object with neither name nor beginning of one.
pub(crate) fn nameless(kind: &Kind) -> Failure {
    Failure::invalid(kind, "", &[required("metadata.name", ": name or generateName is required")])
}

fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !label.is_empty() && label.chars().all(fits) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn invalid(field: &str, what: &str) -> (String, &'static str, String) {
    (field.to_owned(), "FieldValueInvalid", format!("Invalid value: {what}"))
}

fn required(field: &str, more: &str) -> (String, &'static str, String) {
    (field.to_owned(), "FieldValueRequired", format!("Required value{more}"))
}

fn workload(object: &Value, before: Option<&Value>, causes: &mut Causes) {
    let selector = &object["spec"]["selector"];
    if selector.is_null() {
        causes.push(required("spec.selector", ""));
    }
    if let Some(before) = before
        && before["spec"]["selector"] != *selector
    {
        causes.push(invalid("spec.selector", "field is immutable"));
    }
    let labels = &object["spec"]["template"]["metadata"]["labels"];
    let matched = selector["matchLabels"]
        .as_object()
        .is_some_and(|wanted| wanted.iter().all(|(name, value)| labels[name] == *value));
    if !matched && selector["matchExpressions"].is_null() {
        let what = "`selector` does not match template `labels`";
        causes.push(invalid("spec.template.metadata.labels", what));
    }
    containers(&object["spec"]["template"]["spec"], "spec.template.spec", causes);
}

fn containers(spec: &Value, path: &str, causes: &mut Causes) {
    let containers = spec["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if containers.is_empty() {
        causes.push(required(&format!("{path}.containers"), ""));
    }
    for (index, container) in containers.iter().enumerate() {
        for field in ["name", "image"] {
            if container[field].as_str().unwrap_or_default().is_empty() {
                causes.push(required(&format!("{path}.containers[{index}].{field}"), ""));
            }
        }
    }
}

fn service(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    let ports = spec["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    if ports.is_empty() && spec["type"] != "ExternalName" && spec["clusterIP"] != "None" {
        causes.push(required("spec.ports", ""));
    }
    for (index, port) in ports.iter().enumerate() {
        let number = port["port"].as_u64().unwrap_or(0);
        if !(1..=65_535).contains(&number) {
            let what = format!("{number}: must be between 1 and 65535, inclusive");
            causes.push(invalid(&format!("spec.ports[{index}].port"), &what));
        }
    }
}

fn definition(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let expected = format!("{}.{}", text(&spec["names"]["plural"]), text(&spec["group"]));
    if object["metadata"]["name"] != expected.as_str() {
        causes.push(invalid("metadata.name", "must be spec.names.plural+\".\"+spec.group"));
    }
    let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        causes.push(invalid("spec.versions", "must have exactly one version marked as storage version"));
    }
    for (index, version) in versions.iter().enumerate() {
        if version["schema"]["openAPIV3Schema"].is_null() {
            causes.push(required(
                &format!("spec.versions[{index}].schema.openAPIV3Schema"),
                ": schemas are required",
            ));
        }
    }
}
