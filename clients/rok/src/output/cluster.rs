//! What tables show of a cluster.

use krake_proto::finalizer::CLUSTER_COPIES;
use krake_proto::krake::kubernetes::v1::{Cluster, ClusterLoss, ClusterNode, ClusterStatus, NodeCounts};

use super::Columns;
use super::text::{self, NONE};
use crate::trouble;

impl Columns for Cluster {
    const LIST: &'static [&'static str] = &["state"];

    fn cells(&self) -> Vec<String> {
        vec![state(self.status.as_ref())]
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let absent = (Default::default(), Default::default());
        let spec = self.spec.as_ref().unwrap_or(&absent.0);
        let status: &ClusterStatus = self.status.as_ref().unwrap_or(&absent.1);
        let cloud = spec.constraints.clone().unwrap_or_default().cloud.unwrap_or_default();
        let failing = status.metrics_reasons.iter();
        let failing = failing.map(|(metric, reason)| format!("{metric}: {}", text::reason(Some(reason))));
        let orphans = status.orphans.iter().filter_map(|orphan| orphan.object.as_ref());
        let orphans = orphans.map(|object| format!("{} {}/{}", object.kind, object.namespace, object.name));
        let reference = |reference: Option<&_>| {
            reference.map_or_else(|| NONE.to_owned(), |reference| text::reference(reference, ""))
        };
        let nodes = status.node_counts.unwrap_or_else(|| counted(&status.nodes));
        vec![
            ("state", state(Some(status))),
            ("reason", text::reason(status.reason.as_ref())),
            ("conditions", text::lines(trouble::all(&status.conditions))),
            ("kubernetes_version", text::lines(Some(&status.kubernetes_version).filter(|v| !v.is_empty()))),
            ("nodes", format!("{}/{} ready", nodes.ready, nodes.total)),
            ("nodes_pid_pressure", format!("{}/{}", nodes.pid_pressure, nodes.total)),
            ("nodes_memory_pressure", format!("{}/{}", nodes.memory_pressure, nodes.total)),
            ("nodes_disk_pressure", format!("{}/{}", nodes.disk_pressure, nodes.total)),
            ("identity", identity(status)),
            ("lost", lost(status)),
            ("replaced", replaced(status)),
            ("custom_resources", text::lines(&spec.custom_resources)),
            ("metrics", text::metrics(&spec.metrics)),
            ("failing_metrics", text::lines(failing)),
            ("allowed_namespaces", text::lines(&spec.allowed_namespaces)),
            ("orphans", text::lines(orphans)),
            ("label constraints", text::lines(cloud.labels)),
            ("metric constraints", text::lines(cloud.metrics)),
            ("scheduled_to", reference(status.scheduled_to.as_ref())),
            ("scheduled", text::time(status.scheduled.as_ref())),
            ("running_on", reference(status.running_on.as_ref())),
            ("backoff", text::optional(spec.backoff)),
            ("backoff_delay", text::optional(spec.backoff_delay)),
            ("backoff_limit", text::optional(spec.backoff_limit)),
        ]
    }

    fn trouble(&self) -> Option<String> {
        let status = self.status.as_ref()?;
        trouble::why(status.reason.as_ref(), &status.conditions)
    }

    fn left_behind(&self) -> Vec<String> {
        let finalizers = self.metadata.iter().flat_map(|metadata| &metadata.finalizers);
        let held = finalizers.into_iter().any(|finalizer| finalizer == CLUSTER_COPIES);
        held.then(|| "the objects of applications stay on the cluster".to_owned()).into_iter().collect()
    }
}

fn state(status: Option<&ClusterStatus>) -> String {
    status.map_or_else(
        || NONE.to_owned(),
        |status| text::name(status.state().as_str_name(), "CLUSTER_STATE_").to_owned(),
    )
}

/// What the cluster is known by.
fn identity(status: &ClusterStatus) -> String {
    let identity = status.identity.as_ref();
    match identity.map(|identity| (identity.kube_system_uid.as_str(), identity.ca_sha256.as_str())) {
        None | Some(("", "")) => NONE.to_owned(),
        Some(("", ca)) => format!("unverified, certificate authority {ca}"),
        Some((uid, _)) => format!("kube-system {uid}"),
    }
}

/// When the cluster was declared lost, and by whom.
fn lost(status: &ClusterStatus) -> String {
    status.lost.as_ref().map_or_else(|| NONE.to_owned(), declared)
}

fn declared(lost: &ClusterLoss) -> String {
    format!("{} by {}", text::time(lost.declared.as_ref()), lost.declared_by)
}

/// The registration whose place this one took, when that was declared lost, and by whom.
fn replaced(status: &ClusterStatus) -> String {
    let Some(replaced) = &status.replaced else { return NONE.to_owned() };
    let lost = replaced.lost.as_ref().map_or_else(|| NONE.to_owned(), declared);
    format!("{}, lost {lost}", replaced.uid)
}

/// Numbers of the nodes that are listed: an adapter of an older version lists them all and counts none.
fn counted(nodes: &[ClusterNode]) -> NodeCounts {
    let with = |kind: &str| {
        let holds = |node: &&ClusterNode| {
            let mut conditions = node.status.iter().flat_map(|status| &status.conditions);
            conditions.any(|condition| condition.r#type == kind && condition.status == "True")
        };
        u32::try_from(nodes.iter().filter(holds).count()).unwrap_or(u32::MAX)
    };
    NodeCounts {
        total: u32::try_from(nodes.len()).unwrap_or(u32::MAX),
        ready: with("Ready"),
        schedulable: with("Ready"),
        memory_pressure: with("MemoryPressure"),
        disk_pressure: with("DiskPressure"),
        pid_pressure: with("PIDPressure"),
    }
}
