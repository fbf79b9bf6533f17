//! Options of `rok kube app`.

use clap::{Args, ValueEnum};

use super::{Label, Target, Timeout};

const CREATE_EXAMPLES: &str = "Examples:
  rok kube app create -f echo-demo.yaml echo
  rok kube app create -f echo-demo.yaml -L 'location in (DE, FR)' -M 'load <= 3' echo --wait --timeout 2m
  helm template ./chart | rok kube app create -f - echo

Label constraints: 'location is DE', 'tier != edge', 'zone in (a, b)', 'zone not in (a, b)'.
Metric constraints: 'load <= 3', 'heat greater than 10'.";

// Headings are set per option: that of a flattened struct would go on to the options after it.
const CONSTRAINTS: &str = "Constraints";
const ATTEMPTS: &str = "Further attempts";
const DEPLOYMENT: &str = "Deployment";
const REMOVALS: &str = "Removal before anything is added";

const UPDATE_EXAMPLES: &str = "Examples:
  rok kube app update -f echo-demo.yaml echo --wait
  rok kube app update -l tier=edge -L 'location is FR' echo
  rok kube app update --remove-existing-label-constraints -L 'location is FR' echo
  rok kube app update --disable-migration echo

Labels and constraints that are given are added to what is there, unless --remove-existing-... is given too.
Everything else that is not given stays as it is.";

/// States that a creation can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CreateWait {
    /// Stored
    Pending,
    /// A cluster is chosen
    Creating,
    /// All workloads are available
    Running,
}

/// States that an update can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum UpdateWait {
    /// The change was seen and a cluster is chosen
    Reconciling,
    /// All workloads are available in the new form
    Running,
}

/// States that a deletion can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DeleteWait {
    /// Deletion has begun
    Deleting,
    /// It is gone
    Deleted,
}

/// Create an application.
#[derive(Debug, Args)]
#[command(after_help = CREATE_EXAMPLES)]
pub(crate) struct CreateApplication {
    /// YAML or JSON with Kubernetes objects, one per document, or a TOSCA template; "-" reads stdin
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: String,
    #[command(flatten)]
    pub(crate) constraints: Constraints,
    /// Label, for others to select by
    #[arg(short, long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<Label>,
    #[command(flatten)]
    pub(crate) deployment: Deployment,
    #[command(flatten)]
    pub(crate) backoff: Backoff,
    /// Wait until it is in this state [without STATE: running]
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "running", value_name = "STATE")]
    pub(crate) wait: Option<CreateWait>,
    #[command(flatten)]
    pub(crate) timeout: Timeout,
    #[command(flatten)]
    pub(crate) object: Target,
}

/// Change an application.
#[derive(Debug, Args)]
#[command(after_help = UPDATE_EXAMPLES)]
pub(crate) struct UpdateApplication {
    /// The new objects, in place of all old ones; "-" reads stdin
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<String>,
    #[command(flatten)]
    pub(crate) constraints: Constraints,
    /// Label to add, or to give another value
    #[arg(short, long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<Label>,
    #[command(flatten)]
    pub(crate) removals: ApplicationRemovals,
    #[command(flatten)]
    pub(crate) deployment: Deployment,
    #[command(flatten)]
    pub(crate) backoff: Backoff,
    /// Wait until it is in this state [without STATE: running]
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "running", value_name = "STATE")]
    pub(crate) wait: Option<UpdateWait>,
    #[command(flatten)]
    pub(crate) timeout: Timeout,
    #[command(flatten)]
    pub(crate) object: Target,
}

/// What an update removes before it adds.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct ApplicationRemovals {
    /// Remove all labels
    #[arg(help_heading = REMOVALS, id = "remove_labels", long = "remove-existing-labels")]
    pub(crate) labels: bool,
    /// Remove all label constraints
    #[arg(help_heading = REMOVALS, long = "remove-existing-label-constraints")]
    pub(crate) label_constraints: bool,
    /// Remove all resource constraints
    #[arg(help_heading = REMOVALS, long = "remove-existing-resource-constraints")]
    pub(crate) resource_constraints: bool,
    /// Remove all metric constraints
    #[arg(help_heading = REMOVALS, long = "remove-existing-metric-constraints")]
    pub(crate) metric_constraints: bool,
}

/// The order of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MigrationOrder {
    /// The old copy goes when the new one is available
    CreateFirst,
    /// The new copy comes when the old one is gone: for exclusive volumes and singletons
    DeleteFirst,
}

/// What becomes of fields that a cluster does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum UnknownFields {
    /// The object is refused
    Strict,
    /// They are left out, and the status names them
    Warn,
}

/// How the objects come to a cluster, and what is watched there.
#[derive(Debug, Default, Args)]
pub(crate) struct Deployment {
    /// YAML with an observer schema per object, one per document: which fields are watched and repaired
    #[arg(help_heading = DEPLOYMENT, short = 'O', long, value_name = "FILE")]
    pub(crate) observer_schema: Option<String>,
    /// What a migration does first [server's default: create-first]
    #[arg(help_heading = DEPLOYMENT, long, value_enum, value_name = "ORDER")]
    pub(crate) migration_strategy: Option<MigrationOrder>,
    /// Take over objects that exist on the cluster and have no owner; they are released, not deleted, at the end
    #[arg(
        help_heading = DEPLOYMENT,
        long,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_name = "BOOLEAN"
    )]
    pub(crate) adopt_existing: Option<bool>,
    /// What becomes of fields that a cluster's API server does not know, such as misspelt ones [server's default: strict]
    #[arg(help_heading = DEPLOYMENT, long, value_enum, value_name = "MODE")]
    pub(crate) field_validation: Option<UnknownFields>,
}

/// Which clusters are eligible.
#[derive(Debug, Default, Args)]
pub(crate) struct Constraints {
    /// What a cluster's labels must satisfy; all that are given hold
    #[arg(
        help_heading = CONSTRAINTS,
        id = "cluster_labels",
        short = 'L',
        long = "cluster-label-constraint",
        value_name = "CONSTRAINT"
    )]
    pub(crate) labels: Vec<String>,
    /// A custom resource definition that a cluster must offer, as plural.group
    #[arg(
        help_heading = CONSTRAINTS,
        id = "cluster_resources",
        short = 'R',
        long = "cluster-resource-constraint",
        value_name = "NAME"
    )]
    pub(crate) custom_resources: Vec<String>,
    /// What a cluster's metrics must satisfy
    #[arg(
        help_heading = CONSTRAINTS,
        id = "cluster_metrics",
        short = 'M',
        long = "cluster-metric-constraint",
        value_name = "CONSTRAINT"
    )]
    pub(crate) metrics: Vec<String>,
    /// Move the application when another cluster becomes better (what new applications do)
    #[arg(help_heading = CONSTRAINTS, long, conflicts_with = "disable_migration")]
    pub(crate) enable_migration: bool,
    /// Keep the application where it is
    #[arg(help_heading = CONSTRAINTS, long)]
    pub(crate) disable_migration: bool,
}

impl Constraints {
    /// Whether the application may move, if anything was said.
    pub(crate) fn migration(&self) -> Option<bool> {
        match (self.enable_migration, self.disable_migration) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        }
    }
}

/// Retries of a failing step.
#[derive(Debug, Default, Args)]
pub(crate) struct Backoff {
    /// Factor between attempts [server's default: 1]
    #[arg(help_heading = ATTEMPTS, long, value_name = "FACTOR", allow_negative_numbers = true)]
    pub(crate) backoff: Option<i32>,
    /// Seconds before the first further attempt [server's default: 1]
    #[arg(help_heading = ATTEMPTS,
        long = "backoff_delay",
        alias = "backoff-delay",
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    pub(crate) delay: Option<i32>,
    /// Attempts in all; -1 = no limit [server's default: -1]
    #[arg(help_heading = ATTEMPTS,
        long = "backoff_limit",
        alias = "backoff-limit",
        value_name = "COUNT",
        allow_negative_numbers = true
    )]
    pub(crate) limit: Option<i32>,
}
