//! Which leases end when: kept by the stores that end them themselves. Pure, but for the type of its clock.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Key;

#[derive(Debug, Clone)]
struct Lease {
    ttl: Duration,
    end: Instant,
}

/// The keys that are bound to a lease.
#[derive(Debug, Default, Clone)]
pub(super) struct Leases {
    leases: BTreeMap<Key, Lease>,
}

impl Leases {
    /// Binds a key to a lease of its own.
    pub(super) fn grant(&mut self, key: Key, ttl: Duration, now: Instant) {
        self.leases.insert(key, Lease { ttl, end: now + ttl });
    }

    /// Keeps the key's lease alive and tells its ttl; `None` if the key has no lease.
    pub(super) fn keep_alive(&mut self, key: &Key, now: Instant) -> Option<Duration> {
        let lease = self.leases.get_mut(key)?;
        lease.end = now + lease.ttl;
        Some(lease.ttl)
    }

    /// Unbinds a key; false if it was bound to none.
    pub(super) fn forget(&mut self, key: &Key) -> bool {
        self.leases.remove(key).is_some()
    }

    /// The keys whose lease is over.
    pub(super) fn over(&self, now: Instant) -> Vec<Key> {
        self.leases.iter().filter(|(_, lease)| lease.end <= now).map(|(key, _)| key.clone()).collect()
    }

    /// All keys that are bound to a lease.
    pub(super) fn keys(&self) -> Vec<Key> {
        self.leases.keys().cloned().collect()
    }

    /// When the next lease ends, if it is not kept alive.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.leases.values().map(|lease| lease.end).min()
    }
}
