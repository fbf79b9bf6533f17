//! The identity of an installation and of its store's history, made with the store.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::sleep;
use uuid::Uuid;

use crate::object::key;
use crate::store::{ChangeKind, Entry, Guard, Key, Lineage, Revision, Store, StoreError, Txn};

/// Pause before a call to a store that did not answer is repeated: short beside an election of etcd, which takes a few
/// seconds, and long enough not to load a store that is in trouble.
const STORE_RETRY_DELAY: Duration = Duration::from_secs(1);
/// Maximum attempts to record a new epoch, a second apart, before the process ends without it. The next start then
/// notices by the lineage.
const MAX_RENEWAL_ATTEMPTS: usize = 5;

/// Identity of an installation and of its store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installation {
    /// UUID of the installation; survives restores.
    pub installation: Arc<str>,
    /// UUID of the store's history; a restore makes a new one, and so does a store that lost history.
    pub epoch: Arc<str>,
    /// Evidence of that history; `None` where the store has none.
    pub lineage: Option<Lineage>,
}

impl Installation {
    /// Reads the identity, or makes it where there is none. Replicas that start together agree. Unavailable while the
    /// store is being restored. If the store is in another history than the recorded one, it gets a new epoch first.
    pub(crate) async fn ensure(store: &dyn Store) -> Result<Self, StoreError> {
        let installation = ensure(store, key::INSTALLATION).await?;
        loop {
            let epoch = ensure(store, key::EPOCH).await?;
            if let Some(lineage) = record_lineage(store).await? {
                return Ok(Installation { installation, epoch, lineage });
            }
        }
    }

    /// Gives a store that went back a new epoch, unless it has another one already: clients know revisions that the
    /// store lost, and must not resume from them.
    pub(crate) async fn renew_epoch(&self, store: &dyn Store) {
        for _ in 0..MAX_RENEWAL_ATTEMPTS {
            match self.try_renew_epoch(store).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot record a new epoch; trying again");
                    sleep(STORE_RETRY_DELAY).await;
                }
            }
        }
        tracing::error!(
            "a new epoch could not be recorded: clients may resume from changes that the store lost"
        );
    }

    /// False if another writer came first.
    async fn try_renew_epoch(&self, store: &dyn Store) -> Result<bool, StoreError> {
        let found = store.get(&key::EPOCH).await?;
        let Some(found) = found.filter(|found| found.value == self.epoch.as_bytes()) else { return Ok(true) };
        let lineage = store.lineage().await?;
        Ok(store.commit(new_epoch(&found, lineage)).await?.is_ok())
    }

    /// Ends when the store gets another history, by a restore: what this process knows is no longer so.
    pub(crate) async fn replaced(&self, store: &dyn Store) {
        loop {
            match self.is_present(store).await {
                Ok(None) => return,
                Ok(Some(at)) => {
                    let mut changes = store.watch(&key::EPOCH, at);
                    while let Some(Ok(batch)) = changes.next().await {
                        if !batch.changes.iter().all(|change| self.is_ours(&change.kind)) {
                            return;
                        }
                    }
                }
                // That the store does not answer, its other users log.
                Err(_) => sleep(STORE_RETRY_DELAY).await,
            }
        }
    }

    /// A revision at which the store still had this epoch; `None` if it has another one now.
    async fn is_present(&self, store: &dyn Store) -> Result<Option<Revision>, StoreError> {
        let at = store.revision().await?;
        let found = store.get(&key::EPOCH).await?.map(ChangeKind::Put);
        Ok(found.is_some_and(|found| self.is_ours(&found)).then_some(at))
    }

    fn is_ours(&self, kind: &ChangeKind) -> bool {
        matches!(kind, ChangeKind::Put(entry) if entry.value == self.epoch.as_bytes())
    }
}

/// Compares the store's lineage with the recorded one and records it. If the store lost the recorded history, it gets a
/// new epoch and this returns `None`: read the epoch again.
async fn record_lineage(store: &dyn Store) -> Result<Option<Option<Lineage>>, StoreError> {
    let Some(present) = store.lineage().await? else { return Ok(Some(None)) };
    let entry = store.get(&key::LINEAGE).await?;
    let text = entry.as_ref().and_then(|entry| std::str::from_utf8(&entry.value).ok());
    let recorded: Option<Lineage> = text.and_then(|text| text.parse().ok());
    let guard = match &entry {
        Some(entry) => Guard::At(key::LINEAGE, entry.modified),
        None => Guard::Absent(key::LINEAGE),
    };
    let txn = match recorded {
        Some(recorded) if present.replaces(&recorded) => {
            let Some(epoch) = store.get(&key::EPOCH).await? else { return Ok(None) };
            tracing::warn!(
                recorded = %recorded.at,
                present = %present.at,
                "the store was replaced by an older copy, or moved: it gets a new epoch, and clients read everything again"
            );
            // Another replica may have been faster.
            let _ = store.commit(new_epoch(&epoch, Some(present)).guard(guard)).await?;
            return Ok(None);
        }
        // It is not newer, or comes from a member that lags behind.
        Some(recorded) if present.at < recorded.at || present.drift <= recorded.drift => {
            return Ok(Some(Some(recorded)));
        }
        _ => Txn::new().guard(guard).put(key::LINEAGE, present.to_string()),
    };
    Ok(store.commit(txn).await?.is_ok().then_some(Some(present)))
}

/// Replaces an epoch.
fn new_epoch(present: &Entry, lineage: Option<Lineage>) -> Txn {
    let txn =
        Txn::new().guard(Guard::At(key::EPOCH, present.modified)).put(key::EPOCH, Uuid::new_v4().to_string());
    match lineage {
        Some(lineage) => txn.put(key::LINEAGE, lineage.to_string()),
        None => txn,
    }
}

async fn ensure(store: &dyn Store, key: Key) -> Result<Arc<str>, StoreError> {
    let made = Uuid::new_v4().to_string();
    let whole = Guard::Absent(key::RESTORING);
    let txn = Txn::new().guard(whole).guard(Guard::Absent(key.clone())).put(key.clone(), made.clone());
    match store.commit(txn).await? {
        Ok(_) => Ok(made.into()),
        Err(conflict) if conflict.key == key::RESTORING => {
            let reason = "a restore into it is under way; if it was cut off, repeat it with --replace";
            Err(StoreError::Unavailable { reason: reason.to_owned() })
        }
        Err(conflict) => {
            let found = conflict.current.and_then(|entry| String::from_utf8(entry.value.to_vec()).ok());
            found.map(Arc::from).ok_or_else(|| StoreError::Invalid { reason: format!("{key} holds no UUID") })
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn the_identity_is_made_once() {
        let store = MemoryStore::new();
        let first = Installation::ensure(&store).await.unwrap();
        assert_eq!(Installation::ensure(&store).await.unwrap(), first);
        assert_ne!(first.installation, first.epoch);
        let other = Installation::ensure(&MemoryStore::new()).await.unwrap();
        assert_ne!(other.installation, first.installation);
    }

    #[tokio::test]
    async fn a_store_that_is_being_restored_has_no_identity() {
        let store = MemoryStore::new();
        store.commit(Txn::new().put(key::RESTORING, "from a file")).await.unwrap().unwrap();
        let refused = Installation::ensure(&store).await.unwrap_err();
        assert!(refused.retryable() && refused.to_string().contains("--replace"), "{refused}");
        assert_eq!(store.get(&key::INSTALLATION).await.unwrap(), None);
        store.commit(Txn::new().delete(key::RESTORING)).await.unwrap().unwrap();
        Installation::ensure(&store).await.unwrap();
    }

    #[tokio::test]
    async fn another_epoch_is_noticed_and_nothing_else() {
        let store = MemoryStore::new();
        let first = Installation::ensure(&store).await.unwrap();
        let mut replaced = Box::pin(first.replaced(&store));
        assert!((&mut replaced).now_or_never().is_none());
        for _ in 0..3 {
            store.commit(Txn::new().put(key::TICK, "")).await.unwrap().unwrap();
        }
        store.commit(Txn::new().put(key::EPOCH, first.epoch.to_string())).await.unwrap().unwrap();
        assert!((&mut replaced).now_or_never().is_none(), "it is the same");
        store.commit(Txn::new().put(key::EPOCH, "another one")).await.unwrap().unwrap();
        tokio::time::timeout(Duration::from_secs(120), replaced).await.unwrap();
        // Also if it happened before anybody looked.
        tokio::time::timeout(Duration::from_secs(120), first.replaced(&store)).await.unwrap();
    }
}
