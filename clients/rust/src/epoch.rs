//! The history of the store that a client has read from.
//!
//! A restore numbers the revisions of the store anew, so that a `resource_version` read before it may belong to another
//! state of the object by chance. State names its history (the epoch) in every answer; a client sends with its writes
//! the one that it has read last, and state refuses writes of another one as conflicts.

use std::sync::{Arc, PoisonError, RwLock};

use http::{HeaderMap, HeaderValue};

/// The metadata that names the history, in answers and in writes.
pub(crate) const KRAKE_EPOCH: &str = "krake-epoch";

/// The epoch of the last answer; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Epoch(Arc<RwLock<Option<HeaderValue>>>);

impl Epoch {
    /// What writes carry; `None` before the first answer.
    pub(crate) fn known(&self) -> Option<HeaderValue> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Learns from the headers of an answer. A refusal has no epoch: whoever is refused reads again before it writes
    /// again, and that answer has one.
    pub(crate) fn learn(&self, headers: &HeaderMap) {
        let Some(epoch) = headers.get(KRAKE_EPOCH) else { return };
        if self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref() != Some(epoch) {
            *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(epoch.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_that_names_an_epoch_counts() {
        let epoch = Epoch::default();
        let shared = epoch.clone();
        assert_eq!(shared.known(), None);
        let named = |epoch| [(http::HeaderName::from_static(KRAKE_EPOCH), HeaderValue::from_static(epoch))];
        epoch.learn(&HeaderMap::from_iter(named("one")));
        epoch.learn(&HeaderMap::new());
        assert_eq!(shared.known().unwrap(), "one");
        epoch.learn(&HeaderMap::from_iter(named("two")));
        assert_eq!(shared.known().unwrap(), "two");
    }
}
