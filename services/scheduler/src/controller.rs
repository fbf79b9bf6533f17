//! The controller: looks at one application, decides, writes; and looks at all of them when the world changes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use krake_client::{Client, Mask, NamespacedName};
use krake_proto::krake::kubernetes::v1::{Application, ApplicationStatus, BindApplicationRequest};
use krake_proto::krake::meta::v1::{CheckTombstonesRequest, Condition, Metadata};
use krake_runtime::controller::{Next, Priority, Queue, Reconciler};

use crate::act::{Act, act};
use crate::decide::{Decision, Options, decide};
use crate::filter::Shortlists;
use crate::inputs::Inputs;
use crate::project::Placed;

/// How long to wait until the mirror shows a write of our own.
const OWN_WRITE: Duration = Duration::from_secs(5);
/// When to look again at an application whose cluster is unknown.
const UNKNOWN_AGAIN: Duration = Duration::from_secs(30);

/// Decides and writes.
pub(crate) struct Scheduler {
    pub(crate) client: Client,
    pub(crate) inputs: Arc<Inputs>,
    pub(crate) options: Options,
    pub(crate) queue: Queue<NamespacedName>,
}

impl Reconciler for Scheduler {
    type Key = NamespacedName;

    async fn reconcile(&self, key: &NamespacedName) -> anyhow::Result<Next> {
        let Some(placed) = self.inputs.applications.get(key) else { return Ok(Next::Done) };
        let world = self.inputs.world();
        let shortlist = Shortlists::new(&world).get(&key.namespace, &placed.application.constraints);
        let now = Timestamp::now();
        let decision = decide(&world, &shortlist, &placed.application, now, &self.options);
        let act = act(&placed, &decision);
        let again = act.again;
        match self.write(&placed, act, &decision).await {
            Ok(true) => Ok(Next::Done),
            // Somebody else wrote: the mirror brings it, and with it the next look.
            Ok(false) => Ok(again.map_or(Next::Done, |time| Next::After(until(now, time)))),
            Err(error) => Err(error),
        }
    }

    fn keys(&self) -> Vec<NamespacedName> {
        self.inputs.applications.snapshot().into_iter().map(|(key, _)| key).collect()
    }
}

impl Scheduler {
    /// Looks at all applications in the present world and wakes those for which something is to be done.
    pub(crate) fn reconsider(&self) {
        let world = self.inputs.world();
        let mut shortlists = Shortlists::new(&world);
        let now = Timestamp::now();
        for (key, placed) in self.inputs.applications.snapshot() {
            let shortlist = shortlists.get(&key.namespace, &placed.application.constraints);
            let decision = decide(&world, &shortlist, &placed.application, now, &self.options);
            let act = act(&placed, &decision);
            if !act.is_nothing() {
                self.queue.add(key, Priority::Resync);
            } else if let Some(time) = act.again {
                self.queue.add_after(key, Priority::Resync, until(now, time));
            }
        }
    }

    /// Writes what follows from a decision; true if something was written. A conflict means that the decision was made
    /// on an old state: nothing is wrong, and nothing was written.
    async fn write(&self, placed: &Placed, act: Act, decision: &Decision) -> anyhow::Result<bool> {
        let key = &placed.application.key;
        if let Some(uid) = act.ask {
            return self.ask(key, uid).await;
        }
        let mut version = placed.resource_version;
        let mut written = false;
        if let Some(request) = act.bind {
            let Some(after) = self.bind(request).await? else { return Ok(false) };
            tracing::info!(application = %key, decision = %summary(decision), "bound");
            (version, written) = (after, true);
        }
        if let Some(condition) = act.condition {
            let Some(after) = self.report(placed, version, condition).await? else { return Ok(false) };
            tracing::info!(application = %key, decision = %summary(decision), "no cluster");
            (version, written) = (after, true);
        }
        if written {
            // The next decision is made on a mirror that shows this one.
            let shown = self.inputs.applications.wait_for(version);
            tokio::time::timeout(OWN_WRITE, shown)
                .await
                .context("the mirror does not show our own write")??;
            self.queue.add(key.clone(), Priority::Resync);
        }
        Ok(written)
    }

    /// Writes a binding; answers the new version, or nothing if a precondition did not hold.
    async fn bind(&self, request: BindApplicationRequest) -> anyhow::Result<Option<i64>> {
        match self.client.applications().bind_application(request).await {
            Ok(response) => Ok(Some(version(response.into_inner().metadata))),
            Err(status) => match krake_client::Error::from(status) {
                error if outdated(&error) => Ok(None),
                error => Err(error).context("cannot bind"),
            },
        }
    }

    async fn report(
        &self,
        placed: &Placed,
        version_now: i64,
        condition: Condition,
    ) -> anyhow::Result<Option<i64>> {
        let application = &placed.application;
        let metadata = Metadata {
            namespace: application.key.namespace.clone(),
            name: application.key.name.clone(),
            uid: application.uid.clone(),
            resource_version: version_now,
            ..Default::default()
        };
        let status = ApplicationStatus { conditions: vec![condition], ..Default::default() };
        let object = Application { metadata: Some(metadata), spec: None, status: Some(status) };
        match self
            .client
            .api::<Application>()
            .update_status(&object, Mask::fields(["status.conditions"]))
            .await
        {
            Ok(after) => Ok(Some(version(after.metadata))),
            Err(error) if outdated(&error) => Ok(None),
            Err(error) => Err(error).context("cannot write the condition"),
        }
    }

    /// Asks whether the cluster of a binding was erased; only then it counts as gone.
    async fn ask(&self, key: &NamespacedName, uid: String) -> anyhow::Result<bool> {
        let request = CheckTombstonesRequest { uids: vec![uid.clone()] };
        let answer =
            self.client.objects().check_tombstones(request).await.map_err(krake_client::Error::from)?;
        if answer.into_inner().erased.contains(&uid) {
            self.inputs.erase(&uid);
        } else {
            tracing::warn!(application = %key, cluster = %uid, "bound to a cluster that is neither there nor erased");
            self.queue.add_after(key.clone(), Priority::Resync, UNKNOWN_AGAIN);
        }
        Ok(false)
    }
}

/// Whether a write failed because the world has moved on, which the mirrors will tell.
fn outdated(error: &krake_client::Error) -> bool {
    use krake_proto::error::ErrorReason;
    matches!(error.reason(), Some(ErrorReason::Conflict | ErrorReason::NotFound | ErrorReason::BeingDeleted))
}

fn version(metadata: Option<Metadata>) -> i64 {
    metadata.unwrap_or_default().resource_version
}

fn until(now: Timestamp, time: Timestamp) -> Duration {
    Duration::try_from(time.duration_since(now)).unwrap_or_default()
}

/// A decision for the log.
fn summary(decision: &Decision) -> String {
    match decision {
        Decision::Bind(choice) => format!("to {}: {:?}", choice.cluster.key, choice.reason),
        Decision::Keep { reason, .. } | Decision::KeepUntil { reason, .. } => format!("stays: {reason:?}"),
        Decision::Unschedulable(deadlock) => format!("{:?}: {}", deadlock.outcome, deadlock.message),
    }
}
