//! Our own writes that the mirror does not show yet: nothing is decided on a state that we know to be old.
//!
//! Nobody waits here. The mirror tells of every write, our own among them, and that is the next look at the object.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use krake_client::NamespacedName;
use tokio::time::Instant;

/// How long the mirror may take. After that it is believed: a restored store may never come to an old revision.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Revisions of our last writes, by object, until the mirror shows them.
#[derive(Debug, Default)]
pub(crate) struct OwnWrites {
    awaited: Mutex<HashMap<NamespacedName, (i64, Instant)>>,
}

impl OwnWrites {
    /// Remembers a write.
    pub(crate) fn wrote(&self, key: &NamespacedName, resource_version: i64) {
        self.lock().insert(key.clone(), (resource_version, Instant::now()));
    }

    /// Whether what the mirror shows of an object includes our last write to it.
    pub(crate) fn are_shown(&self, key: &NamespacedName, resource_version: i64) -> bool {
        let mut awaited = self.lock();
        let Some((revision, since)) = awaited.get(key) else { return true };
        if resource_version < *revision && since.elapsed() < PATIENCE {
            return false;
        }
        if resource_version < *revision {
            tracing::warn!(%key, revision, shown = resource_version, "the mirror does not show our own write");
        }
        awaited.remove(key);
        true
    }

    /// The object is gone.
    pub(crate) fn forget(&self, key: &NamespacedName) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NamespacedName, (i64, Instant)>> {
        // Nothing that holds the lock panics halfway through a change.
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_object_is_let_alone_until_our_write_is_shown_or_for_a_while() {
        let (writes, key) = (OwnWrites::default(), NamespacedName::new("ns", "a"));
        assert!(writes.are_shown(&key, 1));
        writes.wrote(&key, 7);
        assert!(!writes.are_shown(&key, 6));
        assert!(writes.are_shown(&key, 7));
        writes.wrote(&key, 9);
        tokio::time::sleep(PATIENCE).await;
        assert!(writes.are_shown(&key, 8), "patience has an end");
        writes.wrote(&key, 11);
        writes.forget(&key);
        assert!(writes.lock().is_empty(), "nothing is kept");
    }
}
