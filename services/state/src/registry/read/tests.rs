//! Laws of lists: how much they look at, and that a page shows one revision.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::SystemTime;

use krake_proto::Resource;
use krake_proto::krake::core::v1::{Metric, MetricsProvider};
use krake_proto::krake::kubernetes::v1::Cluster;
use krake_proto::krake::meta::v1::{KindRef, Metadata};
use prost::Message;
use tokio::task::JoinSet;

use super::*;
use crate::cache::Cache;
use crate::object::value;
use crate::store::{MemoryStore, Store};

/// More than one hold of the cache's lock looks at.
const OBJECTS: usize = 3_000;

struct World {
    store: Arc<MemoryStore>,
    registry: Arc<Registry>,
    call: Call,
    _feed: JoinSet<()>,
}

impl World {
    /// With global metrics; every tenth is tagged.
    async fn start() -> Self {
        let (store, cache) = (Arc::new(MemoryStore::new()), Arc::new(Cache::default()));
        for number in 0..OBJECTS {
            put(&store, "", &format!("m{number:05}"), number % 10 == 0).await;
        }
        let mut feed = JoinSet::new();
        let (fed, from) = (cache.clone(), store.clone());
        feed.spawn(async move { fed.feed(from).await });
        let registry = Arc::new(Registry::new(store.clone(), cache, Arc::new(SystemTime::now)));
        let call = Call::by("alice");
        World { store, registry, call, _feed: feed }
    }

    async fn visited<T>(&self, list: impl Future<Output = T>) -> (T, u64) {
        self.registry.refresh().await.unwrap();
        let before = self.registry.cache.figures().visited;
        let answer = list.await;
        (answer, self.registry.cache.figures().visited - before)
    }

    async fn list<K: Resource>(&self, request: ListRequest) -> (Vec<Metadata>, ListResponse, u64) {
        let (answer, visited) = self.visited(self.registry.list(&self.call, K::KIND, request)).await;
        let answer = answer.unwrap();
        let items =
            answer.items.iter().map(|item| K::decode(item.clone()).unwrap().metadata().cloned().unwrap());
        (items.collect(), answer.clone(), visited)
    }
}

async fn put(store: &MemoryStore, namespace: &str, name: &str, tagged: bool) -> Revision {
    let labels = tagged.then(|| ("tag".to_owned(), String::new()));
    let metadata = Metadata { name: name.into(), labels: labels.into_iter().collect(), ..Default::default() };
    let metric = Metric { metadata: Some(metadata), ..Default::default() };
    let value = value::encode(Metric::KIND.message, &metric.encode_to_vec());
    let txn = Txn::new().put(key::resource(Metric::KIND, namespace, name), value);
    store.commit(txn).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_list_looks_at_no_more_than_its_page() {
    let world = World::start().await;
    let page = |namespace: &str, page_size| ListRequest {
        namespace: namespace.into(),
        page_size,
        ..Default::default()
    };
    for size in [1, 7, 500] {
        let (items, answer, visited) = world.list::<Metric>(page("", size)).await;
        assert_eq!((items.len(), visited), (size as usize, size as u64));
        assert!(!answer.next_page_token.is_empty());
    }
    let (items, answer, visited) = world.list::<Metric>(page("-", 0)).await;
    assert!(
        items.is_empty() && answer.next_page_token.is_empty(),
        "all namespaces are without global objects"
    );
    assert_eq!(visited, 0);
    let (items, _, visited) = world.list::<MetricsProvider>(page("", 0)).await;
    assert_eq!((items.len(), visited), (0, 0), "a kind without objects");
}

#[tokio::test]
async fn a_list_of_kinds_looks_only_at_these() {
    let world = World::start().await;
    let kinds = |kinds: &[&Kind]| {
        let kinds = kinds.iter().map(|kind| KindRef { api: kind.api.into(), kind: kind.kind.into() });
        ListObjectsRequest { kinds: kinds.collect(), page_size: 2, ..Default::default() }
    };
    let request = kinds(&[Cluster::KIND, MetricsProvider::KIND]);
    let (answer, visited) = world.visited(world.registry.list_objects(&world.call, &request)).await;
    let (found, _, next) = answer.unwrap();
    assert_eq!((found.len(), next.as_str(), visited), (0, "", 0));
    for request in [kinds(&[]), kinds(&[Metric::KIND, Cluster::KIND])] {
        let (answer, visited) = world.visited(world.registry.list_objects(&world.call, &request)).await;
        assert_eq!((answer.unwrap().0.len(), visited), (2, 2));
    }
}

#[tokio::test]
async fn a_first_page_of_several_pieces_shows_one_revision() {
    let world = World::start().await;
    // Some change within what a page has passed, others ahead of it; some enter the selection, some leave it.
    let stop = Arc::new(AtomicBool::new(false));
    let mut writer = JoinSet::new();
    let (store, stopped) = (world.store.clone(), stop.clone());
    writer.spawn(async move {
        let mut number = 0;
        while !stopped.load(SeqCst) {
            number = (number + 977) % OBJECTS;
            put(&store, "", &format!("m{number:05}"), number % 3 == 0).await;
            tokio::task::yield_now().await;
        }
    });
    let mut revisions = BTreeSet::new();
    for page_size in [0, 250, 120, 0, 0, 333] {
        let selection = ListRequest { label_selector: "tag".into(), page_size, ..Default::default() };
        let (items, answer, _) = world.list::<Metric>(selection).await;
        let shown: Vec<_> =
            items.iter().map(|metadata| (metadata.name.clone(), metadata.resource_version)).collect();
        let at = Revision(answer.resource_version);
        let (mut expected, mut step) = (Vec::new(), Page { at: Some(at), after: None, limit: 500 });
        loop {
            let listing = world.store.list(&key::all(Metric::KIND), step.clone()).await.unwrap();
            let stored = listing.entries.iter().filter_map(|entry| readable(&Default::default(), entry));
            let stored = stored.filter(|(_, stored)| stored.metadata.labels.contains_key("tag"));
            expected.extend(stored.map(|(_, stored)| (stored.metadata.name.clone(), stored.revision.0)));
            match listing.entries.last() {
                Some(last) if listing.more => step.after = Some(last.key.clone()),
                _ => break,
            }
        }
        assert!(shown.len() <= if page_size == 0 { 500 } else { page_size as usize });
        assert!(!answer.next_page_token.is_empty() || shown.len() == expected.len());
        expected.truncate(shown.len());
        assert_eq!(shown, expected, "at {at}");
        revisions.insert(at);
    }
    stop.store(true, SeqCst);
    assert!(revisions.len() > 1, "objects did change");
}
