//! What older versions stored is brought up to date at start, once, and nothing else is touched.

use krake_client::Client;
use krake_proto::Resource;
use krake_proto::krake::kubernetes::v1::{Application, Cluster};
use krake_proto::krake::meta::v1::{OnDelete, OwnerReference};
use krake_state::store::{Store, Txn};

use crate::support::memory;
use crate::support::server::{Server, application, cluster, stored};

/// Stores an object as an older version would have, under the given uid.
async fn put<K: Resource>(store: &dyn Store, mut object: K, name: &str, change: impl FnOnce(&mut K)) {
    let metadata = object.metadata_mut();
    (metadata.uid, metadata.generation) = (format!("uid-{name}"), 1);
    change(&mut object);
    let key = format!("/krake/{}/{}/demo/{name}", K::KIND.api, K::KIND.plural);
    store.commit(Txn::new().put(key, stored(K::KIND, &object.encode_to_vec()))).await.unwrap().unwrap();
}

fn owner(cluster: &str, uid: &str, on_delete: OnDelete) -> OwnerReference {
    OwnerReference {
        api: "kubernetes".into(),
        kind: "Cluster".into(),
        namespace: "demo".into(),
        name: cluster.into(),
        uid: uid.into(),
        on_delete: on_delete.into(),
    }
}

async fn owners(client: &Client, name: &str) -> Vec<OnDelete> {
    let application = client.api::<Application>().get("demo", name).await.unwrap();
    application.metadata.unwrap().owners.iter().map(OwnerReference::on_delete).collect()
}

#[tokio::test]
async fn references_that_a_cut_off_cascade_armed_release_again_unless_the_cluster_is_being_deleted() {
    let store = memory();
    put(store.as_ref(), cluster("stays"), "stays", |_| {}).await;
    put(store.as_ref(), cluster("goes"), "goes", |cluster: &mut Cluster| {
        cluster.metadata_mut().deleted = Some(Default::default());
        cluster.metadata_mut().finalizers = vec!["cascade_deletion".into()];
    })
    .await;
    let owned = |name: &'static str, owners: Vec<OwnerReference>| {
        let store = store.clone();
        async move {
            put(store.as_ref(), application(name), name, |object: &mut Application| {
                object.metadata_mut().owners = owners;
            })
            .await;
        }
    };
    owned(
        "armed",
        vec![owner("stays", "uid-stays", OnDelete::Delete), owner("goes", "uid-goes", OnDelete::Release)],
    )
    .await;
    owned("asked", vec![owner("goes", "uid-goes", OnDelete::Delete)]).await;
    owned("successor", vec![owner("goes", "uid-predecessor", OnDelete::Delete)]).await;
    owned("by_name", vec![owner("stays", "", OnDelete::Delete)]).await;

    let server = Server::start(store.clone()).await;
    assert_eq!(owners(&server.client, "armed").await, [OnDelete::Release, OnDelete::Release]);
    assert_eq!(owners(&server.client, "asked").await, [OnDelete::Delete], "this deletion was asked for");
    assert_eq!(owners(&server.client, "successor").await, [OnDelete::Release]);
    assert_eq!(
        owners(&server.client, "by_name").await,
        [OnDelete::Delete],
        "no binding writes such a reference"
    );
    drop(server);

    // Once only: what a user asks for later stays.
    owned("later", vec![owner("stays", "uid-stays", OnDelete::Delete)]).await;
    let server = Server::start(store).await;
    assert_eq!(owners(&server.client, "later").await, [OnDelete::Delete]);
}
