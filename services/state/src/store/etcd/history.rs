//! The entry that identifies the history of the store, so that a store which was replaced by a copy of itself is not taken
//! for the one before, although the copy may have been written to until its revisions tell nothing.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use etcd_client::{GetOptions, KvClient};

use super::super::{Key, Revision, StoreError};
use super::PROBE;
use super::answer::{Refusal, Root, header_revision};
use super::calls::Calls;

/// Reads the newest revision together with that entry. Clones share what is known of it.
#[derive(Clone)]
pub(super) struct History {
    kv: KvClient,
    root: Root,
    calls: Calls,
    /// Unset until the entry is known.
    entry: Arc<OnceLock<(Key, Bytes)>>,
}

impl History {
    pub(super) fn new(kv: KvClient, root: Root, calls: Calls) -> Self {
        Self { kv, root, calls, entry: Arc::default() }
    }

    /// Sets the entry. The first one counts.
    pub(super) fn expect(&self, key: Key, value: Bytes) {
        let _ = self.entry.set((key, value));
    }

    /// The newest revision of this history.
    ///
    /// # Errors
    /// [`StoreError::Replaced`] if the entry is another one at that revision.
    pub(super) async fn revision(&self) -> Result<Revision, Refusal> {
        let known = self.entry.get();
        let key = self.root.outer(known.map_or(&PROBE, |(key, _)| key));
        let options = if known.is_some() { GetOptions::new() } else { GetOptions::new().with_count_only() };
        let get = |mut kv: KvClient| {
            let (key, options) = (key.clone(), options.clone());
            async move { kv.get(key, Some(options)).await }
        };
        let answer = self.calls.within(&self.kv, get).await?.0;
        let revision = header_revision(answer.header.as_ref()).map_err(Refusal::Other)?;
        let found = self.root.first(answer);
        match known {
            Some((_, value)) if found.is_none_or(|found| found.value != value) => {
                Err(Refusal::Other(StoreError::Replaced))
            }
            _ => Ok(revision),
        }
    }

    /// Fails if the store is in another history or before `seen`, or if that cannot be read now. Reads nothing before the
    /// entry is known.
    pub(super) async fn check(&self, seen: Revision) -> Result<(), String> {
        if self.entry.get().is_none() {
            return Ok(());
        }
        match self.revision().await {
            Ok(found) if found < seen => Err(StoreError::WentBack { known: seen, found }.to_string()),
            Ok(_) => Ok(()),
            Err(Refusal::Other(error)) => Err(error.to_string()),
            Err(refusal) => Err(format!("cannot read which history the store is in: {refusal:?}")),
        }
    }
}
