//! What the summary of an application says, given its bindings, copies and conditions.

use krake_proto::condition::{bounded, find, reason_of, reasons, type_of, types};
use krake_proto::krake::kubernetes::v1::{
    ApplicationState as State, ApplicationStatus, ContainerHealth, Copy, Phase,
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
    ApplicationStatus { state: state.into(), reason, ..Default::default() }
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
        let waits = removing.filter_map(complaint).find(|why| reason_of(why) == reasons::WAITING_FOR_REMOVAL);
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
        let state = if leaving { State::Migrating } else { State::Creating };
        let wrong = bound.iter().find_map(|copy| complaint(copy));
        // Workloads that are still starting are not worth a complaint.
        let wrong = wrong.filter(|condition| reason_of(condition) != reasons::PROGRESSING);
        return (state, wrong.map(reason));
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
        let complaint = bound.iter().find_map(|copy| complaint(copy));
        // The cluster refused the change, and what ran before runs on.
        let refused = status.scheduled_generation >= metadata.generation
            && complaint.is_some_and(|condition| type_of(condition) == types::APPLIED);
        return (if refused { State::Degraded } else { State::Reconciling }, complaint.map(reason));
    }
    match bound.iter().find_map(|copy| complaint(copy)).or(unscheduled) {
        // A change is being rolled out.
        Some(condition) if reason_of(condition) == reasons::PROGRESSING => (State::Reconciling, None),
        Some(condition) => (State::Degraded, Some(reason(condition))),
        None => (State::Running, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use krake_proto::krake::kubernetes::v1::Binding;
    use krake_proto::krake::meta::v1::ResourceRef;
    use rstest::rstest;

    fn cluster(uid: &str) -> Option<ResourceRef> {
        Some(ResourceRef { uid: uid.into(), name: uid.into(), ..Default::default() })
    }

    fn copy(uid: &str, phase: Phase, generation: i64) -> Copy {
        Copy {
            cluster: cluster(uid),
            phase: phase.into(),
            observed_generation: generation,
            ..Default::default()
        }
    }

    fn no(r#type: &str, reason: &str) -> Condition {
        Condition {
            r#type: r#type.into(),
            status: ConditionStatus::False.into(),
            reason: reason.into(),
            ..Default::default()
        }
    }

    fn status(bindings: &[&str], copies: Vec<Copy>) -> ApplicationStatus {
        let bindings =
            bindings.iter().map(|uid| Binding { cluster: cluster(uid), ..Default::default() }).collect();
        ApplicationStatus { bindings, copies, scheduled_generation: 2, ..Default::default() }
    }

    #[rstest]
    #[case::new(&[], vec![], State::Pending)]
    #[case::bound(&["a"], vec![], State::Creating)]
    #[case::intended(&["a"], vec![copy("a", Phase::Intended, 0)], State::Creating)]
    #[case::applied(&["a"], vec![copy("a", Phase::Applying, 2)], State::Creating)]
    #[case::running(&["a"], vec![copy("a", Phase::Running, 2)], State::Running)]
    #[case::changed(&["a"], vec![copy("a", Phase::Running, 1)], State::Reconciling)]
    #[case::moving(&["b"], vec![copy("a", Phase::Running, 2)], State::Migrating)]
    #[case::cleaning(&["b"], vec![copy("a", Phase::Removing, 2), copy("b", Phase::Running, 2)], State::Migrating)]
    #[case::left_behind(&["b"], vec![copy("a", Phase::Unreachable, 2), copy("b", Phase::Running, 2)], State::Running)]
    #[case::lost(&["a"], vec![copy("a", Phase::Unreachable, 2)], State::Degraded)]
    #[case::failed(&["a"], vec![copy("a", Phase::Failed, 2)], State::Failed)]
    #[case::failed_before_the_spec_changed(&["a"], vec![copy("a", Phase::Failed, 1)], State::Reconciling)]
    #[case::way_back(&["b"], vec![copy("a", Phase::Running, 2), copy("b", Phase::Failed, 2)], State::Degraded)]
    fn states(#[case] bindings: &[&str], #[case] copies: Vec<Copy>, #[case] expected: State) {
        let metadata = Metadata { generation: 2, ..Default::default() };
        assert_eq!(derive(&metadata, &status(bindings, copies)).state(), expected);
    }

    #[test]
    fn the_reason_is_the_conditions() {
        let metadata = Metadata { generation: 2, ..Default::default() };
        let mut pending = status(&[], vec![]);
        pending.conditions = vec![no(types::SCHEDULED, reasons::NO_SUITABLE_RESOURCE)];
        let derived = derive(&metadata, &pending);
        assert_eq!(derived.state(), State::Pending);
        assert_eq!(derived.reason.unwrap().code(), ReasonCode::NoSuitableResource);

        let mut unhealthy = copy("a", Phase::Running, 2);
        unhealthy.conditions = vec![no(types::AVAILABLE, reasons::UNHEALTHY)];
        assert_eq!(derive(&metadata, &status(&["a"], vec![unhealthy])).state(), State::Degraded);
    }

    #[test]
    fn an_update_that_is_refused_or_being_rolled_out_leaves_what_runs() {
        let metadata = Metadata { generation: 2, ..Default::default() };
        let with = |generation, r#type, reason| {
            let conditions = vec![no(r#type, reason)];
            let running = Copy { conditions, ..copy("a", Phase::Running, generation) };
            let derived = derive(&metadata, &status(&["a"], vec![running]));
            assert_eq!(derived.running_on.as_ref().unwrap().uid, "a");
            (derived.state(), derived.reason.map(|reason| reason.code()))
        };
        let refused = with(1, types::APPLIED, reasons::KUBERNETES_ERROR);
        assert_eq!(refused, (State::Degraded, Some(ReasonCode::KubernetesError)));
        let repair = with(2, types::APPLIED, reasons::KUBERNETES_ERROR);
        assert_eq!(repair, (State::Degraded, Some(ReasonCode::KubernetesError)));
        assert_eq!(with(2, types::AVAILABLE, reasons::PROGRESSING), (State::Reconciling, None));
        assert_eq!(with(2, types::AVAILABLE, reasons::DEADLINE_EXCEEDED).0, State::Degraded);
        assert_eq!(with(1, types::AVAILABLE, reasons::UNHEALTHY).0, State::Reconciling);
    }

    #[test]
    fn an_application_whose_attempts_are_used_up_has_failed_until_its_spec_changes() {
        let metadata = Metadata { generation: 2, ..Default::default() };
        let refused = no(types::SCHEDULED, reasons::NO_SUITABLE_RESOURCE);
        let conditions = vec![Condition { observed_generation: 2, ..refused }];
        let mut used_up = ApplicationStatus { conditions, retries: Some(0), ..status(&[], vec![]) };
        let derived = derive(&metadata, &used_up);
        assert_eq!(derived.state(), State::Failed);
        assert_eq!(derived.reason.unwrap().code(), ReasonCode::NoSuitableResource);
        for retries in [None, Some(1), Some(-1)] {
            let trying = ApplicationStatus { retries, ..used_up.clone() };
            assert_eq!(derive(&metadata, &trying).state(), State::Pending, "{retries:?}");
        }
        let last = ApplicationStatus { scheduled_retry: Some(Default::default()), ..used_up.clone() };
        assert_eq!(derive(&metadata, &last).state(), State::Pending, "one attempt is still to come");
        let unasked = ApplicationStatus { conditions: vec![], ..used_up.clone() };
        assert_eq!(derive(&metadata, &unasked).state(), State::Pending);
        let changed = Metadata { generation: 3, ..Default::default() };
        assert_eq!(derive(&changed, &used_up).state(), State::Pending, "a new spec gets new attempts");
        used_up.bindings = status(&["a"], vec![]).bindings;
        used_up.copies = vec![copy("a", Phase::Running, 2)];
        assert_eq!(derive(&metadata, &used_up).state(), State::Degraded, "it runs");
    }

    #[test]
    fn a_changed_spec_without_a_cluster_is_degraded_and_not_for_ever_reconciling() {
        let metadata = Metadata { generation: 3, ..Default::default() };
        let mut stays = status(&["a"], vec![copy("a", Phase::Running, 2)]);
        assert_eq!(derive(&metadata, &stays).state(), State::Reconciling);
        let refused = no(types::SCHEDULED, reasons::NO_SUITABLE_RESOURCE);
        stays.conditions = vec![Condition { observed_generation: 2, ..refused.clone() }];
        assert_eq!(derive(&metadata, &stays).state(), State::Reconciling, "an old answer");
        stays.conditions = vec![Condition { observed_generation: 3, ..refused }];
        let derived = derive(&metadata, &stays);
        assert_eq!(derived.state(), State::Degraded);
        assert_eq!(derived.reason.unwrap().code(), ReasonCode::NoSuitableResource);
    }

    #[test]
    fn a_failed_application_stays_failed_if_its_new_spec_finds_no_cluster() {
        let metadata = Metadata { generation: 3, ..Default::default() };
        let mut failed = status(&["a"], vec![copy("a", Phase::Failed, 2)]);
        assert_eq!(derive(&metadata, &failed).state(), State::Reconciling);
        let refused = no(types::SCHEDULED, reasons::NO_SUITABLE_RESOURCE);
        failed.conditions = vec![Condition { observed_generation: 3, ..refused }];
        assert_eq!(derive(&metadata, &failed).state(), State::Failed);
    }

    #[test]
    fn a_deleted_application_is_deleting_whatever_runs() {
        let metadata = Metadata { deleted: Some(Default::default()), ..Default::default() };
        let running = status(&["a"], vec![copy("a", Phase::Running, 2)]);
        assert_eq!(derive(&metadata, &running).state(), State::Deleting);
        let mut removing = copy("a", Phase::Removing, 2);
        assert_eq!(derive(&metadata, &status(&["a"], vec![removing.clone()])).reason, None);
        removing.conditions = vec![no(types::AVAILABLE, reasons::WAITING_FOR_REMOVAL)];
        let waits = derive(&metadata, &status(&["a"], vec![removing])).reason.unwrap();
        assert_eq!(waits.code(), ReasonCode::DeleteFailed, "it says what it waits for");
    }

    #[test]
    fn clusters_services_and_health_come_from_the_copies() {
        let metadata = Metadata { generation: 2, ..Default::default() };
        let mut old = copy("a", Phase::Running, 2);
        old.services = [("web".to_owned(), "1.2.3.4:80".to_owned())].into();
        let mut new = copy("b", Phase::Applying, 2);
        new.health = Some(ContainerHealth { desired_pods: 3, running_pods: 1, ..Default::default() });
        let derived = derive(&metadata, &status(&["b"], vec![old, new]));
        assert_eq!(derived.scheduled_to.unwrap().uid, "b");
        assert_eq!(derived.running_on.unwrap().uid, "a");
        assert_eq!(derived.container_health.unwrap().desired_pods, 3);
        assert_eq!(derived.services["web"], "1.2.3.4:80");
    }

    #[test]
    fn a_reason_always_has_a_code() {
        let metadata = Metadata { generation: 2, ..Default::default() };
        let given = || reasons::ALL.iter().chain(&["", "OfANewerVersion"]);
        for (name, reason) in types::ALL.iter().flat_map(|name| given().map(move |reason| (*name, *reason))) {
            for phase in [Phase::Applying, Phase::Running, Phase::Failed, Phase::Unreachable] {
                let mut copy = copy("a", phase, 2);
                copy.conditions = vec![no(name, reason)];
                let unscheduled =
                    ApplicationStatus { conditions: copy.conditions.clone(), ..status(&[], vec![]) };
                for status in [unscheduled, status(&["a"], vec![copy])] {
                    if let Some(shown) = derive(&metadata, &status).reason {
                        assert_ne!(shown.code(), ReasonCode::Unspecified, "{name} {reason}");
                    }
                }
            }
        }
    }
}
