//! The clusters that an application could be bound to: the shortlist without what failed for this very application.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{BindReason, Case, Choice, Deadlock, Decision, KeepReason, Outcome, ScoredCluster};
use crate::filter::Rejection;
use crate::handover::cool_down;
use crate::retry::{Attempts, after_failure};
use crate::score::{Score, rendezvous};

/// How many clusters a decision names.
const TOP: usize = 5;

impl Case<'_> {
    /// Ranks of the candidates besides the bound cluster, best first.
    pub(super) fn others(&self, present: Option<usize>) -> impl Iterator<Item = usize> {
        self.shortlist.ranks().filter(move |rank| Some(*rank) != present && !self.is_cooling(*rank))
    }

    /// Clusters where a copy of the application failed a short time ago, by rank, with the end of the cool-down.
    pub(super) fn cooling(&self) -> Vec<(usize, Timestamp)> {
        let application = self.application;
        let failed = application.failed_handovers.iter().map(|failure| &failure.cluster_uid);
        let suspects = failed.chain(application.copies.iter().map(|copy| &copy.cluster_uid));
        let mut cooling: Vec<_> = suspects
            .filter_map(|uid| {
                let end = cool_down(
                    uid,
                    &application.failed_handovers,
                    &application.copies,
                    application.generation,
                    self.options.failure_cooldown,
                );
                Some((self.world.rank_of(uid)?, end.filter(|end| *end > self.now)?))
            })
            .collect();
        cooling.sort_unstable();
        cooling.dedup();
        cooling
    }

    fn is_cooling(&self, rank: usize) -> bool {
        self.cooling.iter().any(|(cooling, _)| *cooling == rank)
    }

    /// When the next cool-down ends: the candidates are other ones then.
    pub(super) fn thaw(&self) -> Option<Timestamp> {
        self.cooling.iter().map(|(_, end)| *end).min()
    }

    fn rejected(&self) -> BTreeMap<Rejection, u32> {
        let mut rejected = self.shortlist.rejected().clone();
        if !self.cooling.is_empty() {
            let count = self.shortlist.ranks().filter(|rank| self.is_cooling(*rank)).count();
            if count > 0 {
                rejected.insert(Rejection::CoolingDown, u32::try_from(count).unwrap_or(u32::MAX));
            }
        }
        rejected
    }

    /// Binds to the best candidate. `present` is the bound cluster if it competes.
    pub(super) fn place_beside(
        &self,
        present: Option<usize>,
        reason: BindReason,
        otherwise: Outcome,
    ) -> Decision {
        let top = self.top(present);
        if let Some(best) = top.first().cloned() {
            return self.bind(best, reason, top);
        }
        // Shortly after a start, or for a new metric. The answer comes, or its absence becomes a failure.
        if self.shortlist.rejected().contains_key(&Rejection::PendingMetrics) {
            return Decision::Keep { reason: KeepReason::MetricsPending, confirm_generation: false };
        }
        Decision::Unschedulable(Box::new(self.deadlock(otherwise)))
    }

    /// Binds to a cluster that need not be the best one.
    pub(super) fn bind(
        &self,
        cluster: ScoredCluster,
        reason: BindReason,
        top: Vec<ScoredCluster>,
    ) -> Decision {
        Decision::Bind(Box::new(Choice {
            reason,
            replaces: self.application.binding.as_ref().map(|binding| binding.cluster_uid.clone()),
            runner_up: top.iter().find(|scored| scored.uid != cluster.uid).cloned(),
            cluster,
            top,
            rejected: self.rejected(),
            world_revision: self.world.revision(),
        }))
    }

    pub(super) fn score(&self, rank: usize, present: Option<usize>) -> Score {
        let entry = &self.world.ranked()[rank];
        let tie = rendezvous(self.rendezvous_key, entry.rendezvous);
        entry.assessment.score((present == Some(rank)).then_some(self.options.stickiness), tie)
    }

    pub(super) fn scored(&self, score: Score, rank: usize) -> ScoredCluster {
        let cluster = &self.world.ranked()[rank].cluster;
        ScoredCluster { key: cluster.key.clone(), uid: cluster.uid.clone(), score: score.value() }
    }

    /// The best candidates, best first.
    pub(super) fn top(&self, present: Option<usize>) -> Vec<ScoredCluster> {
        let mut contenders: Vec<(Score, usize)> = Vec::with_capacity(TOP + 1);
        contenders.extend(present.map(|rank| (self.score(rank, present), rank)));
        let mut last: Option<Score> = None;
        for (seen, rank) in self.others(present).enumerate() {
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
        contenders.into_iter().map(|(score, rank)| self.scored(score, rank)).collect()
    }

    /// What is recorded of the attempts for the present spec.
    pub(super) fn attempts(&self) -> Option<&Attempts> {
        self.application.attempts.as_ref().filter(|made| made.generation == self.application.generation)
    }

    fn deadlock(&self, outcome: Outcome) -> Deadlock {
        let rejected = self.rejected();
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
        let retry = after_failure(&self.application.backoff, self.attempts(), self.now);
        Deadlock {
            outcome,
            message: format!("No matching Kubernetes cluster found: {reasons}"),
            rejected,
            retry,
            again: [retry.due, self.thaw()].into_iter().flatten().min(),
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
