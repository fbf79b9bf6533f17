//! A handover that is overtaken by another one: never more than two copies.

use rstest::rstest;

use super::*;
use crate::object::observation::Hidden;

/// Pods run there, or not.
fn removing(pods: i64) -> Presence {
    let mut seen = seen(Verdict::Progressing("being removed".into()));
    seen.health.containers.running = pods;
    Presence::Seen(Box::new(seen))
}

/// Some pods run, which are not enough.
fn limping() -> Presence {
    let mut seen = seen(Verdict::Progressing("2 of 3".into()));
    seen.health.containers.running = 2;
    Presence::Seen(Box::new(seen))
}

/// Part of it cannot be seen, so that nobody knows whether it is available.
fn hidden() -> Presence {
    let mut seen = seen(Verdict::Progressing("cannot be seen".into()));
    seen.hidden = vec![Hidden { key: key("custom"), why: "not served".into() }];
    Presence::Seen(Box::new(seen))
}

/// It is bound to "e", where nothing is yet. Of it something is on "f", since longer, and on "h".
fn overtaken(f: (Phase, Presence), h: (Phase, Presence)) -> Snapshot {
    let mut newer = copy("h", h.0);
    newer.since = Timestamp::from_second(NOW - 5).unwrap();
    snapshot(&["e"], vec![copy("f", f.0), newer], vec![("e", Presence::Unseen), ("f", f.1), ("h", h.1)])
}

#[rstest]
#[case::both_run(
    (Phase::Running, available()),
    (Phase::Running, available()),
    &["mark f Removing", "remove f", "wait 30"]
)]
#[case::the_second_never_ran(
    (Phase::Running, available()),
    (Phase::Applying, starting()),
    &["mark h Removing", "remove h", "wait 30"]
)]
#[case::the_first_is_ill(
    (Phase::Running, starting()),
    (Phase::Running, available()),
    &["mark f Removing", "remove f", "wait 30"]
)]
#[case::pods_run_still(
    (Phase::Removing, removing(1)),
    (Phase::Running, available()),
    &["remove f", "wait 30"]
)]
#[case::only_objects_without_pods_are_left(
    (Phase::Removing, removing(0)),
    (Phase::Running, available()),
    &["record e Intended", "apply e", "remove f"]
)]
#[case::a_silent_cluster_is_not_counted(
    (Phase::Running, Presence::Unreachable("down".into())),
    (Phase::Running, available()),
    &["record e Intended", "apply e", "wait 30"]
)]
#[case::nobody_knows_yet_which_serves(
    (Phase::Running, Presence::Unseen),
    (Phase::Running, Presence::Unseen),
    &["wait 30"]
)]
#[case::the_older_one_may_serve_and_the_newer_one_does_not(
    (Phase::Running, Presence::Unseen),
    (Phase::Running, starting()),
    &["mark h Removing", "remove h", "wait 30"]
)]
#[case::the_older_one_may_serve_and_the_newer_one_does_in_part(
    (Phase::Running, Presence::Unseen),
    (Phase::Running, limping()),
    &["report h Running", "wait 30"]
)]
#[case::the_newer_one_serves_whatever_the_older_one_does(
    (Phase::Running, Presence::Unseen),
    (Phase::Running, available()),
    &["mark f Removing", "remove f", "wait 30"]
)]
#[case::the_older_one_serves_and_the_newer_one_is_ill(
    (Phase::Running, available()),
    (Phase::Running, limping()),
    &["mark h Removing", "remove h", "wait 30"]
)]
#[case::the_older_one_serves_in_part(
    (Phase::Running, limping()),
    (Phase::Running, starting()),
    &["report f Running", "mark h Removing", "remove h", "wait 30"]
)]
#[case::part_of_the_older_one_cannot_be_seen(
    (Phase::Running, hidden()),
    (Phase::Running, limping()),
    &["report f Running", "report h Running", "wait 10"]
)]
#[case::what_is_removed_was_not_seen_yet(
    (Phase::Removing, Presence::Unseen),
    (Phase::Running, available()),
    &["remove f", "wait 30"]
)]
#[case::nothing_serves_while_what_is_removed_was_not_seen_yet(
    (Phase::Removing, Presence::Unseen),
    (Phase::Running, starting()),
    &["record e Intended", "apply e", "remove f", "report h Running"]
)]
#[case::what_failed_was_not_seen_yet(
    (Phase::Failed, Presence::Unseen),
    (Phase::Running, starting()),
    &["record e Intended", "apply e", "report h Running", "wait 30"]
)]
fn a_third_cluster_waits_for_room(
    #[case] f: (Phase, Presence),
    #[case] h: (Phase, Presence),
    #[case] expected: &[&str],
) {
    assert_eq!(short(&overtaken(f, h)), expected);
}

#[test]
fn nothing_goes_before_it_is_decided_for_the_present_spec() {
    let mut snapshot = overtaken((Phase::Running, available()), (Phase::Running, available()));
    snapshot.generation = 2;
    assert!(!short(&snapshot).iter().any(|step| step.starts_with("mark")), "{:?}", short(&snapshot));
}

#[test]
fn what_failed_and_serves_by_now_is_not_given_up_for_what_does_not() {
    let s = |presence| {
        let mut failed = copy("b", Phase::Failed);
        failed.applied = Answer::yes();
        snapshot(&["b"], vec![copy("a", Phase::Running), failed], vec![("a", limping()), ("b", presence)])
    };
    let withdrawn = |presence| short(&s(presence)).contains(&"withdraw b".to_owned());
    assert_eq!(short(&s(available()))[0], "report b Running");
    assert!(!withdrawn(available()) && !withdrawn(Presence::Unseen), "nobody knows yet");
    assert!(withdrawn(limping()) && withdrawn(starting()));
    // Where another cluster is bound by now, too.
    let s = |presence| {
        let views = vec![("b", presence), ("c", Presence::Unseen)];
        short(&snapshot(&["c"], vec![copy("b", Phase::Failed)], views))
    };
    let begins = ["record c Intended", "apply c"];
    assert_eq!(s(available()), begins);
    assert_eq!(s(Presence::Unseen), [begins[0], begins[1], "wait 30"]);
    assert_eq!(s(limping()), ["mark b Removing", "remove b", "wait 30"], "its pods go first");
}
