//! How far a watch has come, and its next message: without time and without waiting.
//!
//! A watch that is behind holds its place and no events, so that a thousand unread watches cost nothing. The
//! initial state is read from the cache in pieces, each when the one before was taken. Between two pieces come the
//! changes of the objects that were sent already; what lies ahead will be sent as it is then. So each state of an
//! object is sent at most once, and at the end the receiver has the state of one revision.
//!
//! A snapshot of the cache would need no changes in between. But it would keep all that is replaced meanwhile in memory
//! for as long as the slowest reader takes, and the changes since then would have to be kept as long, or that reader
//! could not go on from the snapshot. So a watch has to keep up with the changes from its beginning on, and needs no
//! more than that.

use std::sync::Arc;

use krake_proto::krake::meta::v1::EventType;

use super::{Filter, Message};
use crate::cache::{Batch, Behind, Cache, Change, Stored};
use crate::store::{Key, Revision};

/// A message is full when its objects have this many encoded bytes. Once a connection takes nothing more, one message
/// of each of its watches waits in memory.
pub(super) const MESSAGE_BYTES: usize = 64 * 1024;
/// Revisions that one step looks at, so that a watch whose filter hides all of them lets others have their turn.
const REVISIONS_PER_STEP: usize = 32;
/// Objects of the initial state that one step looks at, for the same reason.
const OBJECTS_PER_STEP: usize = 250;

/// What one step of a watch comes to.
#[derive(Debug)]
pub(super) enum Step {
    /// The next message.
    Message(Message),
    /// Nothing that is shown, but there may be more at once.
    Again,
    /// Everything up to the present was sent.
    UpToDate,
}

/// The place of a watch.
#[derive(Debug)]
pub(super) struct Progress {
    filter: Filter,
    place: Revision,
    phase: Phase,
    /// The revision of which a part was sent, and how many of its changes were looked at.
    rest: Option<(Arc<Batch>, usize)>,
}

#[derive(Debug)]
enum Phase {
    /// The initial state is sent: all objects up to this key, as they are at the place of the watch.
    Initial { passed: Option<Key> },
    /// Changes are sent.
    Following,
}

impl Progress {
    /// Begins with all objects. `now` is the present revision.
    pub(super) fn initial(filter: Filter, now: Revision) -> Self {
        let phase = Phase::Initial { passed: None };
        Progress { filter, place: now, phase, rest: None }
    }

    /// Begins with the first change after `place`.
    pub(super) fn after(filter: Filter, place: Revision) -> Self {
        Progress { filter, place, phase: Phase::Following, rest: None }
    }

    /// What the watch shows.
    pub(super) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Everything up to here was sent, of the objects that were passed if the initial state is not complete.
    pub(super) fn place(&self) -> Revision {
        self.place
    }

    /// Whether the initial state is not complete.
    pub(super) fn is_initial(&self) -> bool {
        matches!(self.phase, Phase::Initial { .. })
    }

    /// The next step. Fails if the cache no longer has the changes after the place.
    pub(super) fn next(&mut self, cache: &Cache) -> Result<Step, Behind> {
        if let Some((batch, from)) = self.rest.take() {
            return Ok(self.cut(&batch, from).map_or(Step::Again, Step::Message));
        }
        if matches!(self.phase, Phase::Initial { passed: None }) {
            return Ok(self.piece(cache, None));
        }
        let (batches, now) = cache.since(self.place, REVISIONS_PER_STEP)?;
        for batch in &batches {
            if let Some(message) = self.cut(batch, 0) {
                return Ok(Step::Message(message));
            }
        }
        if !batches.is_empty() {
            return Ok(Step::Again);
        }
        self.place = now;
        Ok(if self.is_initial() { self.piece(cache, Some(now)) } else { Step::UpToDate })
    }

    /// The changes of one revision from number `from` on, as far as they fit into a message; nothing if none is shown.
    fn cut(&mut self, batch: &Arc<Batch>, from: usize) -> Option<Message> {
        let mut message =
            Message { revision: batch.revision, partial: self.is_initial(), ..Default::default() };
        let mut bytes = 0;
        for (number, change) in batch.changes.iter().enumerate().skip(from) {
            let Some((r#type, object)) = self.event(change) else { continue };
            if bytes >= MESSAGE_BYTES {
                self.rest = Some((batch.clone(), number));
                return Some(Message { partial: true, ..message });
            }
            bytes += object.sections.encoded_len();
            message.events.push((r#type, object));
        }
        self.place = batch.revision;
        (!message.events.is_empty()).then_some(message)
    }

    fn event(&self, change: &Change) -> Option<(EventType, Arc<Stored>)> {
        match &self.phase {
            // It will be seen as it is then.
            Phase::Initial { passed } if passed.as_ref().is_none_or(|passed| change.key > *passed) => None,
            _ => self.filter.event(change),
        }
    }

    /// The next objects of the initial state, if the cache still shows the revision `at`.
    fn piece(&mut self, cache: &Cache, at: Option<Revision>) -> Step {
        let Phase::Initial { passed } = &mut self.phase else { return Step::UpToDate };
        let Some(piece) = cache.piece(self.filter.spans(), passed.as_ref(), at, OBJECTS_PER_STEP) else {
            return Step::Again;
        };
        self.place = piece.revision;
        let (mut events, mut bytes, mut done) = (Vec::new(), 0, piece.done);
        for (key, object) in piece.found {
            if bytes >= MESSAGE_BYTES {
                done = false;
                break;
            }
            if self.filter.shows(&key, &object) {
                bytes += object.sections.encoded_len();
                events.push((EventType::Added, object));
            }
            *passed = Some(key);
        }
        if done {
            self.phase = Phase::Following;
        } else if events.is_empty() {
            return Step::Again;
        }
        Step::Message(Message { events, revision: piece.revision, synced: done, partial: !done })
    }
}

#[cfg(test)]
mod tests;
