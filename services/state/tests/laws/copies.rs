//! Laws of copies that come, go and come again, and of clusters that go while they are bound.

use crate::placement::{World, bind, forget, reference, report, version, why, world};
use crate::support::memory;
use crate::support::server::{Server, application, cluster, stored};
use krake_client::DeleteOptions;
use krake_proto::Resource;
use krake_proto::error::ErrorReason;
use krake_proto::krake::kubernetes::v1::{Application, Cluster, Phase};
use krake_state::store::Txn;
use prost::Message;

#[tokio::test]
async fn the_version_of_a_forgotten_copy_never_comes_back() {
    let World { server, uid, one, two } = world().await;
    let client = &server.client;
    bind(client, &[&one], 1, &[]).await.unwrap();
    let mut highest = 0;
    for _ in 0..3 {
        let first = report(client, &uid, &one, Phase::Intended, 0).await.unwrap();
        assert!(version(&first, &one) > highest, "{} after {highest}", version(&first, &one));
        let mut copy = first;
        for phase in [Phase::Applying, Phase::Running, Phase::Failed, Phase::Running] {
            let next = report(client, &uid, &one, phase, version(&copy, &one)).await.unwrap();
            assert!(version(&next, &one) > version(&copy, &one), "it rises with each report");
            copy = next;
        }
        highest = version(&copy, &one);
        bind(client, &[&two], 1, &[&one]).await.unwrap();
        forget(client, &uid, &one, highest).await.unwrap();
        bind(client, &[&one], 1, &[&two]).await.unwrap();
    }
    report(client, &uid, &one, Phase::Intended, 0).await.unwrap();
    let late = report(client, &uid, &one, Phase::Running, highest).await;
    assert_eq!(why(late), Some(ErrorReason::Conflict), "a report about a copy that is gone");
    assert_eq!(why(forget(client, &uid, &one, highest).await), Some(ErrorReason::Conflict));
}

#[tokio::test]
async fn a_copy_on_a_cluster_that_fills_its_size_is_recorded_or_refused_by_the_clusters_name() {
    // The maximum for callers, and that with what the state service may add.
    const MAX_OBJECT: usize = 1024 * 1024;
    for (size, fits) in [(MAX_OBJECT - 1024, true), (MAX_OBJECT + 64 * 1024, false)] {
        let store = memory();
        let server = Server::start(store.clone()).await;
        let client = &server.client;
        let uid = client.api().create(&application("a")).await.unwrap().metadata.unwrap().uid;
        let one = client.api().create(&cluster("one")).await.unwrap();
        bind(client, &[&one], 1, &[]).await.unwrap();
        let mut large = one.clone();
        large.metadata.as_mut().unwrap().resource_version = 0;
        large.status.get_or_insert_default().kubernetes_version = "x".repeat(size);
        let value = stored(Cluster::KIND, &large.encode_to_vec());
        store.commit(Txn::new().put("/krake/kubernetes/clusters/demo/one", value)).await.unwrap().unwrap();
        match report(client, &uid, &one, Phase::Intended, 0).await {
            Ok(_) => assert!(fits),
            Err(refused) => {
                assert!(!fits && refused.message().contains("Cluster \"one\""), "{refused}");
                assert!(refused.message().contains("are allowed"), "{refused}");
                continue;
            }
        }
        // Its deletion needs room too.
        client.api::<Cluster>().delete("demo", "one", &DeleteOptions::default()).await.unwrap();
    }
}

/// What happened to a cluster with a running copy before the report that the copy goes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    BoundElsewhere,
    BoundAgain,
    RemovalBegun,
    ApplicationDeleted,
    ClusterDeleted,
}

#[rstest::rstest]
#[case::bound(Before::Nothing, false)]
#[case::bound_elsewhere(Before::BoundElsewhere, true)]
#[case::bound_again(Before::BoundAgain, false)]
#[case::begun_before_it_was_bound_again(Before::RemovalBegun, true)]
#[case::application_deleted(Before::ApplicationDeleted, true)]
#[case::cluster_deleted(Before::ClusterDeleted, true)]
#[tokio::test]
async fn a_copy_goes_only_if_its_cluster_is_not_wanted(#[case] before: Before, #[case] accepted: bool) {
    let World { server, uid, one, two } = world().await;
    let client = &server.client;
    bind(client, &[&one], 1, &[]).await.unwrap();
    let intended = report(client, &uid, &one, Phase::Intended, 0).await.unwrap();
    let mut copy = report(client, &uid, &one, Phase::Running, version(&intended, &one)).await.unwrap();
    if matches!(before, Before::BoundElsewhere | Before::BoundAgain | Before::RemovalBegun) {
        bind(client, &[&two], 1, &[&one]).await.unwrap();
    }
    if before == Before::RemovalBegun {
        copy = report(client, &uid, &one, Phase::Removing, version(&copy, &one)).await.unwrap();
    }
    if matches!(before, Before::BoundAgain | Before::RemovalBegun) {
        bind(client, &[&one], 1, &[&two]).await.unwrap();
    }
    let options = DeleteOptions::default();
    match before {
        Before::ApplicationDeleted => {
            client.api::<Application>().delete("demo", "a", &options).await.unwrap();
        }
        Before::ClusterDeleted => {
            client.api::<Cluster>().delete("demo", "one", &options).await.unwrap();
            // A read that shows everything written before it: the service knows of the deletion.
            client.api::<Cluster>().get("demo", "one").await.unwrap();
        }
        _ => {}
    }
    let removing = report(client, &uid, &one, Phase::Removing, version(&copy, &one)).await;
    if accepted {
        assert_eq!(removing.unwrap().status.unwrap().copies[0].phase(), Phase::Removing);
    } else {
        assert_eq!(why(removing), Some(ErrorReason::Conflict));
        report(client, &uid, &one, Phase::Running, version(&copy, &one)).await.expect("it goes on");
    }
}

#[tokio::test]
async fn nothing_is_bound_to_a_cluster_once_its_deletion_has_begun() {
    let World { server, one, .. } = world().await;
    let client = &server.client;
    let clusters = client.api::<Cluster>();
    let mut bound_to = one;
    for round in 0..40 {
        let next = client.api().create(&cluster(&format!("c{round}"))).await.unwrap();
        let name = reference(&next).name;
        let (target, options) = ([&next], DeleteOptions::default());
        let (bound, deleted) =
            tokio::join!(bind(client, &target, 1, &[]), clusters.delete("demo", &name, &options));
        let deleted = deleted.unwrap().metadata.unwrap().resource_version;
        match bound {
            Ok(bound) => {
                assert!(bound.metadata.unwrap().resource_version < deleted);
                bound_to = next;
            }
            Err(refused) => {
                let reason = krake_proto::error::reason(&refused);
                assert_eq!(reason, Some(ErrorReason::BeingDeleted), "{refused}");
            }
        }
    }
    let shown = client.api::<Application>().get("demo", "a").await.unwrap().status.unwrap();
    let last = shown.bindings.first().and_then(|binding| binding.cluster.clone());
    assert!(last.is_none_or(|last| last == reference(&bound_to)));
}
