//! What the summary of an application says, given its bindings, copies and conditions.

use krake_proto::condition::{bounded, find, reason_of, reasons, type_of, types};
use krake_proto::krake::kubernetes::v1::{
    ApplicationState as State, ApplicationStatus, ContainerHealth, Copy, Phase, UnreachableCluster,
};
use krake_proto::krake::meta::v1::{Condition, ConditionStatus, Metadata, Reason, ReasonCode};
use krake_proto::reachability::known_phase;

use crate::cache::Absences;
use crate::kinds::condition::reason;

/// A status that holds the derived fields and nothing else.
pub(super) fn derive(metadata: &Metadata, status: &ApplicationStatus) -> ApplicationStatus {
    let (state, why) = state(metadata, status, &Absences::default());
    let running = bound(status).chain(others(status)).find(|copy| copy.phase() == Phase::Running);
    let shown: Vec<&Copy> = bound(status).collect();
    let mut derived = ApplicationStatus {
        state: state.into(),
        reason: why,
        container_health: Some(health(&shown)),
        scheduled_to: status.bindings.first().and_then(|binding| binding.cluster.clone()),
        running_on: running.and_then(|copy| copy.cluster.clone()),
        ..Default::default()
    };
    for copy in shown.into_iter().chain(running) {
        derived.services.extend(copy.services.clone());
    }
    derived
}

/// A status that holds the fields that reads derive, and nothing else: while these clusters are unreachable.
pub(super) fn on_read(
    metadata: &Metadata,
    status: &ApplicationStatus,
    absences: &Absences,
) -> ApplicationStatus {
    let (state, reason) = state(metadata, status, absences);
    let unreachable = status.copies.iter().filter_map(|copy| {
        let why = absence(copy, absences)?;
        let (reason, message) = (reason_of(why).to_owned(), why.message.clone());
        Some(UnreachableCluster { cluster: copy.cluster.clone(), reason, message })
    });
    let unreachable_clusters = unreachable.collect();
    ApplicationStatus { state: state.into(), reason, unreachable_clusters, ..Default::default() }
}

fn is_bound(status: &ApplicationStatus, copy: &Copy) -> bool {
    let uid = |cluster: &Option<krake_proto::krake::meta::v1::ResourceRef>| {
        cluster.as_ref().map(|cluster| cluster.uid.clone()).unwrap_or_default()
    };
    status.bindings.iter().any(|binding| uid(&binding.cluster) == uid(&copy.cluster))
}

fn bound(status: &ApplicationStatus) -> impl Iterator<Item = &Copy> {
    status.copies.iter().filter(move |copy| is_bound(status, copy))
}

fn others(status: &ApplicationStatus) -> impl Iterator<Item = &Copy> {
    status.copies.iter().filter(move |copy| !is_bound(status, copy))
}

fn health(copies: &[&Copy]) -> ContainerHealth {
    let mut sum = ContainerHealth::default();
    for health in copies.iter().filter_map(|copy| copy.health.as_ref()) {
        // The numbers are the reporters'; no report may overflow the sum.
        sum.desired_pods = sum.desired_pods.saturating_add(health.desired_pods);
        sum.running_pods = sum.running_pods.saturating_add(health.running_pods);
        sum.completed_pods = sum.completed_pods.saturating_add(health.completed_pods);
        sum.failed_pods = sum.failed_pods.saturating_add(health.failed_pods);
    }
    sum
}

/// A condition of the copy that says what is wrong.
pub(super) fn complaint(copy: &Copy) -> Option<&Condition> {
    [types::APPLIED, types::AVAILABLE]
        .into_iter()
        .filter_map(|name| find(&copy.conditions, name))
        .find(|condition| condition.status() == ConditionStatus::False)
}

/// What the removal of a copy waits for, whatever else was wrong with it before.
fn removal(copy: &Copy) -> Option<&Condition> {
    find(&copy.conditions, types::AVAILABLE).filter(|why| reason_of(why) == reasons::WAITING_FOR_REMOVAL)
}

/// Whether the scheduler has used up its attempts to place this spec. Another spec gets new ones.
fn is_given_up(metadata: &Metadata, status: &ApplicationStatus, unscheduled: &Condition) -> bool {
    status.retries == Some(0)
        && status.scheduled_retry.is_none()
        && unscheduled.observed_generation >= metadata.generation
}

/// Why the cluster of a copy is unreachable.
fn absence<'a>(copy: &Copy, absences: &'a Absences) -> Option<&'a Condition> {
    absences.get(&copy.cluster.as_ref()?.uid)
}

/// The phase of a copy as far as it is known.
fn phase(copy: &Copy, absences: &Absences) -> Phase {
    known_phase(copy.phase(), absence(copy, absences).is_some())
}

/// Whether nothing can be done about a copy until its cluster is reachable. Older versions stored that as a phase.
fn is_away(copy: &Copy, absences: &Absences) -> bool {
    absence(copy, absences).is_some() || copy.phase() == Phase::Unreachable
}

/// What a copy that is not begun may wait for: that another one is seen to be gone, with the strategy DELETE_FIRST, or of an
/// application that claims volumes and failed there. The spec is not known here.
fn predecessor(status: &ApplicationStatus, absences: &Absences) -> Option<Reason> {
    let waits = |copy: &Copy| {
        let name = copy.cluster.as_ref().map_or("", |cluster| cluster.name.as_str());
        if let Some(Reason { code, message }) = away(copy, absences) {
            let message = format!(
                "{message}; with CREATE_FIRST nothing waits for it, unless its copy failed and claims volumes; with \
                 DELETE_FIRST its copy has to be gone first: if the cluster never comes back, declare it lost (rok kube \
                 cluster lost {name})"
            );
            return Some(Reason { code, message: bounded(message) });
        }
        if copy.phase() != Phase::Removing {
            return None;
        }
        let told = removal(copy).map_or_else(String::new, |why| format!(": {}", why.message));
        let message = bounded(format!("the copy on cluster {name:?} is being removed first{told}"));
        Some(Reason { code: ReasonCode::DeleteFailed.into(), message })
    };
    others(status).find_map(waits)
}

/// Why nothing is known of a copy, if so.
fn away(copy: &Copy, absences: &Absences) -> Option<Reason> {
    let name = copy.cluster.as_ref().map_or("", |cluster| cluster.name.as_str());
    let message = match absence(copy, absences) {
        Some(why) => {
            let (reason, text) = (reason_of(why), &why.message);
            format!("cluster {name:?} is unreachable, what runs there is unknown: {reason}: {text}")
        }
        None if copy.phase() == Phase::Unreachable => {
            format!("cluster {name:?} does not answer; what runs there is unknown")
        }
        None => return None,
    };
    Some(Reason { code: ReasonCode::ClusterNotReachable.into(), message: bounded(message) })
}

fn state(metadata: &Metadata, status: &ApplicationStatus, absences: &Absences) -> (State, Option<Reason>) {
    let unscheduled = find(&status.conditions, types::SCHEDULED)
        .filter(|condition| condition.status() == ConditionStatus::False);
    // A copy that waits for an unreachable cluster does not keep a migration unfinished.
    let leaving = others(status).any(|copy| !is_away(copy, absences));
    if metadata.deleted.is_some() {
        let removing = status.copies.iter().filter(|copy| copy.phase() == Phase::Removing);
        let waits = removing.filter_map(removal).next();
        let away = status.copies.iter().find_map(|copy| away(copy, absences));
        return (State::Deleting, away.or(waits.map(reason)));
    }
    if status.bindings.is_empty() {
        let state = match unscheduled {
            Some(answer) if is_given_up(metadata, status, answer) => State::Failed,
            _ => State::Pending,
        };
        return (state, unscheduled.map(reason));
    }
    let bound: Vec<&Copy> = bound(status).collect();
    if let Some(failed) = bound.iter().find(|copy| copy.phase() == Phase::Failed) {
        let still_runs = others(status).any(|copy| phase(copy, absences) == Phase::Running);
        // Another spec is another attempt, unless there is no cluster for it.
        let attempted = failed.observed_generation >= metadata.generation
            || unscheduled.is_some_and(|answer| answer.observed_generation >= metadata.generation);
        let state = match (still_runs, attempted) {
            (true, _) => State::Degraded,
            (false, true) => State::Failed,
            (false, false) => State::Reconciling,
        };
        return (state, complaint(failed).map(reason));
    }
    if let Some(away) = bound.iter().find_map(|copy| away(copy, absences)) {
        return (State::Degraded, Some(away));
    }
    if bound.len() < status.bindings.len() || bound.iter().any(|copy| copy.phase() != Phase::Running) {
        let state = match unscheduled {
            Some(answer) if status.copies.is_empty() && is_given_up(metadata, status, answer) => {
                State::Failed
            }
            _ if leaving => State::Migrating,
            _ => State::Creating,
        };
        let wrong = bound.iter().find_map(|copy| complaint(copy));
        // Workloads that are still starting are not worth a complaint.
        let wrong = wrong.filter(|condition| reason_of(condition) != reasons::PROGRESSING);
        let wrong = wrong.map(reason);
        let waits = bound.is_empty().then(|| predecessor(status, absences)).flatten();
        let nowhere = unscheduled.filter(|answer| answer.observed_generation >= metadata.generation);
        return (state, wrong.or(waits).or(nowhere.map(reason)));
    }
    if leaving {
        return (State::Migrating, None);
    }
    // The scheduler has seen this spec and found no cluster for it: nothing is on its way.
    if let Some(condition) =
        unscheduled.filter(|condition| condition.observed_generation >= metadata.generation)
    {
        return (State::Degraded, Some(reason(condition)));
    }
    if status.scheduled_generation < metadata.generation
        || bound.iter().any(|copy| copy.observed_generation < metadata.generation)
    {
        return changing(metadata, status, bound.iter().find_map(|copy| complaint(copy)));
    }
    summary(bound.iter().find_map(|copy| complaint(copy)).or(unscheduled))
}

/// The state of an application that runs, and not yet by its present spec, by what is wrong with it.
fn changing(
    metadata: &Metadata,
    status: &ApplicationStatus,
    wrong: Option<&Condition>,
) -> (State, Option<Reason>) {
    // What is still being applied or rolled out is not worth a complaint.
    let wrong = wrong.filter(|condition| reason_of(condition) != reasons::PROGRESSING);
    // The cluster refused the change, and what ran before runs on.
    let refused = status.scheduled_generation >= metadata.generation
        && wrong.is_some_and(|condition| type_of(condition) == types::APPLIED);
    (if refused { State::Degraded } else { State::Reconciling }, wrong.map(reason))
}

/// The state of an application whose present spec runs, by what is wrong with it.
fn summary(wrong: Option<&Condition>) -> (State, Option<Reason>) {
    match wrong.map(|condition| (reason_of(condition), reason(condition))) {
        // A change is being rolled out.
        Some((reasons::PROGRESSING, _)) => (State::Reconciling, None),
        Some((reasons::NOT_STARTING, why)) => (State::Reconciling, Some(why)),
        Some((_, why)) => (State::Degraded, Some(why)),
        None => (State::Running, None),
    }
}

#[cfg(test)]
mod tests;
