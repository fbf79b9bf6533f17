//! Applies that are not complete yet: objects that the cluster accepted are not written again when an apply continues.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::object::rendering::DocumentHash;
use crate::object::validation::Findings;
use crate::object::{ApplicationUid, ClusterUid, InventoryEntry, ObjectKey};

/// How long objects of one copy are written before what was accepted so far is recorded. Well below the deadline of a
/// reconcile, which leaves nothing recorded.
pub(crate) const LONGEST_PART: Duration = Duration::from_secs(200);

/// For how long after a part what was accepted is taken for granted where the cluster does not show it.
const MOMENT: Duration = Duration::from_secs(60);

/// An apply that began, of which not all is accepted.
#[derive(Clone, Debug)]
pub(super) struct Begun {
    set: DocumentHash,
    /// What the cluster has accepted, with its uid; without one if it is not the application's, and used.
    accepted: HashMap<ObjectKey, Option<String>>,
    findings: Findings,
    end: Interruption,
    /// When it ended.
    ended: Instant,
}

/// Why an apply ended before all was accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Interruption {
    /// Its time was over, or it had written a part: it goes on at once.
    pub(super) goes_on: bool,
    /// An admission webhook was in the way.
    pub(super) by_webhook: bool,
}

impl Begun {
    fn new(set: DocumentHash) -> Self {
        let (accepted, findings, end) = (HashMap::new(), Findings::default(), Interruption::default());
        Self { set, accepted, findings, end, ended: Instant::now() }
    }

    /// The uid of an object that was accepted.
    pub(super) fn accepted(&self, key: &ObjectKey) -> Option<Option<&str>> {
        self.accepted.get(key).map(Option::as_deref)
    }

    /// Whether what was accepted is taken for granted where the cluster does not show it: for a moment, not for hours.
    pub(super) fn goes_on(&self) -> bool {
        self.end.goes_on && self.ended.elapsed() < MOMENT
    }

    /// What was found of what was accepted.
    pub(super) fn findings(&self) -> Findings {
        self.findings.clone()
    }

    /// What was accepted and is not the application's.
    pub(super) fn used(&self) -> Vec<ObjectKey> {
        let used = self.accepted.iter().filter(|(_, uid)| uid.is_none());
        used.map(|(key, _)| key.clone()).collect()
    }
}

/// The applies that began, per copy. A new process begins with none, and applies all again.
#[derive(Debug)]
pub(crate) struct Applies {
    /// How long objects of one copy are written at a time.
    pub(super) longest_part: Duration,
    begun: Mutex<HashMap<(ApplicationUid, ClusterUid), Begun>>,
}

impl Default for Applies {
    fn default() -> Self {
        Self { longest_part: LONGEST_PART, begun: Mutex::default() }
    }
}

impl Applies {
    /// None, with this time for each part.
    pub(crate) fn new(longest_part: Duration) -> Self {
        Self { longest_part, ..Self::default() }
    }

    /// An apply of this set begins, or goes on.
    pub(super) fn begin(
        &self,
        application: &ApplicationUid,
        cluster: &ClusterUid,
        set: DocumentHash,
    ) -> Begun {
        let mut all = self.lock();
        let begun = all.entry((application.clone(), cluster.clone())).or_insert_with(|| Begun::new(set));
        if begun.set != set {
            *begun = Begun::new(set);
        }
        begun.clone()
    }

    /// The cluster accepted an object of the apply that is under way.
    pub(super) fn accept(&self, application: &ApplicationUid, cluster: &ClusterUid, object: InventoryEntry) {
        if let Some(begun) = self.lock().get_mut(&(application.clone(), cluster.clone())) {
            begun.accepted.insert(object.key, object.uid);
        }
    }

    /// The apply ended before all was accepted.
    pub(super) fn interrupt(
        &self,
        application: &ApplicationUid,
        cluster: &ClusterUid,
        findings: Findings,
        end: Interruption,
    ) {
        if let Some(begun) = self.lock().get_mut(&(application.clone(), cluster.clone())) {
            (begun.findings, begun.end, begun.ended) = (findings, end, Instant::now());
        }
    }

    /// Why the last apply of a copy ended before all was accepted, if it did.
    pub(super) fn interruption(&self, application: &ApplicationUid, cluster: &ClusterUid) -> Interruption {
        let all = self.lock();
        all.get(&(application.clone(), cluster.clone())).map(|begun| begun.end).unwrap_or_default()
    }

    /// All was accepted, or what was is not to be relied on.
    pub(super) fn forget(&self, application: &ApplicationUid, cluster: &ClusterUid) {
        self.lock().remove(&(application.clone(), cluster.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(ApplicationUid, ClusterUid), Begun>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
