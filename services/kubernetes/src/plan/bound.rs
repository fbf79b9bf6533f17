//! Planning for copies that stay: deploying, repairing, judging.

use super::{
    Answer, ClusterView, CopyRecord, LOOK_AGAIN, Phase, Presence, Reason, Snapshot, Step, Targets, Truth,
};
use crate::object::health::Verdict;
use crate::object::observation::Observation;
use crate::object::{ClusterUid, InventoryEntry, ObjectKey};

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
            if answers && snapshot.decided() && needs_apply(snapshot, copy) {
                let begun = !matches!(copy.phase, Phase::Intended | Phase::Removing);
                return if begun || may_create {
                    deploy(snapshot, copy, view)
                } else {
                    vec![Step::Wait(LOOK_AGAIN)]
                };
            }
            if copy.phase == Phase::Failed && replaces_running && answers && !copy.inventory.is_empty() {
                let inventory = copy.inventory.clone();
                return vec![Step::Withdraw { cluster: copy.cluster.clone(), inventory }];
            }
            tend(snapshot, copy, true)
        }
    }
}

/// Applies the present manifest, after recording that its objects may exist.
fn deploy(snapshot: &Snapshot, copy: &CopyRecord, view: &ClusterView) -> Vec<Step> {
    let targets = match &view.targets {
        Targets::Known(targets) => targets,
        Targets::Unknown(why) => {
            let applied = Answer::unknown(Reason::ClusterNotReachable, why.clone());
            let told = CopyRecord { applied, ..copy.clone() };
            // A copy that is not even begun is not worth a record for this.
            let report = (copy.version != 0 && told != *copy).then_some(Step::Report(told));
            return report.into_iter().chain([Step::Wait(LOOK_AGAIN)]).collect();
        }
        Targets::Impossible(reason, why) => {
            let failed = CopyRecord {
                phase: Phase::Failed,
                observed_generation: snapshot.generation,
                applied: Answer::no(*reason, why.clone()),
                available: Answer::no(*reason, String::new()),
                ..copy.clone()
            };
            // A first record is an intent, whatever comes after it.
            let intent = (copy.version == 0).then(|| Step::RecordIntent(copy.clone()));
            return intent.into_iter().chain([Step::Report(failed)]).collect();
        }
    };
    let apply = Step::Apply { cluster: copy.cluster.clone(), basis: snapshot.generation };
    let recorded = copy.version != 0 && matches!(copy.phase, Phase::Intended | Phase::Running);
    if recorded && copy.covers(targets) {
        return vec![apply];
    }
    let intent = CopyRecord {
        phase: Phase::Intended,
        observed_generation: 0,
        inventory: united(&copy.inventory, targets),
        ..copy.clone()
    };
    vec![Step::RecordIntent(intent), apply]
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
        Presence::Unreachable(why) => return unreachable(copy, why),
        Presence::Seen(seen) if view.basis == copy.observed_generation => seen,
        Presence::Unseen | Presence::Seen(_) => return vec![Step::Wait(LOOK_AGAIN)],
    };
    let judged = judge(snapshot, copy, seen, bound);
    let waits_until_deadline = judged.phase == Phase::Applying && copy.phase == Phase::Applying;
    let mut steps = Vec::new();
    let repairable = matches!(judged.phase, Phase::Applying | Phase::Running);
    if repairable && !(seen.missing.is_empty() && seen.drifted.is_empty()) {
        if copy.phase == Phase::Unreachable {
            steps.push(Step::Report(judged));
        }
        steps.push(Step::Apply { cluster: copy.cluster.clone(), basis: view.basis });
        return steps;
    }
    let surplus = surplus(snapshot, copy, view);
    let runs = copy.phase == Phase::Running && judged.phase == Phase::Running;
    if judged != *copy {
        steps.push(Step::Report(judged));
    }
    if bound && runs && !surplus.is_empty() {
        steps.push(Step::Prune { cluster: copy.cluster.clone(), surplus });
    }
    if waits_until_deadline {
        steps.push(Step::Wait(snapshot.deadline.saturating_sub(snapshot.age(copy))));
    }
    steps
}

/// What a copy on a cluster that does not answer is recorded as: nothing is known of it, and nothing is forgotten.
pub(super) fn unreachable(copy: &CopyRecord, why: &str) -> Vec<Step> {
    let phase = match copy.phase {
        // It failed, whatever is there now.
        Phase::Failed => return vec![Step::Wait(LOOK_AGAIN)],
        Phase::Removing => Phase::Removing,
        _ => Phase::Unreachable,
    };
    let available = Answer::unknown(Reason::ClusterNotReachable, why);
    let told = CopyRecord { phase, available, ..copy.clone() };
    // Messages about the same silence differ from look to look: one of them is enough.
    let known = told.phase == copy.phase && told.available.reason == copy.available.reason;
    let report = (!known).then_some(Step::Report(told));
    report.into_iter().chain([Step::Wait(LOOK_AGAIN)]).collect()
}

/// The record of a copy by what is seen of it.
fn judge(snapshot: &Snapshot, copy: &CopyRecord, seen: &Observation, bound: bool) -> CopyRecord {
    let overdue = copy.phase == Phase::Applying && snapshot.age(copy) >= snapshot.deadline;
    let (phase, available) = match (&seen.health.verdict, copy.phase) {
        // Nothing was applied: what is seen says nothing about it.
        (_, Phase::Intended | Phase::Removing) => return copy.clone(),
        (_, Phase::Failed) if !bound || copy.applied.truth != Truth::True => return copy.clone(),
        (Verdict::Available, _) => (Phase::Running, Answer::yes()),
        (_, Phase::Failed) => (Phase::Failed, copy.available.clone()),
        (Verdict::Progressing(why) | Verdict::Failed(why), Phase::Running) => {
            (Phase::Running, Answer::no(Reason::Unhealthy, why.clone()))
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
    let mut inventory = copy.inventory.clone();
    for entry in &mut inventory {
        if let Some(present) = seen.present.iter().find(|present| present.key == entry.key) {
            entry.uid.clone_from(&present.uid);
        }
    }
    CopyRecord {
        phase,
        available,
        applied: if phase == Phase::Running { Answer::yes() } else { copy.applied.clone() },
        containers: seen.health.containers,
        services: seen.services.clone(),
        inventory,
        ..copy.clone()
    }
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
