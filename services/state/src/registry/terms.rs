//! Which ticket proves which term of leadership: read once per term, then remembered.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::campaign::{Election, Record};
use super::{Error, Fence, Registry};
use crate::store::Revision;

/// The most elections that are remembered. One more and all are forgotten and read again: there are a handful.
const REMEMBERED: usize = 1024;

/// The present term of each election, as far as writes have asked for it.
#[derive(Debug, Default)]
pub(super) struct Terms(Mutex<HashMap<Election, (Revision, Record)>>);

impl Terms {
    /// Whether the ticket proves this term; `None` if the term is not remembered.
    fn check(&self, fence: &Fence, ticket: &str, user: &str) -> Option<bool> {
        let terms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (created, record) = terms.get(&fence.election)?;
        (*created == fence.revision).then(|| record.is_proved_by(ticket, user))
    }

    fn remember(&self, fence: &Fence, record: Record) {
        let mut terms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if terms.len() >= REMEMBERED && !terms.contains_key(&fence.election) {
            terms.clear();
        }
        terms.insert(fence.election.clone(), (fence.revision, record));
    }
}

impl Registry {
    /// Refuses a fenced write of somebody who cannot prove to have won the fence's term. A place keeps its record from
    /// its creation to its end, so the record of a revision is read once; that the term is not over is guarded by the
    /// write itself.
    ///
    /// # Errors
    /// [`Error::Fenced`] if the term is over, [`Error::WrongTicket`] if it is somebody else's.
    pub(crate) async fn check_ticket(&self, fence: &Fence, ticket: &str, user: &str) -> Result<(), Error> {
        let proved = match self.terms.check(fence, ticket, user) {
            Some(proved) => proved,
            None => {
                let place = self.store.get(&fence.election.key()).await?;
                let Some(place) = place.filter(|place| place.created == fence.revision) else {
                    return Err(Error::Fenced {
                        election: fence.election.to_string(),
                        fence: fence.revision.0,
                    });
                };
                let record = Record::read(&place.value);
                let proved = record.is_proved_by(ticket, user);
                self.terms.remember(fence, record);
                proved
            }
        };
        if proved { Ok(()) } else { Err(Error::WrongTicket { election: fence.election.to_string() }) }
    }
}
