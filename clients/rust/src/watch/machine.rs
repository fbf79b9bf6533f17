//! The watch as a state machine, without I/O: what a message means, and where to go on after an interruption.
//!
//! ```text
//!               message, synced                   any message
//!   Initial ───────────────────▶ Following ◀───┐ ────────┘
//!      ▲  compacted, other epoch,    │         │ whole message
//!      └──── permissions changed ────┘     Awaiting
//! ```
//!
//! An interruption leaves `Following` and `Awaiting` as they are, and begins `Initial` anew.

use std::collections::HashMap;

use krake_proto::error::ErrorReason;
use krake_proto::krake::meta::v1::{EventType, Metadata};

use super::WatchEvent;
use crate::error::Error;
use crate::options::Start;

/// One message of a watch stream.
#[derive(Debug)]
pub(crate) struct Message<T> {
    pub(crate) changes: Vec<(EventType, T)>,
    pub(crate) resource_version: i64,
    pub(crate) epoch: String,
    pub(crate) synced: bool,
    pub(crate) partial: bool,
}

/// Reads the events of a message. Types that only a newer server knows are left out: what they mean is unknown.
pub(crate) fn changes<R, T>(
    events: impl Iterator<Item = (i32, R)>,
    read: impl Fn(R) -> Result<T, Error>,
) -> Result<Vec<(EventType, T)>, Error> {
    let known = events.filter_map(|(number, raw)| match EventType::try_from(number) {
        Ok(EventType::Unspecified) | Err(_) => {
            tracing::warn!(number, "an event of unknown type was left out");
            None
        }
        Ok(r#type) => Some((r#type, raw)),
    });
    known.map(|(r#type, raw)| Ok((r#type, read(raw)?))).collect()
}

/// What follows an interruption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Go on after the last whole revision.
    Resume,
    /// Begin with a new initial state.
    StartOver,
    /// Trying again cannot help.
    Fail,
}

/// What a message leads to.
#[derive(Debug)]
pub(crate) struct Step<T> {
    pub(crate) events: Vec<WatchEvent<T>>,
    /// The stream is of no more use: open one with a new initial state.
    pub(crate) start_over: bool,
}

#[derive(Debug)]
enum Phase {
    /// An initial state is to come, or is arriving; there is nothing to resume from.
    Initial { announced: bool },
    /// Changes from now on, and no whole revision yet.
    Awaiting,
    /// Changes after a known revision.
    Following(Position),
}

#[derive(Debug)]
struct Position {
    /// Everything up to this revision was delivered.
    resource_version: i64,
    /// The history that it belongs to; empty = not known yet.
    epoch: String,
    /// What was delivered beyond it, out of partial messages: by uid, the version and whether it was erased.
    ahead: HashMap<String, (i64, bool)>,
}

impl Position {
    fn new(resource_version: i64, epoch: String) -> Self {
        Position { resource_version, epoch, ahead: HashMap::new() }
    }

    /// Whether this change was delivered before.
    fn has_seen(&self, r#type: EventType, metadata: &Metadata) -> bool {
        if r#type == EventType::Repeated {
            // It bears the version of its last write, and shows something else all the same.
            return false;
        }
        let ahead = self.ahead.get(&metadata.uid);
        if r#type == EventType::Deleted {
            // An erased object may carry the version of its last write, so the version tells nothing.
            return ahead.is_some_and(|(_, erased)| *erased);
        }
        // A store's revisions start at 1: 0 is an object without version.
        let version = metadata.resource_version;
        version > 0 && (version <= self.resource_version || ahead.is_some_and(|(seen, _)| version <= *seen))
    }
}

pub(crate) struct Machine<T> {
    phase: Phase,
    metadata: fn(&T) -> Option<&Metadata>,
}

impl<T> Machine<T> {
    pub(crate) fn new(start: Start, metadata: fn(&T) -> Option<&Metadata>) -> Self {
        let phase = match start {
            Start::InitialState => Phase::Initial { announced: false },
            Start::Now => Phase::Awaiting,
            Start::After { resource_version, epoch } => {
                Phase::Following(Position::new(resource_version, epoch))
            }
        };
        Machine { phase, metadata }
    }

    /// Where the next stream begins.
    pub(crate) fn start(&self) -> Start {
        match &self.phase {
            Phase::Initial { .. } => Start::InitialState,
            Phase::Awaiting => Start::Now,
            Phase::Following(position) => {
                Start::After { resource_version: position.resource_version, epoch: position.epoch.clone() }
            }
        }
    }

    /// Whether an initial state is to come, or is arriving.
    pub(crate) fn is_initial(&self) -> bool {
        matches!(self.phase, Phase::Initial { .. })
    }

    /// Takes a message of the present stream.
    pub(crate) fn message(&mut self, message: Message<T>) -> Step<T> {
        let Message { changes, resource_version, epoch, synced, partial } = message;
        let mut events = Vec::with_capacity(changes.len() + 2);
        match &mut self.phase {
            Phase::Initial { announced } => {
                if !std::mem::replace(announced, true) {
                    events.push(WatchEvent::Restarted);
                }
                events.extend(changes.into_iter().filter_map(|(r#type, object)| event(r#type, object, true)));
                if synced {
                    events.push(WatchEvent::Synced { resource_version });
                    self.phase = Phase::Following(Position::new(resource_version, epoch));
                }
            }
            Phase::Awaiting => {
                events
                    .extend(changes.into_iter().filter_map(|(r#type, object)| event(r#type, object, false)));
                if !partial {
                    events.push(WatchEvent::Bookmark { resource_version });
                    self.phase = Phase::Following(Position::new(resource_version, epoch));
                }
            }
            Phase::Following(position) => {
                if position.epoch.is_empty() {
                    position.epoch = epoch;
                } else if !epoch.is_empty() && position.epoch != epoch {
                    self.phase = Phase::Initial { announced: false };
                    return Step { events, start_over: true };
                }
                for (r#type, object) in changes {
                    if let Some(metadata) = (self.metadata)(&object) {
                        if position.has_seen(r#type, metadata) {
                            continue;
                        }
                        if partial {
                            let seen = (metadata.resource_version, r#type == EventType::Deleted);
                            position.ahead.insert(metadata.uid.clone(), seen);
                        }
                    }
                    events.extend(event(r#type, object, false));
                }
                if !partial {
                    // A replica that lags behind may name an older revision.
                    position.resource_version = position.resource_version.max(resource_version);
                    position.ahead.clear();
                    events.push(WatchEvent::Bookmark { resource_version: position.resource_version });
                }
            }
        }
        Step { events, start_over: false }
    }

    /// The present stream ended with an error, or none could be opened.
    pub(crate) fn ended(&mut self, error: &Error) -> Next {
        let next = next(error);
        if next == Next::StartOver || matches!(self.phase, Phase::Initial { .. }) {
            self.phase = Phase::Initial { announced: false };
        }
        next
    }
}

fn event<T>(r#type: EventType, object: T, initial: bool) -> Option<WatchEvent<T>> {
    match r#type {
        EventType::Added | EventType::Modified | EventType::Repeated => {
            Some(WatchEvent::Applied { object, initial })
        }
        EventType::Deleted => Some(WatchEvent::Deleted(object)),
        EventType::LeftFilter => Some(WatchEvent::LeftFilter(object)),
        EventType::Unspecified => None,
    }
}

/// Only the reason counts. An error without one is not from Krake but from what lies in between, and passes.
fn next(error: &Error) -> Next {
    if matches!(error, Error::Malformed { .. }) {
        return Next::Fail;
    }
    match error.reason() {
        Some(ErrorReason::RevisionCompacted | ErrorReason::PermissionsChanged) => Next::StartOver,
        Some(
            ErrorReason::Unauthenticated
            | ErrorReason::Forbidden
            | ErrorReason::InvalidField
            | ErrorReason::NotBuilt,
        ) => Next::Fail,
        _ => Next::Resume,
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
