//! Options of `rok core mp` and `rok core gmp`.

use clap::{Args, ValueEnum};

use super::pair;

const EXAMPLES: &str = "Examples:
  rok core gmp create --type prometheus --url http://localhost:9090 prom
  rok core mp create --type static -m electricity_cost 0.9 -m green_share 0.3 fixed
  rok core mp create --type kafka --url http://localhost:8088 --table metrics --comparison-column name \\
      --value-column value stream";

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

/// Create a metrics provider; `O` names it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CreateProvider<O: Args> {
    /// Type of the provider
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    pub(crate) kind: ProviderType,
    #[command(flatten)]
    pub(crate) options: ProviderOptions,
    #[command(flatten)]
    pub(crate) object: O,
}

/// Change a metrics provider; `O` names it.
#[derive(Debug, Args)]
#[command(after_help = "What is not given stays as it is; so does the type.")]
pub(crate) struct UpdateProvider<O: Args> {
    #[command(flatten)]
    pub(crate) change: ProviderChange,
    #[command(flatten)]
    pub(crate) object: O,
}

/// What changes about a metrics provider.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ProviderChange {
    #[command(flatten)]
    pub(crate) options: ProviderOptions,
    /// Remove all fixed values before any is added
    #[arg(long)]
    pub(crate) remove_existing_metrics: bool,
}

/// Options of all types; which ones are needed depends on the type.
#[derive(Clone, Default, Args)]
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
