//! `rok core metric create` and `update`, and those of `gm`: a global metric is one without namespace.

use krake_proto::krake::core::v1::{Metric, MetricSource, MetricSpec};
use krake_proto::krake::meta::v1::Metadata;

use super::Session;
use super::modify::{Fields, modify, something};
use crate::args::{GlobalTarget, MetricChange, Range};
use crate::failure::Failure;
use crate::output;

pub(super) async fn create(
    session: &Session,
    namespace: String,
    target: GlobalTarget,
    range: Range,
) -> Result<String, Failure> {
    let metric = session.api::<Metric>().create(&metric(namespace, target.name, range)).await?;
    output::object(&metric, target.output)
}

pub(super) async fn update(
    session: &Session,
    namespace: String,
    target: GlobalTarget,
    change: MetricChange,
) -> Result<String, Failure> {
    something(apply(&change, &mut Metric::default()))?;
    let write = |metric: &mut Metric| Ok(apply(&change, metric));
    let metric = modify(&session.api(), &namespace, &target.name, write).await?;
    output::object(&metric, target.output)
}

/// A new metric.
fn metric(namespace: String, name: String, range: Range) -> Metric {
    let source =
        MetricSource { name: range.provider, metric: range.metric_name.unwrap_or_else(|| name.clone()) };
    let spec = MetricSpec {
        min: Some(range.min),
        max: Some(range.max),
        provider: Some(source),
        allowed_values: range.allowed_values,
    };
    let metadata = Metadata { namespace, name, ..Metadata::default() };
    Metric { metadata: Some(metadata), spec: Some(spec) }
}

/// Changes a metric; which fields were written.
fn apply(change: &MetricChange, metric: &mut Metric) -> Vec<&'static str> {
    let mut fields = Fields::default();
    let spec = metric.spec.get_or_insert_default();
    fields.set("spec.min", &mut spec.min, change.min.map(Some));
    fields.set("spec.max", &mut spec.max, change.max.map(Some));
    fields.add(
        "spec.allowed_values",
        &mut spec.allowed_values,
        &change.allowed_values,
        change.remove_existing_allowed_values,
    );
    let provider = spec.provider.get_or_insert_default();
    fields.set("spec.provider.name", &mut provider.name, change.provider.clone());
    fields.set("spec.provider.metric", &mut provider.metric, change.metric_name.clone());
    fields.paths()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(metric_name: Option<&str>) -> Range {
        Range {
            provider: "p".into(),
            min: 0.0,
            max: 1.0,
            metric_name: metric_name.map(str::to_owned),
            allowed_values: vec![0, 1],
        }
    }

    #[test]
    fn a_metric_is_asked_for_by_its_own_name_unless_told_otherwise() {
        let query = |metric: Metric| metric.spec.unwrap().provider.unwrap().metric;
        assert_eq!(query(metric(String::new(), "m".into(), range(None))), "m");
        assert_eq!(query(metric(String::new(), "m".into(), range(Some("avg(x)")))), "avg(x)");
    }

    #[test]
    fn an_update_keeps_what_was_not_given() {
        let mut metric = metric(String::new(), "m".into(), range(Some("avg(x)")));
        let change = MetricChange {
            max: Some(2.0),
            provider: Some("other".into()),
            allowed_values: vec![1, 2],
            ..MetricChange::default()
        };
        assert_eq!(apply(&change, &mut metric), ["spec.max", "spec.allowed_values", "spec.provider.name"]);
        let spec = metric.spec.unwrap();
        assert_eq!((spec.min, spec.max, spec.allowed_values), (Some(0.0), Some(2.0), vec![0, 1, 2]));
        let provider = spec.provider.unwrap();
        assert_eq!((provider.name.as_str(), provider.metric.as_str()), ("other", "avg(x)"));
    }
}
