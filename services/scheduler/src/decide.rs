//! The decision: where one application belongs, by the world as it is.
//!
//! [`decide`] is pure. Its rules, in this order, for an application that is bound:
//!
//! 1. Its cluster is being deleted, or is gone: it moves; without a candidate it is released.
//! 2. Its cluster is being drained: it moves; without a candidate it stays.
//! 3. It may not migrate: it stays.
//! 4. Its cluster no longer satisfies its constraints: it moves; without a candidate it stays.
//! 5. Its cluster is OFFLINE: it waits for the grace period and moves then; without a candidate it stays.
//! 6. It was bound less than `reschedule_after` ago: it stays.
//! 7. The metrics of its cluster are not known: it stays, for nothing can be said to be better.
//! 8. A candidate has a higher score: it moves.
//!
//! UNHEALTHY, NOTREADY, CONNECTING and failing metrics keep new applications away, nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::filter::{Rejection, Shortlist, tenable};
use crate::score::{Score, Standing, rendezvous, rendezvous_key};
use crate::world::{Application, Binding, ClusterState, Lifecycle, World};
use krake_client::NamespacedName;

/// How many clusters a decision names.
const TOP: usize = 5;

/// What is configured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// How long an application stays before a better cluster can draw it away.
    pub reschedule_after: Duration,
    /// Added to the mean of the bound cluster, with the same weight. Finite, not negative.
    pub stickiness: f64,
    /// How long a cluster may be OFFLINE before its applications move.
    pub offline_grace: Duration,
}

impl Default for Options {
    /// 60 s, 0.1 and 60 s.
    fn default() -> Self {
        Self {
            reschedule_after: Duration::from_secs(60),
            stickiness: 0.1,
            offline_grace: Duration::from_secs(60),
        }
    }
}

/// What is to be done with an application.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Bind it to another cluster than before.
    Bind(Box<Choice>),
    /// Leave it where it is.
    Keep {
        /// Why.
        reason: KeepReason,
        /// The present generation is to be recorded as scheduled, so that the adapter applies it.
        confirm_generation: bool,
    },
    /// Leave it where it is and decide again at that time at the latest.
    KeepUntil {
        /// When the reason ends.
        time: Timestamp,
        /// Why.
        reason: KeepReason,
        /// The present generation is to be recorded as scheduled, so that the adapter applies it.
        confirm_generation: bool,
    },
    /// No cluster comes into question (NO_SUITABLE_RESOURCE).
    Unschedulable(Box<Deadlock>),
}

/// A placement and how it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The cluster to bind to.
    pub cluster: ScoredCluster,
    /// Why the application is to be there and no longer where it was.
    pub reason: BindReason,
    /// uid of the cluster that it is bound to so far.
    pub replaces: Option<String>,
    /// The next best, if there is one; it may be the cluster it is bound to so far.
    pub runner_up: Option<ScoredCluster>,
    /// The best five, best first.
    pub top: Vec<ScoredCluster>,
    /// How many clusters were rejected for which reason.
    pub rejected: BTreeMap<Rejection, u32>,
    /// Revision of the world.
    pub world_revision: i64,
}

/// A cluster and its score for the application.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredCluster {
    /// Namespace and name.
    pub key: NamespacedName,
    /// uid.
    pub uid: String,
    /// The score, stickiness included.
    pub score: f64,
}

/// Why an application is to be bound elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindReason {
    /// It was not bound.
    FirstPlacement,
    /// Another cluster has the higher score.
    BetterCluster,
    /// Its cluster no longer satisfies its constraints.
    NoLongerMatches(Rejection),
    /// Its cluster is being drained.
    ClusterDraining,
    /// Its cluster is being deleted, or is gone.
    ClusterDeleted,
    /// Its cluster is OFFLINE longer than the grace period.
    ClusterOffline,
}

/// Why an application stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepReason {
    /// It is being deleted: no business of the scheduler.
    ApplicationDeleted,
    /// Nothing is known of its cluster, not even that it is gone.
    ClusterUnknown,
    /// It may not migrate.
    MigrationDisabled,
    /// Its cluster does not answer, but may come back.
    ClusterOffline,
    /// It was bound a short time ago.
    RecentlyScheduled,
    /// Its cluster cannot be compared with others at present.
    MetricsUnavailable,
    /// No candidate has a higher score.
    Best,
}

/// An application without a candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Deadlock {
    /// What becomes of it.
    pub outcome: Outcome,
    /// For people: what was looked for, and why each cluster was rejected.
    pub message: String,
    /// How many clusters were rejected for which reason.
    pub rejected: BTreeMap<Rejection, u32>,
    /// The present generation is to be recorded as scheduled: the cluster it stays on satisfies it.
    pub confirm_generation: bool,
    /// Revision of the world.
    pub world_revision: i64,
}

/// What becomes of an application without a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is not bound and waits: PENDING.
    Wait,
    /// It stays where it is, and should not be there for that reason: DEGRADED.
    Stay(BindReason),
    /// Its cluster goes: the binding is removed and it waits, PENDING.
    Release,
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
    let rendezvous_key = rendezvous_key(&application.uid);
    Case { world, shortlist, application, rendezvous_key, now, options }.decide()
}

struct Case<'a> {
    world: &'a World,
    shortlist: &'a Shortlist,
    application: &'a Application,
    rendezvous_key: u64,
    now: Timestamp,
    options: &'a Options,
}

impl Case<'_> {
    fn decide(&self) -> Decision {
        if self.application.deleted {
            return Decision::Keep { reason: KeepReason::ApplicationDeleted, confirm_generation: false };
        }
        let Some(binding) = &self.application.binding else {
            return self.place(BindReason::FirstPlacement, Outcome::Wait);
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
            Lifecycle::Draining => return self.leave(BindReason::ClusterDraining),
            Lifecycle::Active => {}
        }
        if !self.application.migration {
            return self.keep(KeepReason::MigrationDisabled);
        }
        if let Err(rejection) = self.tenable(rank) {
            return self.leave(BindReason::NoLongerMatches(rejection));
        }
        if let ClusterState::Offline { since } = entry.cluster.state {
            let end = self.end(since, self.options.offline_grace);
            return match end > self.now {
                true => self.keep_until(end, KeepReason::ClusterOffline),
                false => self.leave(BindReason::ClusterOffline),
            };
        }
        let end = self.end(binding.bound, self.options.reschedule_after);
        if end > self.now {
            return self.keep_until(end, KeepReason::RecentlyScheduled);
        }
        if matches!(entry.assessment.standing(), Standing::Failing | Standing::Pending) {
            return self.keep(KeepReason::MetricsUnavailable);
        }
        let present = self.score(rank, Some(rank));
        let best = self.shortlist.ranks().find(|other| *other != rank);
        if best.is_some_and(|other| self.score(other, Some(rank)).outranks(&present)) {
            return self.place_beside(
                Some(rank),
                BindReason::BetterCluster,
                Outcome::Stay(BindReason::BetterCluster),
            );
        }
        self.keep(KeepReason::Best)
    }

    fn tenable(&self, rank: usize) -> Result<(), Rejection> {
        let application = self.application;
        tenable(&self.world.ranked()[rank], &application.key.namespace, &application.constraints)
    }

    /// When a period that began at `start` ends. Clocks of different machines may differ: a start that lies in the
    /// future counts as now.
    fn end(&self, start: Timestamp, period: Duration) -> Timestamp {
        start.min(self.now).checked_add(period).unwrap_or(Timestamp::MAX)
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

    /// Binds to the best candidate. `present` is the bound cluster if it competes.
    fn place_beside(&self, present: Option<usize>, reason: BindReason, otherwise: Outcome) -> Decision {
        let top = self.top(present);
        let Some(cluster) = top.first().cloned() else {
            return Decision::Unschedulable(Box::new(self.deadlock(otherwise)));
        };
        Decision::Bind(Box::new(Choice {
            cluster,
            reason,
            replaces: self.application.binding.as_ref().map(|binding| binding.cluster_uid.clone()),
            runner_up: top.get(1).cloned(),
            top,
            rejected: self.shortlist.rejected().clone(),
            world_revision: self.world.revision(),
        }))
    }

    fn score(&self, rank: usize, present: Option<usize>) -> Score {
        let entry = &self.world.ranked()[rank];
        let tie = rendezvous(self.rendezvous_key, entry.rendezvous);
        entry.assessment.score((present == Some(rank)).then_some(self.options.stickiness), tie)
    }

    /// The best candidates, best first.
    fn top(&self, present: Option<usize>) -> Vec<ScoredCluster> {
        let mut contenders: Vec<(Score, usize)> = Vec::with_capacity(TOP + 1);
        contenders.extend(present.map(|rank| (self.score(rank, present), rank)));
        let mut last: Option<Score> = None;
        for (seen, rank) in self.shortlist.ranks().filter(|rank| Some(*rank) != present).enumerate() {
            let score = self.score(rank, present);
            // Ranks fall, but those of one value are in no order yet: the last value is taken whole.
            if seen >= TOP && last.is_some_and(|last| last.outranks(&score)) {
                break;
            }
            last = Some(score);
            contenders.push((score, rank));
        }
        if contenders.len() > TOP {
            contenders.select_nth_unstable_by(TOP - 1, |a, b| b.cmp(a));
            contenders.truncate(TOP);
        }
        contenders.sort_unstable_by(|a, b| b.cmp(a));
        let scored = |(score, rank): (Score, usize)| {
            let cluster = &self.world.ranked()[rank].cluster;
            ScoredCluster { key: cluster.key.clone(), uid: cluster.uid.clone(), score: score.value() }
        };
        contenders.into_iter().map(scored).collect()
    }

    fn deadlock(&self, outcome: Outcome) -> Deadlock {
        let rejected = self.shortlist.rejected();
        let reasons: Vec<_> = rejected
            .iter()
            .map(|(rejection, count)| {
                format!("{count} × {}", rejection.describe(&self.application.constraints))
            })
            .collect();
        let reasons = match reasons.is_empty() {
            true => format!("namespace \"{}\" may use no cluster", self.application.key.namespace),
            false => format!("rejected {}", reasons.join(", ")),
        };
        let confirm_generation = match outcome {
            Outcome::Wait | Outcome::Release => false,
            // Without migration the user wants it there in any case.
            Outcome::Stay(_) => self.unconfirmed() && (!self.application.migration || self.stays_tenable()),
        };
        Deadlock {
            outcome,
            message: format!("No matching Kubernetes cluster found: {reasons}"),
            rejected: rejected.clone(),
            confirm_generation,
            world_revision: self.world.revision(),
        }
    }

    fn stays_tenable(&self) -> bool {
        let binding = self.application.binding.as_ref();
        binding
            .and_then(|binding| self.world.rank_of(&binding.cluster_uid))
            .is_some_and(|rank| self.tenable(rank).is_ok())
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
