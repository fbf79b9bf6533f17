//! Laws of deletion at its edges: who may let an object go, and what a refused deletion leaves alone.

use crate::placement::{World, bind, forget, report, version, why, world};
use crate::support::server::{Server, application, named};
use crate::support::{have_etcd, memory, shared_etcd};
use krake_client::{DeleteOptions, Mask, ObjectKey};
use krake_proto::Resource;
use krake_proto::error::ErrorReason;
use krake_proto::finalizer::{CASCADE_DELETION, CLUSTER_COPIES, KUBERNETES_RESOURCES};
use krake_proto::krake::kubernetes::v1::{Application, Cluster, Phase};
use krake_proto::krake::meta::v1::{CheckTombstonesRequest, OnDelete};

fn key<K: Resource>(name: &str) -> ObjectKey {
    let metadata = named("demo", name).unwrap();
    ObjectKey::from(&K::KIND.reference(&metadata))
}

#[tokio::test]
async fn nobody_lets_go_of_what_still_has_copies() {
    let World { server, uid, one, .. } = world().await;
    let client = &server.client;
    bind(client, &[&one], 1, &[]).await.unwrap();
    let intended = report(client, &uid, &one, Phase::Intended, 0).await.unwrap();
    let early = client.remove_finalizer(&key::<Cluster>("one"), "", CLUSTER_COPIES).await;
    assert_eq!(early.unwrap_err().reason(), Some(ErrorReason::FinalizersInUse), "it is not being deleted");
    client.api::<Application>().delete("demo", "a", &DeleteOptions::default()).await.unwrap();
    client.api::<Cluster>().delete("demo", "one", &DeleteOptions::default()).await.unwrap();

    let application = key::<Application>("a");
    let error = client.remove_finalizer(&application, "", KUBERNETES_RESOURCES).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::FinalizersInUse));
    let error = client.remove_finalizer(&key::<Cluster>("one"), "", CLUSTER_COPIES).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::FinalizersInUse));
    let without = Mask::fields(["metadata.finalizers"]);
    let bare = Application { metadata: named("demo", "a"), ..Default::default() };
    let error = client.api().update(&bare, without.clone()).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::FinalizersInUse));
    let bare = Cluster { metadata: named("demo", "one"), ..Default::default() };
    let error = client.api().update(&bare, without).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::FinalizersInUse));

    client.remove_finalizer(&application, "", CASCADE_DELETION).await.unwrap();
    forget(client, &uid, &one, version(&intended, &one)).await.unwrap();
    assert!(client.api::<Application>().get("demo", "a").await.unwrap_err().is_not_found());
    client.remove_finalizer(&key::<Cluster>("one"), "", CLUSTER_COPIES).await.unwrap();
    client.remove_finalizer(&key::<Cluster>("one"), "", CASCADE_DELETION).await.unwrap();
    assert!(client.api::<Cluster>().get("demo", "one").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_finalizer_for_copies_without_any_does_not_hold_an_application() {
    let server = Server::start(memory()).await;
    let api = server.client.api::<Application>();
    let mut exported = application("a");
    exported.metadata.as_mut().unwrap().finalizers = vec!["mine".into(), KUBERNETES_RESOURCES.into()];
    api.create(&exported).await.unwrap();
    let deleted = api.delete("demo", "a", &DeleteOptions::default()).await.unwrap();
    assert_eq!(deleted.metadata.unwrap().finalizers, ["mine", CASCADE_DELETION]);
}

#[tokio::test]
async fn a_refused_cascade_leaves_the_dependents_alone() {
    let World { server, one, .. } = world().await;
    let client = &server.client;
    let bound = bind(client, &[&one], 1, &[]).await.unwrap();
    let version = one.metadata.as_ref().unwrap().resource_version;
    let options = |resource_version| DeleteOptions { cascade: true, resource_version, ..Default::default() };
    let clusters = client.api::<Cluster>();
    assert!(clusters.delete("demo", "one", &options(version + 1)).await.unwrap_err().is_conflict());
    assert_eq!(client.api::<Application>().get("demo", "a").await.unwrap(), bound);
    clusters.delete("demo", "one", &options(version)).await.unwrap();
    let owned = client.api::<Application>().get("demo", "a").await.unwrap();
    assert_eq!(owned.metadata.unwrap().owners[0].on_delete(), OnDelete::Delete);
    assert_eq!(why(bind(client, &[&one], 1, &[]).await), Some(ErrorReason::BeingDeleted));
}

#[tokio::test]
async fn what_is_no_uid_was_never_erased() {
    if !have_etcd() {
        return;
    }
    let server = Server::start(shared_etcd().await).await;
    let uids = vec![String::new(), "../_epoch".into(), "x".repeat(2_000_000)];
    let answer = server.client.objects().check_tombstones(CheckTombstonesRequest { uids }).await.unwrap();
    assert!(answer.into_inner().erased.is_empty());
}
