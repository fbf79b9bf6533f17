//! Attempts that are under way, by cluster: after a failure, a cluster gets a few applications at a time, so that the
//! applications of a cluster that is lost, or that refuses them all, do not fall upon the next one at once.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use krake_client::{ClusterUid, NamespacedName};

use crate::decide::{BindReason, Choice};
use crate::handover::CopyPhase;
use crate::project::Placed;
use crate::retry::later;

/// Maximum number of attempts after failures that are under way on one cluster.
const MAX_ATTEMPTS: usize = 10;
/// How long an attempt has its place before there is a copy on the cluster: the adapter records one at once, unless the
/// copy has to wait until another one is gone. That may take for ever, and meanwhile costs the cluster nothing.
const TIME_TO_BEGIN: Duration = Duration::from_secs(60);

/// The cluster of each attempt that is under way.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    attempts: Mutex<Attempts>,
}

#[derive(Debug, Default)]
struct Attempts {
    of_applications: HashMap<NamespacedName, Attempt>,
    /// The applications with an attempt on each cluster.
    on_clusters: HashMap<ClusterUid, BTreeSet<NamespacedName>>,
}

/// An attempt that is under way.
#[derive(Debug, PartialEq, Eq)]
struct Attempt {
    cluster_uid: ClusterUid,
    /// Until when it has its place though there is no copy; `None` if there is one.
    begins_until: Option<Timestamp>,
}

impl Attempts {
    fn put(&mut self, key: &NamespacedName, attempt: Option<Attempt>) {
        if let Some(before) = self.of_applications.remove(key)
            && let Some(there) = self.on_clusters.get_mut(&before.cluster_uid)
        {
            there.remove(key);
            if there.is_empty() {
                self.on_clusters.remove(&before.cluster_uid);
            }
        }
        if let Some(attempt) = attempt {
            self.on_clusters.entry(attempt.cluster_uid.clone()).or_default().insert(key.clone());
            self.of_applications.insert(key.clone(), attempt);
        }
    }

    /// Number of attempts of others on a cluster.
    fn others(&self, key: &NamespacedName, cluster: &ClusterUid, now: Timestamp) -> usize {
        let counts = |other: &&NamespacedName| {
            let attempt = self.of_applications.get(other);
            *other != key
                && attempt.is_some_and(|attempt| attempt.begins_until.is_none_or(|until| until > now))
        };
        self.on_clusters.get(cluster).into_iter().flatten().filter(counts).count()
    }
}

impl InFlight {
    /// Takes in what the mirror shows of an application, or that it is gone.
    pub(crate) fn shown(&self, key: &NamespacedName, placed: Option<&Placed>) {
        self.lock().put(key, placed.and_then(under_way));
    }

    /// Begins the attempt that a decision asks for, if its cluster takes another one. A binding that is no attempt after
    /// a failure needs no place.
    pub(crate) fn begin(&self, placed: &Placed, choice: &Choice, now: Timestamp) -> bool {
        if !is_limited(placed, choice) {
            return true;
        }
        let (key, cluster) = (&placed.application.key, &choice.cluster.uid);
        let mut attempts = self.lock();
        if attempts.others(key, cluster, now) >= MAX_ATTEMPTS {
            return false;
        }
        let begins_until = Some(later(now, TIME_TO_BEGIN));
        attempts.put(key, Some(Attempt { cluster_uid: cluster.clone(), begins_until }));
        true
    }

    fn lock(&self) -> MutexGuard<'_, Attempts> {
        // Nothing that holds the lock panics halfway through a change.
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The attempt on the cluster that an application was moved to, if it neither runs nor failed there yet.
fn under_way(placed: &Placed) -> Option<Attempt> {
    let binding = placed.application.binding.as_ref()?;
    let cluster_uid = binding.cluster_uid.clone();
    let copy = placed.application.copies.iter().find(|copy| copy.cluster_uid == cluster_uid);
    let settled = copy.is_some_and(|copy| copy.phase != CopyPhase::Other);
    let begins_until = copy.is_none().then(|| later(binding.bound, TIME_TO_BEGIN));
    (placed.was_moved && !settled && !placed.application.deleted)
        .then_some(Attempt { cluster_uid, begins_until })
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
        | BindReason::ClusterDeleted
        | BindReason::HandoverFailed
        | BindReason::NextCandidate(_)
        | BindReason::AllCandidatesFailed => !runs,
        BindReason::FirstPlacement
        | BindReason::BetterCluster
        | BindReason::NoLongerMatches(_)
        | BindReason::ClusterDraining => false,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::fixture::{self, application, bound, choice};
    use crate::handover::Copy;

    fn placed(name: &str, cluster: &str, phase: Option<CopyPhase>) -> Placed {
        let mut application = bound(&application(), cluster, 1);
        application.key.name = name.to_owned();
        application.copies.extend(phase.map(|phase| Copy {
            cluster_uid: format!("uid-{cluster}").into(),
            phase,
            generation: 1,
            since: Timestamp::UNIX_EPOCH,
            failure: None,
            retry_request: 0,
        }));
        Placed { was_moved: true, ..fixture::placed(application) }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_cluster_takes_ten_attempts_after_failures_at_a_time() {
        let in_flight = InFlight::default();
        let next = choice("b", BindReason::NextCandidate(2));
        let app = |number: usize| placed(&format!("app-{number}"), "a", Some(CopyPhase::Failed));
        assert!((0..10).all(|number| in_flight.begin(&app(number), &next, at(0))));
        assert!(!in_flight.begin(&app(10), &next, at(0)), "the eleventh waits");
        assert!(in_flight.begin(&app(3), &next, at(0)), "one that has its place keeps it");
        assert!(
            in_flight.begin(&app(10), &choice("c", BindReason::NextCandidate(2)), at(0)),
            "another cluster"
        );
        assert!(
            in_flight.begin(&app(11), &choice("b", BindReason::BetterCluster), at(0)),
            "not after a failure"
        );
        // Its place is free when the mirror shows that one runs, failed, or is gone.
        let key = |number: usize| app(number).application.key;
        for (number, ended) in [(0, Some(CopyPhase::Running)), (1, Some(CopyPhase::Failed)), (2, None)] {
            let shown = ended.map(|phase| placed("any", "b", Some(phase)));
            in_flight.shown(&key(number), shown.as_ref());
            assert!(
                in_flight.begin(&app(20 + number), &next, at(0)) && !in_flight.begin(&app(30), &next, at(0))
            );
        }
        // One that still starts has not given it back.
        in_flight.shown(&key(4), Some(&placed("app-4", "b", Some(CopyPhase::Other))));
        assert!(!in_flight.begin(&app(30), &next, at(0)));
    }

    #[test]
    fn what_waits_for_another_copy_to_go_keeps_no_place() {
        let in_flight = InFlight::default();
        let next = choice("b", BindReason::ClusterOffline);
        let app = |number: usize, phase| {
            let mut placed = placed(&format!("app-{number}"), "b", phase);
            placed.application.binding.as_mut().unwrap().bound = at(100);
            placed
        };
        let show = |number, phase| {
            let placed = app(number, phase);
            in_flight.shown(&placed.application.key, Some(&placed));
        };
        (0..10).for_each(|number| show(number, None));
        let other = placed("other", "a", None);
        assert!(!in_flight.begin(&other, &next, at(159)), "their copies may come at any moment");
        assert!(in_flight.begin(&other, &next, at(160)));
        in_flight.shown(&other.application.key, None);
        (0..10).for_each(|number| show(number, Some(CopyPhase::Other)));
        assert!(!in_flight.begin(&other, &next, at(999)), "they start");
    }

    #[test]
    fn the_way_back_to_what_runs_needs_no_place() {
        let in_flight = InFlight::default();
        for number in 0..20 {
            let runs = placed(&format!("app-{number}"), "b", Some(CopyPhase::Running));
            assert!(in_flight.begin(&runs, &choice("b", BindReason::HandoverFailed), at(0)));
        }
    }
}
