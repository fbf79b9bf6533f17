//! Tables: one situation each, and the steps that follow.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::failure::Class;
use crate::object::ObjectKey;
use crate::object::health::{ContainerHealth, Health, Verdict};
use crate::object::observation::Observation;
use crate::object::rendering::{DocumentHash, DocumentSet};

mod explained;
mod failures;
mod handover;
mod large;
mod removals;
mod time;
mod works;

const DEADLINE: Duration = Duration::from_secs(300);
const NOW: i64 = 1_000_000;

fn key(name: &str) -> ObjectKey {
    ObjectKey {
        api_version: "apps/v1".into(),
        kind: "Deployment".into(),
        namespace: Some("demo".into()),
        name: name.into(),
    }
}

fn entry(name: &str, uid: Option<&str>) -> InventoryEntry {
    InventoryEntry { key: key(name), uid: uid.map(str::to_owned) }
}

/// The documents of a generation.
fn set(generation: i64) -> DocumentSet {
    let hash = DocumentHash::of(&generation.to_be_bytes());
    DocumentSet { hash, hash_version: 1, size: 100 }
}

fn work(generation: i64) -> Work {
    Work { set: set(generation), generation, pieces: 1 }
}

fn seen(verdict: Verdict) -> Observation {
    Observation {
        missing: Vec::new(),
        drifted: Vec::new(),
        hidden: Vec::new(),
        completed: Vec::new(),
        health: Health { containers: ContainerHealth::default(), verdict },
        services: BTreeMap::new(),
        present: vec![entry("echo", Some("u"))],
        used: Vec::new(),
        unready: Vec::new(),
        cause: None,
        replicas: Default::default(),
    }
}

/// A removal that has been waited for so long, of an application that stays.
fn waited(seconds: u64) -> Waited {
    Waited { time: Duration::from_secs(seconds), deadline: DEADLINE, deleted: false }
}

fn available() -> Presence {
    Presence::Seen(Box::new(seen(Verdict::Available)))
}

fn starting() -> Presence {
    Presence::Seen(Box::new(seen(Verdict::Progressing("0 of 1".into()))))
}

fn view(presence: Presence) -> ClusterView {
    ClusterView {
        presence,
        unseen: Duration::ZERO,
        hidden: Duration::ZERO,
        webhook: false,
        basis: Basis::Works,
        wanted: Some(set(1)),
        targets: Targets::Known(vec![key("echo")]),
        every_cluster: BTreeSet::new(),
        scaled: false,
        today: BTreeMap::new(),
        renewal: Duration::ZERO,
        attempt: Attempt { elapsed: Duration::from_secs(10), ..Attempt::default() },
        refused: BTreeMap::new(),
    }
}

/// A new spec, with other documents and the same bindings.
fn change_spec(snapshot: &mut Snapshot) {
    (snapshot.generation, snapshot.scheduled_generation) = (2, 2);
    snapshot.clusters.values_mut().for_each(|view| view.wanted = Some(set(2)));
}

/// The view of a cluster, to be changed.
fn seen_on<'a>(snapshot: &'a mut Snapshot, cluster: &str) -> &'a mut ClusterView {
    snapshot.clusters.get_mut(&cluster.into()).unwrap()
}

/// A copy of generation 1, as complete as its phase implies.
fn copy(cluster: &str, phase: Phase) -> CopyRecord {
    let applied = matches!(phase, Phase::Applying | Phase::Running);
    CopyRecord {
        phase,
        since: Timestamp::from_second(NOW - 10).unwrap(),
        observed_generation: if phase == Phase::Intended { 0 } else { 1 },
        version: 7,
        inventory: vec![entry("echo", applied.then_some("u"))],
        applied: if applied { Answer::yes() } else { Answer::unknown(Reason::Unspecified, "") },
        available: match phase {
            Phase::Running => Answer::yes(),
            Phase::Applying => Answer::no(Reason::Progressing, "0 of 1"),
            _ => Answer::unknown(Reason::Unspecified, ""),
        },
        applied_work: (!matches!(phase, Phase::Intended | Phase::Failed)).then_some(work(1)),
        intended_work: Some(work(1)),
        ..CopyRecord::intended(&cluster.into(), Timestamp::UNIX_EPOCH)
    }
}

fn snapshot(bindings: &[&str], copies: Vec<CopyRecord>, views: Vec<(&str, Presence)>) -> Snapshot {
    Snapshot {
        deleted: false,
        generation: 1,
        scheduled_generation: 1,
        retry_requests: 0,
        bindings: bindings.iter().map(|uid| (*uid).into()).collect(),
        copies,
        completed: BTreeMap::new(),
        leaving: BTreeSet::new(),
        strategy: Strategy::CreateFirst,
        given_up: BTreeSet::new(),
        clusters: views.into_iter().map(|(uid, presence)| (uid.into(), view(presence))).collect(),
        now: Timestamp::from_second(NOW).unwrap(),
        deadline: DEADLINE,
    }
}

/// The steps in short, such as `apply b`.
fn short(snapshot: &Snapshot) -> Vec<String> {
    let told = |verb: &str, copy: &CopyRecord| format!("{verb} {} {:?}", copy.cluster, copy.phase);
    plan(snapshot)
        .iter()
        .map(|step| match step {
            Step::RecordIntent(copy) => told("record", copy),
            Step::Report(copy) => told("report", copy),
            Step::MarkRemoving(copy) => told("mark", copy),
            Step::Forget(copy) => format!("forget {}", copy.cluster),
            Step::Apply { cluster, what: Apply::Wanted } => format!("apply {cluster}"),
            Step::Apply { cluster, what: Apply::Repair } => format!("repair {cluster}"),
            Step::Remove { cluster, .. } => format!("remove {cluster}"),
            Step::Withdraw { cluster, .. } => format!("withdraw {cluster}"),
            Step::Prune { cluster, surplus } => format!("prune {cluster} {}", surplus.len()),
            Step::DropFinalizer => "drop finalizer".to_owned(),
            Step::Wait(time) => format!("wait {}", time.as_secs()),
        })
        .collect()
}

#[test]
fn intent_is_recorded_with_all_objects_before_anything_is_applied() {
    let s = snapshot(&["a"], vec![], vec![("a", Presence::Unseen)]);
    assert_eq!(short(&s), ["record a Intended", "apply a"]);
    let Step::RecordIntent(record) = &plan(&s)[0] else { panic!() };
    assert_eq!((record.version, &record.inventory[..]), (0, &[entry("echo", None)][..]));
}

#[test]
fn nothing_new_without_a_decision_for_this_generation() {
    let mut s = snapshot(&["a"], vec![], vec![("a", Presence::Unseen)]);
    s.generation = 2;
    assert_eq!(short(&s), ["wait 30"]);
    s.copies = vec![copy("a", Phase::Intended)];
    assert_eq!(short(&s), ["wait 30"]);
}

#[test]
fn nothing_is_begun_on_a_cluster_that_does_not_answer() {
    let s = snapshot(&["a"], vec![], vec![("a", Presence::Unreachable("down".into()))]);
    assert_eq!(short(&s), ["wait 30"]);
}

#[test]
fn from_applying_to_running_or_failed() {
    let with = |presence, age| {
        let mut s = snapshot(&["a"], vec![copy("a", Phase::Applying)], vec![("a", presence)]);
        seen_on(&mut s, "a").attempt.elapsed = Duration::from_secs(age);
        short(&s)
    };
    assert_eq!(with(available(), 10), ["report a Running"]);
    assert_eq!(with(starting(), 10), ["wait 290"]);
    assert_eq!(with(starting(), 300), ["report a Failed"]);
    assert_eq!(with(Presence::Seen(Box::new(seen(Verdict::Failed("x".into())))), 10), ["report a Failed"]);
}

#[test]
fn what_is_missing_or_changed_is_applied_again() {
    let mut observed = seen(Verdict::Available);
    observed.missing = vec![key("echo")];
    let s =
        snapshot(&["a"], vec![copy("a", Phase::Running)], vec![("a", Presence::Seen(Box::new(observed)))]);
    assert_eq!(short(&s), ["repair a"]);
    let mut observed = seen(Verdict::Available);
    observed.drifted = vec![key("echo")];
    let s =
        snapshot(&["a"], vec![copy("a", Phase::Running)], vec![("a", Presence::Seen(Box::new(observed)))]);
    assert_eq!(short(&s), ["repair a"]);
}

#[test]
fn while_a_new_generation_is_undecided_the_old_one_is_repaired() {
    let mut observed = seen(Verdict::Progressing("echo does not exist".into()));
    observed.missing = vec![key("echo")];
    let mut s =
        snapshot(&["a"], vec![copy("a", Phase::Running)], vec![("a", Presence::Seen(Box::new(observed)))]);
    s.generation = 2;
    assert_eq!(short(&s), ["repair a"]);
    // But not by guesses.
    seen_on(&mut s, "a").basis = Basis::Unknown("they are not stored".into());
    assert_eq!(short(&s), ["report a Running"]);
    let Step::Report(told) = plan(&s).remove(0) else { panic!() };
    assert_eq!(told.applied.message, "kept as it is, and not repaired: they are not stored");
    assert_eq!((told.applied.truth, told.available.truth), (Truth::Unknown, Truth::False));
}

#[test]
fn a_new_generation_records_its_documents_first() {
    let mut s = snapshot(&["a"], vec![copy("a", Phase::Running)], vec![("a", available())]);
    change_spec(&mut s);
    seen_on(&mut s, "a").targets = Targets::Known(vec![key("echo"), key("more")]);
    assert_eq!(short(&s), ["record a Running", "apply a"], "what runs goes on running");
    let Step::RecordIntent(record) = plan(&s).remove(0) else { panic!() };
    assert_eq!((record.observed_generation, record.inventory.len()), (1, 2));
    assert_eq!((record.applied_work, record.intended_work), (Some(work(1)), Some(Work::new(set(2), 2))));
    s.copies = vec![CopyRecord { intended_work: Some(work(2)), ..record }];
    assert_eq!(short(&s), ["apply a"], "recorded once");
}

#[test]
fn what_left_the_manifest_is_pruned_once_the_rest_runs() {
    let mut running = copy("a", Phase::Running);
    running.inventory.push(entry("old", Some("o")));
    let s = snapshot(&["a"], vec![running.clone()], vec![("a", available())]);
    assert_eq!(short(&s), ["prune a 1"]);
    running.phase = Phase::Applying;
    let s = snapshot(&["a"], vec![running], vec![("a", available())]);
    assert_eq!(short(&s), ["report a Running"]);
}

#[test]
fn the_old_copy_goes_only_after_the_new_one_is_available() {
    let old = || copy("a", Phase::Running);
    let s = |copies, b| snapshot(&["b"], copies, vec![("a", available()), ("b", b)]);
    assert_eq!(short(&s(vec![old()], Presence::Unseen)), ["record b Intended", "apply b"]);
    assert_eq!(short(&s(vec![old(), copy("b", Phase::Applying)], starting())), ["wait 290"]);
    assert_eq!(short(&s(vec![old(), copy("b", Phase::Applying)], available())), ["report b Running"]);
    assert_eq!(
        short(&s(vec![old(), copy("b", Phase::Running)], available())),
        ["mark a Removing", "remove a"]
    );
    let unhealthy = short(&s(vec![old(), copy("b", Phase::Running)], starting()));
    assert_eq!(unhealthy, ["report b Running"], "recorded as running, but not available now");
}

#[test]
fn a_new_copy_that_fails_is_withdrawn_and_the_old_one_stays() {
    let copies = vec![copy("a", Phase::Running), copy("b", Phase::Failed)];
    let s = snapshot(&["b"], copies, vec![("a", available()), ("b", starting())]);
    assert_eq!(short(&s), ["withdraw b"]);
    let mut withdrawn = copy("b", Phase::Failed);
    withdrawn.inventory.clear();
    let copies = vec![copy("a", Phase::Running), withdrawn.clone()];
    let mut s = snapshot(&["b"], copies, vec![("a", available()), ("b", starting())]);
    seen_on(&mut s, "b").attempt.pause = Duration::from_secs(400);
    assert_eq!(short(&s), ["wait 400"]);
    seen_on(&mut s, "b").attempt.pause = Duration::ZERO;
    assert_eq!(short(&s), ["record b Intended", "apply b"], "tried again after its pause");
    // Sent back, the failed record goes.
    let s = snapshot(
        &["a"],
        vec![copy("a", Phase::Running), withdrawn],
        vec![("a", available()), ("b", starting())],
    );
    assert_eq!(short(&s), ["mark b Removing", "remove b"]);
}

#[test]
fn a_failed_copy_is_revived_by_a_new_generation_or_by_becoming_available() {
    let mut failed = copy("a", Phase::Failed);
    (failed.applied, failed.inventory) = (Answer::yes(), vec![entry("echo", Some("u"))]);
    let mut s = snapshot(&["a"], vec![failed], vec![("a", starting())]);
    assert_eq!(short(&s), [""; 0], "nothing replaces it, so it stays to be looked at");
    s.clusters.get_mut(&"a".into()).unwrap().presence = available();
    assert_eq!(short(&s), ["report a Running"]);
    change_spec(&mut s);
    assert_eq!(short(&s), ["record a Intended", "apply a"]);
}

#[test]
fn delete_first_creates_when_the_other_is_gone() {
    let s = |copies| {
        let mut s = snapshot(&["b"], copies, vec![("a", available()), ("b", Presence::Unseen)]);
        s.strategy = Strategy::DeleteFirst;
        short(&s)
    };
    assert_eq!(s(vec![copy("a", Phase::Running)]), ["mark a Removing", "remove a", "wait 30"]);
    assert_eq!(s(vec![copy("a", Phase::Removing)]), ["remove a", "wait 30"]);
    assert_eq!(s(vec![]), ["record b Intended", "apply b"]);
    let mut s =
        snapshot(&["b"], vec![copy("a", Phase::Running)], vec![("a", Presence::Unreachable("down".into()))]);
    s.strategy = Strategy::DeleteFirst;
    assert!(!short(&s).iter().any(|step| step.contains(" b ")), "it may still run: {:?}", short(&s));
}

#[test]
fn an_unreachable_copy_keeps_its_record_whatever_it_says() {
    for phase in [Phase::Intended, Phase::Applying, Phase::Running, Phase::Failed, Phase::Removing] {
        for (bindings, deleted) in [(&["a"][..], false), (&["b"][..], false), (&[], true)] {
            let views = vec![("a", Presence::Unreachable("down".into())), ("b", available())];
            let mut s = snapshot(bindings, vec![copy("a", phase), copy("b", Phase::Running)], views);
            s.deleted = deleted;
            let on_a = |step: &Step| step.cluster().is_some_and(|cluster| cluster.as_str() == "a");
            assert!(!plan(&s).iter().any(on_a), "{phase:?}: {:?}", short(&s));
        }
    }
}

#[test]
fn a_copy_that_failed_is_kept_while_it_is_not_known_whether_another_one_runs() {
    let s = |presence| {
        let copies = vec![copy("a", Phase::Running), copy("b", Phase::Failed)];
        snapshot(&["b"], copies, vec![("a", presence), ("b", starting())])
    };
    let withdrawn = |s: &Snapshot| plan(s).iter().any(|step| matches!(step, Step::Withdraw { .. }));
    assert!(withdrawn(&s(available())));
    assert!(!withdrawn(&s(Presence::Unreachable("down".into()))));
}

#[test]
fn an_unreachable_copy_that_was_replaced_is_removed_when_its_cluster_is_back() {
    let copies = vec![copy("a", Phase::Running), copy("b", Phase::Running)];
    let s = |presence| snapshot(&["b"], copies.clone(), vec![("a", presence), ("b", available())]);
    assert_eq!(short(&s(Presence::Unreachable("down".into()))), ["wait 30"]);
    assert_eq!(short(&s(available())), ["mark a Removing", "remove a"]);
}

#[test]
fn deletion_removes_every_copy_then_the_finalizer() {
    let copies = vec![copy("a", Phase::Running), copy("b", Phase::Intended), copy("c", Phase::Running)];
    let mut s =
        snapshot(&["a"], copies, vec![("a", available()), ("b", Presence::Unseen), ("c", Presence::Erased)]);
    s.deleted = true;
    let expected = ["mark a Removing", "remove a", "mark b Removing", "remove b", "forget c"];
    assert_eq!(short(&s), expected);
    s.copies.clear();
    assert_eq!(short(&s), ["drop finalizer"]);
}

#[test]
fn an_undecided_application_loses_nothing() {
    let mut s = snapshot(&[], vec![copy("a", Phase::Running)], vec![("a", available())]);
    s.scheduled_generation = 0;
    assert_eq!(short(&s), [""; 0]);
    s.scheduled_generation = 1;
    assert_eq!(short(&s), [""; 0], "decided: on no cluster, and nothing takes its place");
}

#[test]
fn a_released_application_leaves_nothing_where_it_was_never_accepted() {
    let never = CopyRecord { applied_work: None, ..copy("a", Phase::Intended) };
    let mut s = snapshot(&[], vec![never.clone()], vec![("a", Presence::Unseen)]);
    assert_eq!(short(&s), ["mark a Removing", "remove a"]);
    s.copies = vec![CopyRecord { applied_work: Some(Work::new(set(1), 1)), ..never }];
    assert!(!short(&s).iter().any(|step| step.contains("remove")), "{:?}", short(&s));
}

#[test]
fn a_released_application_loses_only_copies_on_clusters_that_go() {
    let copies = vec![copy("goes", Phase::Running), copy("stays", Phase::Running)];
    let mut s = snapshot(&[], copies, vec![("goes", available()), ("stays", available())]);
    s.leaving.insert("goes".into());
    assert_eq!(short(&s), ["mark goes Removing", "remove goes"]);
    s.bindings.push("stays".into());
    s.leaving.clear();
    assert_eq!(short(&s), ["mark goes Removing", "remove goes"], "a binding elsewhere is a successor");
    (s.bindings, s.scheduled_generation) = (vec!["new".into()], 0);
    s.leaving.insert("goes".into());
    assert_eq!(short(&s)[..2], ["mark goes Removing", "remove goes"], "one copy stays, whatever comes");
}

#[test]
fn a_copy_that_is_wanted_again_is_recorded_anew() {
    let s = snapshot(&["a"], vec![copy("a", Phase::Removing)], vec![("a", Presence::Unseen)]);
    assert_eq!(short(&s), ["record a Intended", "apply a"]);
}

#[test]
fn an_impossible_manifest_fails_on_record() {
    let mut s = snapshot(&["a"], vec![], vec![("a", Presence::Unseen)]);
    s.clusters.get_mut(&"a".into()).unwrap().targets =
        Targets::Impossible(Reason::UnsupportedResource, "Foo resources are not supported".into());
    assert_eq!(short(&s), ["record a Intended", "report a Failed"]);
    let Step::Report(told) = &plan(&s)[1] else { panic!() };
    assert_eq!(told.applied.reason, Reason::UnsupportedResource);
    s.copies = vec![told.clone()];
    assert_eq!(short(&s), ["wait 30"], "not tried again until something changes");
}
