//! Planning for copies that stay: deploying, repairing, judging.

use std::time::Duration;

use super::{
    Answer, ClusterView, CopyRecord, LOOK_AGAIN, Phase, Presence, Reason, Snapshot, Step, Targets, Truth,
};
use crate::failure::Class;
use crate::object::health::Verdict;
use crate::object::observation::Observation;
use crate::object::{ClusterUid, InventoryEntry, ObjectKey};

/// A wait for a deadline ends after it, also by clocks that round.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);

/// Whether the copy on a bound cluster runs: recorded as running, of the present spec, and available at this moment.
pub(super) fn runs(snapshot: &Snapshot, cluster: &ClusterUid) -> bool {
    let Some(copy) = snapshot.copies.iter().find(|copy| copy.cluster == *cluster) else { return false };
    let Some(view) = snapshot.clusters.get(cluster) else { return false };
    let Presence::Seen(seen) = &view.presence else { return false };
    copy.phase == Phase::Running
        && view.basis == copy.observed_generation
        && !(snapshot.decided() && needs_apply(snapshot, copy))
        && seen.health.verdict == Verdict::Available
}

fn needs_apply(snapshot: &Snapshot, copy: &CopyRecord) -> bool {
    copy.observed_generation != snapshot.generation || copy.phase == Phase::Removing
}

/// Steps for a cluster in the wanted set. `may_create`: no other copy has to go first. `replaces_running`:
/// there is another copy that still runs and that this one is to take over from.
pub(super) fn keep(
    snapshot: &Snapshot,
    cluster: &ClusterUid,
    copy: Option<&CopyRecord>,
    may_create: bool,
    replaces_running: bool,
) -> Vec<Step> {
    let Some(view) = snapshot.clusters.get(cluster) else { return vec![Step::Wait(LOOK_AGAIN)] };
    match copy {
        None => match view.presence {
            Presence::Unseen | Presence::Seen(_) if snapshot.decided() && may_create => {
                deploy(snapshot, &CopyRecord::intended(cluster, snapshot.now), view)
            }
            _ => vec![Step::Wait(LOOK_AGAIN)],
        },
        Some(copy) => {
            let answers = matches!(view.presence, Presence::Unseen | Presence::Seen(_));
            if !(answers && snapshot.decided()) {
                return tend(snapshot, copy, true);
            }
            if needs_apply(snapshot, copy) {
                let begun = !matches!(copy.phase, Phase::Intended | Phase::Removing);
                return match begun || may_create {
                    true => advance(snapshot, copy, view),
                    false => vec![Step::Wait(LOOK_AGAIN)],
                };
            }
            match copy.phase {
                Phase::Failed if replaces_running && !copy.inventory.is_empty() => {
                    let inventory = copy.inventory.clone();
                    vec![Step::Withdraw { cluster: copy.cluster.clone(), inventory }]
                }
                Phase::Failed => revive(snapshot, copy, view),
                _ => tend(snapshot, copy, true),
            }
        }
    }
}

/// Applies the present manifest, unless it was refused a short time ago: until then what runs is looked after.
fn advance(snapshot: &Snapshot, copy: &CopyRecord, view: &ClusterView) -> Vec<Step> {
    if !view.ran(copy) || view.attempt.pause.is_zero() {
        return deploy(snapshot, copy, view);
    }
    let mut steps = tend(snapshot, copy, true);
    steps.push(Step::Wait(view.attempt.pause));
    steps
}

/// A copy that failed is tried again slowly, or as soon as the cluster serves what it did not.
fn revive(snapshot: &Snapshot, copy: &CopyRecord, view: &ClusterView) -> Vec<Step> {
    let accepted = copy.applied.truth == Truth::True && !copy.inventory.is_empty();
    let complete = match &view.presence {
        Presence::Seen(seen) => seen.missing.is_empty() && seen.drifted.is_empty(),
        _ => true,
    };
    if accepted && complete {
        // It may become available by itself.
        return tend(snapshot, copy, true);
    }
    let served =
        copy.applied.reason == Reason::UnsupportedResource && matches!(view.targets, Targets::Known(_));
    if view.attempt.pause.is_zero() || served {
        return deploy(snapshot, copy, view);
    }
    let mut steps = tend(snapshot, copy, true);
    steps.push(Step::Wait(view.attempt.pause));
    steps
}

/// Applies the present manifest, after recording that its objects may exist.
fn deploy(snapshot: &Snapshot, copy: &CopyRecord, view: &ClusterView) -> Vec<Step> {
    let targets = match &view.targets {
        Targets::Known(targets) => targets,
        Targets::Unknown(why) => return undiscovered(snapshot, copy, view, why),
        Targets::Impossible(reason, why) => return impossible(snapshot, copy, view, *reason, why),
    };
    let apply = Step::Apply { cluster: copy.cluster.clone(), basis: snapshot.generation };
    let tried = copy.phase == Phase::Failed && copy.observed_generation == snapshot.generation;
    let recorded = copy.version != 0 && (tried || matches!(copy.phase, Phase::Intended | Phase::Running));
    if recorded && copy.covers(targets) {
        return vec![apply];
    }
    let inventory = united(&copy.inventory, targets);
    let intent = if view.ran(copy) {
        // What runs goes on running while it changes.
        CopyRecord { phase: Phase::Running, inventory, ..copy.clone() }
    } else {
        let failure = None;
        CopyRecord { phase: Phase::Intended, observed_generation: 0, inventory, failure, ..copy.clone() }
    };
    vec![Step::RecordIntent(intent), apply]
}

/// The cluster does not say at present which of the objects it can take.
fn undiscovered(snapshot: &Snapshot, copy: &CopyRecord, view: &ClusterView, why: &str) -> Vec<Step> {
    let reason = Reason::ClusterNotReachable;
    if !view.ran(copy) && view.attempt.elapsed >= snapshot.deadline {
        return vec![Step::Report(failed(snapshot, copy, reason, why.to_owned()))];
    }
    if why.is_empty() {
        return vec![Step::Wait(LOOK_AGAIN)];
    }
    let told = CopyRecord { applied: Answer::unknown(reason, why), ..copy.clone() };
    let wait = match view.ran(copy) {
        true => Step::Wait(LOOK_AGAIN),
        false => Step::Wait(LOOK_AGAIN.min(remaining(snapshot, view))),
    };
    match copy.version {
        // The attempt begins with its record, and so does its deadline.
        0 => vec![Step::RecordIntent(told), wait],
        _ => (told != *copy).then_some(Step::Report(told)).into_iter().chain([wait]).collect(),
    }
}

/// The cluster can take the objects only if they, or the cluster, change.
fn impossible(
    snapshot: &Snapshot,
    copy: &CopyRecord,
    view: &ClusterView,
    reason: Reason,
    why: &str,
) -> Vec<Step> {
    if view.ran(copy) {
        let retry_request = snapshot.retry_requests;
        let told = CopyRecord { applied: Answer::no(reason, why), retry_request, ..copy.clone() };
        let report = (told != *copy).then_some(Step::Report(told));
        return report.into_iter().chain([Step::Wait(LOOK_AGAIN)]).collect();
    }
    let failed = failed(snapshot, copy, reason, why.to_owned());
    if failed == *copy {
        return vec![Step::Wait(LOOK_AGAIN)];
    }
    // A first record is an intent, whatever comes after it.
    let intent = (copy.version == 0).then(|| Step::RecordIntent(copy.clone()));
    intent.into_iter().chain([Step::Report(failed)]).collect()
}

/// The record of a copy that cannot be applied.
fn failed(snapshot: &Snapshot, copy: &CopyRecord, reason: Reason, why: String) -> CopyRecord {
    CopyRecord {
        phase: Phase::Failed,
        observed_generation: snapshot.generation,
        applied: Answer::no(reason, why),
        available: Answer::no(reason, String::new()),
        retry_request: snapshot.retry_requests,
        failure: Some(match reason {
            Reason::InvalidResource => Class::OfSpec,
            _ => Class::OfCluster,
        }),
        ..copy.clone()
    }
}

/// What is left of an attempt's time; not nothing, so that a wait for it ends after it.
fn remaining(snapshot: &Snapshot, view: &ClusterView) -> Duration {
    snapshot.deadline.saturating_sub(view.attempt.elapsed).max(SHORTEST_WAIT)
}

fn united(inventory: &[InventoryEntry], targets: &[ObjectKey]) -> Vec<InventoryEntry> {
    let new = targets.iter().filter(|key| inventory.iter().all(|entry| entry.key != **key));
    let new = new.map(|key| InventoryEntry { key: key.clone(), uid: None });
    inventory.iter().cloned().chain(new).collect()
}

/// Steps for a copy that was applied as far as it can be: repair, judge, report. Also for one that waits for its successor.
pub(super) fn tend(snapshot: &Snapshot, copy: &CopyRecord, bound: bool) -> Vec<Step> {
    let Some(view) = snapshot.clusters.get(&copy.cluster) else { return vec![Step::Wait(LOOK_AGAIN)] };
    let seen = match &view.presence {
        Presence::Erased => return vec![Step::Forget(copy.clone())],
        // Nothing is known of it, and nothing is recorded: that its cluster is unreachable stands on the cluster.
        Presence::Unreachable(_) => return vec![Step::Wait(LOOK_AGAIN)],
        Presence::Seen(seen) if view.basis == copy.observed_generation => seen,
        Presence::Unseen if copy.phase == Phase::Applying && bound => return unseen(snapshot, copy, view),
        Presence::Unseen | Presence::Seen(_) => return vec![Step::Wait(LOOK_AGAIN)],
    };
    let judged = judge(snapshot, copy, view, seen, bound);
    let awaited = judged.available.reason == Reason::Progressing
        && (judged.phase, judged.available.truth) == (copy.phase, copy.available.truth);
    let mut steps = Vec::new();
    let whole = seen.missing.is_empty() && seen.drifted.is_empty();
    let repairable = matches!(judged.phase, Phase::Applying | Phase::Running) && !whole;
    if repairable && view.attempt.repair_pause.is_zero() {
        if copy.phase == Phase::Unreachable {
            steps.push(Step::Report(judged));
        }
        steps.push(Step::Apply { cluster: copy.cluster.clone(), basis: view.basis });
        return steps;
    }
    let surplus = surplus(snapshot, copy, view);
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
    steps
}

/// Steps for a copy whose objects were accepted, and that the cluster does not show: not for longer than any attempt.
fn unseen(snapshot: &Snapshot, copy: &CopyRecord, view: &ClusterView) -> Vec<Step> {
    if view.attempt.elapsed < snapshot.deadline {
        return vec![Step::Wait(LOOK_AGAIN.min(remaining(snapshot, view)))];
    }
    let within = snapshot.deadline.as_secs();
    let why = match view.unseen.as_str() {
        "" => "it does not say why",
        why => why,
    };
    let message = format!("the cluster did not show the objects within {within} s: {why}");
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
    let (phase, available) = match (&seen.health.verdict, copy.phase) {
        // Nothing was applied: what is seen says nothing about it.
        (_, Phase::Intended | Phase::Removing) => return copy.clone(),
        (_, Phase::Failed) if !bound || copy.applied.truth != Truth::True => return copy.clone(),
        (Verdict::Available, _) => (Phase::Running, Answer::yes()),
        (_, Phase::Failed) => (Phase::Failed, copy.available.clone()),
        (Verdict::Progressing(why) | Verdict::Failed(why), _) if view.ran(copy) => {
            let has_failed = overdue || matches!(seen.health.verdict, Verdict::Failed(_));
            let reason = match copy.available.reason {
                // An update is being rolled out, and what served before mostly does still.
                Reason::Progressing if !has_failed => Reason::Progressing,
                Reason::Progressing | Reason::DeadlineExceeded => Reason::DeadlineExceeded,
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
            (Phase::Applying, Answer::no(Reason::Progressing, why.clone()))
        }
    };
    let failure = match (phase, copy.phase, &seen.health.verdict) {
        (Phase::Failed, Phase::Failed, _) => copy.failure,
        // Workloads that crash will do so elsewhere; those that do not start may find room there.
        (Phase::Failed, _, Verdict::Failed(_)) => Some(Class::OfSpec),
        (Phase::Failed, ..) => Some(Class::OfCluster),
        _ => None,
    };
    // What was refused is accepted once all is there as wanted, unless it was refused for the sake of a newer manifest.
    let whole = seen.missing.is_empty() && seen.drifted.is_empty();
    let updating = snapshot.decided() && copy.observed_generation != snapshot.generation;
    let applied = match phase == Phase::Running && whole && !updating {
        true => Answer::yes(),
        false => copy.applied.clone(),
    };
    CopyRecord {
        phase,
        available,
        applied,
        failure,
        // A copy that is not failed has nothing to be tried again for.
        retry_request: match bound && phase != Phase::Failed && !updating {
            true => snapshot.retry_requests,
            false => copy.retry_request,
        },
        containers: seen.health.containers,
        services: seen.services.clone(),
        inventory: with_uids(&copy.inventory, seen),
        ..copy.clone()
    }
}

/// The inventory, with the uids of the objects that are seen.
fn with_uids(inventory: &[InventoryEntry], seen: &Observation) -> Vec<InventoryEntry> {
    let mut inventory = inventory.to_vec();
    for entry in &mut inventory {
        if let Some(present) = seen.present.iter().find(|present| present.key == entry.key) {
            entry.uid.clone_from(&present.uid);
        }
    }
    inventory
}

/// The objects of a copy that its manifest does not name any more.
fn surplus(snapshot: &Snapshot, copy: &CopyRecord, view: &ClusterView) -> Vec<InventoryEntry> {
    match &view.targets {
        Targets::Known(targets) if copy.observed_generation == snapshot.generation => {
            copy.inventory.iter().filter(|entry| !targets.contains(&entry.key)).cloned().collect()
        }
        _ => Vec::new(),
    }
}
