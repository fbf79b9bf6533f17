//! Each operation is measured by how it ended; a caller that goes away, too.

use std::time::Duration;

use futures::FutureExt;

use super::super::MemoryStore;
use super::*;

const KEY: Key = Key::from_static("/krake/x");

/// A memory store whose reads never end.
struct Silent(MemoryStore);

#[async_trait]
impl Store for Silent {
    async fn revision(&self) -> Result<Revision, StoreError> {
        std::future::pending().await
    }

    async fn lineage(&self) -> Result<Option<Lineage>, StoreError> {
        Ok(Some(Lineage { store: 7, drift: 3, at: Revision(1) }))
    }

    async fn get(&self, _key: &Key) -> Result<Option<Entry>, StoreError> {
        tokio::time::sleep(Duration::from_secs(5)).await;
        Err(StoreError::Unavailable { reason: "silent".to_owned() })
    }

    async fn list(&self, prefix: &Key, page: Page) -> Result<Listing, StoreError> {
        self.0.list(prefix, page).await
    }

    async fn commit(&self, txn: Txn) -> Result<Result<Revision, Conflict>, StoreError> {
        self.0.commit(txn).await
    }

    fn watch(&self, prefix: &Key, after: Revision) -> BoxStream<'static, Result<Batch, WatchError>> {
        self.0.watch(prefix, after)
    }

    async fn compact(&self, to: Revision) -> Result<(), StoreError> {
        self.0.compact(to).await
    }

    async fn campaign(&self, bid: Bid) -> Result<Standing, StoreError> {
        self.0.campaign(bid).await
    }

    async fn resign(&self, key: Key, holder: Bytes) -> Result<(), StoreError> {
        self.0.resign(key, holder).await
    }
}

/// Number and sum of the durations of an operation with this outcome; `None` if none is shown.
fn measured(metrics: &Metrics, backend: &str, operation: &str, outcome: &str) -> Option<(u64, f64)> {
    let text = metrics.encode().unwrap();
    let labels = format!("{{backend=\"{backend}\",operation=\"{operation}\",outcome=\"{outcome}\"}} ");
    let value = |what: &str| {
        let start = format!("krake_store_operation_duration_seconds_{what}{labels}");
        text.lines().find_map(|line| line.strip_prefix(&start))
    };
    Some((value("count")?.parse().unwrap(), value("sum")?.parse().unwrap()))
}

#[tokio::test(start_paused = true)]
async fn every_operation_is_measured_by_its_outcome() {
    let metrics = Metrics::new();
    let store = Measured::new(Arc::new(MemoryStore::new()), &metrics);
    let create = || Txn::new().guard(super::super::Guard::Absent(KEY)).put(KEY, "1");
    store.commit(create()).await.unwrap().unwrap();
    store.commit(create()).await.unwrap().unwrap_err();
    store.revision().await.unwrap();
    store.lineage().await.unwrap();
    store.get(&KEY).await.unwrap().unwrap();
    store.list(&KEY, Page::first(1)).await.unwrap();
    store.compact(Revision(99)).await.unwrap_err();
    let bid = Bid { key: KEY, holder: "me".into(), ttl: super::super::MIN_TTL };
    store.campaign(bid).await.unwrap();
    store.resign(KEY, "me".into()).await.unwrap();
    let ended = [
        ("commit", "ok"),
        ("commit", "conflict"),
        ("revision", "ok"),
        ("lineage", "ok"),
        ("get", "ok"),
        ("list", "ok"),
        ("compact", "future"),
        ("campaign", "ok"),
        ("resign", "ok"),
    ];
    for (operation, outcome) in ended {
        assert_eq!(measured(&metrics, "memory", operation, outcome), Some((1, 0.0)), "{operation} {outcome}");
    }
    assert_eq!(measured(&metrics, "memory", "get", "cancelled"), None, "shown from the first one on");
}

#[tokio::test(start_paused = true)]
async fn failures_and_callers_that_go_away_are_measured_too() {
    let metrics = Metrics::new();
    let store = Measured::new(Arc::new(Silent(MemoryStore::new())), &metrics);
    store.get(&KEY).await.unwrap_err();
    assert_eq!(measured(&metrics, "other", "get", "unavailable"), Some((1, 5.0)));
    assert!(tokio::time::timeout(Duration::from_secs(2), store.revision()).await.is_err());
    assert_eq!(measured(&metrics, "other", "revision", "cancelled"), Some((1, 2.0)));
    assert!(store.revision().now_or_never().is_none());
    assert_eq!(measured(&metrics, "other", "revision", "cancelled"), Some((2, 2.0)));
    assert_eq!(store.lineage().await.unwrap().map(|lineage| lineage.store), Some(7), "it is passed on");
}

#[test]
fn operations_and_outcomes_are_in_the_order_of_their_names() {
    for (place, (operation, name)) in Operation::ALL.into_iter().enumerate() {
        assert_eq!(operation as usize, place, "{name}");
    }
    let reason = String::new;
    let now = Revision(1);
    for (error, name) in [
        (StoreError::Unavailable { reason: reason() }, "unavailable"),
        (StoreError::Compacted { oldest: now }, "compacted"),
        (StoreError::Future { asked: now }, "future"),
        (StoreError::WentBack { known: now, found: now }, "went_back"),
        (StoreError::TooLarge { reason: reason() }, "too_large"),
        (StoreError::Invalid { reason: reason() }, "invalid"),
    ] {
        assert_eq!(Outcome::NAMES[Outcome::of::<()>(&Err(error)) as usize], name);
    }
}
