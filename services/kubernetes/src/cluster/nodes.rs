//! From what a cluster's API server answers to the state of the cluster. Pure.

use serde_json::Value;

use crate::cluster::reachability::{Reachable, Record};
use crate::object::{field, text};

/// What a cluster is fit for, as far as its API server tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterState {
    /// Not enough is known yet: it was never reached, or it answered once after it was offline.
    Connecting,
    /// Takes applications.
    Online,
    /// Does not answer.
    Offline,
    /// A node reports pressure.
    Unhealthy,
    /// A node is not ready.
    NotReady,
}

/// A node as far as it matters here. Heartbeat times are left out: they change by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Name.
    pub name: String,
    /// Conditions, in the node's order.
    pub conditions: Vec<NodeCondition>,
}

/// A condition in Kubernetes' own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCondition {
    /// `Ready`, `MemoryPressure`, …
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// For programs.
    pub reason: String,
    /// For people.
    pub message: String,
}

impl NodeFacts {
    /// From a live Node object.
    pub fn of(node: &Value) -> Self {
        let conditions = field(node, &["status", "conditions"]).and_then(Value::as_array);
        let read = |condition: &Value| {
            let get = |name| text(condition, &[name]).unwrap_or_default().to_owned();
            NodeCondition {
                kind: get("type"),
                status: get("status"),
                reason: get("reason"),
                message: get("message"),
            }
        };
        Self {
            name: text(node, &["metadata", "name"]).unwrap_or_default().to_owned(),
            conditions: conditions.into_iter().flatten().map(read).collect(),
        }
    }
}

/// One look at a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look<'a> {
    /// It answers; its nodes are not listed yet.
    Listing,
    /// It answers, but does not let us see its nodes.
    NodesHidden,
    /// It answers, and these are its nodes.
    Nodes(&'a [NodeFacts]),
}

/// What is known of a cluster's fitness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitness {
    /// The state.
    pub state: ClusterState,
    /// Why, for people; empty when there is nothing to say.
    pub message: String,
}

/// The state of a cluster with this reachability, by what is seen of its nodes. The first condition that is wrong, in the
/// order of nodes and conditions, decides.
pub fn judge(record: &Record, look: &Look<'_>) -> Fitness {
    let fitness = |state, message: String| Fitness { state, message };
    match (record.reachable, record.cause) {
        (Reachable::No, _) => return fitness(ClusterState::Offline, record.message.clone()),
        (Reachable::Unknown, Some(_)) => return fitness(ClusterState::Connecting, record.message.clone()),
        (Reachable::Unknown, None) => return fitness(ClusterState::Connecting, "answers again".to_owned()),
        (Reachable::Yes, _) => {}
    }
    let nodes = match look {
        Look::Listing => return fitness(ClusterState::Connecting, "its nodes are being listed".to_owned()),
        Look::NodesHidden => {
            let message = "its credentials may not list nodes, so their health is not known";
            return fitness(ClusterState::Online, message.to_owned());
        }
        Look::Nodes(nodes) => nodes,
    };
    for node in *nodes {
        for condition in &node.conditions {
            let name = condition.kind.to_ascii_lowercase();
            let told = || format!("node {}: {}: {}", node.name, condition.kind, condition.message);
            if name.ends_with("pressure") && condition.status == "True" {
                return fitness(ClusterState::Unhealthy, told());
            }
            if name == "ready" && condition.status != "True" {
                return fitness(ClusterState::NotReady, told());
            }
        }
    }
    fitness(ClusterState::Online, String::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::reachability::Cause;
    use rstest::rstest;
    use serde_json::json;
    use std::time::Duration;

    fn reached() -> Record {
        let (since, message) = (Duration::ZERO, String::new());
        Record { reachable: Reachable::Yes, cause: None, message, since, throttled: false }
    }

    fn node(name: &str, conditions: &[(&str, &str)]) -> NodeFacts {
        let conditions: Vec<_> = conditions
            .iter()
            .map(|(kind, status)| {
                json!({"type": kind, "status": status, "reason": "R", "message": "m",
                "lastHeartbeatTime": "2026-01-01T00:00:00Z"})
            })
            .collect();
        NodeFacts::of(&json!({"metadata": {"name": name}, "status": {"conditions": conditions}}))
    }

    #[rstest]
    #[case::well(&[("MemoryPressure", "False"), ("Ready", "True")], ClusterState::Online)]
    #[case::pressure(&[("DiskPressure", "True"), ("Ready", "True")], ClusterState::Unhealthy)]
    #[case::any_pressure(&[("ExamplePressure", "True"), ("Ready", "True")], ClusterState::Unhealthy)]
    #[case::not_ready(&[("PIDPressure", "False"), ("Ready", "False")], ClusterState::NotReady)]
    #[case::unknown(&[("MemoryPressure", "Unknown"), ("Ready", "Unknown")], ClusterState::NotReady)]
    #[case::pressure_first(&[("MemoryPressure", "True"), ("Ready", "False")], ClusterState::Unhealthy)]
    #[case::ready_first(&[("Ready", "False"), ("MemoryPressure", "True")], ClusterState::NotReady)]
    #[case::other_conditions(&[("NetworkUnavailable", "True"), ("Ready", "True")], ClusterState::Online)]
    fn first_wrong_condition_decides(#[case] conditions: &[(&str, &str)], #[case] expected: ClusterState) {
        let nodes = [node("good", &[("Ready", "True")]), node("n2", conditions)];
        let fitness = judge(&reached(), &Look::Nodes(&nodes));
        assert_eq!(fitness.state, expected);
        assert_eq!(fitness.message.starts_with("node n2: "), expected != ClusterState::Online);
    }

    #[rstest]
    #[case::unreachable(Reachable::No, Some(Cause::Silent), ClusterState::Offline)]
    #[case::never_reached(Reachable::Unknown, Some(Cause::Silent), ClusterState::Connecting)]
    #[case::back(Reachable::Unknown, None, ClusterState::Connecting)]
    #[case::reachable(Reachable::Yes, None, ClusterState::Online)]
    fn nodes_count_on_a_reachable_cluster(
        #[case] reachable: Reachable,
        #[case] cause: Option<Cause>,
        #[case] expected: ClusterState,
    ) {
        let nodes = [node("n", &[("Ready", "True")])];
        let record = Record { reachable, cause, message: "why".into(), ..reached() };
        let fitness = judge(&record, &Look::Nodes(&nodes));
        assert_eq!(fitness.state, expected);
        assert_eq!(fitness.message == "why", cause.is_some());
    }

    #[test]
    fn a_new_cluster_is_connecting_until_its_nodes_are_listed() {
        assert_eq!(judge(&reached(), &Look::Listing).state, ClusterState::Connecting);
        assert_eq!(judge(&reached(), &Look::Nodes(&[])).state, ClusterState::Online);
        assert_eq!(judge(&reached(), &Look::NodesHidden).state, ClusterState::Online);
    }

    #[test]
    fn heartbeats_are_no_change() {
        let at = |time: &str| {
            NodeFacts::of(&json!({"metadata": {"name": "n"}, "status": {"conditions": [
                {"type": "Ready", "status": "True", "lastHeartbeatTime": time}]}}))
        };
        assert_eq!(at("2026-01-01T00:00:00Z"), at("2026-01-01T00:00:10Z"));
    }
}
