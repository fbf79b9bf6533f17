//! The controller: looks at one application, decides, writes; and looks at all of them when the world changes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use krake_client::{Client, ClusterUid, Mask, NamespacedName};
use krake_proto::krake::kubernetes::v1::{Application, ApplicationStatus, BindApplicationRequest};
use krake_proto::krake::meta::v1::{CheckTombstonesRequest, Metadata};
use krake_runtime::controller::{Next, OwnWrites, Priority, Queue, Reconciler};

use crate::act::{Act, Report, act};
use crate::decide::{Choice, Decision, Options, decide};
use crate::inputs::{Inputs, Snapshot};
use crate::project::Placed;

/// When to look again after a write that was decided on an old state, if the mirror does not tell before.
pub(crate) const CONFLICT_AGAIN: Duration = Duration::from_secs(1);
/// When to look again at an application whose next cluster takes no further attempt at present.
const PLACE_AGAIN: Duration = Duration::from_secs(2);
/// When to look again at an application whose cluster is unknown.
const UNKNOWN_AGAIN: Duration = Duration::from_secs(30);
/// After so many applications a look at all of them lets others work.
const BREATH: usize = 256;

/// Tells the time that decisions are made at; a parameter so that tests can.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Decides and writes.
pub(crate) struct Scheduler {
    client: Client,
    inputs: Arc<Inputs>,
    options: Options,
    queue: Queue<NamespacedName>,
    clock: Clock,
    own_writes: OwnWrites<NamespacedName>,
}

impl Reconciler for Scheduler {
    type Key = NamespacedName;

    fn trace_parent(&self, key: &NamespacedName) -> Option<String> {
        self.inputs.applications.get(key).map(|placed| placed.trace_parent.clone())
    }

    async fn reconcile(&self, key: &NamespacedName) -> anyhow::Result<Next> {
        let Some(placed) = self.inputs.applications.get(key) else {
            self.own_writes.forget(key);
            return Ok(Next::Done);
        };
        if let Some(left) = self.own_writes.unseen_for(key, placed.resource_version) {
            return Ok(Next::After(left));
        }
        let now = (self.clock)();
        let snapshot = self.inputs.snapshot();
        let mut decision = self.decide(&snapshot, &placed, now);
        if matches!(decision, Decision::Unschedulable(_)) && !self.inputs.is_current(&snapshot) {
            // An attempt may be the last one: it is made on nothing but the present.
            decision = self.decide(&self.inputs.rebuild(), &placed, now);
        }
        if let Decision::Bind(choice) = &decision
            && let Err(pause) = self.begin(&placed, choice, now)
        {
            return Ok(Next::After(pause));
        }
        let act = act(&placed, &decision);
        let again = act.again.map_or(Next::Done, |time| Next::After(until(now, time)));
        let written = self.write(&placed, act, &decision).await;
        if !matches!(written, Ok(Written::All)) {
            // What the mirror shows is in force, or comes with its next change.
            self.inputs.in_flight.shown(key, Some(&placed));
            self.inputs.exodus.shown(key, Some(&placed));
        }
        Ok(match written? {
            Written::All => again,
            Written::Unknown => Next::After(UNKNOWN_AGAIN),
            // Somebody else wrote: the mirror brings it, and with it the next look.
            Written::Outdated => Next::After(CONFLICT_AGAIN),
        })
    }
}

/// How a write went.
enum Written {
    /// Everything that was to be written was.
    All,
    /// Nothing is known of the application's cluster.
    Unknown,
    /// The decision was made on an old state. That is no error.
    Outdated,
}

impl Scheduler {
    pub(crate) fn new(
        client: Client,
        inputs: Arc<Inputs>,
        options: Options,
        queue: Queue<NamespacedName>,
        clock: Clock,
    ) -> Self {
        Scheduler { client, inputs, options, queue, clock, own_writes: OwnWrites::default() }
    }

    /// Takes the places that a move needs; otherwise returns when to look again.
    fn begin(&self, placed: &Placed, choice: &Choice, now: Timestamp) -> Result<(), Duration> {
        let (key, cluster) = (&placed.application.key, &choice.cluster.key);
        let Inputs { exodus, in_flight, .. } = &*self.inputs;
        exodus.begin(placed, choice, now).inspect_err(|_| {
            tracing::debug!(application = %key, "waits: enough have left its cluster for the same failure");
        })?;
        if !in_flight.begin(placed, choice, now) {
            tracing::debug!(application = %key, %cluster, "waits: enough attempts are under way there");
            exodus.shown(key, Some(placed));
            return Err(PLACE_AGAIN);
        }
        Ok(())
    }

    fn decide(&self, snapshot: &Snapshot, placed: &Placed, now: Timestamp) -> Decision {
        let application = &placed.application;
        let shortlist = snapshot.shortlist(&application.key.namespace, &application.constraints);
        decide(snapshot.world(), &shortlist, application, now, &self.options)
    }

    /// Looks at all applications in the world as it was built last, and wakes those for which something is to be done.
    pub(crate) async fn reconsider(&self) {
        let snapshot = self.inputs.snapshot();
        let now = (self.clock)();
        let applications = self.inputs.applications.snapshot();
        let mut nowhere = HashSet::new();
        for (index, (key, placed)) in applications.iter().enumerate() {
            // A pass over a large fleet takes a core for a moment; other tasks must not wait for it.
            if index % BREATH == BREATH - 1 {
                tokio::task::yield_now().await;
            }
            let bound_to = placed.application.binding.as_ref().map(|binding| &binding.cluster_uid);
            nowhere.extend(bound_to.filter(|uid| snapshot.world().rank_of(uid).is_none()));
            let act = act(placed, &self.decide(&snapshot, placed, now));
            if !act.is_nothing() {
                self.queue.add(key.clone(), Priority::Resync);
            } else if let Some(time) = act.again {
                self.queue.add_after(key.clone(), Priority::Resync, until(now, time));
            }
        }
        self.inputs.forget_erased(snapshot.world(), &nowhere);
    }

    /// Writes what follows from a decision.
    async fn write(&self, placed: &Placed, act: Act, decision: &Decision) -> anyhow::Result<Written> {
        let key = &placed.application.key;
        if let Some(uid) = act.ask {
            return self.ask(key, uid).await;
        }
        let mut version = placed.resource_version;
        if let Some(request) = act.bind {
            let Some(after) = self.bind(request).await? else { return Ok(Written::Outdated) };
            self.own_writes.wrote(key, after);
            tracing::info!(application = %key, decision = %summary(decision), "bound");
            version = after;
        }
        if let Some(report) = act.report {
            let Some(after) = self.report(placed, version, report).await? else {
                return Ok(Written::Outdated);
            };
            self.own_writes.wrote(key, after);
            tracing::info!(application = %key, decision = %summary(decision), "reported");
        }
        Ok(Written::All)
    }

    /// Writes a binding; answers the new version, or nothing if a precondition did not hold.
    async fn bind(&self, request: BindApplicationRequest) -> anyhow::Result<Option<i64>> {
        match self.client.applications().bind_application(request).await {
            Ok(response) => Ok(Some(version(response.into_inner().metadata))),
            Err(status) => match krake_client::Error::from(status) {
                error if error.is_outdated() => Ok(None),
                error => Err(error).context("cannot bind"),
            },
        }
    }

    async fn report(&self, placed: &Placed, version_now: i64, report: Report) -> anyhow::Result<Option<i64>> {
        let application = &placed.application;
        let metadata = Metadata {
            namespace: application.key.namespace.clone(),
            name: application.key.name.clone(),
            uid: application.uid.to_string(),
            resource_version: version_now,
            ..Default::default()
        };
        let mut fields = vec!["status.retries", "status.scheduled_retry"];
        fields.extend(report.condition.as_ref().map(|_| "status.conditions"));
        let status = ApplicationStatus {
            conditions: report.condition.into_iter().collect(),
            retries: report.retries,
            scheduled_retry: report.scheduled_retry,
            ..Default::default()
        };
        let object = Application { metadata: Some(metadata), spec: None, status: Some(status) };
        match self.client.api::<Application>().update_status(&object, Mask::fields(fields)).await {
            Ok(after) => Ok(Some(version(after.metadata))),
            Err(error) if error.is_outdated() => Ok(None),
            Err(error) => Err(error).context("cannot write the attempts to find a cluster"),
        }
    }

    /// Asks whether the cluster of a binding was erased; only then it counts as gone.
    async fn ask(&self, key: &NamespacedName, uid: ClusterUid) -> anyhow::Result<Written> {
        let request = CheckTombstonesRequest { uids: vec![uid.to_string()] };
        let answer =
            self.client.objects().check_tombstones(request).await.map_err(krake_client::Error::from)?;
        if answer.into_inner().erased.iter().any(|erased| erased == uid.as_str()) {
            // The next world knows it, and wakes all that are bound to it.
            self.inputs.erase(&uid);
        } else {
            tracing::warn!(application = %key, cluster = %uid, "bound to a cluster that is neither there nor erased");
        }
        Ok(Written::Unknown)
    }
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
