//! Options that commands of all kinds share: which object, which namespace, how to show it.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::duration;

/// The namespace.
#[derive(Debug, Default, Args)]
pub(crate) struct Namespace {
    /// Namespace [default: `user` of the configuration, else system:admin]
    #[arg(short, long, env = "ROK_NAMESPACE", hide_env_values = true, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
}

/// How data is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Table,
    /// The API's JSON form; secrets are redacted
    Json,
    /// The same as YAML
    Yaml,
}

/// One object of a namespace.
#[derive(Debug, Args)]
pub(crate) struct Target {
    #[command(flatten)]
    pub(crate) namespace: Namespace,
    #[command(flatten)]
    pub(crate) target: GlobalTarget,
}

/// One object without a namespace.
#[derive(Debug, Args)]
pub(crate) struct GlobalTarget {
    /// How to show it
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
    /// Name
    pub(crate) name: String,
}

/// Showing an object of a namespace.
#[derive(Debug, Args)]
pub(crate) struct Get {
    #[command(flatten)]
    pub(crate) namespace: Namespace,
    #[command(flatten)]
    pub(crate) get: GlobalGet,
}

/// Showing an object.
#[derive(Debug, Args)]
pub(crate) struct GlobalGet {
    /// Go on with a line per change until the object is gone or Ctrl-C is pressed; with -o json one JSON value a line
    #[arg(short, long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) target: GlobalTarget,
}

/// The objects of a namespace, or of all.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) namespace: Namespace,
    /// Of all namespaces
    #[arg(short, long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) list: GlobalList,
}

/// The objects without a namespace.
#[derive(Debug, Args)]
pub(crate) struct GlobalList {
    /// A line per object, and one per change until Ctrl-C is pressed; with -o json one JSON value a line
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// How to show them
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
}

/// Deletion of an object of a namespace.
#[derive(Debug, Args)]
pub(crate) struct Delete<W: ValueEnum + Send + Sync + 'static> {
    #[command(flatten)]
    pub(crate) namespace: Namespace,
    #[command(flatten)]
    pub(crate) how: GlobalDelete<W>,
}

/// Deletion of an object.
#[derive(Debug, Args)]
pub(crate) struct GlobalDelete<W: ValueEnum + Send + Sync + 'static> {
    /// Delete what belongs to it too, on all levels, even what would only be released: for a cluster, its applications
    #[arg(long)]
    pub(crate) cascade: bool,
    /// Erase it at once, without cleaning up: its objects may still be on clusters. Krake later removes the objects of a
    /// deleted application; the objects on a deleted cluster stay. "kube cluster get" lists objects that Krake does not
    /// remove as orphans
    #[arg(long)]
    pub(crate) force: bool,
    /// Wait until it is in this state [without STATE: deleted]
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "deleted", value_name = "STATE")]
    pub(crate) wait: Option<W>,
    #[command(flatten)]
    pub(crate) timeout: Timeout,
    /// Name
    pub(crate) name: String,
}

/// Limit of a wait.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Timeout {
    /// Longest time that --wait waits, for example 30s or 10m
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration::parse)]
    pub(crate) timeout: Duration,
}
