//! Carries out the steps of a plan on one cluster, in order, until one does not succeed.

use std::time::Duration;

use krake_client::Client;
use krake_runtime::leadership::Leadership;

use super::pauses::Ending;
use super::project::Application;
use super::removals::Removals;
use super::report::{self, Reported};
use super::view::{Memory, Objects, Sighting};
use crate::cluster::ClusterHandle;
use crate::object::apply::{AppliedObject, ApplyError, Claim, apply};
use crate::object::drift::Baseline;
use crate::object::remove::{Going, Removal, remove};
use crate::object::validation::{FieldValidation, Findings, Verdict, Writes};
use crate::object::{ClusterUid, Identity, InventoryEntry};
use crate::plan::{self, Again, Answer, Applied, Attempt, CopyRecord, Phase, Reason, Step, Truth};

/// When to look again after trouble that nothing else tells the end of.
const SOON: Duration = Duration::from_secs(1);

/// What carrying out a plan on one cluster came to.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Version of the application after the last report; 0 if nothing was reported.
    pub(super) version: i64,
    /// Look again after this time.
    pub(super) again: Option<Duration>,
}

/// Everything that a step may need.
pub(super) struct Executor<'a> {
    pub(super) client: &'a Client,
    pub(super) application: &'a Application,
    pub(super) identity: &'a Identity,
    pub(super) cluster: &'a ClusterUid,
    pub(super) sighting: Option<&'a Sighting>,
    pub(super) memory: &'a Memory,
    pub(super) leadership: &'a Leadership,
    pub(super) deadline: Duration,
    pub(super) removals: &'a Removals,
    pub(super) removal_deadline: Duration,
}

impl Executor<'_> {
    /// Carries out `steps`, all of which are about this cluster.
    pub(super) async fn run(&self, steps: Vec<Step>) -> anyhow::Result<Progress> {
        let mut progress = Progress::default();
        let mut copy = self.application.copy(self.cluster).cloned();
        for step in steps {
            if !self.leadership.leading() {
                break;
            }
            let goes_on = match step {
                Step::RecordIntent(wanted) | Step::Report(wanted) | Step::MarkRemoving(wanted) => {
                    self.record(wanted, &mut copy, &mut progress).await?
                }
                Step::Forget(gone) => self.forget(gone, &mut copy, &mut progress).await?,
                Step::Apply { basis, .. } => self.apply(basis, &mut copy, &mut progress).await?,
                Step::Remove { inventory, .. } => {
                    let after = |copy: &CopyRecord, removal: &Removal| {
                        let waited = self.removals.waits(&self.application.uid, self.cluster, removal.wave);
                        plan::after_remove(copy, &removal.remaining, waited, self.removal_deadline)
                    };
                    self.remove(&inventory, after, &mut copy, &mut progress).await?
                }
                Step::Withdraw { inventory, .. } => {
                    let after =
                        |copy: &CopyRecord, removal: &Removal| plan::after_withdraw(copy, &removal.remaining);
                    self.remove(&inventory, after, &mut copy, &mut progress).await?
                }
                Step::Prune { surplus, .. } => {
                    let after = |copy: &CopyRecord, removal: &Removal| {
                        plan::after_prune(copy, &surplus, &removal.remaining)
                    };
                    self.remove(&surplus, after, &mut copy, &mut progress).await?
                }
                // The state service drops the finalizer with the last copy.
                Step::DropFinalizer => true,
                Step::Wait(time) => {
                    progress.wait(time);
                    true
                }
            };
            if !goes_on {
                break;
            }
        }
        Ok(progress)
    }

    /// Records a copy under the version that was last seen; false if the plan is outdated.
    async fn record(
        &self,
        wanted: CopyRecord,
        copy: &mut Option<CopyRecord>,
        progress: &mut Progress,
    ) -> anyhow::Result<bool> {
        let version = copy.as_ref().map_or(wanted.version, |copy| copy.version);
        let wanted = CopyRecord { version, ..wanted };
        match report::copy(self.client, self.application, &wanted).await? {
            Reported::Done(now, version) => {
                self.log("recorded", &wanted);
                *copy = now.map(|now| *now);
                progress.version = version;
                Ok(true)
            }
            Reported::Outdated => Ok(false),
        }
    }

    async fn forget(
        &self,
        gone: CopyRecord,
        copy: &mut Option<CopyRecord>,
        progress: &mut Progress,
    ) -> anyhow::Result<bool> {
        let version = copy.as_ref().map_or(gone.version, |copy| copy.version);
        match report::forget(self.client, self.application, &CopyRecord { version, ..gone.clone() }).await? {
            Reported::Done(_, version) => {
                self.log("forgotten", &gone);
                self.memory.forget(&self.application.uid, self.cluster);
                self.removals.forget(&self.application.uid, self.cluster);
                *copy = None;
                progress.version = version;
                Ok(true)
            }
            Reported::Outdated => Ok(false),
        }
    }

    /// Applies the manifest that the plan was made with.
    async fn apply(
        &self,
        basis: i64,
        copy: &mut Option<CopyRecord>,
        progress: &mut Progress,
    ) -> anyhow::Result<bool> {
        let handle = self.sighting.and_then(|sighting| sighting.handle.as_ref());
        let objects = self.sighting.and_then(|sighting| sighting.objects.as_ref());
        let (Some(handle), Some(wanted), Some(recorded)) = (handle, objects, copy.clone()) else {
            return Ok(false);
        };
        if wanted.basis != basis || wanted.manifest.is_none() {
            return Ok(false);
        }
        let uid = &self.application.uid;
        if let Some(rest) = self.memory.pauses.remaining(uid, self.cluster, basis) {
            progress.wait(rest);
            return Ok(false);
        }
        let mut accepted = Vec::new();
        let claim = Claim {
            identity: self.identity,
            inventory: &recorded.inventory,
            adopt_existing: self.application.adopt_existing,
            writes: writes(&recorded, basis, self.application.field_validation),
        };
        let mut findings = Findings::default();
        let work = apply(handle.connection(), &wanted.targets, &claim, &mut accepted, &mut findings);
        let work = Box::pin(handle.on_known(work));
        let outcome = match self.leadership.within_lease(work).await {
            Some(Ok(applied)) => applied,
            Some(Err(silent)) => Err(ApplyError::Cluster(silent)),
            // Whoever leads now goes on.
            None => return Ok(false),
        };
        if let Err(error) = &outcome {
            self.log_failure(&recorded, error);
        }
        let entries: Vec<_> = accepted.iter().map(AppliedObject::inventory_entry).collect();
        self.remember(handle, wanted, accepted, outcome.is_ok());
        let version = handle.report().and_then(|report| report.version);
        let validated = (claim.writes.is_first() && outcome.is_ok())
            .then(|| validated(findings.verdict(version.as_deref())));
        let after = plan::after_apply(Applied {
            copy: &recorded,
            basis,
            generation: self.application.generation,
            retry_requests: self.application.retry_requests,
            elapsed: self.attempt().elapsed,
            deadline: self.deadline,
            accepted: &entries,
            outcome: &outcome,
            validated: validated.as_ref(),
        });
        let ending = match after.again {
            Again::No => Ending::Applied,
            Again::Soon => Ending::Passing,
            Again::Slowly => Ending::Lasting,
        };
        self.memory.pauses.tried(uid, self.cluster, basis, ending);
        if after.again != Again::No {
            let rest = self.memory.pauses.remaining(uid, self.cluster, basis);
            progress.wait(rest.unwrap_or(SOON));
        }
        match after.report {
            Some(step) => self.follow(step, copy, progress).await,
            None => Ok(outcome.is_ok()),
        }
    }

    fn attempt(&self) -> Attempt {
        self.sighting.map(|sighting| sighting.view.attempt).unwrap_or_default()
    }

    /// Remembers what the cluster accepted.
    fn remember(&self, handle: &ClusterHandle, wanted: &Objects, accepted: Vec<AppliedObject>, whole: bool) {
        let uid = &self.application.uid;
        if whole {
            let prepared = wanted.targets.iter().map(|target| &target.prepared);
            let baselines = prepared.zip(&accepted).map(|(prepared, applied)| {
                let baseline = Baseline::of(&prepared.observed(), &applied.object);
                (applied.key.clone(), baseline.scaled(applied.scaled))
            });
            self.memory.applied(uid, self.cluster, wanted, baselines.collect());
            handle.note(&wanted.targets, accepted, uid);
        } else if !accepted.is_empty() {
            self.memory.halfway(uid, self.cluster, wanted.basis);
        }
    }

    /// Removes objects, and records what follows.
    async fn remove(
        &self,
        inventory: &[InventoryEntry],
        after: impl Fn(&CopyRecord, &Removal) -> Step,
        copy: &mut Option<CopyRecord>,
        progress: &mut Progress,
    ) -> anyhow::Result<bool> {
        let handle = self.sighting.and_then(|sighting| sighting.handle.as_ref());
        let (Some(handle), Some(mut recorded)) = (handle, copy.clone()) else { return Ok(false) };
        let is_going = |entry: &&InventoryEntry| inventory.iter().any(|going| going.key == entry.key);
        let staying: Vec<_> = recorded.inventory.iter().filter(|entry| !is_going(entry)).cloned().collect();
        let going = Going { objects: inventory, staying: &staying, identity: self.identity };
        let work = remove(handle.connection(), handle.discovery(), going);
        let work = Box::pin(handle.on_known(work));
        let Some(removed) = self.leadership.within_lease(work).await else {
            return Ok(false);
        };
        let Ok(removal) = removed else {
            // What became of it is not known; the cluster wakes us when it answers again.
            progress.wait(SOON);
            return Ok(false);
        };
        for left in &removal.remaining {
            tracing::debug!(application = %self.application.key, cluster = %self.name(), object = %left.key,
                waits_for = left.waits_for.as_deref(), "not gone yet");
        }
        if !removal.released.is_empty() {
            for released in &removal.released {
                tracing::warn!(application = %self.application.key, cluster = %self.name(), object = %released.key,
                    holds = released.holds, "left on the cluster, since it holds what is not the application's");
            }
            let told = plan::after_release(&recorded, &removal.released);
            if !self.record(told, copy, progress).await? {
                return Ok(false);
            }
            let Some(now) = copy.clone() else { return Ok(false) };
            recorded = now;
        }
        self.follow(after(&recorded, &removal), copy, progress).await
    }

    /// Carries out what follows from a step.
    async fn follow(
        &self,
        step: Step,
        copy: &mut Option<CopyRecord>,
        progress: &mut Progress,
    ) -> anyhow::Result<bool> {
        match step {
            Step::Forget(gone) => self.forget(gone, copy, progress).await,
            Step::Report(wanted) => self.record(wanted, copy, progress).await,
            Step::Wait(time) => {
                progress.wait(time);
                Ok(true)
            }
            // Nothing else follows from a step.
            _ => Ok(true),
        }
    }

    /// Tells why nothing, or not everything, was applied: once, and not at every further attempt.
    fn log_failure(&self, recorded: &CopyRecord, error: &ApplyError) {
        let (application, cluster) = (&self.application.key, self.name());
        if recorded.applied.message == error.to_string() {
            tracing::debug!(%application, cluster, %error, "still cannot apply");
        } else {
            tracing::warn!(%application, cluster, %error, "cannot apply");
        }
    }

    fn log(&self, what: &str, copy: &CopyRecord) {
        tracing::info!(application = %self.application.key, cluster = %self.name(), phase = ?copy.phase,
            generation = copy.observed_generation, "copy {what}");
    }

    fn name(&self) -> &str {
        self.application.cluster(self.cluster).map_or("", |cluster| cluster.name.as_str())
    }
}

/// Whether the cluster has accepted the manifest of generation `basis` before.
fn writes(recorded: &CopyRecord, basis: i64, validation: FieldValidation) -> Writes {
    let accepted = recorded.observed_generation == basis
        && !matches!(recorded.phase, Phase::Intended | Phase::Removing)
        && (recorded.phase != Phase::Failed || recorded.applied.truth == Truth::True);
    match accepted {
        true => Writes::Repair(validation),
        false => Writes::First(validation),
    }
}

/// What a copy says of the validation of its manifest.
fn validated(verdict: Verdict) -> Answer {
    match verdict {
        Verdict::Clean => Answer::yes(),
        Verdict::Warned(message) => Answer::no(Reason::Warnings, message),
        Verdict::NotValidated(message) => Answer::unknown(Reason::NotValidated, message),
    }
}

impl Progress {
    fn wait(&mut self, time: Duration) {
        self.again = Some(self.again.map_or(time, |again| again.min(time)));
    }

    /// Both together.
    pub(super) fn and(mut self, other: Progress) -> Progress {
        if let Some(time) = other.again {
            self.wait(time);
        }
        Progress { version: self.version.max(other.version), again: self.again }
    }
}
