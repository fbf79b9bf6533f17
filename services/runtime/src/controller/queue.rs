//! The queue of keys between what wakes a controller and its workers. It follows tokio's clock, paused or not.

use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::schedule::{Depth, Priority, Schedule};

/// A queue of keys; clones share it.
///
/// * A key waits at most once however often it is added: the earlier time and the higher priority win. The queue is
///   therefore bounded by the number of keys.
/// * A key being worked on is not handed out again before its [`Claim`] is dropped; added meanwhile, it comes again
///   after that.
/// * Changes come before resyncs; within a priority, first come, first served.
pub struct Queue<K: Clone + Eq + Hash> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    schedule: Mutex<Schedule<K>>,
    /// Wakes one waiter whenever the answer to "what is next, and when" may have changed.
    changed: Notify,
}

impl<K: Clone + Eq + Hash> Queue<K> {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Wants `key` to be worked on as soon as a worker is free.
    pub fn add(&self, key: K, priority: Priority) {
        self.add_after(key, priority, Duration::ZERO);
    }

    /// Wants `key` to be worked on in `delay`, or earlier if it is wanted earlier.
    pub fn add_after(&self, key: K, priority: Priority, delay: Duration) {
        let now = Instant::now();
        self.lock().add(key, priority, now + delay, now);
        self.shared.changed.notify_one();
    }

    /// Waits for the next key that is due. Dropping this future loses nothing.
    pub async fn next(&self) -> Claim<K> {
        loop {
            let changed = self.shared.changed.notified();
            let due = match self.try_next() {
                Ok(claim) => return claim,
                Err(due) => due,
            };
            match due {
                Some(due) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(due) => {}
                },
                None => changed.await,
            }
        }
    }

    /// How many keys are in which state.
    pub fn depth(&self) -> Depth {
        self.lock().depth()
    }

    /// The next key that is due, or when to look again (`None`: after the next add).
    fn try_next(&self) -> Result<Claim<K>, Option<Instant>> {
        let mut schedule = self.lock();
        let Some((key, priority)) = schedule.take(Instant::now()) else { return Err(schedule.next_due()) };
        if schedule.is_waiting() {
            // This waiter goes to work: another one must look after what still waits.
            self.shared.changed.notify_one();
        }
        drop(schedule);
        Ok(Claim { key, priority, queue: self.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Schedule<K>> {
        self.shared.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> Default for Queue<K> {
    fn default() -> Self {
        Self { shared: Arc::new(Shared { schedule: Mutex::default(), changed: Notify::new() }) }
    }
}

impl<K: Clone + Eq + Hash> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K: Clone + Eq + Hash> fmt::Debug for Queue<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("depth", &self.depth()).finish()
    }
}

/// The right to work on a key. Nobody else gets the key until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it says that the work on the key is done"]
pub struct Claim<K: Clone + Eq + Hash> {
    key: K,
    priority: Priority,
    queue: Queue<K>,
}

impl<K: Clone + Eq + Hash> Claim<K> {
    /// What to work on.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// How urgent it was.
    pub fn priority(&self) -> Priority {
        self.priority
    }
}

impl<K: Clone + Eq + Hash> Drop for Claim<K> {
    fn drop(&mut self) {
        self.queue.lock().release(&self.key, Instant::now());
        self.queue.shared.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::task::JoinSet;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn try_next(queue: &Queue<&'static str>) -> Option<Claim<&'static str>> {
        queue.next().now_or_never()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_being_worked_on_comes_again_only_after_it_is_done() {
        let queue = Queue::new();
        queue.add("a", Priority::Change);
        queue.add("a", Priority::Change);
        let claim = queue.next().await;
        queue.add("a", Priority::Change);
        assert!(try_next(&queue).is_none(), "one at a time, and two adds before are one demand");
        drop(claim);
        drop(try_next(&queue).expect("added meanwhile"));
        assert!(try_next(&queue).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_delayed_key_comes_on_time() {
        let queue = Queue::new();
        let start = Instant::now();
        queue.add_after("late", Priority::Change, SECOND * 9);
        queue.add_after("soon", Priority::Resync, SECOND * 2);
        assert_eq!(*queue.next().await.key(), "soon");
        assert_eq!(start.elapsed().as_secs(), 2);
        assert_eq!(*queue.next().await.key(), "late");
        assert_eq!(start.elapsed().as_secs(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_demand_wakes_whoever_waits_for_a_later_one() {
        let queue = Queue::new();
        queue.add_after("a", Priority::Change, SECOND * 60);
        let start = Instant::now();
        let other = queue.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            tokio::time::sleep(SECOND).await;
            other.add_after("a", Priority::Change, SECOND);
        });
        assert_eq!(*queue.next().await.key(), "a");
        assert_eq!(start.elapsed().as_secs(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_workers_look_after_delayed_keys_while_others_work() {
        let queue = Queue::new();
        let start = Instant::now();
        let mut workers = JoinSet::new();
        for _ in 0..3 {
            let queue = queue.clone();
            workers.spawn(async move {
                let claim = queue.next().await;
                let taken = start.elapsed().as_secs();
                // Busy for long: whoever else waits must look after the rest.
                tokio::time::sleep(SECOND * 100).await;
                (*claim.key(), taken)
            });
        }
        tokio::task::yield_now().await;
        queue.add_after("seven", Priority::Change, SECOND * 7);
        tokio::time::sleep(SECOND).await;
        queue.add("one", Priority::Change);
        queue.add("one too", Priority::Resync);
        let mut taken = workers.join_all().await;
        taken.sort_unstable();
        assert_eq!(taken, [("one", 1), ("one too", 1), ("seven", 7)]);
    }

    #[tokio::test]
    async fn nothing_is_lost_or_worked_on_twice_at_once_under_many_adders_and_workers() {
        let queue = Queue::new();
        let (adds, keys) = (2_000_u32, 7);
        let busy = Arc::new(Mutex::new(std::collections::HashSet::new()));
        let seen = Arc::new(Mutex::new(std::collections::HashMap::new()));
        let latest = Arc::new(Mutex::new(std::collections::HashMap::new()));
        let mut workers = JoinSet::new();
        for _ in 0..4 {
            let (queue, busy, seen, latest) = (queue.clone(), busy.clone(), seen.clone(), latest.clone());
            workers.spawn(async move {
                loop {
                    let claim = queue.next().await;
                    let key = *claim.key();
                    assert!(busy.lock().unwrap().insert(key), "{key} twice at once");
                    let value = latest.lock().unwrap().get(&key).copied();
                    tokio::task::yield_now().await;
                    seen.lock().unwrap().insert(key, value);
                    busy.lock().unwrap().remove(&key);
                }
            });
        }
        for add in 0..adds {
            latest.lock().unwrap().insert(add % keys, add);
            queue.add(add % keys, if add % 3 == 0 { Priority::Resync } else { Priority::Change });
            if add % 5 == 0 {
                tokio::task::yield_now().await;
            }
        }
        while queue.depth() != Depth::default() {
            tokio::task::yield_now().await;
        }
        for key in 0..keys {
            let last = latest.lock().unwrap().get(&key).copied();
            assert_eq!(seen.lock().unwrap()[&key], last, "the last add of {key} was followed by a hand-out");
        }
        workers.shutdown().await;
    }
}
