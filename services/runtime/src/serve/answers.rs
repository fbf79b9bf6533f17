//! Memory of answers that are not sent yet, bounded for each peer: a client decides how fast it reads, if at all.
//!
//! A handler reserves room before it builds a large answer, then reduces it to the answer's size, and puts the
//! [`AnswerMemory`] into the extensions of the response. The listener gives it back when the last byte was sent, or the
//! call was dropped.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::Extensions;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::limits::ConnectionLimits;
use super::peer::peer_network;

/// Answers below this size in bytes are not counted: the limit on open calls bounds them.
pub const SMALL_ANSWER_BYTES: usize = 64 * 1024;

/// Room for the answers to one peer, over all its connections. Every request of a listener has it as an extension;
/// clones share it.
#[derive(Clone, Debug)]
pub struct AnswerBudget(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    /// Maximum bytes that are held.
    limit: usize,
    /// Longest wait for room.
    wait: Duration,
    held: AtomicUsize,
    /// Notified when bytes are given back.
    freed: Notify,
    /// Held by the call that waits for room; the others queue here.
    turn: tokio::sync::Mutex<()>,
    /// Its peer, and the budgets that it is one of.
    place: Option<(IpAddr, PeerBudgets)>,
}

/// There is no room for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the answers to this address that are under way take {} MiB (--max-unread-mib-per-peer); read or cancel some first",
    limit >> 20
)]
pub struct NoRoom {
    /// Maximum bytes that are held for the peer.
    pub limit: usize,
}

impl AnswerBudget {
    /// A budget of `limit` bytes; a reservation waits for at most `wait`.
    pub fn new(limit: usize, wait: Duration) -> Self {
        Self::at(limit, wait, None)
    }

    fn at(limit: usize, wait: Duration, place: Option<(IpAddr, PeerBudgets)>) -> Self {
        let (freed, turn) = (Notify::new(), tokio::sync::Mutex::default());
        AnswerBudget(Arc::new(Budget { limit, wait, held: AtomicUsize::new(0), freed, turn, place }))
    }

    /// The budget of a request's peer; one of its own for a request that came over no connection.
    pub fn of(request: &Extensions) -> Self {
        request.get::<Self>().cloned().unwrap_or_else(|| {
            let limits = ConnectionLimits::default();
            Self::new(limits.max_unread_bytes_per_peer, limits.room_timeout)
        })
    }

    /// Bytes that are held.
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Acquire)
    }

    /// Room for an answer of at most `bytes`, or for as much as the peer may have at all. Waits its turn for it.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn reserve(&self, bytes: usize) -> Result<AnswerMemory, NoRoom> {
        let budget = &self.0;
        let bytes = bytes.min(budget.limit);
        let room = async {
            let _turn = budget.turn.lock().await;
            loop {
                // A notification that comes before the wait is kept.
                match self.try_reserve(bytes) {
                    Some(memory) => return memory,
                    None => budget.freed.notified().await,
                }
            }
        };
        timeout(budget.wait, room).await.map_err(|_| self.no_room())
    }

    /// Room for an answer of `bytes`, if there is some now.
    pub fn try_reserve(&self, bytes: usize) -> Option<AnswerMemory> {
        self.hold(bytes, self.0.limit)
    }

    /// Room for the answer of `bytes` to a write that has taken effect. Such answers cannot be put off, as they cannot be
    /// built again, so they may take as much again as all others.
    ///
    /// # Errors
    /// When that is used up too.
    pub fn hold_written(&self, bytes: usize) -> Result<AnswerMemory, NoRoom> {
        self.hold(bytes, self.0.limit.saturating_mul(2)).ok_or_else(|| self.no_room())
    }

    fn hold(&self, bytes: usize, limit: usize) -> Option<AnswerMemory> {
        let held = &self.0.held;
        let sum = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= limit);
        held.fetch_update(Ordering::AcqRel, Ordering::Acquire, sum).ok()?;
        Some(AnswerMemory(Arc::new(Held { budget: self.0.clone(), bytes: AtomicUsize::new(bytes) })))
    }

    /// The error of an answer without room.
    pub fn no_room(&self) -> NoRoom {
        NoRoom { limit: self.0.limit }
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        let Some((peer, budgets)) = &self.place else { return };
        let mut budgets = budgets.lock();
        // The peer may have come back with a new budget.
        if budgets.get(peer).is_some_and(|budget| budget.strong_count() == 0) {
            budgets.remove(peer);
        }
    }
}

/// Memory of an answer, which counts against its peer's budget until every clone of this is dropped.
#[derive(Clone, Debug)]
pub struct AnswerMemory(Arc<Held>);

#[derive(Debug)]
struct Held {
    budget: Arc<Budget>,
    bytes: AtomicUsize,
}

impl AnswerMemory {
    /// Corrects the size, once it is known. An answer that became larger than what was reserved delays those after it.
    pub fn resize(&self, bytes: usize) {
        let Held { budget, bytes: held } = &*self.0;
        let before = held.swap(bytes, Ordering::AcqRel);
        if bytes > before {
            budget.held.fetch_add(bytes - before, Ordering::AcqRel);
        } else {
            budget.give_back(before - bytes);
        }
    }

    /// `data`, which counts as long as it exists: the connection drops it when it was sent.
    pub fn carry(self, data: Bytes) -> Bytes {
        Bytes::from_owner(Carried { data, _memory: self })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes.load(Ordering::Acquire));
    }
}

impl Budget {
    fn give_back(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::AcqRel);
        self.freed.notify_one();
    }
}

/// See [`AnswerMemory::carry`].
struct Carried {
    data: Bytes,
    _memory: AnswerMemory,
}

impl AsRef<[u8]> for Carried {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

/// The budgets of a listener's peers; clones share them. A peer without connections and answers takes no memory.
#[derive(Clone, Debug)]
pub(super) struct PeerBudgets {
    limit: usize,
    wait: Duration,
    budgets: Arc<Mutex<HashMap<IpAddr, Weak<Budget>>>>,
}

impl PeerBudgets {
    pub(super) fn new(limits: &ConnectionLimits) -> Self {
        let (limit, wait) = (limits.max_unread_bytes_per_peer, limits.room_timeout);
        PeerBudgets { limit, wait, budgets: Arc::default() }
    }

    /// The budget of a peer, which its connections share.
    pub(super) fn of(&self, peer: SocketAddr) -> AnswerBudget {
        let peer = peer_network(peer);
        let mut budgets = self.lock();
        if let Some(budget) = budgets.get(&peer).and_then(Weak::upgrade) {
            return AnswerBudget(budget);
        }
        let new = AnswerBudget::at(self.limit, self.wait, Some((peer, self.clone())));
        budgets.insert(peer, Arc::downgrade(&new.0));
        new
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, Weak<Budget>>> {
        self.budgets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn room_is_waited_for_and_never_exceeded() {
        let budget = AnswerBudget::new(10, WAIT);
        let first = budget.reserve(8).await.unwrap();
        assert_eq!(budget.reserve(4).await.unwrap_err(), NoRoom { limit: 10 });
        assert!(budget.try_reserve(3).is_none());
        first.resize(6);
        let second = budget.reserve(4).await.unwrap();
        let waiting = budget.reserve(6);
        let third = tokio::join!(waiting, async { drop(first) }).0.unwrap();
        assert_eq!(budget.held(), 10);
        drop((second, third));
        assert_eq!(budget.held(), 0);
        assert_eq!(budget.reserve(100).await.unwrap().0.bytes.load(Ordering::Relaxed), 10, "alone it fits");
    }

    #[tokio::test(start_paused = true)]
    async fn small_answers_do_not_overtake_a_large_one_that_waits() {
        let budget = AnswerBudget::new(10, WAIT);
        let held = budget.reserve(5).await.unwrap();
        let mut large = std::pin::pin!(budget.reserve(10));
        let mut small = std::pin::pin!(budget.reserve(1));
        assert!(futures::poll!(&mut large).is_pending() && futures::poll!(&mut small).is_pending());
        drop(held);
        assert!(futures::poll!(&mut small).is_pending());
        drop(large.await.unwrap());
        small.await.unwrap();
    }

    #[test]
    fn answers_to_writes_take_as_much_again() {
        let budget = AnswerBudget::new(10, WAIT);
        let _full = budget.try_reserve(10).unwrap();
        let _written = budget.hold_written(10).unwrap();
        assert!(budget.hold_written(1).is_err());
    }

    #[test]
    fn bytes_count_until_they_are_dropped() {
        let budget = AnswerBudget::new(10, WAIT);
        let data = budget.try_reserve(4).unwrap().carry(Bytes::from_static(b"data"));
        let part = data.slice(1..2);
        drop(data);
        assert_eq!((budget.held(), part.as_ref()), (4, b"a".as_slice()));
        drop(part);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn each_peer_has_a_budget_as_long_as_it_is_needed() {
        let budgets = PeerBudgets::new(&ConnectionLimits::default());
        let of = |address: &str| budgets.of(address.parse().unwrap());
        let (here, there) = (of("10.0.0.1:1"), of("10.0.0.2:1"));
        let memory = of("[::ffff:10.0.0.1]:2").try_reserve(4).unwrap();
        assert_eq!((here.held(), there.held()), (4, 0));
        drop((here, there));
        assert_eq!(of("10.0.0.1:3").held(), 4, "an answer outlives its connection");
        drop(memory);
        assert!(budgets.lock().is_empty());
    }
}
