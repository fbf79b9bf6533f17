//! A page of a list while it is filled.

use std::collections::BTreeMap;
use std::sync::Arc;

use krake_proto::krake::meta::v1::EventType;

use super::{Error, Filter, MAX_OBJECTS_PER_PAGE};
use crate::cache::{Change, Stored};
use crate::store::Key;

/// Size at which a page ends, so that an answer stays below the 4 MiB that clients accept: the last object may be 1 MiB.
const PAGE_BYTES: usize = 2 * 1024 * 1024;
/// Maximum number of objects that are compared with a selector under one hold of the cache's lock: below a millisecond.
const OBJECTS_PER_HOLD: usize = 1_000;

/// A page while it is filled, in ascending order of keys.
pub(super) struct Collected<T, I> {
    pub(super) filter: Filter,
    /// The most objects.
    pub(super) limit: usize,
    /// An object as the page holds it, and how many bytes it is counted for.
    item: I,
    items: BTreeMap<Key, (T, usize)>,
    bytes: usize,
}

impl<T, I: Fn(&Arc<Stored>) -> Result<(T, usize), Error>> Collected<T, I> {
    /// An empty page for at most `size` objects; 0 stands for the usual number.
    pub(super) fn new(filter: Filter, size: i32, item: I) -> Result<Self, Error> {
        let limit = match usize::try_from(size) {
            Err(_) => return Err(Error::invalid("page_size", "must not be negative")),
            Ok(0) => MAX_OBJECTS_PER_PAGE,
            Ok(size) => size.min(MAX_OBJECTS_PER_PAGE),
        };
        Ok(Collected { filter, limit, item, items: BTreeMap::new(), bytes: 0 })
    }

    pub(super) fn is_full(&self) -> bool {
        self.items.len() >= self.limit || self.bytes >= PAGE_BYTES
    }

    /// How many objects to look at next.
    pub(super) fn room(&self) -> usize {
        if self.filter.is_selective() {
            OBJECTS_PER_HOLD
        } else {
            self.limit.saturating_sub(self.items.len())
        }
    }

    /// Takes what is to be shown of `found`. If the page is full before all of it was looked at, returns the last key
    /// that was.
    pub(super) fn take(&mut self, found: Vec<(Key, Arc<Stored>)>) -> Result<Option<Key>, Error> {
        let mut last = None;
        for (key, stored) in found {
            if self.filter.shows(&key, &stored) {
                if self.is_full() {
                    return Ok(last);
                }
                self.put(key.clone(), &stored)?;
            }
            last = Some(key);
        }
        Ok(None)
    }

    /// Takes in a change of an object that the page has passed.
    pub(super) fn change(&mut self, change: &Change) -> Result<(), Error> {
        match self.filter.event(change) {
            Some((EventType::Added | EventType::Modified, stored)) => self.put(change.key.clone(), &stored),
            Some(_) => {
                self.remove(&change.key);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Ends the page where it is full, if changes have made it too large. Returns its last key if it was.
    pub(super) fn cut(&mut self) -> Option<Key> {
        let mut is_cut = false;
        while let Some((key, (_, bytes))) = self.items.last_key_value() {
            let fits = self.items.len() <= self.limit && self.bytes - bytes < PAGE_BYTES;
            if fits || self.items.len() == 1 {
                break;
            }
            is_cut = true;
            self.remove(&key.clone());
        }
        self.items.last_key_value().filter(|_| is_cut).map(|(key, _)| key.clone())
    }

    /// Begins anew.
    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.bytes = 0;
    }

    pub(super) fn into_items(self) -> Vec<T> {
        self.items.into_values().map(|(item, _)| item).collect()
    }

    fn put(&mut self, key: Key, stored: &Arc<Stored>) -> Result<(), Error> {
        let (item, bytes) = (self.item)(stored)?;
        self.remove(&key);
        self.bytes += bytes;
        self.items.insert(key, (item, bytes));
        Ok(())
    }

    fn remove(&mut self, key: &Key) {
        if let Some((_, bytes)) = self.items.remove(key) {
            self.bytes -= bytes;
        }
    }
}
