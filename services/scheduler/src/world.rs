//! The world as the scheduler sees it: plain values, without messages, clocks or connections.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use krake_client::{ApplicationUid, ClusterUid, NamespacedName};
use krake_proto::constraint::{LabelConstraint, MetricConstraint};

use crate::handover::{Copy, FailedAttempt, FailedHandover};
use crate::metrics::MetricError;
use crate::retry::{Attempts, Backoff};
use crate::score::{Assessment, rendezvous_key};

/// An application, as far as its placement is concerned.
#[derive(Clone, Debug)]
pub struct Application {
    /// Namespace and name.
    pub key: NamespacedName,
    /// Identity over renames and re-creations.
    pub uid: ApplicationUid,
    /// `metadata.generation`.
    pub generation: i64,
    /// `status.scheduled_generation`: the generation that the binding was made or confirmed for.
    pub scheduled_generation: i64,
    /// What a cluster must satisfy. Shared: many applications ask for the same.
    pub constraints: Arc<Constraints>,
    /// `spec.constraints.migration`: whether a running application may move.
    pub migration: bool,
    /// The application is being deleted.
    pub deleted: bool,
    /// Where it is bound now.
    pub binding: Option<Binding>,
    /// What runs of it, bound or not.
    pub copies: Vec<Copy>,
    /// Handovers of the present spec that failed, as far as they are on record.
    pub failed_handovers: Vec<FailedHandover>,
    /// Number of retries that users requested so far.
    pub retry_requests: i64,
    /// Attempts at the present spec that were given up.
    pub failed_attempts: Vec<FailedAttempt>,
    /// `spec.backoff` and its neighbours.
    pub backoff: Backoff,
    /// Attempts to find a cluster, if the last one failed.
    pub attempts: Option<Attempts>,
    /// It claims volumes, whose data a move leaves behind, and the user did not say how it moves.
    pub holds_data: bool,
    /// `spec.min_gain`: by how much another cluster's score must be higher to draw it away. Finite, not negative.
    pub min_gain: f64,
    /// `spec.min_residency`: how long it stays before another cluster can draw it away.
    pub min_residency: Option<Duration>,
}

/// The cluster that an application is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// uid of the cluster.
    pub cluster_uid: ClusterUid,
    /// Since when.
    pub bound: Timestamp,
}

/// What a cluster must satisfy; all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Constraints {
    /// On the cluster's labels.
    pub labels: Vec<LabelConstraint>,
    /// Custom resource definitions that it must offer, as `plural.group`.
    pub custom_resources: Vec<String>,
    /// On the raw values of the cluster's metrics.
    pub metrics: Vec<MetricConstraint>,
}

/// A cluster, as far as placement is concerned.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Namespace and name.
    pub key: NamespacedName,
    /// Identity over renames and re-creations.
    pub uid: ClusterUid,
    /// What label constraints look at.
    pub labels: BTreeMap<String, String>,
    /// What the cluster is fit for, metrics aside: these the world judges by itself.
    pub state: ClusterState,
    /// Whether the cluster is there to stay.
    pub lifecycle: Lifecycle,
    /// Namespaces besides its own whose applications may run here; `*` = all.
    pub allowed_namespaces: Vec<String>,
    /// Custom resource definitions on offer, as `plural.group`.
    pub custom_resources: Vec<String>,
    /// The metrics that rank the cluster.
    pub metrics: Vec<MetricRef>,
}

impl Cluster {
    /// Whether applications of `namespace` may run here.
    pub fn serves(&self, namespace: &str) -> bool {
        self.key.namespace == namespace
            || self.allowed_namespaces.iter().any(|allowed| allowed == "*" || allowed == namespace)
    }
}

/// What a cluster is fit for. Only an online cluster takes new applications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterState {
    /// Reachable and healthy.
    Online,
    /// Does not answer since then.
    Offline {
        /// When it was found not to answer.
        since: Timestamp,
    },
    /// Answers, but not as a Kubernetes API that works, since then.
    Broken {
        /// When that began.
        since: Timestamp,
    },
    /// Refuses Krake's credentials since then: its applications run on, as far as can be told.
    Unauthorized {
        /// When that began.
        since: Timestamp,
    },
    /// Not reachable for Krake alone, as far as can be told: its applications run on and stay.
    Inaccessible,
    /// Answers again; not yet looked at.
    Connecting,
    /// A node reports pressure.
    Unhealthy,
    /// A node is not ready.
    NotReady,
    /// Anything else: being created or changed, failed, unknown.
    Unavailable,
}

impl ClusterState {
    /// Whether Krake can do nothing there at present.
    pub fn is_unreachable(self) -> bool {
        use ClusterState::{Broken, Inaccessible, Offline, Unauthorized};
        matches!(self, Offline { .. } | Broken { .. } | Unauthorized { .. } | Inaccessible)
    }
}

/// Whether a cluster is there to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// It is.
    Active,
    /// Its applications are to move away.
    Draining,
    /// It is being deleted, or was declared lost: its applications must leave.
    Deleted,
    /// It is being deleted together with its applications: they stay where they are until they are gone.
    Cascading,
}

impl Lifecycle {
    /// Whether the cluster is being deleted, with its applications or without.
    pub fn is_deleted(self) -> bool {
        matches!(self, Lifecycle::Deleted | Lifecycle::Cascading)
    }
}

/// Use of a metric by a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricRef {
    /// Name of the metric; metric constraints name it so, too.
    pub name: String,
    /// Share in the score. Negative: low values are good.
    pub weight: f64,
    /// A metric of the cluster's namespace; otherwise a global one.
    pub namespaced: bool,
}

/// A metric: where its value comes from and the range it lives in.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricDefinition {
    /// Smallest valid value; 0 in scores.
    pub min: f64,
    /// Largest valid value; 1 in scores.
    pub max: f64,
    /// If not empty, only these values are valid.
    pub allowed_values: Vec<i64>,
    /// Name of the provider, in the namespace of the metric (global for a global metric).
    pub provider: String,
    /// What to ask the provider for, in its language.
    pub query: String,
}

/// A value as a provider reported it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// The number; finite.
    pub value: f64,
    /// How long ago it was read.
    pub age: Duration,
}

/// What is known of the metric values: per provider, per query. A provider that is missing does not exist; a
/// query that is missing has not been put to it yet.
pub type Readings = HashMap<NamespacedName, HashMap<String, Result<Reading, MetricError>>>;

/// A snapshot of everything that decisions depend on, with the clusters already ranked.
#[derive(Debug)]
pub struct World {
    revision: i64,
    ranked: Vec<RankedCluster>,
    by_uid: HashMap<ClusterUid, usize>,
    erased: HashSet<ClusterUid>,
}

/// A cluster, what its metrics say, and its part in the rendezvous hash.
#[derive(Debug)]
pub(crate) struct RankedCluster {
    pub(crate) cluster: Cluster,
    pub(crate) assessment: Assessment,
    pub(crate) rendezvous: u64,
}

impl World {
    /// Judges the metrics of every cluster and ranks the clusters.
    ///
    /// `revision` is the store revision that the snapshot shows. `erased` holds uids of clusters that are known to
    /// be gone for good (a DELETED event, a tombstone): that a uid is merely missing in `clusters` proves nothing.
    pub fn new(
        revision: i64,
        clusters: Vec<Cluster>,
        definitions: &HashMap<NamespacedName, MetricDefinition>,
        readings: &Readings,
        erased: HashSet<ClusterUid>,
    ) -> Self {
        let mut ranked: Vec<_> = clusters
            .into_iter()
            .map(|cluster| RankedCluster {
                assessment: Assessment::of(&cluster, definitions, readings),
                rendezvous: rendezvous_key(cluster.uid.as_str()),
                cluster,
            })
            .collect();
        ranked.sort_by(|a, b| {
            b.assessment.rank().cmp(&a.assessment.rank()).then_with(|| a.cluster.uid.cmp(&b.cluster.uid))
        });
        let by_uid =
            ranked.iter().enumerate().map(|(rank, entry)| (entry.cluster.uid.clone(), rank)).collect();
        Self { revision, ranked, by_uid, erased }
    }

    /// The store revision that the snapshot shows.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Every cluster with what its metrics say, best first.
    pub fn clusters(&self) -> impl Iterator<Item = (&Cluster, &Assessment)> {
        self.ranked.iter().map(|entry| (&entry.cluster, &entry.assessment))
    }

    pub(crate) fn ranked(&self) -> &[RankedCluster] {
        &self.ranked
    }

    pub(crate) fn rank_of(&self, uid: &ClusterUid) -> Option<usize> {
        self.by_uid.get(uid).copied()
    }

    pub(crate) fn is_erased(&self, uid: &ClusterUid) -> bool {
        self.erased.contains(uid)
    }
}
