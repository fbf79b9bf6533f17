//! From decisions to what is written. Pure: the controller sends what this says.

use jiff::Timestamp;
use krake_client::ClusterUid;
use krake_proto::Resource;
use krake_proto::condition::{bounded, reasons, types};
use krake_proto::krake::kubernetes::v1 as api;
use krake_proto::krake::meta::v1::{Condition, ConditionStatus, ResourceRef};

use crate::decide::{BindReason, Choice, Deadlock, Decision, KeepReason, Outcome, ScoredCluster};
use crate::handover;
use crate::project::Placed;

/// What is to be written for one application.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Act {
    /// First: the binding, if it changes or is to be confirmed.
    pub(crate) bind: Option<api::BindApplicationRequest>,
    /// Then: what is to be said about attempts to find a cluster.
    pub(crate) report: Option<Report>,
    /// When to decide again though nothing changed.
    pub(crate) again: Option<Timestamp>,
    /// The bound cluster is not there; whether it was erased is to be asked.
    pub(crate) ask: Option<ClusterUid>,
}

/// The scheduler's own part of an application's status, besides what a binding writes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Report {
    /// The condition Scheduled, if it is to say that there is no cluster.
    pub(crate) condition: Option<Condition>,
    /// `status.retries`: attempts that are left, -1 for no limit; absent: none are needed.
    pub(crate) retries: Option<i32>,
    /// `status.scheduled_retry`: when the next one is due.
    pub(crate) scheduled_retry: Option<prost_types::Timestamp>,
}

impl Act {
    /// Whether nothing is to be written or asked.
    pub(crate) fn is_nothing(&self) -> bool {
        self.bind.is_none() && self.report.is_none() && self.ask.is_none()
    }
}

/// What follows from a decision about `placed`.
pub(crate) fn act(placed: &Placed, decision: &Decision) -> Act {
    match decision {
        Decision::Bind(choice) => {
            Act { bind: Some(bind(placed, choice)), report: settled(placed), ..Act::default() }
        }
        Decision::Keep { reason: KeepReason::ClusterUnknown, .. } => {
            let ask = placed.application.binding.as_ref().map(|binding| binding.cluster_uid.clone());
            Act { ask, ..Act::default() }
        }
        Decision::Keep { reason, confirm_generation } => kept(placed, *reason, *confirm_generation, None),
        Decision::KeepUntil { time, reason, confirm_generation } => {
            kept(placed, *reason, *confirm_generation, Some(*time))
        }
        Decision::Unschedulable(deadlock) => {
            let bind = match deadlock.outcome {
                Outcome::Wait => None,
                Outcome::Stay(_) if deadlock.confirm_generation => Some(same(placed)),
                Outcome::Stay(_) => None,
                Outcome::Release => Some(release(placed)),
            };
            let report = no_cluster(placed, deadlock, bind.is_some());
            Act { bind, report, again: deadlock.again, ask: None }
        }
    }
}

/// Records the present generation, and takes back an earlier "no cluster", without moving anything.
fn kept(placed: &Placed, reason: KeepReason, generation: bool, again: Option<Timestamp>) -> Act {
    if !reason.is_settled() {
        return Act { again, ..Act::default() };
    }
    let doubted = matches!(&placed.scheduled, Some((status, ..)) if *status != ConditionStatus::True);
    let bind = (generation || doubted).then(|| same(placed));
    Act { bind, report: settled(placed), again, ask: None }
}

/// No further attempts are needed; nothing if the status says so already.
fn settled(placed: &Placed) -> Option<Report> {
    (placed.retry != (None, None)).then(Report::default)
}

/// A request for the binding that is there.
fn same(placed: &Placed) -> api::BindApplicationRequest {
    let application = &placed.application;
    api::BindApplicationRequest {
        namespace: application.key.namespace.clone(),
        name: application.key.name.clone(),
        bindings: placed.bound.clone().into_iter().collect(),
        generation: application.generation,
        replaces: application.binding.iter().map(|binding| binding.cluster_uid.to_string()).collect(),
        cluster: None,
        decision: None,
        without_copies: false,
    }
}

/// A request to unbind. If no copy was seen, none may have been begun meanwhile: one on a cluster that is there would go on.
fn release(placed: &Placed) -> api::BindApplicationRequest {
    let without_copies = placed.application.copies.is_empty();
    api::BindApplicationRequest { bindings: vec![], without_copies, ..same(placed) }
}

fn bind(placed: &Placed, choice: &Choice) -> api::BindApplicationRequest {
    let rejected = choice
        .rejected
        .iter()
        .map(|(rejection, count)| (rejection.describe(&placed.application.constraints), *count));
    let decision = api::Decision {
        chosen: Some(scored(&choice.cluster)),
        runner_up: choice.runner_up.as_ref().map(scored),
        top: choice.top.iter().map(scored).collect(),
        rejected: rejected.collect(),
        world_revision: choice.world_revision,
        reason: words(placed, choice),
    };
    let binding = api::Binding { cluster: Some(reference(&choice.cluster)), ..Default::default() };
    api::BindApplicationRequest { bindings: vec![binding], decision: Some(decision), ..same(placed) }
}

fn words(placed: &Placed, choice: &Choice) -> String {
    let score = |cluster: &ScoredCluster| format!("{} ({:.3})", cluster.key, cluster.score);
    match choice.reason {
        BindReason::FirstPlacement => {
            format!("first placement: {} is the best candidate", score(&choice.cluster))
        }
        BindReason::BetterCluster => match &choice.runner_up {
            Some(next) => format!("{} is better than {}", score(&choice.cluster), score(next)),
            None => format!("{} is better", score(&choice.cluster)),
        },
        BindReason::NoLongerMatches(rejection) => {
            let why = rejection.describe(&placed.application.constraints);
            format!("the cluster no longer satisfies the constraints: {why}")
        }
        BindReason::ClusterDraining => "the cluster is being drained".to_owned(),
        BindReason::ClusterDeleted => "the cluster is being deleted, or is gone".to_owned(),
        BindReason::ClusterOffline => "the cluster is OFFLINE for too long".to_owned(),
        BindReason::HandoverFailed => {
            format!("{}: the new copy did not become available, and another one still runs", handover::RECORD)
        }
        BindReason::NextCandidate(number) => {
            let best = score(&choice.cluster);
            format!("the copy failed: {best} is the best candidate not tried yet, attempt {number}")
        }
        BindReason::AllCandidatesFailed => {
            let best = score(&choice.cluster);
            format!("it failed on all clusters that it may be tried on: it rests on {best}, the best of them")
        }
    }
}

fn scored(cluster: &ScoredCluster) -> api::ScoredCluster {
    api::ScoredCluster { cluster: Some(reference(cluster)), score: cluster.score }
}

fn reference(cluster: &ScoredCluster) -> ResourceRef {
    let kind = api::Cluster::KIND;
    ResourceRef {
        api: kind.api.into(),
        kind: kind.kind.into(),
        namespace: cluster.key.namespace.clone(),
        name: cluster.key.name.clone(),
        uid: cluster.uid.to_string(),
    }
}

/// Why there is no cluster, and which attempts are left; nothing if the status says so already.
fn no_cluster(placed: &Placed, deadlock: &Deadlock, rebound: bool) -> Option<Report> {
    let generation = placed.application.generation;
    let message = bounded(deadlock.message.clone());
    let said = placed.scheduled.as_ref().is_some_and(|(status, observed, told)| {
        *status == ConditionStatus::False && *observed == generation && same_but_for_counts(told, &message)
    });
    let left = deadlock.retry.left.map_or(-1, |left| i32::try_from(left).unwrap_or(i32::MAX));
    if said && !rebound && placed.retry == (Some(left), deadlock.retry.due) {
        return None;
    }
    let condition = Condition {
        r#type: types::SCHEDULED.into(),
        status: ConditionStatus::False.into(),
        reason: reasons::NO_SUITABLE_RESOURCE.into(),
        message,
        observed_generation: generation,
        ..Condition::default()
    };
    Some(Report {
        condition: Some(condition),
        retries: Some(left),
        scheduled_retry: deadlock
            .retry
            .due
            .map(|due| prost_types::Timestamp { seconds: due.as_second(), nanos: due.subsec_nanosecond() }),
    })
}

/// Whether two messages name the same rejections. In a large fleet some cluster is always coming or going; that alone
/// must not write every application that waits.
fn same_but_for_counts(told: &str, found: &str) -> bool {
    fn uncounted(text: &str) -> impl Iterator<Item = &str> {
        text.split(" × ").map(|part| part.trim_end_matches(|digit: char| digit.is_ascii_digit()))
    }
    uncounted(told).eq(uncounted(found))
}

#[cfg(test)]
mod tests;
