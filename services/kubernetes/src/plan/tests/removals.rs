//! What a removal leads to, and what it says it waits for.

use super::*;
use crate::object::remove::{Released, Remaining};

#[test]
fn a_copy_is_forgotten_and_pruned_only_as_far_as_objects_are_gone() {
    let removing = copy("a", Phase::Removing);
    let left = [
        Remaining { key: key("space"), waits_for: None },
        Remaining { key: key("echo"), waits_for: Some("its deletion".into()) },
    ];
    let deadline = Duration::from_secs(300);
    let after =
        |copy: &CopyRecord, seconds| after_remove(copy, &left, Duration::from_secs(seconds), deadline, true);
    assert_eq!(after(&removing, 1), Step::Wait(REMOVAL_INTERVAL));
    let Step::Report(waits) = after(&removing, 60) else { panic!("a long wait is told") };
    assert_eq!(waits.available.reason, Reason::WaitingForRemoval);
    let message = "Deployment demo/echo waits for its deletion; what comes after that: 1";
    assert_eq!(waits.available.message, message);
    assert_eq!(after(&waits, 60), Step::Wait(REMOVAL_INTERVAL), "once");
    let Step::Report(overdue) = after(&waits, 300) else { panic!("a way out is offered") };
    let offered =
        "; this has taken more than 300 s: deleting the application with --force leaves what remains";
    assert_eq!(overdue.available.message, format!("{message}{offered}"));
    assert_eq!(after_remove(&removing, &[], Duration::ZERO, deadline, true), Step::Forget(removing.clone()));

    let mut running = copy("a", Phase::Running);
    running.inventory.push(entry("old", None));
    let old = [entry("old", None)];
    let left = [Remaining { key: key("old"), waits_for: Some("its deletion".into()) }];
    assert_eq!(after_prune(&running, &old, &left), Step::Wait(REMOVAL_INTERVAL));
    let Step::Report(pruned) = after_prune(&running, &old, &[]) else { panic!() };
    assert_eq!(pruned.inventory, [entry("echo", Some("u"))]);
}

#[test]
fn what_is_released_is_told_and_not_removed_any_more() {
    let released = [Released { key: key("echo"), why: "holds Secret demo/theirs".into() }];
    let told = after_release(&copy("a", Phase::Removing), &released);
    assert_eq!((told.available.reason, told.inventory), (Reason::Released, vec![]));
    let message = "left on the cluster: Deployment demo/echo holds Secret demo/theirs";
    assert_eq!(told.available.message, message);
    let running = after_release(&copy("a", Phase::Running), &released);
    assert_eq!((running.available.truth, running.applied.truth), (Truth::True, Truth::True));
    assert_eq!(running.applied.message, message);
}

#[test]
fn what_was_released_is_told_until_other_documents_are_applied() {
    let released = [Released { key: key("space"), why: "holds Secret demo/theirs".into() }];
    let mut before = copy("a", Phase::Running);
    before.inventory.push(entry("space", Some("s")));
    let told = after_release(&before, &released);
    assert_eq!(told.inventory, [entry("echo", Some("u"))]);
    let s = snapshot(&["a"], vec![told.clone()], vec![("a", available())]);
    assert_eq!(plan(&s), [], "the next look changes nothing");
    let applied = |what, set, copy: &CopyRecord| {
        after_apply(Applied {
            copy,
            what,
            wanted: Some(set),
            generation: 1,
            retry_requests: 0,
            elapsed: Duration::ZERO,
            deadline: DEADLINE,
            accepted: &[entry("echo", Some("u"))],
            used: &[],
            outcome: &Ok(()),
            validated: None,
            leaves_out: false,
        })
    };
    assert_eq!(applied(Apply::Repair, set(1), &told).report, None, "nor does a repair");
    let update = CopyRecord { intended_work: Some(Work::new(set(2), 1)), ..told };
    let Some(Step::Report(updated)) = applied(Apply::Wanted, set(2), &update).report else { panic!() };
    assert_eq!(updated.applied, Answer::yes());
}

#[test]
fn what_a_finalizer_holds_is_told_soon_and_what_to_do() {
    let removing = copy("a", Phase::Removing);
    let left = [Remaining { key: key("echo"), waits_for: Some("its finalizers example.com/hold".into()) }];
    let after = |seconds, deleted| {
        let deadline = Duration::from_secs(300);
        match after_remove(&removing, &left, Duration::from_secs(seconds), deadline, deleted) {
            Step::Report(told) => told.available.message,
            step => format!("{step:?}"),
        }
    };
    assert!(after(4, false).starts_with("Wait"));
    let waits = "Deployment demo/echo waits for its finalizers example.com/hold";
    assert_eq!(after(5, false), format!("{waits}; what set a finalizer has to take it off"));
    let overdue = "; this has taken more than 300 s: ";
    assert_eq!(
        after(300, false),
        format!("{waits}{overdue}take the finalizers off by hand if what set them is gone")
    );
    assert_eq!(
        after(300, true),
        format!("{waits}{overdue}deleting the application with --force leaves what remains")
    );
}
