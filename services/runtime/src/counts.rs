//! Counts of what is open for each of many, up to a limit for each.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts what is open by key, up to a limit for each key; clones share the counts.
#[derive(Clone, Debug)]
pub struct Counts<K> {
    limit: usize,
    open: Arc<Mutex<HashMap<K, usize>>>,
}

impl<K: Clone + Eq + Hash> Counts<K> {
    /// At most `limit` for each key.
    pub fn new(limit: usize) -> Self {
        Counts { limit, open: Arc::default() }
    }

    /// A place for one more, given back when it is dropped; `None` at the limit.
    pub fn admit(&self, key: K) -> Option<Place<K>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.get(&key).copied().unwrap_or_default() >= self.limit {
            return None;
        }
        *open.entry(key.clone()).or_default() += 1;
        Some(Place { key, open: self.open.clone() })
    }
}

/// See [`Counts::admit`].
#[derive(Debug)]
pub struct Place<K: Eq + Hash> {
    key: K,
    open: Arc<Mutex<HashMap<K, usize>>>,
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_limit_and_gets_places_back() {
        let counts = Counts::new(2);
        let first = counts.admit("a").unwrap();
        let _second = counts.admit("a").unwrap();
        assert!(counts.admit("a").is_none());
        let other = counts.admit("b").unwrap();
        drop((first, other));
        assert!(counts.admit("a").is_some());
        assert_eq!(counts.open.lock().unwrap().len(), 1, "what has nothing open takes no memory");
    }
}
