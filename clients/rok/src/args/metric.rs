//! Options of `rok core metric` and `rok core gm`.

use clap::Args;

const EXAMPLES: &str = "Examples:
  rok core gm create --gmp-name prom --min 0 --max 100 --metric-name 'avg(green_share)' green
  rok core metric create --mp-name static --min 0 --max 1 electricity_cost";

/// Create a metric; `O` names it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CreateMetric<O: Args> {
    #[command(flatten)]
    pub(crate) range: Range,
    #[command(flatten)]
    pub(crate) object: O,
}

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

/// Change a metric; `O` names it.
#[derive(Debug, Args)]
#[command(after_help = "What is not given stays as it is.")]
pub(crate) struct UpdateMetric<O: Args> {
    #[command(flatten)]
    pub(crate) change: MetricChange,
    #[command(flatten)]
    pub(crate) object: O,
}

/// What changes about a metric.
#[derive(Debug, Clone, Default, Args)]
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
