//! A store that is trusted only while its revisions rise: one whose revision falls was replaced by an older copy.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::{
    Backend, Batch, Bid, Conflict, Entry, Evidence, Key, Lineage, Listing, Page, Revision, Standing, Store,
    StoreError, Txn, WatchError,
};

/// Time between two checks of a store that gets no calls: a second of reads from a store that went back does little harm,
/// and a check costs a store nothing.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes written by one replica after which it compacts the history early: a tenth of etcd's default quota, and far more
/// than five minutes of ordinary work. A mark is replaced after at most twice these bytes of each replica, and the
/// history reaches back to the mark before: at most four times these bytes of each replica, twice with one replica.
const EARLY_COMPACTION_BYTES: u64 = 128 * 1024 * 1024;

/// A store whose answers are compared with all earlier ones. After the first answer that is older than an earlier one,
/// every call fails with [`StoreError::WentBack`], and with [`StoreError::Replaced`] after the store answered so.
pub(crate) struct Forward {
    inner: Arc<dyn Store>,
    /// The highest revision seen.
    highest: AtomicI64,
    /// Bytes committed since housekeeping last saw the compaction mark change.
    written: AtomicU64,
    /// Bytes after which [`Forward::enough_written`] returns.
    step: u64,
    enough: Notify,
    /// The error of a store that went back.
    lost: watch::Sender<Option<StoreError>>,
}

impl Forward {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Self {
        Self::with_step(inner, EARLY_COMPACTION_BYTES)
    }

    /// With another number of bytes after which [`Forward::enough_written`] returns.
    pub(crate) fn with_step(inner: Arc<dyn Store>, step: u64) -> Self {
        Self {
            inner,
            highest: AtomicI64::new(0),
            written: AtomicU64::new(0),
            step,
            enough: Notify::new(),
            lost: watch::Sender::new(None),
        }
    }

    /// Waits until so many bytes were committed through this store that its history should be compacted early.
    pub(crate) async fn enough_written(&self) {
        while self.written.load(SeqCst) < self.step {
            self.enough.notified().await;
        }
    }

    /// Counts the committed bytes from 0.
    pub(crate) fn restart_written(&self) {
        self.written.store(0, SeqCst);
    }

    fn count(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let before = self.written.fetch_add(bytes, SeqCst);
        if before < self.step && self.step <= before.saturating_add(bytes) {
            self.enough.notify_one();
        }
    }

    /// The highest revision that the store has returned; 0 before the first answer.
    pub(crate) fn highest(&self) -> Revision {
        Revision(self.highest.load(SeqCst))
    }

    /// The store itself, unchecked.
    pub(crate) fn inner(&self) -> &dyn Store {
        self.inner.as_ref()
    }

    /// Returns [`StoreError::WentBack`] once the store has lost what was seen of it, or is in another history than the one of
    /// `known`; [`StoreError::Replaced`] once the store says so. Checks regularly, so that it is noticed without calls too.
    pub(crate) async fn went_back(&self, known: Option<Lineage>) -> StoreError {
        let mut lost = self.lost.subscribe();
        let mut evidence = Evidence::new(known);
        loop {
            let before = Revision(self.highest.load(SeqCst));
            // A store that does not answer is reported by the readiness probe.
            let _ = self.revision().await;
            if let Ok(Some(now)) = self.inner.lineage().await
                && let Some(former) = evidence.contradicts(now)
            {
                self.lose(StoreError::WentBack { known: former.at.max(before), found: now.at });
            }
            if let Err(error) = self.begin() {
                return error;
            }
            // The sender is a field of this store, so waiting cannot fail.
            let _ = timeout(CHECK_INTERVAL, lost.changed()).await;
        }
    }

    /// Makes a call whose answer holds a revision of the present, and compares that one with all that were known when
    /// the call began.
    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>> + Send,
        revision: impl Fn(&T) -> Option<Revision>,
    ) -> Result<T, StoreError> {
        let known = self.begin()?;
        let answer = match call.await {
            Err(StoreError::Replaced) => return Err(self.lose(StoreError::Replaced)),
            answer => answer?,
        };
        if let Some(found) = revision(&answer) {
            if found < known {
                return Err(self.lose(StoreError::WentBack { known, found }));
            }
            self.highest.fetch_max(found.0, SeqCst);
        }
        Ok(answer)
    }

    /// The highest revision that is known; the error of a store that went back.
    fn begin(&self) -> Result<Revision, StoreError> {
        match &*self.lost.borrow() {
            Some(error) => Err(error.clone()),
            None => Ok(Revision(self.highest.load(SeqCst))),
        }
    }

    fn lose(&self, error: StoreError) -> StoreError {
        self.lost.send_if_modified(|lost| {
            let first = lost.is_none();
            lost.get_or_insert_with(|| error.clone());
            first
        });
        error
    }
}

#[async_trait]
impl Store for Forward {
    fn backend(&self) -> Backend {
        self.inner.backend()
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.call(self.inner.revision(), |revision| Some(*revision)).await
    }

    fn expect_history(&self, key: Key, value: Bytes) {
        self.inner.expect_history(key, value);
    }

    async fn lineage(&self) -> Result<Option<Lineage>, StoreError> {
        self.inner.lineage().await
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.call(self.inner.get(key), |_| None).await
    }

    async fn list(&self, prefix: &Key, page: Page) -> Result<Listing, StoreError> {
        let first = page.at.is_none();
        self.call(self.inner.list(prefix, page), |listing| first.then_some(listing.revision)).await
    }

    async fn keys(&self, prefix: &Key, page: Page) -> Result<Listing, StoreError> {
        let first = page.at.is_none();
        self.call(self.inner.keys(prefix, page), |listing| first.then_some(listing.revision)).await
    }

    async fn commit(&self, txn: Txn) -> Result<Result<Revision, Conflict>, StoreError> {
        let revision = |answer: &Result<Revision, Conflict>| match answer {
            Ok(revision) => Some(*revision),
            Err(conflict) => Some(conflict.revision),
        };
        let bytes = txn.size();
        let answer = self.call(self.inner.commit(txn), revision).await?;
        if answer.is_ok() {
            self.count(bytes);
        }
        Ok(answer)
    }

    fn watch(&self, prefix: &Key, after: Revision) -> BoxStream<'static, Result<Batch, WatchError>> {
        self.inner.watch(prefix, after)
    }

    fn watch_progress(&self, prefix: &Key, after: Revision) -> BoxStream<'static, Result<Batch, WatchError>> {
        self.inner.watch_progress(prefix, after)
    }

    async fn request_progress(&self) -> Result<bool, StoreError> {
        self.call(self.inner.request_progress(), |_| None).await
    }

    async fn compact(&self, to: Revision) -> Result<(), StoreError> {
        self.call(self.inner.compact(to), |()| None).await
    }

    async fn campaign(&self, bid: Bid) -> Result<Standing, StoreError> {
        self.call(self.inner.campaign(bid), |standing| Some(standing.revision)).await
    }

    async fn resign(&self, key: Key, holder: Bytes) -> Result<(), StoreError> {
        self.call(self.inner.resign(key, holder), |()| None).await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use tokio::time::sleep;

    use super::super::MemoryStore;
    use super::*;

    /// Stands for the answer of a store that was replaced.
    const REPLACED: i64 = -1;

    /// A store that answers what it is told to, after so many milliseconds.
    struct Scripted {
        memory: MemoryStore,
        answers: Mutex<VecDeque<(u64, i64)>>,
        lineage: Mutex<Option<Lineage>>,
    }

    #[async_trait]
    impl Store for Scripted {
        async fn revision(&self) -> Result<Revision, StoreError> {
            let next = self.answers.lock().unwrap().pop_front();
            let (wait, revision) = next.ok_or(StoreError::Unavailable { reason: "no answer".to_owned() })?;
            sleep(Duration::from_millis(wait)).await;
            if revision == REPLACED { Err(StoreError::Replaced) } else { Ok(Revision(revision)) }
        }

        async fn lineage(&self) -> Result<Option<Lineage>, StoreError> {
            Ok(*self.lineage.lock().unwrap())
        }

        async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
            self.memory.get(key).await
        }

        async fn list(&self, prefix: &Key, page: Page) -> Result<Listing, StoreError> {
            self.memory.list(prefix, page).await
        }

        async fn commit(&self, txn: Txn) -> Result<Result<Revision, Conflict>, StoreError> {
            self.memory.commit(txn).await
        }

        fn watch(&self, prefix: &Key, after: Revision) -> BoxStream<'static, Result<Batch, WatchError>> {
            self.memory.watch(prefix, after)
        }

        async fn compact(&self, to: Revision) -> Result<(), StoreError> {
            self.memory.compact(to).await
        }

        async fn campaign(&self, bid: Bid) -> Result<Standing, StoreError> {
            self.memory.campaign(bid).await
        }

        async fn resign(&self, key: Key, holder: Bytes) -> Result<(), StoreError> {
            self.memory.resign(key, holder).await
        }
    }

    fn answering(answers: &[(u64, i64)]) -> (Arc<Scripted>, Forward) {
        let answers = Mutex::new(answers.iter().copied().collect());
        let inner = Arc::new(Scripted { memory: MemoryStore::new(), answers, lineage: Mutex::default() });
        (inner.clone(), Forward::new(inner))
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_may_be_older_than_one_of_a_call_that_began_later() {
        let (_, store) = answering(&[(10, 5), (1, 9), (1, 9)]);
        let (slow, quick) = tokio::join!(store.revision(), store.revision());
        assert_eq!((slow, quick), (Ok(Revision(5)), Ok(Revision(9))));
        assert_eq!(store.revision().await, Ok(Revision(9)));
    }

    #[tokio::test]
    async fn what_is_written_is_counted_in_steps() {
        let step = 10_000;
        let store = Forward::with_step(Arc::new(MemoryStore::new()), step);
        let write = async |size: usize| store.commit(Txn::new().put("a", vec![0; size])).await.unwrap();
        let enough = async || timeout(Duration::ZERO, store.enough_written()).await.is_ok();
        write(5_000).await.unwrap();
        let refused = Txn::new().guard(super::super::Guard::Absent("a".into())).put("b", vec![0; 50_000]);
        store.commit(refused).await.unwrap().unwrap_err();
        assert!(!enough().await, "what was refused is not counted");
        write(5_000).await.unwrap();
        assert!(enough().await && enough().await, "until it begins anew");
        store.restart_written();
        assert!(!enough().await, "it begins anew");
        write(25_000).await.unwrap();
        assert!(enough().await, "a large one is not overlooked");
    }

    #[tokio::test]
    async fn after_an_answer_that_is_too_old_nothing_is_believed() {
        let (_, store) = answering(&[(0, 9), (0, 8), (0, 10)]);
        store.revision().await.unwrap();
        let lost = StoreError::WentBack { known: Revision(9), found: Revision(8) };
        assert_eq!(store.revision().await, Err(lost.clone()));
        assert_eq!(store.revision().await, Err(lost.clone()), "even if it is newer again");
        assert_eq!(store.get(&Key::from("a")).await, Err(lost.clone()));
        assert_eq!(store.commit(Txn::new().put("a", "b")).await, Err(lost.clone()));
        assert_eq!(store.inner().get(&Key::from("a")).await, Ok(None), "it was not sent");
        assert_eq!(store.went_back(None).await, lost);
    }

    #[tokio::test]
    async fn a_store_that_says_it_was_replaced_is_not_believed_again() {
        let (_, store) = answering(&[(0, 9), (0, REPLACED), (0, 9)]);
        store.revision().await.unwrap();
        for _ in 0..2 {
            assert_eq!(store.revision().await, Err(StoreError::Replaced));
        }
        assert_eq!(store.get(&Key::from("a")).await, Err(StoreError::Replaced));
        assert_eq!(store.went_back(None).await, StoreError::Replaced);
    }

    #[tokio::test]
    async fn the_answers_of_all_calls_count() {
        let (_, store) = answering(&[(0, 9)]);
        store.revision().await.unwrap();
        // The memory is at an earlier revision.
        assert!(matches!(store.commit(Txn::new().put("a", "b")).await, Err(StoreError::WentBack { .. })));
        let (_, store) = answering(&[(0, 9)]);
        store.revision().await.unwrap();
        let at = Page { at: Some(Revision(1)), ..Page::first(1) };
        store.list(&Key::from(""), at).await.expect("a page of the past tells no present revision");
        let listed = store.list(&Key::from(""), Page::first(1)).await;
        assert!(matches!(listed, Err(StoreError::WentBack { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn another_lineage_is_noticed_although_the_revision_rises() {
        let (inner, store) = answering(&[(0, 900), (0, 2000), (0, 3000), (0, 3000), (0, 4000)]);
        let lineage = |drift, at| Some(Lineage { store: 7, drift, at: Revision(at) });
        *inner.lineage.lock().unwrap() = lineage(5, 2000);
        let noticed = store.went_back(lineage(4, 900));
        tokio::pin!(noticed);
        assert!(timeout(CHECK_INTERVAL / 2, &mut noticed).await.is_err(), "it is the same history");
        *inner.lineage.lock().unwrap() = lineage(4 - 1000, 3000);
        let lost = StoreError::WentBack { known: Revision(2000), found: Revision(3000) };
        assert_eq!(noticed.await, lost);
    }
}
