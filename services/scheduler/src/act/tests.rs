//! What is written, and what is not.

use std::collections::BTreeMap;
use std::sync::Arc;

use krake_client::NamespacedName;
use krake_proto::condition::MAX_MESSAGE;

use super::*;
use crate::handover::{Copy, CopyPhase};
use crate::retry::Retry;
use crate::world::{Application, Binding};

fn placed(bound: bool) -> Placed {
    let cluster = ResourceRef { uid: "old".into(), ..Default::default() };
    let binding = Binding { cluster_uid: "old".into(), bound: Timestamp::UNIX_EPOCH };
    Placed {
        application: Application {
            key: NamespacedName::new("demo", "a"),
            uid: "u".into(),
            generation: 3,
            scheduled_generation: 2,
            constraints: Arc::default(),
            migration: true,
            deleted: false,
            binding: bound.then_some(binding),
            ..crate::fixture::application()
        },
        resource_version: 9,
        trace_parent: String::new(),
        scheduled: None,
        retry: (None, None),
        bound: bound.then(|| api::Binding { cluster: Some(cluster), ..Default::default() }),
        was_moved: false,
        share: crate::exodus::Share::default(),
    }
}

fn deadlock(outcome: Outcome, confirm_generation: bool) -> Decision {
    let rejected = BTreeMap::new();
    let message = "none fits".to_owned();
    let retry = Retry { left: None, due: None };
    let deadlock =
        Deadlock { outcome, message, rejected, retry, again: None, confirm_generation, world_revision: 1 };
    Decision::Unschedulable(Box::new(deadlock))
}

#[test]
fn a_binding_states_what_it_was_decided_on() {
    let cluster = ScoredCluster { key: NamespacedName::new("demo", "new"), uid: "new".into(), score: 0.5 };
    let choice = Choice {
        cluster: cluster.clone(),
        reason: BindReason::BetterCluster,
        replaces: Some("old".into()),
        runner_up: None,
        top: vec![cluster],
        rejected: BTreeMap::new(),
        world_revision: 11,
    };
    let request = act(&placed(true), &Decision::Bind(Box::new(choice))).bind.unwrap();
    assert_eq!((request.generation, request.replaces), (3, vec!["old".to_owned()]));
    assert_eq!(request.bindings[0].cluster.as_ref().unwrap().uid, "new");
    assert_eq!(request.decision.unwrap().world_revision, 11);
}

#[test]
fn staying_is_confirmed_once_and_otherwise_writes_nothing() {
    let keep = |confirm_generation| Decision::Keep { reason: KeepReason::Best, confirm_generation };
    let confirmed = act(&placed(true), &keep(true)).bind.unwrap();
    assert_eq!(confirmed.bindings[0].cluster.as_ref().unwrap().uid, "old");
    assert!(act(&placed(true), &keep(false)).is_nothing());
    let mut doubted = placed(true);
    doubted.scheduled = Some((ConditionStatus::False, 3, "none fits".into()));
    assert!(act(&doubted, &keep(false)).bind.is_some(), "an old complaint is taken back");
}

#[test]
fn without_a_cluster_the_condition_says_so_once_and_a_binding_goes_only_with_its_cluster() {
    let waiting = act(&placed(false), &deadlock(Outcome::Wait, false));
    assert!(waiting.bind.is_none());
    let report = waiting.report.unwrap();
    assert_eq!(report.condition.unwrap().reason, reasons::NO_SUITABLE_RESOURCE);
    assert_eq!((report.retries, report.scheduled_retry), (Some(-1), None), "no limit");
    let mut told = placed(false);
    told.scheduled = Some((ConditionStatus::False, 3, "none fits".into()));
    told.retry = (Some(-1), None);
    assert!(act(&told, &deadlock(Outcome::Wait, false)).is_nothing());
    let stays = act(&placed(true), &deadlock(Outcome::Stay(BindReason::ClusterOffline), false));
    assert!(stays.bind.is_none() && stays.report.is_some());
    let released = act(&placed(true), &deadlock(Outcome::Release, false)).bind.unwrap();
    assert!(released.bindings.is_empty() && released.without_copies);
    assert_eq!(released.replaces, ["old"]);
    let mut begun = placed(true);
    begun.application.copies.push(Copy {
        cluster_uid: "old".into(),
        phase: CopyPhase::Other,
        generation: 3,
        since: Timestamp::UNIX_EPOCH,
        failure: None,
        retry_request: 0,
    });
    let released = act(&begun, &deadlock(Outcome::Release, false)).bind.unwrap();
    assert!(!released.without_copies, "its cluster is gone");
}

#[test]
fn a_message_that_is_too_long_for_a_condition_is_cut_and_said_once() {
    let Decision::Unschedulable(mut long) = deadlock(Outcome::Wait, false) else { unreachable!() };
    long.message = "12 × a rejection; ".repeat(1000);
    let long = Decision::Unschedulable(long);
    let condition = act(&placed(false), &long).report.unwrap().condition.unwrap();
    assert!(condition.message.len() <= MAX_MESSAGE);
    let mut told = placed(false);
    told.scheduled = Some((ConditionStatus::False, 3, condition.message));
    told.retry = (Some(-1), None);
    assert!(act(&told, &long).is_nothing());
}

#[test]
fn attempts_are_written_when_they_change_and_cleared_when_none_are_needed() {
    let due = Timestamp::new(77, 5).unwrap();
    let Decision::Unschedulable(mut limited) = deadlock(Outcome::Wait, false) else { unreachable!() };
    limited.retry = Retry { left: Some(2), due: Some(due) };
    limited.again = Some(due);
    let limited = Decision::Unschedulable(limited);
    let mut told = placed(false);
    told.scheduled = Some((ConditionStatus::False, 3, "none fits".into()));
    told.retry = (Some(3), Some(Timestamp::UNIX_EPOCH));
    let act_now = act(&told, &limited);
    let report = act_now.report.unwrap();
    let expected = prost_types::Timestamp { seconds: 77, nanos: 5 };
    assert_eq!((report.retries, report.scheduled_retry), (Some(2), Some(expected)));
    assert_eq!(act_now.again, Some(due), "the timer runs");
    told.retry = (Some(2), Some(due));
    let waits = act(&told, &limited);
    assert!(waits.is_nothing() && waits.again == Some(due), "also after a restart");

    let mut bound = placed(true);
    bound.retry = (Some(0), None);
    let keep = |reason| Decision::Keep { reason, confirm_generation: false };
    assert_eq!(act(&bound, &keep(KeepReason::Best)).report, Some(Report::default()));
    for reason in [KeepReason::GivenUp, KeepReason::ApplicationDeleted, KeepReason::MetricsPending] {
        bound.scheduled = Some((ConditionStatus::False, 3, "none fits".into()));
        assert!(act(&bound, &keep(reason)).is_nothing(), "{reason:?}: nothing is taken back");
    }
}

#[test]
fn a_cluster_that_is_not_there_is_asked_for_and_never_taken_for_gone() {
    let unknown = Decision::Keep { reason: KeepReason::ClusterUnknown, confirm_generation: false };
    let act = act(&placed(true), &unknown);
    assert_eq!(act.ask, Some("old".into()));
    assert!(act.bind.is_none());
}

#[test]
fn counts_alone_are_no_news() {
    let same = |a, b| same_but_for_counts(a, b);
    let told = "none: rejected 1 × NOTREADY, 22 × label constraint \"tier = t1\"";
    assert!(same(told, told));
    assert!(same(told, "none: rejected 11 × NOTREADY, 3 × label constraint \"tier = t1\""));
    assert!(!same(told, "none: rejected 1 × OFFLINE, 22 × label constraint \"tier = t1\""));
    assert!(!same(told, "none: rejected 1 × NOTREADY, 22 × label constraint \"tier = t2\""));
    assert!(!same(told, "none: rejected 22 × label constraint \"tier = t1\""));
    assert!(!same(told, "none: namespace \"a\" may use no cluster"));
}
