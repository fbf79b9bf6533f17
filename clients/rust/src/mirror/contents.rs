//! What a mirror holds, and how an event changes it: without locks and without I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Change, Notice};

struct Entry<T> {
    uid: Box<str>,
    resource_version: i64,
    value: Arc<T>,
}

pub(super) struct Contents<T, Key> {
    entries: BTreeMap<Key, Entry<T>>,
    /// What an initial state has delivered so far; none outside of one.
    arrived: Option<BTreeSet<Key>>,
}

impl<T, Key> Contents<T, Key> {
    pub(super) fn new() -> Self {
        Contents { entries: BTreeMap::new(), arrived: None }
    }
}

impl<T, Key: Ord + Clone> Contents<T, Key> {
    pub(super) fn get(&self, key: &Key) -> Option<Arc<T>> {
        self.entries.get(key).map(|entry| entry.value.clone())
    }

    pub(super) fn all(&self) -> Vec<(Key, Arc<T>)> {
        self.entries.iter().map(|(key, entry)| (key.clone(), entry.value.clone())).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What is here stays until the initial state is complete: it is old, not wrong.
    pub(super) fn begin_initial_state(&mut self) {
        self.arrived = Some(BTreeSet::new());
    }

    /// Everything that did not arrive has vanished.
    pub(super) fn end_initial_state(&mut self) -> Vec<Notice<T, Key>> {
        let Some(arrived) = self.arrived.take() else { return Vec::new() };
        let missing: Vec<Key> = self.entries.keys().filter(|key| !arrived.contains(key)).cloned().collect();
        missing.iter().flat_map(|key| self.remove(key, Change::Vanished)).collect()
    }

    pub(super) fn apply(
        &mut self,
        key: &Key,
        uid: &str,
        resource_version: i64,
        value: T,
    ) -> Vec<Notice<T, Key>> {
        let value = Arc::new(value);
        let mut notices = Vec::with_capacity(1);
        // The name was given anew while nobody looked: the former object is gone, how is not known.
        if self.entries.get(key).is_some_and(|entry| *entry.uid != *uid) {
            notices.extend(self.remove(key, Change::Vanished));
        }
        let resyncing = self.arrived.as_mut().map(|arrived| arrived.insert(key.clone())).is_some();
        let entry = Entry { uid: uid.into(), resource_version, value: value.clone() };
        let before = self.entries.insert(key.clone(), entry);
        let unchanged = before.as_ref().is_some_and(|before| before.resource_version == resource_version);
        notices.push(Notice {
            key: key.clone(),
            change: if resyncing && unchanged { Change::Resynced } else { Change::Applied },
            before: before.map(|before| before.value),
            after: Some(value),
        });
        notices
    }

    /// Forgets an object; what was not kept has not changed.
    pub(super) fn remove(&mut self, key: &Key, change: Change) -> Vec<Notice<T, Key>> {
        let before = self.entries.remove(key);
        before
            .map(|before| Notice { key: key.clone(), change, before: Some(before.value), after: None })
            .into_iter()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Notices = Vec<Notice<&'static str, &'static str>>;

    fn told(notices: Notices) -> Vec<(&'static str, Change, Option<&'static str>, Option<&'static str>)> {
        let value = |value: Option<Arc<&'static str>>| value.map(|value| *value);
        notices.into_iter().map(|n| (n.key, n.change, value(n.before), value(n.after))).collect()
    }

    fn filled() -> Contents<&'static str, &'static str> {
        let mut contents = Contents::new();
        contents.begin_initial_state();
        contents.apply(&"a", "uid-a", 1, "a1");
        contents.apply(&"b", "uid-b", 2, "b2");
        contents.end_initial_state();
        contents
    }

    #[test]
    fn changes_tell_before_and_after() {
        let mut contents = filled();
        let applied = contents.apply(&"a", "uid-a", 3, "a3");
        assert_eq!(told(applied), [("a", Change::Applied, Some("a1"), Some("a3"))]);
        assert_eq!(told(contents.remove(&"a", Change::Deleted)), [("a", Change::Deleted, Some("a3"), None)]);
        assert_eq!(told(contents.remove(&"a", Change::Deleted)), []);
        assert_eq!(contents.all(), [("b", Arc::new("b2"))]);
    }

    #[test]
    fn after_a_start_over_what_is_missing_has_vanished_and_what_is_unchanged_is_resynced() {
        let mut contents = filled();
        contents.begin_initial_state();
        assert_eq!(contents.len(), 2, "old contents serve until the new ones are complete");
        let again = contents.apply(&"b", "uid-b", 2, "b2");
        assert_eq!(told(again), [("b", Change::Resynced, Some("b2"), Some("b2"))]);
        assert_eq!(told(contents.end_initial_state()), [("a", Change::Vanished, Some("a1"), None)]);
        assert_eq!(contents.len(), 1);
    }

    #[test]
    fn what_is_erased_while_an_initial_state_arrives_is_told_once() {
        let mut contents = filled();
        contents.begin_initial_state();
        contents.apply(&"a", "uid-a", 1, "a1");
        assert_eq!(told(contents.remove(&"a", Change::Deleted)), [("a", Change::Deleted, Some("a1"), None)]);
        contents.apply(&"b", "uid-b", 2, "b2");
        assert_eq!(told(contents.end_initial_state()), []);
        assert_eq!(contents.all(), [("b", Arc::new("b2"))]);
    }

    #[test]
    fn a_start_over_that_is_cut_starts_counting_anew() {
        let mut contents = filled();
        contents.begin_initial_state();
        contents.apply(&"a", "uid-a", 1, "a1");
        contents.begin_initial_state();
        contents.apply(&"b", "uid-b", 2, "b2");
        assert_eq!(told(contents.end_initial_state()), [("a", Change::Vanished, Some("a1"), None)]);
    }

    #[test]
    fn a_name_given_anew_is_another_object() {
        let mut contents = filled();
        contents.begin_initial_state();
        let replaced = contents.apply(&"a", "uid-other", 9, "a9");
        assert_eq!(
            told(replaced),
            [("a", Change::Vanished, Some("a1"), None), ("a", Change::Applied, None, Some("a9"))]
        );
    }
}
