//! The metric that `rok core metric create` and `rok core gm create` describe.

use krake_proto::krake::core::v1::{Metric, MetricSource, MetricSpec};
use krake_proto::krake::meta::v1::Metadata;

use crate::args::Range;

/// A global one if the namespace is empty.
pub(super) fn metric(namespace: String, name: String, range: Range) -> Metric {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_asked_for_by_its_own_name_unless_told_otherwise() {
        let range = |metric_name: Option<&str>| Range {
            provider: "p".into(),
            min: 0.0,
            max: 1.0,
            metric_name: metric_name.map(str::to_owned),
            allowed_values: Vec::new(),
        };
        let query = |metric: Metric| metric.spec.unwrap().provider.unwrap().metric;
        assert_eq!(query(metric(String::new(), "m".into(), range(None))), "m");
        assert_eq!(query(metric(String::new(), "m".into(), range(Some("avg(x)")))), "avg(x)");
    }
}
