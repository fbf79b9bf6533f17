//! Erases the sets of documents that nothing names. Any number of replicas may do it: each erasure is guarded by the object
//! that could name the set, and by the pieces.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::super::{Error, Registry};
use crate::cache::Stored;
use crate::documents::{self, Hash, StoredSet};
use crate::kinds::{self, rules};
use crate::object::key;
use crate::store::{Guard, Key, Page, Txn};

/// Time between two passes: short beside the lifetime, and a pass costs little where nothing is to be erased.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Age from which a set that nothing names is erased: a caller stores a set before it names it, and whoever has just read
/// a name wants to read the set.
const UNNAMED_LIFETIME_SECONDS: i64 = 60 * 60;
/// Keys that are read in one step: more than the pieces of one set by far.
const KEYS_PER_STEP: usize = 500;
/// Steps of one pass; the next one goes on where it ended. Looks at 20,000 keys every five minutes.
const STEPS_PER_PASS: usize = 40;
/// Pieces of sets that one object may have beside those that it names; beyond them the oldest sets are erased at once, so
/// that one that changes all the time does not fill the store within the hour. 28 sets of the maximum size, and so many
/// more than are under way at once.
const UNNAMED_PIECES: usize = 256;
/// Keys of one object that are read to count them: those beyond are counted the next time.
const COUNTED_PIECES: usize = 2048;

/// Erases sets once in a while. Runs until it is dropped.
pub(crate) async fn sweep(registry: Arc<Registry>) {
    let mut place = None;
    loop {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        if let Err(error) = registry.sweep_documents(&mut place).await {
            tracing::warn!(%error, "cannot erase unused documents; trying again");
        }
        if let Err(error) = registry.sweep_observations().await {
            tracing::warn!(%error, "cannot erase what was seen of erased objects; trying again");
        }
    }
}

/// An object that may name sets, and its key.
type Owner = (Key, Arc<Stored>);

impl Registry {
    /// One pass from `place` on, which is `None` at the beginning and the end.
    async fn sweep_documents(&self, place: &mut Option<Key>) -> Result<(), Error> {
        for _ in 0..STEPS_PER_PASS {
            let page = Page { at: None, after: place.take(), limit: KEYS_PER_STEP };
            let listing = self.store.keys(&key::DOCUMENTS, page).await?;
            let mut sets = documents::group(&listing.entries);
            if listing.more && sets.len() > 1 {
                // Its other pieces may follow.
                sets.pop();
            }
            let last = sets.last().and_then(StoredSet::last).map(|(last, _)| last.clone());
            if !sets.is_empty() {
                // The cache shows the objects that the sets were stored for, unless they are gone.
                self.refresh().await?;
                self.erase_unnamed(sets).await?;
            }
            if !listing.more {
                break;
            }
            *place = last.or_else(|| listing.entries.last().map(|entry| entry.key.clone()));
        }
        Ok(())
    }

    async fn erase_unnamed(&self, sets: Vec<StoredSet>) -> Result<(), Error> {
        let owners = self.owners(&sets);
        for set in sets {
            let owner = match owners.get(&set.uid) {
                Some(owner) => Some(owner),
                // Its object may be one that this version cannot read.
                None if self.has_unreadable_owners() => continue,
                None => None,
            };
            if is_unnamed(&set, owner) && self.is_old(&set).await? {
                self.erase(&set, owner).await?;
            }
        }
        Ok(())
    }

    /// The objects that are there of those that the sets belong to, by their uids.
    fn owners(&self, sets: &[StoredSet]) -> HashMap<String, Owner> {
        let wanted: HashSet<&str> = sets.iter().map(|set| set.uid.as_str()).collect();
        let objects = with_documents().flat_map(|kind| self.cache.below(key::all(kind)));
        let found = objects.filter(|(_, stored)| wanted.contains(stored.metadata.uid.as_str()));
        found.map(|(name, stored)| (stored.metadata.uid.clone(), (name, stored))).collect()
    }

    fn has_unreadable_owners(&self) -> bool {
        with_documents().any(|kind| !self.cache.unreadable_below(&key::all(kind)).is_empty())
    }

    /// Whether the last piece was written long ago. What cannot be read stays.
    async fn is_old(&self, set: &StoredSet) -> Result<bool, Error> {
        let Some((last, _)) = set.last() else { return Ok(false) };
        let Some(entry) = self.store.get(last).await? else { return Ok(false) };
        let age = self.read_piece(&entry).ok().map(|piece| self.seconds() - piece.written);
        Ok(age.is_some_and(|age| age >= UNNAMED_LIFETIME_SECONDS))
    }

    /// Erases a set unless it, or its object, has changed since it was looked at.
    async fn erase(&self, set: &StoredSet, owner: Option<&Owner>) -> Result<(), Error> {
        let mut txn = Txn::new();
        txn.guards.extend(owner.map(|(name, stored)| Guard::At(name.clone(), stored.revision)));
        for (name, modified) in &set.pieces {
            txn = txn.guard(Guard::At(name.clone(), *modified)).delete(name.clone());
        }
        let erased = self.store.commit(txn).await?.is_ok();
        tracing::debug!(uid = set.uid, erased, "erased a set of documents that nothing names");
        Ok(())
    }

    /// Erases the oldest sets of an object that it does not name, if there are too many. Never `kept`, which was stored
    /// just now.
    pub(super) async fn limit_unnamed(&self, holder: &Key, uid: &str, kept: &Hash) -> Result<(), Error> {
        let listing = self.store.keys(&key::documents_of(uid), Page::first(COUNTED_PIECES)).await?;
        if listing.entries.len() <= UNNAMED_PIECES {
            return Ok(());
        }
        let Some(stored) = self.fetch(holder).await?.filter(|stored| stored.metadata.uid == uid) else {
            return Ok(());
        };
        let owner = (holder.clone(), stored);
        let mut sets = documents::group(&listing.entries);
        sets.retain(|set| set.sha256 != *kept && is_unnamed(set, Some(&owner)));
        sets.sort_by_key(|set| set.last().map(|(_, modified)| *modified));
        let mut pieces: usize = sets.iter().map(|set| set.pieces.len()).sum();
        for set in sets {
            if pieces <= UNNAMED_PIECES {
                break;
            }
            pieces -= set.pieces.len();
            self.erase(&set, Some(&owner)).await?;
        }
        Ok(())
    }
}

/// The kinds whose objects name sets.
fn with_documents() -> impl Iterator<Item = &'static krake_proto::Kind> {
    kinds::all().filter(|rules| rules.documents.is_some()).map(|rules| rules.kind)
}

/// Whether the object that a set belongs to does not name it, or is gone. One that cannot be read may name any.
fn is_unnamed(set: &StoredSet, owner: Option<&Owner>) -> bool {
    let Some((_, stored)) = owner else { return true };
    let named = rules(stored.kind).and_then(|rules| Some((rules.documents?)(&stored.sections)));
    matches!(named, Some(Ok(named)) if !named.contains(&set.sha256))
}

#[cfg(test)]
mod tests;
