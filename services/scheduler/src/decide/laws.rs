//! The laws of the decision over arbitrary worlds.

use std::collections::BTreeMap;
use std::sync::Arc;

use krake_client::{ClusterUid, NamespacedName};
use proptest::prelude::*;

use super::*;
use crate::filter::{Shortlists, candidate};
use crate::fixture::{Fleet, ago, application, constraints, now};
use crate::handover::{Copy, CopyPhase, FailedHandover};
use crate::retry::{Attempts, Backoff, Retry};
use crate::score::rendezvous;
use crate::world::{Cluster, Constraints};

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// Values, weights and times are few, so that ties and borders are common.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![3 => (0..=10u8).prop_map(|tenths| f64::from(tenths) / 10.0), 1 => 0.0..=1.0]
}

#[derive(Clone, Debug)]
struct Metric {
    weight: f64,
    value: f64,
    known: u8,
}

fn metrics() -> impl Strategy<Value = Vec<Metric>> {
    let weight = prop_oneof![4 => Just(1.0), 2 => 0.1..5.0, 1 => -3.0..0.0, 1 => Just(0.0)];
    let metric =
        (weight, number(), 0..12u8).prop_map(|(weight, value, known)| Metric { weight, value, known });
    prop::collection::vec(metric, 0..3)
}

fn cluster() -> impl Strategy<Value = (Cluster, Vec<Metric>)> {
    let state = prop_oneof![
        6 => Just(ClusterState::Online),
        1 => Just(ClusterState::Unhealthy),
        1 => Just(ClusterState::NotReady),
        1 => (0..120u64).prop_map(|seconds| ClusterState::Offline { since: ago(seconds) }),
        1 => (0..1200u64).prop_map(|seconds| ClusterState::Broken { since: ago(seconds) }),
        1 => Just(ClusterState::Inaccessible),
        1 => Just(ClusterState::Unauthorized { since: ago(9000) }),
    ];
    let lifecycle = prop_oneof![8 => Just(Lifecycle::Active), 1 => Just(Lifecycle::Draining), 1 => Just(Lifecycle::Deleted), 1 => Just(Lifecycle::Cascading)];
    let label = prop::option::of(prop::sample::select(vec!["DE", "FR"]));
    (state, lifecycle, label, any::<bool>(), 0..6u8, metrics()).prop_map(
        |(state, lifecycle, label, custom, namespace, metrics)| {
            let mut cluster = crate::fixture::cluster("");
            (cluster.state, cluster.lifecycle) = (state, lifecycle);
            cluster.labels.extend(label.map(|label| ("location".to_owned(), label.to_owned())));
            cluster.custom_resources.extend(custom.then(|| "crontabs".to_owned()));
            match namespace {
                0 => cluster.key.namespace = "other".to_owned(),
                1 => {
                    (cluster.key.namespace, cluster.allowed_namespaces) = ("other".into(), vec!["ns".into()])
                }
                _ => {}
            }
            (cluster, metrics)
        },
    )
}

fn fleet() -> impl Strategy<Value = Fleet> {
    prop::collection::vec(cluster(), 0..NAMES.len()).prop_map(|clusters| {
        let mut fleet = Fleet::of(&[]);
        for ((mut cluster, metrics), name) in clusters.into_iter().zip(NAMES) {
            (cluster.key.name, cluster.uid) = (name.to_owned(), format!("uid-{name}").into());
            fleet.clusters.push(cluster);
            for (index, metric) in metrics.into_iter().enumerate() {
                // The metric that constraints look at; every metric has a value of its own.
                let id =
                    if index == 0 && name == "a" { "load".to_owned() } else { format!("m_{name}_{index}") };
                fleet.metric(name, &id, metric.weight, metric.value);
                match metric.known {
                    0 => fleet.fail(&id),
                    1 => fleet.read(&id, None),
                    _ => {}
                }
            }
        }
        fleet
    })
}

fn asked() -> impl Strategy<Value = Arc<Constraints>> {
    let labels = prop::sample::subsequence(
        vec!["location is DE", "location not in (FR)", "location in (DE, FR)"],
        0..2,
    );
    let custom = prop::sample::subsequence(vec!["crontabs"], 0..=1);
    let metrics = prop::sample::subsequence(vec!["load > 0.3", "load <= 0.7", "load != 0.5"], 0..2);
    (labels, prop_oneof![4 => Just(vec![]), 1 => custom], prop_oneof![4 => Just(vec![]), 1 => metrics])
        .prop_map(|(labels, custom, metrics)| constraints(&labels, &custom, &metrics))
}

fn copies() -> impl Strategy<Value = Vec<Copy>> {
    let phase = prop::sample::select(vec![CopyPhase::Running, CopyPhase::Failed, CopyPhase::Other]);
    let copy = (prop::sample::select(NAMES[..4].to_vec()), phase, 4..6i64, 0..1200u64);
    let copy = copy.prop_map(|(cluster, phase, generation, seconds)| Copy {
        cluster_uid: format!("uid-{cluster}").into(),
        phase,
        generation,
        since: ago(seconds),
        failure: None,
        retry_request: 0,
    });
    prop_oneof![2 => Just(vec![]), 1 => prop::collection::vec(copy, 1..4)]
}

fn failed_handovers() -> impl Strategy<Value = Vec<FailedHandover>> {
    let failed = (prop::sample::select(NAMES.to_vec()), 0..1500u64);
    let failed = failed.prop_map(|(cluster, seconds)| FailedHandover {
        cluster_uid: format!("uid-{cluster}").into(),
        time: ago(seconds),
    });
    prop_oneof![2 => Just(vec![]), 1 => prop::collection::vec(failed, 1..4)]
}

fn attempts() -> impl Strategy<Value = (Backoff, Option<Attempts>)> {
    let due = prop::option::of((0..2u8, 0..60u64)).prop_map(|due| {
        due.map(|(late, seconds)| match late {
            0 => now().checked_add(Duration::from_secs(seconds)).unwrap(),
            _ => ago(seconds),
        })
    });
    let made =
        (4..6i64, 0..600u64, prop::option::of(0..3u32), due).prop_map(|(generation, since, left, due)| {
            Attempts { generation, since: ago(since), retry: Retry { left, due } }
        });
    let limit = prop::option::of(0..4u32);
    (1..4u32, 0..30u64, limit, prop_oneof![2 => Just(None), 1 => made.prop_map(Some)]).prop_map(
        |(factor, delay, limit, made)| (Backoff { factor, delay: Duration::from_secs(delay), limit }, made),
    )
}

fn app() -> impl Strategy<Value = Application> {
    let binding = prop::option::of((prop::sample::select(NAMES.to_vec()), 0..120u64));
    let calm = (prop_oneof![3 => Just(0.0), 1 => 0.0..0.5], prop::option::weighted(0.2, 0..120u64));
    let plain =
        (0..1000u32, asked(), prop_oneof![4 => Just(true), 1 => Just(false)], binding, 0..2i64, 0..20u8);
    (plain, copies(), failed_handovers(), attempts(), calm).prop_map(
        |((id, constraints, migration, binding, behind, deleted), copies, failed_handovers, tried, calm)| {
            Application {
                uid: format!("uid-{id}").into(),
                constraints,
                migration,
                binding: binding.map(|(cluster, seconds)| Binding {
                    cluster_uid: format!("uid-{cluster}").into(),
                    bound: ago(seconds),
                }),
                generation: 5,
                scheduled_generation: 5 - behind,
                deleted: deleted == 0,
                copies,
                failed_handovers,
                backoff: tried.0,
                attempts: tried.1,
                min_gain: calm.0,
                min_residency: calm.1.map(Duration::from_secs),
                ..application()
            }
        },
    )
}

fn verdict(fleet: &Fleet, application: &Application, uid: &ClusterUid) -> Result<(), Rejection> {
    let world = fleet.world();
    candidate(&world, world.rank_of(uid).unwrap(), &application.key.namespace, &application.constraints)
}

/// The application after a choice was written, which ends all attempts.
fn bound_by(application: &Application, choice: &Choice) -> Application {
    let mut after = application.clone();
    after.binding = Some(Binding { cluster_uid: choice.cluster.uid.clone(), bound: now() });
    (after.scheduled_generation, after.attempts) = (application.generation, None);
    if choice.reason == BindReason::HandoverFailed {
        let cluster_uid = choice.replaces.clone().unwrap();
        after.failed_handovers.push(FailedHandover { cluster_uid, time: now() });
    }
    after
}

/// Whether a copy failed there so that the cluster is no candidate.
fn cooling(application: &Application, uid: &ClusterUid) -> bool {
    let Application { failed_handovers, copies, generation, .. } = application;
    let period = Options::default().failure_cooldown;
    crate::handover::cool_down(uid, failed_handovers, copies, *generation, period)
        .is_some_and(|end| end > now())
}

/// Whether there is a copy there that runs the present spec.
fn runs(application: &Application, uid: &ClusterUid) -> bool {
    application.copies.iter().any(|copy| {
        copy.cluster_uid == *uid
            && copy.phase == CopyPhase::Running
            && copy.generation == application.generation
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_shortlist_says_what_each_cluster_says(fleet in fleet(), application in app()) {
        let world = fleet.world();
        let (namespace, constraints) = (&application.key.namespace, &application.constraints);
        let shortlist = Shortlists::new(&world).get(namespace, constraints);
        let verdicts: Vec<_> =
            (0..world.ranked().len()).map(|rank| candidate(&world, rank, namespace, constraints)).collect();
        let fitting: Vec<_> = (0..verdicts.len()).filter(|rank| verdicts[*rank].is_ok()).collect();
        prop_assert_eq!(shortlist.ranks().collect::<Vec<_>>(), fitting);
        let mut rejected = BTreeMap::new();
        for reason in verdicts.into_iter().filter_map(Result::err).filter(|reason| *reason != Rejection::Namespace) {
            *rejected.entry(reason).or_insert(0) += 1;
        }
        prop_assert_eq!(shortlist.rejected(), &rejected);
    }

    #[test]
    fn the_same_world_gives_the_same_decision(fleet in fleet(), application in app(), seed in any::<u64>()) {
        let mut shuffled = fleet.clone();
        shuffled.clusters.sort_by_key(|cluster| rendezvous(seed, rendezvous_key(cluster.uid.as_str())));
        prop_assert_eq!(fleet.decide(&application), shuffled.decide(&application));
    }

    #[test]
    fn only_candidates_are_bound_and_only_to_move(fleet in fleet(), application in app()) {
        if let Decision::Bind(choice) = fleet.decide(&application) {
            let back = choice.reason == BindReason::HandoverFailed && runs(&application, &choice.cluster.uid);
            prop_assert!(back || verdict(&fleet, &application, &choice.cluster.uid).is_ok());
            prop_assert!(back || !cooling(&application, &choice.cluster.uid));
            let before = application.binding.as_ref().map(|binding| &binding.cluster_uid);
            prop_assert_ne!(before, Some(&choice.cluster.uid));
            prop_assert_eq!(before, choice.replaces.as_ref());
            prop_assert_eq!(before.is_none(), choice.reason == BindReason::FirstPlacement);
            prop_assert!(choice.reason == BindReason::HandoverFailed || choice.top[0] == choice.cluster);
        }
    }

    #[test]
    fn an_application_is_unschedulable_only_without_a_candidate(fleet in fleet(), application in app()) {
        if let Decision::Unschedulable(deadlock) = fleet.decide(&application) {
            for cluster in &fleet.clusters {
                prop_assert!(
                    verdict(&fleet, &application, &cluster.uid).is_err() || cooling(&application, &cluster.uid)
                );
            }
            prop_assert_eq!(deadlock.retry.left.is_none(), application.backoff.limit.is_none());
            prop_assert!(deadlock.retry.due.is_none_or(|due| deadlock.again.is_some_and(|again| again <= due)));
            let bound_to = |lifecycle| {
                let uid = application.binding.as_ref().map(|binding| &binding.cluster_uid);
                fleet.clusters.iter().any(|cluster| Some(&cluster.uid) == uid && cluster.lifecycle == lifecycle)
            };
            match deadlock.outcome {
                Outcome::Wait => prop_assert!(application.binding.is_none()),
                Outcome::Stay(_) => prop_assert!(application.binding.is_some() && !bound_to(Lifecycle::Deleted)),
                Outcome::Release if bound_to(Lifecycle::Active) => {
                    let uid = &application.binding.as_ref().unwrap().cluster_uid;
                    prop_assert!(verdict(&fleet, &application, uid).is_err());
                    let was_applied = |copy: &Copy| copy.cluster_uid == *uid && copy.generation > 0;
                    prop_assert!(!application.copies.iter().any(was_applied));
                    let goes = |copy: &Copy| {
                        fleet.clusters.iter().any(|cluster| {
                            cluster.uid == copy.cluster_uid && cluster.lifecycle == Lifecycle::Deleted
                        })
                    };
                    let is_nowhere = application.copies.iter().all(|copy| copy.generation == 0);
                    prop_assert!(is_nowhere || application.copies.iter().any(goes));
                }
                Outcome::Release => prop_assert!(bound_to(Lifecycle::Deleted)),
            }
        }
    }

    #[test]
    fn nothing_moves_again_while_nothing_changes(fleet in fleet(), application in app(), reschedule in any::<bool>()) {
        if let Decision::Bind(choice) = fleet.decide(&application) {
            let reschedule_after = if reschedule { Duration::ZERO } else { Duration::from_secs(60) };
            let options = Options { reschedule_after, ..Options::default() };
            let decision = fleet.decide_with(&bound_by(&application, &choice), &options);
            let kept = matches!(decision, Decision::Keep { confirm_generation: false, .. } | Decision::KeepUntil { confirm_generation: false, .. });
            // A copy may have failed there before: then a further step leads on, and never in a circle.
            let next = matches!(&decision, Decision::Bind(next) if next.reason == BindReason::HandoverFailed);
            prop_assert!(kept || next, "{:?}", decision);
            if let Decision::Bind(next) = decision {
                let settled = fleet.decide_with(&bound_by(&bound_by(&application, &choice), &next), &options);
                prop_assert!(!matches!(settled, Decision::Bind(_)), "{:?}", settled);
            }
        }
    }

    #[test]
    fn what_gets_better_is_still_chosen(fleet in fleet(), application in app(), gain in 0.0..1.0) {
        let application = Application { constraints: constraints(&["location in (DE, FR)"], &[], &[]), ..application };
        if let Decision::Bind(choice) = fleet.decide(&application) {
            let mut improved = fleet.clone();
            let metrics = improved.clusters.iter().find(|cluster| cluster.uid == choice.cluster.uid).unwrap().metrics.clone();
            for metric in metrics {
                let query = &improved.definitions[&NamespacedName::new("", metric.name.as_str())].query;
                let answers = improved.readings.get_mut(&NamespacedName::new("", "provider")).unwrap();
                let Some(Ok(reading)) = answers.get_mut(query) else { continue };
                let best = if metric.weight < 0.0 { 0.0 } else { 1.0 };
                reading.value += (best - reading.value) * gain;
            }
            let Decision::Bind(again) = improved.decide(&application) else {
                return Err(TestCaseError::fail("it is no longer placed"));
            };
            prop_assert_eq!(again.cluster.uid, choice.cluster.uid);
        }
    }

    #[test]
    fn the_best_candidate_wins(fleet in fleet(), application in app()) {
        let world = fleet.world();
        if let Decision::Bind(choice) = fleet.decide(&application) {
            let back = choice.reason == BindReason::HandoverFailed && runs(&application, &choice.cluster.uid);
            prop_assume!(!back);
            let score = |uid: &ClusterUid| {
                let entry = &world.ranked()[world.rank_of(uid).unwrap()];
                entry.assessment.score(None, rendezvous(rendezvous_key(application.uid.as_str()), entry.rendezvous))
            };
            for cluster in &fleet.clusters {
                let left_alone = choice.reason == BindReason::HandoverFailed
                    && application.copies.iter().any(|copy| copy.cluster_uid == cluster.uid && copy.phase == CopyPhase::Running);
                let here = choice.replaces.as_ref() == Some(&cluster.uid) || left_alone;
                if verdict(&fleet, &application, &cluster.uid).is_ok() && !cooling(&application, &cluster.uid) && !here {
                    prop_assert!(score(&cluster.uid) <= score(&choice.cluster.uid));
                }
            }
        }
    }

    #[test]
    fn who_asks_for_calm_moves_only_for_the_gain(fleet in fleet(), application in app(), gain in 0.01..0.5) {
        let application = Application { min_gain: gain, ..application };
        if let Decision::Bind(choice) = fleet.decide(&application)
            && choice.reason == BindReason::BetterCluster
        {
            let before = choice.top.iter().find(|scored| Some(&scored.uid) == choice.replaces.as_ref());
            prop_assert!(before.is_none_or(|before| choice.cluster.score - before.score >= gain));
        }
    }

    #[test]
    fn an_application_that_was_given_up_moves_only_when_its_cluster_goes(fleet in fleet(), application in app()) {
        let retry = Retry { left: Some(0), due: None };
        let given_up = Attempts { generation: application.generation, since: ago(9), retry };
        let application = Application { attempts: Some(given_up), copies: vec![], ..application };
        match fleet.decide(&application) {
            Decision::Bind(choice) => prop_assert!(matches!(
                choice.reason,
                BindReason::ClusterDeleted | BindReason::ClusterDraining | BindReason::BetterCluster
            )),
            Decision::Unschedulable(deadlock) => {
                prop_assert!(application.binding.is_some());
                prop_assert!(application.backoff.limit.is_none() || deadlock.retry.is_exhausted());
            }
            Decision::Keep { .. } | Decision::KeepUntil { .. } => {}
        }
    }
}
