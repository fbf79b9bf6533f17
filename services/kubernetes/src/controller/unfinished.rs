//! Applies that did not end within their time: what they have accepted is not written again when they go on.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::object::rendering::DocumentHash;
use crate::object::validation::Findings;
use crate::object::{ApplicationUid, ClusterUid};

/// How long objects of one copy are written before what was accepted so far is recorded. Well below the deadline of a
/// reconcile, which leaves nothing recorded.
pub(crate) const LONGEST_APPLY: Duration = Duration::from_secs(200);

/// What was found of the part that was accepted, and the set of documents that it is of.
type Begun = (DocumentHash, Findings);

/// The copies of which a part is applied. A new process begins with nothing, and applies all again.
#[derive(Debug)]
pub(crate) struct Unfinished {
    /// How long objects of one copy are written at a time.
    pub(super) longest: Duration,
    begun: Mutex<HashMap<(ApplicationUid, ClusterUid), Begun>>,
}

impl Default for Unfinished {
    fn default() -> Self {
        Self { longest: LONGEST_APPLY, begun: Mutex::default() }
    }
}

impl Unfinished {
    /// None, with this time for each.
    pub(crate) fn new(longest: Duration) -> Self {
        Self { longest, ..Self::default() }
    }

    /// What was found of the part of this set that is applied, if the last apply there began with it and did not end.
    pub(super) fn take(
        &self,
        application: &ApplicationUid,
        cluster: &ClusterUid,
        set: DocumentHash,
    ) -> Option<Findings> {
        let begun = self.lock().remove(&(application.clone(), cluster.clone()));
        begun.filter(|(of, _)| *of == set).map(|(_, findings)| findings)
    }

    /// A part of a set is applied.
    pub(super) fn remember(
        &self,
        application: &ApplicationUid,
        cluster: &ClusterUid,
        set: DocumentHash,
        findings: Findings,
    ) {
        self.lock().insert((application.clone(), cluster.clone()), (set, findings));
    }

    /// Forgets a copy.
    pub(super) fn forget(&self, application: &ApplicationUid, cluster: &ClusterUid) {
        self.lock().remove(&(application.clone(), cluster.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(ApplicationUid, ClusterUid), Begun>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
