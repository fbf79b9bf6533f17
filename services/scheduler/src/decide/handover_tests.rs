//! Attempts that end, handovers that fail, and what an application may ask for itself.

use rstest::rstest;

use super::tests::brief;
use super::*;
use crate::fixture::{Fleet, ago, application, bound, constraints, now};
use crate::handover::{Copy, CopyFailure, CopyPhase, FailedHandover};
use crate::retry::{Attempts, Backoff, Retry};
use crate::world::Cluster;

fn copy(cluster: &str, phase: CopyPhase, generation: i64, seconds: u64) -> Copy {
    Copy {
        cluster_uid: format!("uid-{cluster}").into(),
        phase,
        generation,
        since: ago(seconds),
        failure: None,
        retry_request: 0,
    }
}

/// Bound to "x" for 400 s, where its copy failed 10 s ago; the old copy runs on "a".
fn stranded() -> Application {
    let mut stranded = bound(&application(), "x", 400);
    stranded.copies = vec![copy("a", CopyPhase::Running, 1, 9000), copy("x", CopyPhase::Failed, 1, 10)];
    stranded
}

/// "a" with 0.5, "b" with 0.3 and "x" with 0.9.
fn fleet() -> Fleet {
    let mut fleet = Fleet::measured(&[0.5, 0.3, 0.9]);
    let x = fleet.cluster("c");
    (x.key.name, x.uid) = ("x".into(), "uid-x".into());
    fleet
}

type Set = Box<dyn Fn(&mut Fleet, &mut Application)>;

fn change(cluster: &'static str, change: impl Fn(&mut Cluster) + 'static) -> Set {
    Box::new(move |fleet, _| change(fleet.cluster(cluster)))
}

fn ask(change: impl Fn(&mut Application) + 'static) -> Set {
    Box::new(move |_, application| change(application))
}

#[rstest]
#[case::goes_back(ask(|_| ()), "bind a: HandoverFailed")]
#[case::goes_back_though_it_may_not_migrate(ask(|app| app.migration = false), "bind a: HandoverFailed")]
#[case::goes_back_to_an_unhealthy_cluster(change("a", |a| a.state = ClusterState::Unhealthy), "bind a: HandoverFailed")]
#[case::even_long_after(ask(|app| app.copies[1].since = ago(5000)), "bind a: HandoverFailed")]
#[case::not_to_a_cluster_that_goes(change("a", |a| a.lifecycle = Lifecycle::Draining), "bind b: HandoverFailed")]
#[case::nobody_knows_what_runs_on_a_silent_cluster(
    Box::new(|fleet: &mut Fleet, app: &mut Application| {
        fleet.cluster("a").state = ClusterState::Offline { since: ago(1) };
        app.copies[1].failure = Some(CopyFailure::OfCluster);
        app.migration = false;
    }),
    "bind b: NextCandidate(2)"
)]
#[case::nor_where_credentials_are_refused(
    Box::new(|fleet: &mut Fleet, app: &mut Application| {
        fleet.cluster("a").state = ClusterState::Inaccessible;
        app.copies[1].failure = Some(CopyFailure::OfCluster);
    }),
    "bind b: NextCandidate(2)"
)]
#[case::not_where_the_spec_is_another(ask(|app| app.copies[0].generation = 0), "bind b: HandoverFailed")]
#[case::not_where_it_is_not_wanted(ask(|app| app.constraints = constraints(&[], &[], &["m_a > 0.6"])), "keep for 590 s: HandoverFailed")]
#[case::nowhere_else_without_migration(
    Box::new(|fleet: &mut Fleet, app: &mut Application| {
        fleet.cluster("a").lifecycle = Lifecycle::Draining;
        app.migration = false;
    }),
    "keep for 590 s: HandoverFailed"
)]
#[case::never_to_the_same_again(
    Box::new(|fleet: &mut Fleet, app: &mut Application| {
        fleet.cluster("a").lifecycle = Lifecycle::Draining;
        fleet.cluster("b").state = ClusterState::NotReady;
        app.copies[1].since = ago(5000);
    }),
    "keep: HandoverFailed"
)]
#[case::a_new_spec_is_tried_where_it_is_bound(ask(|app| app.generation = 2), "keep: Best, confirm")]
#[case::nothing_runs_elsewhere(ask(|app| app.copies[0].phase = CopyPhase::Other), "keep for 590 s: Best")]
#[case::still_starting(ask(|app| app.copies[1].phase = CopyPhase::Other), "keep: Best")]
#[case::a_deleted_cluster_goes_first(change("x", |x| x.lifecycle = Lifecycle::Deleted), "bind a: ClusterDeleted")]
fn a_handover_that_failed(#[case] set: Set, #[case] expected: &str) {
    let (mut fleet, mut application) = (fleet(), stranded());
    set(&mut fleet, &mut application);
    assert_eq!(brief(&fleet.decide(&application)), expected);
}

#[test]
fn a_way_back_names_what_is_better_but_not_the_cluster_that_failed() {
    let Decision::Bind(choice) = fleet().decide(&stranded()) else { panic!("it goes back") };
    assert_eq!(choice.replaces, Some("uid-x".into()));
    let top: Vec<_> = choice.top.iter().map(|scored| scored.key.name.as_str()).collect();
    assert_eq!(top, ["a", "b"]);
    assert_eq!(choice.runner_up.unwrap().key.name, "b");
    assert_eq!(choice.rejected.get(&Rejection::CoolingDown), Some(&1));
}

/// Back on "a" after `failures` at "x", the last one some seconds ago.
fn returned(seconds: &[u64]) -> Application {
    let mut returned = bound(&application(), "a", 600);
    returned.failed_handovers = seconds
        .iter()
        .map(|seconds| FailedHandover { cluster_uid: "uid-x".into(), time: ago(*seconds) })
        .collect();
    returned
}

#[rstest]
#[case::not_at_once(&[100], "keep for 500 s: Best")]
#[case::later(&[600], "bind x: BetterCluster")]
#[case::later_still_after_a_second_time(&[600, 2000], "keep for 600 s: Best")]
#[case::and_then_again(&[1200, 2600], "bind x: BetterCluster")]
fn a_cluster_where_it_failed_does_not_draw_it(#[case] failures: &[u64], #[case] expected: &str) {
    assert_eq!(brief(&fleet().decide(&returned(failures))), expected);
}

#[test]
fn another_cluster_may_draw_it_meanwhile_and_nothing_else_is_excluded() {
    let mut fleet = fleet();
    fleet.read("m_b", Some(Ok(0.8)));
    assert_eq!(brief(&fleet.decide(&returned(&[100]))), "bind b: BetterCluster");
    let mut unbound = returned(&[100]);
    unbound.binding = None;
    unbound.constraints = constraints(&[], &[], &["m_c > 0.1"]);
    let decision = fleet.decide(&unbound);
    let Decision::Unschedulable(deadlock) = &decision else { panic!("{decision:?}") };
    assert_eq!(deadlock.rejected[&Rejection::CoolingDown], 1);
    assert_eq!(deadlock.again, now().checked_add(Duration::from_secs(500)).ok(), "the cool-down ends");
    assert!(deadlock.message.contains("1 × a copy failed there a short time ago"), "{}", deadlock.message);
}

/// Bound to "b" with 0.3 for 61 s, while "x" offers 0.9.
#[rstest]
#[case::nothing_is_begun(vec![], "bind x: BetterCluster")]
#[case::handed_over(vec![copy("b", CopyPhase::Running, 1, 50)], "bind x: BetterCluster")]
#[case::not_up_yet(vec![copy("b", CopyPhase::Other, 1, 50)], "keep: HandoverUnderWay")]
#[case::the_old_one_still_runs(
    vec![copy("a", CopyPhase::Running, 1, 900), copy("b", CopyPhase::Running, 1, 5)],
    "keep: HandoverUnderWay"
)]
#[case::the_old_one_goes(
    vec![copy("a", CopyPhase::Other, 1, 4), copy("b", CopyPhase::Running, 1, 5)],
    "keep: HandoverUnderWay"
)]
#[case::a_remnant_on_a_silent_cluster_is_not_waited_for(
    vec![copy("gone", CopyPhase::Running, 1, 900), copy("b", CopyPhase::Running, 1, 5)],
    "bind x: BetterCluster"
)]
fn a_better_score_waits_for_a_handover(#[case] copies: Vec<Copy>, #[case] expected: &str) {
    let mut fleet = fleet();
    fleet.clusters.push(crate::fixture::cluster("gone"));
    fleet.cluster("gone").state = ClusterState::Offline { since: ago(500) };
    let application = Application { copies, ..bound(&application(), "b", 61) };
    assert_eq!(brief(&fleet.decide(&application)), expected);
}

/// Bound to "a" with 0.5 for 61 s, while "b" offers 0.7; (0.5 + 0.1) / 1.1 = 0.5454…
#[rstest]
#[case(0.0, None, "bind b: BetterCluster")]
#[case(0.15, None, "bind b: BetterCluster")]
#[case(0.16, None, "keep: Best")]
#[case(0.0, Some(61), "bind b: BetterCluster")]
#[case(0.0, Some(100), "keep for 39 s: RecentlyScheduled")]
#[case(0.0, Some(0), "bind b: BetterCluster")]
fn an_application_may_ask_for_calm(
    #[case] gain: f64,
    #[case] residency: Option<u64>,
    #[case] expected: &str,
) {
    let mut application = bound(&application(), "a", 61);
    application.min_gain = gain;
    application.min_residency = residency.map(Duration::from_secs);
    assert_eq!(brief(&Fleet::measured(&[0.5, 0.7]).decide(&application)), expected);
}

#[test]
fn a_short_residency_may_undercut_what_is_configured_but_urgent_moves_do_not_wait() {
    let mut application = bound(&application(), "a", 10);
    application.min_residency = Some(Duration::from_secs(5));
    let mut fleet = Fleet::measured(&[0.5, 0.7]);
    assert_eq!(brief(&fleet.decide(&application)), "bind b: BetterCluster");
    application.min_residency = Some(Duration::MAX);
    application.min_gain = 1.0;
    fleet.cluster("a").lifecycle = Lifecycle::Draining;
    assert_eq!(brief(&fleet.decide(&application)), "bind b: ClusterDraining");
}

fn tried(left: Option<u32>, due: Option<i64>) -> Application {
    let due = due.map(|seconds| Timestamp::from_second(now().as_second() + seconds).unwrap());
    let attempts = Attempts { generation: 1, since: ago(10), retry: Retry { left, due } };
    let backoff = Backoff { factor: 2, delay: Duration::from_secs(10), limit: Some(3) };
    Application { attempts: Some(attempts), backoff, ..application() }
}

fn retry(decision: &Decision) -> String {
    let Decision::Unschedulable(deadlock) = decision else { return brief(decision) };
    let Retry { left, due } = deadlock.retry;
    assert!(deadlock.again <= due || due.is_none());
    format!("{left:?} {:?}", due.map(|due| due.duration_since(now()).as_secs()))
}

#[rstest]
#[case::waits_for_its_time(tried(Some(2), Some(5)), "Some(2) Some(5)")]
#[case::takes_the_next(tried(Some(2), Some(0)), "Some(1) Some(20)")]
#[case::takes_the_last(tried(Some(1), Some(-3)), "Some(0) Some(20)")]
#[case::ends(tried(Some(0), Some(0)), "Some(0) None")]
#[case::has_ended(tried(Some(0), None), "keep: GivenUp")]
#[case::has_ended_for_another_spec(Application { generation: 2, ..tried(Some(0), None) }, "Some(2) Some(10)")]
#[case::without_a_limit(Application { backoff: Backoff::default(), attempts: None, ..application() }, "None None")]
#[case::with_none(Application { backoff: Backoff { limit: Some(0), ..Backoff::default() }, ..application() }, "Some(0) None")]
fn attempts_without_a_candidate(#[case] application: Application, #[case] expected: &str) {
    assert_eq!(retry(&Fleet::of(&[]).decide(&application)), expected);
}

#[test]
fn a_new_cluster_is_taken_before_the_time_but_not_after_the_end() {
    let fleet = Fleet::of(&["a"]);
    assert_eq!(brief(&fleet.decide(&tried(Some(2), Some(500)))), "bind a: FirstPlacement");
    assert_eq!(brief(&fleet.decide(&tried(Some(0), Some(500)))), "bind a: FirstPlacement");
    assert_eq!(brief(&fleet.decide(&tried(Some(0), None))), "keep: GivenUp");
}

/// Bound to "a", which it should leave, with its attempts used up; "b" would take it.
#[rstest]
#[case::constraints(ask(|app| app.constraints = constraints(&[], &[], &["m_a > 0.6"])), "keep: GivenUp")]
#[case::offline(change("a", |a| a.state = ClusterState::Offline { since: ago(90) }), "keep: GivenUp")]
#[case::draining(change("a", |a| a.lifecycle = Lifecycle::Draining), "bind b: ClusterDraining")]
#[case::deleted(change("a", |a| a.lifecycle = Lifecycle::Deleted), "bind b: ClusterDeleted")]
#[case::all_is_well_again(ask(|_| ()), "keep: Best")]
fn a_bound_application_that_was_given_up(#[case] set: Set, #[case] expected: &str) {
    let mut application = bound(&tried(Some(0), None), "a", 600);
    let mut fleet = Fleet::measured(&[0.5, 0.5]);
    set(&mut fleet, &mut application);
    assert_eq!(brief(&fleet.decide(&application)), expected);
}

#[test]
fn nothing_is_counted_before_all_metrics_were_read_once() {
    let mut fleet = Fleet::measured(&[0.5]);
    fleet.read("m_a", None);
    let hasty = Application { backoff: Backoff { limit: Some(0), ..Backoff::default() }, ..application() };
    assert_eq!(brief(&fleet.decide(&hasty)), "keep: MetricsPending");
    fleet.clusters.push(crate::fixture::cluster("z"));
    assert_eq!(brief(&fleet.decide(&hasty)), "bind z: FirstPlacement");
}
