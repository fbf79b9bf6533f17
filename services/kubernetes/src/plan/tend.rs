//! Planning for what was applied: repairing and judging it by what its cluster accepted.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::removal::still_waiting;
use super::works::{self, Basis, needs_apply};
use super::{
    Answer, Apply, ClusterView, CopyRecord, LOOK_AGAIN, Phase, Presence, Reason, Snapshot, Step, Targets,
    Truth,
};
use crate::failure::Class;
use crate::object::health::Verdict;
use crate::object::observation::Observation;
use crate::object::{ClusterUid, InventoryEntry, keys};

/// A wait for a deadline ends after it, also by clocks that round.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);

/// When to look again why pods do not start, of which no watch tells: at a new copy, for which somebody may wait.
const CAUSE_INTERVAL: Duration = Duration::from_secs(15);
/// The same at a copy that was available before, perhaps one of very many on a cluster in trouble.
const UNHEALTHY_INTERVAL: Duration = Duration::from_secs(60);

/// When to look again whether a kind that could not be resolved can be: no watch tells. Soon enough at first for a person who
/// waits for it, then each time after as long as it has lasted, up to the longest.
const HIDDEN_INTERVAL: Duration = Duration::from_secs(10);
const LONGEST_HIDDEN_INTERVAL: Duration = Duration::from_secs(300);

/// When to look again whether objects are there that the application uses and that are not its own: no watch tells.
const USED_INTERVAL: Duration = Duration::from_secs(60);

/// Whether the copy on a bound cluster runs: recorded as running, of the wanted documents, and available at this moment.
pub(super) fn runs(snapshot: &Snapshot, cluster: &ClusterUid) -> bool {
    let Some(copy) = snapshot.copies.iter().find(|copy| copy.cluster == *cluster) else { return false };
    let Some(view) = snapshot.clusters.get(cluster) else { return false };
    let Presence::Seen(seen) = &view.presence else { return false };
    copy.phase == Phase::Running
        && view.basis == Basis::Works
        && !(snapshot.decided() && needs_apply(snapshot, copy, view))
        && seen.health.verdict == Verdict::Available
}

/// Steps for a copy that was applied as far as it can be: repair, judge, report. Also for one that waits for its successor.
pub(super) fn tend(snapshot: &Snapshot, copy: &CopyRecord, bound: bool) -> Vec<Step> {
    let Some(view) = snapshot.clusters.get(&copy.cluster) else { return vec![Step::Wait(LOOK_AGAIN)] };
    let seen = match &view.presence {
        Presence::Erased => return vec![Step::Forget(copy.clone())],
        // Nothing is known of it, and nothing is recorded: that its cluster is unreachable stands on the cluster.
        Presence::Unreachable(_) => return vec![Step::Wait(LOOK_AGAIN)],
        Presence::Seen(seen) if view.basis != Basis::Nothing => seen,
        Presence::Unseen if copy.phase == Phase::Applying && bound => return unseen(snapshot, copy, view),
        Presence::Unseen | Presence::Seen(_) => return vec![Step::Wait(LOOK_AGAIN)],
    };
    if let Some(renewed) = works::renewed(snapshot, copy, view, bound) {
        return vec![Step::Report(renewed)];
    }
    let surplus = surplus(snapshot, copy, view);
    let judged = still_waiting(copy, judge(snapshot, copy, view, seen, bound), bound && !surplus.is_empty());
    let judged_phase = judged.phase;
    let awaited = judged.available.reason.is_starting()
        && (judged.phase, judged.available.truth) == (copy.phase, copy.available.truth);
    let mut steps = Vec::new();
    let repairable = matches!(judged.phase, Phase::Applying | Phase::Running)
        && view.basis == Basis::Works
        && view.has_repairs(seen);
    if repairable && view.attempt.repair_pause.is_zero() {
        steps.push(Step::Apply { cluster: copy.cluster.clone(), what: Apply::Repair });
        return steps;
    }
    let runs = [copy, &judged]
        .iter()
        .all(|copy| copy.phase == Phase::Running && copy.available.truth == Truth::True);
    if judged != *copy {
        steps.push(Step::Report(judged));
    }
    if bound && runs && !surplus.is_empty() {
        steps.push(Step::Prune { cluster: copy.cluster.clone(), surplus });
    }
    if awaited {
        steps.push(Step::Wait(remaining(snapshot, view)));
    }
    if repairable {
        steps.push(Step::Wait(view.attempt.repair_pause));
    }
    steps.extend(view.refused.values().min().copied().map(Step::Wait));
    if !seen.hidden.is_empty() {
        steps.push(Step::Wait(view.hidden.clamp(HIDDEN_INTERVAL, LONGEST_HIDDEN_INTERVAL)));
    }
    let asks = |phase| phase == judged_phase && !seen.unready.is_empty();
    if asks(Phase::Applying) {
        steps.push(Step::Wait(CAUSE_INTERVAL));
    } else if asks(Phase::Running) {
        steps.push(Step::Wait(UNHEALTHY_INTERVAL));
    }
    if !seen.used.is_empty() {
        steps.push(Step::Wait(USED_INTERVAL));
    }
    if !view.renewal.is_zero() {
        steps.push(Step::Wait(view.renewal));
    }
    steps
}

/// Steps for a copy whose objects were accepted, and that the cluster does not show: not for longer than any attempt.
fn unseen(snapshot: &Snapshot, copy: &CopyRecord, view: &ClusterView) -> Vec<Step> {
    if view.attempt.elapsed < snapshot.deadline {
        return vec![Step::Wait(LOOK_AGAIN.min(remaining(snapshot, view)))];
    }
    let within = snapshot.deadline.as_secs();
    let message = format!("the cluster did not show the objects within {within} s, and does not say why");
    let available = Answer::no(Reason::DeadlineExceeded, message);
    let failure = Some(Class::OfCluster);
    vec![Step::Report(CopyRecord { phase: Phase::Failed, available, failure, ..copy.clone() })]
}

/// The record of a copy by what is seen of it.
fn judge(
    snapshot: &Snapshot,
    copy: &CopyRecord,
    view: &ClusterView,
    seen: &Observation,
    bound: bool,
) -> CopyRecord {
    let overdue = view.attempt.elapsed >= snapshot.deadline;
    let has_cause = seen.cause.as_ref().is_some_and(|cause| cause.class.is_some());
    let starting = if has_cause { Reason::NotStarting } else { Reason::Progressing };
    let (phase, available) = match (&seen.health.verdict, copy.phase) {
        // Nothing was applied: what is seen says nothing about it.
        (_, Phase::Intended | Phase::Removing) => return copy.clone(),
        (_, Phase::Failed) if !bound || copy.applied.truth != Truth::True => return copy.clone(),
        (Verdict::Available, _) => (Phase::Running, Answer::yes()),
        (_, Phase::Failed) => (Phase::Failed, copy.available.clone()),
        (Verdict::Progressing(why) | Verdict::Failed(why), _) if copy.ran() => {
            let has_failed = overdue || matches!(seen.health.verdict, Verdict::Failed(_));
            let reason = match copy.available.reason {
                // An update is being rolled out, and what served before mostly does still.
                reason if reason.is_starting() && !has_failed => starting,
                reason if reason.is_starting() || reason == Reason::DeadlineExceeded => {
                    Reason::DeadlineExceeded
                }
                _ => Reason::Unhealthy,
            };
            (Phase::Running, Answer::no(reason, why.clone()))
        }
        (Verdict::Failed(why), Phase::Applying) => {
            (Phase::Failed, Answer::no(Reason::DeadlineExceeded, why.clone()))
        }
        (Verdict::Progressing(why), Phase::Applying) if overdue => {
            let within = snapshot.deadline.as_secs();
            let message = format!("not available within {within} s: {why}");
            (Phase::Failed, Answer::no(Reason::DeadlineExceeded, message))
        }
        (Verdict::Progressing(why) | Verdict::Failed(why), _) => {
            (Phase::Applying, Answer::no(starting, why.clone()))
        }
    };
    let updating = bound && snapshot.decided() && needs_apply(snapshot, copy, view);
    let applied = accepted(copy, view, seen, phase, updating);
    let recorded = keys(&copy.inventory);
    let completed = seen.completed.iter().filter(|(key, _)| recorded.contains(key));
    CopyRecord {
        phase,
        available,
        applied,
        failure: failure(phase, copy, seen),
        // A copy that is not failed has nothing to be tried again for.
        retry_request: match bound && phase != Phase::Failed && !updating {
            true => snapshot.retry_requests,
            false => copy.retry_request,
        },
        containers: seen.health.containers,
        services: seen.services.clone(),
        inventory: with_uids(&copy.inventory, seen),
        completed: copy.completed.clone().into_iter().chain(completed.cloned()).collect(),
        ..copy.clone()
    }
}

/// What is to be said of whether the cluster accepted what is wanted. What was refused is accepted once all is there as
/// wanted, unless it was refused for the sake of another Work. `updating`: another Work is to be applied.
fn accepted(
    copy: &CopyRecord,
    view: &ClusterView,
    seen: &Observation,
    phase: Phase,
    updating: bool,
) -> Answer {
    match (&view.basis, &view.targets) {
        (Basis::Unknown(why), _) => {
            Answer::unknown(Reason::Unspecified, format!("kept as it is, and not repaired: {why}"))
        }
        // Why the update was refused says more than that the cluster does not tell at present whether it can take it.
        (_, Targets::Unknown(why))
            if updating
                && phase == Phase::Running
                && copy.applied.truth != Truth::False
                && !why.is_empty() =>
        {
            Answer::unknown(Reason::ClusterNotReachable, why)
        }
        _ if phase == Phase::Running && seen.is_whole() && !updating && copy.is_whole() => {
            copy.accepted(&seen.used)
        }
        _ => copy.applied.clone(),
    }
}

/// Where the reason lies why a copy is now in this phase, if that is FAILED.
fn failure(phase: Phase, copy: &CopyRecord, seen: &Observation) -> Option<Class> {
    let cause = seen.cause.as_ref().and_then(|cause| cause.class);
    match (phase, copy.phase, &seen.health.verdict) {
        (Phase::Failed, Phase::Failed, _) => copy.failure,
        (Phase::Failed, ..) if cause.is_some() => cause,
        // Workloads that crash will do so elsewhere; those that do not start may find room there.
        (Phase::Failed, _, Verdict::Failed(_)) => Some(Class::OfSpec),
        (Phase::Failed, ..) => Some(Class::OfCluster),
        _ => None,
    }
}

/// The inventory, with the uids of the objects that are seen.
fn with_uids(inventory: &[InventoryEntry], seen: &Observation) -> Vec<InventoryEntry> {
    let present: HashMap<_, _> = seen.present.iter().map(|present| (&present.key, &present.uid)).collect();
    let mut inventory = inventory.to_vec();
    for entry in &mut inventory {
        if let Some(uid) = present.get(&entry.key) {
            entry.uid.clone_from(uid);
        }
    }
    inventory
}

/// The objects of a copy that its documents do not name any more.
fn surplus(snapshot: &Snapshot, copy: &CopyRecord, view: &ClusterView) -> Vec<InventoryEntry> {
    match &view.targets {
        Targets::Known(targets) if view.basis == Basis::Works && !needs_apply(snapshot, copy, view) => {
            let wanted: HashSet<_> = targets.iter().collect();
            copy.inventory.iter().filter(|entry| !wanted.contains(&entry.key)).cloned().collect()
        }
        _ => Vec::new(),
    }
}

/// What is left of an attempt's time; not nothing, so that a wait for it ends after it.
pub(super) fn remaining(snapshot: &Snapshot, view: &ClusterView) -> Duration {
    snapshot.deadline.saturating_sub(view.attempt.elapsed).max(SHORTEST_WAIT)
}
