//! Whether a live object still is what was applied. Pure.
//!
//! Observed are the fields that the manifest sets. A server may store some of them in another form (`1000m` as `1`), and an
//! admission webhook may overrule others, so what differs right after an apply is remembered and is no drift.

use std::collections::BTreeMap;

use kube::api::DynamicObject;
use serde_json::Value;

use crate::object::autoscaler::{REPLICAS, Scaling};

/// Fields that differ: JSON pointer → live value (null where there is none).
pub type Differences = BTreeMap<String, Value>;

/// Fields below `metadata` that are compared; the rest of it is the server's.
const OBSERVED_METADATA: [&str; 4] = ["labels", "annotations", "finalizers", "ownerReferences"];

/// Two registrations of one Kubernetes cluster would take it from each other for ever during a move between them.
const UNOBSERVED: &str = "/metadata/annotations/krake.cloud~1cluster";

/// What is known of an object since it was last applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    resource_version: Option<String>,
    accepted: Differences,
    /// Whether somebody else decides on the replicas.
    scaled: bool,
}

impl Baseline {
    /// From the object that was applied and the server's answer.
    pub fn of(applied: &Value, answer: &DynamicObject) -> Self {
        let live = serde_json::to_value(answer).unwrap_or_default();
        Self {
            resource_version: answer.metadata.resource_version.clone(),
            accepted: differences(applied, &live),
            scaled: false,
        }
    }

    /// The same of a workload whose replicas were perhaps left to an autoscaler. Where it is not known whether there is one,
    /// replicas that are not the manifest's remain drift, so that a repair asks again.
    pub fn scaled(mut self, scaling: &Scaling) -> Self {
        self.scaled = *scaling == Scaling::Yes;
        if matches!(scaling, Scaling::Unknown(_)) {
            self.accepted.remove(REPLICAS);
            self.resource_version = None;
        }
        self
    }

    /// From the answer to a rehearsal. It bears the version of the object as it is, which says nothing about the answer.
    pub fn rehearsed(applied: &Value, answer: &DynamicObject) -> Self {
        Self { resource_version: None, ..Self::of(applied, answer) }
    }
}

/// The fields that somebody changed since the last apply; with no baseline all that differ.
pub fn drift(applied: &Value, live: &Value, baseline: Option<&Baseline>) -> Vec<String> {
    let version = live.pointer("/metadata/resourceVersion").and_then(Value::as_str);
    if baseline.is_some_and(|baseline| version.is_some() && baseline.resource_version.as_deref() == version) {
        return Vec::new();
    }
    let accepted = |path: &String, value: &Value| {
        baseline.is_some_and(|baseline| {
            baseline.accepted.get(path) == Some(value) || baseline.scaled && path == REPLICAS
        })
    };
    let differing = differences(applied, live).into_iter();
    differing.filter(|(path, value)| !accepted(path, value)).map(|(path, _)| path).collect()
}

/// The fields of `applied` that are not so in `live`.
fn differences(applied: &Value, live: &Value) -> Differences {
    let mut found = Differences::new();
    for (name, value) in applied.as_object().into_iter().flatten() {
        match name.as_str() {
            "apiVersion" | "kind" | "status" => {}
            "metadata" => {
                for name in OBSERVED_METADATA {
                    if let Some(value) = value.get(name) {
                        let live = live.pointer(&format!("/metadata/{name}"));
                        compare(value, live, &format!("/metadata/{name}"), &mut found);
                    }
                }
                found.remove(UNOBSERVED);
            }
            _ => compare(value, live.get(name), &pointer("", name), &mut found),
        }
    }
    found
}

fn compare(applied: &Value, live: Option<&Value>, path: &str, found: &mut Differences) {
    match (applied, live) {
        (Value::Object(fields), Some(Value::Object(live))) => {
            for (name, value) in fields {
                compare(value, live.get(name), &pointer(path, name), found);
            }
        }
        (Value::Array(items), Some(Value::Array(live))) if items.len() == live.len() => {
            for (index, (item, live)) in items.iter().zip(live).enumerate() {
                compare(item, Some(live), &format!("{path}/{index}"), found);
            }
        }
        (applied, None) if empty(applied) => {}
        (applied, Some(live)) if applied == live || (empty(applied) && empty(live)) => {}
        (_, live) => drop(found.insert(path.to_owned(), live.cloned().unwrap_or_default())),
    }
}

/// What servers leave out: null and empty collections.
fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(empty),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn pointer(path: &str, name: &str) -> String {
    format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{CLUSTER_ANNOTATION, EPOCH_ANNOTATION};
    use rstest::rstest;
    use serde_json::json;

    fn object(spec: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "A", "metadata": {"name": "a", "labels": {"mine": "1"}}, "spec": spec})
    }

    fn live(spec: Value, version: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "A", "spec": spec, "status": {"x": 1}, "metadata": {
            "name": "a", "uid": "u", "resourceVersion": version, "labels": {"mine": "1", "others": "2"}}})
    }

    #[rstest]
    #[case::same(json!({"a": 1}), json!({"a": 1}), &[])]
    #[case::more_fields_live(json!({"a": 1}), json!({"a": 1, "default": true}), &[])]
    #[case::changed(json!({"a": 1}), json!({"a": 2}), &["/spec/a"])]
    #[case::gone(json!({"a": 1}), json!({}), &["/spec/a"])]
    #[case::nested(json!({"a": {"b": {"c": 1}}}), json!({"a": {"b": {"c": 2}}}), &["/spec/a/b/c"])]
    #[case::element(json!({"l": [{"i": "x"}]}), json!({"l": [{"i": "y", "policy": "Always"}]}), &["/spec/l/0/i"])]
    #[case::longer_list(json!({"l": [1]}), json!({"l": [1, 2]}), &["/spec/l"])]
    #[case::empty_left_out(json!({"a": {}, "b": [], "c": null, "d": {"e": null}}), json!({}), &[])]
    #[case::type_changed(json!({"a": {"b": 1}}), json!({"a": 5}), &["/spec/a"])]
    #[case::odd_names(json!({"a/b~c": 1}), json!({"a/b~c": 2}), &["/spec/a~1b~0c"])]
    fn observed_fields(#[case] applied: Value, #[case] seen: Value, #[case] expected: &[&str]) {
        assert_eq!(drift(&object(applied), &live(seen, "5"), None), expected);
    }

    #[test]
    fn labels_are_observed_and_the_rest_of_metadata_is_not() {
        let mut changed = live(json!({}), "5");
        changed["metadata"]["labels"]["mine"] = json!("0");
        changed["metadata"]["generation"] = json!(9);
        assert_eq!(drift(&object(json!({})), &changed, None), ["/metadata/labels/mine"]);
    }

    #[test]
    fn the_epoch_is_observed_and_the_registration_is_not() {
        let marked = |epoch: &str, cluster: &str| {
            let annotations = json!({EPOCH_ANNOTATION: epoch, CLUSTER_ANNOTATION: cluster});
            json!({"apiVersion": "v1", "kind": "A", "metadata": {"name": "a", "annotations": annotations}})
        };
        assert_eq!(drift(&marked("e1", "c1"), &marked("e1", "c2"), None), [""; 0]);
        let old = drift(&marked("e2", "c1"), &marked("e1", "c1"), None);
        assert_eq!(old, ["/metadata/annotations/krake.cloud~1epoch"], "applied again, and so of this epoch");
    }

    fn baseline(applied: &Value, answer: Value) -> Baseline {
        Baseline::of(applied, &serde_json::from_value(answer).unwrap())
    }

    #[test]
    fn what_the_server_makes_of_a_value_is_no_drift() {
        let applied = object(json!({"cpu": "1000m", "image": "a"}));
        let known = baseline(&applied, live(json!({"cpu": "1", "image": "a"}), "5"));
        let later = live(json!({"cpu": "1", "image": "a"}), "6");
        assert_eq!(drift(&applied, &later, Some(&known)), [""; 0]);
        let changed = live(json!({"cpu": "2", "image": "b"}), "7");
        assert_eq!(drift(&applied, &changed, Some(&known)), ["/spec/cpu", "/spec/image"]);
    }

    #[test]
    fn replicas_that_were_left_to_an_autoscaler_are_no_drift() {
        let applied = object(json!({"replicas": 1, "x": 1}));
        let known = baseline(&applied, live(json!({"replicas": 3, "x": 1}), "5"));
        let later = live(json!({"replicas": 4, "x": 2}), "6");
        assert_eq!(drift(&applied, &later, Some(&known)), ["/spec/replicas", "/spec/x"]);
        let is_left = known.clone().scaled(&Scaling::Yes);
        assert_eq!(drift(&applied, &later, Some(&is_left)), ["/spec/x"]);
        assert_eq!(drift(&applied, &later, Some(&known.scaled(&Scaling::No))), ["/spec/replicas", "/spec/x"]);
    }

    #[test]
    fn replicas_that_were_left_for_want_of_knowledge_remain_drift() {
        let applied = object(json!({"replicas": 1, "cpu": "1000m"}));
        let answer = live(json!({"replicas": 3, "cpu": "1"}), "5");
        let known = baseline(&applied, answer.clone());
        assert_eq!(
            drift(&applied, &answer, Some(&known)),
            [""; 0],
            "otherwise the answer counts as accepted"
        );
        let unknown = Scaling::Unknown(crate::error::ClusterError::Busy("slow down".into()));
        assert_eq!(drift(&applied, &answer, Some(&known.scaled(&unknown))), ["/spec/replicas"]);
    }

    #[test]
    fn a_rehearsal_tells_what_the_server_would_make_of_it_and_not_what_is_there() {
        let applied = object(json!({"cpu": "1000m", "image": "a"}));
        let answer = serde_json::from_value(live(json!({"cpu": "1", "image": "a"}), "5")).unwrap();
        let known = Baseline::rehearsed(&applied, &answer);
        assert_eq!(drift(&applied, &live(json!({"cpu": "1", "image": "a"}), "5"), Some(&known)), [""; 0]);
        let changed = live(json!({"cpu": "1", "image": "b"}), "5");
        assert_eq!(drift(&applied, &changed, Some(&known)), ["/spec/image"], "of the same version");
    }

    #[test]
    fn a_version_that_we_wrote_is_not_looked_at_again() {
        let applied = object(json!({"a": 1}));
        let known = baseline(&applied, live(json!({"a": 2}), "5"));
        assert_eq!(drift(&applied, &live(json!({"a": 3}), "5"), Some(&known)), [""; 0]);
        assert_eq!(drift(&applied, &live(json!({"a": 3}), "6"), Some(&known)), ["/spec/a"]);
    }
}
