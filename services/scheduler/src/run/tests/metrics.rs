//! What is said about the metrics of clusters.

use krake_proto::condition::{find, reasons};
use krake_proto::krake::meta::v1::ReasonCode;

use super::*;

#[tokio::test(start_paused = true)]
async fn metrics_that_fail_are_told_once_and_so_is_their_recovery() {
    let fixture = Fixture::start(|api| {
        measured(api, "a");
        api.put(cluster("plain"));
        values(api, &[("a", 0.5)]);
    })
    .await;
    let said = |fixture: &Fixture| {
        let status = fixture.api.get::<api::Cluster>("a").status.unwrap();
        let condition = find(&status.conditions, types::METRICS_AVAILABLE).unwrap();
        let reasons: Vec<_> =
            status.metrics_reasons.iter().map(|(name, reason)| (name.clone(), reason.code())).collect();
        (condition.status(), condition.reason.clone(), reasons)
    };
    sleep(SECOND * 100).await;
    assert_eq!(fixture.api.writes().len(), 1, "the cluster without metrics is not written at all");
    assert_eq!(said(&fixture), (ConditionStatus::True, String::new(), vec![]));
    for value in [7.0, 8.0, 9.0] {
        values(&fixture.api, &[("a", value)]);
        sleep(SECOND * 100).await;
    }
    assert_eq!(fixture.api.writes().len(), 1, "what is wrong stays the same");
    let wrong = vec![("a".to_owned(), ReasonCode::InvalidMetric)];
    assert_eq!(said(&fixture), (ConditionStatus::False, reasons::INVALID_METRIC.to_owned(), wrong));
    values(&fixture.api, &[("a", 0.5)]);
    sleep(SECOND * 100).await;
    assert_eq!(fixture.api.writes().len(), 1);
    assert_eq!(said(&fixture), (ConditionStatus::True, String::new(), vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_conflict_does_not_lose_what_is_to_be_said_about_metrics() {
    let fixture = Fixture::start(|api| {
        measured(api, "a");
        values(api, &[("a", 5.0)]);
        api.behave(Behaviour { conflicts: 3, ..Behaviour::default() });
    })
    .await;
    sleep(SECOND * 10).await;
    assert!(!fixture.api.get::<api::Cluster>("a").status.unwrap().metrics_reasons.is_empty());
    assert_eq!(fixture.api.writes().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_not_connected_to_is_said_on_the_clusters() {
    let fixture = Fixture::start(|api| {
        measured(api, "a");
        let url = "http://169.254.169.254/latest".to_owned();
        provider(api, metrics_provider_spec::Type::Prometheus(core::PrometheusProvider { url }));
    })
    .await;
    sleep(SECOND * 100).await;
    let reason = fixture.api.get::<api::Cluster>("a").status.unwrap().metrics_reasons["a"].clone();
    assert_eq!(reason.code(), ReasonCode::UnreachableMetricsProvider);
    assert!(reason.message.contains("does not connect to 169.254.169.254: it is a link-local"), "{reason:?}");
}
