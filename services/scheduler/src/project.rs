//! From the API's messages to the world's plain values.

use std::sync::Arc;

use jiff::Timestamp;
use krake_client::NamespacedName;
use krake_proto::constraint::{LabelConstraint, MetricConstraint};
use krake_proto::krake::core::v1 as core;
use krake_proto::krake::kubernetes::v1 as api;
use krake_proto::krake::meta::v1::{Condition, ConditionReason, ConditionStatus, ConditionType, Metadata};

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
    /// What the condition SCHEDULED says now: its status, generation and message.
    pub(crate) scheduled: Option<(ConditionStatus, i64, String)>,
    /// The bound cluster as the API names it.
    pub(crate) bound: Option<api::Binding>,
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
    let constraints = spec.constraints.unwrap_or_default();
    let parsed = match parse(constraints.cluster.clone().unwrap_or_default()) {
        Ok(parsed) => Arc::new(parsed),
        Err(error) => {
            tracing::error!(application = %key(&metadata), %error, "a stored constraint does not parse");
            return None;
        }
    };
    let bound = status.bindings.first().cloned();
    let application = Application {
        key: key(&metadata),
        uid: metadata.uid.clone(),
        generation: metadata.generation,
        scheduled_generation: status.scheduled_generation,
        constraints: parsed,
        migration: constraints.migration.unwrap_or(true),
        deleted: metadata.deleted.is_some(),
        binding: bound.as_ref().map(|binding| Binding {
            cluster_uid: binding.cluster.as_ref().map(|cluster| cluster.uid.clone()).unwrap_or_default(),
            bound: timestamp(binding.bound.as_ref()),
        }),
    };
    let scheduled = condition(&status.conditions, ConditionType::Scheduled)
        .map(|condition| (condition.status(), condition.observed_generation, condition.message.clone()));
    Some(Placed { application, resource_version: metadata.resource_version, scheduled, bound })
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
pub(crate) fn cluster(object: &api::Cluster) -> Option<Cluster> {
    let metadata = object.metadata.clone()?;
    let spec = object.spec.clone().unwrap_or_default();
    let conditions = object.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    Some(Cluster {
        key: key(&metadata),
        uid: metadata.uid,
        labels: metadata.labels,
        state: state(conditions),
        lifecycle: if metadata.deleted.is_some() { Lifecycle::Deleted } else { Lifecycle::Active },
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
    })
}

/// What a cluster is fit for. Its metrics are judged by the world, not by its conditions.
fn state(conditions: &[Condition]) -> ClusterState {
    let Some(reachable) = condition(conditions, ConditionType::Reachable) else {
        return ClusterState::Unavailable;
    };
    match reachable.status() {
        ConditionStatus::True => {}
        ConditionStatus::False => {
            return ClusterState::Offline { since: timestamp(reachable.last_transition_time.as_ref()) };
        }
        ConditionStatus::Unknown | ConditionStatus::Unspecified => return ClusterState::Connecting,
    }
    match condition(conditions, ConditionType::NodesHealthy) {
        Some(nodes) if nodes.status() == ConditionStatus::True => ClusterState::Online,
        Some(nodes) if nodes.reason() == ConditionReason::NodePressure => ClusterState::Unhealthy,
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

fn condition(conditions: &[Condition], r#type: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.r#type() == r#type)
}

/// A time of the API; the epoch if it is absent, which is long enough ago for every rule.
fn timestamp(time: Option<&prost_types::Timestamp>) -> Timestamp {
    time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn say(r#type: ConditionType, status: ConditionStatus, reason: ConditionReason) -> Condition {
        let last_transition_time = Some(prost_types::Timestamp { seconds: 7, nanos: 0 });
        Condition {
            r#type: r#type.into(),
            status: status.into(),
            reason: reason.into(),
            last_transition_time,
            ..Default::default()
        }
    }

    #[rstest]
    #[case::unknown(vec![], ClusterState::Unavailable)]
    #[case::offline(
        vec![say(ConditionType::Reachable, ConditionStatus::False, ConditionReason::ClusterNotReachable)],
        ClusterState::Offline { since: Timestamp::from_second(7).unwrap() }
    )]
    #[case::connecting(
        vec![say(ConditionType::Reachable, ConditionStatus::Unknown, ConditionReason::Connecting)],
        ClusterState::Connecting
    )]
    #[case::not_looked_at(
        vec![say(ConditionType::Reachable, ConditionStatus::True, ConditionReason::Unspecified)],
        ClusterState::Connecting
    )]
    #[case::pressure(
        vec![
            say(ConditionType::Reachable, ConditionStatus::True, ConditionReason::Unspecified),
            say(ConditionType::NodesHealthy, ConditionStatus::False, ConditionReason::NodePressure),
        ],
        ClusterState::Unhealthy
    )]
    #[case::online(
        vec![
            say(ConditionType::Reachable, ConditionStatus::True, ConditionReason::Unspecified),
            say(ConditionType::NodesHealthy, ConditionStatus::True, ConditionReason::Unspecified),
            say(ConditionType::MetricsAvailable, ConditionStatus::False, ConditionReason::InvalidMetric),
        ],
        ClusterState::Online
    )]
    fn states_follow_the_conditions(#[case] conditions: Vec<Condition>, #[case] expected: ClusterState) {
        assert_eq!(state(&conditions), expected);
    }

    #[test]
    fn migration_is_allowed_unless_it_is_refused_and_bad_constraints_hide_the_application() {
        let mut object = api::Application { metadata: Some(Metadata::default()), ..Default::default() };
        assert!(application(&object).unwrap().application.migration);
        let constraints = object.spec.get_or_insert_default().constraints.get_or_insert_default();
        constraints.migration = Some(false);
        assert!(!application(&object).unwrap().application.migration);
        let constraints = object.spec.get_or_insert_default().constraints.get_or_insert_default();
        constraints.cluster.get_or_insert_default().labels.push("a in (".into());
        assert!(application(&object).is_none());
    }
}
