//! What a failure to apply means: which class it is of, and whether waiting may help. Pure.
//!
//! A class is found by the answer's `Status.reason`, the reasons of its causes and its message, and only then by its HTTP
//! code: a webhook denies with any code that it likes, and a policy of the cluster with that of a bad manifest.

use crate::error::{ClusterError, ServerStatus};
use crate::object::apply::ApplyError;
use crate::object::ownership::Refusal;

#[cfg(test)]
mod tests;

/// Where the reason of a failure lies, and so what helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// In the moment: the same request may succeed soon.
    Passing,
    /// In this cluster: its rights, policies, quotas, kinds. Another cluster may accept the objects.
    OfCluster,
    /// In the objects: no cluster is likely to accept them, only another spec helps.
    OfSpec,
}

/// What was tried when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// To bring the application to a cluster where nothing of it ran before.
    Placement,
    /// To change what runs there.
    Update,
    /// To put back what runs there.
    Repair,
}

/// A failure, as far as it decides what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Where its reason lies.
    pub class: Class,
    /// Whether it is known already that waiting for the deadline of the attempt does not help.
    pub settled: bool,
}

impl Failure {
    const PASSING: Self = Self { class: Class::Passing, settled: false };
    /// Rights, quotas and namespaces come soon after an application often enough to wait for them.
    const OF_CLUSTER_UNLESS_IT_CHANGES: Self = Self { class: Class::OfCluster, settled: false };
    const OF_CLUSTER: Self = Self { class: Class::OfCluster, settled: true };
    const OF_SPEC: Self = Self { class: Class::OfSpec, settled: true };

    /// The class of a failure that lasted until the deadline: what did not pass by then is taken for the cluster's.
    pub fn class_at_deadline(self) -> Class {
        match self.class {
            Class::Passing => Class::OfCluster,
            class => class,
        }
    }
}

/// `Status.reason` of Kubernetes' API servers.
const REASONS: [&str; 19] = [
    "Unauthorized",
    "Forbidden",
    "NotFound",
    "AlreadyExists",
    "Conflict",
    "Gone",
    "Invalid",
    "ServerTimeout",
    "StorageReadError",
    "Timeout",
    "TooManyRequests",
    "BadRequest",
    "MethodNotAllowed",
    "NotAcceptable",
    "RequestEntityTooLarge",
    "UnsupportedMediaType",
    "InternalError",
    "Expired",
    "ServiceUnavailable",
];

/// What an apply that failed means.
pub fn of_apply(error: &ApplyError, stage: Stage) -> Failure {
    match error {
        ApplyError::Refused(Refusal::OwnedByOther(_)) => Failure::OF_CLUSTER,
        // What runs is not urged to be more, and a survey may find that this stays.
        ApplyError::Refused(Refusal::Leftover(_)) if stage != Stage::Placement => Failure::OF_CLUSTER,
        ApplyError::Refused(Refusal::Terminating(_) | Refusal::Leftover(_))
        | ApplyError::Cluster(_)
        | ApplyError::Unfinished { .. } => Failure::PASSING,
        ApplyError::Object { error, .. } => of_answer(error, stage),
    }
}

/// What an API server's answer to a read or write of an object means.
pub fn of_answer(error: &ClusterError, stage: Stage) -> Failure {
    let Some(status) = error.status() else { return Failure::PASSING };
    if let Some(failure) = by_text(status) {
        return failure;
    }
    match error {
        ClusterError::Unreachable(_)
        | ClusterError::AlreadyExists(_)
        | ClusterError::Conflict(_)
        | ClusterError::Busy(_) => Failure::PASSING,
        ClusterError::Unauthorized(_) | ClusterError::Forbidden(_) => Failure::OF_CLUSTER_UNLESS_IT_CHANGES,
        // What ran there had its namespace and its kinds: they are about to come back, or the application is to go.
        ClusterError::NotFound(_) if stage == Stage::Repair => Failure::PASSING,
        ClusterError::NotFound(_) => Failure::OF_CLUSTER_UNLESS_IT_CHANGES,
        ClusterError::Rejected(_) => match status.code {
            405 | 415 => Failure::OF_CLUSTER,
            // Something between Krake and the API server, perhaps; a code of 0 is a refusal of Krake's own.
            1.. if !REASONS.contains(&status.reason.as_str()) => Failure::PASSING,
            _ => Failure::OF_SPEC,
        },
    }
}

/// Whether an admission webhook was in the way of an object: it denied it, or could not be asked.
pub(crate) fn is_of_webhook(error: &ApplyError) -> bool {
    let ApplyError::Object { error, .. } = error else { return false };
    error.status().is_some_and(|status| is_of_silent_webhook(status) || is_denied_by_webhook(status))
}

fn is_denied_by_webhook(status: &ServerStatus) -> bool {
    status.message.contains("admission webhook") && status.message.contains("denied the request")
}

/// Whether an API server could not ask an admission webhook, so that it refuses whatever that judges.
pub fn is_of_silent_webhook(status: &ServerStatus) -> bool {
    status.message.contains("failed calling webhook")
}

/// What the words of an answer mean, whatever its code.
fn by_text(status: &ServerStatus) -> Option<Failure> {
    let says = |words: &str| status.message.contains(words);
    let has_cause = |reason: &str| status.causes.iter().any(|cause| cause == reason);
    if has_cause("NamespaceTerminating") || says("is being terminated") {
        return Some(Failure::PASSING);
    }
    // Also 403: the quota controller has not counted the namespace yet.
    if is_of_silent_webhook(status) || says("status unknown for quota") {
        return Some(Failure::PASSING);
    }
    if is_denied_by_webhook(status) || says("ValidatingAdmissionPolicy") || says("violates PodSecurity") {
        return Some(Failure::OF_CLUSTER);
    }
    if says("no matches for kind") || (says("no kind ") && says(" is registered for version")) {
        return Some(Failure::OF_CLUSTER);
    }
    if says("strict decoding error") {
        // A field that this version does not know another one may; a field that is there twice is wrong everywhere.
        return Some(if says("unknown field") { Failure::OF_CLUSTER } else { Failure::OF_SPEC });
    }
    if says(": field not declared in schema") {
        // The same, in the words of server-side apply.
        return Some(Failure::OF_CLUSTER);
    }
    // 500, though only the objects are to blame.
    let is_undecodable =
        ["error decoding from json", "failed to convert new object", "cannot be handled as a"];
    if is_undecodable.into_iter().any(says)
        || says("failed to create typed patch object")
        || says(": field is immutable")
    {
        return Some(Failure::OF_SPEC);
    }
    None
}
