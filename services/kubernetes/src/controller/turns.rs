//! Turns on clusters: how many applications are worked on at once per cluster, so that a slow one leaves workers to the others.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use krake_client::NamespacedName;
use krake_runtime::controller::{Priority, Queue};

use crate::object::ClusterUid;

#[derive(Debug, Default)]
struct Busy {
    active: usize,
    waiting: VecDeque<NamespacedName>,
    waits: HashSet<NamespacedName>,
    /// Those that were called, and have not come yet: as many turns are meant for them.
    called: HashSet<NamespacedName>,
}

/// Hands out turns. An application that gets none is put back into the queue when one becomes free: nobody waits in between.
/// One that is called and does not need its turn any more passes it on.
#[derive(Debug)]
pub(crate) struct Turns {
    at_once: usize,
    queue: Queue<NamespacedName>,
    clusters: Mutex<HashMap<ClusterUid, Busy>>,
}

/// The right to work on a cluster until it is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the turn"]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    cluster: ClusterUid,
}

impl Busy {
    /// Calls the first that waits, if a turn is free for it.
    fn call(&mut self, at_once: usize) -> Option<NamespacedName> {
        if self.active + self.called.len() >= at_once {
            return None;
        }
        let next = self.waiting.pop_front()?;
        self.waits.remove(&next);
        self.called.insert(next.clone());
        Some(next)
    }

    fn is_idle(&self) -> bool {
        self.active == 0 && self.waiting.is_empty() && self.called.is_empty()
    }
}

impl Turns {
    /// At most `at_once` turns per cluster at the same time; whoever waits comes back through `queue`.
    pub(crate) fn new(at_once: usize, queue: Queue<NamespacedName>) -> Arc<Self> {
        Arc::new(Self { at_once: at_once.max(1), queue, clusters: Mutex::default() })
    }

    /// A turn for an application on each of the clusters, or none at all: then it will be queued again. What it was called
    /// for elsewhere is passed on.
    pub(crate) fn take(
        self: &Arc<Self>,
        clusters: impl IntoIterator<Item = ClusterUid>,
        key: &NamespacedName,
    ) -> Option<Vec<Turn>> {
        let taken = clusters.into_iter().map(|cluster| self.take_one(cluster, key)).collect();
        self.leave(key);
        taken
    }

    /// An application does not come for the turns that it was called for.
    pub(crate) fn leave(&self, key: &NamespacedName) {
        let mut clusters = self.lock();
        let mut next = Vec::new();
        clusters.retain(|_, busy| {
            if busy.called.remove(key) {
                next.extend(busy.call(self.at_once));
            }
            !busy.is_idle()
        });
        drop(clusters);
        next.into_iter().for_each(|key| self.queue.add(key, Priority::Change));
    }

    fn take_one(self: &Arc<Self>, cluster: ClusterUid, key: &NamespacedName) -> Option<Turn> {
        let mut clusters = self.lock();
        let busy = clusters.entry(cluster.clone()).or_default();
        busy.called.remove(key);
        if busy.active >= self.at_once {
            if busy.waits.insert(key.clone()) {
                busy.waiting.push_back(key.clone());
            }
            return None;
        }
        busy.active += 1;
        drop(clusters);
        Some(Turn { turns: self.clone(), cluster })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClusterUid, Busy>> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut clusters = self.turns.lock();
        let Some(busy) = clusters.get_mut(&self.cluster) else { return };
        busy.active = busy.active.saturating_sub(1);
        let next = busy.call(self.turns.at_once);
        if busy.is_idle() {
            clusters.remove(&self.cluster);
        }
        drop(clusters);
        if let Some(key) = next {
            self.turns.queue.add(key, Priority::Change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use krake_runtime::controller::Depth;

    fn take(turns: &Arc<Turns>, clusters: &[&str], name: &str) -> Option<Vec<Turn>> {
        turns.take(clusters.iter().map(|uid| ClusterUid::from(*uid)), &NamespacedName::new("n", name))
    }

    #[tokio::test]
    async fn a_full_cluster_lets_others_work_and_calls_who_waited_in_order() {
        let queue = Queue::new();
        let turns = Turns::new(2, queue.clone());
        let first = take(&turns, &["slow"], "a").unwrap();
        let _second = take(&turns, &["slow"], "b").unwrap();
        assert!(take(&turns, &["slow"], "c").is_none());
        assert!(take(&turns, &["slow"], "c").is_none(), "it waits once, however often it asks");
        assert!(take(&turns, &["slow"], "d").is_none());
        assert!(take(&turns, &["other"], "e").is_some());
        assert_eq!(queue.depth(), Depth::default(), "waiting costs no work");
        drop(first);
        assert_eq!(queue.next().await.key().name, "c");
        assert_eq!(queue.depth(), Depth::default(), "one turn, one call");
        assert!(take(&turns, &["slow"], "c").is_some());
    }

    #[test]
    fn no_turn_is_kept_when_not_all_are_free() {
        let turns = Turns::new(1, Queue::new());
        let one = take(&turns, &["b"], "x").unwrap();
        assert!(take(&turns, &["a", "b"], "y").is_none());
        assert!(take(&turns, &["a"], "z").is_some(), "the turn on a was given back");
        drop(one);
        assert!(take(&turns, &["a", "b"], "y").is_some());
        assert!(turns.lock().is_empty(), "nothing is kept of idle clusters");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_called_and_does_not_come_passes_the_turn_on() {
        /// The one that was called, at once.
        async fn called(queue: &Queue<NamespacedName>) -> String {
            let next = tokio::time::timeout(std::time::Duration::from_secs(1), queue.next()).await;
            next.expect("somebody is called").key().name.clone()
        }
        let queue = Queue::new();
        let turns = Turns::new(1, queue.clone());
        let first = take(&turns, &["slow"], "a").unwrap();
        for name in ["gone", "moved", "waits", "last"] {
            assert!(take(&turns, &["slow"], name).is_none());
        }
        drop(first);
        assert_eq!(called(&queue).await, "gone");
        turns.leave(&NamespacedName::new("n", "gone"));
        assert_eq!(called(&queue).await, "moved");
        let _elsewhere = take(&turns, &["other"], "moved").unwrap();
        assert_eq!(called(&queue).await, "waits");
        // While one is called, another one that comes by itself may be first: then who was called waits again.
        let by_itself = take(&turns, &["slow"], "b").unwrap();
        assert!(take(&turns, &["slow"], "waits").is_none());
        drop(by_itself);
        assert_eq!(called(&queue).await, "last");
        drop(take(&turns, &["slow"], "last").unwrap());
        assert_eq!(called(&queue).await, "waits");
        drop(take(&turns, &["slow"], "waits").unwrap());
        assert_eq!(turns.lock().len(), 1, "nothing is kept of idle clusters");
    }
}
