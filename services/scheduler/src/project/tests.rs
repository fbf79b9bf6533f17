//! How messages are read.

use super::*;
use krake_proto::krake::meta::v1::Condition;
use rstest::rstest;

fn say(r#type: &str, status: ConditionStatus, reason: &str) -> Condition {
    let last_transition_time = Some(prost_types::Timestamp { seconds: 7, nanos: 0 });
    Condition {
        r#type: r#type.into(),
        status: status.into(),
        reason: reason.into(),
        last_transition_time,
        ..Default::default()
    }
}

#[rstest]
#[case::unknown(vec![], ClusterState::Unavailable)]
#[case::offline(
    vec![say(types::REACHABLE, ConditionStatus::False, reasons::CLUSTER_NOT_REACHABLE)],
    ClusterState::Offline { since: Timestamp::from_second(7).unwrap() }
)]
#[case::connecting(
    vec![say(types::REACHABLE, ConditionStatus::Unknown, reasons::CONNECTING)],
    ClusterState::Connecting
)]
#[case::not_looked_at(
    vec![say(types::REACHABLE, ConditionStatus::True, "")],
    ClusterState::Connecting
)]
#[case::pressure(
    vec![
        say(types::REACHABLE, ConditionStatus::True, ""),
        say(types::NODES_HEALTHY, ConditionStatus::False, reasons::NODE_PRESSURE),
    ],
    ClusterState::Unhealthy
)]
#[case::the_same_as_another(
    vec![
        say(types::REACHABLE, ConditionStatus::True, ""),
        say(types::NODES_HEALTHY, ConditionStatus::True, ""),
        say(types::IDENTITY_VERIFIED, ConditionStatus::False, reasons::DUPLICATE_IDENTITY),
    ],
    ClusterState::Unavailable
)]
#[case::online(
    vec![
        say(types::REACHABLE, ConditionStatus::True, ""),
        say(types::NODES_HEALTHY, ConditionStatus::True, ""),
        say(types::METRICS_AVAILABLE, ConditionStatus::False, reasons::INVALID_METRIC),
    ],
    ClusterState::Online
)]
fn states_follow_the_conditions(#[case] conditions: Vec<Condition>, #[case] expected: ClusterState) {
    assert_eq!(state(&api::ClusterStatus { conditions, ..Default::default() }), expected);
}

#[test]
fn unreachable_clusters_differ_by_cause() {
    let since = Timestamp::from_second(5).unwrap();
    let cases = [
        (reasons::CLUSTER_NOT_REACHABLE, ClusterState::Offline { since }),
        ("OfANewerVersion", ClusterState::Offline { since }),
        (reasons::BROKEN, ClusterState::Broken { since }),
        (reasons::UNAUTHORIZED, ClusterState::Unauthorized { since }),
        (reasons::WRONG_CLUSTER, ClusterState::Inaccessible),
        (reasons::TLS_NOT_VERIFIED, ClusterState::Inaccessible),
        (reasons::INVALID_KUBECONFIG, ClusterState::Inaccessible),
    ];
    for (reason, expected) in cases {
        let status = api::ClusterStatus {
            conditions: vec![say(types::REACHABLE, ConditionStatus::False, reason)],
            unreachable_since: Some(prost_types::Timestamp { seconds: 5, nanos: 0 }),
            ..Default::default()
        };
        assert_eq!(state(&status), expected, "{reason}");
    }
}

#[test]
fn migration_is_allowed_unless_it_is_refused_and_bad_constraints_hide_the_application() {
    let mut object = api::Application { metadata: Some(Metadata::default()), ..Default::default() };
    assert!(application(&object).unwrap().application.migration);
    let constraints = object.spec.get_or_insert_default().constraints.get_or_insert_default();
    constraints.migration = Some(false);
    assert!(!application(&object).unwrap().application.migration);
    let constraints = object.spec.get_or_insert_default().constraints.get_or_insert_default();
    constraints.cluster.get_or_insert_default().labels.push("a in (".into());
    assert!(application(&object).is_none());
}

#[test]
fn attempts_are_those_of_a_condition_that_denies() {
    let mut object = api::Application { metadata: Some(Metadata::default()), ..Default::default() };
    assert_eq!(application(&object).unwrap().application.attempts, None);
    object.metadata.get_or_insert_default().modified = Some(prost_types::Timestamp { seconds: 9, nanos: 0 });
    let status = object.status.get_or_insert_default();
    let mut denied = say(types::SCHEDULED, ConditionStatus::False, reasons::NO_SUITABLE_RESOURCE);
    denied.observed_generation = 4;
    status.conditions = vec![denied];
    (status.retries, status.scheduled_retry) =
        (Some(2), Some(prost_types::Timestamp { seconds: 30, nanos: 5 }));
    let due = Timestamp::new(30, 5).unwrap();
    let placed = application(&object).unwrap();
    let made = placed.application.attempts.unwrap();
    assert_eq!((made.generation, made.retry), (4, Retry { left: Some(2), due: Some(due) }));
    assert_eq!(made.since, Timestamp::from_second(9).unwrap(), "the spec is younger than the condition");
    assert_eq!(placed.retry, (Some(2), Some(due)));
    let status = object.status.get_or_insert_default();
    (status.retries, status.scheduled_retry) = (Some(-1), None);
    let made = application(&object).unwrap().application.attempts.unwrap();
    assert_eq!(made.retry, Retry { left: None, due: None });
    let status = object.status.get_or_insert_default();
    status.conditions[0].status = ConditionStatus::True.into();
    assert_eq!(application(&object).unwrap().application.attempts, None);
}

#[rstest]
#[case::absent(None, None, None, Backoff::default())]
#[case::given(Some(2), Some(30), Some(4), Backoff { factor: 2, delay: Duration::from_secs(30), limit: Some(4) })]
#[case::none(Some(1), Some(0), Some(0), Backoff { factor: 1, delay: Duration::ZERO, limit: Some(0) })]
#[case::nonsense(Some(0), Some(-3), Some(-9), Backoff { factor: 1, delay: Duration::ZERO, limit: None })]
fn backoff_fields(
    #[case] backoff: Option<i32>,
    #[case] backoff_delay: Option<i32>,
    #[case] backoff_limit: Option<i32>,
    #[case] expected: Backoff,
) {
    let spec = api::ApplicationSpec { backoff, backoff_delay, backoff_limit, ..Default::default() };
    let object = api::Application { metadata: Some(Metadata::default()), spec: Some(spec), status: None };
    assert_eq!(application(&object).unwrap().application.backoff, expected);
}

#[rstest]
#[case(None, 0.0)]
#[case(Some(0.25), 0.25)]
#[case(Some(-1.0), 0.0)]
#[case(Some(f64::NAN), 0.0)]
fn gains(#[case] min_gain: Option<f64>, #[case] expected: f64) {
    let min_residency = Some(prost_types::Duration { seconds: 7, nanos: 0 });
    let spec = api::ApplicationSpec { min_gain, min_residency, ..Default::default() };
    let object = api::Application { metadata: Some(Metadata::default()), spec: Some(spec), status: None };
    let read = application(&object).unwrap().application;
    assert_eq!((read.min_gain, read.min_residency), (expected, Some(Duration::from_secs(7))));
}

#[rstest]
#[case::not_said(true, api::MigrationStrategy::Unspecified, true)]
#[case::said(true, api::MigrationStrategy::CreateFirst, false)]
#[case::singleton(true, api::MigrationStrategy::DeleteFirst, false)]
#[case::no_volumes(false, api::MigrationStrategy::Unspecified, false)]
fn data_in_volumes_holds_an_application_that_does_not_say_how_it_moves(
    #[case] claims_volumes: bool,
    #[case] strategy: api::MigrationStrategy,
    #[case] expected: bool,
) {
    let entry = api::Manifest { claims_volumes, ..Default::default() };
    let manifest = vec![api::Manifest::default(), entry];
    let spec = api::ApplicationSpec { manifest, migration_strategy: strategy.into(), ..Default::default() };
    let object = api::Application { metadata: Some(Metadata::default()), spec: Some(spec), status: None };
    assert_eq!(application(&object).unwrap().application.holds_data, expected);
}

#[test]
fn failed_handovers_are_read_from_the_history_up_to_the_last_change_of_the_user() {
    let record = |reason: &str, cluster: &str, seconds| api::PlacementRecord {
        from: Some(ResourceRef { uid: cluster.into(), ..Default::default() }),
        time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        reason: reason.into(),
        ..Default::default()
    };
    let failed = format!("{}: so it goes", handover::RECORD);
    let history = vec![
        record(&failed, "a", 30),
        record("another is better", "b", 20),
        record(&failed, "c", 15),
        record(&failed, "d", 5),
    ];
    let read = failed_handovers(&history, &[], 1, Timestamp::from_second(10).unwrap());
    let clusters = |read: &[FailedHandover]| {
        read.iter().map(|failure| failure.cluster_uid.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(clusters(&read), "a c");
    // The attempts that state keeps: one is in the history as well, and one is of a former spec.
    let attempt = |cluster: &str, seconds, generation| api::FailedAttempt {
        cluster: Some(ResourceRef { uid: cluster.into(), ..Default::default() }),
        time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        generation,
        ..Default::default()
    };
    let attempts = [attempt("a", 30, 2), attempt("e", 40, 2), attempt("f", 40, 1)];
    let read = failed_handovers(&history, &attempts, 2, Timestamp::from_second(10).unwrap());
    assert_eq!(clusters(&read), "a c e");
}

#[test]
fn copies_show_how_they_are_and_since_when() {
    let seen = copy(&api::Copy {
        cluster: Some(ResourceRef { uid: "a".into(), ..Default::default() }),
        phase: api::Phase::Failed.into(),
        observed_generation: 3,
        last_transition_time: Some(prost_types::Timestamp { seconds: 8, nanos: 0 }),
        failure: api::FailureClass::OfSpec.into(),
        ..Default::default()
    });
    let failure = Some(CopyFailure::OfSpec);
    let since = Timestamp::from_second(8).unwrap();
    assert_eq!(
        seen,
        Copy {
            cluster_uid: "a".into(),
            phase: CopyPhase::Failed,
            generation: 3,
            since,
            failure,
            retry_request: 0
        }
    );
}

#[test]
fn what_was_applied_counts_while_something_else_is_being_applied() {
    let work = api::Work { generation: 2, ..Default::default() };
    let applied = api::Copy { applied_work: Some(work), ..Default::default() };
    assert_eq!(copy(&applied).generation, 2);
    assert_eq!(copy(&api::Copy::default()).generation, 0);
}

#[test]
fn applications_leave_a_cluster_that_was_declared_lost() {
    let mut object = api::Cluster { metadata: Some(Metadata::default()), ..Default::default() };
    assert_eq!(cluster(&object).unwrap().cluster.lifecycle, Lifecycle::Active);
    object.status.get_or_insert_default().lost = Some(api::ClusterLoss::default());
    assert_eq!(cluster(&object).unwrap().cluster.lifecycle, Lifecycle::Deleted);
}
