//! What was seen of erased objects goes, and of others it stays.

use std::sync::Arc;
use std::time::SystemTime;

use krake_proto::Resource;
use krake_proto::krake::kubernetes::v1::Application;
use krake_proto::krake::meta::v1::Metadata;
use prost::Message;
use tokio::task::JoinSet;

use super::*;
use crate::cache::Cache;
use crate::object::value;
use crate::store::{MemoryStore, Store};

#[tokio::test]
async fn records_of_objects_that_are_gone_are_erased() {
    let (store, cache): (Arc<dyn Store>, _) = (Arc::new(MemoryStore::new()), Arc::new(Cache::default()));
    let mut feed = JoinSet::new();
    let (fed, from) = (cache.clone(), store.clone());
    feed.spawn(async move { fed.feed(from).await });
    let registry = Registry::new(store.clone(), cache, Arc::new(SystemTime::now));
    let metadata =
        Metadata { name: "a".into(), namespace: "demo".into(), uid: "here".into(), ..Default::default() };
    let application = Application { metadata: Some(metadata), ..Default::default() };
    let holder = key::resource(Application::KIND, "demo", "a");
    let sealed = value::encode(Application::KIND.message, &application.encode_to_vec());
    store.commit(Txn::new().put(holder, sealed)).await.unwrap().unwrap();
    let (kept, last) = (key::observation("here", "c"), key::observation("later", "c"));
    let gone = (0..KEYS_PER_STEP).map(|number| key::observation("gone", &format!("c{number:04}")));
    for record in gone.chain([kept.clone(), last]) {
        store.commit(Txn::new().put(record, "")).await.unwrap().unwrap();
    }
    registry.sweep_observations().await.unwrap();
    let left = store.keys(&key::OBSERVED, Page::first(10)).await.unwrap().entries;
    assert_eq!(left.into_iter().map(|entry| entry.key).collect::<Vec<_>>(), [kept]);
}
