//! Carries out the steps of a plan on one cluster, in order, until one does not succeed.

mod apply;
mod part;
mod remove;

use std::time::Duration;

use krake_client::Client;
use krake_runtime::leadership::Leadership;

use super::documents;
use super::memory::Memory;
use super::neighbours::Neighbours;
use super::project::Application;
use super::removals::Removals;
use super::report::{self, Reported};
use super::view::Sighting;
use crate::error::ClusterError;
use crate::object::remove::Removal;
use crate::object::{ClusterUid, Identity};
use crate::plan::{self, Apply, CopyRecord, Step, Work};

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
    pub(super) neighbours: Neighbours<'a>,
    pub(super) leadership: &'a Leadership,
    pub(super) deadline: Duration,
    pub(super) removals: &'a Removals,
    pub(super) removal_deadline: Duration,
}

impl Executor<'_> {
    /// Carries out `steps`, all of which are about this cluster. What was reported before an error is in `progress`.
    pub(super) async fn run(&self, steps: Vec<Step>, progress: &mut Progress) -> anyhow::Result<()> {
        let mut copy = self.application.copy(self.cluster).cloned();
        for step in steps {
            if !self.leadership.leading() {
                break;
            }
            let goes_on = match step {
                Step::RecordIntent(wanted) | Step::Report(wanted) | Step::MarkRemoving(wanted) => {
                    self.record(wanted, &mut copy, progress).await?
                }
                Step::Forget(gone) => self.forget(gone, &mut copy, progress).await?,
                Step::Apply { what, .. } => {
                    if what == Apply::Wanted {
                        // What is removed later is waited for anew.
                        self.removals.forget(&self.application.uid, self.cluster);
                    }
                    self.apply(what, &mut copy, progress).await?
                }
                Step::Remove { inventory, .. } => {
                    let after = |copy: &CopyRecord, removal: &Removal| {
                        plan::after_remove(copy, &removal.remaining, self.waited(removal))
                    };
                    self.remove(&inventory, after, &mut copy, progress).await?
                }
                Step::Withdraw { inventory, .. } => {
                    let after = |copy: &CopyRecord, removal: &Removal| {
                        plan::after_withdraw(copy, &removal.remaining, self.waited(removal))
                    };
                    self.remove(&inventory, after, &mut copy, progress).await?
                }
                Step::Prune { surplus, .. } => {
                    let after = |copy: &CopyRecord, removal: &Removal| {
                        plan::after_prune(copy, &surplus, &removal.remaining, self.waited(removal))
                    };
                    self.remove(&surplus, after, &mut copy, progress).await?
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
        Ok(())
    }

    /// Records a copy under the version that was last seen; false if the plan is outdated.
    async fn record(
        &self,
        wanted: CopyRecord,
        copy: &mut Option<CopyRecord>,
        progress: &mut Progress,
    ) -> anyhow::Result<bool> {
        let version = copy.as_ref().map_or(wanted.version, |copy| copy.version);
        let attempt = self.sighting.map(|sighting| sighting.view.attempt).unwrap_or_default();
        let wanted = attempt.kept_in(CopyRecord { version, ..wanted });
        let Some(wanted) = self.stored(wanted).await? else { return Ok(false) };
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

    /// The record after the documents that it is the first to name were stored; `None` if the plan is outdated.
    async fn stored(&self, mut record: CopyRecord) -> anyhow::Result<Option<CopyRecord>> {
        let is_new = |work: &&mut Option<Work>| work.is_some_and(|work| work.pieces == 0);
        for slot in [&mut record.applied_work, &mut record.intended_work].into_iter().filter(is_new) {
            let wanted = self.sighting.and_then(|sighting| sighting.wanted.as_ref());
            let (Some(work), Some(wanted)) = (*slot, wanted) else { return Ok(None) };
            let rendering = wanted.rendering();
            if rendering.set() != work.set {
                return Ok(None);
            }
            *slot = documents::store(self.client, self.application, work, &rendering).await?;
            if slot.is_none() {
                return Ok(None);
            }
            self.memory.documents.keep(&rendering);
        }
        Ok(Some(record))
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

    /// Whether it is confirmed, within the lease, that the cluster is the registered one still.
    async fn is_answer_of(&self, confirmed: impl Future<Output = Result<(), ClusterError>>) -> bool {
        matches!(self.leadership.within_lease(Box::pin(confirmed)).await, Some(Ok(())))
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

    fn log(&self, what: &str, copy: &CopyRecord) {
        tracing::info!(application = %self.application.key, cluster = %self.name(), phase = ?copy.phase,
            generation = copy.observed_generation, "copy {what}");
    }

    fn name(&self) -> &str {
        self.application.cluster(self.cluster).map_or("", |cluster| cluster.name.as_str())
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
