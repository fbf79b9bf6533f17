//! From what is known of a cluster to what the API shows of it. Pure.

use jiff::Timestamp;
use krake_proto::condition::{bounded, find, reason_of, reasons, types};
use krake_proto::krake::kubernetes::v1 as api;
use krake_proto::krake::meta::v1::{Condition, ConditionStatus};

use super::project::Told;
use crate::cluster::ClusterReport;
use crate::cluster::identity::ClusterIdentity;
use crate::cluster::nodes::{ClusterState, NodeCounts, NodeFacts};
use crate::cluster::reachability::{Cause, Reachable};

/// What to show of a cluster, given what is shown now, the name of another cluster that is the same, and the generation of
/// its spec. What is not known anew stays as it is shown.
pub(super) fn tell(
    report: &ClusterReport,
    twin: Option<&str>,
    shown: &Told,
    generation: i64,
    now: Timestamp,
) -> Told {
    let is_reached = report.record.reachable == Reachable::Yes;
    let reachable = reachable(report, shown);
    let healthy = healthy(report);
    let unreachable_since = match &reachable {
        Some(condition) if condition.status() == ConditionStatus::False => {
            let since = (report.origin + report.record.since).elapsed();
            Some(since_of(condition, shown, now.checked_sub(since).unwrap_or(now)))
        }
        Some(_) => None,
        None => shown.unreachable_since,
    };
    let listed = is_reached && report.fitness.state != ClusterState::Connecting;
    Told {
        nodes: if listed { report.nodes.iter().map(node).collect() } else { shown.nodes.clone() },
        counts: if listed { report.counts.map(counts) } else { shown.counts },
        version: report.version.clone().filter(|_| listed).unwrap_or_else(|| shown.version.clone()),
        conditions: reachable.into_iter().chain(healthy).chain(identity(report, twin)).collect(),
        identity: report.identity.clone(),
        identity_generation: if is_reached { generation } else { shown.identity_generation },
        unreachable_since,
    }
}

/// What to show of a cluster whose kubeconfig cannot be used.
pub(super) fn unusable(why: &str, shown: &Told, now: Timestamp) -> Told {
    let (status, reason) = (ConditionStatus::False, reasons::INVALID_KUBECONFIG);
    let condition = condition(types::REACHABLE, status, reason, why.to_owned());
    let unreachable_since = Some(since_of(&condition, shown, now));
    Told { conditions: vec![condition], unreachable_since, ..shown.clone() }
}

/// When the failures began: a process that starts anew does not know those before it.
fn since_of(condition: &Condition, shown: &Told, since: Timestamp) -> Timestamp {
    let same = find(&shown.conditions, types::REACHABLE).is_some_and(|shown| {
        shown.status() == ConditionStatus::False && reason_of(shown) == condition.reason
    });
    shown.unreachable_since.filter(|_| same).map_or(since, |shown| shown.min(since))
}

/// The condition Reachable; `None` if there is nothing new to say.
fn reachable(report: &ClusterReport, shown: &Told) -> Option<Condition> {
    let record = &report.record;
    let say =
        |status, reason, message: &str| Some(condition(types::REACHABLE, status, reason, message.to_owned()));
    let shows = |r#type| find(&shown.conditions, r#type);
    match (record.reachable, record.cause) {
        (Reachable::No, Some(cause)) => say(ConditionStatus::False, reason(cause), &record.message),
        (Reachable::No, None) => None,
        (Reachable::Unknown, Some(cause)) => {
            // This process has not reached it yet. What a former one has found holds until there is more to say.
            let known = shows(types::REACHABLE).is_some_and(|shown| {
                matches!(shown.status(), ConditionStatus::True | ConditionStatus::False)
            });
            if known { None } else { say(ConditionStatus::Unknown, reason(cause), &record.message) }
        }
        (Reachable::Unknown, None) => {
            say(ConditionStatus::Unknown, reasons::CONNECTING, &report.fitness.message)
        }
        (Reachable::Yes, _)
            if report.fitness.state == ClusterState::Connecting && shows(types::NODES_HEALTHY).is_none() =>
        {
            say(ConditionStatus::Unknown, reasons::CONNECTING, &report.fitness.message)
        }
        (Reachable::Yes, _) if record.throttled => {
            let message = "the cluster answers that it has too many requests; Krake asks it less often";
            say(ConditionStatus::True, reasons::THROTTLED, message)
        }
        (Reachable::Yes, _) => say(ConditionStatus::True, "", ""),
    }
}

/// The condition NodesHealthy; `None` if nothing new is known of the nodes.
fn healthy(report: &ClusterReport) -> Option<Condition> {
    let (status, reason) = match report.fitness.state {
        ClusterState::Online => (ConditionStatus::True, ""),
        ClusterState::Unhealthy => (ConditionStatus::False, reasons::NODE_PRESSURE),
        ClusterState::NotReady => (ConditionStatus::False, reasons::NODE_NOT_READY),
        ClusterState::Offline | ClusterState::Connecting => return None,
    };
    Some(condition(types::NODES_HEALTHY, status, reason, report.fitness.message.clone()))
}

/// The condition IdentityVerified; `None` while the cluster was not seen.
fn identity(report: &ClusterReport, twin: Option<&str>) -> Option<Condition> {
    if report.record.reachable != Reachable::Yes {
        return None;
    }
    let (status, reason, message) = match twin {
        Some(twin) => (
            ConditionStatus::False,
            reasons::DUPLICATE_IDENTITY,
            format!(
                "this is the same Kubernetes cluster as {twin}: delete one of them, or set allow_duplicate"
            ),
        ),
        None if report.identity.is_verified() && report.is_identity_seen => {
            (ConditionStatus::True, "", String::new())
        }
        None => (ConditionStatus::Unknown, reasons::UNVERIFIED, belief(&report.identity)),
    };
    Some(condition(types::IDENTITY_VERIFIED, status, reason, message))
}

/// What is believed of a cluster whose identity may not be read, and why.
fn belief(identity: &ClusterIdentity) -> String {
    let hidden =
        "its credentials may not read the namespace kube-system, whose uid shows which cluster it is";
    let believed = match (identity.kube_system_uid.as_str(), identity.ca_sha256.as_str()) {
        ("", "") => "it is taken for the registered one, since nothing else of it is known".to_owned(),
        ("", _) => "it is taken for the registered one by its certificate authority".to_owned(),
        (uid, _) => format!(
            "it is taken for the one with the uid {uid}, as which it was reached by this kubeconfig before"
        ),
    };
    format!("{hidden}; {believed}")
}

/// Whether it is shown that another cluster is the same.
pub(super) fn shows_twin(told: &Told) -> bool {
    find(&told.conditions, types::IDENTITY_VERIFIED)
        .is_some_and(|condition| condition.reason == reasons::DUPLICATE_IDENTITY)
}

/// The reason of Reachable for a cause.
fn reason(cause: Cause) -> &'static str {
    match cause {
        Cause::Silent => reasons::CLUSTER_NOT_REACHABLE,
        Cause::Broken => reasons::BROKEN,
        Cause::Untrusted => reasons::TLS_NOT_VERIFIED,
        Cause::Unauthorized => reasons::UNAUTHORIZED,
        Cause::WrongCluster => reasons::WRONG_CLUSTER,
    }
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

fn counts(counts: NodeCounts) -> api::NodeCounts {
    let NodeCounts { total, ready, schedulable, in_trouble: _, memory_pressure, disk_pressure, pid_pressure } =
        counts;
    api::NodeCounts { total, ready, schedulable, memory_pressure, disk_pressure, pid_pressure }
}

/// Whether there is anything new to report.
pub(super) fn differs(told: &Told, shown: &Told) -> bool {
    let new = |condition: &Condition| {
        let shown = find(&shown.conditions, &condition.r#type);
        shown.is_none_or(|shown| {
            (shown.status, reason_of(shown), &shown.message)
                != (condition.status, reason_of(condition), &condition.message)
        })
    };
    told.conditions.iter().any(new)
        || told.nodes != shown.nodes
        || told.counts != shown.counts
        || told.version != shown.version
        || (&told.identity, told.identity_generation) != (&shown.identity, shown.identity_generation)
        // The time itself is that of the transition, and follows from nothing else.
        || told.unreachable_since.is_some() != shown.unreachable_since.is_some()
}

#[cfg(test)]
mod tests;
