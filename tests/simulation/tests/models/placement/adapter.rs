//! An adapter: plans on what its mirror shows, and carries the plan out step by step, however much time passes between.

use super::store::{Cluster, Copy, Life, Phase, Store};

/// A request to a cluster.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) enum Effect {
    Apply(Cluster),
    Remove(Cluster),
}

/// The rest of a plan.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Apply, then report the copy as running, under the version of the last report.
    Apply(Cluster, u8),
    /// Report the copy as running.
    Applied(Cluster, u8),
    /// Record a copy that was applied before.
    Record(Cluster),
    /// Remove, then forget.
    Remove(Cluster, u8),
    /// Forget the copy.
    Removed(Cluster, u8),
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) struct Adapter {
    /// What its mirror shows.
    pub(crate) shown: Store,
    /// A plan that is being carried out.
    pub(crate) rest: Option<Rest>,
    /// A request that is under way.
    pub(crate) flight: Option<Effect>,
}

/// What an adapter may do next.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) enum Step {
    /// Record the intent, then apply.
    Deploy(Cluster, u8),
    /// Apply, and record afterwards: the naive order.
    DeployUnrecorded(Cluster),
    /// Apply what is recorded and not there.
    Repair(Cluster, u8),
    /// Report that a recorded copy runs.
    Judge(Cluster, u8),
    /// Record that a copy goes, then remove it.
    Retire(Cluster, Copy),
    /// Let a deleted cluster go.
    Release(Cluster),
    /// Go on with the plan.
    GoOn,
}

/// What a step comes to.
pub(crate) enum Outcome {
    Acts(Adapter),
    Writes(Adapter, Store),
}

impl Adapter {
    pub(crate) fn new(shown: Store) -> Self {
        Adapter { shown, rest: None, flight: None }
    }

    /// Gives up the plan. A request under way stays under way.
    pub(crate) fn abandon(&mut self) {
        self.rest = None;
    }

    /// The request under way was carried out, or failed.
    pub(crate) fn answered(&mut self, done: bool) {
        if !done {
            self.rest = None;
        }
    }

    /// Plans, with a fresh look at the clusters; or goes on with the plan.
    pub(crate) fn steps(&self, running: &[bool; 2], record_first: bool, delete_first: bool) -> Vec<Step> {
        if self.rest.is_some() {
            return vec![Step::GoOn];
        }
        let shown = &self.shown;
        let mut steps = Vec::new();
        for cluster in 0..2 {
            if shown.clusters[cluster] == Life::Draining && shown.copies[cluster].is_none() {
                steps.push(Step::Release(cluster));
            }
            if shown.application == Life::Draining {
                steps.extend(shown.copies[cluster].map(|copy| Step::Retire(cluster, copy)));
            } else if shown.application == Life::Active {
                steps.extend(self.plan(cluster, running, record_first, delete_first));
            }
        }
        steps
    }

    fn plan(
        &self,
        cluster: Cluster,
        running: &[bool; 2],
        record_first: bool,
        delete_first: bool,
    ) -> Option<Step> {
        let copies = &self.shown.copies;
        let Some(bound) = self.shown.bound.filter(|bound| *bound == cluster) else {
            let copy = copies[cluster]?;
            let runs = |bound: Cluster| {
                running[bound] && copies[bound].is_some_and(|copy| copy.phase == Phase::Running)
            };
            let handed_over = delete_first || self.shown.bound.is_none_or(runs);
            let goes = handed_over || copy.phase == Phase::Removing;
            return goes.then_some(Step::Retire(cluster, copy));
        };
        let may_create = !delete_first || copies[1 - bound].is_none();
        match copies[bound] {
            None if may_create && record_first => Some(Step::Deploy(bound, 0)),
            None if may_create => Some(Step::DeployUnrecorded(bound)),
            Some(Copy { version, phase: Phase::Removing }) if may_create => {
                Some(Step::Deploy(bound, version))
            }
            Some(Copy { version, phase: Phase::Intended }) if !running[bound] && may_create => {
                Some(Step::Repair(bound, version))
            }
            Some(Copy { version, phase: Phase::Running }) if !running[bound] => {
                Some(Step::Repair(bound, version))
            }
            Some(Copy { version, phase: Phase::Intended }) if running[bound] => {
                Some(Step::Judge(bound, version))
            }
            _ => None,
        }
    }

    /// Takes a step; what is written is checked by the store as it is now.
    pub(crate) fn take(&self, store: &Store, step: Step) -> Outcome {
        match step {
            Step::Deploy(cluster, version) => {
                let rest = Rest::Apply(cluster, version + 1);
                self.write(store.report(cluster, version, Some(Phase::Intended)), Some(rest))
            }
            Step::DeployUnrecorded(cluster) => self.send(Effect::Apply(cluster), Rest::Record(cluster)),
            Step::Repair(cluster, version) => {
                self.send(Effect::Apply(cluster), Rest::Applied(cluster, version))
            }
            Step::Judge(cluster, version) => {
                self.write(store.report(cluster, version, Some(Phase::Running)), None)
            }
            Step::Retire(cluster, Copy { version, phase: Phase::Removing }) => {
                self.send(Effect::Remove(cluster), Rest::Removed(cluster, version))
            }
            Step::Retire(cluster, Copy { version, .. }) => {
                let rest = Rest::Remove(cluster, version + 1);
                self.write(store.report(cluster, version, Some(Phase::Removing)), Some(rest))
            }
            Step::Release(cluster) => self.write(store.release_cluster(cluster), None),
            Step::GoOn => self.go_on(store),
        }
    }

    fn go_on(&self, store: &Store) -> Outcome {
        match self.rest {
            Some(Rest::Apply(cluster, version)) => {
                self.send(Effect::Apply(cluster), Rest::Applied(cluster, version))
            }
            Some(Rest::Applied(cluster, version)) => {
                self.write(store.report(cluster, version, Some(Phase::Running)), None)
            }
            Some(Rest::Record(cluster)) => {
                self.write(store.report(cluster, 0, Some(Phase::Intended)), Some(Rest::Applied(cluster, 1)))
            }
            Some(Rest::Remove(cluster, version)) => {
                self.send(Effect::Remove(cluster), Rest::Removed(cluster, version))
            }
            Some(Rest::Removed(cluster, version)) => self.write(store.report(cluster, version, None), None),
            None => Outcome::Acts(*self),
        }
    }

    fn send(&self, effect: Effect, rest: Rest) -> Outcome {
        Outcome::Acts(Adapter { flight: Some(effect), rest: Some(rest), ..*self })
    }

    /// A write that was refused ends the plan: the world has moved on.
    fn write(&self, accepted: Option<Store>, rest: Option<Rest>) -> Outcome {
        match accepted {
            Some(store) => Outcome::Writes(Adapter { rest, ..*self }, store),
            None => Outcome::Acts(Adapter { rest: None, ..*self }),
        }
    }
}
