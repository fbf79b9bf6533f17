//! What is told of a copy beside its phase: why its pods do not start, and what it uses.

use super::*;
use crate::object::pods::{Cause, Unready};

fn unready() -> Unready {
    Unready { key: key("echo"), uid: "u".into(), selector: "app=echo".into() }
}

fn explained(class: Option<Class>) -> Observation {
    let mut seen = seen(Verdict::Progressing("Deployment demo/echo: 0 of 2 replicas available".into()));
    seen.unready = vec![unready()];
    seen.explain(&key("echo"), Cause { text: "Pod echo-1: ErrImagePull".into(), class });
    seen
}

#[test]
fn why_pods_do_not_start_is_told_and_looked_at_again() {
    let bringing =
        CopyRecord { available: Answer::no(Reason::Progressing, ""), ..copy("a", Phase::Applying) };
    let told = |seen| {
        let mut s = snapshot(&["a"], vec![bringing.clone()], vec![("a", Presence::Seen(Box::new(seen)))]);
        seen_on(&mut s, "a").attempt.elapsed = Duration::from_secs(10);
        plan(&s)
    };
    let steps = told(explained(Some(Class::OfSpec)));
    let Step::Report(record) = &steps[0] else { panic!("{steps:?}") };
    let message = "Deployment demo/echo: 0 of 2 replicas available: Pod echo-1: ErrImagePull";
    assert_eq!((record.available.reason, record.available.message.as_str()), (Reason::NotStarting, message));
    assert_eq!(steps[1..], [Step::Wait(Duration::from_secs(15))]);
    let mut other = seen(Verdict::Progressing("Deployment demo/first: 0 of 1".into()));
    other.explain(&key("echo"), Cause { text: "crashes".into(), class: None });
    let Verdict::Progressing(why) = other.health.verdict else { panic!() };
    assert_eq!(why, "Deployment demo/first: 0 of 1; Deployment demo/echo: crashes");
}

#[test]
fn the_cause_says_whether_another_cluster_may_help() {
    let failed = |class| {
        let applying = copy("a", Phase::Applying);
        let mut s = snapshot(&["a"], vec![applying], vec![("a", Presence::Seen(Box::new(explained(class))))]);
        seen_on(&mut s, "a").attempt.elapsed = DEADLINE;
        let Some(Step::Report(told)) = plan(&s).into_iter().next() else { panic!() };
        assert_eq!(told.phase, Phase::Failed);
        told.failure
    };
    assert_eq!(failed(Some(Class::OfSpec)), Some(Class::OfSpec));
    assert_eq!(failed(Some(Class::OfCluster)), Some(Class::OfCluster));
    assert_eq!(failed(None), Some(Class::OfCluster), "as without a cause");
}

#[test]
fn what_is_used_is_told_as_long_as_it_is() {
    let mut seen = seen(Verdict::Available);
    seen.used = vec![key("space")];
    let s = snapshot(&["a"], vec![copy("a", Phase::Running)], vec![("a", Presence::Seen(Box::new(seen)))]);
    let Some(Step::Report(told)) = plan(&s).into_iter().next() else { panic!() };
    assert_eq!((told.applied.truth, told.applied.reason), (Truth::True, Reason::Used));
    assert!(told.applied.message.ends_with("Deployment demo/space"), "{}", told.applied.message);
    let again = snapshot(&["a"], vec![told.clone()], vec![("a", s.clusters[&"a".into()].presence.clone())]);
    assert_eq!(short(&again), ["wait 60"], "told once, and looked at again: no watch shows that it goes");
    let alone = snapshot(&["a"], vec![told], vec![("a", available())]);
    let Some(Step::Report(told)) = plan(&alone).into_iter().next() else { panic!() };
    assert_eq!(told.applied, Answer::yes());
}

#[test]
fn a_new_copy_of_a_scaled_workload_waits_until_the_old_one_is_seen() {
    let s = |presence, scaled| {
        let mut s =
            snapshot(&["b"], vec![copy("a", Phase::Running)], vec![("a", presence), ("b", Presence::Unseen)]);
        seen_on(&mut s, "b").scaled = scaled;
        short(&s)
    };
    assert_eq!(s(Presence::Unseen, true), ["wait 30"]);
    let mut late =
        snapshot(&["b"], vec![copy("a", Phase::Running)], vec![("a", Presence::Unseen), ("b", available())]);
    seen_on(&mut late, "b").scaled = true;
    seen_on(&mut late, "a").unseen = Duration::from_secs(59);
    assert_eq!(short(&late), ["wait 30"]);
    seen_on(&mut late, "a").unseen = Duration::from_secs(60);
    assert_eq!(short(&late)[..2], ["record b Intended", "apply b"], "not for ever");
    let begins = ["record b Intended", "apply b"];
    assert_eq!(s(Presence::Unseen, false)[..2], begins);
    assert_eq!(s(available(), true)[..2], begins);
    assert_eq!(s(Presence::Unreachable("down".into()), true)[..2], begins, "who knows when it answers");
}
