//! What to record after a step that touched a cluster.

use std::time::Duration;

use super::{Answer, CopyRecord, Phase, REMOVAL_INTERVAL, Reason, Step, Truth};
use crate::error::ClusterError;
use crate::failure::{self, Class, Stage};
use crate::object::InventoryEntry;
use crate::object::apply::ApplyError;
use crate::object::ownership::Refusal;
use crate::object::remove::Remaining;

/// How long a removal may take before it is recorded what it waits for: most pods end within this time.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(45);
/// Maximum number of objects that are named as not gone yet.
const NAMED_WAITS: usize = 5;

/// An apply that ended, and what was known before it.
#[derive(Clone, Copy, Debug)]
pub struct Applied<'a> {
    /// The copy as recorded before.
    pub copy: &'a CopyRecord,
    /// Generation of the manifest that was applied.
    pub basis: i64,
    /// Generation of the application.
    pub generation: i64,
    /// Number of retries that were requested so far.
    pub retry_requests: i64,
    /// How long the attempt has lasted.
    pub elapsed: Duration,
    /// How long it may last.
    pub deadline: Duration,
    /// What the cluster accepted, also if the apply failed.
    pub accepted: &'a [InventoryEntry],
    /// How it ended.
    pub outcome: &'a Result<(), ApplyError>,
}

/// What follows from an apply.
#[derive(Clone, Debug, PartialEq)]
pub struct AfterApply {
    /// What to record, if anything changed.
    pub report: Option<Step>,
    /// When to try again.
    pub again: Again,
}

/// When to try again to apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// It succeeded.
    No,
    /// After a short pause, which grows to seconds.
    Soon,
    /// After a long pause, which grows to hours, or when the spec changes.
    Slowly,
}

/// After [`Step::Apply`]: what was applied, or why not. A copy that ran goes on running, whatever the cluster says. One
/// that did not fails at once by what no waiting helps against, and at the deadline of its attempt by anything else.
pub fn after_apply(applied: Applied<'_>) -> AfterApply {
    let Applied { copy, basis, accepted, .. } = applied;
    let retry_request = if basis == applied.generation { applied.retry_requests } else { copy.retry_request };
    let told = CopyRecord { inventory: updated(&copy.inventory, accepted), retry_request, ..copy.clone() };
    let (told, again) = match applied.outcome {
        Ok(()) => (succeeded(applied, told), Again::No),
        Err(error) => failed(applied, error, told),
    };
    debug_assert!(told.phase != Phase::Failed || told.observed_generation == basis);
    AfterApply { report: changed(copy, told), again }
}

fn succeeded(applied: Applied<'_>, told: CopyRecord) -> CopyRecord {
    let Applied { copy, basis, generation, .. } = applied;
    let again = copy.observed_generation == basis;
    match copy.phase {
        // The former manifest was repaired: that the present one was refused still holds.
        Phase::Running if again && basis != generation => told,
        Phase::Running if again => CopyRecord { applied: Answer::yes(), ..told },
        Phase::Running => CopyRecord {
            observed_generation: basis,
            applied: Answer::yes(),
            available: Answer::no(Reason::Progressing, "just applied"),
            ..told
        },
        // All was accepted before, and it failed because it did not become available: that is for what is seen to say.
        Phase::Failed if again && copy.applied.truth == Truth::True => told,
        _ => CopyRecord {
            phase: Phase::Applying,
            failure: None,
            observed_generation: basis,
            applied: Answer::yes(),
            available: Answer::no(Reason::Progressing, "just applied"),
            ..told
        },
    }
}

fn failed(applied: Applied<'_>, error: &ApplyError, told: CopyRecord) -> (CopyRecord, Again) {
    let Applied { copy, basis, elapsed, deadline, .. } = applied;
    let stage = match copy.phase {
        Phase::Running if copy.observed_generation == basis => Stage::Repair,
        Phase::Running => Stage::Update,
        _ => Stage::Placement,
    };
    let failure = failure::of_apply(error, stage);
    let reason = match error {
        ApplyError::Refused(Refusal::OwnedByOther(_)) => Reason::ObjectOwnedByOther,
        ApplyError::Refused(Refusal::Terminating(_)) => Reason::Progressing,
        ApplyError::Cluster(_) | ApplyError::Object { error: ClusterError::Unreachable(_), .. } => {
            Reason::ClusterNotReachable
        }
        ApplyError::Object { .. } => Reason::KubernetesError,
    };
    let told = CopyRecord { applied: Answer::no(reason, error.to_string()), ..told };
    if stage != Stage::Placement {
        let again = if failure.class == Class::Passing { Again::Soon } else { Again::Slowly };
        return (told, again);
    }
    // A cluster that went silent says nothing about the objects, and its time does not count.
    let overdue = elapsed >= deadline && !matches!(error, ApplyError::Cluster(_));
    if !(failure.settled || overdue || copy.phase == Phase::Failed) {
        return (told, Again::Soon);
    }
    let class = match (copy.phase, failure.class) {
        // Trouble on the way says nothing new about why it failed.
        (Phase::Failed, Class::Passing) => copy.failure,
        _ => Some(failure.class_at_deadline()),
    };
    let available = Answer::no(reason, String::new());
    let failed =
        CopyRecord { phase: Phase::Failed, observed_generation: basis, available, failure: class, ..told };
    (failed, Again::Slowly)
}

/// After [`Step::Remove`] of the copy `copy`, `elapsed` after its removal began: what is not gone yet. A wait that lasts is
/// recorded once for each thing that it waits for.
pub fn after_remove(copy: &CopyRecord, remaining: &[Remaining], elapsed: Duration) -> Step {
    if remaining.is_empty() {
        return Step::Forget(copy.clone());
    }
    let waits: Vec<_> = remaining
        .iter()
        .take(NAMED_WAITS)
        .map(|left| format!("{} waits for {}", left.key, left.waits_for))
        .collect();
    let more = match remaining.len().saturating_sub(NAMED_WAITS) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let message =
        format!("{}{more}; deleting the application with --force leaves what remains", waits.join("; "));
    let told = CopyRecord { available: Answer::no(Reason::WaitingForRemoval, message), ..copy.clone() };
    if elapsed < REMOVAL_PATIENCE || told == *copy {
        return Step::Wait(REMOVAL_INTERVAL);
    }
    Step::Report(told)
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
