//! What to record after a step that touched a cluster.

use std::collections::HashSet;
use std::time::Duration;

use super::works::Work;
use super::{Answer, Apply, CopyRecord, Phase, REMOVAL_INTERVAL, Reason, Step, Truth};
use crate::error::ClusterError;
use crate::failure::{self, Class, Stage};
use crate::object::apply::ApplyError;
use crate::object::ownership::Refusal;
use crate::object::remove::{Released, Remaining};
use crate::object::rendering::DocumentSet;
use crate::object::{InventoryEntry, ObjectKey, keys};

/// How long a removal may take before it is recorded what it waits for: most pods end within this time.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(45);
/// The same where somebody's finalizer holds an object, which does not end by itself.
const FINALIZER_PATIENCE: Duration = Duration::from_secs(5);
/// Maximum number of objects that are named as not gone yet.
const NAMED_WAITS: usize = 5;

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
    let inventory = updated(&copy.inventory, accepted);
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
    let observed_generation = match what {
        Apply::Wanted => applied.generation,
        Apply::Repair => copy.observed_generation,
    };
    let failed = CopyRecord { phase: Phase::Failed, observed_generation, available, failure: class, ..told };
    (failed, Again::Slowly)
}

/// After [`Step::Remove`] of the copy `copy`: what is not gone yet. `waited`: how long the present wave has been waited for;
/// `deadline`: how long that may take; `deleted`: whether the application goes with it. A wait that lasts is recorded once for
/// each thing that it waits for.
pub fn after_remove(
    copy: &CopyRecord,
    remaining: &[Remaining],
    waited: Duration,
    deadline: Duration,
    deleted: bool,
) -> Step {
    if remaining.is_empty() {
        return Step::Forget(copy.clone());
    }
    let is_held = remaining.iter().any(Remaining::is_held);
    let mut message = waiting(remaining);
    if waited >= deadline {
        let seconds = deadline.as_secs();
        message += &format!("; this has taken more than {seconds} s: ");
        message += match (deleted, is_held) {
            (true, _) => "deleting the application with --force leaves what remains",
            (false, true) => "take the finalizers off by hand if what set them is gone",
            (false, false) => "look at these objects on the cluster",
        };
    } else if is_held {
        message += "; what set a finalizer has to take it off";
    }
    let told = CopyRecord { available: Answer::no(Reason::WaitingForRemoval, message), ..copy.clone() };
    let patience = if is_held { FINALIZER_PATIENCE } else { REMOVAL_PATIENCE };
    if waited < patience.min(deadline) || told == *copy {
        return Step::Wait(REMOVAL_INTERVAL);
    }
    Step::Report(told)
}

/// What a removal waits for, for people.
fn waiting(remaining: &[Remaining]) -> String {
    let waits = remaining
        .iter()
        .filter_map(|left| Some(format!("{} waits for {}", left.key, left.waits_for.as_ref()?)));
    let waits: Vec<_> = waits.collect();
    let mut message = waits.iter().take(NAMED_WAITS).map(String::as_str).collect::<Vec<_>>().join("; ");
    if let Some(more @ 1..) = waits.len().checked_sub(NAMED_WAITS) {
        message += &format!("; and {more} more");
    }
    let later = remaining.len() - waits.len();
    if later > 0 {
        message += &format!("; what comes after that: {later}");
    }
    message
}

/// After objects of the copy `copy` were released, since they hold what is not the application's, or bear no marks: nobody
/// removes them any more. A copy that stays is as available as before.
pub fn after_release(copy: &CopyRecord, released: &[Released]) -> CopyRecord {
    let named = released.iter().take(NAMED_WAITS);
    let names: Vec<_> = named.map(|released| format!("{} {}", released.key, released.why)).collect();
    let message = format!("left on the cluster: {}", names.join("; "));
    let released: HashSet<_> = released.iter().map(|released| &released.key).collect();
    let is_released = |entry: &&InventoryEntry| released.contains(&entry.key);
    let inventory = copy.inventory.iter().filter(|entry| !is_released(entry)).cloned().collect();
    let mut told = CopyRecord { inventory, ..copy.clone() };
    match copy.phase {
        Phase::Removing => told.available = Answer::no(Reason::Released, message),
        _ if told.applied.truth == Truth::True => {
            told.applied = Answer { truth: Truth::True, ..Answer::no(Reason::Released, message) };
        }
        _ => {}
    }
    told
}

/// After [`Step::Withdraw`] of the copy `copy`: what is not gone yet. The record stays.
pub fn after_withdraw(copy: &CopyRecord, remaining: &[Remaining]) -> Step {
    if !remaining.is_empty() {
        return Step::Wait(REMOVAL_INTERVAL);
    }
    // Nothing that was accepted is there any more. What is intended stays, for the next attempt.
    let told = CopyRecord { inventory: Vec::new(), services: Default::default(), ..copy.clone() };
    Step::Report(CopyRecord { containers: Default::default(), applied_work: None, ..told })
}

/// After [`Step::Prune`] of `surplus` of the copy `copy`: what is not gone yet.
pub fn after_prune(copy: &CopyRecord, surplus: &[InventoryEntry], remaining: &[Remaining]) -> Step {
    let left: HashSet<_> = remaining.iter().map(|remaining| &remaining.key).collect();
    let pruned = keys(surplus);
    let gone = |entry: &InventoryEntry| pruned.contains(&entry.key) && !left.contains(&entry.key);
    let inventory: Vec<_> = copy.inventory.iter().filter(|entry| !gone(entry)).cloned().collect();
    if inventory.len() == copy.inventory.len() {
        return Step::Wait(REMOVAL_INTERVAL);
    }
    let mut completed = copy.completed.clone();
    let recorded = keys(&inventory);
    completed.retain(|key, _| recorded.contains(key));
    Step::Report(CopyRecord { inventory, completed, ..copy.clone() })
}

fn changed(copy: &CopyRecord, told: CopyRecord) -> Option<Step> {
    (told != *copy).then_some(Step::Report(told))
}

/// The inventory with the uids of what was applied, in the order of applying; what was not applied now goes first, so that
/// it is removed last of all, or pruned.
fn updated(inventory: &[InventoryEntry], applied: &[InventoryEntry]) -> Vec<InventoryEntry> {
    let changed = keys(applied);
    let others = inventory.iter().filter(|entry| !changed.contains(&entry.key));
    others.chain(applied).cloned().collect()
}
