//! Laws of what schedulers and adapters report: what they say about clusters is checked, and nothing grows without end.

use crate::placement::{World, bind, reference, report, version, why, world};
use crate::support::requests::{binding, report_copy};
use krake_client::{Client, DeleteOptions};
use krake_proto::error::ErrorReason;
use krake_proto::finalizer::CLUSTER_COPIES;
use krake_proto::krake::kubernetes::v1::{
    Application, BindApplicationRequest, Binding, Cluster, ContainerHealth, Copy, Decision, Phase,
    ScoredCluster,
};
use krake_proto::krake::meta::v1::{Condition, ConditionStatus, ResourceRef};
use tonic::Status;

async fn report_as(
    client: &Client,
    uid: &str,
    cluster: ResourceRef,
    phase: Phase,
    version: i64,
) -> Result<Application, Status> {
    let health = ContainerHealth { desired_pods: i32::MAX, ..Default::default() };
    let copy =
        Copy { cluster: Some(cluster), phase: phase.into(), health: Some(health), ..Default::default() };
    report_copy(client, uid, copy, version).await
}

#[tokio::test]
async fn a_report_says_which_cluster_by_uid_and_nothing_else_about_it() {
    let World { server, uid, one, two } = world().await;
    let client = &server.client;
    bind(client, &[&one], 1, &[]).await.unwrap();
    let told = ResourceRef {
        api: "core".into(),
        kind: "Metric".into(),
        uid: reference(&one).uid,
        ..reference(&two)
    };
    let intended = report_as(client, &uid, told.clone(), Phase::Intended, 0).await.unwrap();
    assert_eq!(intended.status.as_ref().unwrap().copies[0].cluster, Some(reference(&one)));
    let held = client.api::<Cluster>().get("demo", "one").await.unwrap();
    assert_eq!(held.metadata.unwrap().finalizers, [CLUSTER_COPIES]);
    let free = client.api::<Cluster>().get("demo", "two").await.unwrap();
    assert!(free.metadata.unwrap().finalizers.is_empty());

    let running = report_as(client, &uid, told, Phase::Running, version(&intended, &one)).await.unwrap();
    assert_eq!(running.status.unwrap().running_on, Some(reference(&one)));
    let owners = running.metadata.unwrap().owners;
    assert_eq!(owners.iter().map(|owner| owner.name.as_str()).collect::<Vec<_>>(), ["one"]);
    assert_eq!(owners[0].kind, "Cluster");
}

#[tokio::test]
async fn a_report_says_only_what_belongs_to_a_copy() {
    let World { server, uid, one, .. } = world().await;
    let client = &server.client;
    bind(client, &[&one], 1, &[]).await.unwrap();
    let say = async |names: &[&str], expected_version: i64| {
        let conditions = names.iter().map(|name| Condition {
            r#type: (*name).into(),
            status: ConditionStatus::True.into(),
            ..Default::default()
        });
        let copy = Copy {
            cluster: Some(reference(&one)),
            phase: Phase::Intended.into(),
            conditions: conditions.collect(),
            ..Default::default()
        };
        report_copy(client, &uid, copy, expected_version).await
    };
    for other in ["Scheduled", "Reachable", "Other", ""] {
        let refused = say(&["Applied", other], 0).await.unwrap_err();
        let violations = krake_client::Error::from(refused).violations();
        assert_eq!(violations[0].field, "copy.conditions[1].type", "{other:?}");
    }
    let told = say(&["Applied", "Available", "example.org/Signed"], 0).await.unwrap();
    assert_eq!(told.status.as_ref().unwrap().copies[0].conditions.len(), 3);
    let again = say(&["Applied"], version(&told, &one)).await.unwrap();
    assert_eq!(again.status.unwrap().copies[0].conditions.len(), 3, "the others' stay");
}

fn decided(cluster: &Cluster, decision: Decision) -> BindApplicationRequest {
    let bound = Binding { cluster: Some(reference(cluster)), ..Default::default() };
    BindApplicationRequest { bindings: vec![bound], decision: Some(decision), ..binding() }
}

#[tokio::test]
async fn a_binding_that_cannot_be_stored_or_read_is_refused() {
    let World { server, one, .. } = world().await;
    let bind = async |request| server.client.applications().bind_application(request).await;
    let large = Decision { reason: "x".repeat(1_100_000), ..Default::default() };
    assert_eq!(why(bind(decided(&one, large)).await), Some(ErrorReason::InvalidField));
    let score = ScoredCluster { score: f64::NAN, ..Default::default() };
    let odd = Decision { runner_up: Some(score), ..Default::default() };
    assert_eq!(why(bind(decided(&one, odd)).await), Some(ErrorReason::InvalidField));
    for wrong in ["", "a/b", &"x".repeat(100_000)] {
        let cluster = ResourceRef { name: wrong.into(), ..Default::default() };
        let request = BindApplicationRequest { cluster: Some(cluster), ..binding() };
        assert_eq!(why(bind(request).await), Some(ErrorReason::InvalidField));
    }
}

#[tokio::test]
async fn binding_again_writes_nothing_whatever_is_bound() {
    let World { server, one, two, .. } = world().await;
    let client = &server.client;
    let first = bind(client, &[], 1, &[]).await.unwrap();
    assert_eq!(bind(client, &[], 1, &[]).await.unwrap(), first);
    let decision = Decision { reason: "best".into(), ..Default::default() };
    let bind_one = async || {
        let request = decided(&one, decision.clone());
        client.applications().bind_application(request).await.unwrap().into_inner()
    };
    let bound = bind_one().await;
    assert_eq!(bind_one().await, bound);
    for _ in 0..6 {
        bind(client, &[&two], 1, &[&one]).await.unwrap();
        bind(client, &[&one], 1, &[&two]).await.unwrap();
    }
    let history = bind_one().await.status.unwrap().history;
    assert_eq!(history.len(), 10);
    assert_eq!(history[0].to, Some(reference(&one)));
    assert!(history.windows(2).all(|pair| pair[0].from == pair[1].to), "newest first");
}

#[tokio::test]
async fn a_cluster_is_left_only_once_its_deletion_has_begun() {
    let World { server, uid, one, .. } = world().await;
    let client = &server.client;
    bind(client, &[&one], 1, &[]).await.unwrap();
    report(client, &uid, &one, Phase::Intended, 0).await.unwrap();
    assert_eq!(why(bind(client, &[], 1, &[]).await), Some(ErrorReason::InvalidField));
    client.api::<Cluster>().delete("demo", "one", &DeleteOptions::default()).await.unwrap();
    assert!(bind(client, &[], 1, &[]).await.unwrap().status.unwrap().bindings.is_empty());
}
