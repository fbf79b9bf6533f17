//! Laws of several replicas over one etcd that others write to.

use krake_client::ListOptions;
use krake_proto::krake::kubernetes::v1::Application;
use krake_state::store::Txn;
use tokio::task::JoinSet;

use crate::support::server::{Server, application};
use crate::support::{Etcd, have_etcd};

#[tokio::test]
async fn a_replica_shows_what_another_one_wrote_while_others_write_to_the_same_etcd() {
    if !have_etcd() {
        return;
    }
    let etcd = Etcd::start().await;
    let (here, there) =
        (Server::start(etcd.store("/ours/").await).await, Server::start(etcd.store("/ours/").await).await);
    let others = etcd.store("/theirs/").await;
    let mut writers = JoinSet::new();
    for number in 0..4 {
        let others = others.clone();
        // Keys that look like ours but for the prefix.
        let name = format!("/krake/kubernetes/applications/demo/{number}");
        writers.spawn(async move {
            loop {
                others.commit(Txn::new().put(name.clone(), "theirs")).await.unwrap().unwrap();
            }
        });
    }
    let names = async |server: &Server| -> Vec<String> {
        let items =
            server.client.api::<Application>().list("demo", &ListOptions::default()).await.unwrap().items;
        items.into_iter().filter_map(|item| item.metadata).map(|metadata| metadata.name).collect()
    };
    let mut expected = Vec::new();
    for number in 0..20 {
        let (writer, reader) = if number % 2 == 0 { (&here, &there) } else { (&there, &here) };
        let name = format!("a{number:02}");
        writer.client.api::<Application>().create(&application(&name)).await.unwrap();
        expected.push(name.clone());
        let got = reader.client.api::<Application>().get("demo", &name).await.unwrap();
        assert_eq!(got.metadata.unwrap().name, name, "the other replica shows it at once");
        assert_eq!(names(reader).await, expected);
    }
    assert_eq!(names(&here).await, expected);
    let before = others.revision().await.unwrap();
    assert!(writers.try_join_next().is_none(), "the others wrote all the time");
    assert!(before.0 > 100, "the others wrote little: {before}");
}
