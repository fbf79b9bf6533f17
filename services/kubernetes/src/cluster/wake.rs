//! Who has to be looked at again: a set that coalesces, so that it never blocks a watch, never grows beyond what there is to
//! look at, and never loses anything.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::object::{ApplicationUid, ClusterUid};

/// Something changed on a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Wake {
    /// The cluster itself: reachable or not, its nodes. Concerns every application with a copy there, too.
    Cluster(ClusterUid),
    /// Objects of an application on a cluster.
    Application(ApplicationUid, ClusterUid),
}

/// What was woken and not yet taken.
#[derive(Debug, Default)]
pub struct Wakes {
    pending: Mutex<BTreeSet<Wake>>,
    arrived: Notify,
}

impl Wakes {
    /// Adds; does nothing if it is pending already.
    pub fn push(&self, wake: Wake) {
        self.lock().insert(wake);
        self.arrived.notify_one();
    }

    /// Takes everything that is pending; waits until there is something. For one consumer. Cancel safe.
    pub async fn take(&self) -> Vec<Wake> {
        loop {
            let arrived = self.arrived.notified();
            let taken = std::mem::take(&mut *self.lock());
            if !taken.is_empty() {
                return taken.into_iter().collect();
            }
            arrived.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Wake>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn coalesces_and_loses_nothing() {
        let wakes = Wakes::default();
        let one = Wake::Application("a".into(), "c".into());
        let other = Wake::Cluster("c".into());
        wakes.push(one.clone());
        wakes.push(one.clone());
        wakes.push(other.clone());
        assert_eq!(wakes.take().await, [other, one.clone()]);
        wakes.push(one.clone());
        assert_eq!(wakes.take().await, [one]);
    }

    #[tokio::test]
    async fn a_waiting_consumer_is_woken() {
        let wakes = Arc::new(Wakes::default());
        let consumer = tokio::spawn({
            let wakes = Arc::clone(&wakes);
            async move { wakes.take().await }
        });
        tokio::task::yield_now().await;
        wakes.push(Wake::Cluster("c".into()));
        assert_eq!(consumer.await.unwrap(), [Wake::Cluster("c".into())]);
    }
}
