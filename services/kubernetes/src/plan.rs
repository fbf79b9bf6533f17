//! What to do for one application next: from what is wanted, recorded and seen to an ordered list of steps. Pure.
//!
//! Laws, whatever the snapshot:
//! * nothing is applied to a cluster without a copy recorded there before, whose inventory names every object, and whose
//!   Works name the documents;
//! * nothing new is applied while the bindings are for another generation than the application's, or if only the
//!   generation of the spec changed and not its documents;
//! * a copy is repaired to what its cluster accepted, whatever the spec says by then, and never to what is not known;
//! * with create-first, a copy that is running goes only after every bound copy is running and available, or if another
//!   one that is not bound stays, and one that failed goes as soon as another cluster is bound;
//! * with create-first, no copy that may serve goes unless another one is seen to serve no less;
//! * with create-first, nothing begins while more than one copy that is not bound may run;
//! * with delete-first, nothing begins before every copy that is not bound is forgotten; if the application claims volumes,
//!   nothing begins before the copies that failed and were given up for another cluster are;
//! * a copy goes only because the application is deleted or its binding set, once decided, does not name the cluster;
//! * a copy is forgotten only after the cluster said that its objects are gone, or when the cluster was erased;
//! * an application without bindings loses only the copies on clusters that are being deleted, and those that were never
//!   accepted as a whole;
//! * for a deleted application nothing is recorded anew or applied;
//! * of a copy on a cluster that does not answer nothing is recorded: it keeps its last phase;
//! * a copy that ran never becomes FAILED, and a copy becomes FAILED only within an attempt to bring it up.

mod departure;
mod deploy;
mod handover;
mod outcome;
mod removal;
mod retire;
mod snapshot;
mod tend;
mod works;

use std::time::Duration;

pub use outcome::{AfterApply, Again, Applied, after_apply};
pub use removal::{Waited, after_prune, after_release, after_remove, after_withdraw};
pub use snapshot::{
    Answer, Attempt, ClusterView, CopyRecord, Phase, Presence, Reason, RecordedAttempt, Snapshot, Strategy,
    Targets, Truth,
};
pub use works::{Aim, Basis, Work, basis};

use crate::object::{ClusterUid, InventoryEntry};

/// When to look again at what does not wake us by itself.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apply {
    /// The wanted documents, of which the copy's Works name the set.
    Wanted,
    /// What the copy is judged by, as it was accepted before.
    Repair,
}

/// Something to do. Steps of one cluster are done in order, and not any more after one of them fails; those of other
/// clusters go on. A record is written by compare-and-set on the version that it carries, or, after an earlier write of the same plan,
/// on the version that this write returned.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Record, before anything is done on the cluster, that objects may be there from now on.
    RecordIntent(CopyRecord),
    /// Apply objects; then [`after_apply`].
    Apply {
        /// Where.
        cluster: ClusterUid,
        /// Which objects.
        what: Apply,
    },
    /// Record what is seen.
    Report(CopyRecord),
    /// Record that the copy goes.
    MarkRemoving(CopyRecord),
    /// Remove these objects of a copy that goes; then [`after_remove`].
    Remove {
        /// Where.
        cluster: ClusterUid,
        /// What.
        inventory: Vec<InventoryEntry>,
    },
    /// Remove the objects of a copy that failed, whose record stays to tell so; then [`after_withdraw`].
    Withdraw {
        /// Where.
        cluster: ClusterUid,
        /// What.
        inventory: Vec<InventoryEntry>,
    },
    /// Remove objects that are not in the manifest any more; then [`after_prune`].
    Prune {
        /// Where.
        cluster: ClusterUid,
        /// What.
        surplus: Vec<InventoryEntry>,
    },
    /// Delete the record of a copy: nothing of it is left.
    Forget(CopyRecord),
    /// No copy is left of a deleted application: release it.
    DropFinalizer,
    /// Plan again after this time, unless woken before.
    Wait(Duration),
}

impl Step {
    /// The cluster that the step is about.
    pub fn cluster(&self) -> Option<&ClusterUid> {
        match self {
            Self::RecordIntent(copy) | Self::Report(copy) | Self::MarkRemoving(copy) | Self::Forget(copy) => {
                Some(&copy.cluster)
            }
            Self::Apply { cluster, .. }
            | Self::Remove { cluster, .. }
            | Self::Withdraw { cluster, .. }
            | Self::Prune { cluster, .. } => Some(cluster),
            Self::DropFinalizer | Self::Wait(_) => None,
        }
    }
}

/// What to do next.
pub fn plan(snapshot: &Snapshot) -> Vec<Step> {
    if snapshot.deleted {
        if snapshot.copies.is_empty() {
            return vec![Step::DropFinalizer];
        }
        return one_wait(snapshot.copies.iter().flat_map(|copy| retire::retire(snapshot, copy)));
    }
    let (wanted, unwanted): (Vec<_>, Vec<_>) =
        snapshot.copies.iter().partition(|copy| snapshot.bindings.contains(&copy.cluster));
    let handed_over = snapshot.scheduled_generation > 0
        && match snapshot.strategy {
            Strategy::DeleteFirst => true,
            Strategy::CreateFirst => snapshot.bindings.iter().all(|cluster| tend::runs(snapshot, cluster)),
        };
    // Only what is seen to be gone makes room, or a person who declares its cluster lost: a cluster that does not answer may
    // still run its copy.
    let keeper = handover::keeper(snapshot, &unwanted);
    let may_create = match snapshot.strategy {
        Strategy::CreateFirst => {
            handover::has_room(snapshot, keeper, &unwanted) && !handover::is_given_up(snapshot, &unwanted)
        }
        Strategy::DeleteFirst => unwanted.is_empty(),
    };
    let replaces_running =
        unwanted.iter().any(|copy| copy.phase == Phase::Running && !is_away(snapshot, copy));

    let mut steps = Vec::new();
    for cluster in &snapshot.bindings {
        let copy = wanted.iter().find(|copy| copy.cluster == *cluster);
        let of_copy = deploy::keep(snapshot, cluster, copy.copied(), may_create, replaces_running);
        match copy {
            Some(copy) => steps.extend(with_time(snapshot, copy, of_copy)),
            None => steps.extend(of_copy),
        }
    }
    for copy in unwanted {
        if departure::departs(snapshot, copy, keeper, handed_over) {
            steps.extend(retire::retire(snapshot, copy));
        } else {
            steps.extend(with_time(snapshot, copy, tend::tend(snapshot, copy, false)));
        }
    }
    one_wait(steps)
}

/// Steps for a copy that record once in a while how long the attempt at it has lasted, if they record nothing else.
fn with_time(snapshot: &Snapshot, copy: &CopyRecord, steps: Vec<Step>) -> Vec<Step> {
    let view = snapshot.clusters.get(&copy.cluster);
    let looked_at = view.filter(|view| matches!(view.presence, Presence::Unseen | Presence::Seen(_)));
    let Some((view, due)) = looked_at.and_then(|view| Some((view, view.attempt.record_in?))) else {
        return steps;
    };
    let is_same =
        |one: &RecordedAttempt, other: &RecordedAttempt| (one.aim, one.retry) == (other.aim, other.retry);
    let recorded = copy
        .attempt
        .filter(|recorded| view.attempt.record.as_ref().is_some_and(|now| is_same(now, recorded)));
    // Past its deadline nothing depends on how long an attempt has lasted.
    if recorded.is_some_and(|recorded| recorded.elapsed >= snapshot.deadline) {
        return steps;
    }
    let told = view.attempt.kept_in(copy.clone());
    let records = |step: &Step| matches!(step, Step::RecordIntent(_) | Step::Report(_) | Step::Forget(_));
    if told == *copy || steps.iter().any(records) {
        return steps;
    }
    let record = if due.is_zero() { Step::Report(told) } else { Step::Wait(due) };
    [record].into_iter().chain(steps).collect()
}

/// Whether the cluster of a copy does not answer, so that it is not known whether it runs.
fn is_away(snapshot: &Snapshot, copy: &CopyRecord) -> bool {
    matches!(snapshot.presence(&copy.cluster), Some(Presence::Unreachable(_)))
}

/// Only the shortest of all waits counts, and it comes last.
fn one_wait(steps: impl IntoIterator<Item = Step>) -> Vec<Step> {
    let mut shortest: Option<Duration> = None;
    let mut rest = Vec::new();
    for step in steps {
        match step {
            Step::Wait(time) => shortest = Some(shortest.map_or(time, |shortest| shortest.min(time))),
            step => rest.push(step),
        }
    }
    rest.extend(shortest.map(Step::Wait));
    rest
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod laws;
