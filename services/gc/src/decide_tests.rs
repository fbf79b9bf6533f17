//! Decisions as tables, and their outcome on random graphs.

use std::collections::BTreeMap;
use std::time::SystemTime;

use krake_client::{Change, Notice};
use krake_proto::krake::meta::v1::Deletion;
use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::member::Owner;

fn key(name: &str) -> ObjectKey {
    ObjectKey { api: "core".into(), kind: "Thing".into(), namespace: "n".into(), name: name.into() }
}

/// Reads `a` alive, `a!` waiting, `a~` leaving, `a!+` waiting with cascade, `a!*` with cascade and force, each with its
/// owners: `b<a` belongs to a, `b<a:x` to the a of uid x, `b<a^` and `b<a^:x` are released by a.
fn graph(objects: &str) -> Graph {
    let mut graph = Graph::default();
    for text in objects.split_whitespace() {
        let mut parts = text.split('<');
        let name = parts.next().unwrap();
        let flag = |flag: char| name.contains(flag);
        let stage = match (flag('!'), flag('~')) {
            (true, _) => Stage::Waiting,
            (_, true) => Stage::Leaving,
            _ => Stage::Alive,
        };
        let deletion = Deletion { cascade: flag('+') || flag('*'), force: flag('*'), ..Deletion::default() };
        let name = name.trim_end_matches(['!', '~', '+', '*']);
        let owner = |text: &str| {
            let (name, uid) = text.split_once(':').unwrap_or((text, ""));
            let releases = name.ends_with('^');
            Owner { key: key(name.trim_end_matches('^')), uid: uid.into(), releases }
        };
        put(
            &mut graph,
            name,
            Some(Member {
                uid: format!("uid-{name}"),
                resource_version: 1,
                stage,
                trace_parent: String::new(),
                owners: parts.map(owner).collect(),
                deleted: SystemTime::UNIX_EPOCH,
                deletion,
                finalizer: String::new(),
            }),
        );
    }
    graph
}

fn put(graph: &mut Graph, name: &str, member: Option<Member>) -> Vec<String> {
    let notice = Notice {
        key: key(name),
        change: if member.is_some() { Change::Applied } else { Change::Deleted },
        before: graph.get(&key(name)).cloned(),
        after: member.map(Into::into),
    };
    graph.apply(&notice).into_iter().map(|key| key.name).collect()
}

fn names(targets: &[Target]) -> String {
    targets.iter().map(|target| target.key.name.as_str()).collect::<Vec<_>>().join(" ")
}

/// A plan in short.
fn plan(graph: &Graph, name: &str) -> String {
    match decide(graph, &key(name)) {
        Plan::Nothing => "nothing".into(),
        Plan::Wait(_) => "wait".into(),
        Plan::Release(target) => {
            assert_eq!(target, Target { key: key(name), uid: format!("uid-{name}"), resource_version: 1 });
            "release".into()
        }
        Plan::Delete(targets, Includes { cascade, force }) => {
            let how = match (cascade, force) {
                (false, false) => "delete",
                (true, false) => "cascade",
                (true, true) => "force",
                (false, true) => unreachable!("state erases such an object at once"),
            };
            format!("{how} {}", names(&targets))
        }
        Plan::LeaveTo(first) => format!("leave to {}", first.name),
    }
}

#[rstest]
#[case::unknown("a!", "b", "nothing")]
#[case::alive("a b<a", "a", "nothing")]
#[case::others_work_on_it("a~", "a", "nothing")]
#[case::no_dependents("a! b", "a", "release")]
#[case::dependents("a! c<a b<a d", "a", "delete b c")]
#[case::some_on_their_way("a! b<a c!<a d~<a", "a", "delete b")]
#[case::all_on_their_way("a! b!<a c~<a", "a", "wait")]
#[case::dependent_of_a_predecessor("a! b<a:uid-other", "a", "release")]
#[case::dependent_by_uid("a! b<a:uid-a", "a", "delete b")]
#[case::released("a! b<a^:uid-a", "a", "release")]
#[case::cascade_takes_what_would_be_released("a!+ b<a^:uid-a c<a", "a", "cascade b c")]
#[case::cascade_is_added_to_deletions_that_include_less("a!+ b!<a c~<a^:uid-a d!+<a", "a", "cascade b c")]
#[case::cascade_takes_nothing_of_a_predecessor("a!+ b<a^:uid-other", "a", "release")]
#[case::cascade_takes_nothing_by_name_alone("a!+ b<a^", "a", "release")]
#[case::cascade_waits("a!+ b~+<a^:uid-a", "a", "wait")]
#[case::the_cascade_of_another_owner_is_of_no_matter("a! z!+ b<a^:uid-a<z^:uid-z", "a", "release")]
#[case::forced_cascade_waits_for_no_one_elses_work("a!* b~<a^:uid-a c!+<a d<a", "a", "force b c d")]
#[case::forced_cascade_waits_for_the_next_level("a!* b!*<a^:uid-a c!*<b", "a", "wait")]
#[case::forced_cascade_ends("a!*", "a", "release")]
#[case::one_of_two_owners_suffices("a! b<a<z z", "a", "delete b")]
#[case::missing_owner("b!<a", "b", "release")]
#[case::dependent_with_dependents("a! b!<a c!<b", "a", "wait")]
#[case::diamond_top("a! b!<a c!<a d!<b<c", "a", "wait")]
#[case::diamond_side("a! b!<a c!<a d!<b<c", "b", "wait")]
#[case::diamond_bottom("a! b!<a c!<a d!<b<c", "d", "release")]
#[case::owns_itself("a!<a", "a", "release")]
#[case::ring_first("a!<c b!<a c!<b", "a", "release")]
#[case::ring_second("a!<c b!<a c!<b", "b", "leave to a")]
#[case::ring_third("a!<c b!<a c!<b", "c", "leave to a")]
#[case::ring_with_one_alive("a!<c b!<a c<b", "b", "delete c")]
#[case::ring_with_one_leaving("a!<c b!<a c~<b", "a", "wait")]
#[case::ring_whose_first_has_more_to_wait_for("a!<b b!<a x~<a", "b", "release")]
#[case::ring_whose_first_waits_for_another_ring("a!<b b!<a c!<a<d d!<c", "b", "release")]
#[case::owner_of_a_ring("o! a!<b<o b!<a", "o", "wait")]
#[case::figure_of_eight("a!<b b!<a<c c!<b", "c", "leave to a")]
fn decisions(#[case] objects: &str, #[case] name: &str, #[case] expected: &str) {
    assert_eq!(plan(&graph(objects), name), expected);
}

#[test]
fn a_change_wakes_the_waiting_object_itself_and_its_waiting_owners() {
    let mut graph = graph("a! b!<a c<a<b");
    let c = Member { owners: Vec::new(), ..graph.get(&key("c")).unwrap().as_ref().clone() };
    let c_before = graph.get(&key("c")).unwrap().as_ref().clone();
    assert_eq!(put(&mut graph, "c", Some(c)), ["a", "b"], "owners that it no longer has");
    assert_eq!(put(&mut graph, "c", Some(c_before)), ["a", "b"], "owners that it has anew");
    assert_eq!(put(&mut graph, "c", None), ["a", "b"], "owners of what disappeared");
    let b = graph.get(&key("b")).unwrap().as_ref().clone();
    assert_eq!(put(&mut graph, "b", Some(b)), ["a", "b"]);
    assert_eq!(plan(&graph, "a"), "wait");
    assert_eq!(put(&mut graph, "b", None), ["a"]);
    assert_eq!(plan(&graph, "a"), "release");
}

#[test]
fn a_wait_says_what_for() {
    let mut graph = graph("a! b~<a c!<a d!<a e!<a f!<a x<f");
    let b =
        Member { finalizer: "acme.example/backup".into(), ..graph.get(&key("b")).unwrap().as_ref().clone() };
    put(&mut graph, "b", Some(b));
    let Plan::Wait(reason) = decide(&graph, &key("a")) else { panic!("it waits") };
    assert!(reason.contains("acme.example/backup") && reason.ends_with("and 2 more"), "{reason}");
}

#[test]
fn a_reason_fits_into_the_contracts_limit() {
    let mut graph = graph("a! b~<a");
    let long = Member { finalizer: "ä".repeat(3_000), ..graph.get(&key("b")).unwrap().as_ref().clone() };
    put(&mut graph, "b", Some(long));
    let Plan::Wait(reason) = decide(&graph, &key("a")) else { panic!("it waits") };
    assert_eq!(reason.chars().count(), 1_000);
    assert!(reason.ends_with("ä…"), "{reason}");
}

#[test]
fn nothing_is_kept_of_what_is_gone() {
    let mut graph = graph("a! b<a c<a<b");
    for name in ["a", "b", "c"] {
        put(&mut graph, name, None);
    }
    assert_eq!(format!("{graph:?}"), format!("{:?}", Graph::default()));
}

/// Ten objects, any of which may own any other or itself.
fn any_owners() -> impl Strategy<Value = Vec<BTreeSet<usize>>> {
    prop::collection::vec(prop::collection::btree_set(0..10usize, 0..3), 10)
}

/// Whether `from` depends on `to`, by itself or through others.
fn depends(owners: &[BTreeSet<usize>], from: usize, to: usize) -> bool {
    reach(&key(&from.to_string()), |key| {
        let index: usize = key.name.parse().unwrap();
        owners[index].iter().map(|owner| super::tests::key(&owner.to_string())).collect()
    })
    .contains(&key(&to.to_string()))
}

proptest! {
    /// One object is deleted. In whatever order the queue hands keys out, exactly what depends on it goes, every
    /// owner after its dependents except within a ring, and the queue runs dry.
    #[test]
    fn a_deletion_takes_exactly_what_depends_on_it_owners_last(
        owners in any_owners(),
        root in 0..10usize,
        choices in prop::collection::vec(any::<prop::sample::Index>(), 400),
    ) {
        let member = |index: usize, stage| Member {
            uid: format!("uid-{index}"),
            resource_version: 1,
            stage,
            trace_parent: String::new(),
            owners: owners[index].iter().map(|owner| Owner { key: key(&owner.to_string()), uid: String::new(), releases: false }).collect(),
            deleted: SystemTime::UNIX_EPOCH,
            deletion: Deletion::default(),
            finalizer: String::new(),
        };
        let mut graph = Graph::default();
        for index in 0..10 {
            put(&mut graph, &index.to_string(), Some(member(index, Stage::Alive)));
        }
        let mut queue: BTreeMap<String, ()> = BTreeMap::new();
        queue.extend(put(&mut graph, &root.to_string(), Some(member(root, Stage::Waiting))).into_iter().map(|k| (k, ())));
        let mut gone = Vec::new();
        let mut choices = choices.into_iter();
        while !queue.is_empty() {
            let choice = choices.next();
            prop_assert!(choice.is_some(), "the queue does not run dry: {queue:?}");
            let name = queue.keys().nth(choice.unwrap().index(queue.len())).unwrap().clone();
            queue.remove(&name);
            let woken = match decide(&graph, &key(&name)) {
                Plan::Nothing | Plan::Wait(_) => Vec::new(),
                Plan::LeaveTo(first) => vec![first.name],
                Plan::Delete(targets, _) => targets.iter().flat_map(|target| {
                    let index = target.key.name.parse().unwrap();
                    put(&mut graph, &target.key.name, Some(member(index, Stage::Waiting)))
                }).collect(),
                Plan::Release(target) => {
                    gone.push(name.parse::<usize>().unwrap());
                    put(&mut graph, &target.key.name, None)
                }
            };
            queue.extend(woken.into_iter().map(|key| (key, ())));
        }
        let expected: BTreeSet<usize> =
            (0..10).filter(|index| *index == root || depends(&owners, *index, root)).collect();
        prop_assert_eq!(gone.iter().copied().collect::<BTreeSet<_>>(), expected);
        for (place, owner) in gone.iter().enumerate() {
            for later in &gone[place + 1..] {
                let ring = depends(&owners, *owner, *later);
                prop_assert!(ring || !owners[*later].contains(owner), "{owner} went before its dependent {later}");
            }
        }
    }
}
