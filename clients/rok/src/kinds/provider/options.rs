//! Options of `rok core mp` and `rok core gmp`.

use clap::{Args, ValueEnum};

use crate::args::pair;

/// Types of metrics providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProviderType {
    /// A Prometheus server; needs --url
    Prometheus,
    /// Values written into the provider itself; needs --metric
    Static,
    /// A ksqlDB server; needs --url, --table, --comparison-column and --value-column
    Kafka,
    /// An InfluxDB 2 server; needs --url, --token, --org and --bucket
    Influx,
}

/// A new metrics provider.
#[derive(Debug, Args)]
pub(crate) struct NewProvider {
    /// Type of the provider
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    pub(crate) kind: ProviderType,
    #[command(flatten)]
    pub(crate) options: ProviderOptions,
}

/// What changes about a metrics provider.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub(crate) struct ProviderChange {
    #[command(flatten)]
    pub(crate) options: ProviderOptions,
    /// Remove all fixed values before any is added
    #[arg(long)]
    pub(crate) remove_existing_metrics: bool,
}

/// Options of all types; which ones are needed depends on the type.
#[derive(Clone, Default, PartialEq, Args)]
pub(crate) struct ProviderOptions {
    /// Base URL of the server
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// A metric and its fixed value
    #[arg(short, long = "metric", num_args = 2, value_names = ["NAME", "VALUE"], allow_negative_numbers = true)]
    pub(crate) metric_pairs: Vec<String>,
    /// Table that holds the metrics
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: Option<String>,
    /// Column that holds a metric's name
    #[arg(long, value_name = "COLUMN")]
    pub(crate) comparison_column: Option<String>,
    /// Column that holds a metric's value
    #[arg(long, value_name = "COLUMN")]
    pub(crate) value_column: Option<String>,
    /// Access token
    #[arg(long, env = "ROK_INFLUX_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// Organisation
    #[arg(long, value_name = "ORGANISATION")]
    pub(crate) org: Option<String>,
    /// Bucket
    #[arg(long, value_name = "BUCKET")]
    pub(crate) bucket: Option<String>,
}

impl ProviderOptions {
    /// The fixed values.
    pub(crate) fn metrics(&self) -> Result<Vec<(String, f64)>, String> {
        pair::numbers("--metric", &self.metric_pairs)
    }
}

/// Without the token.
impl std::fmt::Debug for ProviderOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProviderOptions").field("url", &self.url).finish_non_exhaustive()
    }
}
