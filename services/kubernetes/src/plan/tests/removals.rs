//! What a removal leads to, and what it says it waits for.

use super::*;
use crate::object::remove::{Released, Remaining};
use crate::object::waves::Wait;

#[test]
fn a_copy_is_forgotten_and_pruned_only_as_far_as_objects_are_gone() {
    let removing = copy("a", Phase::Removing);
    let left = [
        Remaining { key: key("space"), waits_for: None },
        Remaining { key: key("echo"), waits_for: Some("its deletion".into()) },
    ];
    let after =
        |copy: &CopyRecord, seconds| after_remove(copy, &left, Waited { deleted: true, ..waited(seconds) });
    assert_eq!(after(&removing, 1), Step::Wait(Duration::from_secs(1)));
    let Step::Report(waits) = after(&removing, 60) else { panic!("a long wait is told") };
    assert_eq!(waits.available.reason, Reason::WaitingForRemoval);
    let message = "Deployment demo/echo waits for its deletion; what comes after that: 1";
    assert_eq!(waits.available.message, message);
    assert_eq!(after(&waits, 60), Step::Wait(Duration::from_secs(6)), "once");
    let Step::Report(overdue) = after(&waits, 300) else { panic!("a way out is offered") };
    let offered = "; this has taken more than 300 s: deleting the application with --force erases its record, and what is left is removed later without a wait";
    assert_eq!(overdue.available.message, format!("{message}{offered}"));
    assert_eq!(after_remove(&removing, &[], waited(0)), Step::Forget(removing.clone()));

    let mut running = copy("a", Phase::Running);
    running.inventory.push(entry("old", None));
    let old = [entry("old", None)];
    let left = [Remaining { key: key("old"), waits_for: Some("its deletion".into()) }];
    assert_eq!(after_prune(&running, &old, &left, waited(0)), Step::Wait(Duration::from_secs(1)));
    let Step::Report(pruned) = after_prune(&running, &old, &[], waited(0)) else { panic!() };
    assert_eq!(pruned.inventory, [entry("echo", Some("u"))]);
}

#[test]
fn what_does_not_go_is_looked_at_less_and_less() {
    let removing = copy("a", Phase::Removing);
    let left = [Remaining { key: key("echo"), waits_for: Some("its deletion".into()) }];
    let pause = |seconds| {
        let Step::Report(told) = after_remove(&removing, &left, waited(400)) else { panic!("told") };
        let copy = if seconds < 45 { &removing } else { &told };
        match after_remove(copy, &left, waited(seconds)) {
            Step::Wait(time) => time.as_secs(),
            // What is told changes at the deadline only.
            step => panic!("{step:?} after {seconds} s"),
        }
    };
    assert_eq!([0, 5, 10, 20, 40].map(pause), [1, 1, 1, 2, 4]);
    assert_eq!([400, 3_600, 86_400 * 7].map(pause), [30, 30, 30]);
    // No pause reaches over the moment at which something is to be told.
    assert_eq!(pause(44), 1);
    let Step::Report(told) = after_remove(&removing, &left, waited(50)) else { panic!("told") };
    assert_eq!(after_remove(&told, &left, waited(290)), Step::Wait(Duration::from_secs(10)));
}

#[test]
fn a_withdrawal_says_what_it_waits_for_behind_why_the_copy_failed() {
    let mut failed = copy("a", Phase::Failed);
    failed.available = Answer::no(Reason::DeadlineExceeded, "not available within 300 s: 0 of 1");
    failed.applied = Answer::yes();
    let held = |what: &str| [Remaining { key: key("echo"), waits_for: Some(Wait::for_finalizers(&[what])) }];
    assert_eq!(after_withdraw(&failed, &held("x"), waited(1)), Step::Wait(Duration::from_secs(1)));
    let Step::Report(told) = after_withdraw(&failed, &held("x"), waited(6)) else { panic!("told") };
    assert_eq!((told.phase, told.available.reason), (Phase::Failed, Reason::DeadlineExceeded));
    let waits =
        "not available within 300 s: 0 of 1; being removed: Deployment demo/echo waits for its finalizers";
    let rest = "; what set a finalizer has to take it off";
    assert_eq!(told.available.message, format!("{waits} x{rest}"));
    assert!(matches!(after_withdraw(&told, &held("x"), waited(7)), Step::Wait(_)), "once");
    let Step::Report(other) = after_withdraw(&told, &held("y"), waited(8)) else { panic!("told") };
    assert_eq!(other.available.message, format!("{waits} y{rest}"));
    let Step::Report(gone) = after_withdraw(&other, &[], waited(0)) else { panic!("told") };
    assert_eq!((gone.available, gone.inventory), (failed.available, vec![]), "only why it failed is left");
    // Of a copy of which not all could be applied, the other condition says why.
    let mut refused = copy("a", Phase::Failed);
    refused.available = Answer::no(Reason::KubernetesError, "");
    let Step::Report(told) = after_withdraw(&refused, &held("x"), waited(6)) else { panic!("told") };
    assert!(told.available.message.starts_with("being removed: Deployment demo/echo waits"), "{told:?}");
    let Step::Report(gone) = after_withdraw(&told, &[], waited(0)) else { panic!("told") };
    assert_eq!(gone.available, refused.available);
}

#[test]
fn a_prune_says_what_it_waits_for_until_it_is_gone() {
    let mut running = copy("a", Phase::Running);
    running.inventory.push(entry("old", Some("o")));
    let left = [Remaining { key: key("old"), waits_for: Some(Wait::for_finalizers(&["x"])) }];
    let old = [entry("old", Some("o"))];
    let Step::Report(told) = after_prune(&running, &old, &left, waited(6)) else { panic!("told") };
    assert_eq!((told.applied.truth, told.applied.reason), (Truth::True, Reason::WaitingForRemoval));
    let begins =
        "not in the manifest any more, and being removed: Deployment demo/old waits for its finalizers x";
    assert!(told.applied.message.starts_with(begins), "{}", told.applied.message);
    assert!(matches!(after_prune(&told, &old, &left, waited(7)), Step::Wait(_)), "once");
    // What is seen of the copy does not write over it.
    let mut snapshot = snapshot(&["a"], vec![told], vec![("a", available())]);
    assert_eq!(short(&snapshot), ["prune a 1"]);
    // It is gone.
    snapshot.copies[0].inventory.pop();
    let [Step::Report(gone)] = &plan(&snapshot)[..] else { panic!("{:?}", plan(&snapshot)) };
    assert_eq!(gone.applied, Answer::yes());
}

#[test]
fn a_retry_that_a_user_requests_goes_before_a_withdrawal() {
    let views = vec![("a", available()), ("b", starting())];
    let mut snapshot = snapshot(&["b"], vec![copy("a", Phase::Running), copy("b", Phase::Failed)], views);
    assert!(matches!(plan(&snapshot)[0], Step::Withdraw { .. }), "{:?}", plan(&snapshot));
    snapshot.retry_requests = 1;
    let applies = |step: &Step| matches!(step, Step::Apply { what: Apply::Wanted, .. });
    assert!(plan(&snapshot).iter().any(applies), "{:?}", plan(&snapshot));
    // It failed again.
    snapshot.copies[1].retry_request = 1;
    assert!(plan(&snapshot).iter().any(|step| matches!(step, Step::Withdraw { .. })));
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
    let left = [Remaining { key: key("echo"), waits_for: Some(Wait::for_finalizers(&["example.com/hold"])) }];
    let after = |seconds, deleted| match after_remove(&removing, &left, Waited { deleted, ..waited(seconds) })
    {
        Step::Report(told) => told.available.message,
        step => format!("{step:?}"),
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
        format!(
            "{waits}{overdue}deleting the application with --force erases its record, and what is left is removed later without a wait"
        )
    );
}
