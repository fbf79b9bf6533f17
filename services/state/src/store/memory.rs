//! The store in memory: the reference that the other backends are compared with, and the store of simulations.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::cursor::Cursor;
use super::lease_ends::Leases;
use super::{
    Backend, Batch, Bid, Change, ChangeKind, Conflict, Entry, Key, Listing, Op, Page, Revision, Standing,
    Store, StoreError, Txn, WatchError,
};

/// A store that lives as long as the process.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

/// Tells the time that leases are counted in.
type Clock = dyn Fn() -> Instant + Send + Sync;

struct Shared {
    clock: Box<Clock>,
    history: Mutex<History>,
    /// Wakes the watches; they read the history themselves, so a slow one loses nothing.
    newest: watch::Sender<Revision>,
}

struct History {
    revision: Revision,
    compacted: Revision,
    /// What each key held from which revision on, oldest first; `None` is a deletion.
    versions: BTreeMap<Key, Vec<(Revision, Option<Entry>)>>,
    /// The batches after `compacted`, oldest first.
    log: VecDeque<Batch>,
    leases: Leases,
}

impl MemoryStore {
    /// An empty store. Its revision is 1, as that of an empty etcd.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Instant::now)
    }

    /// An empty store whose leases are counted by a clock of its own: one that outlives the runtimes that use it.
    #[must_use]
    pub fn with_clock(clock: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        let revision = Revision(1);
        let history = History {
            revision,
            compacted: Revision(0),
            versions: BTreeMap::new(),
            log: VecDeque::new(),
            leases: Leases::default(),
        };
        let newest = watch::Sender::new(revision);
        let shared = Shared { clock: Box::new(clock), history: Mutex::new(history), newest };
        Self { shared: Arc::new(shared) }
    }
}

impl MemoryStore {
    fn cursor(&self, prefix: &Key, after: Revision, reports: bool) -> Place {
        Place {
            newest: self.shared.newest.subscribe(),
            shared: Arc::clone(&self.shared),
            prefix: prefix.clone(),
            seen: after.max(Revision(0)),
            reports,
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn backend(&self) -> Backend {
        Backend::named("memory")
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.shared.history().revision)
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        key.check()?;
        Ok(self.shared.history().current(key).cloned())
    }

    async fn list(&self, prefix: &Key, page: Page) -> Result<Listing, StoreError> {
        page.check()?;
        self.shared.history().list(prefix, &page)
    }

    async fn commit(&self, txn: Txn) -> Result<Result<Revision, Conflict>, StoreError> {
        txn.check()?;
        let answer = self.shared.history().commit(&txn);
        if let Ok(revision) = answer {
            self.shared.tell(revision);
        }
        Ok(answer)
    }

    fn watch(&self, prefix: &Key, after: Revision) -> BoxStream<'static, Result<Batch, WatchError>> {
        self.cursor(prefix, after, false).into_stream()
    }

    fn watch_progress(&self, prefix: &Key, after: Revision) -> BoxStream<'static, Result<Batch, WatchError>> {
        self.cursor(prefix, after, true).into_stream()
    }

    async fn compact(&self, to: Revision) -> Result<(), StoreError> {
        self.shared.history().compact(to)
    }

    async fn campaign(&self, bid: Bid) -> Result<Standing, StoreError> {
        bid.check()?;
        let standing = self.shared.history().campaign(&bid, (self.shared.clock)());
        self.shared.tell(standing.revision);
        Ok(standing)
    }

    async fn resign(&self, key: Key, holder: Bytes) -> Result<(), StoreError> {
        key.check()?;
        let revision = self.shared.history().resign(&key, &holder);
        self.shared.tell(revision);
        Ok(())
    }
}

impl Shared {
    /// The history up to now: keys whose lease is over are gone.
    fn history(&self) -> MutexGuard<'_, History> {
        // Nothing below panics half way through a change, so a poisoned lock still guards a whole history.
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let before = history.revision;
        history.expire((self.clock)());
        if history.revision > before {
            self.tell(history.revision);
        }
        history
    }

    /// Wakes the watches. Commits may end in another order than they were made in; the watches need the newest one.
    fn tell(&self, revision: Revision) {
        self.newest.send_if_modified(|newest| std::mem::replace(newest, revision.max(*newest)) < revision);
    }
}

/// The place that one watch has reached in the history.
struct Place {
    shared: Arc<Shared>,
    newest: watch::Receiver<Revision>,
    prefix: Key,
    seen: Revision,
    /// Whether commits that change only keys aside are reported.
    reports: bool,
}

impl Cursor for Place {
    async fn next(&mut self) -> Result<Batch, WatchError> {
        loop {
            self.newest.mark_unchanged();
            if let Some(batch) = self.advance()? {
                return Ok(batch);
            }
            let next_end = self.shared.history().leases.next_end();
            let lease_ends = async {
                match next_end {
                    Some(end) => sleep(end.saturating_duration_since((self.shared.clock)())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // The sender lives in `shared`, which this cursor holds, so waiting cannot fail.
                _ = self.newest.changed() => {}
                () = lease_ends => {}
            }
        }
    }
}

impl Place {
    /// Moves to the next batch that has a change below the prefix, or to the end of the history.
    fn advance(&mut self) -> Result<Option<Batch>, WatchError> {
        let history = self.shared.history();
        if self.seen < history.compacted {
            return Err(WatchError::Compacted { oldest: history.compacted });
        }
        let first = history.log.partition_point(|batch| batch.revision <= self.seen);
        for batch in history.log.range(first..) {
            self.seen = batch.revision;
            if let Some(shown) = batch.shown(&self.prefix, self.reports) {
                return Ok(Some(shown));
            }
        }
        Ok(None)
    }
}

impl History {
    fn current(&self, key: &Key) -> Option<&Entry> {
        self.versions.get(key)?.last()?.1.as_ref()
    }

    fn list(&self, prefix: &Key, page: &Page) -> Result<Listing, StoreError> {
        let at = page.at.unwrap_or(self.revision);
        if at < self.compacted {
            return Err(StoreError::Compacted { oldest: self.compacted });
        }
        if at > self.revision {
            return Err(StoreError::Future { asked: at });
        }
        let start = match &page.after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut found = self
            .versions
            .range::<Key, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter_map(|(_, versions)| versions.iter().rev().find(|(since, _)| *since <= at)?.1.as_ref());
        let entries = found.by_ref().take(page.limit).cloned().collect();
        let more = found.next().is_some();
        Ok(Listing { entries, revision: at, more })
    }

    fn commit(&mut self, txn: &Txn) -> Result<Revision, Conflict> {
        for guard in &txn.guards {
            let current = self.current(guard.key());
            if !guard.holds(current) {
                let conflict =
                    Conflict { key: guard.key().clone(), current: current.cloned(), revision: self.revision };
                return Err(conflict);
            }
        }
        let revision = Revision(self.revision.0 + 1);
        let changes: Vec<Change> = txn.ops.iter().filter_map(|op| self.change(op, revision)).collect();
        if changes.is_empty() {
            return Ok(self.revision);
        }
        for change in &changes {
            // A put by others than the holder unbinds the key from its lease, as in etcd.
            self.leases.forget(&change.key);
            let entry = match &change.kind {
                ChangeKind::Put(entry) => Some(entry.clone()),
                ChangeKind::Delete => None,
            };
            self.versions.entry(change.key.clone()).or_default().push((revision, entry));
        }
        self.log.push_back(Batch { revision, changes });
        self.revision = revision;
        Ok(revision)
    }

    fn campaign(&mut self, bid: &Bid, now: Instant) -> Standing {
        if let Some(entry) = self.current(&bid.key).cloned() {
            let held = entry.value == bid.holder;
            let kept = if held { self.leases.keep_alive(&bid.key, now) } else { None };
            return Standing { entry, kept, revision: self.revision };
        }
        let (key, value) = (bid.key.clone(), bid.holder.clone());
        let created = self.apply(&Txn::new().put(key.clone(), value.clone()));
        self.leases.grant(key.clone(), bid.ttl, now);
        let entry = Entry { key, value, created, modified: created };
        Standing { entry, kept: Some(bid.ttl), revision: created }
    }

    fn resign(&mut self, key: &Key, holder: &Bytes) -> Revision {
        if self.current(key).is_some_and(|entry| entry.value == *holder) {
            self.delete(key.clone());
        }
        self.revision
    }

    /// Deletes the keys whose lease is over, each at a revision of its own.
    fn expire(&mut self, now: Instant) {
        for key in self.leases.over(now) {
            self.delete(key);
        }
    }

    fn delete(&mut self, key: Key) {
        self.leases.forget(&key);
        self.apply(&Txn::new().delete(key));
    }

    /// Commits a transaction without guards, which cannot conflict.
    fn apply(&mut self, txn: &Txn) -> Revision {
        self.commit(txn).unwrap_or_else(|conflict| conflict.revision)
    }

    /// What `op` changes if it is applied at `revision`; nothing if it deletes an absent key.
    fn change(&self, op: &Op, revision: Revision) -> Option<Change> {
        let previous = self.current(op.key()).cloned();
        let kind = match op {
            Op::Put(key, value) => {
                let created = previous.as_ref().map_or(revision, |entry| entry.created);
                ChangeKind::Put(Entry { key: key.clone(), value: value.clone(), created, modified: revision })
            }
            Op::Delete(_) if previous.is_none() => return None,
            Op::Delete(_) => ChangeKind::Delete,
        };
        Some(Change { key: op.key().clone(), kind, previous })
    }

    fn compact(&mut self, to: Revision) -> Result<(), StoreError> {
        if to > self.revision {
            return Err(StoreError::Future { asked: to });
        }
        // Before 2, the revision of the first commit, there is nothing to forget.
        if to <= self.compacted || to < Revision(2) {
            return Ok(());
        }
        self.compacted = to;
        let forgotten = self.log.partition_point(|batch| batch.revision <= to);
        self.log.drain(..forgotten);
        self.versions.retain(|_, versions| {
            // Keeps what the key holds at `to`, unless that is nothing.
            let later = versions.partition_point(|(since, _)| *since <= to);
            let keep = match later.checked_sub(1) {
                Some(last) if versions[last].1.is_some() => last,
                _ => later,
            };
            versions.drain(..keep);
            !versions.is_empty()
        });
        Ok(())
    }
}
