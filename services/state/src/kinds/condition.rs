//! Conditions as the kinds' derived states read them.

use krake_proto::krake::meta::v1::{Condition, ConditionReason, ConditionType, Reason, ReasonCode};

/// The condition of this type.
pub(super) fn condition(conditions: &[Condition], r#type: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.r#type() == r#type)
}

/// A condition's reason in upstream's terms.
pub(super) fn reason(condition: &Condition) -> Reason {
    let code = match condition.reason() {
        ConditionReason::NoSuitableResource => ReasonCode::NoSuitableResource,
        ConditionReason::UnsupportedResource => ReasonCode::UnsupportedResource,
        ConditionReason::InvalidResource | ConditionReason::ObjectOwnedByOther => ReasonCode::InvalidResource,
        ConditionReason::KubernetesError
        | ConditionReason::DeadlineExceeded
        | ConditionReason::Unhealthy
        | ConditionReason::Progressing => ReasonCode::KubernetesError,
        ConditionReason::ClusterNotReachable
        | ConditionReason::Connecting
        | ConditionReason::InvalidKubeconfig => ReasonCode::ClusterNotReachable,
        ConditionReason::InvalidMetric => ReasonCode::InvalidMetric,
        ConditionReason::UnreachableMetricsProvider => ReasonCode::UnreachableMetricsProvider,
        ConditionReason::UnknownMetric => ReasonCode::UnknownMetric,
        ConditionReason::UnknownMetricsProvider => ReasonCode::UnknownMetricsProvider,
        ConditionReason::ClusterDeleted => ReasonCode::NoSuitableResource,
        ConditionReason::NodePressure
        | ConditionReason::NodeNotReady
        | ConditionReason::Bound
        | ConditionReason::Unspecified => ReasonCode::Unspecified,
    };
    Reason { code: code.into(), message: condition.message.clone() }
}
