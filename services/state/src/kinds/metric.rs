//! Rules for metrics.

use krake_proto::krake::core::v1::{Metric, MetricSpec};
use krake_proto::krake::kubernetes::v1::Cluster;
use krake_proto::{Resource, name};
use prost::{DecodeError, Message};

use super::{KindRules, Relation, cluster, typed};
use crate::admission::Findings;
use crate::cache::Stored;
use crate::object::wire::Malformed;

/// The rules.
pub(super) static RULES: KindRules = KindRules {
    users: &[Relation { of: Cluster::KIND, holds: is_ranked_by, has: "ranks by it (spec.metrics)" }],
    ..KindRules::of(Metric::KIND, |_, spec, _, findings| typed(spec, findings, validate))
};

/// Whether the cluster's own list of metrics names this one.
fn is_ranked_by(cluster: &Stored, metric: &Stored) -> Result<bool, Malformed> {
    let scope = &metric.metadata.namespace;
    let named = cluster::metrics(cluster)?.into_iter().any(|reference| {
        let namespace = if reference.namespaced { cluster.metadata.namespace.as_str() } else { "" };
        reference.name == metric.metadata.name && namespace == scope
    });
    Ok(named)
}

/// The metrics provider that a metric reads from; it has the metric's namespace.
pub(super) fn provider(metric: &Stored) -> Result<Option<String>, DecodeError> {
    let spec = MetricSpec::decode(metric.sections.spec.as_deref().unwrap_or_default())?;
    Ok(spec.provider.map(|provider| provider.name))
}

fn validate(spec: &MetricSpec, findings: &mut Findings) {
    let mut bound = |field: &str, value: Option<f64>| match value {
        None => {
            findings.add(field, "is missing");
            None
        }
        Some(value) if !value.is_finite() => {
            findings.add(field, "must be a finite number");
            None
        }
        value => value,
    };
    let (min, max) = (bound("spec.min", spec.min), bound("spec.max", spec.max));
    if let (Some(min), Some(max)) = (min, max)
        && min >= max
    {
        findings.add("spec.min", format!("is {min}; it must be less than spec.max, which is {max}"));
    }
    let Some(provider) = &spec.provider else {
        findings.add("spec.provider", "is missing");
        return;
    };
    findings.check("spec.provider.name", name::resource_name(&provider.name));
    if provider.metric.is_empty() {
        findings.add("spec.provider.metric", "is empty; give the name or expression to ask the provider for");
    }
}
