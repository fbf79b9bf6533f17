//! Which ticket proves which term of leadership: read once per term, then remembered.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::fence::{Election, Fence};
use super::ticket::Record;
use crate::store::Revision;

/// Maximum number of elections whose term is remembered; one more, and all are forgotten and read again. There are a
/// handful, so only a caller who invents names gets there.
const MAX_REMEMBERED_ELECTIONS: usize = 1024;

/// The present term of each election, as far as writes needed it.
#[derive(Debug, Default)]
pub(super) struct Terms(Mutex<HashMap<Election, (Revision, Record)>>);

impl Terms {
    /// Whether the ticket proves this term; `None` if the term is not remembered.
    pub(super) fn check(&self, fence: &Fence, ticket: &str, user: &str) -> Option<bool> {
        let terms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (created, record) = terms.get(&fence.election)?;
        (*created == fence.revision).then(|| record.is_proved_by(ticket, user))
    }

    /// Remembers whose term it is.
    pub(super) fn remember(&self, fence: &Fence, record: Record) {
        let mut terms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if terms.len() >= MAX_REMEMBERED_ELECTIONS && !terms.contains_key(&fence.election) {
            terms.clear();
        }
        terms.insert(fence.election.clone(), (fence.revision, record));
    }
}
