//! Status fields that follow from others: computed at every write, so that they can never disagree.

mod application;
mod cluster;

use bytes::Bytes;
use krake_proto::krake::kubernetes::v1::{Application, ApplicationStatus, Cluster, ClusterStatus};
use krake_proto::krake::meta::v1::{Condition, ConditionReason, ConditionType, Reason, ReasonCode};
use krake_proto::{Kind, POOL, Resource};
use prost::{Message, Name};

use crate::object::sections::Sections;
use crate::object::wire::{self, Malformed};

/// The names of the derived status fields of `kind`.
pub(crate) fn fields(kind: &Kind) -> &'static [&'static str] {
    if kind.message == Application::KIND.message {
        &["state", "reason", "container_health", "scheduled_to", "running_on", "services"]
    } else if kind.message == Cluster::KIND.message {
        &["state", "reason"]
    } else {
        &[]
    }
}

/// The status section with its derived fields brought up to date; `None` for kinds without status.
pub(crate) fn status(kind: &Kind, sections: &Sections) -> Result<Option<Bytes>, Malformed> {
    if !kind.has_status {
        return Ok(None);
    }
    let old = sections.status.clone().unwrap_or_default();
    let metadata = sections.decode_metadata()?;
    let (name, derived) = if kind.message == Application::KIND.message {
        let status = ApplicationStatus::decode(old.clone())?;
        (ApplicationStatus::full_name(), application::derive(&metadata, &status).encode_to_vec())
    } else if kind.message == Cluster::KIND.message {
        let status = ClusterStatus::decode(old.clone())?;
        (ClusterStatus::full_name(), cluster::derive(&metadata, &status).encode_to_vec())
    } else {
        return Ok(Some(old));
    };
    let descriptor = POOL.get_message_by_name(&name).expect("part of the contract");
    let numbers: Vec<u32> = fields(kind)
        .iter()
        .map(|field| {
            descriptor.get_field_by_name(field).expect("derived fields are part of the contract").number()
        })
        .collect();
    Ok(Some(wire::overwrite(&old, &numbers, &derived)?.into()))
}

fn condition(conditions: &[Condition], r#type: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.r#type() == r#type)
}

/// A condition's reason in upstream's terms.
fn reason(condition: &Condition) -> Reason {
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
