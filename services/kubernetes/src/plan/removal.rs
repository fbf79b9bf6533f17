//! What follows from a removal of objects: what is recorded of it, and when it is looked at again. Pure.

use std::collections::HashSet;
use std::time::Duration;

use super::{Answer, CopyRecord, Phase, Reason, Step, Truth};
use crate::object::remove::{Released, Remaining};
use crate::object::waves::Ends;
use crate::object::{InventoryEntry, keys};

/// How long a removal may take before it is recorded what it waits for: most pods end within this time.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(45);
/// The same where somebody's finalizer holds an object, which does not end by itself.
const FINALIZER_PATIENCE: Duration = Duration::from_secs(5);
/// The first pause before it is looked again whether deleted objects are gone. Watches wake sooner for most of them.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum pause, for what does not go for minutes or for ever: each look reads every object that is left.
const LONGEST_INTERVAL: Duration = Duration::from_secs(30);
/// The part of the time that was waited so far that the next pause takes.
const INTERVAL_PART: u32 = 10;
/// Maximum number of objects that are named as not gone yet.
const NAMED_WAITS: usize = 5;
/// What begins the text of what is waited for, behind why a copy failed.
const WITHDRAWN: &str = "being removed: ";

/// How long a removal has been waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waited {
    /// How long for the present wave.
    pub time: Duration,
    /// How long a wave may take before it is said what a person can do.
    pub deadline: Duration,
    /// Whether the application goes with the objects.
    pub deleted: bool,
}

impl Waited {
    /// How long to wait before the next look, which comes no later than what is to be recorded.
    fn pause(self, is_held: bool) -> Duration {
        let pause = (self.time / INTERVAL_PART).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL);
        let due = [self.patience(is_held), self.deadline].into_iter().filter(|due| *due > self.time);
        due.map(|due| due.saturating_sub(self.time)).fold(pause, Duration::min).max(SHORTEST_INTERVAL)
    }

    /// How long before it is recorded what is waited for.
    fn patience(self, is_held: bool) -> Duration {
        let patience = if is_held { FINALIZER_PATIENCE } else { REMOVAL_PATIENCE };
        patience.min(self.deadline)
    }
}

/// After [`Step::Remove`] of the copy `copy`: what is not gone yet. A wait that lasts is recorded once for each thing that it
/// waits for.
pub fn after_remove(copy: &CopyRecord, remaining: &[Remaining], waited: Waited) -> Step {
    if remaining.is_empty() {
        return Step::Forget(copy.clone());
    }
    let told = told(remaining, waited).map(|message| CopyRecord {
        available: Answer::no(Reason::WaitingForRemoval, message),
        ..copy.clone()
    });
    follows(copy, told, remaining, waited)
}

/// After [`Step::Withdraw`] of the copy `copy`: what is not gone yet. The record stays, and says behind why the copy failed
/// what is waited for.
pub fn after_withdraw(copy: &CopyRecord, remaining: &[Remaining], waited: Waited) -> Step {
    let failed = without_wait(&copy.available.message);
    if remaining.is_empty() {
        // Nothing that was accepted is there any more. What is intended stays, for the next attempt.
        let available = Answer { message: failed.to_owned(), ..copy.available.clone() };
        let told =
            CopyRecord { inventory: Vec::new(), services: Default::default(), available, ..copy.clone() };
        return Step::Report(CopyRecord { containers: Default::default(), applied_work: None, ..told });
    }
    let told = told(remaining, waited).map(|waits| {
        let separator = if failed.is_empty() { "" } else { "; " };
        let message = format!("{failed}{separator}{WITHDRAWN}{waits}");
        let available = Answer { truth: copy.available.truth, ..Answer::no(copy.available.reason, message) };
        CopyRecord { available, ..copy.clone() }
    });
    follows(copy, told, remaining, waited)
}

/// Why a copy failed, without what the removal of its objects waits for.
fn without_wait(message: &str) -> &str {
    message.split_once(WITHDRAWN).map_or(message, |(failed, _)| failed.strip_suffix("; ").unwrap_or(failed))
}

/// After [`Step::Prune`] of `surplus` of the copy `copy`: what is not gone yet. All that is wanted there was applied, which
/// stays said.
pub fn after_prune(
    copy: &CopyRecord,
    surplus: &[InventoryEntry],
    remaining: &[Remaining],
    waited: Waited,
) -> Step {
    let left: HashSet<_> = remaining.iter().map(|remaining| &remaining.key).collect();
    let pruned = keys(surplus);
    let gone = |entry: &InventoryEntry| pruned.contains(&entry.key) && !left.contains(&entry.key);
    let inventory: Vec<_> = copy.inventory.iter().filter(|entry| !gone(entry)).cloned().collect();
    let mut completed = copy.completed.clone();
    if inventory.len() < copy.inventory.len() {
        let recorded = keys(&inventory);
        completed.retain(|key, _| recorded.contains(key));
    }
    let mut told_of = CopyRecord { inventory, completed, ..copy.clone() };
    let waits = told(remaining, waited).filter(|_| copy.applied.truth == Truth::True);
    if let Some(waits) = waits {
        let message = format!("not in the manifest any more, and {WITHDRAWN}{waits}");
        told_of.applied = Answer { truth: Truth::True, ..Answer::no(Reason::WaitingForRemoval, message) };
    }
    follows(copy, Some(told_of), remaining, waited)
}

/// The record `judged` of the copy `copy`, which goes on to say what the removal of objects waits for that left the manifest:
/// what is seen of the others does not. `waits`: whether such objects are there still.
pub(super) fn still_waiting(copy: &CopyRecord, judged: CopyRecord, waits: bool) -> CopyRecord {
    let is_told = (copy.applied.truth, copy.applied.reason) == (Truth::True, Reason::WaitingForRemoval);
    match waits && is_told && judged.applied.truth == Truth::True {
        true => CopyRecord { applied: copy.applied.clone(), ..judged },
        false => judged,
    }
}

/// Records what is new, or looks again.
fn follows(copy: &CopyRecord, told: Option<CopyRecord>, remaining: &[Remaining], waited: Waited) -> Step {
    match told.filter(|told| told != copy) {
        Some(told) => Step::Report(told),
        None => Step::Wait(waited.pause(ends(remaining) != Ends::ByItself)),
    }
}

/// How the waits end: what needs a person counts most.
fn ends(remaining: &[Remaining]) -> Ends {
    let ends: Vec<_> = remaining.iter().map(Remaining::ends).collect();
    let most = [Ends::ByAPerson, Ends::ByItsFinalizers].into_iter().find(|most| ends.contains(most));
    most.unwrap_or(Ends::ByItself)
}

/// What is told of a wait that lasts, for people: what it is for and, after its deadline, what they can do.
fn told(remaining: &[Remaining], waited: Waited) -> Option<String> {
    let ends = ends(remaining);
    let is_held = ends != Ends::ByItself;
    if remaining.is_empty() || waited.time < waited.patience(is_held) {
        return None;
    }
    let mut message = waiting(remaining);
    if ends == Ends::ByAPerson {
        message += "; to go on, delete it, or leave it there with the migration strategy CREATE_FIRST";
    } else if waited.time >= waited.deadline {
        let seconds = waited.deadline.as_secs();
        message += &format!("; this has taken more than {seconds} s: ");
        message += match (waited.deleted, is_held) {
            (true, _) => {
                "deleting the application with --force erases its record, and what is left is removed later without a wait"
            }
            (false, true) => "take the finalizers off by hand if what set them is gone",
            (false, false) => "look at these objects on the cluster",
        };
    } else if is_held {
        message += "; what set a finalizer has to take it off";
    }
    Some(message)
}

/// What a removal waits for, for people.
fn waiting(remaining: &[Remaining]) -> String {
    let waits = remaining
        .iter()
        .filter_map(|left| Some(format!("{} waits for {}", left.key, left.waits_for.as_ref()?.why())));
    let waits: Vec<_> = waits.collect();
    let mut message = waits.iter().take(NAMED_WAITS).map(String::as_str).collect::<Vec<_>>().join("; ");
    if let Some(more @ 1..) = waits.len().checked_sub(NAMED_WAITS) {
        message += &format!("; and {more} more");
    }
    let later = remaining.len() - waits.len();
    if message.is_empty() {
        return format!("{later} objects are being deleted");
    }
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
