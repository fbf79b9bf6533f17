//! Laws of values that this version cannot read: they hurt nobody else, and never look erased.

use crate::placement::{bind, reference, report};
use crate::support::requests::remove_finalizer;
use crate::support::server::{Server, application, cluster, metric, named, stored};
use crate::support::{PATIENCE, memory};
use futures::StreamExt;
use krake_client::{DeleteOptions, ListOptions, Mask, ObjectKey, WatchEvent, WatchOptions};
use krake_proto::Resource;
use krake_proto::error::ErrorReason;
use krake_proto::finalizer::{CASCADE_DELETION, CLUSTER_COPIES};
use krake_proto::krake::core::v1::Metric;
use krake_proto::krake::kubernetes::v1::{Application, Cluster, Phase};
use krake_proto::krake::meta::v1::View;
use krake_proto::wire::delimited;
use krake_state::store::Txn;
use prost::Message;

fn name(metric: &Metric) -> &str {
    &metric.metadata.as_ref().unwrap().name
}

#[tokio::test]
async fn a_value_of_a_newer_version_does_not_look_erased_and_is_not_overwritten() {
    let store = memory();
    let server = Server::start(store.clone()).await;
    let api = server.client.api::<Metric>();
    api.create(&metric("demo", "m", 1.0)).await.unwrap();
    let mut watch = api.watch(WatchOptions::namespace("demo"));
    while !matches!(watch.next().await.unwrap().unwrap(), WatchEvent::Synced { .. }) {}
    let newer = Txn::new().put("/krake/core/metrics/demo/m", "KRK\u{9}from the future");
    store.commit(newer).await.unwrap().unwrap();
    api.create(&metric("demo", "other", 1.0)).await.unwrap();
    let seen = tokio::time::timeout(PATIENCE, async {
        loop {
            match watch.next().await.unwrap().unwrap() {
                WatchEvent::Applied { object, .. } if name(&object) == "other" => return,
                WatchEvent::Deleted(object) => panic!("{} was told to be erased", name(&object)),
                _ => {}
            }
        }
    });
    seen.await.unwrap();

    let read = api.get("demo", "m").await.map(|_| ());
    assert!(read.is_ok(), "the last state that could be read is shown: {read:?}");
    let mut label = Metric { metadata: named("demo", "m"), ..Default::default() };
    label.metadata.as_mut().unwrap().labels.insert("tier".into(), "edge".into());
    let error = api.update(&label, Mask::fields(["metadata.labels"])).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::Internal));
    let raw = store.get(&"/krake/core/metrics/demo/m".into()).await.unwrap().unwrap();
    assert!(raw.value.ends_with(b"from the future"));
}

#[tokio::test]
async fn a_list_leaves_it_out_on_every_page() {
    let store = memory();
    for index in [1, 2] {
        let key = format!("/krake/core/metrics/demo/m{index}");
        store.commit(Txn::new().put(key.as_str(), "not ours")).await.unwrap().unwrap();
    }
    let server = Server::start(store).await;
    let api = server.client.api::<Metric>();
    let error = api.get("demo", "m1").await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::Internal), "it is there, so it is not \"not found\"");
    for index in [0, 3, 4] {
        api.create(&metric("demo", &format!("m{index}"), 1.0)).await.unwrap();
    }
    for page_size in 1..4 {
        let listed = api.list("demo", &ListOptions { page_size, ..Default::default() }).await.unwrap();
        let names: Vec<&str> = listed.items.iter().map(name).collect();
        assert_eq!(names, ["m0", "m3", "m4"], "pages of {page_size}");
    }
}

/// A cluster whose spec is no message, as it is stored.
fn broken(name: &str) -> Vec<u8> {
    let bare = Cluster { metadata: named("demo", name), ..Default::default() };
    stored(Cluster::KIND, &[bare.encode_to_vec().as_slice(), &[0x12, 1, 0xff]].concat())
}

fn named_cluster(cluster: &Cluster) -> &str {
    &cluster.metadata.as_ref().unwrap().name
}

#[tokio::test]
async fn an_object_that_a_view_cannot_show_does_not_hide_the_others() {
    let store = memory();
    let key = |name: &str| format!("/krake/kubernetes/clusters/demo/{name}");
    store.commit(Txn::new().put(key("broken"), broken("broken"))).await.unwrap().unwrap();
    let server = Server::start(store.clone()).await;
    let api = server.client.api::<Cluster>();
    api.create(&cluster("good")).await.unwrap();
    let basic = ListOptions { view: View::Basic, ..Default::default() };
    let listed = api.list("demo", &basic).await.unwrap();
    assert_eq!(listed.items.iter().map(named_cluster).collect::<Vec<_>>(), ["good"]);

    let mut watch = api.watch(WatchOptions { view: View::Basic, ..WatchOptions::namespace("demo") });
    let mut next = async || tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap().unwrap();
    assert!(matches!(next().await, WatchEvent::Restarted));
    assert!(matches!(next().await, WatchEvent::Applied { object, .. } if named_cluster(&object) == "good"));
    assert!(matches!(next().await, WatchEvent::Synced { .. }));
    store.commit(Txn::new().put(key("good"), broken("good"))).await.unwrap().unwrap();
    api.create(&cluster("later")).await.unwrap();
    loop {
        match next().await {
            WatchEvent::Applied { object, .. } if named_cluster(&object) == "later" => break,
            WatchEvent::Applied { object, .. } => panic!("{} cannot be shown", named_cluster(&object)),
            WatchEvent::Deleted(object) => panic!("{} is not erased", named_cluster(&object)),
            _ => {}
        }
    }
    // The receiver must forget what it knew of it.
    store.commit(Txn::new().delete(key("good"))).await.unwrap().unwrap();
    loop {
        match next().await {
            WatchEvent::Deleted(object) => {
                assert_eq!((named_cluster(&object), &object.spec), ("good", &None));
                break;
            }
            WatchEvent::Applied { .. } => panic!("nothing was written"),
            _ => {}
        }
    }
}

#[rstest::rstest]
#[case::that_was_readable_before(false)]
#[case::that_was_never_readable(true)]
#[tokio::test]
async fn a_move_from_a_cluster_that_cannot_be_read_is_refused_by_its_name(#[case] restarted: bool) {
    let store = memory();
    let mut server = Server::start(store.clone()).await;
    server.client.api().create(&application("a")).await.unwrap();
    let one: Cluster = server.client.api().create(&cluster("one")).await.unwrap();
    let two: Cluster = server.client.api().create(&cluster("two")).await.unwrap();
    bind(&server.client, &[&one], 1, &[]).await.unwrap();
    let key = "/krake/kubernetes/clusters/demo/one";
    let before = store.get(&key.into()).await.unwrap().unwrap().value;
    store.commit(Txn::new().put(key, "KRK\u{9}from the future")).await.unwrap().unwrap();
    if restarted {
        server.stop().await;
        server = Server::start(store.clone()).await;
    }
    let refused = bind(&server.client, &[&two], 1, &[&one]).await.unwrap_err();
    assert!(refused.message().contains(key), "{refused}");
    assert_eq!(krake_proto::error::reason(&refused), Some(ErrorReason::Internal));
    let refused = bind(&server.client, &[&one], 1, &[&one]).await.unwrap_err();
    assert!(refused.message().contains(key), "it is not said to be absent: {refused}");
    store.commit(Txn::new().put(key, before)).await.unwrap().unwrap();
    bind(&server.client, &[&two], 1, &[&one]).await.unwrap();
}

/// What is wrong with an application's stored value.
#[derive(Clone, Copy)]
enum Fault {
    /// Its copies cannot be told apart from the rest.
    Index,
    /// Its copies can be read, another field cannot.
    Field,
    /// Nothing can be read.
    Whole,
}

#[rstest::rstest]
#[case::index(Fault::Index, "Application \"a\" in namespace \"demo\"")]
#[case::field(Fault::Field, "Application \"a\" in namespace \"demo\"")]
#[case::whole(Fault::Whole, "/krake/kubernetes/applications/demo/a")]
#[tokio::test]
async fn a_cluster_does_not_go_while_an_application_cannot_be_read(
    #[case] fault: Fault,
    #[case] named: &str,
    #[values(false, true)] restarted: bool,
) {
    let store = memory();
    let mut server = Server::start(store.clone()).await;
    let uid = server.client.api().create(&application("a")).await.unwrap().metadata.unwrap().uid;
    let one: Cluster = server.client.api().create(&cluster("one")).await.unwrap();
    bind(&server.client, &[&one], 1, &[]).await.unwrap();
    let mut held = report(&server.client, &uid, &one, Phase::Intended, 0).await.unwrap();
    server.client.api::<Cluster>().delete("demo", "one", &DeleteOptions::default()).await.unwrap();

    let status = held.status.take().unwrap().encode_to_vec();
    held.metadata.as_mut().unwrap().resource_version = 0;
    let with =
        |status: &[u8]| stored(Application::KIND, &[held.encode_to_vec(), delimited(3, status)].concat());
    let value = match fault {
        Fault::Index => with(&[status.as_slice(), &[0xff]].concat()),
        // The state as a text.
        Fault::Field => with(&[status.as_slice(), &delimited(1, b"running")].concat()),
        Fault::Whole => b"KRK\x09from the future".to_vec(),
    };
    let key = "/krake/kubernetes/applications/demo/a";
    store.commit(Txn::new().put(key, value)).await.unwrap().unwrap();
    if restarted {
        server.stop().await;
        server = Server::start(store.clone()).await;
    }
    let remove = remove_finalizer::<Cluster>("one", &reference(&one).uid, CLUSTER_COPIES);
    let refused = server.client.objects().remove_finalizer(remove.clone()).await.unwrap_err();
    assert!(refused.message().contains(named), "{refused}");
    assert_eq!(krake_proto::error::reason(&refused), Some(ErrorReason::FinalizersInUse));
    store.commit(Txn::new().delete(key)).await.unwrap().unwrap();
    server.client.objects().remove_finalizer(remove).await.unwrap();
}

fn key_of(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey::from(&Metric::KIND.reference(&named(namespace, name).unwrap()))
}

/// Begins the deletion of a new object; its key.
async fn deleted(server: &Server, namespace: &str, name: &str, cascade: bool) -> ObjectKey {
    let metrics = server.client.api::<Metric>();
    metrics.create(&metric(namespace, name, 1.0)).await.unwrap();
    let options = DeleteOptions { cascade, ..Default::default() };
    metrics.delete(namespace, name, &options).await.unwrap();
    key_of(namespace, name)
}

/// The garbage collector sees no object that cannot be read, so it finds nothing that belongs to the owner.
#[rstest::rstest]
#[tokio::test]
async fn an_owner_is_not_released_while_an_object_that_may_belong_to_it_cannot_be_read(
    #[values(false, true)] restarted: bool,
) {
    let store = memory();
    let mut server = Server::start(store.clone()).await;
    let unread = "/krake/core/metrics/demo/unread";
    server.client.api().create(&metric("demo", "unread", 1.0)).await.unwrap();
    let readable = store.get(&unread.into()).await.unwrap().unwrap().value;
    store.commit(Txn::new().put(unread, "KRK\u{9}from the future")).await.unwrap().unwrap();
    if restarted {
        server.stop().await;
        server = Server::start(store.clone()).await;
    }
    let client = &server.client;
    let elsewhere = deleted(&server, "other", "plain", false).await;
    client.remove_finalizer(&elsewhere, "", CASCADE_DELETION).await.unwrap();
    let held = [
        deleted(&server, "demo", "owner", false).await,
        deleted(&server, "", "global", false).await,
        deleted(&server, "other", "cascade", true).await,
    ];
    for owner in &held {
        let refused = client.remove_finalizer(owner, "", CASCADE_DELETION).await.unwrap_err();
        assert_eq!(refused.reason(), Some(ErrorReason::FinalizersInUse), "{owner}");
        assert!(refused.to_string().contains(unread), "{refused}");
    }
    store.commit(Txn::new().put(unread, readable)).await.unwrap().unwrap();
    for owner in &held {
        client.remove_finalizer(owner, "", CASCADE_DELETION).await.unwrap();
    }
    let left = client.api::<Metric>().list("-", &ListOptions::default()).await.unwrap();
    assert_eq!(left.items.iter().map(name).collect::<Vec<_>>(), ["unread"]);
}
