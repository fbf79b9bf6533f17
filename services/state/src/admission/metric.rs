//! Rules for metrics.

use krake_proto::krake::core::v1::MetricSpec;
use krake_proto::name;

use super::Findings;

pub(super) fn validate(spec: &MetricSpec, findings: &mut Findings) {
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
