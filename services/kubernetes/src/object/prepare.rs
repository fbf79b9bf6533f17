//! From a manifest to the object that is applied: marks, namespace, and what old API servers must be told. Pure.

use std::borrow::Cow;
use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::api::DynamicObject;
use serde_json::{Map, Value, json};

use crate::cluster::discovery::ResolvedKind;
use crate::object::autoscaler::{self, is_autoscaler};
use crate::object::order::Rank;
use crate::object::{
    ADOPTED_ANNOTATION, APPLICATION_LABEL, CLUSTER_ANNOTATION, EPOCH_ANNOTATION, INSTALLATION_LABEL,
    Identity, ObjectKey, text,
};

/// What the API server writes into metadata, and what must not be sent back to it.
const SERVER_METADATA: [&str; 8] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// An object ready to be applied: complete but for the guards, which depend on what is found on the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// What names it.
    pub key: ObjectKey,
    /// The body to apply.
    pub body: Value,
    /// Whether an autoscaler of the application decides on its replicas.
    pub scaled: bool,
}

impl Prepared {
    /// What of the body is observed on the cluster, and repaired.
    pub fn observed(&self) -> Cow<'_, Value> {
        match self.scaled {
            true => autoscaler::without_replicas(&self.body),
            false => Cow::Borrowed(&self.body),
        }
    }
}

/// A prepared object and the kind that it is an object of.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The object.
    pub prepared: Prepared,
    /// Its kind on the cluster.
    pub kind: ResolvedKind,
}

/// A manifest that no cluster could accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// A field is missing or of the wrong type.
    #[error("manifest[{index}].{field} {problem}")]
    Field {
        /// Position in the manifest.
        index: usize,
        /// Path of the field.
        field: String,
        /// What is wrong.
        problem: String,
    },
    /// Two entries name the same object.
    #[error("manifest[{index}] names {key}, as an earlier entry does")]
    Duplicate {
        /// Position in the manifest of the second one.
        index: usize,
        /// The object.
        key: ObjectKey,
    },
}

/// `apiVersion` and `kind` of the manifest at `index`.
pub fn api_version_and_kind(index: usize, manifest: &Value) -> Result<(&str, &str), ManifestError> {
    let get = |name: &str| {
        text(manifest, &[name]).filter(|value| !value.is_empty()).ok_or_else(|| missing(index, name))
    };
    Ok((get("apiVersion")?, get("kind")?))
}

/// Completes a whole manifest, each entry with its resolved kind, for one application, in the order in which it is applied:
/// by [`Rank`], and as written within one.
pub fn prepare_all(
    manifest: &[(&Value, ResolvedKind)],
    identity: &Identity,
    default_namespace: &str,
) -> Result<Vec<Target>, ManifestError> {
    let mut seen = HashSet::new();
    let mut targets = Vec::with_capacity(manifest.len());
    for (index, (document, kind)) in manifest.iter().enumerate() {
        let prepared = prepare(index, document, kind, identity, default_namespace)?;
        if !seen.insert(prepared.key.clone()) {
            return Err(ManifestError::Duplicate { index, key: prepared.key });
        }
        targets.push(Target { prepared, kind: kind.clone() });
    }
    let autoscalers =
        targets.iter().map(|target| &target.prepared).filter(|object| is_autoscaler(&object.key));
    let scaled: HashSet<_> = autoscalers
        .filter_map(|object| autoscaler::workload(&object.body, object.key.namespace.as_deref()))
        .collect();
    for target in &mut targets {
        target.prepared.scaled = scaled.contains(&target.prepared.key);
    }
    targets.sort_by_key(|target| Rank::of(&target.prepared.key));
    Ok(targets)
}

fn prepare(
    index: usize,
    manifest: &Value,
    kind: &ResolvedKind,
    identity: &Identity,
    default_namespace: &str,
) -> Result<Prepared, ManifestError> {
    let (api_version, kind_name) = api_version_and_kind(index, manifest)?;
    let name = text(manifest, &["metadata", "name"])
        .filter(|name| !name.is_empty())
        .ok_or_else(|| missing(index, "metadata.name"))?;
    let namespace = kind.namespaced.then(|| {
        let named = text(manifest, &["metadata", "namespace"]).filter(|namespace| !namespace.is_empty());
        named.unwrap_or(default_namespace).to_owned()
    });
    let key = ObjectKey {
        api_version: api_version.to_owned(),
        kind: kind_name.to_owned(),
        namespace: namespace.clone(),
        name: name.to_owned(),
    };

    let mut body = manifest.clone();
    if let Some(object) = body.as_object_mut() {
        // Status belongs to the cluster.
        object.remove("status");
    }
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        SERVER_METADATA.iter().for_each(|field| drop(metadata.remove(*field)));
        match namespace {
            Some(namespace) => drop(metadata.insert("namespace".to_owned(), namespace.into())),
            None => drop(metadata.remove("namespace")),
        }
        mark(index, metadata, identity)?;
    }
    name_protocols(api_version, kind_name, &mut body);
    if (api_version, kind_name) == ("v1", "Secret") {
        encode_string_data(index, &mut body)?;
    }
    // The typed metadata must be able to hold it, or no client could send it.
    serde_json::from_value::<DynamicObject>(body.clone()).map_err(|error| ManifestError::Field {
        index,
        field: "metadata".to_owned(),
        problem: format!("has a field of the wrong type: {error}"),
    })?;
    Ok(Prepared { key, body, scaled: false })
}

fn mark(index: usize, metadata: &mut Map<String, Value>, identity: &Identity) -> Result<(), ManifestError> {
    let labels = strings(index, metadata, "labels")?;
    labels.insert(INSTALLATION_LABEL.to_owned(), identity.installation.clone().into());
    labels.insert(APPLICATION_LABEL.to_owned(), identity.application.as_str().into());
    let annotations = strings(index, metadata, "annotations")?;
    annotations.insert(EPOCH_ANNOTATION.to_owned(), identity.epoch.clone().into());
    annotations.insert(CLUSTER_ANNOTATION.to_owned(), identity.cluster.as_str().into());
    annotations.remove(ADOPTED_ANNOTATION);
    Ok(())
}

/// The map of texts in `metadata.<field>`, made if absent.
fn strings<'a>(
    index: usize,
    metadata: &'a mut Map<String, Value>,
    field: &str,
) -> Result<&'a mut Map<String, Value>, ManifestError> {
    let wrong = |field: String| ManifestError::Field { index, field, problem: "must be a string".to_owned() };
    let entry = metadata.entry(field).or_insert(Value::Null);
    if entry.is_null() {
        *entry = json!({});
    }
    let map = entry.as_object_mut().ok_or_else(|| ManifestError::Field {
        index,
        field: format!("metadata.{field}"),
        problem: "must be an object".to_owned(),
    })?;
    match map.iter().find(|(_, value)| !value.is_string()) {
        Some((name, _)) => Err(wrong(format!("metadata.{field}[\"{name}\"]"))),
        None => Ok(map),
    }
}

fn missing(index: usize, field: &str) -> ManifestError {
    ManifestError::Field { index, field: field.to_owned(), problem: "must be a non-empty string".to_owned() }
}

/// Writes `protocol: TCP` where ports name none. It is part of the key by which server-side apply merges ports, and old
/// servers (1.20 for one) fail on its absence, for ever, instead of taking the default.
fn name_protocols(api_version: &str, kind: &str, body: &mut Value) {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let pod_spec = match (group, kind) {
        ("", "Service") => {
            body.pointer_mut("/spec/ports").into_iter().for_each(fill_protocol);
            return;
        }
        ("", "Pod") => "/spec",
        ("", "ReplicationController") => "/spec/template/spec",
        ("apps", _) | ("batch", "Job") => "/spec/template/spec",
        ("batch", "CronJob") => "/spec/jobTemplate/spec/template/spec",
        _ => return,
    };
    for containers in ["containers", "initContainers"] {
        let containers = body.pointer_mut(&format!("{pod_spec}/{containers}"));
        for container in containers.and_then(Value::as_array_mut).into_iter().flatten() {
            container.get_mut("ports").into_iter().for_each(fill_protocol);
        }
    }
}

fn fill_protocol(ports: &mut Value) {
    for port in ports.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        port.entry("protocol").or_insert_with(|| "TCP".into());
    }
}

/// Moves `stringData` to `data`. The server does the same, but keeps no record of who wrote what it moved: a key that leaves
/// the manifest would stay on the cluster.
fn encode_string_data(index: usize, body: &mut Value) -> Result<(), ManifestError> {
    let Some(texts) = body.as_object_mut().and_then(|secret| secret.remove("stringData")) else {
        return Ok(());
    };
    for (name, value) in texts.as_object().into_iter().flatten() {
        let value = value.as_str().ok_or_else(|| ManifestError::Field {
            index,
            field: format!("stringData[\"{name}\"]"),
            problem: "must be a string".to_owned(),
        })?;
        if !body["data"].is_object() {
            body["data"] = json!({});
        }
        body["data"][name] = STANDARD.encode(value).into();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::{ApiResource, GroupVersionKind};
    use rstest::rstest;

    fn kind(namespaced: bool) -> ResolvedKind {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("any", "v1", "Any"));
        ResolvedKind { resource, namespaced, watchable: true, promised: false }
    }

    fn identity() -> Identity {
        Identity {
            installation: "inst".into(),
            application: "app-1".into(),
            cluster: "c1".into(),
            epoch: "e7".into(),
        }
    }

    fn one(manifest: &Value, namespaced: bool) -> Result<Prepared, ManifestError> {
        let mut all = prepare_all(&[(manifest, kind(namespaced))], &identity(), "context-ns")?;
        Ok(all.remove(0).prepared)
    }

    #[test]
    fn marks_are_set_and_the_users_own_stay() {
        let manifest = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "name": "c", "labels": {"tier": "edge", APPLICATION_LABEL: "forged"},
            "annotations": {"note": "x", ADOPTED_ANNOTATION: "true"}}});
        let body = one(&manifest, true).unwrap().body;
        assert_eq!(
            body["metadata"]["labels"],
            json!({"tier": "edge", APPLICATION_LABEL: "app-1", INSTALLATION_LABEL: "inst"})
        );
        assert_eq!(
            body["metadata"]["annotations"],
            json!({"note": "x", EPOCH_ANNOTATION: "e7", CLUSTER_ANNOTATION: "c1"})
        );
    }

    #[rstest]
    #[case(json!({"name": "c", "namespace": "named"}), true, Some("named"))]
    #[case(json!({"name": "c"}), true, Some("context-ns"))]
    #[case(json!({"name": "c", "namespace": ""}), true, Some("context-ns"))]
    #[case(json!({"name": "c", "namespace": "named"}), false, None)]
    fn namespace(#[case] metadata: Value, #[case] namespaced: bool, #[case] expected: Option<&str>) {
        let manifest = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
        let prepared = one(&manifest, namespaced).unwrap();
        assert_eq!(prepared.key.namespace.as_deref(), expected);
        assert_eq!(text(&prepared.body, &["metadata", "namespace"]), expected);
    }

    #[test]
    fn what_the_server_writes_is_not_sent_back() {
        let manifest = json!({"apiVersion": "v1", "kind": "Pod", "status": {"phase": "Running"}, "metadata": {
            "name": "p", "uid": "u", "resourceVersion": "5", "managedFields": [], "creationTimestamp": null}});
        let body = one(&manifest, true).unwrap().body;
        assert!(body.get("status").is_none());
        let mut fields: Vec<_> = body["metadata"].as_object().unwrap().keys().map(String::as_str).collect();
        fields.sort_unstable();
        assert_eq!(fields, ["annotations", "labels", "name", "namespace"]);
    }

    #[rstest]
    #[case("v1", "Service", "/spec/ports/0", json!({"ports": [{"port": 80}]}))]
    #[case("v1", "Pod", "/spec/containers/0/ports/0", json!({"containers": [{"ports": [{"containerPort": 80}]}]}))]
    #[case("apps/v1", "Deployment", "/spec/template/spec/initContainers/0/ports/0",
        json!({"template": {"spec": {"initContainers": [{"ports": [{"containerPort": 80}]}]}}}))]
    #[case("batch/v1beta1", "CronJob", "/spec/jobTemplate/spec/template/spec/containers/0/ports/0",
        json!({"jobTemplate": {"spec": {"template": {"spec": {"containers": [{"ports": [{}]}]}}}}}))]
    fn protocols_are_named(
        #[case] api_version: &str,
        #[case] kind: &str,
        #[case] port: &str,
        #[case] spec: Value,
    ) {
        let manifest =
            json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}, "spec": spec});
        let body = one(&manifest, true).unwrap().body;
        assert_eq!(body.pointer(port).unwrap()["protocol"], "TCP");
    }

    #[test]
    fn a_named_protocol_stays() {
        let manifest = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"},
            "spec": {"ports": [{"port": 53, "protocol": "UDP"}]}});
        assert_eq!(one(&manifest, true).unwrap().body["spec"]["ports"][0]["protocol"], "UDP");
    }

    #[test]
    fn string_data_becomes_data() {
        let manifest = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"},
            "data": {"old": "b2xk"}, "stringData": {"new": "new"}});
        let body = one(&manifest, true).unwrap().body;
        assert_eq!(body["data"], json!({"old": "b2xk", "new": "bmV3"}));
        assert!(body.get("stringData").is_none());
    }

    #[rstest]
    #[case(json!({"kind": "A", "metadata": {"name": "x"}}), "manifest[0].apiVersion")]
    #[case(json!({"apiVersion": "v1", "metadata": {"name": "x"}}), "manifest[0].kind")]
    #[case(json!({"apiVersion": "v1", "kind": "A"}), "manifest[0].metadata.name")]
    #[case(json!({"apiVersion": "v1", "kind": "A", "metadata": {"name": "x", "labels": {"a": 1}}}),
        "manifest[0].metadata.labels[\"a\"]")]
    #[case(json!({"apiVersion": "v1", "kind": "A", "metadata": {"name": "x", "finalizers": 3}}),
        "manifest[0].metadata")]
    fn a_wrong_field_is_named(#[case] manifest: Value, #[case] field: &str) {
        let message = one(&manifest, true).unwrap_err().to_string();
        assert!(message.starts_with(field), "{message}");
    }

    #[test]
    fn an_object_named_twice_is_refused() {
        let manifest = json!({"apiVersion": "v1", "kind": "A", "metadata": {"name": "x"}});
        let same =
            json!({"apiVersion": "v1", "kind": "A", "metadata": {"name": "x", "namespace": "context-ns"}});
        let twice = [(&manifest, kind(true)), (&same, kind(true))];
        let error = prepare_all(&twice, &identity(), "context-ns").unwrap_err();
        assert!(matches!(error, ManifestError::Duplicate { index: 1, .. }), "{error}");
    }

    #[test]
    fn objects_come_after_what_they_need_and_otherwise_as_written() {
        let named = |(api_version, kind): (&str, &str)| json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}});
        let documents = [
            ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
            ("example.org/v1", "Tub"),
            ("apps/v1", "Deployment"),
            ("v1", "Service"),
            ("v1", "ServiceAccount"),
            ("v1", "ConfigMap"),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
            ("v1", "Namespace"),
        ]
        .map(named);
        let manifest: Vec<_> = documents.iter().map(|document| (document, kind(false))).collect();
        let targets = prepare_all(&manifest, &identity(), "d").unwrap();
        let kinds: Vec<_> = targets.iter().map(|target| target.prepared.key.kind.as_str()).collect();
        let expected = [
            "Namespace",
            "CustomResourceDefinition",
            "ServiceAccount",
            "ConfigMap",
            "Deployment",
            "Service",
            "Tub",
            "ValidatingWebhookConfiguration",
        ];
        assert_eq!(kinds, expected);
    }
}
