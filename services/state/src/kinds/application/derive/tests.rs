//! What the summary says, situation by situation.

use super::*;
use krake_proto::krake::kubernetes::v1::Binding;
use krake_proto::krake::meta::v1::ResourceRef;
use rstest::rstest;

fn cluster(uid: &str) -> Option<ResourceRef> {
    Some(ResourceRef { uid: uid.into(), name: uid.into(), ..Default::default() })
}

fn copy(uid: &str, phase: Phase, generation: i64) -> Copy {
    Copy { cluster: cluster(uid), phase: phase.into(), observed_generation: generation, ..Default::default() }
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
fn a_copy_that_waits_for_another_to_go_says_what_that_waits_for() {
    let metadata = Metadata { generation: 2, ..Default::default() };
    let mut going = copy("a", Phase::Removing, 2);
    let said = |copies, absences: &Absences| {
        let shown = on_read(&metadata, &status(&["b"], copies), absences);
        (shown.state(), shown.reason.unwrap_or_default().message)
    };
    let none = Absences::default();
    let (state, first) = said(vec![going.clone()], &none);
    assert_eq!(
        (state, first.as_str()),
        (State::Migrating, "the copy on cluster \"a\" is being removed first")
    );
    let held = "ConfigMap demo/x waits for its finalizers example.com/hold";
    going.conditions =
        vec![Condition { message: held.into(), ..no(types::AVAILABLE, reasons::WAITING_FOR_REMOVAL) }];
    assert_eq!(said(vec![going.clone()], &none).1, format!("{first}: {held}"));
    let begun = copy("b", Phase::Applying, 2);
    assert_eq!(said(vec![going.clone(), begun], &none).1, "", "it is the other way round");
    let silent = Condition { message: "no answer".into(), ..no(types::REACHABLE, reasons::BROKEN) };
    let (_, away) = said(vec![going], &Absences::from([("a".to_owned(), silent)]));
    assert!(away.contains("no answer") && away.ends_with("(rok kube cluster lost a)"), "{away}");
}

#[test]
fn clusters_that_are_unreachable_are_named_when_read_only() {
    let metadata = Metadata { generation: 2, ..Default::default() };
    let both = status(&["a"], vec![copy("a", Phase::Running, 2), copy("b", Phase::Running, 2)]);
    assert_eq!(derive(&metadata, &both).unreachable_clusters, []);
    let why = Condition { message: "m".into(), ..no(types::REACHABLE, reasons::BROKEN) };
    let shown = on_read(&metadata, &both, &Absences::from([("a".to_owned(), why)]));
    let named =
        UnreachableCluster { cluster: cluster("a"), reason: reasons::BROKEN.into(), message: "m".into() };
    assert_eq!(shown.unreachable_clusters, [named]);
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
    let crashes = with(2, types::AVAILABLE, reasons::NOT_STARTING);
    assert_eq!(crashes, (State::Reconciling, Some(ReasonCode::KubernetesError)));
    let starting = Copy {
        conditions: vec![no(types::AVAILABLE, reasons::NOT_STARTING)],
        ..copy("a", Phase::Applying, 2)
    };
    let derived = derive(&metadata, &status(&["a"], vec![starting]));
    assert_eq!((derived.state(), derived.reason.is_some()), (State::Creating, true), "its pods say why");
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
    assert_eq!(derive(&metadata, &used_up).state(), State::Failed, "nothing of it is anywhere");
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
    // Something else was wrong with it before.
    removing.conditions = vec![
        no(types::APPLIED, reasons::KUBERNETES_ERROR),
        no(types::AVAILABLE, reasons::WAITING_FOR_REMOVAL),
    ];
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
