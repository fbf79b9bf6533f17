//! The cluster controller: connects to every registered cluster, reports its health, and releases a deleted one when no
//! copy is left on it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use krake_client::{Client, Mask, Mirror, NamespacedName, ObjectKey};
use krake_proto::condition::{bounded, find, reason_of, reasons, types};
use krake_proto::error::ErrorReason;
use krake_proto::finalizer::CLUSTER_COPIES;
use krake_proto::krake::kubernetes::v1 as api;
use krake_proto::krake::meta::v1::{Condition, ConditionStatus, Metadata};
use krake_runtime::controller::{Next, Reconciler};
use krake_runtime::leadership::Leadership;

use super::project::{Application, Cluster, Told};
use crate::cluster::ClusterReport;
use crate::cluster::clusters::Clusters;
use crate::cluster::nodes::{ClusterState, NodeFacts};

/// Pause before another attempt to release a deleted cluster.
const LET_GO_AGAIN: Duration = Duration::from_secs(5);
/// Longest time until the mirror shows a report of our own.
const OWN_WRITE: Duration = Duration::from_secs(5);

/// The controller.
pub(crate) struct ClusterController {
    pub(crate) client: Client,
    pub(crate) mirror: Mirror<Cluster>,
    pub(crate) applications: Mirror<Application>,
    pub(crate) clusters: Arc<Clusters>,
    pub(crate) leadership: Leadership,
}

impl Reconciler for ClusterController {
    type Key = NamespacedName;

    async fn reconcile(&self, key: &NamespacedName) -> anyhow::Result<Next> {
        let Some(cluster) = self.mirror.get(key) else { return Ok(Next::Done) };
        let told = match self.clusters.set(&cluster.uid, &cluster.kubeconfig) {
            Ok(handle) => handle.report().map(|report| tell(&report)),
            Err(error) => Some(unusable(&error.to_string())),
        };
        if !self.leadership.leading() {
            return Ok(Next::Done);
        }
        if let Some(told) = told.filter(|told| differs(told, &cluster.told)) {
            self.report(&cluster, told).await?;
        }
        if cluster.deleted && cluster.next_finalizer.as_deref() == Some(CLUSTER_COPIES) {
            return self.let_go(&cluster).await;
        }
        Ok(Next::Done)
    }

    fn keys(&self) -> Vec<NamespacedName> {
        self.mirror.snapshot().into_iter().map(|(key, _)| key).collect()
    }
}

impl ClusterController {
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
            kubernetes_version: told.version,
            ..Default::default()
        };
        let object = api::Cluster { metadata: Some(metadata), spec: None, status: Some(status) };
        let mask = Mask::fields(["status.conditions", "status.nodes", "status.kubernetes_version"]);
        match self.client.api::<api::Cluster>().update_status(&object, mask).await {
            Ok(after) => {
                let metadata = after.metadata.unwrap_or_default();
                let state = after.status.map_or("", |status| status.state().as_str_name());
                tracing::info!(cluster = %NamespacedName::from(&metadata), state, "cluster reported");
                let shown = self.mirror.wait_for(metadata.resource_version);
                tokio::time::timeout(OWN_WRITE, shown)
                    .await
                    .context("the mirror does not show our own report")??;
                Ok(())
            }
            // The mirror brings the newer version, and with it the next look.
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(()),
            Err(error) => Err(error).context("cannot report the cluster"),
        }
    }

    /// Removes our finalizer from a deleted cluster once no application has a copy there.
    async fn let_go(&self, cluster: &Cluster) -> anyhow::Result<Next> {
        let copies =
            self.applications.snapshot().into_iter().any(|(_, application)| {
                application.copies.iter().any(|copy| copy.record.cluster == cluster.uid)
            });
        if copies || !self.applications.is_synced() {
            return Ok(Next::After(LET_GO_AGAIN));
        }
        let key = ObjectKey::from(&cluster.reference);
        match self.client.remove_finalizer(&key, cluster.uid.as_str(), CLUSTER_COPIES).await {
            Ok(_) => Ok(Next::Done),
            Err(error) if error.reason() == Some(ErrorReason::FinalizersInUse) => {
                Ok(Next::After(LET_GO_AGAIN))
            }
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(Next::Done),
            Err(error) => Err(error).context("cannot let the cluster go"),
        }
    }
}

/// What a look at the cluster tells.
fn tell(report: &ClusterReport) -> Told {
    let message = report.fitness.message.clone();
    let yes = |r#type| condition(r#type, ConditionStatus::True, "", String::new());
    let reachable = match report.fitness.state {
        ClusterState::Offline => condition(
            types::REACHABLE,
            ConditionStatus::False,
            reasons::CLUSTER_NOT_REACHABLE,
            message.clone(),
        ),
        ClusterState::Connecting => {
            condition(types::REACHABLE, ConditionStatus::Unknown, reasons::CONNECTING, message.clone())
        }
        ClusterState::Online | ClusterState::Unhealthy | ClusterState::NotReady => yes(types::REACHABLE),
    };
    let no_nodes = |reason| condition(types::NODES_HEALTHY, ConditionStatus::False, reason, message.clone());
    let healthy = match report.fitness.state {
        ClusterState::Online => Some(Condition { message: message.clone(), ..yes(types::NODES_HEALTHY) }),
        ClusterState::Unhealthy => Some(no_nodes(reasons::NODE_PRESSURE)),
        ClusterState::NotReady => Some(no_nodes(reasons::NODE_NOT_READY)),
        // Nothing new is known of the nodes.
        ClusterState::Offline | ClusterState::Connecting => None,
    };
    Told {
        conditions: std::iter::once(reachable).chain(healthy).collect(),
        nodes: report.nodes.iter().map(node).collect(),
        version: report.version.clone().unwrap_or_default(),
    }
}

fn unusable(why: &str) -> Told {
    let (status, reason) = (ConditionStatus::False, reasons::INVALID_KUBECONFIG);
    Told { conditions: vec![condition(types::REACHABLE, status, reason, why.to_owned())], ..Told::default() }
}

fn condition(r#type: &str, status: ConditionStatus, reason: &str, message: String) -> Condition {
    let (r#type, status, reason) = (r#type.into(), status.into(), reason.into());
    Condition { r#type, status, reason, message: bounded(message), ..Condition::default() }
}

fn node(node: &NodeFacts) -> api::ClusterNode {
    let conditions = node.conditions.iter().map(|condition| api::ClusterNodeCondition {
        message: condition.message.clone(),
        reason: condition.reason.clone(),
        status: condition.status.clone(),
        r#type: condition.kind.clone(),
    });
    api::ClusterNode {
        api: "kubernetes".to_owned(),
        kind: "ClusterNode".to_owned(),
        metadata: Some(api::ClusterNodeMetadata { name: node.name.clone() }),
        status: Some(api::ClusterNodeStatus { conditions: conditions.collect() }),
    }
}

/// Whether there is anything new to report. An unreachable cluster's nodes and version stay as they were last seen.
fn differs(told: &Told, shown: &Told) -> bool {
    let new = |condition: &Condition| {
        let shown = find(&shown.conditions, &condition.r#type);
        shown.is_none_or(|shown| {
            (shown.status, reason_of(shown), &shown.message)
                != (condition.status, reason_of(condition), &condition.message)
        })
    };
    told.conditions.iter().any(new) || told.nodes != shown.nodes || told.version != shown.version
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::nodes::Fitness;

    fn report(state: ClusterState, message: &str) -> ClusterReport {
        ClusterReport { fitness: Fitness { state, message: message.into() }, nodes: vec![], version: None }
    }

    fn said<'a>(told: &'a Told, r#type: &str) -> Option<(ConditionStatus, &'a str)> {
        let condition = find(&told.conditions, r#type)?;
        Some((condition.status(), condition.reason.as_str()))
    }

    #[test]
    fn every_state_has_its_conditions() {
        let online = tell(&report(ClusterState::Online, ""));
        assert_eq!(said(&online, types::REACHABLE).unwrap().0, ConditionStatus::True);
        assert_eq!(said(&online, types::NODES_HEALTHY).unwrap().0, ConditionStatus::True);
        let offline = tell(&report(ClusterState::Offline, "connection refused"));
        let reason = reasons::CLUSTER_NOT_REACHABLE;
        assert_eq!(said(&offline, types::REACHABLE), Some((ConditionStatus::False, reason)));
        assert_eq!(
            said(&offline, types::NODES_HEALTHY),
            None,
            "an old answer about nodes is not overwritten"
        );
        let pressed = tell(&report(ClusterState::Unhealthy, "node n: DiskPressure"));
        assert_eq!(said(&pressed, types::NODES_HEALTHY).unwrap().1, reasons::NODE_PRESSURE);
    }

    #[test]
    fn only_news_is_told() {
        let told = tell(&report(ClusterState::Online, ""));
        assert!(differs(&told, &Told::default()));
        let mut shown = told.clone();
        shown.conditions[0].last_transition_time = Some(Default::default());
        shown.conditions.push(condition(
            types::METRICS_AVAILABLE,
            ConditionStatus::False,
            reasons::INVALID_METRIC,
            String::new(),
        ));
        assert!(!differs(&told, &shown), "others' conditions and times are no news");
        assert!(differs(&tell(&report(ClusterState::Offline, "")), &shown));
    }
}
