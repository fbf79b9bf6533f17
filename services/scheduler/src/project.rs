//! From the API's messages to the world's plain values.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use krake_client::{ClusterUid, NamespacedName};
use krake_proto::condition::{find, reason_of, reasons, types};
use krake_proto::constraint::{LabelConstraint, MetricConstraint};
use krake_proto::krake::core::v1 as core;
use krake_proto::krake::kubernetes::v1 as api;
use krake_proto::krake::meta::v1::{Condition, ConditionStatus, Metadata, ReasonCode, ResourceRef};
use krake_proto::reachability;

use crate::exodus::{Group, Share};
use crate::handover::{self, Copy, CopyFailure, CopyPhase, FailedAttempt, FailedHandover};
use crate::retry::{Attempts, Backoff, Retry};
use crate::world::{
    Application, Binding, Cluster, ClusterState, Constraints, Lifecycle, MetricDefinition, MetricRef,
};

/// An application as the controller keeps it.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    /// What decisions look at.
    pub(crate) application: Application,
    /// Store revision of what this shows.
    pub(crate) resource_version: i64,
    /// The trace context of the write that made it.
    pub(crate) trace_parent: String,
    /// What the condition Scheduled says now: its status, generation and message.
    pub(crate) scheduled: Option<(ConditionStatus, i64, String)>,
    /// `status.retries` and `status.scheduled_retry` as they are.
    pub(crate) retry: (Option<i32>, Option<Timestamp>),
    /// The bound cluster as the API names it.
    pub(crate) bound: Option<api::Binding>,
    /// It was on another cluster before the present one.
    pub(crate) was_moved: bool,
    /// Its failures, as far as they limit the moves of others.
    pub(crate) share: Share,
}

/// A cluster as the controllers keep it.
#[derive(Debug, Clone)]
pub(crate) struct Registered {
    /// What decisions look at.
    pub(crate) cluster: Cluster,
    /// Store revision of what this shows.
    pub(crate) resource_version: i64,
    /// `metadata.generation`.
    pub(crate) generation: i64,
    /// What the condition MetricsAvailable says now: its status, reason and message.
    pub(crate) metrics_available: Option<(ConditionStatus, String, String)>,
    /// `status.metrics_reasons`.
    pub(crate) metrics_reasons: BTreeMap<String, (ReasonCode, String)>,
}

/// A metrics provider as the controller keeps it.
#[derive(Debug, Clone)]
pub(crate) struct Provider {
    /// Where to ask.
    pub(crate) spec: core::MetricsProviderSpec,
    /// Store revision of what this shows.
    pub(crate) version: i64,
}

/// An application. Constraints that do not parse cannot be stored; one that is there all the same makes the
/// application invisible rather than placed anywhere.
pub(crate) fn application(object: &api::Application) -> Option<Placed> {
    let metadata = object.metadata.clone()?;
    let (spec, status) = (object.spec.clone().unwrap_or_default(), object.status.clone().unwrap_or_default());
    let holds_data = spec.migration_strategy() == api::MigrationStrategy::Unspecified
        && spec.manifest.iter().any(|entry| entry.claims_volumes);
    let constraints = spec.constraints.unwrap_or_default();
    let parsed = match parse(constraints.cluster.clone().unwrap_or_default()) {
        Ok(parsed) => Arc::new(parsed),
        Err(error) => {
            tracing::error!(application = %key(&metadata), %error, "a stored constraint does not parse");
            return None;
        }
    };
    let bound = status.bindings.first().cloned();
    let scheduled_retry = status.scheduled_retry.as_ref().map(|time| timestamp(Some(time)));
    let application = Application {
        key: key(&metadata),
        uid: metadata.uid.as_str().into(),
        generation: metadata.generation,
        scheduled_generation: status.scheduled_generation,
        constraints: parsed,
        migration: constraints.migration.unwrap_or(true),
        deleted: metadata.deleted.is_some(),
        binding: bound.as_ref().map(|binding| Binding {
            cluster_uid: uid(binding.cluster.as_ref()),
            bound: timestamp(binding.bound.as_ref()),
        }),
        copies: status.copies.iter().map(copy).collect(),
        failed_handovers: failed_handovers(
            &status.history,
            &status.failed_attempts,
            metadata.generation,
            timestamp(metadata.modified.as_ref()),
        ),
        retry_requests: status.retry_requests,
        failed_attempts: of_generation(&status.failed_attempts, metadata.generation)
            .map(|attempt| FailedAttempt {
                cluster_uid: uid(attempt.cluster.as_ref()),
                failure: failure(attempt.failure()),
            })
            .collect(),
        backoff: Backoff {
            factor: spec.backoff.and_then(|factor| factor.try_into().ok()).unwrap_or(1).max(1),
            delay: Duration::from_secs(
                spec.backoff_delay.map_or(1, |delay| delay.try_into().unwrap_or_default()),
            ),
            limit: spec.backoff_limit.and_then(|limit| limit.try_into().ok()),
        },
        attempts: attempts(&status, timestamp(metadata.modified.as_ref()), scheduled_retry),
        holds_data,
        min_gain: spec.min_gain.filter(|gain| gain.is_finite() && *gain > 0.0).unwrap_or_default(),
        min_residency: spec.min_residency.map(|time| Duration::try_from(time).unwrap_or_default()),
    };
    let scheduled = find(&status.conditions, types::SCHEDULED)
        .map(|condition| (condition.status(), condition.observed_generation, condition.message.clone()));
    Some(Placed {
        application,
        resource_version: metadata.resource_version,
        trace_parent: metadata.trace_parent,
        scheduled,
        retry: (status.retries, scheduled_retry),
        bound,
        was_moved: status.history.first().is_some_and(|record| record.from.is_some()),
        share: share(&status, metadata.generation),
    })
}

/// The attempts to place an application that were made in vain.
fn attempts(
    status: &api::ApplicationStatus,
    modified: Timestamp,
    due: Option<Timestamp>,
) -> Option<Attempts> {
    let scheduled = find(&status.conditions, types::SCHEDULED)?;
    (scheduled.status() == ConditionStatus::False).then(|| Attempts {
        generation: scheduled.observed_generation,
        since: timestamp(scheduled.last_transition_time.as_ref()).max(modified),
        retry: Retry { left: status.retries.and_then(|left| left.try_into().ok()), due },
    })
}

/// The generation that was last applied as a whole, also of a copy to which another one is being applied; 0 if none was.
fn applied_generation(copy: &api::Copy) -> i64 {
    let applied = copy.applied_work.as_ref().map_or(0, |work| work.generation);
    if copy.observed_generation == 0 { applied } else { copy.observed_generation }
}

fn copy(copy: &api::Copy) -> Copy {
    Copy {
        cluster_uid: uid(copy.cluster.as_ref()),
        phase: match copy.phase() {
            api::Phase::Running => CopyPhase::Running,
            api::Phase::Failed => CopyPhase::Failed,
            _ => CopyPhase::Other,
        },
        generation: applied_generation(copy),
        since: timestamp(copy.last_transition_time.as_ref()),
        failure: failure(copy.failure()),
        retry_request: copy.retry_request,
    }
}

/// The failures of a generation: of the copy on the bound cluster, and those that led to a move.
fn share(status: &api::ApplicationStatus, generation: i64) -> Share {
    let bound = status.bindings.first().map(|binding| uid(binding.cluster.as_ref()));
    let group = |cluster: Option<&ResourceRef>, class, reason: &str| {
        Some(Group { cluster_uid: uid(cluster), of: failure(class)?, reason: reason.to_owned() })
    };
    let failed = status.copies.iter().find(|copy| {
        copy.phase() == api::Phase::Failed
            && copy.observed_generation == generation
            && Some(uid(copy.cluster.as_ref())) == bound
    });
    let failing = failed.and_then(|copy| {
        let answers =
            [types::APPLIED, types::AVAILABLE].into_iter().filter_map(|name| find(&copy.conditions, name));
        let why = answers.into_iter().find(|answer| answer.status() == ConditionStatus::False);
        group(copy.cluster.as_ref(), copy.failure(), why.map_or("", reason_of))
    });
    let left = of_generation(&status.failed_attempts, generation).filter_map(|attempt| {
        let group = group(attempt.cluster.as_ref(), attempt.failure(), &attempt.reason)?;
        Some((group, timestamp(attempt.time.as_ref())))
    });
    Share { failing, left: left.collect() }
}

fn failure(class: api::FailureClass) -> Option<CopyFailure> {
    match class {
        api::FailureClass::Unspecified => None,
        api::FailureClass::OfCluster => Some(CopyFailure::OfCluster),
        api::FailureClass::OfSpec => Some(CopyFailure::OfSpec),
    }
}

/// The failed attempts at a generation; those at former ones count no more.
fn of_generation(
    attempts: &[api::FailedAttempt],
    generation: i64,
) -> impl Iterator<Item = &api::FailedAttempt> {
    attempts.iter().filter(move |attempt| attempt.generation == generation)
}

/// The moves on record that were made because a copy failed, of which state keeps the attempts as well. What failed
/// before the user's last change may work now.
fn failed_handovers(
    history: &[api::PlacementRecord],
    attempts: &[api::FailedAttempt],
    generation: i64,
    modified: Timestamp,
) -> Vec<FailedHandover> {
    let failed = history.iter().filter(|record| record.reason.starts_with(handover::RECORD));
    let mut failures: Vec<_> = failed
        .map(|record| FailedHandover {
            cluster_uid: uid(record.from.as_ref()),
            time: timestamp(record.time.as_ref()),
        })
        .filter(|failure| failure.time >= modified)
        .collect();
    for attempt in of_generation(attempts, generation) {
        let failure = FailedHandover {
            cluster_uid: uid(attempt.cluster.as_ref()),
            time: timestamp(attempt.time.as_ref()),
        };
        // A move that was made because of it has the very same time.
        if !failures.contains(&failure) {
            failures.push(failure);
        }
    }
    failures
}

/// uid of a cluster; empty, as that of no cluster, if the API names none.
fn uid(reference: Option<&ResourceRef>) -> ClusterUid {
    reference.map_or("", |reference| &reference.uid).into()
}

fn parse(cluster: api::ClusterConstraints) -> Result<Constraints, krake_proto::constraint::ConstraintError> {
    Ok(Constraints {
        labels: cluster.labels.iter().map(|text| LabelConstraint::parse(text)).collect::<Result<_, _>>()?,
        custom_resources: cluster.custom_resources,
        metrics: cluster
            .metrics
            .iter()
            .map(|text| MetricConstraint::parse(text))
            .collect::<Result<_, _>>()?,
    })
}

/// A cluster.
pub(crate) fn cluster(object: &api::Cluster) -> Option<Registered> {
    let metadata = object.metadata.clone()?;
    let (spec, status) = (object.spec.clone().unwrap_or_default(), object.status.clone().unwrap_or_default());
    let metrics_available = find(&status.conditions, types::METRICS_AVAILABLE)
        .map(|condition| (condition.status(), reason_of(condition).to_owned(), condition.message.clone()));
    let reasons = status.metrics_reasons.iter();
    let cluster = Cluster {
        key: key(&metadata),
        uid: metadata.uid.into(),
        labels: metadata.labels,
        state: state(&status),
        lifecycle: match (&metadata.deleted, &metadata.deletion) {
            // Nothing of it is left for its applications to stay on.
            (None, _) if status.lost.is_some() => Lifecycle::Deleted,
            (None, _) => Lifecycle::Active,
            (Some(_), Some(deletion)) if deletion.cascade => Lifecycle::Cascading,
            (Some(_), _) => Lifecycle::Deleted,
        },
        allowed_namespaces: spec.allowed_namespaces,
        custom_resources: spec.custom_resources,
        metrics: spec
            .metrics
            .into_iter()
            .map(|metric| MetricRef {
                name: metric.name,
                weight: metric.weight,
                namespaced: metric.namespaced,
            })
            .collect(),
    };
    Some(Registered {
        cluster,
        resource_version: metadata.resource_version,
        generation: metadata.generation,
        metrics_available,
        metrics_reasons: reasons
            .map(|(metric, reason)| (metric.clone(), (reason.code(), reason.message.clone())))
            .collect(),
    })
}

/// What a cluster is fit for. Its metrics are judged by the world, not by its conditions.
fn state(status: &api::ClusterStatus) -> ClusterState {
    let conditions = &status.conditions;
    if let Some(why) = reachability::unreachable(status) {
        // Older adapters wrote no time of their own.
        let since = timestamp(status.unreachable_since.as_ref().or(why.last_transition_time.as_ref()));
        return match reason_of(why) {
            reasons::UNAUTHORIZED => ClusterState::Unauthorized { since },
            reasons::WRONG_CLUSTER | reasons::TLS_NOT_VERIFIED | reasons::INVALID_KUBECONFIG => {
                ClusterState::Inaccessible
            }
            reasons::BROKEN => ClusterState::Broken { since },
            _ => ClusterState::Offline { since },
        };
    }
    match find(conditions, types::REACHABLE).map(Condition::status) {
        None => return ClusterState::Unavailable,
        Some(ConditionStatus::True) => {}
        Some(_) => return ClusterState::Connecting,
    }
    let identity = find(conditions, types::IDENTITY_VERIFIED);
    if identity.is_some_and(|identity| identity.status() == ConditionStatus::False) {
        // It is the same as another cluster, which the operator has to decide about.
        return ClusterState::Unavailable;
    }
    match find(conditions, types::NODES_HEALTHY) {
        Some(nodes) if nodes.status() == ConditionStatus::True => ClusterState::Online,
        Some(nodes) if reason_of(nodes) == reasons::NODE_PRESSURE => ClusterState::Unhealthy,
        Some(_) => ClusterState::NotReady,
        None => ClusterState::Connecting,
    }
}

/// A metric.
pub(crate) fn metric(object: &core::Metric) -> Option<MetricDefinition> {
    let spec = object.spec.clone()?;
    let source = spec.provider.clone()?;
    Some(MetricDefinition {
        min: spec.min?,
        max: spec.max?,
        allowed_values: spec.allowed_values,
        provider: source.name,
        query: source.metric,
    })
}

/// A metrics provider.
pub(crate) fn provider(object: &core::MetricsProvider) -> Option<Provider> {
    let version = object.metadata.as_ref()?.resource_version;
    Some(Provider { spec: object.spec.clone()?, version })
}

fn key(metadata: &Metadata) -> NamespacedName {
    NamespacedName::from(metadata)
}

/// A time of the API; the epoch if it is absent, which is long enough ago for every rule.
fn timestamp(time: Option<&prost_types::Timestamp>) -> Timestamp {
    time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
