//! What the summary of a cluster says, given its conditions.

use krake_proto::krake::kubernetes::v1::{ClusterState as State, ClusterStatus};
use krake_proto::krake::meta::v1::{ConditionReason, ConditionStatus, ConditionType, Metadata, Reason};

use crate::kinds::condition::{condition, reason};

/// A status that holds the derived fields and nothing else.
pub(super) fn derive(metadata: &Metadata, status: &ClusterStatus) -> ClusterStatus {
    let (state, reason) = state(metadata, status);
    ClusterStatus { state: state.into(), reason, ..Default::default() }
}

fn state(metadata: &Metadata, status: &ClusterStatus) -> (State, Option<Reason>) {
    let answer = |r#type| condition(&status.conditions, r#type);
    let no = |r#type| answer(r#type).filter(|condition| condition.status() == ConditionStatus::False);
    if metadata.deleted.is_some() {
        return (State::Deleting, None);
    }
    if let Some(condition) = no(ConditionType::Reachable) {
        return (State::Offline, Some(reason(condition)));
    }
    match answer(ConditionType::Reachable) {
        None => return (State::Pending, None),
        Some(condition) if condition.status() != ConditionStatus::True => return (State::Connecting, None),
        Some(_) => {}
    }
    if let Some(condition) = no(ConditionType::MetricsAvailable) {
        return (State::FailingMetrics, Some(reason(condition)));
    }
    match no(ConditionType::NodesHealthy) {
        Some(condition) if condition.reason() == ConditionReason::NodePressure => {
            (State::Unhealthy, Some(reason(condition)))
        }
        Some(condition) => (State::Notready, Some(reason(condition))),
        None => (State::Online, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use krake_proto::krake::meta::v1::Condition;
    use rstest::rstest;

    fn say(r#type: ConditionType, status: ConditionStatus, reason: ConditionReason) -> Condition {
        Condition {
            r#type: r#type.into(),
            status: status.into(),
            reason: reason.into(),
            ..Default::default()
        }
    }

    #[rstest]
    #[case::nothing_known(vec![], State::Pending)]
    #[case::answers(vec![say(ConditionType::Reachable, ConditionStatus::True, ConditionReason::Unspecified)], State::Online)]
    #[case::silent(vec![say(ConditionType::Reachable, ConditionStatus::False, ConditionReason::ClusterNotReachable)], State::Offline)]
    #[case::back(vec![say(ConditionType::Reachable, ConditionStatus::Unknown, ConditionReason::Connecting)], State::Connecting)]
    #[case::pressure(vec![
        say(ConditionType::Reachable, ConditionStatus::True, ConditionReason::Unspecified),
        say(ConditionType::NodesHealthy, ConditionStatus::False, ConditionReason::NodePressure)], State::Unhealthy)]
    #[case::not_ready(vec![
        say(ConditionType::Reachable, ConditionStatus::True, ConditionReason::Unspecified),
        say(ConditionType::NodesHealthy, ConditionStatus::False, ConditionReason::NodeNotReady)], State::Notready)]
    #[case::metrics(vec![
        say(ConditionType::Reachable, ConditionStatus::True, ConditionReason::Unspecified),
        say(ConditionType::MetricsAvailable, ConditionStatus::False, ConditionReason::InvalidMetric)], State::FailingMetrics)]
    fn states(#[case] conditions: Vec<Condition>, #[case] expected: State) {
        let status = ClusterStatus { conditions, ..Default::default() };
        assert_eq!(derive(&Metadata::default(), &status).state(), expected);
    }
}
