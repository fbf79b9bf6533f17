//! Laws of clusters that a person declared lost.

use krake_client::Mask;
use krake_proto::krake::kubernetes::v1::{
    AcceptClusterIdentityRequest, Application, Cluster, ClusterIdentity, ClusterState, ClusterStatus,
    DeclareClusterLostRequest, Phase,
};
use krake_proto::krake::meta::v1::CheckTombstonesRequest;
use tonic::Code;

use crate::placement::{bind, forget, report, version};
use crate::support::memory;
use crate::support::server::{Server, application, cluster};

fn request(uid: &str) -> DeclareClusterLostRequest {
    DeclareClusterLostRequest { namespace: "demo".into(), name: "one".into(), uid: uid.into() }
}

#[tokio::test]
async fn a_declaration_is_recorded_once_and_frees_the_applications() {
    let server = Server::start(memory()).await;
    let client = &server.client;
    let one: Cluster = client.api().create(&cluster("one")).await.unwrap();
    let two: Cluster = client.api().create(&cluster("two")).await.unwrap();
    client.api().create(&application("a")).await.unwrap();
    bind(client, &[&one], 1, &[]).await.unwrap();
    assert_eq!(bind(client, &[], 1, &[]).await.unwrap_err().code(), Code::InvalidArgument);

    let wrong = client.clusters().declare_cluster_lost(request("another")).await.unwrap_err();
    assert_eq!(wrong.code(), Code::Aborted);
    let uid = one.metadata.as_ref().unwrap().uid.clone();
    let declared = client.clusters().declare_cluster_lost(request(&uid)).await.unwrap().into_inner();
    let status = declared.status.clone().unwrap();
    let lost = status.lost.clone().unwrap();
    assert!(!lost.declared_by.is_empty() && lost.declared.is_some(), "{lost:?}");
    assert_eq!(status.state(), ClusterState::Failed);
    assert!(status.reason.unwrap().message.contains(&lost.declared_by));
    let again = client.clusters().declare_cluster_lost(request("")).await.unwrap().into_inner();
    assert_eq!(again, declared);

    // Neither can an adapter take it back.
    let forged = Cluster { status: Some(ClusterStatus::default()), ..declared.clone() };
    assert!(client.api().update_status(&forged, Mask::fields(["status.lost"])).await.is_err());

    bind(client, &[], 1, &[]).await.unwrap();
    assert_eq!(bind(client, &[&one], 1, &[]).await.unwrap_err().code(), Code::InvalidArgument);
    bind(client, &[&two], 1, &[]).await.unwrap();
}

#[tokio::test]
async fn nothing_new_begins_on_a_lost_cluster() {
    let server = Server::start(memory()).await;
    let client = &server.client;
    let one: Cluster = client.api().create(&cluster("one")).await.unwrap();
    let application = client.api().create(&application("a")).await.unwrap();
    bind(client, &[&one], 1, &[]).await.unwrap();
    client.clusters().declare_cluster_lost(request("")).await.unwrap();
    // An adapter that has not heard of it yet.
    let refused =
        report(client, &application.metadata.unwrap().uid, &one, Phase::Intended, 0).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("declared lost"), "{refused}");
}

#[tokio::test]
async fn another_cluster_takes_the_name_and_nothing_of_the_former_one() {
    let server = Server::start(memory()).await;
    let client = &server.client;
    let mut north = cluster("one");
    north.metadata.get_or_insert_default().labels.insert("zone".into(), "north".into());
    let one: Cluster = client.api().create(&north).await.unwrap();
    let two: Cluster = client.api().create(&cluster("two")).await.unwrap();
    let created: Application = client.api().create(&application("a")).await.unwrap();
    let uid = created.metadata.unwrap().uid;
    bind(client, &[&one], 1, &[]).await.unwrap();
    let intended = report(client, &uid, &one, Phase::Intended, 0).await.unwrap();
    report(client, &uid, &one, Phase::Running, version(&intended, &one)).await.unwrap();
    let accept = async |uid: &str| {
        let (namespace, name) = ("demo".to_owned(), "one".to_owned());
        let request = AcceptClusterIdentityRequest { namespace, name, uid: uid.into() };
        client.clusters().accept_cluster_identity(request).await
    };
    assert_eq!(accept("").await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(accept("another").await.unwrap_err().code(), Code::Aborted);
    let known = Cluster {
        status: Some(ClusterStatus {
            identity: Some(ClusterIdentity { kube_system_uid: "k".into(), ..Default::default() }),
            ..ClusterStatus::default()
        }),
        ..client.api::<Cluster>().get("demo", "one").await.unwrap()
    };
    client.api().update_status(&known, Mask::fields(["status.identity"])).await.unwrap();

    let former = one.metadata.clone().unwrap();
    let begun = accept(&former.uid).await.unwrap().into_inner();
    let metadata = begun.metadata.clone().unwrap();
    assert_ne!(metadata.uid, former.uid);
    assert_eq!((&metadata.labels, metadata.generation), (&former.labels, 1));
    assert_eq!((&metadata.finalizers, &begun.spec), (&former.finalizers, &one.spec));
    let status = begun.status.clone().unwrap();
    assert_eq!((&status.identity, &status.lost), (&None, &None));
    // Who gave the former one up, and when, is recorded as by a declaration.
    let replaced = status.replaced.unwrap();
    let lost = replaced.lost.clone().unwrap();
    assert_eq!(replaced.uid, former.uid);
    assert!(!lost.declared_by.is_empty(), "{lost:?}");
    assert_eq!(lost.declared, metadata.created, "the one begins when the other is given up");
    let forged = Cluster { status: Some(ClusterStatus::default()), ..begun };
    assert!(client.api().update_status(&forged, Mask::fields(["status.replaced"])).await.is_err());
    let request = CheckTombstonesRequest { uids: vec![former.uid.clone(), metadata.uid.clone()] };
    let erased = client.objects().check_tombstones(request).await.unwrap().into_inner().erased;
    assert_eq!(erased, std::slice::from_ref(&former.uid));
    assert_eq!(accept(&former.uid).await.unwrap_err().code(), Code::Aborted, "it ends once");

    // The copy is forgotten, and the application goes elsewhere.
    let shown: Application = client.api().get("demo", "a").await.unwrap();
    forget(client, &uid, &one, version(&shown, &one)).await.unwrap();
    bind(client, &[&two], 1, &[&one]).await.unwrap();
}

#[tokio::test]
async fn the_first_declaration_stays_when_another_cluster_is_accepted_later() {
    let server = Server::start(memory()).await;
    let client = &server.client;
    client.api::<Cluster>().create(&cluster("one")).await.unwrap();
    let declared = client.clusters().declare_cluster_lost(request("")).await.unwrap().into_inner();
    let former = declared.metadata.unwrap().uid;
    let (namespace, name) = ("demo".to_owned(), "one".to_owned());
    let accept = AcceptClusterIdentityRequest { namespace, name, uid: former.clone() };
    let begun = client.clusters().accept_cluster_identity(accept).await.unwrap().into_inner();
    let replaced = begun.status.unwrap().replaced.unwrap();
    assert_eq!((replaced.uid, replaced.lost), (former, declared.status.unwrap().lost));
}
