//! The identity of an installation and of its store's history, made with the store.

use std::sync::Arc;

use uuid::Uuid;

use crate::object::key;
use crate::store::{Guard, Key, Store, StoreError, Txn};

/// Who this Krake is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installation {
    /// UUID of the installation; survives restores.
    pub installation: Arc<str>,
    /// UUID of the store's history; a restore makes a new one.
    pub epoch: Arc<str>,
}

impl Installation {
    /// Reads the identity, or makes it where there is none. Replicas that start together agree.
    pub(crate) async fn ensure(store: &dyn Store) -> Result<Self, StoreError> {
        Ok(Installation {
            installation: ensure(store, key::INSTALLATION).await?,
            epoch: ensure(store, key::EPOCH).await?,
        })
    }
}

async fn ensure(store: &dyn Store, key: Key) -> Result<Arc<str>, StoreError> {
    let made = Uuid::new_v4().to_string();
    let txn = Txn::new().guard(Guard::Absent(key.clone())).put(key.clone(), made.clone());
    match store.commit(txn).await? {
        Ok(_) => Ok(made.into()),
        Err(conflict) => {
            let found = conflict.current.and_then(|entry| String::from_utf8(entry.value.to_vec()).ok());
            found.map(Arc::from).ok_or_else(|| StoreError::Invalid { reason: format!("{key} holds no UUID") })
        }
    }
}

#[cfg(test)]
mod tests {
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
}
