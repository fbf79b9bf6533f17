//! Attempts that are under way, by cluster: after a failure, a cluster gets a few applications at a time, so that the
//! applications of a cluster that is lost, or that refuses them all, do not fall upon the next one at once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use krake_client::NamespacedName;

use crate::decide::{BindReason, Choice};
use crate::handover::CopyPhase;
use crate::project::Placed;

/// Maximum number of attempts after failures that are under way on one cluster.
const MAX_ATTEMPTS: usize = 10;

/// The cluster of each attempt that is under way.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    attempts: Mutex<Attempts>,
}

#[derive(Debug, Default)]
struct Attempts {
    clusters: HashMap<NamespacedName, String>,
    counts: HashMap<String, usize>,
}

impl Attempts {
    fn put(&mut self, key: &NamespacedName, cluster: Option<String>) {
        if let Some(before) = self.clusters.remove(key) {
            if let Some(count) = self.counts.get_mut(&before) {
                *count = count.saturating_sub(1);
            }
            self.counts.retain(|_, count| *count > 0);
        }
        if let Some(cluster) = cluster {
            *self.counts.entry(cluster.clone()).or_default() += 1;
            self.clusters.insert(key.clone(), cluster);
        }
    }
}

impl InFlight {
    /// Takes in what the mirror shows of an application, or that it is gone.
    pub(crate) fn shown(&self, key: &NamespacedName, placed: Option<&Placed>) {
        self.lock().put(key, placed.and_then(under_way).map(str::to_owned));
    }

    /// Begins the attempt that a decision asks for, if its cluster takes another one. A binding that is no attempt after
    /// a failure needs no place.
    pub(crate) fn begin(&self, placed: &Placed, choice: &Choice) -> bool {
        if !is_limited(placed, choice) {
            return true;
        }
        let (key, cluster) = (&placed.application.key, &choice.cluster.uid);
        let mut attempts = self.lock();
        let has_place = attempts.clusters.get(key) == Some(cluster);
        if !has_place && attempts.counts.get(cluster).is_some_and(|count| *count >= MAX_ATTEMPTS) {
            return false;
        }
        attempts.put(key, Some(cluster.clone()));
        true
    }

    fn lock(&self) -> MutexGuard<'_, Attempts> {
        // Nothing that holds the lock panics halfway through a change.
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cluster that an application was moved to and neither runs nor failed on yet.
fn under_way(placed: &Placed) -> Option<&str> {
    let cluster = placed.application.binding.as_ref()?.cluster_uid.as_str();
    let mut copies = placed.application.copies.iter();
    let settled = copies.any(|copy| copy.cluster_uid == cluster && copy.phase != CopyPhase::Other);
    (placed.was_moved && !settled && !placed.application.deleted).then_some(cluster)
}

/// Whether a binding is an attempt after a failure, and not a way back to what runs.
fn is_limited(placed: &Placed, choice: &Choice) -> bool {
    let runs = placed
        .application
        .copies
        .iter()
        .any(|copy| copy.cluster_uid == choice.cluster.uid && copy.phase == CopyPhase::Running);
    match choice.reason {
        BindReason::ClusterOffline
        | BindReason::HandoverFailed
        | BindReason::NextCandidate(_)
        | BindReason::AllCandidatesFailed => !runs,
        BindReason::FirstPlacement
        | BindReason::BetterCluster
        | BindReason::NoLongerMatches(_)
        | BindReason::ClusterDraining
        | BindReason::ClusterDeleted => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;

    use super::*;
    use crate::decide::ScoredCluster;
    use crate::fixture::{application, bound};
    use crate::handover::Copy;

    fn placed(name: &str, cluster: &str, phase: Option<CopyPhase>) -> Placed {
        let mut application = bound(&application(), cluster, 1);
        application.key.name = name.to_owned();
        application.copies.extend(phase.map(|phase| Copy {
            cluster_uid: format!("uid-{cluster}"),
            phase,
            generation: 1,
            since: Timestamp::UNIX_EPOCH,
            failure: None,
            retry_request: 0,
        }));
        Placed {
            application,
            resource_version: 1,
            trace_parent: String::new(),
            scheduled: None,
            retry: (None, None),
            bound: None,
            was_moved: true,
        }
    }

    fn to(cluster: &str, reason: BindReason) -> Choice {
        let key = NamespacedName::new("ns", cluster);
        Choice {
            cluster: ScoredCluster { key, uid: format!("uid-{cluster}"), score: 0.0 },
            reason,
            replaces: None,
            runner_up: None,
            top: Vec::new(),
            rejected: BTreeMap::new(),
            world_revision: 1,
        }
    }

    #[test]
    fn a_cluster_takes_ten_attempts_after_failures_at_a_time() {
        let in_flight = InFlight::default();
        let next = to("b", BindReason::NextCandidate(2));
        let app = |number: usize| placed(&format!("app-{number}"), "a", Some(CopyPhase::Failed));
        assert!((0..10).all(|number| in_flight.begin(&app(number), &next)));
        assert!(!in_flight.begin(&app(10), &next), "the eleventh waits");
        assert!(in_flight.begin(&app(3), &next), "one that has its place keeps it");
        assert!(in_flight.begin(&app(10), &to("c", BindReason::NextCandidate(2))), "another cluster");
        assert!(in_flight.begin(&app(11), &to("b", BindReason::BetterCluster)), "not after a failure");
        // Its place is free when the mirror shows that one runs, failed, or is gone.
        let key = |number: usize| app(number).application.key;
        for (number, ended) in [(0, Some(CopyPhase::Running)), (1, Some(CopyPhase::Failed)), (2, None)] {
            let shown = ended.map(|phase| placed("any", "b", Some(phase)));
            in_flight.shown(&key(number), shown.as_ref());
            assert!(in_flight.begin(&app(20 + number), &next) && !in_flight.begin(&app(30), &next));
        }
        // One that still starts has not given it back.
        in_flight.shown(&key(4), Some(&placed("app-4", "b", Some(CopyPhase::Other))));
        assert!(!in_flight.begin(&app(30), &next));
    }

    #[test]
    fn the_way_back_to_what_runs_needs_no_place() {
        let in_flight = InFlight::default();
        for number in 0..20 {
            let runs = placed(&format!("app-{number}"), "b", Some(CopyPhase::Running));
            assert!(in_flight.begin(&runs, &to("b", BindReason::HandoverFailed)));
        }
    }
}
