//! What the planner knows of one application.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use krake_proto::condition::bounded;

use super::works::{Aim, Basis, Work};

use crate::failure::Class;
use crate::object::health::ContainerHealth;
use crate::object::observation::Observation;
use crate::object::rendering::{DocumentHash, DocumentSet};
use crate::object::{ClusterUid, InventoryEntry, ObjectKey, keys};

/// Maximum number of objects that are named as used.
const NAMED_USES: usize = 5;

/// How far a copy is, as recorded in Krake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Recorded; objects may or may not exist.
    Intended,
    /// Applied; workloads not yet available.
    Applying,
    /// All workloads are, or were, available.
    Running,
    /// Its first attempt failed: it could not be applied, or did not become available in time.
    Failed,
    /// Objects are being removed.
    Removing,
}

/// The order of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The old copy goes when the new one is available.
    CreateFirst,
    /// The new copy comes when the old one is gone.
    DeleteFirst,
}

/// The answer to a condition's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// Yes.
    True,
    /// No.
    False,
    /// Cannot be told at present.
    Unknown,
}

/// Why a condition has its answer, for programs. Named as in the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Needs no explanation.
    Unspecified,
    /// An object belongs to somebody else.
    ObjectOwnedByOther,
    /// The API server refused an object, or cannot take it at present.
    KubernetesError,
    /// The cluster does not know a kind.
    UnsupportedResource,
    /// A manifest cannot be understood.
    InvalidResource,
    /// Workloads are still starting.
    Progressing,
    /// Workloads are still starting, and pods say what keeps them from it.
    NotStarting,
    /// Workloads did not become available in time, or reported failure.
    DeadlineExceeded,
    /// The cluster does not answer.
    ClusterNotReachable,
    /// A workload that was available is not any more.
    Unhealthy,
    /// Objects of a copy that is being removed are not gone yet.
    WaitingForRemoval,
    /// Objects were left on the cluster, since they hold what is not the application's.
    Released,
    /// Objects that are not the application's are used.
    Used,
    /// The API server warned of the manifest.
    Warnings,
    /// The API server could not validate the manifest.
    NotValidated,
}

impl Reason {
    /// Whether workloads are still starting.
    pub fn is_starting(self) -> bool {
        matches!(self, Self::Progressing | Self::NotStarting)
    }
}

/// A condition of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The answer.
    pub truth: Truth,
    /// Why, for programs.
    pub reason: Reason,
    /// Why, for people; no longer than a condition can hold.
    pub message: String,
}

impl Answer {
    /// Yes, with nothing to explain.
    pub fn yes() -> Self {
        Self { truth: Truth::True, reason: Reason::Unspecified, message: String::new() }
    }

    /// Yes, all could be applied; which objects were there before and are only used.
    pub fn applied(used: &[ObjectKey]) -> Self {
        let names: Vec<_> = used.iter().take(NAMED_USES).map(ObjectKey::to_string).collect();
        let names = match used.len().saturating_sub(NAMED_USES) {
            _ if used.is_empty() => return Self::yes(),
            0 => names.join(", "),
            more => format!("{} and {more} more", names.join(", ")),
        };
        let message =
            format!("used as it is, since it is not the application's, and left at the end: {names}");
        Self { truth: Truth::True, ..Self::no(Reason::Used, message) }
    }

    /// No, and why.
    pub fn no(reason: Reason, message: impl Into<String>) -> Self {
        Self { truth: Truth::False, reason, message: bounded(message.into()) }
    }

    /// It cannot be told, and why.
    pub fn unknown(reason: Reason, message: impl Into<String>) -> Self {
        Self { truth: Truth::Unknown, reason, message: bounded(message.into()) }
    }
}

/// A copy as recorded in Krake, or as it is to be recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyRecord {
    /// Where.
    pub cluster: ClusterUid,
    /// How far.
    pub phase: Phase,
    /// When `phase` last changed. Filled by the state service.
    pub since: Timestamp,
    /// Generation that was last applied, or finally could not be; 0 = none.
    pub observed_generation: i64,
    /// Precondition of the next write; 0 = there is no record yet. Filled by the state service.
    pub version: i64,
    /// Every object that may exist.
    pub inventory: Vec<InventoryEntry>,
    /// Condition: could all objects be applied?
    pub applied: Answer,
    /// Condition: are all workloads available?
    pub available: Answer,
    /// Condition: was all of the manifest validated, without a warning? Unspecified before its first write.
    pub validated: Answer,
    /// Counts of pods.
    pub containers: ContainerHealth,
    /// Address per Service.
    pub services: BTreeMap<String, String>,
    /// Where the reason lies why the copy is FAILED; `None` in all other phases, and if it is not known.
    pub failure: Option<Class>,
    /// The retry request of the application that the last attempt was made for.
    pub retry_request: i64,
    /// The documents of which every object was accepted last.
    pub applied_work: Option<Work>,
    /// The documents that are being applied.
    pub intended_work: Option<Work>,
    /// Jobs that ran to their end, and the set of documents that they were objects of.
    pub completed: BTreeMap<ObjectKey, DocumentHash>,
    /// How far the attempt at it is, while one goes on.
    pub attempt: Option<RecordedAttempt>,
}

impl CopyRecord {
    /// The first record of a copy.
    pub fn intended(cluster: &ClusterUid, now: Timestamp) -> Self {
        Self {
            cluster: cluster.clone(),
            phase: Phase::Intended,
            since: now,
            observed_generation: 0,
            version: 0,
            inventory: Vec::new(),
            applied: Answer::unknown(Reason::Unspecified, ""),
            available: Answer::unknown(Reason::Unspecified, ""),
            validated: Answer::unknown(Reason::Unspecified, ""),
            containers: ContainerHealth::default(),
            services: BTreeMap::new(),
            failure: None,
            retry_request: 0,
            applied_work: None,
            intended_work: None,
            completed: BTreeMap::new(),
            attempt: None,
        }
    }

    /// That all is accepted, and which objects are used. What was left on the cluster is said as long as the same documents
    /// are applied.
    pub(super) fn accepted(&self, used: &[ObjectKey]) -> Answer {
        match (self.applied.truth, self.applied.reason) {
            (Truth::True, Reason::Released) => self.applied.clone(),
            _ => Answer::applied(used),
        }
    }

    /// Whether this copy runs, or ran: then it cannot become FAILED.
    pub(super) fn ran(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Whether every object is in the inventory.
    pub(super) fn covers(&self, objects: &[ObjectKey]) -> bool {
        let recorded = keys(&self.inventory);
        objects.iter().all(|key| recorded.contains(key))
    }
}

/// What can be said about a cluster, for this application.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterView {
    /// What is seen there.
    pub presence: Presence,
    /// How long the cluster has answered without showing the copy.
    pub unseen: Duration,
    /// Whether an admission webhook was in the way when the wanted documents were applied last.
    pub webhook: bool,
    /// For how long looks have left an object hidden.
    pub hidden: Duration,
    /// What `presence` was compared with, and what a repair would apply.
    pub basis: Basis,
    /// The documents of the application's present manifest as this cluster would get them, if that can be told.
    pub wanted: Option<DocumentSet>,
    /// The objects of `wanted`, or why they cannot be applied.
    pub targets: Targets,
    /// Jobs of `wanted` that are to run there whatever ran elsewhere.
    pub every_cluster: BTreeSet<ObjectKey>,
    /// Whether an autoscaler of the application decides on the replicas of a workload of `wanted`.
    pub scaled: bool,
    /// For recorded sets that were written by other rules than today's: the hash that their documents have today.
    pub today: BTreeMap<DocumentHash, DocumentHash>,
    /// How long to wait before a copy is recorded anew because those rules changed.
    pub renewal: Duration,
    /// The present attempt at the copy.
    pub attempt: Attempt,
    /// Objects whose repair the cluster refuses, and how long to wait before each is tried again.
    pub refused: BTreeMap<ObjectKey, Duration>,
}

/// How far the present attempt at a copy is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// How long the cluster has answered since the attempt began, by the adapter's monotonic clock.
    pub elapsed: Duration,
    /// How long to wait before the wanted documents are applied.
    pub pause: Duration,
    /// How long to wait before the copy is repaired.
    pub repair_pause: Duration,
    /// What is to be recorded of it; `None` if no attempt goes on.
    pub record: Option<RecordedAttempt>,
    /// When that is due, if nothing else is recorded before.
    pub record_in: Option<Duration>,
}

/// How far an attempt is, as recorded with its copy: in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedAttempt {
    /// What is attempted.
    pub aim: Aim,
    /// The retry request that it is made for.
    pub retry: i64,
    /// How long the cluster has answered since it began.
    pub elapsed: Duration,
}

impl Attempt {
    /// A record with how far the attempt at it is.
    pub fn kept_in(&self, copy: CopyRecord) -> CopyRecord {
        let attempt =
            self.record.filter(|record| copy.phase != Phase::Removing && record.aim.is_awaited(&copy));
        CopyRecord { attempt, ..copy }
    }
}

impl ClusterView {
    /// Whether an object is missing or changed whose repair is not refused.
    pub(super) fn has_repairs(&self, seen: &Observation) -> bool {
        let mut troubled = seen.missing.iter().chain(&seen.drifted);
        troubled.any(|key| !self.refused.contains_key(key))
    }
}

/// What is seen on a cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum Presence {
    /// A record says that the cluster was erased from Krake or declared lost, so Krake no longer reaches it.
    Erased,
    /// It does not answer, or its kubeconfig cannot be used; why.
    Unreachable(String),
    /// It answers, but its watches have not told everything yet.
    Unseen,
    /// What its watches tell.
    Seen(Box<Observation>),
}

/// The objects that a manifest means on a cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// These.
    Known(Vec<ObjectKey>),
    /// None: only another manifest, or another cluster, helps.
    Impossible(Reason, String),
    /// Cannot be told at present; why. Empty: the cluster was not asked yet.
    Unknown(String),
}

/// What the planner decides on.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The application is being deleted.
    pub deleted: bool,
    /// Generation of its spec.
    pub generation: i64,
    /// Generation that the bindings were decided for; 0 = never decided.
    pub scheduled_generation: i64,
    /// Number of retries that were requested so far.
    pub retry_requests: i64,
    /// The wanted set.
    pub bindings: Vec<ClusterUid>,
    /// What is recorded.
    pub copies: Vec<CopyRecord>,
    /// Jobs that ran to their end on copies that were forgotten since, and the set of documents that they were objects of.
    pub completed: BTreeMap<ObjectKey, DocumentHash>,
    /// Clusters that are being deleted.
    pub leaving: BTreeSet<ClusterUid>,
    /// The order of a migration.
    pub strategy: Strategy,
    /// Clusters where an attempt failed whose copy must be seen to be gone before another one begins, whatever the order:
    /// those of an application that claims volumes.
    pub given_up: BTreeSet<ClusterUid>,
    /// Views of the clusters in `bindings` and `copies`; one that is missing here is not known yet.
    pub clusters: BTreeMap<ClusterUid, ClusterView>,
    /// Now, for first records.
    pub now: Timestamp,
    /// An attempt at a copy that takes longer than this failed.
    pub deadline: Duration,
}

impl Snapshot {
    /// Whether the bindings are for the present spec.
    pub(super) fn decided(&self) -> bool {
        self.scheduled_generation == self.generation
    }

    /// What is seen on a cluster, if anything is known of it.
    pub(super) fn presence(&self, cluster: &ClusterUid) -> Option<&Presence> {
        self.clusters.get(cluster).map(|view| &view.presence)
    }
}
