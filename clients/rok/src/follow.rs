//! Turns the events of a watch into what `--watch` shows. Pure.

use std::collections::BTreeMap;

use krake_client::WatchEvent;
use krake_proto::Resource;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happening {
    /// It is there: from the beginning, or new.
    Added,
    /// It changed.
    Modified,
    /// It was erased; what is shown is its last form.
    Deleted,
    /// It is not there any more after the server forgot what happened meanwhile; what is shown was seen last.
    Vanished,
}

impl Happening {
    /// As events are named in the API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Happening::Added => "ADDED",
            Happening::Modified => "MODIFIED",
            Happening::Deleted => "DELETED",
            Happening::Vanished => "VANISHED",
        }
    }
}

/// The objects that are followed, as they were seen last.
pub(crate) struct Follow<K> {
    objects: BTreeMap<String, Seen<K>>,
    /// uid of the only object that counts.
    only: Option<String>,
}

struct Seen<K> {
    object: K,
    /// Seen since the watch last started over.
    confirmed: bool,
}

impl<K: Resource> Follow<K> {
    /// Follows these, and all that come.
    pub(crate) fn all(objects: &[K]) -> Self {
        let seen = |object: &K| (uid(object), Seen { object: object.clone(), confirmed: true });
        Follow { objects: objects.iter().map(seen).collect(), only: None }
    }

    /// Follows this one to its end.
    pub(crate) fn one(object: &K) -> Self {
        Follow { only: Some(uid(object)), ..Self::all(std::slice::from_ref(object)) }
    }

    /// Whether nothing more can come.
    pub(crate) fn is_over(&self) -> bool {
        self.only.is_some() && self.objects.is_empty()
    }

    /// Takes an event in; what is to be shown of it.
    pub(crate) fn event(&mut self, event: WatchEvent<K>) -> Vec<(Happening, K)> {
        match event {
            WatchEvent::Applied { object, .. } if self.counts(&object) => self.applied(object),
            WatchEvent::Deleted(object) if self.counts(&object) => {
                self.objects.remove(&uid(&object));
                vec![(Happening::Deleted, object)]
            }
            WatchEvent::Restarted => {
                self.objects.values_mut().for_each(|seen| seen.confirmed = false);
                Vec::new()
            }
            WatchEvent::Synced { .. } => {
                let gone = self.objects.extract_if(.., |_, seen| !seen.confirmed);
                gone.map(|(_, seen)| (Happening::Vanished, seen.object)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn counts(&self, object: &K) -> bool {
        self.only.as_ref().is_none_or(|only| *only == uid(object))
    }

    fn applied(&mut self, object: K) -> Vec<(Happening, K)> {
        let seen = Seen { object: object.clone(), confirmed: true };
        match self.objects.insert(uid(&object), seen) {
            // After a start-over everything comes again. One of the same version may show another state.
            Some(before) if before.object == object => Vec::new(),
            Some(_) => vec![(Happening::Modified, object)],
            None => vec![(Happening::Added, object)],
        }
    }
}

fn uid<K: Resource>(object: &K) -> String {
    object.metadata().map(|metadata| metadata.uid.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use krake_proto::krake::core::v1::Metric;
    use krake_proto::krake::meta::v1::Metadata;

    fn metric(uid: &str, resource_version: i64) -> Metric {
        let metadata = Metadata { uid: uid.into(), resource_version, ..Metadata::default() };
        Metric { metadata: Some(metadata), spec: None }
    }

    fn applied(object: Metric) -> WatchEvent<Metric> {
        WatchEvent::Applied { object, initial: false }
    }

    #[test]
    fn every_change_is_told_once() {
        let mut follow = Follow::all(&[metric("a", 1)]);
        assert_eq!(follow.event(applied(metric("a", 1))), [], "seen already");
        assert_eq!(follow.event(applied(metric("a", 2))), [(Happening::Modified, metric("a", 2))]);
        assert_eq!(follow.event(applied(metric("b", 3))), [(Happening::Added, metric("b", 3))]);
        let shown_otherwise = Metric { spec: Some(Default::default()), ..metric("a", 2) };
        let repeated = follow.event(applied(shown_otherwise.clone()));
        assert_eq!(repeated, [(Happening::Modified, shown_otherwise)]);
        let deleted = follow.event(WatchEvent::Deleted(metric("a", 4)));
        assert_eq!(deleted, [(Happening::Deleted, metric("a", 4))]);
        assert!(!follow.is_over(), "others may come");
    }

    #[test]
    fn what_is_missing_after_a_start_over_has_vanished() {
        let mut follow = Follow::all(&[metric("a", 1), metric("b", 2)]);
        assert_eq!(follow.event(WatchEvent::Restarted), []);
        assert_eq!(follow.event(applied(metric("b", 2))), []);
        let vanished = follow.event(WatchEvent::Synced { resource_version: 9 });
        assert_eq!(vanished, [(Happening::Vanished, metric("a", 1))]);
        assert_eq!(follow.event(WatchEvent::Synced { resource_version: 9 }), []);
    }

    #[test]
    fn one_object_is_followed_to_its_end() {
        let mut follow = Follow::one(&metric("a", 1));
        assert_eq!(follow.event(applied(metric("b", 2))), [], "another one of that name");
        assert_eq!(follow.event(WatchEvent::Deleted(metric("b", 3))), []);
        assert!(!follow.is_over());
        assert_eq!(follow.event(WatchEvent::Deleted(metric("a", 4))).len(), 1);
        assert!(follow.is_over());
    }
}
