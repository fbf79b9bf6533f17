//! A controller's own writes that its mirror does not show yet: nothing is decided on a state that is known to be old.
//!
//! No worker waits here. The mirror reports every write, the controller's own among them, and that is the next look at the
//! object. So a controller keeps all of its workers busy, however late the watch is.

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Maximum time for which an object is left alone. After that the mirror is believed: a restored store may never come to a
/// revision that it had.
pub const OWN_WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// Minimum number of writes at which those are looked for that need not be awaited any more. Each takes some hundred bytes.
const MIN_SWEEP: usize = 1024;

/// Revisions of a controller's last writes, by object, until the mirror shows them.
#[derive(Debug)]
pub struct OwnWrites<Key>(Mutex<Awaited<Key>>);

#[derive(Debug)]
struct Awaited<Key> {
    writes: HashMap<Key, (i64, Instant)>,
    /// Number of writes at which old ones are looked for.
    sweep_at: usize,
}

impl<Key> Default for OwnWrites<Key> {
    fn default() -> Self {
        Self(Mutex::new(Awaited { writes: HashMap::new(), sweep_at: MIN_SWEEP }))
    }
}

impl<Key: Clone + Eq + Hash + Display> OwnWrites<Key> {
    /// Remembers a write, after which the object has this `resource_version`.
    pub fn wrote(&self, key: &Key, resource_version: i64) {
        let mut awaited = self.lock();
        if awaited.writes.len() >= awaited.sweep_at {
            awaited.writes.retain(|_, (_, since)| since.elapsed() < OWN_WRITE_PATIENCE);
            awaited.sweep_at = MIN_SWEEP.max(awaited.writes.len().saturating_mul(2));
        }
        // Answers to concurrent writes come in any order.
        let write = awaited.writes.entry(key.clone()).or_insert((resource_version, Instant::now()));
        if write.0 < resource_version {
            *write = (resource_version, Instant::now());
        }
    }

    /// For how long at most to leave an object alone that the mirror shows at `resource_version`; `None` if that includes the
    /// last write to it. The mirror wakes the controller earlier.
    pub fn unseen_for(&self, key: &Key, resource_version: i64) -> Option<Duration> {
        let mut awaited = self.lock();
        let (revision, since) = *awaited.writes.get(key)?;
        let left = OWN_WRITE_PATIENCE.saturating_sub(since.elapsed());
        if resource_version < revision && !left.is_zero() {
            return Some(left);
        }
        if resource_version < revision {
            tracing::warn!(%key, revision, shown = resource_version, "the mirror does not show our own write");
        }
        awaited.writes.remove(key);
        None
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, key: &Key) {
        self.lock().writes.remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, Awaited<Key>> {
        // Nothing that holds the lock panics halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_object_is_left_alone_until_our_write_is_shown_or_for_a_while() {
        let (writes, key) = (OwnWrites::default(), "a");
        assert_eq!(writes.unseen_for(&key, 1), None);
        writes.wrote(&key, 7);
        assert_eq!(writes.unseen_for(&key, 6), Some(OWN_WRITE_PATIENCE));
        assert_eq!(writes.unseen_for(&"b", 6), None, "another one");
        assert_eq!(writes.unseen_for(&key, 7), None);
        writes.wrote(&key, 9);
        writes.wrote(&key, 8);
        tokio::time::sleep(OWN_WRITE_PATIENCE - Duration::from_secs(1)).await;
        assert_eq!(writes.unseen_for(&key, 8), Some(Duration::from_secs(1)));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(writes.unseen_for(&key, 8), None, "patience has an end");
        writes.wrote(&key, 11);
        writes.forget(&key);
        assert!(writes.lock().writes.is_empty(), "nothing is kept");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_looks_at_again_is_not_kept_for_ever() {
        let writes = OwnWrites::default();
        for number in 0..100_000 {
            writes.wrote(&number, 1);
            if number % 100 == 0 {
                tokio::time::advance(Duration::from_secs(1)).await;
            }
        }
        let kept = writes.lock().writes.len();
        assert!((500..=2 * MIN_SWEEP).contains(&kept), "{kept}");
    }
}
