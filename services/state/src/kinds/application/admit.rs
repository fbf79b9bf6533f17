//! Admission of applications.

use std::collections::BTreeMap;

use krake_proto::constraint::{LabelConstraint, MetricConstraint};
use krake_proto::krake::kubernetes::v1::{
    ApplicationSpec, ClusterConstraints, Constraints, FieldValidation, MigrationStrategy, Placement,
};
use prost_reflect::{DynamicMessage, Value};

use super::manifest::is_large;
use super::volumes::claims_volumes;
use crate::admission::{Documents, Findings, Outline, Shape, Text};

/// The largest factor between attempts to schedule.
const MAX_BACKOFF: i32 = 1_000_000;
/// The longest delay before the first further attempt, in seconds: a year.
const MAX_DELAY: i32 = 365 * 24 * 60 * 60;
/// Maximum of `min_residency` in seconds: ten years, longer than any deployment.
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

/// The path of an entry of the manifest.
fn place(index: usize) -> String {
    format!("spec.manifest[{index}]")
}

/// Fills the identity that each entry of the manifest shows beside its document.
pub(super) fn complete(spec: &mut DynamicMessage, documents: &Documents) {
    // The entries of a large manifest hold the names alone.
    let is_large = spec.has_field_by_name("manifest_set");
    let Some(Value::List(entries)) = spec.get_field_by_name_mut("manifest") else { return };
    let nothing = Outline::default();
    for (index, entry) in entries.iter_mut().enumerate() {
        let Value::Message(entry) = entry else { continue };
        if is_large && !entry.has_field_by_name("document") {
            continue;
        }
        let document = documents.get(&place(index)).unwrap_or(&nothing);
        for (field, text) in [
            ("api_version", &document.api_version),
            ("kind", &document.kind),
            ("namespace", &document.namespace),
            ("name", &document.name),
        ] {
            entry.set_field_by_name(field, Value::String(text.as_str().to_owned()));
        }
        entry.set_field_by_name("claims_volumes", Value::Bool(claims_volumes(document)));
    }
}

pub(super) fn validate(spec: &ApplicationSpec, documents: &Documents, findings: &mut Findings) {
    source(spec, documents, findings);
    manifest(spec, documents, findings);
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
    if FieldValidation::try_from(spec.field_validation).is_err() {
        findings.add("spec.field_validation", "is unknown; known are STRICT and WARN");
    }
    moving(spec, findings);
}

/// When and how a running application moves.
fn moving(spec: &ApplicationSpec, findings: &mut Findings) {
    if MigrationStrategy::try_from(spec.migration_strategy).is_err() {
        findings.add("spec.migration_strategy", "is unknown; known are CREATE_FIRST and DELETE_FIRST");
    }
    if spec.adopt_existing && spec.migration_strategy() == MigrationStrategy::DeleteFirst {
        let text = "DELETE_FIRST cannot hold with adopt_existing: objects that existed before are released when the \
            application moves, and run on beside its new copy; set one of the two";
        findings.add("spec.migration_strategy", text);
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

fn source(spec: &ApplicationSpec, documents: &Documents, findings: &mut Findings) {
    let tosca = documents.get("spec.tosca").map(|tosca| tosca.shape);
    let has_tosca = !matches!(tosca, None | Some(Shape::Null | Shape::EmptyObject));
    findings.not_built("spec.tosca", has_tosca);
    findings.not_built("spec.csar", spec.csar.as_deref().is_some_and(|url| !url.is_empty()));
    if spec.manifest.is_empty() {
        findings.add("spec.manifest", "is empty; give at least one Kubernetes object");
    }
}

fn manifest(spec: &ApplicationSpec, documents: &Documents, findings: &mut Findings) {
    // The documents of a large manifest were checked before they were taken out.
    if is_large(spec) {
        return;
    }
    let mut seen = BTreeMap::new();
    for (index, entry) in spec.manifest.iter().enumerate() {
        let field = place(index);
        let Some(object) = documents.get(&field) else {
            // A document that is not JSON was reported when it was read.
            if entry.document.as_ref().is_none_or(|document| document.content.is_none()) {
                findings.add(field, "is empty; give a Kubernetes object");
            }
            continue;
        };
        if !matches!(object.shape, Shape::EmptyObject | Shape::Object) {
            findings.add(field, "is not an object");
            continue;
        }
        for (path, text) in
            [("apiVersion", &object.api_version), ("kind", &object.kind), ("metadata.name", &object.name)]
        {
            match text {
                Text::Is(text) if !text.is_empty() => {
                    part_of_path(&format!("{field}.{path}"), text, findings)
                }
                Text::Is(_) => findings.add(format!("{field}.{path}"), "is empty"),
                Text::Null | Text::Missing => findings.add(format!("{field}.{path}"), "is missing"),
                Text::Other => findings.add(format!("{field}.{path}"), "is not a string"),
            }
        }
        match &object.namespace {
            Text::Other => findings.add(format!("{field}.metadata.namespace"), "is not a string"),
            Text::Is(text) => part_of_path(&format!("{field}.metadata.namespace"), text, findings),
            Text::Null | Text::Missing => {}
        }
        // A cluster serves each object in every version of its group.
        let group = object.api_version.as_str().rsplit_once('/').map_or("", |(group, _)| group);
        let [kind, namespace, name] = [&object.kind, &object.namespace, &object.name].map(Text::as_str);
        let identity = [group, kind, namespace, name];
        if let Some(first) = seen.insert(identity, index) {
            findings.add(field, format!("is the same object as spec.manifest[{first}]"));
        }
    }
}

/// What names an object is a part of its path on the cluster, and must not lead to another one. Kubernetes refuses "/", "%",
/// "." and ".." (`IsValidPathSegmentName`), but only once an object is there to be looked at. The other characters, which it
/// allows in names of roles and their bindings, end the path of a request that is not written for them.
fn part_of_path(field: &str, text: &str, findings: &mut Findings) {
    const LONGEST: usize = 253;
    let is_version = field.ends_with(".apiVersion");
    let group_and_version = text.split('/').count() <= if is_version { 2 } else { 1 };
    let is_fine = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(is_foreign);
    if text.len() > LONGEST {
        findings.add(field, format!("has {} bytes; at most {LONGEST} are allowed", text.len()));
    } else if !text.is_empty() && (!group_and_version || !text.split('/').all(is_fine)) {
        findings.add(field, format!("{text:?} cannot be part of a path on a cluster"));
    }
}

/// Whether a character ends or changes a part of a path, or cannot be seen.
fn is_foreign(character: char) -> bool {
    matches!(character, '%' | '?' | '#' | '\\') || character.is_whitespace() || character.is_control()
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
pub(in crate::kinds) fn custom_resource(field: &str, text: &str, findings: &mut Findings) {
    let fine = text.len() <= 253
        && text.split_once('.').is_some_and(|(plural, group)| !plural.is_empty() && !group.is_empty())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-');
    if !fine {
        findings.add(field, format!("{text:?} is not a name of the form plural.group"));
    }
}

/// The three backoff fields, which applications and clusters share. Their product must stay a time that can be told.
pub(in crate::kinds) fn backoff(
    factor: Option<i32>,
    delay: Option<i32>,
    limit: Option<i32>,
    findings: &mut Findings,
) {
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
