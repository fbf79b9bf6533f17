//! Every rule of the decision as a row of a table.

use std::collections::BTreeMap;

use rstest::rstest;

use super::*;
use crate::fixture::{Fleet, ago, application, bound, constraints, now};
use crate::handover::{Copy, CopyPhase};

/// A decision in a line.
pub(super) fn brief(decision: &Decision) -> String {
    let confirmed = |confirm: &bool| if *confirm { ", confirm" } else { "" };
    match decision {
        Decision::Bind(choice) => format!("bind {}: {:?}", choice.cluster.key.name, choice.reason),
        Decision::Keep { reason, confirm_generation } => {
            format!("keep: {reason:?}{}", confirmed(confirm_generation))
        }
        Decision::KeepUntil { time, reason, confirm_generation } => {
            let seconds = time.duration_since(now()).as_secs();
            format!("keep for {seconds} s: {reason:?}{}", confirmed(confirm_generation))
        }
        Decision::Unschedulable(deadlock) => {
            format!("none: {:?}{}", deadlock.outcome, confirmed(&deadlock.confirm_generation))
        }
    }
}

/// A copy that runs the present spec.
fn running(cluster: &str) -> Copy {
    Copy {
        cluster_uid: format!("uid-{cluster}").into(),
        phase: CopyPhase::Running,
        generation: 1,
        since: ago(600),
        failure: None,
        retry_request: 0,
    }
}

/// An application that is not bound.
#[rstest]
#[case::the_best(Fleet::measured(&[0.5, 0.7, 0.6]), "bind b: FirstPlacement")]
#[case::the_best_that_is_open(Fleet::measured(&[0.5, 0.7, 0.6]).with("b", |c| c.state = ClusterState::NotReady), "bind c: FirstPlacement")]
#[case::one_with_metrics_before_one_without(Fleet::measured(&[0.0]).and("z"), "bind a: FirstPlacement")]
#[case::one_without_metrics_before_one_whose_metrics_fail(Fleet::measured(&[1.0]).and("z").failing("m_a"), "bind z: FirstPlacement")]
#[case::no_metrics_at_all(Fleet::of(&["a"]), "bind a: FirstPlacement")]
#[case::all_metrics_fail(Fleet::measured(&[0.5, 0.7]).failing("m_a").failing("m_b"), "none: Wait")]
#[case::no_cluster(Fleet::of(&[]), "none: Wait")]
fn placing(#[case] fleet: Fleet, #[case] expected: &str) {
    assert_eq!(brief(&fleet.decide(&application())), expected);
}

impl Fleet {
    fn with(mut self, cluster: &str, change: impl FnOnce(&mut crate::world::Cluster)) -> Self {
        change(self.cluster(cluster));
        self
    }

    fn and(mut self, cluster: &str) -> Self {
        self.clusters.push(crate::fixture::cluster(cluster));
        self
    }

    fn failing(mut self, metric: &str) -> Self {
        self.fail(metric);
        self
    }
}

fn offline(seconds: u64) -> impl Fn(&mut crate::world::Cluster) {
    move |cluster| cluster.state = ClusterState::Offline { since: ago(seconds) }
}

fn broken(seconds: u64) -> impl Fn(&mut crate::world::Cluster) {
    move |cluster| cluster.state = ClusterState::Broken { since: ago(seconds) }
}

fn inaccessible(cluster: &mut crate::world::Cluster) {
    cluster.state = ClusterState::Inaccessible;
}

fn unauthorized(cluster: &mut crate::world::Cluster) {
    cluster.state = ClusterState::Unauthorized { since: ago(9000) };
}

#[rstest]
#[case(9000, "bind b: ClusterOffline")]
#[case(9001, "keep for 1 s: ClusterOffline")]
fn refused_credentials_fail_over_only_if_the_operator_says_so(#[case] seconds: u64, #[case] expected: &str) {
    let fleet = Fleet::measured(&[0.1, 0.9]).with("a", unauthorized);
    let options =
        Options { unauthorized_failover_after: Some(Duration::from_secs(seconds)), ..Options::default() };
    assert_eq!(brief(&fleet.decide_with(&bound(&application(), "a", 9000), &options)), expected);
}

/// An application that is bound to "a" since the given number of seconds.
#[rstest]
#[case::best_place(Fleet::measured(&[0.7, 0.5]), 61, "keep: Best")]
#[case::better_place(Fleet::measured(&[0.5, 0.7]), 61, "bind b: BetterCluster")]
// (0.5 + 0.1) / 1.1 = 0.5454…
#[case::stickiness_holds(Fleet::measured(&[0.5, 0.545]), 61, "keep: Best")]
#[case::stickiness_gives_way(Fleet::measured(&[0.5, 0.546]), 61, "bind b: BetterCluster")]
#[case::equals_do_not_attract(Fleet::of(&["a", "b", "c", "d", "e", "f"]), 61, "keep: Best")]
#[case::even_without_stickiness_to_gain(Fleet::measured(&[1.0, 1.0]), 61, "keep: Best")]
#[case::a_cluster_with_metrics_attracts(Fleet::of(&["z"]).with("z", |c| (c.key.name, c.uid) = ("a".into(), "uid-a".into())).measured_too("b", 0.0), 61, "bind b: BetterCluster")]
#[case::recently_scheduled(Fleet::measured(&[0.5, 0.7]), 10, "keep for 50 s: RecentlyScheduled")]
#[case::recently_ends(Fleet::measured(&[0.5, 0.7]), 60, "bind b: BetterCluster")]
#[case::better_but_closed(Fleet::measured(&[0.5, 0.7]).with("b", |c| c.state = ClusterState::Unhealthy), 61, "keep: Best")]
#[case::unhealthy_stays(Fleet::measured(&[0.7, 0.5]).with("a", |c| c.state = ClusterState::Unhealthy), 61, "keep: Best")]
#[case::not_ready_stays(Fleet::measured(&[0.7, 0.5]).with("a", |c| c.state = ClusterState::NotReady), 61, "keep: Best")]
#[case::unhealthy_moves_to_a_better(Fleet::measured(&[0.5, 0.7]).with("a", |c| c.state = ClusterState::Unhealthy), 61, "bind b: BetterCluster")]
#[case::failing_metrics_stay(Fleet::measured(&[0.5, 0.7]).failing("m_a"), 61, "keep: MetricsUnavailable")]
#[case::other_failing_metrics_do_not_attract(Fleet::measured(&[0.5, 0.7]).failing("m_b"), 61, "keep: Best")]
#[case::offline_waits(Fleet::measured(&[0.5, 0.7]).with("a", offline(59)), 600, "keep for 1 s: ClusterOffline")]
#[case::offline_moves(Fleet::measured(&[0.5, 0.1]).with("a", offline(60)), 10, "bind b: ClusterOffline")]
#[case::broken_waits(Fleet::measured(&[0.5, 0.7]).with("a", broken(599)), 600, "keep for 1 s: ClusterOffline")]
#[case::broken_moves(Fleet::measured(&[0.5, 0.1]).with("a", broken(600)), 10, "bind b: ClusterOffline")]
#[case::unauthorized_stays(Fleet::measured(&[0.1, 0.9]).with("a", unauthorized), 6000, "keep: ClusterInaccessible")]
#[case::inaccessible_stays(Fleet::measured(&[0.1, 0.9]).with("a", inaccessible), 6000, "keep: ClusterInaccessible")]
#[case::offline_alone(Fleet::measured(&[0.5]).with("a", offline(60)), 600, "none: Stay(ClusterOffline)")]
#[case::draining(Fleet::measured(&[0.5, 0.1]).with("a", |c| c.lifecycle = Lifecycle::Draining), 10, "bind b: ClusterDraining")]
#[case::draining_alone(Fleet::measured(&[0.5]).with("a", |c| c.lifecycle = Lifecycle::Draining), 10, "none: Stay(ClusterDraining)")]
#[case::deleted(Fleet::measured(&[0.5, 0.1]).with("a", |c| c.lifecycle = Lifecycle::Deleted), 10, "bind b: ClusterDeleted")]
#[case::deleted_with_its_applications(Fleet::measured(&[0.5, 0.1]).with("a", |c| c.lifecycle = Lifecycle::Cascading), 10, "keep: ClusterCascading")]
#[case::deleted_alone(Fleet::measured(&[0.5]).with("a", |c| c.lifecycle = Lifecycle::Deleted), 10, "none: Release")]
#[case::grant_withdrawn(Fleet::measured(&[0.5, 0.1]).with("a", |c| c.key.namespace = "other".into()), 10, "bind b: NoLongerMatches(Namespace)")]
fn bound_to_a(#[case] fleet: Fleet, #[case] seconds: u64, #[case] expected: &str) {
    assert_eq!(brief(&fleet.decide(&bound(&application(), "a", seconds))), expected);
}

impl Fleet {
    fn measured_too(mut self, cluster: &str, value: f64) -> Self {
        self.clusters.push(crate::fixture::cluster(cluster));
        self.metric(cluster, &format!("m_{cluster}"), 1.0, value);
        self
    }
}

/// Bound to "a" a moment ago, with a label constraint that only "b" satisfies.
#[rstest]
#[case::moves_at_once(true, ClusterState::Online, ClusterState::Online, "bind b: NoLongerMatches(Label(0))")]
#[case::even_from_an_offline_cluster(
    true,
    ClusterState::Offline { since: now() },
    ClusterState::Online,
    "bind b: NoLongerMatches(Label(0))"
)]
#[case::never_unbound(
    true,
    ClusterState::Online,
    ClusterState::NotReady,
    "none: Stay(NoLongerMatches(Label(0)))"
)]
#[case::pinned(false, ClusterState::Online, ClusterState::Online, "keep: MigrationDisabled")]
fn constraints_that_no_longer_match(
    #[case] migration: bool,
    #[case] state_of_a: ClusterState,
    #[case] state_of_b: ClusterState,
    #[case] expected: &str,
) {
    let mut fleet = Fleet::measured(&[0.7, 0.5]);
    fleet.cluster("b").labels.insert("location".to_owned(), "FR".to_owned());
    fleet.cluster("a").state = state_of_a;
    fleet.cluster("b").state = state_of_b;
    let mut application = bound(&application(), "a", 10);
    application.constraints = constraints(&["location in (DE, FR)"], &[], &[]);
    application.copies = vec![running("a")];
    application.migration = migration;
    assert_eq!(brief(&fleet.decide(&application)), expected);
}

/// Without migration, bound to "a" for a long time.
#[rstest]
#[case::better_place(Fleet::measured(&[0.5, 0.7]), "keep: MigrationDisabled")]
#[case::offline(Fleet::measured(&[0.5, 0.7]).with("a", offline(600)), "keep: MigrationDisabled")]
#[case::deletion_overrides(Fleet::measured(&[0.5, 0.7]).with("a", |c| c.lifecycle = Lifecycle::Deleted), "bind b: ClusterDeleted")]
#[case::draining_overrides(Fleet::measured(&[0.5, 0.7]).with("a", |c| c.lifecycle = Lifecycle::Draining), "bind b: ClusterDraining")]
#[case::draining_alone(Fleet::measured(&[0.5]).with("a", |c| c.lifecycle = Lifecycle::Draining), "none: Stay(ClusterDraining)")]
fn without_migration(#[case] fleet: Fleet, #[case] expected: &str) {
    let mut application = bound(&application(), "a", 600);
    application.migration = false;
    assert_eq!(brief(&fleet.decide(&application)), expected);
}

/// With data in volumes, bound to "a" for a long time: what draws it away no longer does, what drives it away still does.
#[rstest]
#[case::better_place(Fleet::measured(&[0.5, 0.7]), "keep: HoldsData")]
#[case::best_place(Fleet::measured(&[0.7, 0.5]), "keep: Best")]
#[case::offline(Fleet::measured(&[0.5, 0.7]).with("a", offline(600)), "bind b: ClusterOffline")]
#[case::draining(Fleet::measured(&[0.5, 0.7]).with("a", |c| c.lifecycle = Lifecycle::Draining), "bind b: ClusterDraining")]
fn an_application_with_data_stays_unless_it_loses_its_cluster(#[case] fleet: Fleet, #[case] expected: &str) {
    let mut application = bound(&application(), "a", 600);
    application.holds_data = true;
    assert_eq!(brief(&fleet.decide(&application)), expected);
}

#[test]
fn the_first_placement_needs_no_migration() {
    let mut application = application();
    application.migration = false;
    assert_eq!(brief(&Fleet::of(&["a"]).decide(&application)), "bind a: FirstPlacement");
}

/// A new generation is confirmed wherever the application stays by its own constraints or by its user's will.
#[rstest]
#[case::best(Fleet::measured(&[0.5]), 600, true, "keep: Best, confirm")]
#[case::recent(Fleet::measured(&[0.5]), 10, true, "keep for 50 s: RecentlyScheduled, confirm")]
#[case::pinned(Fleet::measured(&[0.5]), 600, false, "keep: MigrationDisabled, confirm")]
#[case::offline(Fleet::measured(&[0.5]).with("a", offline(10)), 600, true, "keep for 50 s: ClusterOffline, confirm")]
#[case::offline_for_long(Fleet::measured(&[0.5]).with("a", offline(600)), 600, true, "none: Stay(ClusterOffline), confirm")]
#[case::draining(Fleet::measured(&[0.5]).with("a", |c| c.lifecycle = Lifecycle::Draining), 600, true, "none: Stay(ClusterDraining), confirm")]
#[case::metrics_fail(Fleet::measured(&[0.5]).failing("m_a"), 600, true, "keep: MetricsUnavailable, confirm")]
#[case::refused_by_itself(Fleet::measured(&[0.2]), 600, true, "none: Stay(NoLongerMatches(Metric(0)))")]
#[case::pinned_where_it_would_be_refused(Fleet::measured(&[0.2]), 600, false, "keep: MigrationDisabled, confirm")]
#[case::pinned_and_draining(
    Fleet::measured(&[0.2]).with("a", |c| c.lifecycle = Lifecycle::Draining),
    600,
    false,
    "none: Stay(ClusterDraining), confirm"
)]
#[case::released(Fleet::measured(&[0.5]).with("a", |c| c.lifecycle = Lifecycle::Deleted), 600, true, "none: Release")]
fn new_generations(
    #[case] fleet: Fleet,
    #[case] seconds: u64,
    #[case] migration: bool,
    #[case] expected: &str,
) {
    let mut application = bound(&application(), "a", seconds);
    application.generation += 1;
    application.copies = vec![running("a")];
    application.migration = migration;
    application.constraints = constraints(&[], &[], &["m_a > 0.3"]);
    assert_eq!(brief(&fleet.decide(&application)), expected);
}

#[test]
fn an_application_that_is_nowhere_does_not_stay_bound_where_it_must_not_begin() {
    let mut application = bound(&application(), "a", 600);
    application.constraints = constraints(&["location is nowhere"], &[], &[]);
    let fleet = Fleet::measured(&[0.5, 0.7]);
    assert_eq!(brief(&fleet.decide(&application)), "none: Release");
    application.copies = vec![running("a")];
    assert_eq!(brief(&fleet.decide(&application)), "none: Stay(NoLongerMatches(Label(0)))", "it runs");
    application.copies = Vec::new();
    application.migration = false;
    assert_eq!(brief(&fleet.decide(&application)), "keep: MigrationDisabled", "there and nowhere else");
}

#[test]
fn a_cluster_that_is_being_deleted_does_not_wait_for_a_successor_that_never_begins() {
    let mut application = bound(&application(), "a", 600);
    application.constraints = constraints(&["location is nowhere"], &[], &[]);
    let intended = Copy { phase: CopyPhase::Other, generation: 0, ..running("a") };
    application.copies = vec![intended.clone(), running("b")];
    let fleet = Fleet::measured(&[0.5, 0.7]);
    let stays = "none: Stay(NoLongerMatches(Label(0)))";
    assert_eq!(brief(&fleet.decide(&application)), stays, "it runs on where it was");
    let fleet = fleet.with("b", |b| b.lifecycle = Lifecycle::Deleted);
    assert_eq!(brief(&fleet.decide(&application)), "none: Release");
    application.copies = vec![running("b")];
    assert_eq!(brief(&fleet.decide(&application)), "none: Release", "not even recorded");
    application.copies = vec![Copy { generation: 1, ..intended }, running("b")];
    assert_eq!(brief(&fleet.decide(&application)), stays, "the successor is starting");
}

#[test]
fn nothing_is_done_because_of_absence() {
    let mut fleet = Fleet::measured(&[0.5]);
    let application = bound(&application(), "gone", 600);
    assert_eq!(brief(&fleet.decide(&application)), "keep: ClusterUnknown");
    fleet.erased.insert("uid-gone".into());
    assert_eq!(brief(&fleet.decide(&application)), "bind a: ClusterDeleted");
    fleet.cluster("a").state = ClusterState::Connecting;
    assert_eq!(brief(&fleet.decide(&application)), "none: Release");
}

#[test]
fn a_deleted_application_is_left_alone() {
    for mut application in [application(), bound(&application(), "a", 600)] {
        application.deleted = true;
        application.generation += 1;
        assert_eq!(brief(&Fleet::measured(&[0.5, 0.7]).decide(&application)), "keep: ApplicationDeleted");
    }
}

#[test]
fn a_binding_from_the_future_counts_as_new() {
    let mut application = bound(&application(), "a", 0);
    application.binding.as_mut().unwrap().bound = Timestamp::MAX;
    let decision = Fleet::measured(&[0.5, 0.7]).decide(&application);
    assert_eq!(brief(&decision), "keep for 60 s: RecentlyScheduled");
    let endless = Options { reschedule_after: Duration::MAX, ..Options::default() };
    let decision = Fleet::measured(&[0.5, 0.7]).decide_with(&application, &endless);
    assert!(matches!(decision, Decision::KeepUntil { time, .. } if time == Timestamp::MAX));
}

#[test]
fn options_rule() {
    let application = bound(&application(), "a", 10);
    let fleet = Fleet::measured(&[0.5, 0.51]);
    let eager = Options { reschedule_after: Duration::ZERO, stickiness: 0.0, ..Options::default() };
    assert_eq!(brief(&fleet.decide_with(&application, &eager)), "bind b: BetterCluster");
    let at_once = Options { offline_grace: Duration::ZERO, ..Options::default() };
    let fleet = fleet.with("a", offline(0));
    assert_eq!(brief(&fleet.decide_with(&application, &at_once)), "bind b: ClusterOffline");
}

#[test]
fn a_choice_tells_how_it_was_made() {
    let mut fleet = Fleet::measured(&[0.5, 0.9, 0.8, 0.7, 0.6, 0.4, 0.95, 0.99]);
    fleet.cluster("g").state = ClusterState::NotReady;
    fleet.cluster("h").labels.insert("tier".to_owned(), "edge".to_owned());
    for name in ["a", "b", "c", "d", "e", "f"] {
        fleet.cluster(name).labels.insert("tier".to_owned(), "core".to_owned());
    }
    let mut application = bound(&application(), "d", 600);
    application.constraints = constraints(&["tier is core"], &[], &[]);
    let Decision::Bind(choice) = fleet.decide(&application) else { panic!("it must move") };
    assert_eq!(choice.replaces, Some("uid-d".into()));
    assert_eq!(choice.reason, BindReason::BetterCluster);
    assert_eq!(choice.world_revision, 7);
    let top: Vec<_> = choice.top.iter().map(|scored| (scored.key.name.as_str(), scored.score)).collect();
    assert_eq!(top, [("b", 0.9), ("c", 0.8), ("d", (0.7 + 0.1) / 1.1), ("e", 0.6), ("a", 0.5)]);
    assert_eq!((&choice.cluster, choice.runner_up.as_ref()), (&choice.top[0], choice.top.get(1)));
    assert_eq!(choice.rejected, BTreeMap::from([(Rejection::NotReady, 1), (Rejection::Label(0), 1)]));
}

#[test]
fn a_deadlock_tells_why() {
    let mut fleet = Fleet::measured(&[0.5, 0.9, 0.8]);
    fleet.cluster("c").state = ClusterState::NotReady;
    let mut application = application();
    application.constraints = constraints(&["location is DE"], &[], &[]);
    let Decision::Unschedulable(deadlock) = fleet.decide(&application) else { panic!("nothing fits") };
    assert_eq!(
        deadlock.message,
        "No matching Kubernetes cluster found: rejected 1 × NOTREADY, 2 × label constraint \"location = DE\""
    );
    application.key.namespace = "lonely".to_owned();
    let Decision::Unschedulable(deadlock) = fleet.decide(&application) else { panic!("nothing fits") };
    assert_eq!(
        deadlock.message,
        "No matching Kubernetes cluster found: namespace \"lonely\" may use no cluster"
    );
}

#[test]
fn equals_share_the_applications() {
    let fleet = Fleet::of(&["a", "b", "c", "d", "e", "f", "g"]);
    let mut bound = BTreeMap::new();
    for index in 0..700 {
        let mut application = application();
        application.uid = format!("uid-{index}").into();
        let Decision::Bind(choice) = fleet.decide(&application) else { panic!("there is room") };
        assert_eq!(choice.top.len(), 5);
        *bound.entry(choice.cluster.uid).or_insert(0) += 1;
    }
    assert_eq!(bound.len(), 7);
    assert!(bound.values().all(|count| (60..150).contains(count)), "{bound:?}");
}
