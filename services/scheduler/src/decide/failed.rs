//! What follows when the copy on the bound cluster failed: the way back, the next candidate, or rest.

use std::collections::BTreeSet;

use krake_client::ClusterUid;

use super::{BindReason, Case, Decision, KeepReason};
use crate::handover::{Copy, CopyFailure, CopyPhase};
use crate::world::{Binding, Lifecycle};

/// Maximum number of clusters that one spec is tried on if the reason of a failure lay in it.
const MAX_CANDIDATES_OF_SPEC: usize = 2;

impl Case<'_> {
    /// The copy of the present spec on the bound cluster, if it failed and no further attempt there is requested.
    fn failed_copy(&self, binding: &Binding) -> Option<&Copy> {
        let (generation, requests) = (self.application.generation, self.application.retry_requests);
        self.application.copies.iter().find(|copy| {
            copy.cluster_uid == binding.cluster_uid
                && copy.phase == CopyPhase::Failed
                && copy.generation == generation
                && copy.retry_request == requests
        })
    }

    /// What follows if the copy on the bound cluster failed and another one still runs. That one is a safe place only
    /// with the very spec that is wanted: another spec may be what failed.
    pub(super) fn after_failed_handover(&self, binding: &Binding, rank: usize) -> Option<Decision> {
        let generation = self.application.generation;
        let failed = self.failed_copy(binding)?;
        let elsewhere =
            || self.application.copies.iter().filter(|copy| copy.cluster_uid != binding.cluster_uid);
        let running = || elsewhere().filter(|copy| self.runs(copy));
        running().next()?;
        let safe = |rank: &usize| {
            let cluster = &self.world.ranked()[*rank].cluster;
            cluster.lifecycle == Lifecycle::Active
                && !cluster.state.is_unreachable()
                && self.tenable(*rank).is_ok()
        };
        let back = running()
            .filter(|copy| copy.generation == generation)
            .filter_map(|copy| self.world.rank_of(&copy.cluster_uid))
            .filter(safe)
            .max_by_key(|other| self.score(*other, None));
        // What runs with another spec is left as it is: it may be all that still works.
        let next = self
            .others(Some(rank))
            .filter(|_| self.application.migration && !self.is_exhausted(failed))
            .filter(|other| !running().any(|copy| self.is_on(copy, *other)))
            .max_by_key(|other| self.score(*other, None));
        let Some(target) = back.or(next) else {
            return Some(match self.thaw() {
                Some(time) => self.keep_until(time, KeepReason::HandoverFailed),
                None => self.keep(KeepReason::HandoverFailed),
            });
        };
        Some(self.bind_away(binding, target, BindReason::HandoverFailed))
    }

    /// What follows if the copy on the bound cluster failed and nothing of the application runs: the next candidate, as
    /// long as there are some and the spec was not tried on too many, and rest on the best of those after that. Until
    /// the spec changes or a retry is requested, the adapter alone tries again there. A cluster that the application cannot
    /// stay on, whatever becomes of its copy, is no place to rest: then the other rules decide.
    pub(super) fn after_failed_attempt(&self, binding: &Binding, rank: usize) -> Option<Decision> {
        let failed = self.failed_copy(binding).filter(|copy| copy.failure.is_some())?;
        let tried = self.tried(failed);
        let is_tried = |rank: &usize| tried.contains(&self.world.ranked()[*rank].cluster.uid);
        if !self.is_exhausted(failed) {
            let untried = self.others(Some(rank)).filter(|other| !is_tried(other));
            if let Some(next) = untried.max_by_key(|other| self.score(*other, None)) {
                return Some(self.bind_away(binding, next, BindReason::NextCandidate(self.nth(failed))));
            }
        }
        let attempts = &self.application.failed_attempts;
        let rests = attempts.iter().any(|attempt| attempt.cluster_uid == binding.cluster_uid);
        let best = self.shortlist.ranks().filter(is_tried).max_by_key(|other| self.score(*other, None));
        Some(match best.filter(|best| *best != rank && !rests) {
            Some(best) => self.bind_away(binding, best, BindReason::AllCandidatesFailed),
            None if self.tenable(rank).is_err()
                || self.world.ranked()[rank].cluster.state.is_unreachable() =>
            {
                return None;
            }
            None => self.keep(KeepReason::AllCandidatesFailed),
        })
    }

    /// Whether a copy is known to run: of one on a cluster that is unreachable, nothing is known.
    fn runs(&self, copy: &Copy) -> bool {
        let cluster = self.world.rank_of(&copy.cluster_uid).map(|rank| &self.world.ranked()[rank].cluster);
        let is_unreachable = cluster.is_some_and(|cluster| cluster.state.is_unreachable());
        copy.phase == CopyPhase::Running && !is_unreachable
    }

    /// The clusters on which the present spec failed.
    fn tried<'a>(&'a self, failed: &'a Copy) -> BTreeSet<&'a ClusterUid> {
        let attempts = self.application.failed_attempts.iter().map(|attempt| &attempt.cluster_uid);
        attempts.chain([&failed.cluster_uid]).collect()
    }

    /// Whether the present spec was tried on as many clusters as it may be.
    fn is_exhausted(&self, failed: &Copy) -> bool {
        let attempts = self.application.failed_attempts.iter().map(|attempt| attempt.failure);
        let of_spec = attempts.chain([failed.failure]).any(|failure| failure == Some(CopyFailure::OfSpec));
        let limit = self.options.max_candidates;
        let limit = if of_spec { limit.min(MAX_CANDIDATES_OF_SPEC) } else { limit };
        self.tried(failed).len() >= limit
    }

    /// Which attempt follows.
    fn nth(&self, failed: &Copy) -> u32 {
        u32::try_from(self.tried(failed).len()).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// Binds to another cluster than the one where the copy failed.
    fn bind_away(&self, binding: &Binding, target: usize, reason: BindReason) -> Decision {
        let mut top = self.top(None);
        // Once the cool-down is over the cluster may be on the list again; not for this.
        top.retain(|scored| scored.uid != binding.cluster_uid);
        self.bind(self.scored(self.score(target, None), target), reason, top)
    }

    fn is_on(&self, copy: &Copy, rank: usize) -> bool {
        self.world.ranked()[rank].cluster.uid == copy.cluster_uid
    }
}

#[cfg(test)]
mod tests;
