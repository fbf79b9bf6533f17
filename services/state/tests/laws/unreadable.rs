//! Laws of values that this version cannot read: they hurt nobody else, and never look erased.

use crate::support::server::{Server, metric, named};
use crate::support::{PATIENCE, memory};
use futures::StreamExt;
use krake_client::{ListOptions, Mask, WatchEvent, WatchOptions};
use krake_proto::error::ErrorReason;
use krake_proto::krake::core::v1::Metric;
use krake_state::store::Txn;

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
