//! What follows when an apply, or what was applied, fails.

use super::*;
use crate::error::ClusterError;
use crate::failure::Class;
use crate::object::apply::ApplyError;
use crate::object::ownership::{Occupied, Refusal};

fn object_error(error: ClusterError) -> ApplyError {
    ApplyError::Object { key: key("echo"), error }
}

/// After an apply of the documents of generation 1 to a copy, `elapsed` seconds into its attempt.
fn after(copy: &CopyRecord, outcome: &Result<(), ApplyError>, elapsed: u64) -> AfterApply {
    after_accepting(copy, &[], outcome, elapsed)
}

fn after_accepting(
    copy: &CopyRecord,
    accepted: &[InventoryEntry],
    outcome: &Result<(), ApplyError>,
    elapsed: u64,
) -> AfterApply {
    let elapsed = Duration::from_secs(elapsed);
    let is_repair = copy.phase == Phase::Running && copy.is_whole();
    after_apply(Applied {
        copy,
        what: if is_repair { Apply::Repair } else { Apply::Wanted },
        wanted: Some(set(1)),
        generation: 1,
        retry_requests: 0,
        elapsed,
        deadline: DEADLINE,
        accepted,
        used: &[],
        outcome,
        validated: None,
        leaves_out: false,
    })
}

fn told(after: &AfterApply) -> &CopyRecord {
    match &after.report {
        Some(Step::Report(copy)) => copy,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_apply_that_succeeded_is_recorded_with_uids() {
    let accepted = [entry("echo", Some("u9"))];
    let first = after_accepting(&copy("a", Phase::Intended), &accepted, &Ok(()), 0);
    let record = told(&first);
    assert_eq!((record.phase, record.observed_generation, first.again), (Phase::Applying, 1, Again::No));
    assert_eq!(record.inventory, accepted);
    let repaired = after_accepting(&copy("a", Phase::Running), &accepted, &Ok(()), 0);
    assert_eq!(told(&repaired).phase, Phase::Running, "a repair begins no attempt");
    let former =
        CopyRecord { observed_generation: 0, applied_work: Some(work(0)), ..copy("a", Phase::Running) };
    let updated = after_accepting(&former, &accepted, &Ok(()), 0);
    assert_eq!(told(&updated).phase, Phase::Running, "what serves goes on while the update is rolled out");
    assert_eq!(told(&updated).available.reason, Reason::Progressing);
}

#[test]
fn what_was_accepted_is_recorded_though_the_rest_was_refused() {
    let refused = Err(object_error(ClusterError::Rejected("bad".into())));
    let accepted = [entry("echo", Some("u9"))];
    let record = after_accepting(&copy("a", Phase::Intended), &accepted, &refused, 0);
    assert_eq!(told(&record).inventory, accepted);
}

/// Some failures, whether they are settled at once, and the reason that is told.
fn failures() -> Vec<(ApplyError, bool, Reason)> {
    let occupied = Occupied { key: key("echo"), holder: "application x".into() };
    vec![
        (ApplyError::Refused(Refusal::OwnedByOther(vec![occupied])), true, Reason::ObjectOwnedByOther),
        (object_error(ClusterError::Rejected("bad".into())), true, Reason::KubernetesError),
        (object_error(ClusterError::Forbidden("rights".into())), false, Reason::KubernetesError),
        (object_error(ClusterError::NotFound("namespace".into())), false, Reason::KubernetesError),
        (object_error(ClusterError::Busy("500".into())), false, Reason::KubernetesError),
        (object_error(ClusterError::Unauthorized("401".into())), false, Reason::KubernetesError),
        (object_error(ClusterError::Unreachable("hangs".into())), false, Reason::ClusterNotReachable),
        (ApplyError::Refused(Refusal::Terminating(vec![key("echo")])), false, Reason::Progressing),
    ]
}

#[test]
fn a_first_attempt_fails_at_once_or_at_its_deadline() {
    for (error, settled, reason) in failures() {
        let outcome = Err(error);
        for (elapsed, fails) in [(0, settled), (299, settled), (300, true)] {
            let first = after(&copy("a", Phase::Intended), &outcome, elapsed);
            let record = told(&first);
            let phase = if fails { Phase::Failed } else { Phase::Intended };
            assert_eq!((record.phase, record.applied.reason), (phase, reason), "{outcome:?} at {elapsed}");
            assert_eq!(first.again, if fails { Again::Slowly } else { Again::Soon });
            assert_eq!(after(record, &outcome, elapsed).report, None, "the same again is no news");
        }
    }
    let silent = Err(ApplyError::Cluster(ClusterError::Unreachable("silent".into())));
    let first = after(&copy("a", Phase::Intended), &silent, 1000);
    assert_eq!(told(&first).phase, Phase::Intended, "time without contact does not count");
}

#[test]
fn no_failure_makes_a_running_copy_fail() {
    for (error, settled, reason) in failures() {
        let outcome = Err(error);
        let update =
            CopyRecord { observed_generation: 0, applied_work: Some(work(0)), ..copy("a", Phase::Running) };
        for before in [copy("a", Phase::Running), update] {
            let refused = after(&before, &outcome, 10_000);
            let record = told(&refused);
            assert_eq!(
                (record.phase, record.observed_generation),
                (Phase::Running, before.observed_generation)
            );
            assert_eq!((record.applied.truth, record.applied.reason), (Truth::False, reason));
            assert_ne!(refused.again, Again::No);
            assert!(!settled || refused.again == Again::Slowly, "{outcome:?}");
        }
    }
}

#[test]
fn a_failed_copy_is_tried_again_without_a_change_of_its_phase() {
    let refused = Err(object_error(ClusterError::Rejected("bad".into())));
    let first = after(&copy("a", Phase::Intended), &refused, 0);
    let failed = told(&first).clone();
    let busy = Err(object_error(ClusterError::Busy("500".into())));
    let again = after(&failed, &busy, 0);
    assert_eq!((told(&again).phase, again.again), (Phase::Failed, Again::Slowly));
    let accepted = after(&failed, &Ok(()), 0);
    assert_eq!(told(&accepted).phase, Phase::Applying, "the obstacle is gone");
    // The steps around it.
    let mut s = snapshot(&["a"], vec![failed.clone()], vec![("a", starting())]);
    assert_eq!(short(&s), ["apply a"]);
    seen_on(&mut s, "a").attempt.pause = Duration::from_secs(400);
    assert_eq!(short(&s), ["wait 400"]);
    s.copies[0].applied.reason = Reason::UnsupportedResource;
    assert_eq!(short(&s), ["apply a"], "the cluster serves the kind by now");
}

#[test]
fn an_update_that_was_refused_rests_while_what_runs_is_looked_after() {
    let applied = Answer::no(Reason::KubernetesError, "field is immutable");
    let refused = CopyRecord { applied: applied.clone(), ..copy("a", Phase::Running) };
    let mut missing = seen(Verdict::Available);
    missing.missing = vec![key("echo")];
    let s = |presence| {
        let mut s = snapshot(&["a"], vec![refused.clone()], vec![("a", presence)]);
        change_spec(&mut s);
        seen_on(&mut s, "a").attempt.pause = Duration::from_secs(400);
        s
    };
    assert_eq!(short(&s(available())), ["wait 400"], "the refusal stays told");
    assert_eq!(short(&s(Presence::Seen(Box::new(missing.clone())))), ["repair a", "wait 400"]);
    assert_eq!(short(&s(starting()))[0], "report a Running");
    let mut due = s(available());
    seen_on(&mut due, "a").attempt.pause = Duration::ZERO;
    assert_eq!(short(&due), ["record a Running", "apply a"]);
    // A repair of the former generation that succeeds does not take the refusal back.
    let outcome = Ok(());
    let (elapsed, deadline, accepted) = (Duration::ZERO, DEADLINE, &[entry("echo", Some("u"))][..]);
    let repair = Applied {
        copy: &refused,
        what: Apply::Repair,
        wanted: Some(set(2)),
        generation: 2,
        retry_requests: 0,
        elapsed,
        deadline,
        accepted,
        used: &[],
        outcome: &outcome,
        validated: None,
        leaves_out: false,
    };
    assert_eq!(after_apply(repair).report, None);
    // A repair that is refused rests too.
    let mut paused = s(Presence::Seen(Box::new(missing)));
    seen_on(&mut paused, "a").attempt.repair_pause = Duration::from_secs(20);
    assert_eq!(short(&paused), ["wait 20"]);
}

#[test]
fn a_running_copy_is_never_judged_failed() {
    let verdicts = [Verdict::Progressing("1 of 2".into()), Verdict::Failed("crashes".into())];
    let told = |verdict: &Verdict, reason, elapsed| {
        let available = Answer::no(reason, "before");
        let before = CopyRecord { available, ..copy("a", Phase::Running) };
        let mut s =
            snapshot(&["a"], vec![before], vec![("a", Presence::Seen(Box::new(seen(verdict.clone()))))]);
        seen_on(&mut s, "a").attempt.elapsed = Duration::from_secs(elapsed);
        let Step::Report(judged) = plan(&s).remove(0) else { panic!() };
        assert_eq!(judged.phase, Phase::Running);
        judged.available.reason
    };
    assert_eq!(told(&verdicts[0], Reason::Progressing, 10), Reason::Progressing, "a rollout");
    assert_eq!(told(&verdicts[0], Reason::Progressing, 300), Reason::DeadlineExceeded);
    assert_eq!(told(&verdicts[1], Reason::Progressing, 10), Reason::DeadlineExceeded);
    assert_eq!(told(&verdicts[0], Reason::DeadlineExceeded, 0), Reason::DeadlineExceeded);
    assert_eq!(told(&verdicts[0], Reason::Unhealthy, 1000), Reason::Unhealthy);
}

#[test]
fn an_attempt_that_meets_no_answer_ends_at_its_deadline() {
    // The objects were accepted, and the cluster does not show them.
    let mut s = snapshot(&["a"], vec![copy("a", Phase::Applying)], vec![("a", Presence::Unseen)]);
    assert_eq!(short(&s), ["wait 30"]);
    seen_on(&mut s, "a").attempt.elapsed = DEADLINE;
    assert_eq!(short(&s), ["report a Failed"]);
    let Step::Report(failed) = &plan(&s)[0] else { panic!() };
    assert!(failed.available.message.contains("did not show the objects within 300 s"), "{failed:?}");
    s.copies[0] = copy("a", Phase::Running);
    assert_eq!(short(&s), ["wait 30"], "what runs does not fail by that");
    // The cluster does not say which kinds it serves.
    let mut s = snapshot(&["a"], vec![], vec![("a", Presence::Unseen)]);
    seen_on(&mut s, "a").targets = Targets::Unknown(String::new());
    assert_eq!(short(&s), ["wait 30"], "it was not asked yet");
    seen_on(&mut s, "a").targets = Targets::Unknown("500".into());
    assert_eq!(short(&s), ["record a Intended", "wait 30"], "the attempt begins");
    let Step::RecordIntent(begun) = plan(&s).remove(0) else { panic!() };
    s.copies = vec![CopyRecord { version: 1, ..begun }];
    assert_eq!(short(&s), ["wait 30"]);
    seen_on(&mut s, "a").attempt.elapsed = DEADLINE;
    assert_eq!(short(&s), ["report a Failed"]);
}

#[test]
fn what_a_cluster_cannot_take_leaves_what_runs_there() {
    let mut s = snapshot(&["a"], vec![copy("a", Phase::Running)], vec![("a", Presence::Unseen)]);
    change_spec(&mut s);
    seen_on(&mut s, "a").targets = Targets::Impossible(Reason::UnsupportedResource, "no Foo".into());
    assert_eq!(short(&s), ["report a Running", "wait 30"]);
    let Step::Report(told) = plan(&s).remove(0) else { panic!() };
    assert_eq!((told.applied.truth, told.observed_generation), (Truth::False, 1));
    s.copies = vec![told];
    assert_eq!(short(&s), ["wait 30"]);
}

#[test]
fn a_copy_that_failed_makes_room_for_the_next_candidate() {
    let refused = Err(object_error(ClusterError::Rejected("bad".into())));
    let failed = told(&after(&copy("a", Phase::Intended), &refused, 0)).clone();
    assert_eq!(failed.failure, Some(Class::OfSpec));
    let s = |presence| snapshot(&["b"], vec![failed.clone()], vec![("a", presence), ("b", Presence::Unseen)]);
    let moves = ["record b Intended", "apply b", "mark a Removing", "remove a"];
    assert_eq!(short(&s(starting())), moves, "nothing of it runs");
    assert_eq!(short(&s(Presence::Unreachable("down".into())))[..2], moves[..2]);
    let mut pods = seen(Verdict::Progressing("crashes".into()));
    pods.health.containers.running = 1;
    let waits = ["mark a Removing", "remove a", "wait 30"];
    assert_eq!(short(&s(Presence::Seen(Box::new(pods.clone())))), waits, "what still runs of it goes first");
    let mut going = s(Presence::Seen(Box::new(pods)));
    going.copies[0].phase = Phase::Removing;
    assert_eq!(short(&going), ["remove a", "wait 30"]);
    let mut first = s(starting());
    first.strategy = Strategy::DeleteFirst;
    assert_eq!(short(&first), waits);
    // Not before what claims volumes is seen to be gone, however few pods run; other copies do not count.
    let mut holds = s(starting());
    holds.given_up = ["a".into()].into();
    assert_eq!(short(&holds), waits);
    holds.copies[0].phase = Phase::Removing;
    assert_eq!(short(&holds), ["remove a", "wait 30"]);
    holds.clusters.get_mut(&"a".into()).unwrap().presence = Presence::Unreachable("down".into());
    assert_eq!(short(&holds), ["wait 30"], "it may still hold them");
    holds.clusters.get_mut(&"a".into()).unwrap().presence = Presence::Erased;
    assert_eq!(short(&holds), ["forget a", "wait 30"], "declared lost");
    (holds.given_up, holds.copies) = (["c".into()].into(), vec![failed.clone()]);
    assert_eq!(short(&holds)[..2], moves[..2], "another one was given up");
    // Not before the scheduler has decided, and not if it serves all the same.
    let mut undecided = s(starting());
    undecided.generation = 2;
    assert_eq!(short(&undecided), ["wait 30"]);
    assert_eq!(short(&s(available())), moves[..2]);
}

#[test]
fn a_failure_has_a_class() {
    let of = |snapshot: Snapshot| match plan(&snapshot).remove(0) {
        Step::Report(copy) => copy.failure,
        other => panic!("{other:?}"),
    };
    let applying = |presence, elapsed| {
        let mut s = snapshot(&["a"], vec![copy("a", Phase::Applying)], vec![("a", presence)]);
        seen_on(&mut s, "a").attempt.elapsed = elapsed;
        s
    };
    let crashes = Presence::Seen(Box::new(seen(Verdict::Failed("crashes".into()))));
    assert_eq!(of(applying(crashes, Duration::ZERO)), Some(Class::OfSpec));
    assert_eq!(of(applying(starting(), DEADLINE)), Some(Class::OfCluster));
    assert_eq!(of(applying(Presence::Unseen, DEADLINE)), Some(Class::OfCluster));
    assert_eq!(of(applying(available(), DEADLINE)), None);
    let impossible = |reason| {
        let mut s = snapshot(&["a"], vec![copy("a", Phase::Intended)], vec![("a", Presence::Unseen)]);
        seen_on(&mut s, "a").targets = Targets::Impossible(reason, "no".into());
        of(s)
    };
    assert_eq!(impossible(Reason::UnsupportedResource), Some(Class::OfCluster));
    assert_eq!(impossible(Reason::InvalidResource), Some(Class::OfSpec));
}

/// A copy of which all was accepted, and that did not become available in time.
fn never_available(cluster: &str) -> CopyRecord {
    CopyRecord {
        phase: Phase::Failed,
        available: Answer::no(Reason::DeadlineExceeded, "0 of 1"),
        failure: Some(Class::OfCluster),
        ..copy(cluster, Phase::Applying)
    }
}

#[test]
fn a_retry_that_a_user_asks_for_begins_an_attempt_though_all_was_accepted() {
    let mut s = snapshot(&["a"], vec![never_available("a")], vec![("a", starting())]);
    assert!(!short(&s).iter().any(|step| step.starts_with("apply")), "it may become available by itself");
    s.retry_requests = 1;
    assert_eq!(short(&s), ["apply a"]);
    let applied = |copy: &CopyRecord| {
        after_apply(Applied {
            copy,
            what: Apply::Wanted,
            wanted: Some(set(1)),
            generation: 1,
            retry_requests: 1,
            elapsed: Duration::ZERO,
            deadline: DEADLINE,
            accepted: &[],
            used: &[],
            outcome: &Ok(()),
            validated: None,
            leaves_out: false,
        })
    };
    let after = applied(&never_available("a"));
    assert_eq!((told(&after).phase, told(&after).retry_request), (Phase::Applying, 1));
    let asked = CopyRecord { retry_request: 1, ..never_available("a") };
    assert_eq!(applied(&asked).report, None, "the request was met before");
}

#[test]
fn a_failed_copy_that_became_available_serves_until_the_next_attempt_does() {
    let available = |pods| {
        let mut seen = seen(Verdict::Available);
        seen.health.containers.running = pods;
        Presence::Seen(Box::new(seen))
    };
    let copies = vec![never_available("a")];
    let s = snapshot(&["b"], copies.clone(), vec![("a", available(1)), ("b", Presence::Unseen)]);
    let steps = short(&s);
    assert!(steps.iter().any(|step| step == "record b Intended"), "nothing else would free it: {steps:?}");
    assert!(!steps.iter().any(|step| step.contains("remove a")), "{steps:?}");
    let mut ill = seen(Verdict::Progressing("0 of 1".into()));
    ill.health.containers.running = 1;
    let s = snapshot(&["b"], copies, vec![("a", Presence::Seen(Box::new(ill))), ("b", Presence::Unseen)]);
    assert!(!short(&s).iter().any(|step| step.contains(" b ")), "its pods would run beside the new ones");
}
