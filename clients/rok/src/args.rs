//! The command line: what can be typed, and the help that teaches it.

mod application;
mod cluster;
pub(crate) mod pair;
mod scope;

pub(crate) use application::{
    ApplicationRemovals, Backoff, Constraints, CreateApplication, CreateWait, DeleteWait, Deployment,
    MigrationOrder, UnknownFields, UpdateApplication, UpdateWait,
};
pub(crate) use cluster::{
    ClusterRemovals, ClusterWait, DescribeCluster, LostCluster, RegisterCluster, UpdateCluster,
    WeightedMetric,
};
pub(crate) use pair::Label;
pub(crate) use scope::{
    Delete, Format, Get, GlobalDelete, GlobalGet, GlobalList, GlobalTarget, List, Namespace, Target, Timeout,
};

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use krake_proto::krake::core::v1::{Metric, MetricsProvider, Role, RoleBinding};

use crate::kinds::Managed;

const EXAMPLES: &str = "Examples:
  Register a cluster and look at it:
    rok kube cluster register -k ~/.kube/config --context kind-a -l location=DE
    rok kube cluster list

  Rank clusters by a metric of a Prometheus server (\"g\" stands for global):
    rok core gmp create --type prometheus --url http://localhost:9090 prom
    rok core gm create --gmp-name prom --min 0 --max 100 --metric-name 'avg(green_share)' green

  Run an application on the best cluster in Germany or France and wait for it:
    rok kube app create -f echo-demo.yaml -L 'location in (DE, FR)' echo --wait

  See where it runs and why, and follow it:
    rok kube app get echo
    rok kube app get -w echo

Configuration: rok.yaml in the current folder, in $XDG_CONFIG_HOME (or ~/.config) or in /etc/rok, with the keys
  api_url: http://127.0.0.1:7700     user: system:admin (the default namespace)
  tls: {enabled: true, client_ca: ca.pem, client_cert: cert.pem, client_key: key.pem}
Flags go before environment variables, those before the file.

Exit codes: 0 done, also when Ctrl-C ends --watch; 1 error; 2 wrong usage; 3 --wait ran out of time.";

const COMPLETION_EXAMPLES: &str = "Examples:
  source <(rok completion bash)
  rok completion zsh > \"${fpath[1]}/_rok\"
  rok completion fish > ~/.config/fish/completions/rok.fish";

/// Work with Krake: applications, the clusters they run on, and the metrics that rank clusters.
#[derive(Debug, Parser)]
#[command(name = "rok", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Rok {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How to reach the server.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// Configuration file [default: rok.yaml here, in ~/.config or in /etc/rok]
    #[arg(long, global = true, env = "ROK_CONFIG", hide_env_values = true, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    /// URL of the state service [default: http://127.0.0.1:7700]
    #[arg(long, global = true, env = "KRAKE_API_URL", hide_env_values = true, value_name = "URL")]
    pub(crate) api_url: Option<String>,
    /// PEM file with the authorities that may vouch for the server [default: those of the system]
    #[arg(long, global = true, env = "ROK_CLIENT_CA", hide_env_values = true, value_name = "PATH")]
    pub(crate) client_ca: Option<PathBuf>,
    /// PEM file with the certificate that identifies you
    #[arg(long, global = true, env = "ROK_CLIENT_CERT", hide_env_values = true, value_name = "PATH")]
    pub(crate) client_cert: Option<PathBuf>,
    /// PEM file with the key of that certificate
    #[arg(long, global = true, env = "ROK_CLIENT_KEY", hide_env_values = true, value_name = "PATH")]
    pub(crate) client_key: Option<PathBuf>,
    /// OpenTelemetry collector (OTLP over gRPC, http://host:port) that receives the trace of this command
    #[arg(
        long,
        global = true,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub(crate) otlp_endpoint: Option<String>,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one in a process")]
pub(crate) enum Command {
    #[command(flatten)]
    Remote(Remote),
    /// Print a script that completes rok's commands and options in a shell
    #[command(after_help = COMPLETION_EXAMPLES)]
    Completion(Completion),
    /// Print the version
    Version,
}

/// Commands that call the server.
#[derive(Debug, Subcommand)]
pub(crate) enum Remote {
    /// Applications and clusters on Kubernetes
    #[command(subcommand, name = "kube", visible_alias = "kubernetes", arg_required_else_help = true)]
    Kube(Kube),
    /// Metrics, their providers, roles and role bindings
    #[command(subcommand, arg_required_else_help = true)]
    Core(Core),
}

/// Which shell to complete in.
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: CompletionShell,
}

/// Shells that completion is known for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompletionShell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Kube {
    /// What runs: Kubernetes manifests that Krake places on the best cluster
    #[command(subcommand, name = "app", visible_alias = "application", arg_required_else_help = true)]
    Application(ApplicationCommand),
    /// Where it runs: Kubernetes clusters, by their kubeconfig
    #[command(subcommand, arg_required_else_help = true)]
    Cluster(ClusterCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ApplicationCommand {
    /// Create an application
    Create(Box<CreateApplication>),
    /// Show an application
    Get(Get),
    /// List applications
    List(List),
    /// Change an application; what is not given stays
    Update(Box<UpdateApplication>),
    /// Delete an application and what it runs on clusters
    Delete(Delete<DeleteWait>),
    /// Try at once again what failed, as for a new spec: on its cluster, and on others after that
    Retry(Target),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Register an existing cluster by its kubeconfig
    Register(Box<RegisterCluster>),
    /// Show a cluster
    Get(Get),
    /// List clusters
    List(List),
    /// Change a cluster; what is not given stays
    Update(Box<UpdateCluster>),
    /// Declare that a cluster, and all that ran on it, is gone: its applications are placed elsewhere
    Lost(LostCluster),
    /// Forget a cluster; its applications move elsewhere first
    Delete(Delete<DeleteWait>),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Core {
    /// Metrics that every namespace may use
    #[command(subcommand, name = "gm", visible_alias = "globalmetric", arg_required_else_help = true)]
    GlobalMetric(GlobalCommand<Metric>),
    /// Metrics providers that global metrics ask
    #[command(
        subcommand,
        name = "gmp",
        visible_alias = "globalmetricsprovider",
        arg_required_else_help = true
    )]
    GlobalMetricsProvider(GlobalCommand<MetricsProvider>),
    /// Metrics of one namespace
    #[command(subcommand, arg_required_else_help = true)]
    Metric(NamespacedCommand<Metric>),
    /// Metrics providers that the metrics of their namespace ask
    #[command(subcommand, name = "mp", visible_alias = "metricsprovider", arg_required_else_help = true)]
    MetricsProvider(NamespacedCommand<MetricsProvider>),
    /// Roles: what their users may do; not enforced yet
    #[command(subcommand, arg_required_else_help = true)]
    Role(GlobalCommand<Role>),
    /// Role bindings: who holds which roles; not enforced yet
    #[command(subcommand, name = "rolebinding", visible_alias = "rb", arg_required_else_help = true)]
    RoleBinding(GlobalCommand<RoleBinding>),
}

/// Commands of a kind in a namespace.
#[derive(Debug, Subcommand)]
pub(crate) enum NamespacedCommand<K: Managed> {
    /// Create one
    Create(Create<K, Target>),
    /// Change one; what is not given stays
    Update(Update<K, Target>),
    #[command(flatten)]
    Standard(Standard),
}

/// Creation of an object of kind `K`; `O` names it.
#[derive(Debug, Args)]
#[command(after_help = K::EXAMPLES)]
pub(crate) struct Create<K: Managed, O: Args> {
    #[command(flatten)]
    pub(crate) options: K::Create,
    #[command(flatten)]
    pub(crate) object: O,
}

/// Change of an object of kind `K`; `O` names it.
#[derive(Debug, Args)]
#[command(after_help = K::UPDATE)]
pub(crate) struct Update<K: Managed, O: Args> {
    #[command(flatten)]
    pub(crate) change: K::Change,
    #[command(flatten)]
    pub(crate) object: O,
}

/// Commands that are the same for all kinds in a namespace.
#[derive(Debug, Subcommand)]
pub(crate) enum Standard {
    /// Show one
    Get(Get),
    /// List them
    List(List),
    /// Delete one
    Delete(Delete<DeleteWait>),
}

/// Commands of a kind without namespaces.
#[derive(Debug, Subcommand)]
pub(crate) enum GlobalCommand<K: Managed> {
    /// Create one
    Create(Create<K, GlobalTarget>),
    /// Change one; what is not given stays
    Update(Update<K, GlobalTarget>),
    #[command(flatten)]
    Standard(GlobalStandard),
}

/// Commands that are the same for all kinds without namespaces.
#[derive(Debug, Subcommand)]
pub(crate) enum GlobalStandard {
    /// Show one
    Get(GlobalGet),
    /// List them
    List(GlobalList),
    /// Delete one
    Delete(GlobalDelete<DeleteWait>),
}

#[cfg(test)]
#[path = "args/tests.rs"]
mod tests;
