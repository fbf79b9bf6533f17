//! Figures about the watches, for metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::Revision;

/// The watches that are open.
#[derive(Debug, Default)]
pub(in crate::registry) struct Watches {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    last: u64,
    watches: BTreeMap<u64, Arc<State>>,
}

/// What is known of a watch.
#[derive(Debug, Default)]
struct State {
    place: AtomicI64,
    bytes: AtomicUsize,
}

/// The watches in figures, as of the moment of the call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct WatchFigures {
    /// Number of open watches.
    pub watches: usize,
    /// Encoded bytes of the objects in messages that connections have taken and may not have sent.
    pub pending_bytes: usize,
    /// Revisions between the last change of an object that the cache shows and the place of the watch that is furthest behind.
    pub lag: i64,
}

impl Watches {
    /// Counts a watch until the answer is dropped.
    pub(super) fn open(self: &Arc<Self>) -> Counted {
        let mut open = self.lock();
        open.last += 1;
        let (number, state) = (open.last, Arc::<State>::default());
        open.watches.insert(number, state.clone());
        Counted { watches: self.clone(), number, state }
    }

    /// The figures, while `now` is the last change that the cache shows.
    pub(in crate::registry) fn figures(&self, now: Revision) -> WatchFigures {
        let open = self.lock();
        let states = open.watches.values();
        WatchFigures {
            watches: states.len(),
            pending_bytes: states.clone().map(|state| state.bytes.load(Relaxed)).sum(),
            lag: states.map(|state| now.0 - state.place.load(Relaxed)).max().unwrap_or_default().max(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A watch that is counted.
#[derive(Debug)]
pub(super) struct Counted {
    watches: Arc<Watches>,
    number: u64,
    state: Arc<State>,
}

impl Counted {
    /// The watch has sent everything up to `place`.
    pub(super) fn at(&self, place: Revision) {
        self.state.place.store(place.0, Relaxed);
    }

    /// A message of this size was handed over, and all before it were sent.
    pub(super) fn pending(&self, bytes: usize) {
        self.state.bytes.store(bytes, Relaxed);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.watches.lock().watches.remove(&self.number);
    }
}
