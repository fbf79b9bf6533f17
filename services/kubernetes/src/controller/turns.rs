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
}

/// Hands out turns. An application that gets none is put back into the queue when one becomes free: nobody waits in between.
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

impl Turns {
    /// At most `at_once` turns per cluster at the same time; whoever waits comes back through `queue`.
    pub(crate) fn new(at_once: usize, queue: Queue<NamespacedName>) -> Arc<Self> {
        Arc::new(Self { at_once: at_once.max(1), queue, clusters: Mutex::default() })
    }

    /// A turn for an application on each of the clusters, or none at all: then it will be queued again.
    pub(crate) fn take(
        self: &Arc<Self>,
        clusters: impl IntoIterator<Item = ClusterUid>,
        key: &NamespacedName,
    ) -> Option<Vec<Turn>> {
        clusters.into_iter().map(|cluster| self.take_one(cluster, key)).collect()
    }

    fn take_one(self: &Arc<Self>, cluster: ClusterUid, key: &NamespacedName) -> Option<Turn> {
        let mut clusters = self.lock();
        let busy = clusters.entry(cluster.clone()).or_default();
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
        let next = busy.waiting.pop_front();
        if let Some(key) = &next {
            busy.waits.remove(key);
        } else if busy.active == 0 {
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
}
