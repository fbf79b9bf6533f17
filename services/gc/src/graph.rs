//! Who owns whom: all objects, and the dependents of each, kept up with every change.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use krake_client::{Notice, ObjectKey};

use crate::member::{Member, Stage};

/// The objects and, by owner, their dependents. Owners need not exist.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    members: HashMap<ObjectKey, Arc<Member>>,
    dependents: HashMap<ObjectKey, BTreeSet<ObjectKey>>,
}

impl Graph {
    /// Applies a change and returns the keys of objects that must be looked at because of it, each once.
    pub(crate) fn apply(&mut self, notice: &Notice<Member, ObjectKey>) -> BTreeSet<ObjectKey> {
        let key = &notice.key;
        if let Some(before) = self.members.remove(key) {
            for owner in &before.owners {
                if let Some(dependents) = self.dependents.get_mut(&owner.key) {
                    dependents.remove(key);
                    if dependents.is_empty() {
                        self.dependents.remove(&owner.key);
                    }
                }
            }
        }
        if let Some(after) = &notice.after {
            for owner in &after.owners {
                self.dependents.entry(owner.key.clone()).or_default().insert(key.clone());
            }
            self.members.insert(key.clone(), after.clone());
        }
        let owners = notice.before.iter().chain(&notice.after).flat_map(|member| &member.owners);
        let touched = owners.map(|owner| &owner.key).chain([key]);
        touched.filter(|key| self.is_waiting(key)).cloned().collect()
    }

    /// An object.
    pub(crate) fn get(&self, key: &ObjectKey) -> Option<&Arc<Member>> {
        self.members.get(key)
    }

    /// Those that go when `object`, whose key is `key`, goes, ordered by key.
    pub(crate) fn dependents<'a>(
        &'a self,
        key: &'a ObjectKey,
        object: &'a Member,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a Member)> {
        let named = self.dependents.get(key).into_iter().flatten();
        named.filter_map(move |dependent| {
            let (dependent, member) = self.members.get_key_value(dependent)?;
            let belongs = member.owners.iter().any(|owner| owner.takes_along(key, object));
            belongs.then_some((dependent, member.as_ref()))
        })
    }

    /// All objects whose turn it is.
    pub(crate) fn waiting(&self) -> Vec<ObjectKey> {
        let waiting = self.members.iter().filter(|(_, member)| member.stage == Stage::Waiting);
        waiting.map(|(key, _)| key.clone()).collect()
    }

    fn is_waiting(&self, key: &ObjectKey) -> bool {
        self.members.get(key).is_some_and(|member| member.stage == Stage::Waiting)
    }
}

/// A graph that one task writes and many read; each holds it for moments.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedGraph(Arc<RwLock<Graph>>);

impl SharedGraph {
    /// See [`Graph::apply`].
    pub(crate) fn apply(&self, notice: &Notice<Member, ObjectKey>) -> BTreeSet<ObjectKey> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).apply(notice)
    }

    /// Lets `question` look at the graph as it is now.
    pub(crate) fn read<T>(&self, question: impl FnOnce(&Graph) -> T) -> T {
        question(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}
