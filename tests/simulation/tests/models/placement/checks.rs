//! What holds for placement and migration under any timing, and what fails without a part of the protocol.

use stateright::{Checker, HasDiscoveries, Model};

use super::adapter::Step;
use super::{Action, ERASED, Placement, RECORDED};

const KRAKE: Placement =
    Placement { record_first: true, lease: true, delete_first: false, fresh_start: true };

/// Looks at all states, or until something is found; prints how many there were.
fn explore(name: &str, model: Placement, until: HasDiscoveries) -> impl Checker<Placement> {
    let checker = model.checker().threads(2).finish_when(until).spawn_bfs().join();
    eprintln!("{name}: {} states, {} deep", checker.unique_state_count(), checker.max_depth());
    checker
}

/// A way to break a property.
fn story(name: &str, model: Placement, property: &'static str) -> Vec<Action> {
    let checker = explore(name, model, HasDiscoveries::AnyOf([property].into()));
    let actions = checker.assert_any_discovery(property).into_actions();
    eprintln!("{property}: not so after {actions:?}");
    actions
}

#[test]
fn the_protocol_holds_under_any_timing() {
    explore("create first", KRAKE, HasDiscoveries::AnyFailures).assert_properties();
}

#[test]
fn the_protocol_holds_when_the_old_copy_goes_first() {
    explore("delete first", Placement { delete_first: true, ..KRAKE }, HasDiscoveries::AnyFailures)
        .assert_properties();
}

#[test]
fn applying_before_recording_leaves_a_copy_that_nobody_knows() {
    let story = story("naive order", Placement { record_first: false, ..KRAKE }, ERASED);
    assert!(story.iter().any(|action| matches!(action, Action::Step(_, Step::DeployUnrecorded(_)))));
}

#[test]
fn without_leases_a_paused_adapter_revives_what_another_removed() {
    story("without leases", Placement { lease: false, ..KRAKE }, RECORDED);
}

#[test]
fn a_new_leader_with_an_old_mirror_revives_what_its_predecessor_removed() {
    let story = story("old mirror", Placement { fresh_start: false, ..KRAKE }, RECORDED);
    assert!(story.iter().any(|action| matches!(action, Action::Lead(_))), "only a change of leaders does it");
}
