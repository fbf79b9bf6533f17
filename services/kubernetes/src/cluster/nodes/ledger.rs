//! The nodes of a cluster: all of them for the counts, and the worst ones to show. Pure.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::{NodeCondition, NodeFacts};

/// Maximum number of nodes that are shown: those in trouble first, then by name.
pub const SHOWN_NODES: usize = 50;

/// How much is counted of a cluster's nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeLimits {
    /// Maximum number of nodes.
    pub nodes: usize,
    /// Maximum size of their different conditions, in MiB. Most nodes share theirs.
    pub conditions_mib: usize,
}

impl Default for NodeLimits {
    /// Kubernetes supports 5,000 nodes, and the largest clusters known have 65,000.
    fn default() -> Self {
        Self { nodes: 100_000, conditions_mib: 64 }
    }
}

/// Numbers of nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeCounts {
    /// All.
    pub total: u32,
    /// Those that are ready.
    pub ready: u32,
    /// Those that are ready and not cordoned.
    pub schedulable: u32,
    /// Those that are not ready or under any pressure.
    pub in_trouble: u32,
    /// Those short of memory.
    pub memory_pressure: u32,
    /// Those short of disk space.
    pub disk_pressure: u32,
    /// Those short of process ids.
    pub pid_pressure: u32,
}

/// The nodes of a cluster, kept up to date one by one.
#[derive(Debug, Default)]
pub struct NodeLedger {
    nodes: BTreeMap<String, NodeFacts>,
    /// Names of the nodes in trouble.
    in_trouble: BTreeSet<String>,
    counts: NodeCounts,
    /// Most nodes of a cluster have the same conditions, which are kept once.
    shared: HashSet<Arc<[NodeCondition]>>,
    /// Size of `shared` in bytes.
    shared_bytes: usize,
}

impl NodeLedger {
    /// Adds or replaces a node; returns whether that changed anything.
    pub fn insert(&mut self, mut node: NodeFacts) -> bool {
        if self.nodes.get(&node.name) == Some(&node) {
            return false;
        }
        self.remove(&node.name);
        match self.shared.get(&node.conditions) {
            Some(shared) => node.conditions = Arc::clone(shared),
            None => self.share(&node.conditions),
        }
        self.counts.add(&node);
        if node.trouble().is_some() {
            self.in_trouble.insert(node.name.clone());
        }
        self.nodes.insert(node.name.clone(), node);
        true
    }

    fn share(&mut self, conditions: &Arc<[NodeCondition]>) {
        // Reports hold conditions of nodes that have others by now.
        if self.shared.len() > 2 * self.nodes.len() + SHOWN_NODES {
            self.shared.retain(|conditions| Arc::strong_count(conditions) > 1);
            self.shared_bytes = self.shared.iter().map(size).sum();
        }
        if self.shared.insert(Arc::clone(conditions)) {
            self.shared_bytes += size(conditions);
        }
    }

    /// Why there are more nodes than are counted, if there are.
    pub fn excess(&self, limits: NodeLimits) -> Option<String> {
        let NodeLimits { nodes, conditions_mib } = limits;
        let is_excess = self.nodes.len() > nodes || self.shared_bytes > conditions_mib << 20;
        is_excess.then(|| {
            format!(
                "it shows more nodes than Krake counts: {nodes} nodes or {conditions_mib} MiB of conditions"
            )
        })
    }

    /// Removes a node; returns whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some(node) = self.nodes.remove(name) else { return false };
        self.in_trouble.remove(name);
        self.counts.subtract(&node);
        // The set holds one reference, and the node that goes the other.
        if Arc::strong_count(&node.conditions) == 2 && self.shared.remove(&node.conditions) {
            self.shared_bytes = self.shared_bytes.saturating_sub(size(&node.conditions));
        }
        true
    }

    /// Numbers of nodes.
    pub fn counts(&self) -> NodeCounts {
        self.counts
    }

    /// The first node in trouble, by name, and the first condition of it that is wrong.
    pub fn first_trouble(&self) -> Option<(&NodeFacts, &NodeCondition)> {
        let node = self.nodes.get(self.in_trouble.first()?)?;
        Some((node, node.trouble()?))
    }

    /// At most [`SHOWN_NODES`] nodes, those in trouble first, in the order of their names.
    pub fn shown(&self) -> Vec<NodeFacts> {
        let troubled = self.in_trouble.iter().filter_map(|name| self.nodes.get(name));
        let mut shown: Vec<&NodeFacts> = troubled.take(SHOWN_NODES).collect();
        let others = self.nodes.values().filter(|node| !self.in_trouble.contains(&node.name));
        shown.extend(others.take(SHOWN_NODES - shown.len()));
        shown.sort_by(|one, other| one.name.cmp(&other.name));
        shown.into_iter().cloned().collect()
    }
}

fn size(conditions: &Arc<[NodeCondition]>) -> usize {
    conditions.iter().map(NodeCondition::size).sum()
}

impl NodeCounts {
    fn add(&mut self, node: &NodeFacts) {
        self.change(node, |count| *count += 1);
    }

    fn subtract(&mut self, node: &NodeFacts) {
        self.change(node, |count| *count = count.saturating_sub(1));
    }

    fn change(&mut self, node: &NodeFacts, change: fn(&mut u32)) {
        let counted = [
            (&mut self.total, true),
            (&mut self.ready, node.has("Ready")),
            (&mut self.schedulable, node.is_schedulable()),
            (&mut self.in_trouble, node.trouble().is_some()),
            (&mut self.memory_pressure, node.has("MemoryPressure")),
            (&mut self.disk_pressure, node.has("DiskPressure")),
            (&mut self.pid_pressure, node.has("PIDPressure")),
        ];
        for (count, _) in counted.into_iter().filter(|(_, counts)| *counts) {
            change(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn node(name: &str, ready: bool, pressure: bool, unschedulable: bool) -> NodeFacts {
        let status = |holds: bool| if holds { "True" } else { "False" };
        NodeFacts::of(&json!({"metadata": {"name": name}, "spec": {"unschedulable": unschedulable},
            "status": {"conditions": [
                {"type": "DiskPressure", "status": status(pressure), "reason": "R", "message": "m"},
                {"type": "Ready", "status": status(ready), "reason": "R", "message": "m"}]}}))
    }

    fn named(nodes: &[NodeFacts]) -> Vec<&str> {
        nodes.iter().map(|node| node.name.as_str()).collect()
    }

    #[test]
    fn of_many_nodes_those_in_trouble_are_shown() {
        let mut ledger = NodeLedger::default();
        for index in 0..50_000 {
            ledger.insert(node(&format!("node-{index:05}"), index % 1000 != 999, false, false));
        }
        let counts = ledger.counts();
        assert_eq!((counts.total, counts.ready, counts.in_trouble), (50_000, 49_950, 50));
        let shown = ledger.shown();
        assert_eq!(shown.len(), SHOWN_NODES);
        assert!(shown.iter().all(|node| node.trouble().is_some()));
        assert_eq!(ledger.first_trouble().unwrap().0.name, "node-00999");
        assert_eq!(ledger.shared.len(), 2, "equal conditions are kept once");
    }

    #[test]
    fn all_nodes_of_a_small_cluster_are_shown_by_name() {
        let mut ledger = NodeLedger::default();
        for (name, ready) in [("b", true), ("a", true), ("c", false)] {
            ledger.insert(node(name, ready, false, false));
        }
        assert_eq!(named(&ledger.shown()), ["a", "b", "c"]);
        assert!(ledger.remove("c"));
        assert!(!ledger.remove("c"));
        assert_eq!(ledger.shared.len(), 1);
        assert!(ledger.first_trouble().is_none());
    }

    proptest! {
        #[test]
        fn counts_are_those_of_the_nodes_that_are_there(
            changes in prop::collection::vec((0..6u8, any::<Option<(bool, bool, bool)>>()), 0..40)
        ) {
            let mut ledger = NodeLedger::default();
            let mut present = BTreeMap::new();
            for (name, change) in changes {
                let name = name.to_string();
                match change {
                    Some((ready, pressure, unschedulable)) => {
                        let node = node(&name, ready, pressure, unschedulable);
                        let changes = present.get(&name) != Some(&node);
                        present.insert(name, node.clone());
                        prop_assert_eq!(ledger.insert(node), changes);
                    }
                    None => prop_assert_eq!(ledger.remove(&name), present.remove(&name).is_some()),
                }
            }
            let mut counts = NodeCounts::default();
            present.values().for_each(|node| counts.add(node));
            prop_assert_eq!(ledger.counts(), counts);
            let shown = ledger.shown();
            prop_assert!(shown.iter().eq(present.values()));
        }
    }
}
