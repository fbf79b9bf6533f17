//! From what a cluster's API server answers to the state of the cluster. Pure.

mod ledger;
mod node;

pub use ledger::{NodeCounts, NodeLedger, NodeLimits, SHOWN_NODES};
pub use node::{NodeCondition, NodeFacts};

use crate::cluster::reachability::{Reachable, Record};

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

/// One look at a cluster.
#[derive(Clone, Copy, Debug)]
pub enum Look<'a> {
    /// It answers; its nodes are not listed yet.
    Listing,
    /// It answers, but does not let us see its nodes.
    NodesHidden,
    /// It answers, and shows more nodes than are counted; why they are not.
    TooMany(&'a str),
    /// It answers, and these are its nodes.
    Nodes(&'a NodeLedger),
}

/// What is known of a cluster's fitness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitness {
    /// The state.
    pub state: ClusterState,
    /// Why, for people; empty when there is nothing to say.
    pub message: String,
}

/// The state of a cluster with this reachability, by what is seen of its nodes. The first condition that is wrong, in
/// the order of nodes and conditions, decides; without one, whether any node takes Pods.
pub fn judge(record: &Record, look: &Look<'_>) -> Fitness {
    let fitness = |state, message: String| Fitness { state, message };
    match (record.reachable, record.cause) {
        (Reachable::No, _) => return fitness(ClusterState::Offline, record.message.clone()),
        (Reachable::Unknown, _) => return fitness(ClusterState::Connecting, record.message.clone()),
        (Reachable::Yes, _) => {}
    }
    let nodes = match look {
        Look::Listing => return fitness(ClusterState::Connecting, "its nodes are being listed".to_owned()),
        Look::NodesHidden => {
            let message = "its credentials may not list nodes, so their health is not known";
            return fitness(ClusterState::Online, message.to_owned());
        }
        Look::TooMany(why) => return fitness(ClusterState::NotReady, (*why).to_owned()),
        Look::Nodes(nodes) => nodes,
    };
    let counts = nodes.counts();
    if let Some((node, condition)) = nodes.first_trouble() {
        let state = if condition.is_pressure() { ClusterState::Unhealthy } else { ClusterState::NotReady };
        let more = match counts.in_trouble {
            0 | 1 => String::new(),
            many => format!(" (and {} more of {} nodes)", many - 1, counts.total),
        };
        return fitness(
            state,
            format!("node {}: {}: {}{more}", node.name, condition.kind, condition.message),
        );
    }
    if counts.schedulable == 0 {
        let message = match counts.total {
            0 => "it has no nodes".to_owned(),
            total => format!("none of its {total} nodes takes Pods"),
        };
        return fitness(ClusterState::NotReady, message);
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

    fn ledger(nodes: impl IntoIterator<Item = NodeFacts>) -> NodeLedger {
        let mut ledger = NodeLedger::default();
        for node in nodes {
            ledger.insert(node);
        }
        ledger
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
        let nodes = ledger([node("good", &[("Ready", "True")]), node("n2", conditions)]);
        let fitness = judge(&reached(), &Look::Nodes(&nodes));
        assert_eq!(fitness.state, expected);
        assert_eq!(fitness.message.starts_with("node n2: "), expected != ClusterState::Online);
    }

    #[rstest]
    #[case::unreachable(Reachable::No, Some(Cause::Silent), ClusterState::Offline)]
    #[case::never_reached(Reachable::Unknown, Some(Cause::Silent), ClusterState::Connecting)]
    #[case::reachable(Reachable::Yes, None, ClusterState::Online)]
    fn nodes_count_on_a_reachable_cluster(
        #[case] reachable: Reachable,
        #[case] cause: Option<Cause>,
        #[case] expected: ClusterState,
    ) {
        let nodes = ledger([node("n", &[("Ready", "True")])]);
        let record = Record { reachable, cause, message: "why".into(), ..reached() };
        let fitness = judge(&record, &Look::Nodes(&nodes));
        assert_eq!(fitness.state, expected);
        assert_eq!(fitness.message == "why", cause.is_some());
    }

    #[test]
    fn a_new_cluster_is_connecting_until_its_nodes_are_listed() {
        assert_eq!(judge(&reached(), &Look::Listing).state, ClusterState::Connecting);
        assert_eq!(judge(&reached(), &Look::NodesHidden).state, ClusterState::Online);
    }

    #[test]
    fn a_cluster_with_more_nodes_than_are_counted_takes_no_applications_and_says_why() {
        let judged = judge(&reached(), &Look::TooMany("too many"));
        assert_eq!((judged.state, judged.message.as_str()), (ClusterState::NotReady, "too many"));
    }

    #[test]
    fn a_cluster_whose_nodes_take_no_pods_is_not_ready() {
        let none = judge(&reached(), &Look::Nodes(&NodeLedger::default()));
        assert_eq!((none.state, none.message.as_str()), (ClusterState::NotReady, "it has no nodes"));
        let mut cordoned = node("n", &[("Ready", "True")]);
        cordoned.unschedulable = true;
        let judged = judge(&reached(), &Look::Nodes(&ledger([cordoned.clone()])));
        assert_eq!(judged.message, "none of its 1 nodes takes Pods");
        let other = node("o", &[("Ready", "True")]);
        assert_eq!(judge(&reached(), &Look::Nodes(&ledger([cordoned, other]))).state, ClusterState::Online);
    }
}
