//! The decision: where one application belongs, by the world as it is.
//!
//! [`decide`] is pure. Its rules, in this order, for an application that is bound:
//!
//! 1. Its cluster is being deleted, or is gone: it moves; without a candidate it is released. It stays if the cluster's
//!    deletion includes it.
//! 2. Its cluster is being drained: it moves; without a candidate it stays.
//! 3. Its copy there failed while another one still runs: it goes back to that, or to a candidate; else it stays. If
//!    nothing of it runs, it goes to the next candidate, on three clusters in all, and rests on the best of them then.
//! 4. It may not migrate: it stays.
//! 5. Its cluster no longer satisfies its constraints: it moves; without a candidate it stays or, if nothing of it was
//!    applied anywhere, is released: it must not begin there. So it is if nothing was applied there, and a cluster that is
//!    being deleted waits for that.
//! 6. Its cluster is OFFLINE: it waits for the grace period and moves then; without a candidate it stays.
//! 7. It was bound less than `min_residency` (default: `reschedule_after`) ago: it stays.
//! 8. The metrics of its cluster are not known: it stays, for nothing can be said to be better.
//! 9. A candidate has a higher score, by `min_gain` at least: it moves, unless it is still being handed over or brought
//!    up, or claims volumes, whose data would stay behind, and its spec does not say how it moves.
//!
//! UNHEALTHY, NOTREADY, CONNECTING and failing metrics keep new applications away, nothing else. A cluster where a
//! copy of the application failed is no candidate for it until a cool-down is over.
//!
//! An application without a candidate is looked at again whenever the world changes, and as often as its backoff
//! fields say. When these attempts are used up, it is left alone by all rules but the first two until its spec changes.

use std::time::Duration;

use jiff::Timestamp;
use krake_client::ClusterUid;

use crate::filter::{Rejection, Shortlist, tenable};
use crate::handover::CopyPhase;
use crate::retry::later;
use crate::score::{Standing, rendezvous_key};
use crate::world::{Application, Binding, ClusterState, Lifecycle, World};

mod candidates;
mod decision;
mod failed;

pub use decision::{BindReason, Choice, Deadlock, Decision, KeepReason, Outcome, ScoredCluster};

/// What is configured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// How long an application stays before a better cluster can draw it away.
    pub reschedule_after: Duration,
    /// Added to the mean of the bound cluster, with the same weight. Finite, not negative.
    pub stickiness: f64,
    /// How long a cluster may be OFFLINE before its applications move.
    pub offline_grace: Duration,
    /// How long a cluster may answer as no Kubernetes API that works, before its applications move.
    pub broken_grace: Duration,
    /// How long a cluster may refuse Krake's credentials before its applications move. `None`: they stay, since they run
    /// on, and a second copy would run beside them.
    pub unauthorized_failover_after: Option<Duration>,
    /// How long a cluster is no candidate for an application after a copy of it failed there. Doubles with every
    /// further failure.
    pub failure_cooldown: Duration,
    /// Maximum number of clusters that one spec is tried on while nothing of the application runs; two if the reason of
    /// a failure lies in the spec.
    pub max_candidates: usize,
}

impl Default for Options {
    /// 60 s, 0.1, 60 s, 10 min, never, 10 min and 3.
    fn default() -> Self {
        Self {
            reschedule_after: Duration::from_secs(60),
            stickiness: 0.1,
            offline_grace: Duration::from_secs(60),
            broken_grace: Duration::from_secs(600),
            unauthorized_failover_after: None,
            failure_cooldown: Duration::from_secs(600),
            max_candidates: 3,
        }
    }
}

/// Decides where an application belongs. `shortlist` must be that of the application's namespace and constraints in
/// the same world. The same arguments give the same decision, whatever order the clusters were handed in.
pub fn decide(
    world: &World,
    shortlist: &Shortlist,
    application: &Application,
    now: Timestamp,
    options: &Options,
) -> Decision {
    let rendezvous_key = rendezvous_key(application.uid.as_str());
    let mut case = Case { world, shortlist, application, rendezvous_key, now, options, cooling: Vec::new() };
    case.cooling = case.cooling();
    case.decide()
}

struct Case<'a> {
    world: &'a World,
    shortlist: &'a Shortlist,
    application: &'a Application,
    rendezvous_key: u64,
    now: Timestamp,
    options: &'a Options,
    /// Clusters, by rank, that are no candidates for a while, and until when.
    cooling: Vec<(usize, Timestamp)>,
}

impl Case<'_> {
    fn decide(&self) -> Decision {
        if self.application.deleted {
            return Decision::Keep { reason: KeepReason::ApplicationDeleted, confirm_generation: false };
        }
        let Some(binding) = &self.application.binding else {
            return self.unless_given_up(|| self.place(BindReason::FirstPlacement, Outcome::Wait));
        };
        match self.world.rank_of(&binding.cluster_uid) {
            Some(rank) => self.bound(binding, rank),
            None if self.world.is_erased(&binding.cluster_uid) => {
                self.place(BindReason::ClusterDeleted, Outcome::Release)
            }
            None => Decision::Keep { reason: KeepReason::ClusterUnknown, confirm_generation: false },
        }
    }

    fn bound(&self, binding: &Binding, rank: usize) -> Decision {
        let entry = &self.world.ranked()[rank];
        match entry.cluster.lifecycle {
            Lifecycle::Deleted => return self.place(BindReason::ClusterDeleted, Outcome::Release),
            Lifecycle::Cascading => {
                return Decision::Keep { reason: KeepReason::ClusterCascading, confirm_generation: false };
            }
            Lifecycle::Draining => return self.leave(BindReason::ClusterDraining),
            Lifecycle::Active => {}
        }
        let failed = self.after_failed_handover(binding, rank);
        if let Some(decision) = failed.or_else(|| self.after_failed_attempt(binding, rank)) {
            return decision;
        }
        if !self.application.migration {
            return self.keep(KeepReason::MigrationDisabled);
        }
        if let Err(rejection) = self.tenable(rank) {
            let reason = BindReason::NoLongerMatches(rejection);
            let otherwise = match self.is_held_by_nothing(binding) {
                true => Outcome::Release,
                false => Outcome::Stay(reason),
            };
            let placed = self.place(reason, otherwise);
            // A cluster that is being deleted may wait for the end of what was begun here.
            let is_begun = !self.application.copies.is_empty();
            let frees =
                matches!(&placed, Decision::Unschedulable(deadlock) if deadlock.outcome == Outcome::Release);
            return if is_begun && frees { placed } else { self.unless_given_up(|| placed) };
        }
        if entry.cluster.state.is_unreachable() {
            return self.unreachable(entry.cluster.state);
        }
        let stay = self.application.min_residency.unwrap_or(self.options.reschedule_after);
        let end = self.end(binding.bound, stay);
        if end > self.now {
            return self.keep_until(end, KeepReason::RecentlyScheduled);
        }
        if matches!(entry.assessment.standing(), Standing::Failing | Standing::Pending) {
            return self.keep(KeepReason::MetricsUnavailable);
        }
        let present = self.score(rank, Some(rank));
        let best = self.others(Some(rank)).next().map(|other| self.score(other, Some(rank)));
        let attracts = best.is_some_and(|best| {
            best.outranks(&present)
                && (self.application.min_gain <= 0.0
                    || best.value() - present.value() >= self.application.min_gain)
        });
        if attracts && self.is_under_way(binding) {
            return self.keep(KeepReason::HandoverUnderWay);
        }
        if attracts && self.application.holds_data {
            return self.keep(KeepReason::HoldsData);
        }
        if attracts {
            return self.place_beside(
                Some(rank),
                BindReason::BetterCluster,
                Outcome::Stay(BindReason::BetterCluster),
            );
        }
        match self.thaw() {
            Some(time) => self.keep_until(time, KeepReason::Best),
            None => self.keep(KeepReason::Best),
        }
    }

    /// Whether an application that does not fit its cluster loses nothing if it is released: nothing of it was applied there,
    /// nor will be as long as it does not fit. Either it was applied nowhere. Or its copies elsewhere run on, but on a cluster
    /// that is being deleted: that one would wait for ever for a successor here.
    fn is_held_by_nothing(&self, binding: &Binding) -> bool {
        let copies = &self.application.copies;
        let is_going = |uid: &ClusterUid| {
            let rank = self.world.rank_of(uid);
            rank.is_some_and(|rank| self.world.ranked()[rank].cluster.lifecycle == Lifecycle::Deleted)
        };
        let mut applied = copies.iter().filter(|copy| copy.generation > 0).peekable();
        if applied.peek().is_none() {
            return true;
        }
        applied.all(|copy| copy.cluster_uid != binding.cluster_uid)
            && copies.iter().any(|copy| is_going(&copy.cluster_uid))
    }

    /// Whether a copy is still coming or going, or has not begun to go, as far as clusters that answer are concerned. Scores
    /// that change faster than that would have it on ever more clusters, and up on none.
    fn is_under_way(&self, binding: &Binding) -> bool {
        self.application.copies.iter().any(|copy| {
            let answers = self
                .world
                .rank_of(&copy.cluster_uid)
                .is_some_and(|rank| !self.world.ranked()[rank].cluster.state.is_unreachable());
            answers
                && match copy.phase {
                    CopyPhase::Running => copy.cluster_uid != binding.cluster_uid,
                    CopyPhase::Other => true,
                    CopyPhase::Failed => false,
                }
        })
    }

    /// What follows if the bound cluster is unreachable: whether its applications may be lost depends on why.
    fn unreachable(&self, state: ClusterState) -> Decision {
        let (since, grace) = match state {
            ClusterState::Offline { since } => (since, self.options.offline_grace),
            ClusterState::Broken { since } => (since, self.options.broken_grace),
            ClusterState::Unauthorized { since } => match self.options.unauthorized_failover_after {
                Some(after) => (since, after),
                None => return self.keep(KeepReason::ClusterInaccessible),
            },
            _ => return self.keep(KeepReason::ClusterInaccessible),
        };
        let end = self.end(since, grace);
        match end > self.now {
            true => self.keep_until(end, KeepReason::ClusterOffline),
            false => self.unless_given_up(|| self.leave(BindReason::ClusterOffline)),
        }
    }

    fn unless_given_up(&self, attempt: impl FnOnce() -> Decision) -> Decision {
        match self.attempts() {
            Some(made) if made.retry.is_exhausted() => {
                Decision::Keep { reason: KeepReason::GivenUp, confirm_generation: false }
            }
            _ => attempt(),
        }
    }

    fn tenable(&self, rank: usize) -> Result<(), Rejection> {
        let application = self.application;
        tenable(&self.world.ranked()[rank], &application.key.namespace, &application.constraints)
    }

    /// When a period that began at `start` ends. Clocks of different machines may differ: a start that lies in the
    /// future counts as now.
    fn end(&self, start: Timestamp, period: Duration) -> Timestamp {
        later(start.min(self.now), period)
    }

    fn unconfirmed(&self) -> bool {
        self.application.generation != self.application.scheduled_generation
    }

    fn keep(&self, reason: KeepReason) -> Decision {
        Decision::Keep { reason, confirm_generation: self.unconfirmed() }
    }

    fn keep_until(&self, time: Timestamp, reason: KeepReason) -> Decision {
        Decision::KeepUntil { time, reason, confirm_generation: self.unconfirmed() }
    }

    /// Moves the application away from a cluster that it can stay on if need be.
    fn leave(&self, reason: BindReason) -> Decision {
        self.place(reason, Outcome::Stay(reason))
    }

    fn place(&self, reason: BindReason, otherwise: Outcome) -> Decision {
        self.place_beside(None, reason, otherwise)
    }
}

#[cfg(test)]
mod handover_tests;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
