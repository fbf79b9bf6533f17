//! The cluster controller: connects to every registered cluster, reports its health, and releases a deleted one when no
//! copy is left on it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jiff::SignedDuration;
use krake_client::{Client, Mask, Mirror, NamespacedName, ObjectKey};
use krake_proto::error::ErrorReason;
use krake_proto::finalizer::CLUSTER_COPIES;
use krake_proto::krake::kubernetes::v1 as api;
use krake_proto::krake::meta::v1::Metadata;
use krake_runtime::controller::{Next, OwnWrites, Reconciler};
use krake_runtime::leadership::Leadership;

use super::operator::OperatorCalls;
use super::project::{Application, Cluster, Told};
use super::{operator, tell};
use crate::cluster::clusters::Clusters;
use crate::cluster::identity::ClusterIdentity;
use crate::config::Clock;

/// Pause before another attempt to release a deleted cluster.
const LET_GO_AGAIN: Duration = Duration::from_secs(5);
/// How long a deletion takes before it is recorded what it waits for.
const TOLD_AFTER: SignedDuration = SignedDuration::from_secs(30);
/// Maximum number of applications that are named then.
const NAMED: usize = 3;
/// Pause between two looks whether another cluster that is the same is still there.
const LOOK_FOR_TWIN: Duration = Duration::from_secs(10);
/// The fields that a report writes.
const REPORTED: [&str; 6] = [
    "status.conditions",
    "status.nodes",
    "status.node_counts",
    "status.kubernetes_version",
    "status.identity",
    "status.unreachable_since",
];

/// The controller.
pub(crate) struct ClusterController {
    pub(crate) client: Client,
    pub(crate) mirror: Mirror<Cluster>,
    pub(crate) applications: Mirror<Application>,
    pub(crate) clusters: Arc<Clusters>,
    pub(crate) leadership: Leadership,
    pub(crate) clock: Clock,
    pub(crate) operator: OperatorCalls,
    pub(crate) own_writes: OwnWrites<NamespacedName>,
}

impl Reconciler for ClusterController {
    type Key = NamespacedName;

    async fn reconcile(&self, key: &NamespacedName) -> anyhow::Result<Next> {
        let cluster = self.mirror.get(key);
        self.operator.shown(key, cluster.as_deref());
        let Some(cluster) = cluster else {
            self.own_writes.forget(key);
            return Ok(Next::Done);
        };
        if let Some(left) = self.own_writes.unseen_for(key, cluster.resource_version) {
            return Ok(Next::After(left));
        }
        let next = if cluster.lost { Next::Done } else { self.look_after(&cluster).await? };
        if !self.leadership.leading() {
            return Ok(Next::Done);
        }
        if cluster.deleted && cluster.next_finalizer.as_deref() == Some(CLUSTER_COPIES) {
            return self.let_go(&cluster).await;
        }
        Ok(next)
    }

    fn keys(&self) -> Vec<NamespacedName> {
        self.mirror.snapshot().into_iter().map(|(key, _)| key).collect()
    }
}

impl ClusterController {
    /// Keeps the connection to a cluster, and reports what is new of it.
    async fn look_after(&self, cluster: &Cluster) -> anyhow::Result<Next> {
        let now = (self.clock)();
        let shown = &cluster.told;
        let told = match self.clusters.set(&cluster.uid, &cluster.kubeconfig, &cluster.known()) {
            Ok(handle) => handle.report().map(|report| {
                let twin = self.twin(cluster, &report.identity);
                tell::tell(&report, twin.as_deref(), shown, cluster.generation, now)
            }),
            // It was deregistered or declared lost since it was read.
            Err(_) if self.clusters.is_given_up(&cluster.uid) => None,
            Err(error) => Some(tell::unusable(&error.to_string(), shown, now)),
        };
        let Some(mut told) = told.filter(|_| self.leadership.leading()) else { return Ok(Next::Done) };
        let patience = operator::patience(&told, shown, now);
        told.conditions.extend(operator::condition(&told, shown, patience, &cluster.reference.name));
        // That the other one of two that are the same goes does not wake this one.
        let again = patience.or(tell::shows_twin(&told).then_some(LOOK_FOR_TWIN));
        if tell::differs(&told, shown) {
            operator::log_change(&cluster.reference.name, &told, shown);
            self.report(cluster, told).await?;
        }
        Ok(again.filter(|time| !time.is_zero()).map_or(Next::Done, Next::After))
    }

    async fn report(&self, cluster: &Cluster, told: Told) -> anyhow::Result<()> {
        let metadata = Metadata {
            namespace: cluster.reference.namespace.clone(),
            name: cluster.reference.name.clone(),
            uid: cluster.reference.uid.clone(),
            resource_version: cluster.resource_version,
            ..Default::default()
        };
        let status = api::ClusterStatus {
            conditions: told.conditions,
            nodes: told.nodes,
            node_counts: told.counts,
            kubernetes_version: told.version,
            identity: Some(api::ClusterIdentity {
                kube_system_uid: told.identity.kube_system_uid,
                ca_sha256: told.identity.ca_sha256,
                generation: told.identity_generation,
            }),
            unreachable_since: told.unreachable_since.map(|time| prost_types::Timestamp {
                seconds: time.as_second(),
                nanos: time.subsec_nanosecond(),
            }),
            ..Default::default()
        };
        let object = api::Cluster { metadata: Some(metadata), spec: None, status: Some(status) };
        let mask = Mask::fields(REPORTED);
        match self.client.api::<api::Cluster>().update_status(&object, mask).await {
            Ok(after) => {
                let metadata = after.metadata.unwrap_or_default();
                let state = after.status.map_or("", |status| status.state().as_str_name());
                let key = NamespacedName::from(&metadata);
                tracing::info!(cluster = %key, state, "cluster reported");
                self.own_writes.wrote(&key, metadata.resource_version);
                Ok(())
            }
            // The mirror brings the newer version, and with it the next look.
            Err(error) if error.is_outdated() => Ok(()),
            Err(error) => Err(error).context("cannot report the cluster"),
        }
    }

    /// Name of the cluster that was registered before this one and is the same, unless that is allowed.
    fn twin(&self, cluster: &Cluster, identity: &ClusterIdentity) -> Option<String> {
        if cluster.allow_duplicate || !identity.is_verified() {
            return None;
        }
        let twins = self.mirror.snapshot().into_iter().filter(|(_, other)| {
            // uids are ordered by the time of creation.
            other.uid < cluster.uid
                && !other.deleted
                && other.told.identity.kube_system_uid == identity.kube_system_uid
        });
        let first = twins.min_by(|(_, one), (_, other)| one.uid.cmp(&other.uid));
        first.map(|(key, _)| key.to_string())
    }

    /// Records which applications a deletion waits for that takes long: their own records say for what.
    async fn tell_wait(
        &self,
        cluster: &Cluster,
        key: &ObjectKey,
        placed: Vec<NamespacedName>,
    ) -> anyhow::Result<()> {
        let is_young =
            cluster.deleted_at.is_some_and(|began| (self.clock)().duration_since(began) < TOLD_AFTER);
        let waits_for = waits_for(placed);
        if is_young || waits_for == cluster.waits_for {
            return Ok(());
        }
        match self.client.report_deletion(key, cluster.uid.as_str(), &waits_for).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_outdated() => Ok(()),
            Err(error) => Err(error).context("cannot record what the deletion of the cluster waits for"),
        }
    }

    /// Removes our finalizer from a deleted cluster once no application has a copy there.
    async fn let_go(&self, cluster: &Cluster) -> anyhow::Result<Next> {
        let key = ObjectKey::from(&cluster.reference);
        let all = self.applications.snapshot().into_iter();
        let placed = all.filter(|(_, application)| application.copy(&cluster.uid).is_some());
        let placed: Vec<NamespacedName> = placed.map(|(key, _)| key).collect();
        if !placed.is_empty() || !self.applications.is_synced() {
            self.tell_wait(cluster, &key, placed).await?;
            return Ok(Next::After(LET_GO_AGAIN));
        }
        match self.client.remove_finalizer(&key, cluster.uid.as_str(), CLUSTER_COPIES).await {
            Ok(_) => Ok(Next::Done),
            Err(error) if error.reason() == Some(ErrorReason::FinalizersInUse) => {
                Ok(Next::After(LET_GO_AGAIN))
            }
            Err(error) if error.is_outdated() => Ok(Next::Done),
            Err(error) => Err(error).context("cannot let the cluster go"),
        }
    }
}

/// What the deletion of a cluster waits for, for people.
fn waits_for(mut placed: Vec<NamespacedName>) -> String {
    placed.sort_unstable();
    let named: Vec<String> = placed.iter().take(NAMED).map(NamespacedName::to_string).collect();
    let more = match placed.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match named.is_empty() {
        true => "the applications to be known".to_owned(),
        false => format!("the copies of the applications {}{more} to be gone", named.join(", ")),
    }
}
