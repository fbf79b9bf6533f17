//! Every reason for which a cluster is rejected.

use jiff::Timestamp;
use rstest::rstest;

use super::*;
use crate::fixture::{Fleet, constraints};
use crate::world::Cluster;

fn change(change: impl Fn(&mut Cluster) + 'static) -> Box<dyn Fn(&mut Fleet)> {
    Box::new(move |fleet| change(fleet.cluster("a")))
}

fn label(key: &'static str, value: &'static str) -> Box<dyn Fn(&mut Fleet)> {
    change(move |cluster| drop(cluster.labels.insert(key.to_owned(), value.to_owned())))
}

#[rstest]
#[case::fits(change(|_| ()), constraints(&[], &[], &[]), Ok(()))]
#[case::other_namespace(change(|c| c.key.namespace = "other".into()), constraints(&[], &[], &[]), Err(Rejection::Namespace))]
#[case::allowed_by_name(
    change(|c| (c.key.namespace, c.allowed_namespaces) = ("other".into(), vec!["x".into(), "ns".into()])),
    constraints(&[], &[], &[]),
    Ok(())
)]
#[case::allowed_to_all(
    change(|c| (c.key.namespace, c.allowed_namespaces) = ("other".into(), vec!["*".into()])),
    constraints(&[], &[], &[]),
    Ok(())
)]
#[case::allowed_to_others(
    change(|c| (c.key.namespace, c.allowed_namespaces) = ("other".into(), vec!["n*".into(), "n".into(), "".into()])),
    constraints(&[], &[], &[]),
    Err(Rejection::Namespace)
)]
#[case::deleted(change(|c| c.lifecycle = Lifecycle::Deleted), constraints(&[], &[], &[]), Err(Rejection::Deleted))]
#[case::draining(change(|c| c.lifecycle = Lifecycle::Draining), constraints(&[], &[], &[]), Err(Rejection::Draining))]
#[case::offline(
    change(|c| c.state = ClusterState::Offline { since: Timestamp::MAX }),
    constraints(&[], &[], &[]),
    Err(Rejection::Offline)
)]
#[case::connecting(change(|c| c.state = ClusterState::Connecting), constraints(&[], &[], &[]), Err(Rejection::Connecting))]
#[case::unhealthy(change(|c| c.state = ClusterState::Unhealthy), constraints(&[], &[], &[]), Err(Rejection::Unhealthy))]
#[case::not_ready(change(|c| c.state = ClusterState::NotReady), constraints(&[], &[], &[]), Err(Rejection::NotReady))]
#[case::unavailable(change(|c| c.state = ClusterState::Unavailable), constraints(&[], &[], &[]), Err(Rejection::Unavailable))]
#[case::failing_metrics(Box::new(|fleet: &mut Fleet| fleet.fail("m_a")), constraints(&[], &[], &[]), Err(Rejection::FailingMetrics))]
#[case::pending_metrics(
    Box::new(|fleet: &mut Fleet| fleet.read("m_a", None)),
    constraints(&[], &[], &[]),
    Err(Rejection::PendingMetrics)
)]
#[case::label(label("location", "DE"), constraints(&["location is DE"], &[], &[]), Ok(()))]
#[case::no_label(change(|_| ()), constraints(&["location is not DE"], &[], &[]), Err(Rejection::Label(0)))]
#[case::second_label(
    label("location", "DE"),
    constraints(&["location in (DE, FR)", "location != DE"], &[], &[]),
    Err(Rejection::Label(1))
)]
#[case::custom_resource(
    change(|c| c.custom_resources = vec!["crontabs.stable.example.com".into()]),
    constraints(&[], &["crontabs.stable.example.com"], &[]),
    Ok(())
)]
#[case::no_custom_resource(
    change(|c| c.custom_resources = vec!["crontabs.stable.example.com".into()]),
    constraints(&[], &["crontabs.stable.example.com", "crontabs"], &[]),
    Err(Rejection::CustomResource(1))
)]
#[case::metric_by_raw_value(
    change(|c| c.metrics[0].weight = 10.0),
    constraints(&[], &[], &["m_a > 0.4", "m_a < 0.6"]),
    Ok(())
)]
#[case::metric(change(|_| ()), constraints(&[], &[], &["m_a <= 0.5", "m_a > 0.5"]), Err(Rejection::Metric(1)))]
#[case::no_such_metric(change(|_| ()), constraints(&[], &[], &["m_b != 0.5"]), Err(Rejection::Metric(0)))]
#[case::the_first_reason_counts(
    change(|c| c.state = ClusterState::NotReady),
    constraints(&["location is DE"], &["crontabs"], &["m_a > 1"]),
    Err(Rejection::NotReady)
)]
fn candidates(
    #[case] set: Box<dyn Fn(&mut Fleet)>,
    #[case] asked: Arc<Constraints>,
    #[case] verdict: Result<(), Rejection>,
) {
    let mut fleet = Fleet::measured(&[0.5]);
    set(&mut fleet);
    let world = fleet.world();
    assert_eq!(candidate(&world, 0, "ns", &asked), verdict);
    let shortlist = Shortlists::new(&world).get("ns", &asked);
    assert_eq!(shortlist.len(), usize::from(verdict.is_ok()));
    let counted: Vec<_> =
        shortlist.rejected().iter().map(|(rejection, count)| (*rejection, *count)).collect();
    let expected: Vec<_> = verdict
        .err()
        .filter(|reason| *reason != Rejection::Namespace)
        .map(|reason| (reason, 1))
        .into_iter()
        .collect();
    assert_eq!(counted, expected, "clusters of other tenants are not counted");
}

#[rstest]
#[case::state_does_not_matter(change(|c| c.state = ClusterState::Unhealthy), constraints(&[], &[], &[]), Ok(()))]
#[case::what_is_not_known_does_not_matter(
    Box::new(|fleet: &mut Fleet| fleet.fail("m_a")),
    constraints(&[], &[], &["m_a > 0.9"]),
    Ok(())
)]
#[case::what_is_known_does(change(|_| ()), constraints(&[], &[], &["m_a > 0.9"]), Err(Rejection::Metric(0)))]
#[case::so_does_a_metric_that_was_taken_away(
    change(|c| c.metrics.clear()),
    constraints(&[], &[], &["m_a > 0.1"]),
    Err(Rejection::Metric(0))
)]
#[case::and_a_grant(change(|c| c.key.namespace = "other".into()), constraints(&[], &[], &[]), Err(Rejection::Namespace))]
fn staying(
    #[case] set: Box<dyn Fn(&mut Fleet)>,
    #[case] asked: Arc<Constraints>,
    #[case] verdict: Result<(), Rejection>,
) {
    let mut fleet = Fleet::measured(&[0.5]);
    set(&mut fleet);
    assert_eq!(tenable(&fleet.world().ranked()[0], "ns", &asked), verdict);
}

#[test]
fn a_shortlist_is_made_once_for_all_who_ask_the_same() {
    let world = Fleet::measured(&[0.5, 0.7]).world();
    let mut shortlists = Shortlists::new(&world);
    let ask = || constraints(&["location is DE"], &[], &["m_a > 0.1"]);
    let first = shortlists.get("ns", &ask());
    assert!(Arc::ptr_eq(&first, &shortlists.get("ns", &ask())));
    assert!(!Arc::ptr_eq(&first, &shortlists.get("other", &ask())));
    assert!(!Arc::ptr_eq(&first, &shortlists.get("ns", &constraints(&["location is FR"], &[], &[]))));
}

#[test]
fn rejections_name_the_constraint() {
    let asked = constraints(&["location is DE"], &["crontabs.stable.example.com"], &["load lt 3"]);
    let described =
        [Rejection::Offline, Rejection::Label(0), Rejection::CustomResource(0), Rejection::Metric(0)]
            .map(|rejection| rejection.describe(&asked));
    assert_eq!(
        described,
        [
            "OFFLINE",
            "label constraint \"location = DE\"",
            "custom resource \"crontabs.stable.example.com\"",
            "metric constraint \"load < 3\""
        ]
    );
}
