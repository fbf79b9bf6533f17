//! Elections: who may act as which controller, kept as leased keys in the store.
//!
//! A place belongs to the caller who can show its ticket: state makes it, and the store keeps its hash. The holder's name
//! is a label, which every caller can read and claim. Elections use the store alone, and know neither objects nor the
//! cache.

mod candidate;
mod fence;
mod terms;
mod ticket;

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;

use crate::error::Error;
use crate::store::{Batch, Key, Revision, Standing, Store, WatchError};
pub(crate) use candidate::Candidate;
pub(crate) use fence::Fence;
use terms::Terms;
use ticket::Record;

/// All elections of a store.
pub(crate) struct Elections {
    store: Arc<dyn Store>,
    terms: Terms,
}

impl Elections {
    /// The elections that `store` keeps.
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Elections { store, terms: Terms::default() }
    }

    /// Bids for the place, or keeps it.
    pub(crate) async fn campaign(&self, candidate: &Candidate) -> Result<Standing, Error> {
        Ok(self.store.campaign(candidate.bid().clone()).await?)
    }

    /// What reports when to bid again: `before`, while that waits for the same holder to go. `None` for the holder, who
    /// goes on by itself.
    pub(crate) fn vacancy(
        &self,
        candidate: &Candidate,
        standing: &Standing,
        before: Option<Vacancy>,
    ) -> Option<Vacancy> {
        if standing.kept.is_some() {
            return None;
        }
        let (key, created) = (candidate.bid().key.clone(), standing.entry.created);
        before.filter(|vacancy| vacancy.created == created).or_else(|| {
            let changes = self.store.watch(&key, standing.revision);
            Some(Vacancy { key, created, changes })
        })
    }

    /// Gives the place up, if the candidate has it.
    pub(crate) async fn resign(&self, candidate: Candidate) -> Result<(), Error> {
        let bid = candidate.into_bid();
        Ok(self.store.resign(bid.key, bid.holder).await?)
    }

    /// Refuses a fenced write of a caller who cannot prove to have won the fence's term. A place keeps its record from
    /// its creation to its end, so the record of a revision is read once; that the term is not over is guarded by the
    /// write itself.
    ///
    /// # Errors
    /// [`Error::Fenced`] if the term is over, [`Error::WrongTicket`] if another caller won it.
    pub(crate) async fn check_ticket(&self, fence: &Fence, ticket: &str, user: &str) -> Result<(), Error> {
        let proved = match self.terms.check(fence, ticket, user) {
            Some(proved) => proved,
            None => {
                let place = self.store.get(&fence.election.key()).await?;
                let Some(place) = place.filter(|place| place.created == fence.revision) else {
                    return Err(fence.over());
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

/// Waits for the place of another holder to become free.
pub(crate) struct Vacancy {
    key: Key,
    /// Since when the other holder has it.
    created: Revision,
    changes: BoxStream<'static, Result<Batch, WatchError>>,
}

impl Vacancy {
    /// Ends when the key was written, or when the watch cannot report that any more: then bid again.
    pub(crate) async fn comes(&mut self) {
        while let Some(Ok(batch)) = self.changes.next().await {
            // The watch is by prefix.
            if batch.changes.iter().any(|change| change.key == self.key) {
                return;
            }
        }
    }
}
