//! An application of very many objects. A plan that compared each with each would take minutes here, and the adapter would
//! lose its lease over it.

use super::*;

const OBJECTS: usize = 40_000;

fn entries(names: std::ops::Range<usize>, uid: Option<&str>) -> Vec<InventoryEntry> {
    names.map(|number| entry(&format!("object-{number}"), uid)).collect()
}

/// One that runs on "a" with all its objects.
fn running() -> Snapshot {
    let mut copy = copy("a", Phase::Running);
    copy.inventory = entries(0..OBJECTS, Some("u"));
    let mut seen = seen(Verdict::Available);
    seen.present.clone_from(&copy.inventory);
    let mut snapshot = snapshot(&["a"], vec![copy], vec![("a", Presence::Seen(Box::new(seen)))]);
    let targets = entries(0..OBJECTS, None).into_iter().map(|entry| entry.key).collect();
    seen_on(&mut snapshot, "a").targets = Targets::Known(targets);
    snapshot
}

#[test]
fn what_runs_is_looked_after() {
    assert!(plan(&running()).is_empty(), "nothing is to be done");
}

#[test]
fn an_update_records_what_is_new_and_keeps_what_was_there() {
    let mut snapshot = running();
    change_spec(&mut snapshot);
    let targets = entries(OBJECTS / 2..OBJECTS * 2, None).into_iter().map(|entry| entry.key).collect();
    seen_on(&mut snapshot, "a").targets = Targets::Known(targets);
    let steps = plan(&snapshot);
    let [Step::RecordIntent(record), Step::Apply { .. }] = steps.as_slice() else {
        panic!("{}", steps.len())
    };
    assert_eq!(record.inventory.len(), OBJECTS * 2);
}

#[test]
fn what_was_pruned_leaves_the_record() {
    let snapshot = running();
    let surplus = entries(0..OBJECTS / 2, Some("u"));
    let Step::Report(record) = after_prune(&snapshot.copies[0], &surplus, &[], waited(0)) else {
        panic!("a record")
    };
    assert_eq!(record.inventory.len(), OBJECTS / 2);
}
