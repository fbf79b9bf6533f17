//! A store that measures how long each operation takes and how it ends, whatever the backend.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use krake_runtime::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::time::Instant;

use super::{
    Batch, Bid, Conflict, Entry, Key, Lineage, Listing, Page, Revision, Standing, Store, StoreError, Txn,
    WatchError,
};

/// What a backend shows of itself in metrics.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Its name: "etcd", "sqlite" or "memory"; "other" for stores that do not say.
    pub name: &'static str,
    /// Commits in each transaction; `None` where commits do not share transactions.
    pub batches: Option<Histogram>,
}

impl Backend {
    /// A backend whose commits share no transactions.
    pub(super) const fn named(name: &'static str) -> Self {
        Backend { name, batches: None }
    }
}

/// A histogram of the commits in each transaction: 1 to 256 and more.
pub(super) fn batch_sizes() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 9))
}

#[derive(Clone, Copy)]
enum Operation {
    Revision,
    Lineage,
    Get,
    List,
    Commit,
    Compact,
    Campaign,
    Resign,
}

impl Operation {
    const ALL: [(Operation, &'static str); 8] = [
        (Operation::Revision, "revision"),
        (Operation::Lineage, "lineage"),
        (Operation::Get, "get"),
        (Operation::List, "list"),
        (Operation::Commit, "commit"),
        (Operation::Compact, "compact"),
        (Operation::Campaign, "campaign"),
        (Operation::Resign, "resign"),
    ];
}

#[derive(Clone, Copy)]
enum Outcome {
    Ok,
    Conflict,
    /// The caller did not wait for the answer.
    Cancelled,
    Unavailable,
    Compacted,
    Future,
    WentBack,
    TooLarge,
    Invalid,
}

impl Outcome {
    const NAMES: [&'static str; 9] = [
        "ok",
        "conflict",
        "cancelled",
        "unavailable",
        "compacted",
        "future",
        "went_back",
        "too_large",
        "invalid",
    ];

    fn of<T>(answer: &Result<T, StoreError>) -> Self {
        match answer {
            Ok(_) => Self::Ok,
            Err(StoreError::Unavailable { .. }) => Self::Unavailable,
            Err(StoreError::Compacted { .. }) => Self::Compacted,
            Err(StoreError::Future { .. }) => Self::Future,
            Err(StoreError::WentBack { .. } | StoreError::Replaced) => Self::WentBack,
            Err(StoreError::TooLarge { .. }) => Self::TooLarge,
            Err(StoreError::Invalid { .. }) => Self::Invalid,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    backend: &'static str,
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BackendLabel {
    backend: &'static str,
}

type Durations = Family<Labels, Histogram, fn() -> Histogram>;

/// The durations of one operation. Each outcome is looked up in the family once and shown from then on.
struct Timer {
    durations: Durations,
    backend: &'static str,
    operation: &'static str,
    outcomes: [OnceLock<Histogram>; Outcome::NAMES.len()],
}

impl Timer {
    fn observe(&self, outcome: Outcome, began: Instant) {
        let place = outcome as usize;
        let histogram = self.outcomes[place].get_or_init(|| {
            let (backend, operation, outcome) = (self.backend, self.operation, Outcome::NAMES[place]);
            self.durations.get_or_create_owned(&Labels { backend, operation, outcome })
        });
        histogram.observe(began.elapsed().as_secs_f64());
    }

    fn begin(&self) -> Running<'_> {
        Running { timer: self, began: Instant::now(), outcome: Outcome::Cancelled }
    }
}

/// An operation under way, measured when this is dropped: as cancelled unless its outcome is known by then.
struct Running<'a> {
    timer: &'a Timer,
    began: Instant,
    outcome: Outcome,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.timer.observe(self.outcome, self.began);
    }
}

/// A store whose operations are measured.
pub(crate) struct Measured {
    inner: Arc<dyn Store>,
    /// In the order of [`Operation::ALL`].
    timers: [Timer; Operation::ALL.len()],
}

impl Measured {
    /// Measures `inner` from now on, shown in `metrics`.
    pub(crate) fn new(inner: Arc<dyn Store>, metrics: &Metrics) -> Self {
        let Backend { name: backend, batches } = inner.backend();
        // 0.1 ms to 6.6 s, beyond the deadline of every call.
        let durations: Durations =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_1, 4.0, 9)));
        metrics.register(|registry| {
            registry.register(
                "store_operation_duration_seconds",
                "Time that operations of the store took",
                durations.clone(),
            );
            if let Some(batches) = batches {
                let family = Family::<BackendLabel, Histogram, _>::new_with_constructor(Shared(batches));
                drop(family.get_or_create(&BackendLabel { backend }));
                let help = "Commits that shared a transaction of the store";
                registry.register("store_transaction_commits", help, family);
            }
        });
        let timers = Operation::ALL.map(|(_, operation)| Timer {
            durations: durations.clone(),
            backend,
            operation,
            outcomes: Default::default(),
        });
        Measured { inner, timers }
    }

    async fn measure<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let mut running = self.timers[operation as usize].begin();
        let answer = call.await;
        running.outcome = Outcome::of(&answer);
        answer
    }
}

/// Makes a family of the one histogram that the backend measures into.
#[derive(Clone, Debug)]
struct Shared(Histogram);

impl prometheus_client::metrics::family::MetricConstructor<Histogram> for Shared {
    fn new_metric(&self) -> Histogram {
        self.0.clone()
    }
}

#[async_trait]
impl Store for Measured {
    fn backend(&self) -> Backend {
        self.inner.backend()
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.measure(Operation::Revision, self.inner.revision()).await
    }

    fn expect_history(&self, key: Key, value: Bytes) {
        self.inner.expect_history(key, value);
    }

    async fn lineage(&self) -> Result<Option<Lineage>, StoreError> {
        self.measure(Operation::Lineage, self.inner.lineage()).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.measure(Operation::Get, self.inner.get(key)).await
    }

    async fn list(&self, prefix: &Key, page: Page) -> Result<Listing, StoreError> {
        self.measure(Operation::List, self.inner.list(prefix, page)).await
    }

    async fn keys(&self, prefix: &Key, page: Page) -> Result<Listing, StoreError> {
        self.measure(Operation::List, self.inner.keys(prefix, page)).await
    }

    async fn commit(&self, txn: Txn) -> Result<Result<Revision, Conflict>, StoreError> {
        let mut running = self.timers[Operation::Commit as usize].begin();
        let answer = self.inner.commit(txn).await;
        running.outcome = match &answer {
            Ok(Err(_)) => Outcome::Conflict,
            answer => Outcome::of(answer),
        };
        answer
    }

    /// Not measured: it lasts as long as its reader wants.
    fn watch(&self, prefix: &Key, after: Revision) -> BoxStream<'static, Result<Batch, WatchError>> {
        self.inner.watch(prefix, after)
    }

    fn watch_progress(&self, prefix: &Key, after: Revision) -> BoxStream<'static, Result<Batch, WatchError>> {
        self.inner.watch_progress(prefix, after)
    }

    /// Not measured: the store's answer comes by the watch.
    async fn request_progress(&self) -> Result<bool, StoreError> {
        self.inner.request_progress().await
    }

    async fn compact(&self, to: Revision) -> Result<(), StoreError> {
        self.measure(Operation::Compact, self.inner.compact(to)).await
    }

    async fn campaign(&self, bid: Bid) -> Result<Standing, StoreError> {
        self.measure(Operation::Campaign, self.inner.campaign(bid)).await
    }

    async fn resign(&self, key: Key, holder: Bytes) -> Result<(), StoreError> {
        self.measure(Operation::Resign, self.inner.resign(key, holder)).await
    }
}

#[cfg(test)]
mod tests;
