//! Works: what is recorded of documents, what is compared, and by what a copy is judged.

use super::*;

fn running(applied: Work, intended: Work) -> CopyRecord {
    CopyRecord {
        applied_work: Some(applied),
        intended_work: Some(intended),
        observed_generation: applied.generation,
        ..copy("a", Phase::Running)
    }
}

/// A copy as an older version of Krake recorded it.
fn older(phase: Phase) -> CopyRecord {
    CopyRecord { applied_work: None, intended_work: None, ..copy("a", phase) }
}

fn bound(copy: CopyRecord) -> Snapshot {
    snapshot(&["a"], vec![copy], vec![("a", available())])
}

#[test]
fn a_new_generation_of_the_same_documents_is_recorded_and_not_applied() {
    for phase in [Phase::Running, Phase::Applying] {
        let mut s = bound(copy("a", phase));
        (s.generation, s.scheduled_generation) = (2, 2);
        assert_eq!(short(&s), [format!("report a {phase:?}")]);
        let Step::Report(renewed) = plan(&s).remove(0) else { panic!() };
        let expected = Some(Work { generation: 2, ..work(1) });
        assert_eq!((renewed.applied_work, renewed.intended_work), (expected, expected));
        assert_eq!(renewed.observed_generation, 2);
        assert!(renewed.is_whole());
        s.scheduled_generation = 1;
        assert!(!short(&s).iter().any(|step| step.contains("apply")), "undecided: {:?}", short(&s));
    }
    let failed = CopyRecord { version: 7, ..copy("a", Phase::Failed) };
    let mut s = bound(failed);
    (s.generation, s.scheduled_generation) = (2, 2);
    assert_eq!(short(&s), ["record a Intended", "apply a"], "what failed is tried again with a new spec");
}

#[test]
fn documents_differ_whatever_the_generation() {
    let mut s = bound(copy("a", Phase::Running));
    seen_on(&mut s, "a").wanted = Some(set(9));
    assert_eq!(short(&s), ["record a Running", "apply a"]);
    // It cannot be told what is wanted, as a kind is not known: what is of this generation is looked after.
    seen_on(&mut s, "a").wanted = None;
    seen_on(&mut s, "a").targets = Targets::Unknown("503".into());
    assert_eq!(short(&s), [""; 0]);
}

#[test]
fn what_runs_is_looked_after_while_the_cluster_does_not_say_whether_it_can_take_an_update() {
    let mut s = bound(copy("a", Phase::Running));
    change_spec(&mut s);
    let view = seen_on(&mut s, "a");
    (view.wanted, view.targets) = (None, Targets::Unknown(String::new()));
    assert_eq!(short(&s), ["wait 30"], "it was not asked yet");
    seen_on(&mut s, "a").targets = Targets::Unknown("503".into());
    assert_eq!(short(&s), ["report a Running", "wait 30"]);
    let Step::Report(noted) = plan(&s).remove(0) else { panic!() };
    assert_eq!((noted.applied.truth, noted.applied.message.as_str()), (Truth::Unknown, "503"));
    s.copies = vec![noted];
    assert_eq!(short(&s), ["wait 30"]);
    let mut lacking = seen(Verdict::Progressing("gone".into()));
    lacking.missing = vec![s.copies[0].inventory[0].key.clone()];
    seen_on(&mut s, "a").presence = Presence::Seen(Box::new(lacking));
    assert_eq!(short(&s), ["repair a", "wait 30"]);
}

#[test]
fn a_webhook_that_an_update_drops_goes_first_once_the_update_is_refused() {
    let mut s = bound(copy("a", Phase::Running));
    let webhook = ObjectKey {
        api_version: "admissionregistration.k8s.io/v1".into(),
        kind: "ValidatingWebhookConfiguration".into(),
        ..key("w")
    };
    s.copies[0].inventory.push(InventoryEntry { key: webhook, uid: Some("w".into()) });
    change_spec(&mut s);
    s.copies[0].intended_work = Some(Work::new(set(2), 2));
    assert_eq!(short(&s), ["apply a"]);
    s.copies[0].applied = Answer::no(Reason::KubernetesError, "exceeded quota");
    assert_eq!(short(&s), ["apply a"], "by something else");
    seen_on(&mut s, "a").webhook = true;
    assert_eq!(short(&s), ["prune a 1", "apply a"]);
    s.copies[0].inventory.pop();
    assert_eq!(short(&s), ["apply a"]);
}

#[test]
fn what_was_not_accepted_whole_is_applied_until_it_is() {
    let mut s = bound(running(work(1), work(2)));
    change_spec(&mut s);
    assert_eq!(short(&s), ["apply a"]);
    let (outcome, accepted) = (Ok(()), [entry("echo", Some("u"))]);
    let applied = Applied {
        copy: &s.copies[0],
        what: Apply::Wanted,
        wanted: Some(set(2)),
        generation: 2,
        retry_requests: 0,
        elapsed: Duration::ZERO,
        deadline: DEADLINE,
        accepted: &accepted,
        used: &[],
        outcome: &outcome,
        validated: None,
        leaves_out: false,
    };
    let Some(Step::Report(told)) = after_apply(applied).report else { panic!() };
    assert_eq!((told.applied_work, told.intended_work), (Some(work(2)), Some(work(2))));
    assert_eq!(told.observed_generation, 2);
}

#[test]
fn going_back_to_what_was_accepted_is_applied_too() {
    // Generation 2 was accepted in part; generation 3 has the documents of generation 1.
    let mut s = bound(running(work(1), work(2)));
    (s.generation, s.scheduled_generation) = (3, 3);
    assert_eq!(short(&s), ["apply a"], "the Work is recorded, and it has to be done");
    s.copies[0].inventory.clear();
    let Step::RecordIntent(intent) = plan(&s).remove(0) else { panic!() };
    assert_eq!(intent.intended_work, Some(work(2)), "it remains to be done until it is");
}

#[test]
fn a_copy_of_an_older_version_is_taken_over_without_an_effect() {
    for phase in [Phase::Running, Phase::Applying] {
        let s = bound(older(phase));
        assert_eq!(short(&s), [format!("report a {phase:?}")]);
        let Step::Report(told) = plan(&s).remove(0) else { panic!() };
        let now = Some(Work::new(set(1), 1));
        assert_eq!((told.applied_work, told.intended_work), (now, now));
    }
    let mut unbound = snapshot(&[], vec![older(Phase::Running)], vec![("a", available())]);
    assert_eq!(short(&unbound), ["report a Running"]);
    unbound.generation = 2;
    seen_on(&mut unbound, "a").basis = Basis::Unknown("older".into());
    assert_eq!(short(&unbound), ["report a Running"]);
    let Step::Report(told) = plan(&unbound).remove(0) else { panic!() };
    assert_eq!((told.applied_work, told.applied.truth), (None, Truth::Unknown));
}

#[test]
fn a_copy_of_an_older_version_waits_for_its_turn_and_is_looked_after() {
    let mut s = bound(older(Phase::Running));
    seen_on(&mut s, "a").renewal = Duration::from_secs(7);
    assert_eq!(short(&s), ["wait 7"]);
    let Presence::Seen(seen) = &mut seen_on(&mut s, "a").presence else { panic!() };
    seen.missing = vec![key("echo")];
    assert_eq!(short(&s), ["repair a"], "it is repaired meanwhile");
}

#[test]
fn by_what_a_copy_is_judged() {
    let readable = |_: &DocumentSet| Ok(());
    let of = |copy: &CopyRecord, generation| basis(copy, generation, Some(&set(1)), readable);
    assert_eq!(of(&running(work(1), work(2)), 3), Basis::Works);
    assert_eq!(of(&copy("a", Phase::Intended), 1), Basis::Nothing);
    assert_eq!(of(&copy("a", Phase::Failed), 1), Basis::Nothing);
    assert_eq!(of(&older(Phase::Running), 1), Basis::Works, "what it means now");
    assert!(matches!(of(&older(Phase::Running), 2), Basis::Unknown(_)));
    let lost = basis(&running(work(1), work(1)), 1, None, |_| Err("not stored".into()));
    assert_eq!(lost, Basis::Unknown("the documents that were applied cannot be read: not stored".into()));
}

#[test]
fn a_work_of_other_rules_is_compared_by_documents_and_renewed_in_its_turn() {
    let before = |text: &[u8]| DocumentSet { hash: DocumentHash::of(text), hash_version: 0, size: 90 };
    let old = Work { set: before(b"old rules"), generation: 1, pieces: 1 };
    let mut with_job = running(old, old);
    with_job.inventory.push(entry("job", Some("j")));
    with_job.completed.insert(key("job"), old.set.hash);
    let mut s = bound(with_job);
    seen_on(&mut s, "a").renewal = Duration::from_secs(3);
    seen_on(&mut s, "a").targets = Targets::Known(vec![key("echo"), key("job")]);
    assert_eq!(short(&s), ["wait 3"], "the same generation means the same");
    seen_on(&mut s, "a").renewal = Duration::ZERO;
    assert_eq!(short(&s), ["report a Running"]);
    let Step::Report(renewed) = plan(&s).remove(0) else { panic!() };
    assert_eq!(
        (renewed.applied_work, renewed.completed[&key("job")]),
        (Some(Work::new(set(1), 1)), set(1).hash)
    );
    // Of another generation it is the same only if its documents are.
    (s.generation, s.scheduled_generation) = (2, 2);
    assert_eq!(short(&s), ["record a Running", "apply a"]);
    seen_on(&mut s, "a").today.insert(old.set.hash, set(1).hash);
    assert_eq!(short(&s), ["report a Running"]);
}

#[test]
fn an_object_that_cannot_be_seen_is_told_and_the_rest_is_repaired() {
    let why = "Tub demo/t cannot be seen: Tub resources of baths.example/v1 are not supported by the cluster";
    let mut partly = seen(Verdict::Progressing(why.into()));
    let hidden = crate::object::observation::Hidden { key: key("t"), why: "not supported".into() };
    partly.hidden = vec![hidden];
    let mut s = snapshot(
        &["a"],
        vec![copy("a", Phase::Running)],
        vec![("a", Presence::Seen(Box::new(partly.clone())))],
    );
    assert_eq!(short(&s), ["report a Running", "wait 10"]);
    let Step::Report(told) = plan(&s).remove(0) else { panic!() };
    assert_eq!((told.available.truth, told.available.message.as_str()), (Truth::False, why));
    for (lasted, again) in [(25, "wait 25"), (9000, "wait 300")] {
        seen_on(&mut s, "a").hidden = Duration::from_secs(lasted);
        assert_eq!(short(&s)[1], again, "asked less often the longer it lasts");
    }
    partly.missing = vec![key("echo")];
    seen_on(&mut s, "a").presence = Presence::Seen(Box::new(partly));
    assert_eq!(short(&s), ["repair a"]);
    // It is no copy that another one may be given up for.
    let mut moved = s.clone();
    (moved.bindings, moved.copies) =
        (vec!["b".into()], vec![copy("a", Phase::Running), copy("b", Phase::Running)]);
    moved.clusters.insert("b".into(), s.clusters[&ClusterUid::from("a")].clone());
    assert!(!short(&moved).iter().any(|step| step.contains("Removing")), "{:?}", short(&moved));
}

#[test]
fn a_job_that_ran_to_its_end_is_recorded_and_not_run_again_by_a_move() {
    let mut done = seen(Verdict::Available);
    done.completed = vec![(key("echo"), set(1).hash), (key("foreign"), set(1).hash)];
    let s = snapshot(&["a"], vec![copy("a", Phase::Running)], vec![("a", Presence::Seen(Box::new(done)))]);
    let Step::Report(told) = plan(&s).remove(0) else { panic!() };
    assert_eq!(told.completed, [(key("echo"), set(1).hash)].into(), "only what is recorded of it");
    let mut s = snapshot(&["b"], vec![told], vec![("a", available()), ("b", Presence::Unseen)]);
    let Step::RecordIntent(new) = plan(&s).remove(0) else { panic!() };
    assert!(new.has_completed(&key("echo"), set(1).hash));
    seen_on(&mut s, "b").every_cluster.insert(key("echo"));
    let Step::RecordIntent(new) = plan(&s).remove(0) else { panic!() };
    assert!(new.completed.is_empty(), "the user wants it to run there");
    seen_on(&mut s, "b").every_cluster.clear();
    change_spec(&mut s);
    let Step::RecordIntent(new) = plan(&s).remove(0) else { panic!() };
    assert!(new.completed.is_empty(), "of other documents it has not run");
}

#[test]
fn jobs_of_a_copy_that_is_gone_are_not_run_again() {
    let mut s = snapshot(&["b"], vec![], vec![("b", Presence::Unseen)]);
    s.strategy = Strategy::DeleteFirst;
    s.completed = [(key("echo"), set(1).hash), (key("foreign"), set(1).hash)].into();
    let Step::RecordIntent(new) = plan(&s).remove(0) else { panic!() };
    assert_eq!(new.completed, [(key("echo"), set(1).hash)].into(), "only what is an object of it");
    // One whose first record could not tell yet takes them over later, and one that is whole does not.
    let begun = CopyRecord { intended_work: None, ..copy("b", Phase::Intended) };
    s.copies = vec![begun];
    let Step::RecordIntent(later) = plan(&s).remove(0) else { panic!() };
    assert!(later.has_completed(&key("echo"), set(1).hash));
    s.copies = vec![CopyRecord {
        applied_work: Some(work(0)),
        intended_work: Some(work(0)),
        ..copy("b", Phase::Running)
    }];
    let Step::RecordIntent(whole) = plan(&s).remove(0) else { panic!() };
    assert!(whole.completed.is_empty());
    // Of other documents, or wanted on every cluster, they are to run.
    s.copies.clear();
    seen_on(&mut s, "b").every_cluster.insert(key("echo"));
    let Step::RecordIntent(wanted) = plan(&s).remove(0) else { panic!() };
    assert!(wanted.completed.is_empty());
    seen_on(&mut s, "b").every_cluster.clear();
    change_spec(&mut s);
    let Step::RecordIntent(other) = plan(&s).remove(0) else { panic!() };
    assert!(other.completed.is_empty());
}
