//! Options of `rok kube cluster`.

use clap::{Args, ValueEnum};

use super::scope::Format;
use super::{Backoff, Label, Namespace, Target, Timeout, pair};

const REGISTER_EXAMPLES: &str = "Examples:
  rok kube cluster register -k ~/.kube/config --context kind-a -l location=DE
  minikube kubectl -- config view --flatten | rok kube cluster register -k - -c minikube --global-metric green 1.0
  rok kube cluster register -k /etc/rancher/k3s/k3s.yaml edge-1

The kubeconfig's server address must be one that Krake can reach. Certificates that it names as files are inlined.";

const REMOVALS: &str = "Removal before anything is added";

/// States that a registration can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClusterWait {
    /// Reachable and healthy
    Online,
}

/// Register an existing cluster.
#[derive(Debug, Args)]
#[command(after_help = REGISTER_EXAMPLES)]
pub(crate) struct RegisterCluster {
    /// The cluster's kubeconfig; "-" reads stdin
    #[arg(short, long, value_name = "FILE")]
    pub(crate) kubeconfig: String,
    /// Context of the kubeconfig; needed when it has several
    #[arg(short, long, value_name = "NAME")]
    pub(crate) context: Option<String>,
    #[command(flatten)]
    pub(crate) cluster: DescribeCluster,
    /// Wait until it is in this state [without STATE: online]
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "online", value_name = "STATE")]
    pub(crate) wait: Option<ClusterWait>,
    #[command(flatten)]
    pub(crate) timeout: Timeout,
    #[command(flatten)]
    pub(crate) namespace: Namespace,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
    /// Name [default: the cluster's name in the kubeconfig]
    pub(crate) name: Option<String>,
}

/// Change a cluster.
#[derive(Debug, Args)]
#[command(
    after_help = "Labels, metrics and lists that are given are added to what is there, unless --remove-existing-... is \
                  given too.\nEverything else that is not given stays as it is."
)]
pub(crate) struct UpdateCluster {
    /// The new kubeconfig; "-" reads stdin
    #[arg(short, long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<String>,
    /// Context of the kubeconfig; needed when it has several
    #[arg(short, long, value_name = "NAME", requires = "kubeconfig")]
    pub(crate) context: Option<String>,
    /// Accept that another Kubernetes cluster answers than the one that was registered: that one is declared lost, its
    /// applications are placed elsewhere, and a new registration of the same name begins
    #[arg(long)]
    pub(crate) accept_new_identity: bool,
    #[command(flatten)]
    pub(crate) cluster: DescribeCluster,
    #[command(flatten)]
    pub(crate) removals: ClusterRemovals,
    #[command(flatten)]
    pub(crate) object: Target,
}

/// Declare a cluster lost.
#[derive(Debug, Args)]
#[command(
    after_help = "Krake does nothing on the cluster any more, forgets the copies there, and places its applications \
                  elsewhere, whatever it sees of the cluster. This cannot be taken back: what still runs there goes \
                  on running beside the new copies. If the cluster comes back, delete it and register it anew; its \
                  status then lists the objects that are left."
)]
pub(crate) struct LostCluster {
    #[command(flatten)]
    pub(crate) object: Target,
}

/// What an update removes before it adds.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct ClusterRemovals {
    /// Remove all labels
    #[arg(help_heading = REMOVALS, id = "remove_labels", long = "remove-existing-labels")]
    pub(crate) labels: bool,
    /// Remove all metrics, global ones too
    #[arg(help_heading = REMOVALS, id = "remove_metrics", long = "remove-existing-metrics")]
    pub(crate) metrics: bool,
    /// Remove all custom resources
    #[arg(help_heading = REMOVALS, id = "remove_custom_resources", long = "remove-existing-custom-resources")]
    pub(crate) custom_resources: bool,
    /// Remove all further namespaces
    #[arg(help_heading = REMOVALS, id = "remove_allowed_namespaces", long = "remove-existing-allowed-namespaces")]
    pub(crate) allowed_namespaces: bool,
}

/// What is said of a cluster beside its address.
#[derive(Debug, Default, Args)]
pub(crate) struct DescribeCluster {
    /// Label, for the label constraints of applications
    #[arg(short, long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<Label>,
    /// Metric of the cluster's namespace that ranks it, and its weight in the score; negative: low values are good
    #[arg(long = "metric", num_args = 2, value_names = ["NAME", "WEIGHT"], allow_negative_numbers = true)]
    pub(crate) namespaced_pairs: Vec<String>,
    /// Global metric that ranks it, and its weight in the score; negative: low values are good
    #[arg(long = "global-metric", num_args = 2, value_names = ["NAME", "WEIGHT"], allow_negative_numbers = true)]
    pub(crate) global_pairs: Vec<String>,
    /// Custom resource definition that applications may ask for, as plural.group
    #[arg(short = 'R', long = "custom-resource", value_name = "NAME")]
    pub(crate) custom_resources: Vec<String>,
    /// Further namespace whose applications may run here; "*" = all
    #[arg(long = "allowed-namespace", value_name = "NAMESPACE")]
    pub(crate) allowed_namespaces: Vec<String>,
    /// Let it take applications although it is the same Kubernetes cluster as another one that is registered
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) allow_duplicate: Option<bool>,
    #[command(flatten)]
    pub(crate) backoff: Backoff,
}

/// A metric's name and weight, and whether it is of the cluster's namespace.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WeightedMetric {
    pub(crate) name: String,
    pub(crate) weight: f64,
    pub(crate) namespaced: bool,
}

impl DescribeCluster {
    /// The metrics of both options.
    pub(crate) fn metrics(&self) -> Result<Vec<WeightedMetric>, String> {
        let namespaced =
            pair::numbers("--metric", &self.namespaced_pairs)?.into_iter().map(|pair| (pair, true));
        let global =
            pair::numbers("--global-metric", &self.global_pairs)?.into_iter().map(|pair| (pair, false));
        let metric = |((name, weight), namespaced)| WeightedMetric { name, weight, namespaced };
        Ok(namespaced.chain(global).map(metric).collect())
    }
}
