//! What the summary of a cluster says, given its conditions.

use krake_proto::condition::{find, reason_of, reasons, types};
use krake_proto::krake::kubernetes::v1::{ClusterState as State, ClusterStatus};
use krake_proto::krake::meta::v1::{ConditionStatus, Metadata, Reason, ReasonCode};

use crate::kinds::condition::reason;

/// A status that holds the derived fields and nothing else.
pub(super) fn derive(metadata: &Metadata, status: &ClusterStatus) -> ClusterStatus {
    let (state, reason) = state(metadata, status);
    ClusterStatus { state: state.into(), reason, ..Default::default() }
}

fn state(metadata: &Metadata, status: &ClusterStatus) -> (State, Option<Reason>) {
    let answer = |name| find(&status.conditions, name);
    let no = |name| answer(name).filter(|condition| condition.status() == ConditionStatus::False);
    if metadata.deleted.is_some() {
        return (State::Deleting, None);
    }
    if let Some(lost) = &status.lost {
        let message = format!("declared lost by {}", lost.declared_by);
        let code = ReasonCode::ClusterNotReachable.into();
        return (State::Failed, Some(Reason { code, message }));
    }
    if let Some(condition) = no(types::REACHABLE) {
        return (State::Offline, Some(reason(condition)));
    }
    match answer(types::REACHABLE) {
        None => return (State::Pending, None),
        Some(condition) if condition.status() != ConditionStatus::True => {
            let why = (reason_of(condition) != reasons::CONNECTING).then(|| reason(condition));
            return (State::Connecting, why);
        }
        Some(_) => {}
    }
    if let Some(condition) = no(types::IDENTITY_VERIFIED) {
        return (State::Failed, Some(reason(condition)));
    }
    if let Some(condition) = no(types::METRICS_AVAILABLE) {
        return (State::FailingMetrics, Some(reason(condition)));
    }
    match no(types::NODES_HEALTHY) {
        Some(condition) if reason_of(condition) == reasons::NODE_PRESSURE => {
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

    fn say(r#type: &str, status: ConditionStatus, reason: &str) -> Condition {
        Condition {
            r#type: r#type.into(),
            status: status.into(),
            reason: reason.into(),
            ..Default::default()
        }
    }

    #[rstest]
    #[case::nothing_known(vec![], State::Pending)]
    #[case::answers(vec![say(types::REACHABLE, ConditionStatus::True, "")], State::Online)]
    #[case::silent(vec![say(types::REACHABLE, ConditionStatus::False, reasons::CLUSTER_NOT_REACHABLE)], State::Offline)]
    #[case::back(vec![say(types::REACHABLE, ConditionStatus::Unknown, reasons::CONNECTING)], State::Connecting)]
    #[case::pressure(vec![
        say(types::REACHABLE, ConditionStatus::True, ""),
        say(types::NODES_HEALTHY, ConditionStatus::False, reasons::NODE_PRESSURE)], State::Unhealthy)]
    #[case::not_ready(vec![
        say(types::REACHABLE, ConditionStatus::True, ""),
        say(types::NODES_HEALTHY, ConditionStatus::False, reasons::NODE_NOT_READY)], State::Notready)]
    #[case::the_same_as_another(vec![
        say(types::REACHABLE, ConditionStatus::True, ""),
        say(types::IDENTITY_VERIFIED, ConditionStatus::False, reasons::DUPLICATE_IDENTITY)], State::Failed)]
    #[case::unverified(vec![
        say(types::REACHABLE, ConditionStatus::True, ""),
        say(types::IDENTITY_VERIFIED, ConditionStatus::Unknown, reasons::UNVERIFIED)], State::Online)]
    #[case::metrics(vec![
        say(types::REACHABLE, ConditionStatus::True, ""),
        say(types::METRICS_AVAILABLE, ConditionStatus::False, reasons::INVALID_METRIC)], State::FailingMetrics)]
    fn states(#[case] conditions: Vec<Condition>, #[case] expected: State) {
        let status = ClusterStatus { conditions, ..Default::default() };
        assert_eq!(derive(&Metadata::default(), &status).state(), expected);
    }

    #[test]
    fn a_reason_always_has_a_code() {
        let given = || reasons::ALL.iter().chain(&["", "OfANewerVersion"]);
        for (name, reason) in types::ALL.iter().flat_map(|name| given().map(move |reason| (*name, *reason))) {
            let known = say(types::REACHABLE, ConditionStatus::True, "");
            let conditions = vec![known, say(name, ConditionStatus::False, reason)];
            let status = ClusterStatus { conditions, ..Default::default() };
            if let Some(shown) = derive(&Metadata::default(), &status).reason {
                assert_ne!(shown.code(), ReasonCode::Unspecified, "{name} {reason}");
            }
        }
    }

    #[test]
    fn what_other_programs_say_changes_no_state() {
        let online = vec![say(types::REACHABLE, ConditionStatus::True, "")];
        for foreign in ["example.org/Reachable", "example.org/NodesHealthy"] {
            let mut conditions = online.clone();
            conditions.push(say(foreign, ConditionStatus::False, reasons::NODE_PRESSURE));
            let status = ClusterStatus { conditions, ..Default::default() };
            let derived = derive(&Metadata::default(), &status);
            assert_eq!((derived.state(), derived.reason), (State::Online, None));
        }
    }
}
