//! The changes before a start of the cache, read back from the store, so that watchers resume over a restart.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;

use super::{Batch, Change, Limits, Stored, readable};
use crate::object::key;
use crate::object::keyring::Keyring;
use crate::store::{Batch as StoreBatch, ChangeKind, Key, Revision, Store, Txn, WatchError};

/// Maximum wait of the start for the past. Without it watches begin again, which costs work and loses nothing.
const RECALL_LIMIT: Duration = Duration::from_secs(5);

/// Changes up to a revision.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// Each revision that changed something, whole and in order.
    pub(super) batches: VecDeque<Arc<Batch>>,
    /// The changes after this revision are all there.
    pub(super) oldest: Revision,
}

/// The changes of at most as many revisions as `limits` keep in any case, up to `now`, as far as the store still knows
/// them: older ones are not worth the wait at start. `objects` are the resources at `now`.
pub(super) async fn recall(
    store: &dyn Store,
    keyring: &Keyring,
    now: Revision,
    limits: &Limits,
    objects: &BTreeMap<Key, Arc<Stored>>,
) -> Past {
    let length = i64::try_from(limits.revisions).unwrap_or(i64::MAX);
    let after = Revision(now.0.saturating_sub(length).max(0));
    let read = async {
        // The watch must come to something after `now`, or it could not tell that nothing before it is missing.
        store.commit(Txn::new().put(key::TICK, Bytes::new())).await.ok()?.ok()?;
        match replay(store, keyring, after..now, limits, objects).await {
            Err(WatchError::Compacted { oldest }) if oldest < now => {
                replay(store, keyring, oldest..now, limits, objects).await.ok()
            }
            replayed => replayed.ok(),
        }
    };
    match tokio::time::timeout(RECALL_LIMIT, read).await {
        Ok(Some(past)) => past,
        Ok(None) | Err(_) => {
            tracing::info!(revision = %now, "the store's history cannot be read; watches must start over");
            Past { oldest: now, ..Default::default() }
        }
    }
}

/// The changes after the start of `span` up to its end; fewer if they are large.
async fn replay(
    store: &dyn Store,
    keyring: &Keyring,
    span: Range<Revision>,
    limits: &Limits,
    objects: &BTreeMap<Key, Arc<Stored>>,
) -> Result<Past, WatchError> {
    let Range { start: after, end: now } = span;
    let mut past = Past { oldest: after, ..Default::default() };
    let mut states = States { keyring, objects, known: BTreeMap::new() };
    let mut bytes = 0;
    let mut changes = store.watch(&key::ROOT, after);
    while let Some(batch) = changes.next().await {
        let batch = batch?;
        if batch.revision > now {
            break;
        }
        let batch = states.apply(batch);
        if batch.changes.is_empty() {
            continue;
        }
        bytes += batch.bytes();
        past.batches.push_back(Arc::new(batch));
        while bytes > limits.bytes && past.batches.len() > 1 {
            let Some(dropped) = past.batches.pop_front() else { break };
            bytes -= dropped.bytes();
            past.oldest = dropped.revision;
        }
    }
    Ok(past)
}

/// What is known of the resources at the revision that the replay has reached.
struct States<'a> {
    keyring: &'a Keyring,
    /// At its end.
    objects: &'a BTreeMap<Key, Arc<Stored>>,
    /// Now; only those that changed. The last readable state of each, as the cache itself keeps it.
    known: BTreeMap<Key, Option<Arc<Stored>>>,
}

impl States<'_> {
    fn apply(&mut self, batch: StoreBatch) -> Batch {
        let mut changes = Vec::with_capacity(batch.changes.len());
        for change in batch.changes {
            let before = match self.known.remove(&change.key) {
                Some(known) => known,
                None => change
                    .previous
                    .as_ref()
                    .and_then(|entry| readable(self.keyring, entry))
                    .map(|(_, stored)| stored),
            };
            let after = match &change.kind {
                ChangeKind::Delete => None,
                ChangeKind::Put(entry) => match self.shared(&change.key, entry.modified) {
                    Some(same) => Some(same),
                    None => match readable(self.keyring, entry) {
                        Some((_, stored)) => Some(stored),
                        // Not a resource, or one that cannot be read, which must not look erased.
                        None => {
                            self.known.insert(change.key, before);
                            continue;
                        }
                    },
                },
            };
            self.known.insert(change.key.clone(), after.clone());
            if before.is_some() || after.is_some() {
                changes.push(Change { key: change.key, before, after });
            }
        }
        Batch { revision: batch.revision, changes }
    }

    /// The present state, if it is the one that a change at `revision` left: then it need not be held twice.
    fn shared(&self, key: &Key, revision: Revision) -> Option<Arc<Stored>> {
        self.objects.get(key).filter(|stored| stored.revision == revision).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Behind, Cache};
    use super::*;
    use crate::object::value;
    use crate::store::MemoryStore;

    fn metric(name: &str) -> Key {
        key::resource(krake_proto::kind("core", "Metric").unwrap(), "demo", name)
    }

    async fn put(store: &MemoryStore, name: &str) -> Revision {
        let value = value::encode("krake.core.v1.Metric", &Bytes::new());
        store.commit(Txn::new().put(metric(name), value)).await.unwrap().unwrap()
    }

    async fn filled(store: &MemoryStore, length: usize) -> Cache {
        let cache = Cache::with_history(length);
        cache.fill(store).await.unwrap();
        cache
    }

    #[tokio::test]
    async fn the_past_is_as_long_as_the_history_that_is_kept() {
        let store = MemoryStore::new();
        let mut last = Revision::default();
        for _ in 0..10 {
            last = put(&store, "m").await;
        }
        let cache = filled(&store, 3).await;
        let oldest = Revision(last.0 - 3);
        assert_eq!(cache.since(Revision(oldest.0 - 1), 9).unwrap_err(), Behind { oldest });
        let (batches, now) = cache.since(oldest, 9).unwrap();
        let revisions: Vec<i64> = batches.iter().map(|batch| batch.revision.0).collect();
        assert_eq!((revisions, now), (vec![last.0 - 2, last.0 - 1, last.0], last));
        let newest = batches[2].changes[0].after.as_ref().unwrap();
        assert!(Arc::ptr_eq(newest, &cache.get(&metric("m")).unwrap()), "it is held once");
        let before = batches[2].changes[0].before.as_ref().unwrap();
        assert!(Arc::ptr_eq(before, batches[1].changes[0].after.as_ref().unwrap()), "and so are all others");
    }

    #[tokio::test]
    async fn a_value_that_cannot_be_read_does_not_look_erased_and_its_erasure_is_told() {
        let store = MemoryStore::new();
        let begin = put(&store, "other").await;
        let readable = put(&store, "m").await;
        store.commit(Txn::new().put(metric("m"), "from the future")).await.unwrap().unwrap();
        let erased = store.commit(Txn::new().delete(metric("m"))).await.unwrap().unwrap();
        let cache = filled(&store, 100).await;
        let (batches, _) = cache.since(begin, 9).unwrap();
        let changes: Vec<_> = batches
            .iter()
            .flat_map(|batch| batch.changes.iter().map(|change| (batch.revision, change)))
            .map(|(at, change)| {
                let revision = |side: &Option<Arc<Stored>>| side.as_ref().map(|stored| stored.revision);
                (at, revision(&change.before), revision(&change.after))
            })
            .collect();
        assert_eq!(changes, [(readable, None, Some(readable)), (erased, Some(readable), None)]);
    }

    #[tokio::test]
    async fn without_a_past_the_history_begins_now() {
        let store = MemoryStore::new();
        put(&store, "m").await;
        let now = put(&store, "m").await;
        store.compact(now).await.unwrap();
        let cache = filled(&store, 100).await;
        assert!(cache.since(Revision(now.0 - 1), 9).is_err());
        assert!(cache.since(now, 9).unwrap().0.is_empty());
        assert!(cache.get(&metric("m")).is_some());
    }
}
