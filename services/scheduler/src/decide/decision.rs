//! What a decision can say.

use std::collections::BTreeMap;

use jiff::Timestamp;
use krake_client::{ClusterUid, NamespacedName};

use crate::filter::Rejection;
use crate::retry::Retry;

/// What is to be done with an application.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Bind it to another cluster than before.
    Bind(Box<Choice>),
    /// Leave it where it is.
    Keep {
        /// Why.
        reason: KeepReason,
        /// The present generation is to be recorded as scheduled, so that the adapter applies it.
        confirm_generation: bool,
    },
    /// Leave it where it is and decide again at that time at the latest.
    KeepUntil {
        /// When the reason ends.
        time: Timestamp,
        /// Why.
        reason: KeepReason,
        /// The present generation is to be recorded as scheduled, so that the adapter applies it.
        confirm_generation: bool,
    },
    /// No cluster comes into question (NO_SUITABLE_RESOURCE).
    Unschedulable(Box<Deadlock>),
}

/// A placement and how it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The cluster to bind to.
    pub cluster: ScoredCluster,
    /// Why the application is to be there and no longer where it was.
    pub reason: BindReason,
    /// uid of the cluster that it is bound to so far.
    pub replaces: Option<ClusterUid>,
    /// The next best, if there is one; it may be the cluster it is bound to so far.
    pub runner_up: Option<ScoredCluster>,
    /// The best five, best first.
    pub top: Vec<ScoredCluster>,
    /// How many clusters were rejected for which reason.
    pub rejected: BTreeMap<Rejection, u32>,
    /// Revision of the world.
    pub world_revision: i64,
}

/// A cluster and its score for the application.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredCluster {
    /// Namespace and name.
    pub key: NamespacedName,
    /// uid.
    pub uid: ClusterUid,
    /// The score, stickiness included.
    pub score: f64,
}

/// Why an application is to be bound elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindReason {
    /// It was not bound.
    FirstPlacement,
    /// Another cluster has the higher score.
    BetterCluster,
    /// Its cluster no longer satisfies its constraints.
    NoLongerMatches(Rejection),
    /// Its cluster is being drained.
    ClusterDraining,
    /// Its cluster is being deleted, or is gone.
    ClusterDeleted,
    /// Its cluster is OFFLINE longer than the grace period.
    ClusterOffline,
    /// Its copy on the bound cluster failed, and another one still runs.
    HandoverFailed,
    /// Its copy on the bound cluster failed, and nothing of it runs: the attempt of this number.
    NextCandidate(u32),
    /// It failed on all clusters that it may be tried on: it rests on the best of them.
    AllCandidatesFailed,
}

/// Why an application stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepReason {
    /// It is being deleted: no business of the scheduler.
    ApplicationDeleted,
    /// Nothing is known of its cluster, not even that it is gone.
    ClusterUnknown,
    /// Its cluster is being deleted, and the deletion includes it.
    ClusterCascading,
    /// It may not migrate.
    MigrationDisabled,
    /// Its cluster does not answer, but may come back.
    ClusterOffline,
    /// Krake has no access to its cluster, where it runs on as far as can be told.
    ClusterInaccessible,
    /// It was bound a short time ago.
    RecentlyScheduled,
    /// Its cluster cannot be compared with others at present.
    MetricsUnavailable,
    /// Another cluster has a higher score, but the application is still being handed over or brought up.
    HandoverUnderWay,
    /// Another cluster has a higher score, but the data in its volumes would stay behind.
    HoldsData,
    /// No candidate has a higher score, or one that is higher by enough.
    Best,
    /// Its copy failed, another one still runs, and there is no other way.
    HandoverFailed,
    /// Its copy failed here and on all other clusters that it may be tried on.
    AllCandidatesFailed,
    /// Its attempts are used up: FAILED until the user changes its spec.
    GivenUp,
    /// There is no candidate yet, but some clusters' metrics are still to be read for the first time.
    MetricsPending,
}

impl KeepReason {
    /// Whether the question where the application belongs is answered, for now: a complaint that there is no cluster
    /// can be taken back.
    pub(crate) fn is_settled(self) -> bool {
        match self {
            Self::ApplicationDeleted
            | Self::ClusterUnknown
            | Self::ClusterCascading
            | Self::GivenUp
            | Self::MetricsPending => false,
            Self::MigrationDisabled
            | Self::ClusterOffline
            | Self::ClusterInaccessible
            | Self::RecentlyScheduled
            | Self::MetricsUnavailable
            | Self::HandoverUnderWay
            | Self::HoldsData
            | Self::Best
            | Self::AllCandidatesFailed
            | Self::HandoverFailed => true,
        }
    }
}

/// An application without a candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Deadlock {
    /// What becomes of it.
    pub outcome: Outcome,
    /// For people: what was looked for, and why each cluster was rejected.
    pub message: String,
    /// How many clusters were rejected for which reason.
    pub rejected: BTreeMap<Rejection, u32>,
    /// Attempts that are left. Exhausted: it counts as FAILED until the user changes its spec.
    pub retry: Retry,
    /// When to decide again though nothing changed.
    pub again: Option<Timestamp>,
    /// The present generation is to be recorded as scheduled: the cluster it stays on satisfies it.
    pub confirm_generation: bool,
    /// Revision of the world.
    pub world_revision: i64,
}

/// What becomes of an application without a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is not bound and waits: PENDING.
    Wait,
    /// It stays where it is, and should not be there for that reason: DEGRADED.
    Stay(BindReason),
    /// Its cluster goes: the binding is removed and it waits, PENDING.
    Release,
}
