//! First attempts that fail, one cluster after another.

use std::collections::BTreeSet;

use krake_client::ClusterUid;
use proptest::prelude::*;
use rstest::rstest;

use crate::decide::tests::brief;
use crate::decide::{BindReason, Decision, Options};
use crate::fixture::{Fleet, ago, application, bound};
use crate::handover::{Copy, CopyFailure, CopyPhase, FailedAttempt, FailedHandover};
use crate::world::{Application, ClusterState, Lifecycle};

const CLUSTER: Option<CopyFailure> = Some(CopyFailure::OfCluster);
const SPEC: Option<CopyFailure> = Some(CopyFailure::OfSpec);

/// Bound to a cluster, where its copy failed a moment ago.
fn failed(before: &Application, cluster: &str, failure: Option<CopyFailure>) -> Application {
    let copy = Copy {
        cluster_uid: format!("uid-{cluster}").into(),
        phase: CopyPhase::Failed,
        generation: before.generation,
        since: ago(0),
        failure,
        retry_request: before.retry_requests,
    };
    Application { copies: vec![copy], ..bound(before, cluster, 1) }
}

/// Bound elsewhere, as state records it: the copy that failed is an attempt that was given up.
fn moved(before: &Application) -> Application {
    let mut after = before.clone();
    after.failed_attempts.extend(
        before
            .copies
            .iter()
            .map(|copy| FailedAttempt { cluster_uid: copy.cluster_uid.clone(), failure: copy.failure }),
    );
    after
}

/// Lets every attempt fail until nothing moves any more.
fn story(fleet: &Fleet, first: &str, failures: &[Option<CopyFailure>]) -> Vec<String> {
    let mut present = failed(&application(), first, failures[0]);
    let mut told = Vec::new();
    for number in 1..20 {
        let decision = fleet.decide(&present);
        told.push(brief(&decision));
        let Decision::Bind(choice) = decision else { return told };
        let failure = failures.get(number).copied().unwrap_or(failures[failures.len() - 1]);
        present = failed(&moved(&present), &choice.cluster.key.name, failure);
    }
    panic!("it does not come to rest: {told:?}")
}

/// The best is "d".
fn fleet() -> Fleet {
    Fleet::measured(&[0.5, 0.6, 0.7, 0.9])
}

#[test]
fn a_failure_of_the_cluster_leads_to_three_clusters_and_rest_on_the_best() {
    let expected = [
        "bind c: NextCandidate(2)",
        "bind b: NextCandidate(3)",
        "bind d: AllCandidatesFailed",
        "keep: AllCandidatesFailed",
    ];
    assert_eq!(story(&fleet(), "d", &[CLUSTER]), expected);
}

#[test]
fn a_failure_of_the_spec_leads_to_one_other_cluster_at_most() {
    let expected = ["bind c: NextCandidate(2)", "bind d: AllCandidatesFailed", "keep: AllCandidatesFailed"];
    assert_eq!(story(&fleet(), "d", &[SPEC]), expected);
    assert_eq!(story(&fleet(), "d", &[CLUSTER, SPEC]), expected);
    assert_eq!(story(&fleet(), "d", &[SPEC, CLUSTER]), expected);
}

#[test]
fn the_last_candidate_keeps_it_if_it_is_the_best() {
    assert_eq!(story(&Fleet::measured(&[0.5, 0.9]), "a", &[CLUSTER])[1], "keep: AllCandidatesFailed");
    assert_eq!(story(&Fleet::of(&["a"]), "a", &[CLUSTER]), ["keep: AllCandidatesFailed"]);
}

#[test]
fn a_new_cluster_is_tried_while_it_rests() {
    let (two, three) = (Fleet::measured(&[0.9, 0.5]), Fleet::measured(&[0.9, 0.5, 0.1]));
    let on_b = failed(&moved(&failed(&application(), "a", CLUSTER)), "b", CLUSTER);
    let rests = failed(&moved(&on_b), "a", CLUSTER);
    assert_eq!(brief(&two.decide(&rests)), "keep: AllCandidatesFailed");
    assert_eq!(brief(&three.decide(&rests)), "bind c: NextCandidate(3)");
}

#[test]
fn it_does_not_rest_on_a_cluster_that_does_not_answer() {
    let on_b = failed(&moved(&failed(&application(), "a", CLUSTER)), "b", CLUSTER);
    let mut rests = failed(&moved(&on_b), "a", CLUSTER);
    // Their cool-downs are over.
    rests.copies[0].since = ago(3600);
    rests.failed_handovers.clear();
    let mut fleet = Fleet::measured(&[0.9, 0.5]);
    assert_eq!(brief(&fleet.decide(&rests)), "keep: AllCandidatesFailed");
    fleet.cluster("a").state = ClusterState::Offline { since: ago(600) };
    assert_eq!(brief(&fleet.decide(&rests)), "bind b: ClusterOffline");
    fleet.cluster("a").state = ClusterState::Offline { since: ago(1) };
    assert_eq!(brief(&fleet.decide(&rests)), "keep for 59 s: ClusterOffline");
}

type Set = fn(&mut Fleet, &mut Application);

#[rstest]
#[case::though_it_may_not_migrate(|_: &mut Fleet, app: &mut Application| app.migration = false, "bind c: NextCandidate(2)")]
#[case::not_to_a_cluster_that_takes_none(|fleet: &mut Fleet, _: &mut Application| fleet.cluster("c").state = ClusterState::NotReady, "bind b: NextCandidate(2)")]
#[case::a_cluster_that_goes_is_left_as_ever(|fleet: &mut Fleet, _: &mut Application| fleet.cluster("d").lifecycle = Lifecycle::Draining, "bind c: ClusterDraining")]
#[case::failed_before_classes_were_recorded(|_: &mut Fleet, app: &mut Application| app.copies[0].failure = None, "keep for 600 s: Best")]
#[case::another_spec(|_: &mut Fleet, app: &mut Application| app.generation = 2, "keep: Best, confirm")]
#[case::still_starting(|_: &mut Fleet, app: &mut Application| app.copies[0].phase = CopyPhase::Other, "keep: Best")]
#[case::a_retry_is_requested(|_: &mut Fleet, app: &mut Application| app.retry_requests = 1, "keep for 600 s: Best")]
#[case::it_recovered(|_: &mut Fleet, app: &mut Application| app.copies[0].phase = CopyPhase::Running, "keep: Best")]
#[case::another_copy_is_of_an_unknown_phase(
    |_: &mut Fleet, app: &mut Application| {
        let other = Copy { cluster_uid: "uid-a".into(), phase: CopyPhase::Other, ..app.copies[0].clone() };
        app.copies.push(other);
    },
    "bind c: NextCandidate(2)"
)]
fn a_failed_attempt(#[case] set: Set, #[case] expected: &str) {
    let (mut fleet, mut application) = (fleet(), failed(&application(), "d", CLUSTER));
    application.binding.as_mut().unwrap().bound = ago(600);
    set(&mut fleet, &mut application);
    assert_eq!(brief(&fleet.decide(&application)), expected);
}

#[test]
fn a_handover_ends_after_as_many_clusters() {
    let mut stranded = failed(&application(), "b", CLUSTER);
    for cluster in ["c", "d"] {
        stranded
            .failed_attempts
            .push(FailedAttempt { cluster_uid: format!("uid-{cluster}").into(), failure: CLUSTER });
    }
    let runs = Copy {
        cluster_uid: "uid-gone".into(),
        phase: CopyPhase::Running,
        failure: None,
        ..stranded.copies[0].clone()
    };
    stranded.copies.push(runs);
    assert_eq!(brief(&fleet().decide(&stranded)), "keep for 600 s: HandoverFailed");
}

proptest! {
    #[test]
    fn every_story_ends_within_its_bounds(
        values in prop::collection::vec(0.0..1.0f64, 1..7), first in 0..6usize, max_candidates in 1..5usize,
        failures in prop::collection::vec(any::<bool>(), 1..8),
    ) {
        let fleet = Fleet::measured(&values);
        let options = Options { max_candidates, ..Options::default() };
        let class = |number: usize| if failures[number % failures.len()] { CLUSTER } else { SPEC };
        let name = |uid: &ClusterUid| uid.as_str().trim_start_matches("uid-").to_owned();
        let first = fleet.clusters[first % values.len()].key.name.clone();
        let mut present = failed(&application(), &first, class(0));
        let (mut tried, mut returns, mut of_spec) = (BTreeSet::from([first]), 0, class(0) == SPEC);
        for number in 1.. {
            let Decision::Bind(choice) = fleet.decide_with(&present, &options) else { break };
            let target = name(&choice.cluster.uid);
            match choice.reason {
                BindReason::NextCandidate(_) => {
                    let most = if of_spec { max_candidates.min(2) } else { max_candidates };
                    prop_assert!(tried.len() < most, "{tried:?} of at most {most}");
                    prop_assert!(tried.insert(target.clone()), "{target} twice");
                }
                BindReason::AllCandidatesFailed => {
                    returns += 1;
                    let value = |cluster: &String| fleet.decide_value(cluster);
                    prop_assert!(tried.iter().all(|other| value(other) <= value(&target)), "not the best");
                }
                other => prop_assert!(false, "{other:?}"),
            }
            present = failed(&moved(&present), &target, class(number));
            of_spec |= class(number) == SPEC && returns == 0;
        }
        prop_assert!(returns <= 1, "{returns} returns");
        let most = max_candidates.min(values.len());
        prop_assert!(of_spec || tried.len() == most, "{tried:?}, at most {most}");
    }

    /// The adapter begins nothing on the next candidate before the failed copy is out of its way, which may take long where
    /// that has to be seen to be gone. Meanwhile the application waits for that one attempt: no further cluster is tried,
    /// nor the former one again, and nothing is released.
    #[test]
    fn an_attempt_that_has_not_begun_is_waited_for(
        values in prop::collection::vec(0.0..1.0f64, 2..7), is_going in any::<bool>(), seconds in 0..7200u64,
        is_of_spec in any::<bool>(), answers in any::<bool>(), holds_data in any::<bool>(),
    ) {
        let mut fleet = Fleet::measured(&values);
        let first = Application { holds_data, ..failed(&application(), "a", if is_of_spec { SPEC } else { CLUSTER }) };
        let Decision::Bind(choice) = fleet.decide(&first) else { panic!("there is another cluster") };
        prop_assert_eq!(choice.reason, BindReason::NextCandidate(2));
        // As state stores that binding; the copy that failed is still there, whether it is marked as going or not.
        let mut waits = moved(&first);
        waits.binding = bound(&first, &choice.cluster.key.name, seconds).binding;
        waits.failed_handovers = vec![FailedHandover { cluster_uid: "uid-a".into(), time: ago(seconds) }];
        if is_going {
            waits.copies[0] = Copy { phase: CopyPhase::Other, failure: None, ..waits.copies[0].clone() };
        }
        if !answers {
            fleet.cluster("a").state = ClusterState::Offline { since: ago(seconds) };
        }
        let decision = fleet.decide(&waits);
        // A copy that still runs would hold a move for a better score back, and one that failed does not.
        let is_better = matches!(&decision, Decision::Bind(choice) if choice.reason == BindReason::BetterCluster);
        let is_kept = matches!(decision, Decision::Keep { .. } | Decision::KeepUntil { .. });
        prop_assert!(is_kept || is_better && !holds_data && !(is_going && answers), "{:?}", decision);
    }

    /// How an application moves says when its next copy begins, and nothing about where: what must be seen to be gone before
    /// the next candidate begins is bound to that candidate as early as everything else, since the adapter removes a copy
    /// that failed only when another cluster is bound.
    #[test]
    fn what_claims_volumes_is_bound_to_the_next_candidate_at_once(
        values in prop::collection::vec(0.0..1.0f64, 1..7), first in 0..6usize, is_of_spec in any::<bool>(),
        again in any::<bool>(),
    ) {
        let fleet = Fleet::measured(&values);
        let class = if is_of_spec { SPEC } else { CLUSTER };
        let first = &fleet.clusters[first % values.len()].key.name;
        let mut present = failed(&application(), first, class);
        if let (true, Decision::Bind(choice)) = (again, fleet.decide(&present)) {
            present = failed(&moved(&present), &choice.cluster.key.name, class);
        }
        let with_data = Application { holds_data: true, ..present.clone() };
        prop_assert_eq!(fleet.decide(&with_data), fleet.decide(&present));
    }
}

impl Fleet {
    /// The value of the only metric of a cluster.
    fn decide_value(&self, cluster: &str) -> f64 {
        let query = format!("q_m_{cluster}");
        self.readings.values().find_map(|read| read.get(&query)?.as_ref().ok()).map_or(0.0, |read| read.value)
    }
}
