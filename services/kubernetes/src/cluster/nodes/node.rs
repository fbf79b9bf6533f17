//! A node as far as it matters here.

use std::sync::Arc;

use serde_json::Value;

use crate::object::{field, text};

/// Maximum number of conditions of a node that are kept; Kubernetes itself sets five.
const MAX_CONDITIONS: usize = 16;
/// Maximum length of a text of a condition, in bytes. With 50 nodes in it, a cluster's status stays far below 1 MiB.
const MAX_TEXT: usize = 200;

/// A node as far as it matters here. Heartbeat times are left out: they change by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Name.
    pub name: String,
    /// It is cordoned: it takes no further Pods.
    pub unschedulable: bool,
    /// Conditions, in the node's order; shared by nodes that have the same.
    pub conditions: Arc<[NodeCondition]>,
}

/// A condition in Kubernetes' own words, shortened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
        let unschedulable = field(node, &["spec", "unschedulable"]).and_then(Value::as_bool);
        Self {
            name: short(text(node, &["metadata", "name"])),
            unschedulable: unschedulable.unwrap_or_default(),
            conditions: conditions
                .into_iter()
                .flatten()
                .take(MAX_CONDITIONS)
                .map(NodeCondition::of)
                .collect(),
        }
    }

    /// The first condition that is wrong.
    pub fn trouble(&self) -> Option<&NodeCondition> {
        self.conditions.iter().find(|condition| condition.is_trouble())
    }

    /// Whether the node takes Pods.
    pub(super) fn is_schedulable(&self) -> bool {
        !self.unschedulable && self.has("Ready")
    }

    /// Whether the condition is true.
    pub(super) fn has(&self, kind: &str) -> bool {
        self.conditions.iter().any(|condition| condition.kind == kind && condition.status == "True")
    }
}

impl NodeCondition {
    fn of(condition: &Value) -> Self {
        let get = |name| short(text(condition, &[name]));
        Self { kind: get("type"), status: get("status"), reason: get("reason"), message: get("message") }
    }

    /// Size in bytes.
    pub(super) fn size(&self) -> usize {
        let texts = [&self.kind, &self.status, &self.reason, &self.message];
        size_of::<Self>() + texts.into_iter().map(String::len).sum::<usize>()
    }

    /// Whether it is one of the pressures, of whichever resource.
    pub fn is_pressure(&self) -> bool {
        self.kind.to_ascii_lowercase().ends_with("pressure")
    }

    fn is_trouble(&self) -> bool {
        match self.status.as_str() {
            "True" => self.is_pressure(),
            _ => self.kind.eq_ignore_ascii_case("ready"),
        }
    }
}

fn short(text: Option<&str>) -> String {
    let text = text.unwrap_or_default();
    text[..text.floor_char_boundary(MAX_TEXT)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn heartbeats_are_no_change() {
        let at = |time: &str| {
            NodeFacts::of(&json!({"metadata": {"name": "n"}, "status": {"conditions": [
                {"type": "Ready", "status": "True", "lastHeartbeatTime": time}]}}))
        };
        assert_eq!(at("2026-01-01T00:00:00Z"), at("2026-01-01T00:00:10Z"));
    }

    #[test]
    fn texts_and_conditions_are_bounded() {
        let condition = json!({"type": "Ready", "status": "False", "message": "ü".repeat(100_000)});
        let node = NodeFacts::of(
            &json!({"metadata": {"name": "n"}, "status": {"conditions": vec![condition; 1000]}}),
        );
        assert_eq!(node.conditions.len(), MAX_CONDITIONS);
        assert!(node.conditions[0].message.len() <= MAX_TEXT);
    }
}
