//! Planning for a bound cluster: what is wanted is recorded and applied there, or looked after once it was.

use std::collections::BTreeMap;
use std::time::Duration;

use super::handover;
use super::tend::{remaining, tend};
use super::works::{self, Work, needs_apply};
use super::{
    Answer, Apply, ClusterView, CopyRecord, LOOK_AGAIN, Phase, Presence, Reason, Snapshot, Step, Targets,
    Truth,
};
use crate::failure::Class;
use crate::object::order::Rank;
use crate::object::rendering::{DocumentHash, DocumentSet};
use crate::object::{ClusterUid, InventoryEntry, ObjectKey, keys};

/// How long a new copy waits until it is seen how many replicas there are where its workloads run. A cluster that answers and
/// shows nothing for so long has trouble of its own.
const UNSEEN_PATIENCE: Duration = Duration::from_secs(60);

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
            // A new process has not seen yet how many replicas the workloads have where they run.
            _ if view.scaled && runs_unseen(snapshot) => vec![Step::Wait(LOOK_AGAIN)],
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
            if let Some(renewed) = works::renewed(snapshot, copy, view, true) {
                return vec![Step::Report(renewed)];
            }
            if needs_apply(snapshot, copy, view) {
                let begun = !matches!(copy.phase, Phase::Intended | Phase::Removing);
                return match begun || may_create {
                    true => advance(snapshot, copy, view),
                    false => vec![Step::Wait(LOOK_AGAIN)],
                };
            }
            match copy.phase {
                Phase::Failed if replaces_running && is_withdrawn(snapshot, copy) => {
                    let inventory = copy.inventory.clone();
                    vec![Step::Withdraw { cluster: copy.cluster.clone(), inventory }]
                }
                Phase::Failed => revive(snapshot, copy, view),
                _ => tend(snapshot, copy, true),
            }
        }
    }
}

/// Whether the objects of a copy that failed are removed, while another one runs. By now it may serve, and the other one not.
fn is_withdrawn(snapshot: &Snapshot, copy: &CopyRecord) -> bool {
    // What a user asks for comes first: objects that do not go must not keep it waiting for ever.
    let is_current = copy.retry_request == snapshot.retry_requests;
    is_current && !copy.inventory.is_empty() && handover::makes_room(snapshot, copy)
}

/// Whether a copy that runs, on a cluster that answers, was not looked at yet, and may be soon.
fn runs_unseen(snapshot: &Snapshot) -> bool {
    let unseen = |copy: &CopyRecord| {
        let view = snapshot.clusters.get(&copy.cluster);
        view.is_some_and(|view| view.presence == Presence::Unseen && view.unseen < UNSEEN_PATIENCE)
    };
    snapshot.copies.iter().any(|copy| copy.phase == Phase::Running && unseen(copy))
}

/// Applies what is wanted, unless it was refused a short time ago, or the cluster does not say whether it can take it: until
/// then what runs is looked after.
fn advance(snapshot: &Snapshot, copy: &CopyRecord, view: &ClusterView) -> Vec<Step> {
    let is_unknown = matches!(view.targets, Targets::Unknown(_));
    if !copy.ran() || view.attempt.pause.is_zero() && !is_unknown {
        let mut steps = deploy(snapshot, copy, view);
        let webhooks = dropped_webhooks(copy, view);
        if !webhooks.is_empty() && matches!(steps.last(), Some(Step::Apply { .. })) {
            let prune = Step::Prune { cluster: copy.cluster.clone(), surplus: webhooks };
            steps.insert(steps.len() - 1, prune);
        }
        return steps;
    }
    let mut steps = tend(snapshot, copy, true);
    steps.push(Step::Wait(if is_unknown { LOOK_AGAIN } else { view.attempt.pause }));
    steps
}

/// The webhooks of a copy that its new documents do not name, if a webhook was in the way of these: one of them, perhaps.
fn dropped_webhooks(copy: &CopyRecord, view: &ClusterView) -> Vec<InventoryEntry> {
    let Targets::Known(targets) = &view.targets else { return Vec::new() };
    if !view.webhook {
        return Vec::new();
    }
    let is_dropped =
        |entry: &&InventoryEntry| Rank::of(&entry.key) == Rank::Webhook && !targets.contains(&entry.key);
    copy.inventory.iter().filter(is_dropped).cloned().collect()
}

/// A copy that failed is tried again slowly, or as soon as the cluster serves what it did not.
fn revive(snapshot: &Snapshot, copy: &CopyRecord, view: &ClusterView) -> Vec<Step> {
    if copy.retry_request != snapshot.retry_requests {
        // A user asks for another attempt, also of what was accepted and did not become available.
        return deploy(snapshot, copy, view);
    }
    let accepted = copy.applied.truth == Truth::True && !copy.inventory.is_empty();
    let complete = match &view.presence {
        Presence::Seen(seen) => seen.is_whole(),
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

/// Applies what is wanted, after recording its documents and that its objects may exist.
fn deploy(snapshot: &Snapshot, copy: &CopyRecord, view: &ClusterView) -> Vec<Step> {
    let (targets, wanted) = match (&view.targets, &view.wanted) {
        (Targets::Known(targets), Some(wanted)) => (targets, wanted),
        (Targets::Known(_), None) => return vec![Step::Wait(LOOK_AGAIN)],
        (Targets::Unknown(why), _) => return undiscovered(snapshot, copy, view, why),
        (Targets::Impossible(reason, why), _) => return impossible(snapshot, copy, *reason, why),
    };
    let apply = Step::Apply { cluster: copy.cluster.clone(), what: Apply::Wanted };
    let tried = copy.phase == Phase::Failed && copy.observed_generation == snapshot.generation;
    let goes_on = copy.version != 0 && (tried || matches!(copy.phase, Phase::Intended | Phase::Running));
    if goes_on && copy.recorded(wanted).is_some() && copy.covers(targets) {
        return vec![apply];
    }
    vec![Step::RecordIntent(intent(snapshot, copy, view, wanted, targets)), apply]
}

/// The record of a copy before the wanted documents are applied.
fn intent(
    snapshot: &Snapshot,
    copy: &CopyRecord,
    view: &ClusterView,
    wanted: &DocumentSet,
    targets: &[ObjectKey],
) -> CopyRecord {
    let intended = copy.recorded(wanted).unwrap_or(Work::new(*wanted, snapshot.generation));
    let inventory = united(&copy.inventory, targets);
    let completed = completed(snapshot, copy, view, wanted, targets);
    if copy.ran() {
        // What runs goes on running while it changes. What goes back to what was accepted before remains to be done as long
        // as the two Works differ.
        let back = copy.applied_work.is_some_and(|applied| applied.set == *wanted);
        let intended_work = if back { copy.intended_work } else { Some(intended) };
        return CopyRecord { phase: Phase::Running, inventory, intended_work, completed, ..copy.clone() };
    }
    // Of a copy whose removal began nothing is whole.
    let applied_work = copy.applied_work.filter(|_| copy.phase != Phase::Removing);
    CopyRecord {
        phase: Phase::Intended,
        observed_generation: 0,
        failure: None,
        inventory,
        completed,
        applied_work,
        intended_work: Some(intended),
        ..copy.clone()
    }
}

/// The Jobs of a copy that ran to their end. A new copy takes over those of the same documents from the others, and from
/// those that are gone: a move does not run them again.
fn completed(
    snapshot: &Snapshot,
    copy: &CopyRecord,
    view: &ClusterView,
    wanted: &DocumentSet,
    targets: &[ObjectKey],
) -> BTreeMap<ObjectKey, DocumentHash> {
    let mut completed = copy.completed.clone();
    let elsewhere = snapshot.copies.iter().filter(|other| copy.version == 0 && other.cluster != copy.cluster);
    for other in elsewhere {
        let is_done =
            |key: &&ObjectKey| other.has_completed(key, wanted.hash) && !view.every_cluster.contains(*key);
        let done = targets.iter().filter(is_done);
        completed.extend(done.map(|key| (key.clone(), wanted.hash)));
    }
    if copy.applied_work.is_none() {
        let is_done = |(key, set): &(&ObjectKey, &DocumentHash)| {
            **set == wanted.hash && targets.contains(key) && !view.every_cluster.contains(*key)
        };
        let done = snapshot.completed.iter().filter(is_done);
        completed.extend(done.map(|(key, set)| (key.clone(), *set)));
    }
    completed
}

/// The cluster does not say at present which of the objects it can take. Of a copy that does not run: see [`advance`].
fn undiscovered(snapshot: &Snapshot, copy: &CopyRecord, view: &ClusterView, why: &str) -> Vec<Step> {
    let reason = Reason::ClusterNotReachable;
    if view.attempt.elapsed >= snapshot.deadline {
        return vec![Step::Report(failed(snapshot, copy, reason, why.to_owned()))];
    }
    if why.is_empty() {
        return vec![Step::Wait(LOOK_AGAIN)];
    }
    let told = CopyRecord { applied: Answer::unknown(reason, why), ..copy.clone() };
    let wait = Step::Wait(LOOK_AGAIN.min(remaining(snapshot, view)));
    match copy.version {
        // The attempt begins with its record, and so does its deadline.
        0 => vec![Step::RecordIntent(told), wait],
        _ => (told != *copy).then_some(Step::Report(told)).into_iter().chain([wait]).collect(),
    }
}

/// The cluster can take the objects only if they, or the cluster, change.
fn impossible(snapshot: &Snapshot, copy: &CopyRecord, reason: Reason, why: &str) -> Vec<Step> {
    if copy.ran() {
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

fn united(inventory: &[InventoryEntry], targets: &[ObjectKey]) -> Vec<InventoryEntry> {
    let recorded = keys(inventory);
    let new = targets.iter().filter(|key| !recorded.contains(key));
    let new = new.map(|key| InventoryEntry { key: key.clone(), uid: None });
    inventory.iter().cloned().chain(new).collect()
}
