//! A handover that is overtaken by another one: never more than two copies.

use rstest::rstest;

use super::*;

/// Pods run there, or not.
fn removing(pods: i64) -> Presence {
    let mut seen = seen(Verdict::Progressing("being removed".into()));
    seen.health.containers.running = pods;
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
