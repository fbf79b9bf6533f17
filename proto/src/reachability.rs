//! What follows from a cluster that is unreachable, for all who read it: the state service, the scheduler and clients.

use crate::condition::{find, types};
use crate::krake::kubernetes::v1::{ClusterStatus, Phase};
use crate::krake::meta::v1::{Condition, ConditionStatus};

/// Why Krake can neither see nor change what is on a cluster: its condition Reachable, if that is False. `None` if it
/// can, or if nothing is known of the cluster yet.
#[must_use]
pub fn unreachable(status: &ClusterStatus) -> Option<&Condition> {
    find(&status.conditions, types::REACHABLE).filter(|answer| answer.status() == ConditionStatus::False)
}

/// The phase of a copy as far as it is known, given the recorded one: of one that runs or is on its way, on a cluster
/// that is unreachable, nothing is known. A copy that failed did so whatever is there now, and one that goes is still to
/// go.
#[must_use]
pub fn known_phase(recorded: Phase, is_unreachable: bool) -> Phase {
    match recorded {
        Phase::Failed | Phase::Removing => recorded,
        _ if is_unreachable => Phase::Unreachable,
        _ => recorded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition::reasons;

    #[test]
    fn only_a_condition_that_says_no_counts() {
        let answer = |r#type: &str, status: ConditionStatus| Condition {
            r#type: r#type.into(),
            status: status.into(),
            reason: reasons::UNAUTHORIZED.into(),
            ..Condition::default()
        };
        let status = |conditions| ClusterStatus { conditions, ..ClusterStatus::default() };
        assert_eq!(unreachable(&status(vec![])), None);
        for known in [ConditionStatus::True, ConditionStatus::Unknown, ConditionStatus::Unspecified] {
            assert_eq!(unreachable(&status(vec![answer(types::REACHABLE, known)])), None);
        }
        let foreign = answer("example.org/Reachable", ConditionStatus::False);
        let no = answer(types::REACHABLE, ConditionStatus::False);
        assert_eq!(unreachable(&status(vec![foreign, no.clone()])), Some(&no));
    }

    #[test]
    fn what_failed_and_what_goes_is_known() {
        for phase in [Phase::Intended, Phase::Applying, Phase::Running, Phase::Unreachable] {
            assert_eq!(known_phase(phase, true), Phase::Unreachable);
            assert_eq!(known_phase(phase, false), phase);
        }
        for phase in [Phase::Failed, Phase::Removing] {
            assert_eq!((known_phase(phase, true), known_phase(phase, false)), (phase, phase));
        }
    }
}
