//! The identity of an installation and of its store's history, made with the store.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::sleep;
use uuid::Uuid;

use crate::object::key;
use crate::store::{ChangeKind, Guard, Key, Revision, Store, StoreError, Txn};

/// Pause before a store that does not answer is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// Who this Krake is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installation {
    /// UUID of the installation; survives restores.
    pub installation: Arc<str>,
    /// UUID of the store's history; a restore makes a new one.
    pub epoch: Arc<str>,
}

impl Installation {
    /// Reads the identity, or makes it where there is none. Replicas that start together agree. Unavailable while the
    /// store is being restored.
    pub(crate) async fn ensure(store: &dyn Store) -> Result<Self, StoreError> {
        Ok(Installation {
            installation: ensure(store, key::INSTALLATION).await?,
            epoch: ensure(store, key::EPOCH).await?,
        })
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
                // Others tell that the store does not answer.
                Err(_) => sleep(RETRY).await,
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
        tokio::time::timeout(Duration::from_secs(30), replaced).await.unwrap();
        // Also if it happened before anybody looked.
        tokio::time::timeout(Duration::from_secs(30), first.replaced(&store)).await.unwrap();
    }
}
