//! The recent changes of a cluster, from which watches resume.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::api::failure::Failure;
use crate::store::stored::Stored;

/// At most so many changes are remembered, and at most so many bytes of them.
const MOST_EVENTS: usize = 2048;
const MOST_BYTES: usize = 512 * 1024;

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Modified,
    Deleted,
}

/// One change.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) version: u64,
    pub(crate) change: Change,
    /// `deployments.apps`
    pub(crate) resource: Arc<str>,
    /// As it is now, or was at last.
    pub(crate) object: Arc<Stored>,
    pub(crate) before: Option<Arc<Stored>>,
}

/// Changes in their order.
#[derive(Debug, Default)]
pub(crate) struct History {
    events: VecDeque<Event>,
    bytes: usize,
    /// Changes up to this version are forgotten.
    forgotten: u64,
}

impl History {
    /// Adds a change.
    pub(crate) fn push(&mut self, event: Event) {
        self.bytes += event.object.size();
        self.events.push_back(event);
        while self.events.len() > MOST_EVENTS || self.bytes > MOST_BYTES && self.events.len() > 1 {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.object.size();
            self.forgotten = oldest.version;
        }
    }

    /// Forgets everything up to `version`.
    pub(crate) fn forget(&mut self, version: u64) {
        self.events.clear();
        self.bytes = 0;
        self.forgotten = version;
    }

    /// The changes after `version`.
    pub(crate) fn after(&self, version: u64) -> Result<impl Iterator<Item = &Event>, Failure> {
        if version < self.forgotten {
            let forgotten = self.forgotten;
            return Err(Failure::expired(format!("too old resource version: {version} ({forgotten})")));
        }
        let start = self.events.partition_point(|event| event.version <= version);
        Ok(self.events.range(start..))
    }
}
