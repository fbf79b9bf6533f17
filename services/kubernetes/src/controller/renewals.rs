//! How fast copies are recorded anew after a new version of Krake began: one that changed the rules by which their documents
//! are written, or the first that records documents at all. All of them at once would be a write, and for the latter a set
//! of documents to store, for every copy that there is.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::object::{ApplicationUid, ClusterUid};

/// Between two renewals of this adapter.
const INTERVAL: Duration = Duration::from_secs(1);

type Copy = (ApplicationUid, ClusterUid);

/// The turns of the copies that wait.
#[derive(Debug, Default)]
pub(crate) struct Renewals(Mutex<Turns>);

#[derive(Debug, Default)]
struct Turns {
    next: Option<Instant>,
    due: HashMap<Copy, Instant>,
}

impl Renewals {
    /// How long a copy has to wait until its turn. It gets one when it is first asked for.
    pub(super) fn wait(&self, application: &ApplicationUid, cluster: &ClusterUid) -> Duration {
        let now = Instant::now();
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let free = turns.next.map_or(now, |next| next.max(now));
        let mut taken = turns.next;
        let due = *turns.due.entry((application.clone(), cluster.clone())).or_insert_with(|| {
            taken = free.checked_add(INTERVAL);
            free
        });
        turns.next = taken;
        due.saturating_duration_since(now)
    }

    /// A copy needs no turn, or not any more.
    pub(super) fn forget(&self, application: &ApplicationUid, cluster: &ClusterUid) {
        let copy = (application.clone(), cluster.clone());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).due.remove(&copy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_copy_a_second_has_its_turn_and_keeps_it() {
        let renewals = Renewals::default();
        let wait = |application: &str| renewals.wait(&application.into(), &"c".into()).as_secs();
        assert_eq!(["a", "b", "c"].map(wait), [0, 1, 2]);
        assert_eq!(["a", "b", "c"].map(wait), [0, 1, 2], "asking again takes no further turn");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(["c", "d"].map(wait), [0, 1]);
        renewals.forget(&"a".into(), &"c".into());
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(wait("a"), 0);
    }
}
