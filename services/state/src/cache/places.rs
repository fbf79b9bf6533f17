//! Which objects are on which clusters, and which clusters are unreachable: reads derive from both what they show.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use krake_proto::krake::meta::v1::Condition;

use super::{Cache, Stored};
use crate::derive;
use crate::kinds::rules;
use crate::store::Key;

/// Why clusters are unreachable, by uid; those that are not here are not.
pub(crate) type Absences = HashMap<String, Condition>;

/// The index.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Keys of the objects on each cluster, by its uid.
    on: HashMap<String, BTreeSet<Key>>,
    /// Another `Arc` after each change.
    absences: Arc<Absences>,
}

impl Places {
    /// Of these objects.
    pub(super) fn of(objects: &BTreeMap<Key, Arc<Stored>>) -> Self {
        let mut places = Places::default();
        for (key, stored) in objects {
            places.changed(key, None, Some(stored));
        }
        places
    }

    /// Takes in that an object was created, replaced or erased.
    pub(super) fn changed(&mut self, key: &Key, before: Option<&Arc<Stored>>, after: Option<&Arc<Stored>>) {
        let (was, is) =
            (before.map_or(&[][..], |stored| clusters(stored)), after.map_or(&[][..], |s| clusters(s)));
        for uid in was.iter().filter(|uid| !is.contains(uid)) {
            if let Some(keys) = self.on.get_mut(uid) {
                keys.remove(key);
                if keys.is_empty() {
                    self.on.remove(uid);
                }
            }
        }
        for uid in is.iter().filter(|uid| !was.contains(uid)) {
            self.on.entry(uid.clone()).or_default().insert(key.clone());
        }
        let (was, is) = (before.and_then(|stored| absence(stored)), after.and_then(|stored| absence(stored)));
        let uid = |stored: &Arc<Stored>| stored.metadata.uid.clone();
        if let Some(gone) = before.filter(|_| was.is_some() && is.is_none()) {
            Arc::make_mut(&mut self.absences).remove(&uid(gone));
        }
        if let (Some(stored), Some(is)) = (after, is)
            && was.as_ref() != Some(&is)
        {
            Arc::make_mut(&mut self.absences).insert(uid(stored), is);
        }
    }
}

/// The clusters that an object is on; none if that cannot be read.
fn clusters(stored: &Stored) -> &[String] {
    stored.clusters().unwrap_or_default()
}

/// Why what is on this object can neither be seen nor changed, by the rules of its kind. Times in it are not compared.
pub(crate) fn absence(stored: &Stored) -> Option<Condition> {
    let why = (rules(stored.kind)?.absence)(stored.sections.status.as_deref()?)?;
    Some(Condition { last_transition_time: None, observed_generation: 0, ..why })
}

/// The object as reads show it while these clusters are unreachable.
pub(crate) fn shown(stored: &Arc<Stored>, absences: &Absences) -> Arc<Stored> {
    if absences.is_empty() || !clusters(stored).iter().any(|uid| absences.contains_key(uid)) {
        return stored.clone();
    }
    match derive::read(stored, absences) {
        Ok(status) => Arc::new(stored.with_status(status)),
        Err(error) => {
            tracing::error!(name = stored.metadata.name, %error, "an object is shown as it was stored");
            stored.clone()
        }
    }
}

impl Cache {
    /// The clusters that are unreachable.
    pub(crate) fn absences(&self) -> Arc<Absences> {
        self.read().places.absences.clone()
    }

    /// Keys of the objects on these clusters.
    pub(crate) fn on_clusters<'a>(&self, uids: impl Iterator<Item = &'a String>) -> BTreeSet<Key> {
        let contents = self.read();
        uids.filter_map(|uid| contents.places.on.get(uid)).flatten().cloned().collect()
    }

    /// The object as reads show it now.
    pub(crate) fn shown(&self, stored: &Arc<Stored>) -> Arc<Stored> {
        shown(stored, &self.absences())
    }
}
