//! Scores by numbers, and every way in which a metric can fail.

use rstest::rstest;

use super::*;
use crate::fixture::{Fleet, cluster};

/// The number that an application sees that is bound to the cluster "a" (`Some(stickiness)`) or not.
fn value(fleet: &Fleet, stickiness: Option<f64>) -> f64 {
    let world = fleet.world();
    let (_, assessment) = world.clusters().find(|(cluster, _)| cluster.key.name == "a").unwrap();
    assessment.score(stickiness, 0).value()
}

#[rstest]
#[case::one_metric(&[(1.0, 0.25)], 0.25, (0.25 + 0.1) / 1.1)]
#[case::weighted_mean(&[(3.0, 1.0), (1.0, 0.5)], 0.875, (3.5 + 0.1) / 4.1)]
#[case::a_single_weight_cancels_out(&[(0.3, 0.25)], 0.25, (0.075 + 0.1) / 0.4)]
#[case::low_is_good(&[(-1.0, 0.25)], -0.25, (-0.25 + 0.1) / 1.1)]
#[case::gain_and_cost(&[(1.0, 1.0), (-1.0, 0.5)], 0.25, (0.5 + 0.1) / 2.1)]
#[case::an_idle_weight(&[(1.0, 0.5), (0.0, 1.0)], 0.5, (0.5 + 0.1) / 1.1)]
#[case::no_metrics(&[], 0.0, 0.1)]
fn the_formula(#[case] metrics: &[(f64, f64)], #[case] elsewhere: f64, #[case] bound: f64) {
    let mut fleet = Fleet::of(&["a"]);
    for (index, (weight, raw)) in metrics.iter().enumerate() {
        fleet.metric("a", &format!("m{index}"), *weight, *raw);
    }
    assert!((value(&fleet, None) - elsewhere).abs() < 1e-12);
    assert!((value(&fleet, Some(0.1)) - bound).abs() < 1e-12);
}

#[test]
fn values_are_normalised_by_the_range_of_the_metric() {
    let mut fleet = Fleet::of(&["a"]);
    fleet.metric("a", "m", 2.0, -15.0);
    let definition = fleet.definitions.get_mut(&NamespacedName::new("", "m")).unwrap();
    (definition.min, definition.max) = (-20.0, 0.0);
    assert_eq!(value(&fleet, None), 0.25);
}

#[rstest]
#[case::edges(0.0, &[], true)]
#[case::edges(1.0, &[], true)]
#[case::below(-0.1, &[], false)]
#[case::above(1.1, &[], false)]
#[case::not_a_number(f64::NAN, &[], false)]
#[case::allowed(1.0, &[0, 1], true)]
#[case::not_allowed(0.5, &[0, 1], false)]
fn values_must_lie_in_the_range_and_be_allowed(
    #[case] raw: f64,
    #[case] allowed: &[i64],
    #[case] valid: bool,
) {
    let mut fleet = Fleet::measured(&[raw]);
    fleet.definitions.get_mut(&NamespacedName::new("", "m_a")).unwrap().allowed_values = allowed.to_vec();
    assert_eq!(failures(&fleet).is_empty(), valid);
}

fn failures(fleet: &Fleet) -> Vec<(String, FailureCode, String)> {
    let world = fleet.world();
    let (_, assessment) = world.clusters().next().unwrap();
    assessment
        .failures()
        .map(|(name, failure)| (name.to_owned(), failure.code, failure.message.clone()))
        .collect()
}

fn broken(break_it: impl FnOnce(&mut Fleet)) -> Fleet {
    let mut fleet = Fleet::measured(&[0.5]);
    fleet.metric("a", "fine", 1.0, 0.5);
    break_it(&mut fleet);
    fleet
}

fn definition(fleet: &mut Fleet) -> &mut MetricDefinition {
    fleet.definitions.get_mut(&NamespacedName::new("", "m_a")).unwrap()
}

#[rstest]
#[case::no_such_metric(
    broken(|fleet| drop(fleet.definitions.remove(&NamespacedName::new("", "m_a")))),
    FailureCode::UnknownMetric,
    "the metric m_a does not exist"
)]
#[case::no_such_metric_in_the_namespace(
    broken(|fleet| fleet.cluster("a").metrics[0].namespaced = true),
    FailureCode::UnknownMetric,
    "the metric ns/m_a does not exist"
)]
#[case::no_such_provider(
    broken(|fleet| definition(fleet).provider = "other".to_owned()),
    FailureCode::UnknownProvider,
    "the metrics provider other does not exist"
)]
#[case::provider_down(
    broken(|fleet| fleet.fail("m_a")),
    FailureCode::UnreachableProvider,
    "metrics provider provider: down"
)]
#[case::provider_has_no_value(
    broken(|fleet| fleet.read("m_a", Some(Err(MetricError::Invalid("no value".to_owned()))))),
    FailureCode::InvalidMetric,
    "metrics provider provider: no value"
)]
#[case::out_of_range(
    broken(|fleet| fleet.read("m_a", Some(Ok(2.0)))),
    FailureCode::InvalidMetric,
    "the value of the metric m_a is not between 0 and 1"
)]
#[case::min_equals_max(
    broken(|fleet| definition(fleet).min = 1.0),
    FailureCode::InvalidMetric,
    "the metric m_a has no range: min 1 must be below max 1"
)]
#[case::weight_is_no_number(
    broken(|fleet| fleet.cluster("a").metrics[0].weight = f64::NAN),
    FailureCode::InvalidMetric,
    "the weight NaN of the metric m_a is not a finite number"
)]
fn one_metric_that_fails_fails_the_cluster(
    #[case] fleet: Fleet,
    #[case] code: FailureCode,
    #[case] message: &str,
) {
    assert_eq!(failures(&fleet), [("m_a".to_owned(), code, message.to_owned())]);
    let world = fleet.world();
    let (_, assessment) = world.clusters().next().unwrap();
    assert_eq!(assessment.standing(), Standing::Failing);
    assert_eq!(assessment.metric("fine"), Some(&MetricState::Known(0.5)), "constraints may still look at it");
    assert_eq!(assessment.metric("absent"), None);
}

#[rstest]
#[case::zero([0.0, 0.0])]
#[case::overflow([f64::MAX, f64::MAX])]
fn weights_that_make_no_score_are_invalid(#[case] weights: [f64; 2]) {
    let mut fleet = Fleet::of(&["a"]);
    fleet.metric("a", "m0", weights[0], 0.5);
    fleet.metric("a", "m1", weights[1], 0.5);
    let failures = failures(&fleet);
    assert_eq!(failures.len(), 2);
    assert!(failures.iter().all(|(_, code, _)| *code == FailureCode::InvalidMetric), "{failures:?}");
}

#[test]
fn a_global_resource_has_no_metrics_of_its_namespace() {
    let mut global = cluster("a");
    global.key.namespace = String::new();
    global.metrics.push(MetricRef { name: "m".to_owned(), weight: 1.0, namespaced: true });
    let mut fleet = Fleet::of(&[]);
    fleet.clusters.push(global);
    assert_eq!(failures(&fleet)[0].1, FailureCode::InvalidMetric);
}

#[test]
fn what_was_not_read_yet_is_no_failure() {
    let mut fleet = Fleet::measured(&[0.5]);
    fleet.read("m_a", None);
    assert_eq!(failures(&fleet), []);
    let world = fleet.world();
    assert_eq!(world.clusters().next().unwrap().1.standing(), Standing::Pending);
}

#[test]
fn the_order_of_scores_is_the_policy() {
    let score = |measured, value, bound, tie| Score { measured, value: Value::new(value), bound, tie };
    let ascending = [
        score(false, 0.0, false, 9),
        score(false, 0.1, true, 0),
        score(true, -1.0, true, 9),
        score(true, 0.5, false, 1),
        score(true, 0.5, false, 2),
        score(true, 0.5, true, 0),
        score(true, 0.6, false, 0),
    ];
    assert!(ascending.is_sorted_by(|a, b| a < b));
    assert!(!ascending[5].outranks(&ascending[3]) && ascending[6].outranks(&ascending[5]));
}

#[test]
fn the_rendezvous_hash_never_changes() {
    // Other values would move every application that is tied: these are part of the contract.
    assert_eq!(rendezvous_key("uid-a"), RENDEZVOUS_KEY);
    assert_eq!(rendezvous(rendezvous_key("uid-app"), rendezvous_key("uid-a")), RENDEZVOUS);
}

const RENDEZVOUS_KEY: u64 = 0x8a6b_4025_215e_e3d3;
const RENDEZVOUS: u64 = 0x4e9e_783d_9041_9633;

#[test]
fn the_rendezvous_hash_spreads_evenly() {
    let clusters: Vec<_> = (0..4).map(|index| rendezvous_key(&format!("cluster-{index}"))).collect();
    let mut won = [0; 4];
    for application in 0..4000 {
        let key = rendezvous_key(&format!("application-{application}"));
        let winner = (0..4).max_by_key(|index| rendezvous(key, clusters[*index])).unwrap();
        won[winner] += 1;
    }
    assert!(won.iter().all(|count| (850..1150).contains(count)), "{won:?}");
}
