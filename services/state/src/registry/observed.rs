//! What was last seen of objects' copies, in the store: one record per object and cluster, which goes with its copy.
//!
//! A record is written beside its object and not with it, so that what clusters show changes neither the object nor its
//! version, and wakes no watch.

use std::collections::HashSet;

use super::transact::{fenced, read};
use super::{Call, Error, Registry};
use crate::cache::Stored;
use crate::elections::Fence;
use crate::kinds;
use crate::object::key;
use crate::store::{Guard, Key, Page, Txn};

/// Name of the stored message, by which a value says what it is.
const MESSAGE: &str = "krake.state.v1.Observation";
/// Attempts to write a record beside other writes of its object.
const WRITE_ATTEMPTS: usize = 20;
/// Keys that are read in one step of the housekeeping.
const KEYS_PER_STEP: usize = 500;

/// What was seen of a copy.
pub(crate) struct Seen<'a> {
    /// uid of the cluster.
    pub(crate) cluster_uid: &'a str,
    /// The encoded record.
    pub(crate) message: Vec<u8>,
}

impl Registry {
    /// Replaces what was last seen of a copy of the object `holder` with this uid, unless it is the same. `check` refuses it
    /// by the object as it is.
    pub(crate) async fn put_observation(
        &self,
        call: &Call,
        holder: &Key,
        uid: &str,
        seen: Seen<'_>,
        check: impl Fn(Option<&Stored>) -> Result<(), Error> + Send,
    ) -> Result<(), Error> {
        let name = key::observation(uid, seen.cluster_uid);
        let mut stored = self.cache().get(holder);
        if check(stored.as_deref()).is_err() {
            stored = self.fetch(holder).await?;
        }
        for _ in 0..WRITE_ATTEMPTS {
            check(stored.as_deref())?;
            let Some(object) = &stored else { break };
            if self.read_observation(&name).await?.as_ref() == Some(&seen.message) {
                return Ok(());
            }
            let value = self.cache().keyring().seal(&name, MESSAGE, &seen.message);
            let mut txn = Txn::new().put(name.clone(), value);
            // First, so that a conflict names it before the other.
            txn.guards.extend(call.fence.as_ref().map(Fence::guard));
            // The copy is there as long as the object is as it was read.
            txn.guards.push(Guard::At(holder.clone(), object.revision));
            let Err(conflict) = self.store.commit(txn).await? else { return Ok(()) };
            if let Some(over) = fenced(call, &conflict) {
                return Err(over);
            }
            let current = conflict.current.as_ref();
            stored = current.map(|entry| read(self.cache().keyring(), entry)).transpose()?;
        }
        let message = "the object is written all the time; try again".to_owned();
        Err(Error::Conflict { message, resource_version: 0 })
    }

    /// The record under a key. One that cannot be read counts as none, since the next report replaces it.
    pub(crate) async fn read_observation(&self, name: &Key) -> Result<Option<Vec<u8>>, Error> {
        let Some(entry) = self.store.get(name).await? else { return Ok(None) };
        match self.cache().keyring().open(name, MESSAGE, &entry.value) {
            Ok(message) => Ok(Some(message.to_vec())),
            Err(error) => {
                tracing::warn!(key = %name, %error, "what was last seen cannot be read");
                Ok(None)
            }
        }
    }

    /// Erases the records of objects that are gone: an object that is erased by force takes its copies along, and not their
    /// records.
    pub(super) async fn sweep_observations(&self) -> Result<(), Error> {
        let mut page = Some(Page::first(KEYS_PER_STEP));
        while let Some(step) = page.take() {
            let listing = self.store.keys(&key::OBSERVED, step).await?;
            page = listing.next_page(KEYS_PER_STEP);
            if listing.entries.is_empty() {
                return Ok(());
            }
            // The cache shows the objects that the records were written for, unless they are gone.
            self.refresh().await?;
            let with_copies =
                || kinds::all().filter(|rules| rules.documents.is_some()).map(|rules| key::all(rules.kind));
            if with_copies().any(|kind| !self.cache().unreadable_below(&kind).is_empty()) {
                return Ok(());
            }
            let present: HashSet<String> = with_copies()
                .flat_map(|kind| self.cache().below(kind))
                .map(|(_, stored)| stored.metadata.uid.clone())
                .collect();
            for entry in &listing.entries {
                if key::parse_observation(&entry.key).is_some_and(|uid| present.contains(uid)) {
                    continue;
                }
                let as_read = Guard::At(entry.key.clone(), entry.modified);
                drop(self.store.commit(Txn::new().guard(as_read).delete(entry.key.clone())).await?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
