//! The store that the configuration names, open.

use std::sync::Arc;

use anyhow::Context;

use crate::config::StoreConfig;
use crate::store::{EtcdOptions, EtcdStore, MemoryStore, SqliteOptions, SqliteStore, Store};

/// An open store that is closed in the way of its kind.
pub(crate) enum Opened {
    /// Closed when the last handle is dropped.
    Dropped(Arc<dyn Store>),
    /// A file.
    File(SqliteStore),
}

impl Opened {
    /// Opens the store. An etcd may come up later.
    pub(crate) async fn open(config: StoreConfig) -> anyhow::Result<Self> {
        Ok(match config {
            StoreConfig::Etcd { endpoints, prefix, access } => {
                let options = EtcdOptions { access, ..EtcdOptions::new(endpoints, prefix) };
                let store = Box::pin(EtcdStore::connect(options))
                    .await
                    .context("cannot use the etcd configuration")?;
                Self::Dropped(Arc::new(store))
            }
            StoreConfig::Sqlite { file } => Self::File(SqliteStore::open(SqliteOptions::new(file)).await?),
            StoreConfig::Memory => {
                tracing::warn!("everything is kept in memory and lost when this process ends");
                Self::Dropped(Arc::new(MemoryStore::new()))
            }
        })
    }

    /// The store.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Dropped(store) => Arc::clone(store),
            Self::File(store) => Arc::new(store.clone()),
        }
    }

    /// Closes it. Nothing is lost without this, but a file is then tidied up by whoever opens it next.
    pub(crate) async fn close(self) {
        if let Self::File(store) = self {
            store.close().await;
        }
    }
}
