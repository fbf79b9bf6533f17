//! Laws of updates at their edges: dry runs, masks, rules that are younger than the object.

use crate::support::memory;
use crate::support::server::{Server, application, cluster, metric, named, stored};
use krake_client::{DeleteOptions, Mask};
use krake_proto::Resource;
use krake_proto::error::{ErrorReason, reason};
use krake_proto::krake::core::v1::{CreateMetricRequest, Metric, UpdateMetricRequest};
use krake_proto::krake::kubernetes::v1::{Application, ApplicationState, Cluster, ClusterState};
use krake_proto::krake::meta::v1::{Condition, ConditionStatus, Reason, ReasonCode};
use krake_state::store::Txn;
use prost::Message;

#[tokio::test]
async fn a_rule_made_later_does_not_stop_a_label_and_still_guards_the_spec() {
    let store = memory();
    let server = Server::start(store.clone()).await;
    let api = server.client.api::<Metric>();
    let created = api.create(&metric("demo", "m", 1.0)).await.unwrap();
    let mut old = created.clone();
    old.spec.as_mut().unwrap().min = Some(5.0);
    let old = stored(Metric::KIND, &old.encode_to_vec());
    store.commit(Txn::new().put("/krake/core/metrics/demo/m", old)).await.unwrap().unwrap();

    let mut label = Metric { metadata: named("demo", "m"), ..Default::default() };
    label.metadata.as_mut().unwrap().labels.insert("tier".into(), "edge".into());
    let labelled = api.update(&label, Mask::fields(["metadata.labels"])).await.unwrap();
    assert_eq!(labelled.spec.as_ref().unwrap().min, Some(5.0));
    assert_eq!(labelled.metadata.as_ref().unwrap().generation, 1);
    let mut other = labelled;
    other.spec.as_mut().unwrap().min = Some(6.0);
    let error = api.update(&other, Mask::All).await.unwrap_err();
    assert_eq!(error.violations()[0].field, "spec.min");
}

#[tokio::test]
async fn a_dry_run_fails_where_the_write_would() {
    let server = Server::start(memory()).await;
    let created = server.client.api::<Metric>().create(&metric("demo", "m", 1.0)).await.unwrap();
    let again = CreateMetricRequest {
        metric: Some(metric("demo", "m", 1.0)),
        validate_only: true,
        ..Default::default()
    };
    let error = server.client.metrics().create_metric(again).await.unwrap_err();
    assert_eq!(reason(&error), Some(ErrorReason::AlreadyExists));

    let mut stale = created.clone();
    stale.metadata.as_mut().unwrap().resource_version -= 1;
    let update = |metric: Metric| UpdateMetricRequest {
        metric: Some(metric),
        validate_only: true,
        reject_unchanged: true,
        ..Default::default()
    };
    let error = server.client.metrics().update_metric(update(stale)).await.unwrap_err();
    assert_eq!(reason(&error), Some(ErrorReason::Conflict));
    let error = server.client.metrics().update_metric(update(created)).await.unwrap_err();
    assert_eq!(reason(&error), Some(ErrorReason::NothingToUpdate));
}

#[tokio::test]
async fn clearing_what_is_not_set_changes_nothing() {
    let server = Server::start(memory()).await;
    let api = server.client.api::<Application>();
    let created = api.create(&application("a")).await.unwrap();
    let empty = Application { metadata: named("demo", "a"), ..Default::default() };
    let cleared = api.update(&empty, Mask::fields(["spec.placement.min_clusters"])).await.unwrap();
    assert_eq!(cleared, created);
}

#[tokio::test]
async fn requests_that_are_all_work_and_no_sense_are_refused_at_once() {
    let server = Server::start(memory()).await;
    let api = server.client.api::<Application>();
    let mut created = api.create(&application("a")).await.unwrap();
    let paths = vec!["spec.backoff"; 200_000];
    let error = api.update(&created, Mask::fields(paths.clone())).await.unwrap_err();
    assert_eq!(error.violations()[0].field, "update_mask.paths");
    let error = api.update_status(&created, Mask::fields(paths)).await.unwrap_err();
    assert_eq!(error.violations()[0].field, "update_mask.paths");

    let condition = |number| Condition {
        r#type: format!("example.org/C{number}"),
        status: ConditionStatus::True.into(),
        ..Default::default()
    };
    created.status.as_mut().unwrap().conditions = (1..100_000).map(condition).collect();
    let error = api.update_status(&created, Mask::fields(["status.conditions"])).await.unwrap_err();
    assert_eq!(error.violations()[0].field, "status.conditions");
}

#[tokio::test]
async fn a_condition_of_krake_has_one_place_and_those_of_others_have_theirs_everywhere() {
    let server = Server::start(memory()).await;
    let (applications, clusters) = (server.client.api::<Application>(), server.client.api::<Cluster>());
    applications.create(&application("a")).await.unwrap();
    clusters.create(&cluster("c")).await.unwrap();
    let says = |r#type: &str, reason: &str| {
        vec![Condition {
            r#type: r#type.into(),
            status: ConditionStatus::False.into(),
            reason: reason.into(),
            ..Default::default()
        }]
    };
    let mask = || Mask::fields(["status.conditions"]);
    let on_application = async |r#type: &str, reason: &str| {
        let mut report = application("a");
        report.status.get_or_insert_default().conditions = says(r#type, reason);
        applications.update_status(&report, mask()).await
    };
    let on_cluster = async |r#type: &str, reason: &str| {
        let mut report = cluster("c");
        report.status.get_or_insert_default().conditions = says(r#type, reason);
        clusters.update_status(&report, mask()).await
    };
    for other in ["Applied", "Available", "Reachable", "Other", "example.org/", "SCHEDULED", ""] {
        let error = on_application(other, "").await.unwrap_err();
        assert_eq!(error.violations()[0].field, "status.conditions[0].type", "{other:?}");
    }
    for other in ["Scheduled", "Applied", "reachable"] {
        let error = on_cluster(other, "").await.unwrap_err();
        assert_eq!(error.violations()[0].field, "status.conditions[0].type", "{other:?}");
    }
    let error = on_cluster("Reachable", "no reason").await.unwrap_err();
    assert_eq!(error.violations()[0].field, "status.conditions[0].reason");
    on_application("Scheduled", "").await.unwrap();
    let after = on_application("example.org/BackedUp", "QuotaExceeded").await.unwrap().status.unwrap();
    assert_eq!(after.conditions.len(), 2);
    assert_eq!(after.state(), ApplicationState::Pending);
    assert_eq!(after.reason.unwrap().code(), ReasonCode::NoSuitableResource, "Krake's own decides");
    let after = on_cluster("example.org/BackedUp", "QuotaExceeded").await.unwrap().status.unwrap();
    assert_eq!((after.state(), after.reason), (ClusterState::Pending, None));
}

#[tokio::test]
async fn reasons_of_metrics_have_a_code_that_upstream_knows() {
    let server = Server::start(memory()).await;
    let clusters = server.client.api::<Cluster>();
    clusters.create(&cluster("c")).await.unwrap();
    let say = async |code: i32| {
        let mut report = cluster("c");
        let reasons = &mut report.status.get_or_insert_default().metrics_reasons;
        reasons.insert("heat".into(), Reason { code, message: String::new() });
        clusters.update_status(&report, Mask::fields(["status.metrics_reasons"])).await
    };
    for code in [0, 2, 99] {
        let error = say(code).await.unwrap_err();
        assert_eq!(error.violations()[0].field, "status.metrics_reasons[\"heat\"].code", "{code}");
    }
    say(ReasonCode::UnknownMetric.into()).await.unwrap();
}

#[tokio::test]
async fn an_update_never_overwrites_another_object_of_the_same_name() {
    let server = Server::start(memory()).await;
    let api = server.client.api::<Metric>();
    let mut former = api.create(&metric("demo", "m", 1.0)).await.unwrap();
    api.delete("demo", "m", &DeleteOptions { force: true, ..Default::default() }).await.unwrap();
    let present = api.create(&metric("demo", "m", 2.0)).await.unwrap();
    // Without a version the last write wins, but not over another object.
    former.metadata.as_mut().unwrap().resource_version = 0;
    for mask in [Mask::All, Mask::Populated, Mask::fields(["spec.max"])] {
        let refused = api.update(&former, mask).await.unwrap_err();
        assert!(refused.is_conflict() && refused.to_string().contains("metadata.uid"), "{refused}");
    }
    let dry = UpdateMetricRequest { metric: Some(former), validate_only: true, ..Default::default() };
    let refused = server.client.metrics().update_metric(dry).await.unwrap_err();
    assert_eq!(reason(&refused), Some(ErrorReason::Conflict));
    assert_eq!(api.get("demo", "m").await.unwrap(), present);
}

#[tokio::test]
async fn a_negative_version_is_no_precondition_but_a_mistake() {
    let server = Server::start(memory()).await;
    let api = server.client.api::<Metric>();
    let mut created = api.create(&metric("demo", "m", 1.0)).await.unwrap();
    created.metadata.as_mut().unwrap().resource_version = -1;
    let refused = api.update(&created, Mask::All).await.unwrap_err();
    assert_eq!(refused.violations()[0].field, "metadata.resource_version");
    let options = DeleteOptions { resource_version: -1, ..Default::default() };
    let refused = api.delete("demo", "m", &options).await.unwrap_err();
    assert_eq!(refused.reason(), Some(ErrorReason::InvalidField));
}
