//! Laws of attempts to bring an application to a cluster: which of them are recorded, and when they count no more.

use crate::placement::{World, bind, reference, version, why, world};
use crate::support::requests::report_copy;
use krake_client::{Client, DeleteOptions};
use krake_proto::condition::{reasons, types};
use krake_proto::error::ErrorReason;
use krake_proto::krake::kubernetes::v1::{
    Application, Cluster, Copy, FailureClass, Phase, RetryApplicationRequest,
};
use krake_proto::krake::meta::v1::{Condition, ConditionStatus};

/// Records a first attempt on a cluster that failed at once.
async fn fail(client: &Client, application: &Application, cluster: &Cluster, generation: i64, why: &str) {
    let metadata = application.metadata.clone().unwrap();
    let condition = Condition {
        r#type: types::APPLIED.into(),
        status: ConditionStatus::False.into(),
        reason: reasons::KUBERNETES_ERROR.into(),
        message: why.into(),
        ..Default::default()
    };
    let intended = Copy {
        cluster: Some(reference(cluster)),
        phase: Phase::Intended.into(),
        observed_generation: generation,
        ..Default::default()
    };
    let failed = Copy {
        phase: Phase::Failed.into(),
        conditions: vec![condition],
        failure: FailureClass::OfCluster.into(),
        ..intended.clone()
    };
    let copies = &application.status.as_ref().unwrap().copies;
    let present = copies.iter().find(|copy| copy.cluster == Some(reference(cluster)));
    let mut expected_version = present.map_or(0, |copy| copy.version);
    for copy in [intended, failed] {
        let after = report_copy(client, &metadata.uid, copy, expected_version).await.unwrap();
        expected_version = version(&after, cluster);
    }
}

fn attempts(application: &Application) -> Vec<(String, i64)> {
    let attempts = application.status.as_ref().unwrap().failed_attempts.iter();
    attempts.map(|attempt| (attempt.cluster.clone().unwrap().name, attempt.generation)).collect()
}

#[tokio::test]
async fn a_failed_copy_that_is_left_is_an_attempt_that_counts_for_its_generation() {
    let World { server, one, two, .. } = world().await;
    let client = &server.client;
    let bound = bind(client, &[&one], 1, &[]).await.unwrap();
    let why = format!("denied: {} field is immutable", "x".repeat(3000));
    fail(client, &bound, &one, 1, &why).await;
    let left = bind(client, &[&two], 1, &[&one]).await.unwrap();
    assert_eq!(attempts(&left), [("one".to_owned(), 1)]);
    let attempt = &left.status.as_ref().unwrap().failed_attempts[0];
    assert_eq!(attempt.failure(), FailureClass::OfCluster);
    assert!(attempt.message.len() <= 300 && attempt.message.ends_with("field is immutable"));
    assert_eq!(attempt.time, left.status.as_ref().unwrap().history[0].time, "as the move that follows");

    // A copy that did not fail is no failed attempt; what is recorded stays.
    let back = bind(client, &[&one], 1, &[&two]).await.unwrap();
    assert_eq!(attempts(&back), [("one".to_owned(), 1)]);

    // At another generation the attempts of the former one go with the first that failed.
    let mut changed = back.clone();
    changed.spec.as_mut().unwrap().adopt_existing = true;
    let changed =
        client.api().update(&changed, krake_client::Mask::fields(["spec.adopt_existing"])).await.unwrap();
    assert_eq!(attempts(&changed), [("one".to_owned(), 1)]);
    let bound = bind(client, &[&one], 2, &[]).await.unwrap();
    fail(client, &bound, &one, 2, "no").await;
    let left = bind(client, &[&two], 2, &[&one]).await.unwrap();
    assert_eq!(attempts(&left), [("one".to_owned(), 2)]);
}

#[tokio::test]
async fn a_retry_begins_all_counts_anew_and_changes_nothing_else() {
    let World { server, uid, one, two } = world().await;
    let client = &server.client;
    let retry =
        |uid: &str| RetryApplicationRequest { namespace: "demo".into(), name: "a".into(), uid: uid.into() };
    let bound = bind(client, &[&one], 1, &[]).await.unwrap();
    fail(client, &bound, &one, 1, "no").await;
    let left = bind(client, &[&two], 1, &[&one]).await.unwrap();
    let mut exhausted = left.clone();
    let status = exhausted.status.get_or_insert_default();
    (status.retries, status.scheduled_retry) = (Some(0), Some(Default::default()));
    let fields = krake_client::Mask::fields(["status.retries", "status.scheduled_retry"]);
    let before = client.api().update_status(&exhausted, fields).await.unwrap();

    let after = client.applications().retry_application(retry(&uid)).await.unwrap().into_inner();
    let status = after.status.as_ref().unwrap();
    assert_eq!((status.retry_requests, status.retries, status.scheduled_retry), (1, None, None));
    assert_eq!(attempts(&after), []);
    let mut restored = after.clone();
    let (then, now) = (before.status.as_ref().unwrap(), restored.status.as_mut().unwrap());
    now.failed_attempts.clone_from(&then.failed_attempts);
    (now.retries, now.scheduled_retry, now.retry_requests) = (then.retries, then.scheduled_retry, 0);
    assert_eq!(restored.status, before.status);
    assert_eq!(restored.metadata.unwrap().generation, 1);

    let again = client.applications().retry_application(retry("")).await.unwrap().into_inner();
    assert_eq!(again.status.unwrap().retry_requests, 2);
    let other = client.applications().retry_application(retry("another")).await;
    assert_eq!(why(other), Some(ErrorReason::Conflict));
    client.api::<Application>().delete("demo", "a", &DeleteOptions::default()).await.unwrap();
    let deleted = client.applications().retry_application(retry(&uid)).await;
    assert_eq!(why(deleted), Some(ErrorReason::BeingDeleted));
}
