//! Rules for applications.

use std::collections::BTreeMap;

use krake_proto::constraint::{LabelConstraint, MetricConstraint};
use krake_proto::krake::kubernetes::v1::{
    ApplicationSpec, ClusterConstraints, Constraints, MigrationStrategy, Placement,
};
use krake_proto::krake::meta::v1::Document;
use prost_reflect::{DynamicMessage, Value};
use serde_json::Value as Json;

use super::{Findings, documents};

/// The largest factor between attempts to schedule.
const MAX_BACKOFF: i32 = 1_000_000;
/// The longest delay before the first further attempt, in seconds: a year.
const MAX_DELAY: i32 = 365 * 24 * 60 * 60;
/// The longest time in seconds that an application may be made to stay: ten years, which is for ever.
const LONGEST: i64 = 10 * 365 * 24 * 60 * 60;

/// Behaviour of upstream 1.0.1 where a field is left out.
pub(super) fn defaults() -> ApplicationSpec {
    ApplicationSpec {
        constraints: Some(Constraints {
            cluster: Some(ClusterConstraints::default()),
            migration: Some(true),
        }),
        backoff: Some(1),
        backoff_delay: Some(1),
        backoff_limit: Some(-1),
        storage_migration: "none".to_owned(),
        ..Default::default()
    }
}

/// Which object an entry of the manifest is.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    api_version: String,
    kind: String,
    namespace: String,
    name: String,
}

impl Identity {
    fn read(object: &Json) -> Self {
        let text =
            |pointer: &str| object.pointer(pointer).and_then(Json::as_str).unwrap_or_default().to_owned();
        Identity {
            api_version: text("/apiVersion"),
            kind: text("/kind"),
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name"),
        }
    }
}

/// Fills the identity that each entry of the manifest shows beside its document.
pub(super) fn complete(spec: &mut DynamicMessage) {
    let Some(Value::List(entries)) = spec.get_field_by_name_mut("manifest") else { return };
    for entry in entries {
        let Value::Message(entry) = entry else { continue };
        let document = entry
            .get_field_by_name("document")
            .and_then(|field| field.as_message().and_then(|message| message.transcode_to::<Document>().ok()));
        let identity =
            documents::value(document.as_ref()).map(|object| Identity::read(&object)).unwrap_or_default();
        entry.set_field_by_name("api_version", Value::String(identity.api_version));
        entry.set_field_by_name("kind", Value::String(identity.kind));
        entry.set_field_by_name("namespace", Value::String(identity.namespace));
        entry.set_field_by_name("name", Value::String(identity.name));
    }
}

pub(super) fn validate(spec: &ApplicationSpec, findings: &mut Findings) {
    source(spec, findings);
    manifest(spec, findings);
    constraints(spec, findings);
    backoff(spec.backoff, spec.backoff_delay, spec.backoff_limit, findings);
    placement(spec.placement.as_ref(), findings);
    findings.not_built("spec.observer_schema", !spec.observer_schema.is_empty());
    findings.not_built("spec.hooks", !spec.hooks.is_empty());
    findings.not_built("spec.shutdown_grace_time", spec.shutdown_grace_time.is_some());
    findings.not_built("spec.shutdown_failure_strategy", spec.shutdown_failure_strategy.is_some());
    findings.not_built("spec.shutdown_retry_count", spec.shutdown_retry_count.is_some());
    findings.not_built("spec.storage_migration", spec.storage_migration != "none");
    findings.not_built("spec.auto_cluster_create", spec.auto_cluster_create);
    findings.not_built("spec.ignore_fields", !spec.ignore_fields.is_empty());
    moving(spec, findings);
}

/// When and how a running application moves.
fn moving(spec: &ApplicationSpec, findings: &mut Findings) {
    if MigrationStrategy::try_from(spec.migration_strategy).is_err() {
        findings.add("spec.migration_strategy", "is unknown; known are CREATE_FIRST and DELETE_FIRST");
    }
    if spec.min_gain.is_some_and(|gain| !gain.is_finite() || gain < 0.0) {
        findings.add("spec.min_gain", "must be a finite number and not negative");
    }
    let Some(residency) = &spec.min_residency else { return };
    if residency.seconds < 0 || residency.nanos < 0 {
        findings.add("spec.min_residency", "must not be negative");
    } else if residency.seconds > LONGEST || residency.nanos >= 1_000_000_000 {
        findings.add("spec.min_residency", format!("must be at most {LONGEST} seconds"));
    }
}

fn source(spec: &ApplicationSpec, findings: &mut Findings) {
    let tosca = documents::value(spec.tosca.as_ref());
    let has_tosca =
        !matches!(tosca, None | Some(Json::Null)) && tosca != Some(Json::Object(Default::default()));
    findings.not_built("spec.tosca", has_tosca);
    findings.not_built("spec.csar", spec.csar.as_deref().is_some_and(|url| !url.is_empty()));
    if spec.manifest.is_empty() {
        findings.add("spec.manifest", "is empty; give at least one Kubernetes object");
    }
}

fn manifest(spec: &ApplicationSpec, findings: &mut Findings) {
    let mut seen = BTreeMap::new();
    for (index, entry) in spec.manifest.iter().enumerate() {
        let field = format!("spec.manifest[{index}]");
        let Some(object) = documents::value(entry.document.as_ref()) else {
            // A document that is not JSON was reported when it was read.
            if entry.document.as_ref().is_none_or(|document| document.content.is_none()) {
                findings.add(field, "is empty; give a Kubernetes object");
            }
            continue;
        };
        if !object.is_object() {
            findings.add(field, "is not an object");
            continue;
        }
        for (path, pointer) in
            [("apiVersion", "/apiVersion"), ("kind", "/kind"), ("metadata.name", "/metadata/name")]
        {
            match object.pointer(pointer) {
                Some(Json::String(text)) if !text.is_empty() => {}
                Some(Json::String(_)) => findings.add(format!("{field}.{path}"), "is empty"),
                Some(Json::Null) | None => findings.add(format!("{field}.{path}"), "is missing"),
                Some(_) => findings.add(format!("{field}.{path}"), "is not a string"),
            }
        }
        if object
            .pointer("/metadata/namespace")
            .is_some_and(|namespace| !namespace.is_string() && !namespace.is_null())
        {
            findings.add(format!("{field}.metadata.namespace"), "is not a string");
        }
        if let Some(first) = seen.insert(Identity::read(&object), index) {
            findings.add(field, format!("is the same object as spec.manifest[{first}]"));
        }
    }
}

fn constraints(spec: &ApplicationSpec, findings: &mut Findings) {
    let Some(cluster) = spec.constraints.as_ref().and_then(|constraints| constraints.cluster.as_ref()) else {
        return;
    };
    for (index, text) in cluster.labels.iter().enumerate() {
        findings.check(format!("spec.constraints.cluster.labels[{index}]"), LabelConstraint::parse(text));
    }
    for (index, text) in cluster.metrics.iter().enumerate() {
        findings.check(format!("spec.constraints.cluster.metrics[{index}]"), MetricConstraint::parse(text));
    }
    for (index, text) in cluster.custom_resources.iter().enumerate() {
        custom_resource(&format!("spec.constraints.cluster.custom_resources[{index}]"), text, findings);
    }
}

/// A custom resource definition's name: `plural.group`.
pub(super) fn custom_resource(field: &str, text: &str, findings: &mut Findings) {
    let fine = text.len() <= 253
        && text.split_once('.').is_some_and(|(plural, group)| !plural.is_empty() && !group.is_empty())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-');
    if !fine {
        findings.add(field, format!("{text:?} is not a name of the form plural.group"));
    }
}

/// The three backoff fields, which applications and clusters share. Their product must stay a time that can be told.
pub(super) fn backoff(factor: Option<i32>, delay: Option<i32>, limit: Option<i32>, findings: &mut Findings) {
    if factor.is_some_and(|factor| !(1..=MAX_BACKOFF).contains(&factor)) {
        findings.add("spec.backoff", format!("must be at least 1 and at most {MAX_BACKOFF}"));
    }
    if let Some(delay) = delay
        && !(0..=MAX_DELAY).contains(&delay)
    {
        let text = if delay < 0 { "must not be negative" } else { "must be at most a year, 31536000" };
        findings.add("spec.backoff_delay", format!("{text}; it is a number of seconds"));
    }
    if limit.is_some_and(|limit| limit < -1) {
        findings.add("spec.backoff_limit", "must be -1 (no limit) or more");
    }
}

fn placement(placement: Option<&Placement>, findings: &mut Findings) {
    let Some(placement) = placement else { return };
    if placement.min_clusters.unwrap_or(1) != 1 {
        findings.add("spec.placement.min_clusters", "only exactly one cluster is supported yet");
    }
    if placement.max_clusters.unwrap_or(1) != 1 {
        findings.add("spec.placement.max_clusters", "only exactly one cluster is supported yet");
    }
    findings.not_built("spec.placement.division", placement.division != 0);
    findings.not_built("spec.placement.spread", !placement.spread.is_empty());
}
