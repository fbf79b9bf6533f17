//! Laws of clusters that a person declared lost.

use krake_client::Mask;
use krake_proto::krake::kubernetes::v1::{
    Cluster, ClusterState, ClusterStatus, DeclareClusterLostRequest, Phase,
};
use tonic::Code;

use crate::placement::{bind, report};
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
