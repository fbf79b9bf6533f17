//! Rules for metrics providers.

use krake_proto::Resource;
use krake_proto::krake::core::v1::metrics_provider_spec::Type;
use krake_proto::krake::core::v1::{Metric, MetricsProvider, MetricsProviderSpec};
use prost::DecodeError;

use super::{KindRules, Relation, metric, typed};
use crate::admission::Findings;
use crate::cache::Stored;

/// The rules.
pub(super) static RULES: KindRules = KindRules {
    users: &[Relation { of: Metric::KIND, holds: reads_from, has: "reads its values there (spec.provider)" }],
    ..KindRules::of(MetricsProvider::KIND, |_, spec, _, findings| typed(spec, findings, validate))
};

fn reads_from(metric: &Stored, provider: &Stored) -> Result<bool, DecodeError> {
    let same_scope = metric.metadata.namespace == provider.metadata.namespace;
    Ok(same_scope && metric::provider(metric)?.as_deref() == Some(provider.metadata.name.as_str()))
}

/// Types of provider that are part of the contract and not built yet.
const LATER: &str = "this type of provider is not supported yet; use";

fn validate(spec: &MetricsProviderSpec, findings: &mut Findings) {
    match &spec.r#type {
        None => findings
            .add("spec.type", "is missing or unknown; known types are prometheus, static, kafka, influx"),
        Some(Type::Prometheus(provider)) => url("spec.prometheus.url", &provider.url, findings),
        Some(Type::Static(provider)) => {
            for (name, value) in &provider.metrics {
                if !value.is_finite() {
                    findings.add(format!("spec.static.metrics[{name:?}]"), "must be a finite number");
                }
            }
        }
        Some(Type::Kafka(_)) => findings.add("spec.kafka", format!("{LATER} prometheus or static")),
        Some(Type::Influx(_)) => findings.add("spec.influx", format!("{LATER} prometheus or static")),
    }
}

fn url(field: &str, text: &str, findings: &mut Findings) {
    let uri = text.parse::<http::Uri>().ok();
    let fine =
        uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
    // The text is not quoted, since it may hold a password.
    if !fine {
        findings.add(field, "is not an http or https URL");
    }
}
