//! Admission of clusters.

use std::collections::BTreeSet;

use krake_proto::krake::core::v1::MetricRef;
use krake_proto::krake::kubernetes::v1::{CloudConstraints, CloudSelection, ClusterSpec, ClusterStatus};
use krake_proto::krake::meta::v1::ReasonCode;
use krake_proto::name;
use krake_runtime::kubeconfig::{Problem, judge};
use prost::Message;
use serde_json::Value as Json;

use crate::admission::{Findings, document_value};
use crate::kinds::application::{backoff, custom_resource};

pub(super) fn defaults() -> ClusterSpec {
    ClusterSpec {
        constraints: Some(CloudSelection { cloud: Some(CloudConstraints::default()) }),
        backoff: Some(1),
        backoff_delay: Some(1),
        backoff_limit: Some(-1),
        ..Default::default()
    }
}

/// Checks a submitted status: upstream's clients refuse a reason whose code they do not know.
pub(super) fn validate_status(status: &[u8], findings: &mut Findings) {
    let Some(status) = findings.check("status", ClusterStatus::decode(status)) else { return };
    for (metric, reason) in &status.metrics_reasons {
        if matches!(ReasonCode::try_from(reason.code), Ok(ReasonCode::Unspecified) | Err(_)) {
            findings.add(format!("status.metrics_reasons[{metric:?}].code"), "is missing or unknown");
        }
    }
}

pub(super) fn validate(spec: &ClusterSpec, findings: &mut Findings) {
    let empty = |value: &Option<Json>| {
        matches!(value, None | Some(Json::Null)) || *value == Some(Json::Object(Default::default()))
    };
    let tosca = document_value(spec.tosca.as_ref());
    findings.not_built("spec.tosca", !empty(&tosca));
    let config = document_value(spec.kubeconfig.as_ref());
    match config {
        Some(config) if !empty(&Some(config.clone())) => kubeconfig(&config, findings),
        _ => findings.add("spec.kubeconfig", "is empty; give a kubeconfig with one context"),
    }
    for (index, resource) in spec.custom_resources.iter().enumerate() {
        custom_resource(&format!("spec.custom_resources[{index}]"), resource, findings);
    }
    metrics(&spec.metrics, findings);
    for (index, namespace) in spec.allowed_namespaces.iter().enumerate() {
        if namespace != "*" {
            findings.check(format!("spec.allowed_namespaces[{index}]"), name::resource_name(namespace));
        }
    }
    backoff(spec.backoff, spec.backoff_delay, spec.backoff_limit, findings);
    findings.not_built("spec.inherit_metrics", spec.inherit_metrics);
    findings.not_built("spec.auto_generated", spec.auto_generated);
    let cloud = spec.constraints.as_ref().and_then(|constraints| constraints.cloud.as_ref());
    let selects = cloud.is_some_and(|cloud| !cloud.labels.is_empty() || !cloud.metrics.is_empty());
    findings.not_built("spec.constraints.cloud", selects);
}

/// The adapter judges by the same function.
fn kubeconfig(config: &Json, findings: &mut Findings) {
    for Problem { field, text } in judge(config).err().unwrap_or_default() {
        let dot = if field.is_empty() { "" } else { "." };
        findings.add(format!("spec.kubeconfig{dot}{field}"), text);
    }
}

fn metrics(metrics: &[MetricRef], findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for (index, metric) in metrics.iter().enumerate() {
        let field = format!("spec.metrics[{index}]");
        findings.check(format!("{field}.name"), name::resource_name(&metric.name));
        if !metric.weight.is_finite() {
            findings.add(format!("{field}.weight"), "must be a finite number");
        }
        if !seen.insert((&metric.name, metric.namespaced)) {
            findings.add(field, format!("{:?} is listed twice", metric.name));
        }
    }
}
