//! What to record after an apply.

use std::collections::HashMap;
use std::time::Duration;

use super::works::Work;
use super::{Answer, Apply, CopyRecord, Phase, Reason, Step, Truth};
use crate::error::ClusterError;
use crate::failure::{self, Class, Stage};
use crate::object::apply::ApplyError;
use crate::object::ownership::Refusal;
use crate::object::rendering::DocumentSet;
use crate::object::{InventoryEntry, ObjectKey, keys};

/// An apply that ended, and what was known before it.
#[derive(Clone, Copy, Debug)]
pub struct Applied<'a> {
    /// The copy as recorded before.
    pub copy: &'a CopyRecord,
    /// What was applied.
    pub what: Apply,
    /// The documents that are wanted there, if that is known.
    pub wanted: Option<DocumentSet>,
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
    /// What of that is not the application's, and used.
    pub used: &'a [ObjectKey],
    /// How it ended.
    pub outcome: &'a Result<(), ApplyError>,
    /// What the validation of a first write showed.
    pub validated: Option<&'a Answer>,
    /// A repair that left out objects, since the cluster refuses them.
    pub leaves_out: bool,
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
    let Applied { copy, what, accepted, generation, .. } = applied;
    let is_attempt = what == Apply::Wanted || copy.observed_generation == generation;
    let retry_request = if is_attempt { applied.retry_requests } else { copy.retry_request };
    let validated = applied.validated.unwrap_or(&copy.validated).clone();
    let inventory = match what {
        Apply::Wanted => updated(&copy.inventory, accepted),
        Apply::Repair => repaired_inventory(&copy.inventory, accepted),
    };
    let told = CopyRecord { inventory, retry_request, validated, ..copy.clone() };
    let (told, again) = match applied.outcome {
        Ok(()) if what == Apply::Repair => (repaired(applied, told), Again::No),
        Ok(()) => (succeeded(applied, told), Again::No),
        Err(error) => failed(applied, error, told),
    };
    AfterApply { report: changed(copy, told), again }
}

/// What was accepted before was applied again.
fn repaired(applied: Applied<'_>, told: CopyRecord) -> CopyRecord {
    let Applied { copy, wanted, leaves_out, .. } = applied;
    if leaves_out {
        // Why it does is told, and still holds.
        return told;
    }
    let is_current = copy.is_whole() && copy.applied_work.map(|work| work.set) == wanted;
    match copy.phase {
        Phase::Running if is_current => CopyRecord { applied: copy.accepted(applied.used), ..told },
        // That another Work was refused still holds.
        Phase::Running => told,
        _ => CopyRecord { applied: Answer::applied(applied.used), ..brought_up(told) },
    }
}

/// The cluster accepted all that is wanted.
fn succeeded(applied: Applied<'_>, told: CopyRecord) -> CopyRecord {
    let Applied { copy, wanted, generation, .. } = applied;
    let work = wanted.and_then(|wanted| copy.recorded(&wanted)).or(copy.intended_work);
    let work = work.map(|work| Work { generation, ..work });
    let again = copy.is_whole() && work == copy.applied_work && copy.observed_generation == generation;
    let told =
        CopyRecord { applied_work: work, intended_work: work, observed_generation: generation, ..told };
    match copy.phase {
        Phase::Running if again => CopyRecord { applied: copy.accepted(applied.used), ..told },
        Phase::Running => CopyRecord {
            applied: Answer::applied(applied.used),
            available: Answer::no(Reason::Progressing, "just applied"),
            ..told
        },
        // All was accepted before, and it failed because it did not become available: that is for what is seen to say, unless
        // a user asks for another attempt.
        Phase::Failed
            if again && copy.applied.truth == Truth::True && copy.retry_request == applied.retry_requests =>
        {
            told
        }
        _ => brought_up(CopyRecord { applied: Answer::applied(applied.used), ..told }),
    }
}

/// A copy whose objects were accepted and are awaited now.
fn brought_up(told: CopyRecord) -> CopyRecord {
    let available = Answer::no(Reason::Progressing, "just applied");
    CopyRecord { phase: Phase::Applying, failure: None, available, ..told }
}

fn failed(applied: Applied<'_>, error: &ApplyError, told: CopyRecord) -> (CopyRecord, Again) {
    let Applied { copy, what, elapsed, deadline, .. } = applied;
    let stage = match copy.phase {
        Phase::Running if what == Apply::Repair => Stage::Repair,
        Phase::Running => Stage::Update,
        _ => Stage::Placement,
    };
    let failure = failure::of_apply(error, stage);
    let reason = match error {
        ApplyError::Refused(Refusal::OwnedByOther(_)) => Reason::ObjectOwnedByOther,
        ApplyError::Refused(Refusal::Terminating(_) | Refusal::Leftover(_))
        | ApplyError::Unfinished { .. } => Reason::Progressing,
        ApplyError::Cluster(_) | ApplyError::Object { error: ClusterError::Unreachable(_), .. } => {
            Reason::ClusterNotReachable
        }
        ApplyError::Object { .. } => Reason::KubernetesError,
    };
    let told = CopyRecord { applied: Answer::no(reason, error.to_string()), ..told };
    if let ApplyError::Unfinished { .. } = error {
        // The cluster accepts what it gets, however long that takes.
        return (told, Again::Soon);
    }
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
    let observed_generation = match what {
        Apply::Wanted => applied.generation,
        Apply::Repair => copy.observed_generation,
    };
    let failed = CopyRecord { phase: Phase::Failed, observed_generation, available, failure: class, ..told };
    (failed, Again::Slowly)
}

fn changed(copy: &CopyRecord, told: CopyRecord) -> Option<Step> {
    (told != *copy).then_some(Step::Report(told))
}

/// The inventory with the uids of what was repaired, each object in its place.
fn repaired_inventory(inventory: &[InventoryEntry], repaired: &[InventoryEntry]) -> Vec<InventoryEntry> {
    let uids: HashMap<_, _> = repaired.iter().map(|entry| (&entry.key, &entry.uid)).collect();
    let recorded = keys(inventory);
    let new = repaired.iter().filter(|entry| !recorded.contains(&entry.key)).cloned();
    let entry = |entry: &InventoryEntry| {
        let uid = uids.get(&entry.key).copied().unwrap_or(&entry.uid);
        InventoryEntry { key: entry.key.clone(), uid: uid.clone() }
    };
    inventory.iter().map(entry).chain(new).collect()
}

/// The inventory with the uids of what was applied, in the order of applying; what was not applied now goes first, so that
/// it is removed last of all, or pruned.
fn updated(inventory: &[InventoryEntry], applied: &[InventoryEntry]) -> Vec<InventoryEntry> {
    let changed = keys(applied);
    let others = inventory.iter().filter(|entry| !changed.contains(&entry.key));
    others.chain(applied).cloned().collect()
}
