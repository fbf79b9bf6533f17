//! The watch cache: every resource, decoded as far as needed, and the recent changes, fed by one watch on the store.

mod counters;
mod places;
mod recall;
mod retention;
mod stored;
mod unreadable;
mod wake;
mod walk;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::object::key;
use crate::object::keyring::Keyring;
use crate::store::{Batch as StoreBatch, ChangeKind, Key, Page, Revision, Store, StoreError};

pub(crate) use places::{Absences, absence, shown};
pub(crate) use stored::{Stored, readable};
pub(crate) use walk::Span;

use counters::Counters;
use places::Places;
use retention::{Ages, Limits};
use wake::Followers;

/// Bytes that a change counts for in the history beside its object: about what its decoded metadata and its frames take in
/// memory, measured with applications.
const CHANGE_FRAME_BYTES: usize = 1024;
/// Entries read at a time when the cache is filled: some megabytes at most in most installations.
const ENTRIES_PER_PAGE: usize = 500;
/// Pause after the store failed: nothing is served until the cache is filled.
const STORE_RETRY_DELAY: Duration = Duration::from_millis(500);

/// The changes of one revision.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The revision.
    pub revision: Revision,
    /// The changes, each of another key.
    pub changes: Vec<Change>,
}

impl Batch {
    /// The bytes that are kept because of it: every object that it wrote, and the last state of those that it erased.
    fn bytes(&self) -> usize {
        let kept = self.changes.iter().filter_map(|change| change.after.as_ref().or(change.before.as_ref()));
        kept.map(|stored| CHANGE_FRAME_BYTES + stored.sections.encoded_len()).sum()
    }
}

/// A change of one resource. At least one side is there.
#[derive(Debug)]
pub(crate) struct Change {
    /// The resource's key.
    pub key: Key,
    /// Before; `None` if it was created.
    pub before: Option<Arc<Stored>>,
    /// After; `None` if it was erased.
    pub after: Option<Arc<Stored>>,
}

/// The changes asked for are no longer kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Behind {
    /// The oldest revision that can be resumed from.
    pub oldest: Revision,
}

#[derive(Debug, Default)]
struct Contents {
    objects: BTreeMap<Key, Arc<Stored>>,
    places: Places,
    /// Keys whose present value cannot be read; `objects` may hold an earlier one.
    unreadable: BTreeSet<Key>,
    /// Changes after `oldest`, in order.
    history: VecDeque<Arc<Batch>>,
    /// Size of `history`.
    history_bytes: usize,
    ages: Ages,
    oldest: Revision,
    revision: Revision,
}

/// All resources at one revision, and what happened just before it.
#[derive(Debug)]
pub(crate) struct Cache {
    contents: RwLock<Contents>,
    revision: watch::Sender<Revision>,
    /// The last revision that changed an object: only such ones wake the followers.
    changed: watch::Sender<Revision>,
    followers: Followers,
    counters: Counters,
    keyring: Keyring,
    /// How much is kept for watchers that resume.
    limits: Limits,
}

impl Default for Cache {
    fn default() -> Self {
        Self::with_limits(Limits::default())
    }
}

impl Cache {
    /// An empty cache that will keep the changes of the last `length` revisions and no more.
    #[cfg(test)]
    pub(crate) fn with_history(length: usize) -> Self {
        Self::with_limits(Limits { revisions: length, age: Duration::ZERO, ..Limits::default() })
    }

    fn with_limits(limits: Limits) -> Self {
        Cache {
            contents: RwLock::default(),
            revision: watch::channel(Revision::default()).0,
            changed: watch::channel(Revision::default()).0,
            followers: Followers::default(),
            counters: Counters::default(),
            keyring: Keyring::default(),
            limits,
        }
    }

    /// The keys by which the stored values are encrypted.
    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The resource at `key`.
    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Stored>> {
        self.read().objects.get(key).cloned()
    }

    /// The revision that the cache shows; 0 until it is filled.
    pub(crate) fn revision(&self) -> Revision {
        *self.revision.borrow()
    }

    /// The last revision that changed an object.
    pub(crate) fn changed(&self) -> Revision {
        *self.changed.borrow()
    }

    /// Tells when there may be something new after the revision that the cache shows now; the value is of no use.
    pub(crate) fn follow(&self) -> watch::Receiver<Revision> {
        self.followers.join()
    }

    /// Waits until the cache shows `revision` or a later one; false after `limit`.
    pub(crate) async fn reach(&self, revision: Revision, limit: Duration) -> bool {
        if self.revision() >= revision {
            return true;
        }
        let mut receiver = self.revision.subscribe();
        let reached = tokio::time::timeout(limit, receiver.wait_for(|now| *now >= revision)).await;
        matches!(reached, Ok(Ok(_)))
    }

    /// The changes after `after`, oldest first, at most `limit` revisions of them, and the revision that the cache
    /// shows.
    pub(crate) fn since(&self, after: Revision, limit: usize) -> Result<(Vec<Arc<Batch>>, Revision), Behind> {
        let contents = self.read();
        if after < contents.oldest {
            return Err(Behind { oldest: contents.oldest });
        }
        let history = &contents.history;
        // Almost everybody who asks misses nothing, or the newest revision.
        let newest = history.len().saturating_sub(2);
        let first = match history.get(newest) {
            Some(batch) if batch.revision <= after => {
                newest + history.range(newest..).take_while(|batch| batch.revision <= after).count()
            }
            _ => history.partition_point(|batch| batch.revision <= after),
        };
        Ok((history.range(first..).take(limit).cloned().collect(), contents.revision))
    }

    /// Keeps the cache up to date. Runs until it is dropped.
    pub(crate) async fn feed(&self, store: Arc<dyn Store>) {
        tokio::join!(self.read_on(store.as_ref()), self.wake_followers());
    }

    async fn wake_followers(&self) {
        let mut changed = self.changed.subscribe();
        while changed.changed().await.is_ok() {
            let revision = *changed.borrow_and_update();
            self.followers.wake(revision).await;
        }
    }

    async fn read_on(&self, store: &dyn Store) {
        loop {
            match self.fill(store).await {
                Ok(revision) => self.read_after(store, revision).await,
                Err(error) => {
                    tracing::warn!(%error, "cannot read the store; trying again");
                    tokio::time::sleep(STORE_RETRY_DELAY).await;
                }
            }
        }
    }

    async fn fill(&self, store: &dyn Store) -> Result<Revision, StoreError> {
        let (mut objects, mut unreadable) = (BTreeMap::new(), BTreeSet::new());
        let mut at = None;
        for group in key::groups() {
            let mut next = Some(Page { at, ..Page::first(ENTRIES_PER_PAGE) });
            while let Some(page) = next {
                let listing = store.list(&group, page).await?;
                for entry in &listing.entries {
                    match readable(&self.keyring, entry) {
                        Some((key, stored)) => drop(objects.insert(key, stored)),
                        None if key::parse(&entry.key).is_none() => {}
                        None => {
                            unreadable.insert(entry.key.clone());
                        }
                    }
                }
                at = Some(listing.revision);
                next = listing.next_page(ENTRIES_PER_PAGE);
            }
        }
        let revision = at.unwrap_or_default();
        let recall::Past { batches: history, oldest } =
            recall::recall(store, &self.keyring, revision, &self.limits, &objects).await;
        tracing::info!(objects = objects.len(), %revision, %oldest, "cache filled");
        let history_bytes = history.iter().map(|batch| batch.bytes()).sum();
        let mut ages = Ages::default();
        ages.mark(revision, Instant::now(), self.limits.age);
        self.counters.filled(objects.values());
        let places = Places::of(&objects);
        let new = Contents { objects, places, unreadable, history, history_bytes, ages, oldest, revision };
        // The old contents are dropped after the lock is released.
        let old = std::mem::replace(&mut *self.write(), new);
        drop(old);
        self.revision.send_replace(revision);
        self.changed.send_replace(revision);
        Ok(revision)
    }

    /// Applies changes until the store has forgotten where we are.
    async fn read_after(&self, store: &dyn Store, after: Revision) {
        let mut changes = store.watch_progress(&key::ROOT, after);
        while let Some(batch) = changes.next().await {
            match batch {
                Ok(batch) => self.apply(batch),
                Err(error) => {
                    tracing::warn!(%error, "the cache lost its place and is filled again");
                    return;
                }
            }
        }
    }

    fn apply(&self, batch: StoreBatch) {
        let revision = batch.revision;
        let mut contents = self.write();
        let mut changes = Vec::with_capacity(batch.changes.len());
        for change in batch.changes {
            let after = match &change.kind {
                ChangeKind::Put(entry) => match Stored::read(&self.keyring, entry) {
                    Ok(stored) => {
                        let before = contents.objects.get(&change.key).map(|before| &**before);
                        stored.map(|stored| Arc::new(stored.after(before)))
                    }
                    Err(error) => {
                        // Written by a newer version, perhaps. It must not look erased, so the last state stays.
                        tracing::error!(%error, "a stored value is left out");
                        contents.unreadable.insert(change.key);
                        continue;
                    }
                },
                ChangeKind::Delete => None,
            };
            contents.unreadable.remove(&change.key);
            let before = match &after {
                Some(stored) => contents.objects.insert(change.key.clone(), stored.clone()),
                None => contents.objects.remove(&change.key),
            };
            self.counters.changed(before.as_ref(), after.as_ref());
            contents.places.changed(&change.key, before.as_ref(), after.as_ref());
            if before.is_some() || after.is_some() {
                changes.push(Change { key: change.key, before, after });
            }
        }
        let changed = !changes.is_empty();
        if changed {
            let batch = Batch { revision, changes };
            contents.history_bytes += batch.bytes();
            contents.history.push_back(Arc::new(batch));
        }
        contents.ages.mark(revision, Instant::now(), self.limits.age);
        while let Some(first) = contents.history.front() {
            let (count, bytes) = (contents.history.len(), contents.history_bytes);
            if !contents.ages.drops(first.revision, count, bytes, &self.limits) {
                break;
            }
            let Some(dropped) = contents.history.pop_front() else { break };
            contents.history_bytes -= dropped.bytes();
            contents.oldest = dropped.revision;
        }
        contents.revision = revision;
        drop(contents);
        self.revision.send_replace(revision);
        if changed {
            self.changed.send_replace(revision);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Contents> {
        // Nothing that can panic runs under the lock, so a poisoned one still holds whole contents.
        self.contents.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Contents> {
        self.contents.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::sections::Sections;
    use crate::object::value;
    use crate::store::{Change as StoreChange, Entry};

    /// Has the cache take one change of a resource.
    fn change(cache: &Cache, revision: i64, value: &bytes::Bytes) {
        let metric = krake_proto::kind("core", "Metric").unwrap();
        let (key, revision) = (key::resource(metric, "", "m"), Revision(revision));
        let entry =
            Entry { key: key.clone(), value: value.clone(), created: Revision(1), modified: revision };
        let change = StoreChange { key, kind: ChangeKind::Put(entry), previous: None };
        cache.apply(StoreBatch { revision, changes: vec![change] });
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_reads_for_minutes_can_go_on_however_much_is_written() {
        let metric = krake_proto::kind("core", "Metric").unwrap();
        let cache = Cache::default();
        let value = value::encode(metric.message, &Sections::default().encode());
        // 200 a second: four minutes are far more than the revisions that are kept in any case.
        let (seconds, each) = (240, 200);
        for second in 0..seconds {
            (1..=each).for_each(|number| change(&cache, second * each + number, &value));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(cache.since(Revision(1), 10).is_ok(), "what is four minutes old is there");
        for second in seconds..2 * seconds {
            (1..=each).for_each(|number| change(&cache, second * each + number, &value));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let oldest = cache.since(Revision(1), 10).unwrap_err().oldest.0;
        let (kept, all) = (2 * seconds * each - oldest, 300 * each);
        assert!((all..=all + 2 * each).contains(&kept), "five minutes are kept, and no more: {kept}");
    }

    #[test]
    fn a_revision_without_objects_is_shown_and_wakes_nobody() {
        let cache = Cache::default();
        let changed = cache.changed.subscribe();
        cache.apply(StoreBatch { revision: Revision(7), changes: Vec::new() });
        assert_eq!((cache.revision(), cache.changed()), (Revision(7), Revision(0)));
        assert!(!changed.has_changed().unwrap());
    }

    #[test]
    fn the_history_is_bounded_in_bytes_and_tells_where_it_begins() {
        let metric = krake_proto::kind("core", "Metric").unwrap();
        let limits = Limits { bytes: 3 * 1024 * 1024, ..Limits::default() };
        let cache = Cache::with_limits(limits);
        let spec = Sections { spec: Some(vec![0; limits.bytes / 3].into()), ..Default::default() };
        let value = value::encode(metric.message, &spec.encode());
        (1..=5).for_each(|revision| change(&cache, revision, &value));
        let oldest = cache.since(Revision(0), 10).unwrap_err().oldest;
        let (kept, now) = cache.since(oldest, 10).unwrap();
        let revisions: Vec<i64> = kept.iter().map(|batch| batch.revision.0).collect();
        assert_eq!((oldest, revisions, now), (Revision(3), vec![4, 5], Revision(5)));
    }
}
