//! Repeats: objects that a watch shows again, although they were not written, because reads derive something else from
//! their clusters than before.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use krake_proto::krake::meta::v1::EventType;
use tokio::time::Instant;

use super::progress::MESSAGE_BYTES;
use super::{Filter, Message};
use crate::cache::{Absences, Cache, absence};
use crate::store::{Key, Revision};

/// Shortest pause between two rounds of repeats on one watch: a cluster that comes and goes with each probe then repeats
/// its objects a few times a minute.
pub(super) const ROUND_PAUSE: Duration = Duration::from_secs(5);

/// What a watch has shown of its objects' clusters.
pub(super) struct Live {
    /// The clusters that were unreachable when the last round began.
    known: Arc<Absences>,
    /// Objects that this round has still to repeat.
    pending: BTreeSet<Key>,
    /// The next round does not begin before.
    earliest: Instant,
}

impl Live {
    /// Of a watch whose receiver has read the objects by now, or will read them.
    pub(super) fn new(cache: &Cache) -> Self {
        Self { known: cache.absences(), pending: BTreeSet::new(), earliest: Instant::now() }
    }

    /// Of a watch that resumes after `place`: objects on clusters that came or went since then are repeated at once.
    pub(super) fn resumed(cache: &Cache, place: Revision) -> Self {
        let mut live = Self::new(cache);
        let Ok((batches, _)) = cache.since(place, usize::MAX) else { return live };
        let changed = batches.iter().flat_map(|batch| &batch.changes).filter_map(|change| {
            let [before, after] =
                [&change.before, &change.after].map(|side| side.as_deref().and_then(absence));
            let stored = change.after.as_ref().or(change.before.as_ref())?;
            (before != after).then(|| stored.metadata.uid.clone())
        });
        let changed: BTreeSet<String> = changed.collect();
        live.pending = cache.on_clusters(changed.iter());
        live
    }

    /// The object as the watch shows it, once it has shown what happened before.
    pub(super) fn show(message: &mut Message, cache: &Cache) {
        let absences = cache.absences();
        for (r#type, object) in &mut message.events {
            if matches!(r#type, EventType::Added | EventType::Modified) {
                *object = crate::cache::shown(object, &absences);
            }
        }
    }

    /// The next repeats; `None` if there are none now. `place` is where the watch is.
    pub(super) fn next(&mut self, cache: &Cache, filter: &Filter, place: Revision) -> Option<Message> {
        if self.pending.is_empty() {
            self.begin(cache);
        }
        let absences = cache.absences();
        let mut message = Message { revision: place, ..Message::default() };
        while let Some(key) = self.pending.pop_first() {
            let Some(stored) = cache.get(&key).filter(|stored| filter.shows(&key, stored)) else { continue };
            message.events.push((EventType::Repeated, crate::cache::shown(&stored, &absences)));
            if message.bytes() >= MESSAGE_BYTES {
                break;
            }
        }
        (!message.events.is_empty()).then_some(message)
    }

    /// Begins a round, if clusters came or went and the pause is over.
    fn begin(&mut self, cache: &Cache) {
        let now = cache.absences();
        if Arc::ptr_eq(&now, &self.known) || Instant::now() < self.earliest {
            return;
        }
        let changed = self.known.keys().chain(now.keys()).filter(|uid| self.known.get(*uid) != now.get(*uid));
        self.pending = cache.on_clusters(changed);
        self.known = now;
        self.earliest = Instant::now() + ROUND_PAUSE;
    }

    /// When there is something to repeat, though nothing else may wake the watch; `None` if there is nothing.
    pub(super) fn due(&self, cache: &Cache) -> Option<Instant> {
        if !self.pending.is_empty() {
            return Some(Instant::now());
        }
        (!Arc::ptr_eq(&cache.absences(), &self.known)).then_some(self.earliest)
    }
}
