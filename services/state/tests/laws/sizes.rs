//! Laws of objects that fill their size: what the state service adds keeps them neither from changing nor from going.

use krake_client::{Client, DeleteOptions, Mask};
use krake_proto::Resource;
use krake_proto::error::ErrorReason;
use krake_proto::finalizer::CASCADE_DELETION;
use krake_proto::krake::kubernetes::v1::{Application, Cluster, Copy, ObjectRef, Phase};
use krake_proto::krake::meta::v1::ReportDeletionRequest;
use krake_state::store::Txn;
use prost::Message;
use tonic::Status;

use crate::placement::{bind, forget, reference, version, why};
use crate::support::memory;
use crate::support::requests::{remove_finalizer, report_copy};
use crate::support::server::{Server, application, cluster, stored};

/// Maximum size of an object that callers write, in bytes.
const MAX_OBJECT: usize = 1024 * 1024;
/// A finalizer of another program.
const FINALIZER: &str = "archive";

/// Reports the copy of application `a` with an object whose name has this length.
async fn report_sized(
    client: &Client,
    uid: &str,
    cluster: &Cluster,
    (phase, expected_version): (Phase, i64),
    length: usize,
) -> Result<Application, Status> {
    let object = ObjectRef { name: "x".repeat(length), ..Default::default() };
    let copy = Copy {
        cluster: Some(reference(cluster)),
        phase: phase.into(),
        inventory: vec![object],
        ..Default::default()
    };
    report_copy(client, uid, copy, expected_version).await
}

/// Records a long reason why the object's deletion waits.
async fn wait_long<K: Resource>(client: &Client, object: &K) {
    let metadata = object.metadata().unwrap();
    let request = ReportDeletionRequest {
        api: K::KIND.api.into(),
        kind: K::KIND.kind.into(),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        waits_for: "🐢".repeat(1_000),
    };
    client.objects().report_deletion(request).await.unwrap();
}

/// Removes the garbage collector's finalizer.
async fn let_dependents_go<K: Resource>(client: &Client, object: &K) {
    let metadata = object.metadata().unwrap();
    let request = remove_finalizer::<K>(&metadata.name, "", CASCADE_DELETION);
    client.objects().remove_finalizer(request).await.unwrap();
}

/// Removes the other program's finalizer by an update, as it does.
async fn pop<K: Resource>(client: &Client, name: &str) -> K {
    let api = client.api::<K>();
    let mut object = api.get("demo", name).await.unwrap();
    object.metadata_mut().resource_version = 0;
    object.metadata_mut().finalizers.retain(|finalizer| finalizer != FINALIZER);
    api.update(&object, Mask::fields(["metadata.finalizers"])).await.unwrap()
}

#[tokio::test]
async fn a_large_application_lives_from_its_creation_over_copies_to_its_erasure() {
    let server = Server::start(memory()).await;
    let client = &server.client;
    let mut wanted = application("a");
    wanted.metadata_mut().finalizers = vec![FINALIZER.into()];
    let uid = client.api().create(&wanted).await.unwrap().metadata.unwrap().uid;
    let one = client.api().create(&cluster("one")).await.unwrap();
    bind(client, &[&one], 1, &[]).await.unwrap();
    let small = report_sized(client, &uid, &one, (Phase::Intended, 0), MAX_OBJECT / 2).await.unwrap();
    let length = MAX_OBJECT / 2 + MAX_OBJECT - 1024 - small.encoded_len();
    let at = (Phase::Running, version(&small, &one));
    let full = report_sized(client, &uid, &one, at, length).await.unwrap();
    let more = (Phase::Running, version(&full, &one));
    let refused = report_sized(client, &uid, &one, more, length + 2048).await;
    assert_eq!(why(refused), Some(ErrorReason::InvalidField), "a caller makes no object larger than allowed");

    let applications = client.api::<Application>();
    let deleted = applications.delete("demo", "a", &DeleteOptions::default()).await.unwrap();
    wait_long(client, &deleted).await;
    let at = (Phase::Removing, version(&deleted, &one));
    let removing = report_sized(client, &uid, &one, at, length).await.unwrap();
    assert!(removing.encoded_len() > MAX_OBJECT);
    let_dependents_go(client, &removing).await;
    let popped: Application = pop(client, "a").await;
    forget(client, &uid, &one, version(&popped, &one)).await.unwrap();
    assert!(applications.get("demo", "a").await.unwrap_err().is_not_found());
}

/// Has cluster `one` grow to this size, as an older version may have stored it.
async fn grown(client: &Client, store: &dyn krake_state::store::Store, size: usize) -> Cluster {
    let mut wanted = cluster("one");
    wanted.metadata_mut().finalizers = vec![FINALIZER.into()];
    let mut large = client.api().create(&wanted).await.unwrap();
    large.metadata_mut().resource_version = 0;
    let version = "x".repeat(size - large.encoded_len());
    large.status.get_or_insert_default().kubernetes_version = version;
    let value = stored(Cluster::KIND, &large.encode_to_vec());
    store.commit(Txn::new().put("/krake/kubernetes/clusters/demo/one", value)).await.unwrap().unwrap();
    large
}

#[tokio::test]
async fn the_owner_of_the_last_finalizer_lets_a_large_object_go() {
    let store = memory();
    let server = Server::start(store.clone()).await;
    let client = &server.client;
    grown(client, store.as_ref(), MAX_OBJECT - 1024).await;
    let clusters = client.api::<Cluster>();
    let deleted = clusters.delete("demo", "one", &DeleteOptions::default()).await.unwrap();
    wait_long(client, &deleted).await;
    let mut report = deleted.clone();
    report.metadata_mut().resource_version = 0;
    report.status.get_or_insert_default().kubernetes_version.push_str("-observed");
    clusters.update_status(&report, Mask::fields(["status.kubernetes_version"])).await.unwrap();
    let_dependents_go(client, &deleted).await;
    let _: Cluster = pop(client, "one").await;
    assert!(clusters.get("demo", "one").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn what_is_too_large_by_additions_may_change_and_shrink_but_not_grow() {
    let store = memory();
    let server = Server::start(store.clone()).await;
    let client = &server.client;
    let mut large = grown(client, store.as_ref(), MAX_OBJECT + 1024).await;
    let clusters = client.api::<Cluster>();
    let mask = || Mask::fields(["status.kubernetes_version"]);
    let version = &mut large.status.get_or_insert_default().kubernetes_version;
    version.push_str("-observed");
    let error = clusters.update_status(&large, mask()).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::InvalidField));
    let version = &mut large.status.get_or_insert_default().kubernetes_version;
    version.truncate(version.len() - 50);
    let after = clusters.update_status(&large, mask()).await.unwrap();
    assert!(after.encoded_len() > MAX_OBJECT);
}
