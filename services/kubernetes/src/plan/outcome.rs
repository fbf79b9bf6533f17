//! What to record after a step that touched a cluster.

use std::time::Duration;

use super::{Answer, CopyRecord, Phase, REMOVAL_INTERVAL, Reason, Step};
use crate::error::ClusterError;
use crate::object::InventoryEntry;
use crate::object::apply::ApplyError;
use crate::object::ownership::Refusal;
use crate::object::remove::Remaining;

/// What follows from an apply.
#[derive(Clone, Debug, PartialEq)]
pub struct AfterApply {
    /// What to record, if anything changed.
    pub report: Option<Step>,
    /// Try again, with growing intervals.
    pub retry: bool,
}

/// After [`Step::Apply`] of `basis` on the copy `copy` (as recorded before it, `age` in its phase): what was applied, or why
/// not. What only the user can fix fails the copy; so does, after the deadline, what the cluster forbids; everything else is
/// tried again.
pub fn after_apply(
    copy: &CopyRecord,
    basis: i64,
    outcome: &Result<Vec<InventoryEntry>, ApplyError>,
    age: Duration,
    deadline: Duration,
) -> AfterApply {
    let error = match outcome {
        Ok(applied) => {
            let repaired = copy.observed_generation == basis && copy.phase == Phase::Running;
            let told = CopyRecord {
                phase: if repaired { Phase::Running } else { Phase::Applying },
                observed_generation: basis,
                inventory: updated(&copy.inventory, applied),
                applied: Answer::yes(),
                available: if repaired {
                    copy.available.clone()
                } else {
                    Answer::no(Reason::Progressing, "just applied")
                },
                ..copy.clone()
            };
            return AfterApply { report: changed(copy, told), retry: false };
        }
        Err(error) => error,
    };
    let (reason, final_) = match error {
        ApplyError::Refused(Refusal::OwnedByOther(_)) => (Reason::ObjectOwnedByOther, true),
        ApplyError::Refused(Refusal::Terminating(_)) => (Reason::Progressing, false),
        ApplyError::Object { error: ClusterError::Rejected(_), .. } => (Reason::KubernetesError, true),
        ApplyError::Object { error: ClusterError::Forbidden(_), .. } => {
            (Reason::KubernetesError, age >= deadline)
        }
        ApplyError::Cluster(_) | ApplyError::Object { error: ClusterError::Unreachable(_), .. } => {
            (Reason::ClusterNotReachable, false)
        }
        ApplyError::Object { .. } => (Reason::KubernetesError, false),
    };
    let applied = Answer::no(reason, error.to_string());
    let told = if final_ {
        let available = Answer::no(reason, String::new());
        CopyRecord { phase: Phase::Failed, observed_generation: basis, applied, available, ..copy.clone() }
    } else {
        CopyRecord { applied, ..copy.clone() }
    };
    AfterApply { report: changed(copy, told), retry: !final_ }
}

/// After [`Step::Remove`] of the copy `copy`: what is not gone yet.
pub fn after_remove(copy: &CopyRecord, remaining: &[Remaining]) -> Step {
    if remaining.is_empty() { Step::Forget(copy.clone()) } else { Step::Wait(REMOVAL_INTERVAL) }
}

/// After [`Step::Withdraw`] of the copy `copy`: what is not gone yet. The record stays.
pub fn after_withdraw(copy: &CopyRecord, remaining: &[Remaining]) -> Step {
    if !remaining.is_empty() {
        return Step::Wait(REMOVAL_INTERVAL);
    }
    let told = CopyRecord { inventory: Vec::new(), services: Default::default(), ..copy.clone() };
    Step::Report(CopyRecord { containers: Default::default(), ..told })
}

/// After [`Step::Prune`] of `surplus` of the copy `copy`: what is not gone yet.
pub fn after_prune(copy: &CopyRecord, surplus: &[InventoryEntry], remaining: &[Remaining]) -> Step {
    let gone = |entry: &InventoryEntry| {
        surplus.iter().any(|pruned| pruned.key == entry.key)
            && remaining.iter().all(|remaining| remaining.key != entry.key)
    };
    let inventory: Vec<_> = copy.inventory.iter().filter(|entry| !gone(entry)).cloned().collect();
    if inventory.len() == copy.inventory.len() {
        return Step::Wait(REMOVAL_INTERVAL);
    }
    Step::Report(CopyRecord { inventory, ..copy.clone() })
}

fn changed(copy: &CopyRecord, told: CopyRecord) -> Option<Step> {
    (told != *copy).then_some(Step::Report(told))
}

/// The inventory with the uids of what was applied, in the order of applying; what was not applied now goes first, so that
/// it is removed last of all, or pruned.
fn updated(inventory: &[InventoryEntry], applied: &[InventoryEntry]) -> Vec<InventoryEntry> {
    let others = inventory.iter().filter(|entry| applied.iter().all(|applied| applied.key != entry.key));
    others.chain(applied).cloned().collect()
}
