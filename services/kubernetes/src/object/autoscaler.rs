//! Workloads whose number of replicas an autoscaler decides on: which they are, and what an apply says of their replicas. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kube::api::DynamicObject;
use serde_json::Value;

use crate::error::ClusterError;
use crate::object::{FIELD_MANAGER, ObjectKey, field, text};

/// Numbers of replicas of workloads.
pub type Replicas = BTreeMap<ObjectKey, i64>;

/// Where workloads have their number of replicas, as a JSON pointer.
pub(crate) const REPLICAS: &str = "/spec/replicas";

/// Whether an autoscaler decides on the number of replicas of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scaling {
    /// None does, or the number is the manifest's anyway.
    No,
    /// One does.
    Yes,
    /// Not known; why. Until it is, the number stays as it is.
    Unknown(ClusterError),
}

impl Scaling {
    /// Whether the live number of replicas is left alone.
    pub fn leaves_replicas(&self) -> bool {
        *self != Self::No
    }
}

/// Whether objects of this kind decide on the replicas of workloads.
pub(crate) fn is_autoscaler(key: &ObjectKey) -> bool {
    matches!(
        (key.group(), key.kind.as_str()),
        ("autoscaling", "HorizontalPodAutoscaler") | ("keda.sh", "ScaledObject")
    )
}

/// The workload that an autoscaler in `namespace` scales.
pub(crate) fn workload(autoscaler: &Value, namespace: Option<&str>) -> Option<ObjectKey> {
    let target = field(autoscaler, &["spec", "scaleTargetRef"])?;
    Some(ObjectKey {
        // KEDA's defaults; a HorizontalPodAutoscaler always names both.
        api_version: text(target, &["apiVersion"]).unwrap_or("apps/v1").to_owned(),
        kind: text(target, &["kind"]).unwrap_or("Deployment").to_owned(),
        namespace: namespace.map(str::to_owned),
        name: text(target, &["name"])?.to_owned(),
    })
}

/// The body without what an autoscaler decides on: what of it is observed.
pub(crate) fn without_replicas(body: &Value) -> Cow<'_, Value> {
    if body.pointer(REPLICAS).is_none() {
        return Cow::Borrowed(body);
    }
    let mut body = body.clone();
    remove_replicas(&mut body);
    Cow::Owned(body)
}

fn remove_replicas(body: &mut Value) {
    if let Some(spec) = body.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("replicas");
    }
}

/// The replicas that the body of a workload asks for.
pub(crate) fn wanted(body: &Value) -> i64 {
    body.pointer(REPLICAS).and_then(Value::as_i64).unwrap_or(1)
}

/// Makes the body of a new workload begin with the replicas that it had elsewhere, or those of the manifest if they are more:
/// an autoscaler that begins with few takes minutes to reach what the load needs.
pub(crate) fn begin_with(body: &mut Value, start: i64) {
    if start > wanted(body) && body.get("spec").is_some_and(Value::is_object) {
        body["spec"]["replicas"] = start.into();
    }
}

/// Makes the body leave the live number of replicas alone. Leaving the field out resets it while Krake alone owns it, so the
/// live number is applied until somebody else does.
pub(crate) fn leave_replicas(body: &mut Value, live: &DynamicObject) {
    let others = owners(live).any(|is_ours| !is_ours);
    let replicas = field(&live.data, &["spec", "replicas"]).filter(|_| owns_replicas(live) && !others);
    match replicas {
        Some(replicas) => body["spec"]["replicas"] = replicas.clone(),
        None => remove_replicas(body),
    }
}

/// Whether Krake is an owner of the number of replicas.
pub(crate) fn owns_replicas(live: &DynamicObject) -> bool {
    owners(live).any(|is_ours| is_ours)
}

/// Of each owner of the number of replicas, whether it is Krake.
fn owners(live: &DynamicObject) -> impl Iterator<Item = bool> {
    let books = live.metadata.managed_fields.as_deref().unwrap_or_default().iter();
    let owning = books.filter(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        fields.is_some_and(|fields| field(fields, &["f:spec", "f:replicas"]).is_some())
    });
    owning.map(|entry| {
        let is_object = entry.subresource.as_deref().unwrap_or_default().is_empty();
        entry.manager.as_deref() == Some(FIELD_MANAGER) && is_object
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db"}), Some("StatefulSet demo/db"))]
    #[case(json!({"name": "web"}), Some("Deployment demo/web"))]
    #[case(json!({"kind": "Deployment"}), None)]
    fn the_workload_of_an_autoscaler(#[case] target: Value, #[case] expected: Option<&str>) {
        let workload = workload(&json!({"spec": {"scaleTargetRef": target}}), Some("demo"));
        assert_eq!(workload.map(|key| key.to_string()).as_deref(), expected);
    }

    fn live(replicas: i64, owners: &[(&str, &str)]) -> DynamicObject {
        let books: Vec<_> = owners
            .iter()
            .map(|(manager, subresource)| {
                json!({"manager": manager, "operation": "Update", "subresource": subresource,
                    "fieldsV1": {"f:spec": {"f:replicas": {}}}})
            })
            .collect();
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": replicas},
            "metadata": {"name": "web", "managedFields": books}});
        serde_json::from_value(object).unwrap()
    }

    #[rstest]
    #[case::only_ours(&[("krake", "")], json!({"spec": {"replicas": 5, "x": 1}}))]
    #[case::of_the_autoscaler(&[("kube-controller-manager", "scale")], json!({"spec": {"x": 1}}))]
    #[case::of_both(&[("krake", ""), ("kube-controller-manager", "scale")], json!({"spec": {"x": 1}}))]
    #[case::of_nobody(&[], json!({"spec": {"x": 1}}))]
    fn the_live_number_is_left_alone(#[case] owners: &[(&str, &str)], #[case] expected: Value) {
        for replicas in [json!({"replicas": 1, "x": 1}), json!({"x": 1})] {
            let mut body = json!({"spec": replicas});
            leave_replicas(&mut body, &live(5, owners));
            assert_eq!(body, expected);
        }
    }

    #[rstest]
    #[case::more(7, json!({"replicas": 2}), json!({"replicas": 7}))]
    #[case::fewer(1, json!({"replicas": 2}), json!({"replicas": 2}))]
    #[case::scaled_to_nothing(0, json!({"x": 1}), json!({"x": 1}))]
    #[case::the_manifest_says_nothing(3, json!({"x": 1}), json!({"x": 1, "replicas": 3}))]
    fn a_new_copy_begins_with_the_greater_number(
        #[case] start: i64,
        #[case] spec: Value,
        #[case] expected: Value,
    ) {
        let mut body = json!({"spec": spec});
        begin_with(&mut body, start);
        assert_eq!(body, json!({"spec": expected}));
    }

    #[test]
    fn replicas_are_not_observed() {
        let body = json!({"spec": {"replicas": 1, "x": 1}});
        assert_eq!(*without_replicas(&body), json!({"spec": {"x": 1}}));
        let config = json!({"data": {"replicas": 1}});
        assert_eq!(*without_replicas(&config), config);
    }
}
