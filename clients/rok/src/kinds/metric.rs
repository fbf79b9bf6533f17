//! Metrics: `rok core metric`, and `rok core gm` for those without a namespace.

use clap::Args;
use krake_proto::krake::core::v1::{Metric, MetricSource, MetricSpec};
use krake_proto::krake::meta::v1::Metadata;

use super::Managed;
use crate::commands::Fields;
use crate::failure::Failure;
use crate::output::{Columns, text};
use crate::progress::Progress;

/// Where a metric comes from and the range it lives in.
#[derive(Debug, Args)]
pub(crate) struct Range {
    /// Metrics provider: a global one for a global metric, else one of the same namespace
    #[arg(long = "mp-name", visible_alias = "gmp-name", value_name = "NAME")]
    pub(crate) provider: String,
    /// Smallest value that may come
    #[arg(long, allow_negative_numbers = true, value_name = "NUMBER")]
    pub(crate) min: f64,
    /// Largest value that may come
    #[arg(long, allow_negative_numbers = true, value_name = "NUMBER")]
    pub(crate) max: f64,
    /// What to ask the provider for, in its language [default: the metric's own name]
    #[arg(long, value_name = "QUERY")]
    pub(crate) metric_name: Option<String>,
    /// Only these values are valid, for example 0,1,2
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true, value_name = "VALUES")]
    pub(crate) allowed_values: Vec<i64>,
}

/// What changes about a metric.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub(crate) struct MetricChange {
    /// Another metrics provider
    #[arg(long = "mp-name", visible_alias = "gmp-name", value_name = "NAME")]
    pub(crate) provider: Option<String>,
    /// Smallest value that may come
    #[arg(long, allow_negative_numbers = true, value_name = "NUMBER")]
    pub(crate) min: Option<f64>,
    /// Largest value that may come
    #[arg(long, allow_negative_numbers = true, value_name = "NUMBER")]
    pub(crate) max: Option<f64>,
    /// What to ask the provider for, in its language
    #[arg(long, value_name = "QUERY")]
    pub(crate) metric_name: Option<String>,
    /// Further valid values, for example 3,4
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true, value_name = "VALUES")]
    pub(crate) allowed_values: Vec<i64>,
    /// Remove all valid values before any is added; without one, every value is valid
    #[arg(long)]
    pub(crate) remove_existing_allowed_values: bool,
}

impl Managed for Metric {
    const EXAMPLES: &'static str = "Examples:
  rok core gm create --gmp-name prom --min 0 --max 100 --metric-name 'avg(green_share)' green
  rok core metric create --mp-name static --min 0 --max 1 electricity_cost";
    type Create = Range;
    type Change = MetricChange;

    fn create(metadata: Metadata, range: Range) -> Result<Self, Failure> {
        let metric = range.metric_name.unwrap_or_else(|| metadata.name.clone());
        let spec = MetricSpec {
            min: Some(range.min),
            max: Some(range.max),
            provider: Some(MetricSource { name: range.provider, metric }),
            allowed_values: range.allowed_values,
        };
        Ok(Metric { metadata: Some(metadata), spec: Some(spec) })
    }

    fn change(&mut self, change: &MetricChange) -> Result<Vec<&'static str>, Failure> {
        let mut fields = Fields::default();
        let spec = self.spec.get_or_insert_default();
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
        Ok(fields.paths())
    }
}

impl Progress for Metric {}

impl Columns for Metric {
    const LIST: &'static [&'static str] = &["provider", "min", "max"];

    fn cells(&self) -> Vec<String> {
        let details = self.details();
        let cell =
            |name: &&str| details.iter().find(|(detail, _)| detail == name).map(|(_, text)| text.clone());
        Self::LIST.iter().filter_map(cell).collect()
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let spec = self.spec.clone().unwrap_or_default();
        let provider = spec.provider.unwrap_or_default();
        vec![
            ("provider", provider.name),
            ("metric", provider.metric),
            ("min", text::optional(spec.min)),
            ("max", text::optional(spec.max)),
            ("allowed_values", text::lines(spec.allowed_values)),
        ]
    }
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

    fn metric(range: Range) -> Metric {
        Metric::create(Metadata { name: "m".into(), ..Metadata::default() }, range).unwrap()
    }

    #[test]
    fn a_metric_is_asked_for_by_its_own_name_unless_told_otherwise() {
        let query = |range| metric(range).spec.unwrap().provider.unwrap().metric;
        assert_eq!(query(range(None)), "m");
        assert_eq!(query(range(Some("avg(x)"))), "avg(x)");
    }

    #[test]
    fn an_update_keeps_what_was_not_given() {
        let mut metric = metric(range(Some("avg(x)")));
        let change = MetricChange {
            max: Some(2.0),
            provider: Some("other".into()),
            allowed_values: vec![1, 2],
            ..MetricChange::default()
        };
        assert_eq!(
            metric.change(&change).unwrap(),
            ["spec.max", "spec.allowed_values", "spec.provider.name"]
        );
        let spec = metric.spec.unwrap();
        assert_eq!((spec.min, spec.max, spec.allowed_values), (Some(0.0), Some(2.0), vec![0, 1, 2]));
        let provider = spec.provider.unwrap();
        assert_eq!((provider.name.as_str(), provider.metric.as_str()), ("other", "avg(x)"));
    }
}
