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
    /// Shared with the other peers of the listener.
    total: Arc<Total>,
    /// Its peer, and the budgets that it is one of.
    place: Option<(IpAddr, PeerBudgets)>,
}

/// There is no room for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// The peer has not read others.
    #[error(
        "the answers to this address that are under way take {} MiB (--max-unread-mib-per-peer); read or cancel some \
         first",
        limit >> 20
    )]
    Peer {
        /// Maximum bytes that are held for the peer.
        limit: usize,
    },
    /// All peers together have not read others.
    #[error("the answers to all addresses that are under way take {} MiB (--max-unread-mib); try again later", limit >> 20)]
    All {
        /// Maximum bytes that are held for all peers.
        limit: usize,
    },
}

/// Marks an answer whose data carry their memory themselves: if the peer does not take it, the call is dropped, as with
/// [`AnswerMemory`].
#[derive(Clone, Copy, Debug)]
pub struct LargeAnswer;

/// Room for the answers to all peers of a listener.
#[derive(Debug)]
struct Total {
    /// Maximum bytes that are held.
    limit: usize,
    held: AtomicUsize,
    /// Notified when bytes are given back.
    freed: Notify,
}

impl Total {
    fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, held: AtomicUsize::new(0), freed: Notify::new() })
    }
}

impl AnswerBudget {
    /// A budget of `limit` bytes; a reservation waits for at most `wait`.
    pub fn new(limit: usize, wait: Duration) -> Self {
        // Alone, a peer may have all.
        Self::at(limit, wait, Total::new(limit), None)
    }

    fn at(limit: usize, wait: Duration, total: Arc<Total>, place: Option<(IpAddr, PeerBudgets)>) -> Self {
        let (freed, turn) = (Notify::new(), tokio::sync::Mutex::default());
        AnswerBudget(Arc::new(Budget { limit, wait, held: AtomicUsize::new(0), freed, turn, total, place }))
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
        let bytes = bytes.min(budget.limit).min(budget.total.limit);
        let room = async {
            let _turn = budget.turn.lock().await;
            loop {
                // Notifications that come before the wait count: one of its own is kept, and one of all is heard from here on.
                let freed_by_all = budget.total.freed.notified();
                if let Some(memory) = self.try_reserve(bytes) {
                    return memory;
                }
                tokio::select! {
                    biased;
                    () = budget.freed.notified() => {}
                    () = freed_by_all => {}
                }
            }
        };
        timeout(budget.wait, room).await.map_err(|_| self.no_room(bytes, 1))
    }

    /// Room for an answer of `bytes`, if there is some now.
    pub fn try_reserve(&self, bytes: usize) -> Option<AnswerMemory> {
        self.hold(bytes, 1)
    }

    /// Room for an answer of `bytes`, without a wait.
    ///
    /// # Errors
    /// When there is none now.
    pub fn reserve_now(&self, bytes: usize) -> Result<AnswerMemory, NoRoom> {
        self.try_reserve(bytes).ok_or_else(|| self.no_room(bytes, 1))
    }

    /// Room for the answer of `bytes` to a write that has taken effect. Such answers cannot be put off, as they cannot be
    /// built again, so they may take as much again as all others.
    ///
    /// # Errors
    /// When that is used up too.
    pub fn hold_written(&self, bytes: usize) -> Result<AnswerMemory, NoRoom> {
        self.hold(bytes, 2).ok_or_else(|| self.no_room(bytes, 2))
    }

    /// Room within `share` times the limits.
    fn hold(&self, bytes: usize, share: usize) -> Option<AnswerMemory> {
        let take = |held: &AtomicUsize, limit: usize| {
            let sum = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= limit.saturating_mul(share));
            held.fetch_update(Ordering::AcqRel, Ordering::Acquire, sum).is_ok()
        };
        let Budget { limit, held, total, .. } = &*self.0;
        if !take(held, *limit) {
            return None;
        }
        if !take(&total.held, total.limit) {
            held.fetch_sub(bytes, Ordering::AcqRel);
            return None;
        }
        Some(AnswerMemory(Arc::new(Held { budget: self.0.clone(), bytes: AtomicUsize::new(bytes) })))
    }

    /// Why there is no room for `bytes` within `share` times the limits.
    fn no_room(&self, bytes: usize, share: usize) -> NoRoom {
        let Budget { limit, total, .. } = &*self.0;
        match self.held().saturating_add(bytes) > limit.saturating_mul(share) {
            true => NoRoom::Peer { limit: *limit },
            false => NoRoom::All { limit: total.limit },
        }
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
            budget.total.held.fetch_add(bytes - before, Ordering::AcqRel);
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
        self.total.held.fetch_sub(bytes, Ordering::AcqRel);
        self.freed.notify_one();
        self.total.freed.notify_waiters();
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
    total: Arc<Total>,
    budgets: Arc<Mutex<HashMap<IpAddr, Weak<Budget>>>>,
}

impl PeerBudgets {
    pub(super) fn new(limits: &ConnectionLimits) -> Self {
        let (limit, wait) = (limits.max_unread_bytes_per_peer, limits.room_timeout);
        PeerBudgets { limit, wait, total: Total::new(limits.max_unread_bytes), budgets: Arc::default() }
    }

    /// The budget of a peer, which its connections share.
    pub(super) fn of(&self, peer: SocketAddr) -> AnswerBudget {
        let peer = peer_network(peer);
        let mut budgets = self.lock();
        if let Some(budget) = budgets.get(&peer).and_then(Weak::upgrade) {
            return AnswerBudget(budget);
        }
        let new = AnswerBudget::at(self.limit, self.wait, self.total.clone(), Some((peer, self.clone())));
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
        assert_eq!(budget.reserve(4).await.unwrap_err(), NoRoom::Peer { limit: 10 });
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

    #[tokio::test(start_paused = true)]
    async fn all_peers_together_have_a_limit_too() {
        let limits =
            ConnectionLimits { max_unread_bytes_per_peer: 4, max_unread_bytes: 10, ..Default::default() };
        let budgets = PeerBudgets::new(&limits);
        let of = |peer: u8| budgets.of(SocketAddr::from(([10, 0, 0, peer], 1)));
        let held: Vec<_> = (1..=2).map(|peer| of(peer).try_reserve(4).unwrap()).collect();
        assert_eq!(of(3).reserve(4).await.unwrap_err(), NoRoom::All { limit: 10 });
        assert_eq!(of(1).reserve(1).await.unwrap_err(), NoRoom::Peer { limit: 4 });
        assert_eq!(of(3).held(), 0, "a refusal holds nothing");
        let _small = of(3).try_reserve(2).unwrap();
        assert!(of(4).hold_written(8).is_ok(), "answers to writes take as much again");
        let budget = of(5);
        let waiting = budget.reserve(4);
        let room = tokio::join!(waiting, async { drop(held) }).0.unwrap();
        room.resize(0);
        assert_eq!(budgets.total.held.load(Ordering::Relaxed), 2);
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
