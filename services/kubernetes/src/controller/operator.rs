//! When a cluster needs a person: it is unreachable for a reason that does not pass by itself. Pure.

use std::time::Duration;

use jiff::Timestamp;
use krake_proto::condition::{find, reason_of, reasons, types};
use krake_proto::krake::meta::v1::{Condition, ConditionStatus};

use super::project::Told;

/// Time that such a reason may last before a person is asked: longer than a restart of an API server or a renewal of
/// credentials.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// The reasons of Reachable that only a person can remove.
const REASONS: [&str; 5] = [
    reasons::UNAUTHORIZED,
    reasons::BROKEN,
    reasons::WRONG_CLUSTER,
    reasons::TLS_NOT_VERIFIED,
    reasons::INVALID_KUBECONFIG,
];

/// How long it takes until a person is asked about the cluster, zero once that time is over. `None` if its reason may
/// pass by itself.
pub(super) fn patience(told: &Told, shown: &Told, now: Timestamp) -> Option<Duration> {
    let reachable =
        find(&told.conditions, types::REACHABLE).or_else(|| find(&shown.conditions, types::REACHABLE))?;
    if reachable.status() != ConditionStatus::False || !REASONS.contains(&reason_of(reachable)) {
        return None;
    }
    let lasts: Duration = now.duration_since(told.unreachable_since?).try_into().unwrap_or(Duration::ZERO);
    Some(PATIENCE.saturating_sub(lasts))
}

/// The condition NeedsOperator; `None` if it was never true, and is not now.
pub(super) fn condition(
    told: &Told,
    shown: &Told,
    patience: Option<Duration>,
    name: &str,
) -> Option<Condition> {
    let condition = |status: ConditionStatus, reason: &str, message: String| Condition {
        r#type: types::NEEDS_OPERATOR.into(),
        status: status.into(),
        reason: reason.into(),
        message,
        ..Condition::default()
    };
    if patience == Some(Duration::ZERO) {
        let reachable =
            find(&told.conditions, types::REACHABLE).or_else(|| find(&shown.conditions, types::REACHABLE));
        let message = format!(
            "renew its kubeconfig: rok kube cluster update {name} -k FILE; or, if the cluster is gone for good, have \
             its applications placed elsewhere: rok kube cluster lost {name}"
        );
        let reason = reachable.map(reason_of).unwrap_or_default();
        return Some(condition(ConditionStatus::True, reason, message));
    }
    let needed = find(&shown.conditions, types::NEEDS_OPERATOR)
        .is_some_and(|shown| shown.status() != ConditionStatus::False);
    needed.then(|| condition(ConditionStatus::False, "", String::new()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn unreachable(reason: &str) -> Told {
        let condition = Condition {
            r#type: types::REACHABLE.into(),
            status: ConditionStatus::False.into(),
            reason: reason.into(),
            ..Condition::default()
        };
        Told { conditions: vec![condition], unreachable_since: Some(at(0)), ..Told::default() }
    }

    fn asks(told: &Told, shown: &Told, now: i64) -> Option<(ConditionStatus, String)> {
        let said = condition(told, shown, patience(told, shown, at(now)), "north")?;
        Some((said.status(), said.reason))
    }

    #[rstest]
    #[case(reasons::UNAUTHORIZED)]
    #[case(reasons::BROKEN)]
    #[case(reasons::WRONG_CLUSTER)]
    #[case(reasons::TLS_NOT_VERIFIED)]
    #[case(reasons::INVALID_KUBECONFIG)]
    fn a_person_is_asked_after_a_quarter_of_an_hour(#[case] reason: &str) {
        let (told, nothing) = (unreachable(reason), Told::default());
        assert_eq!(patience(&told, &nothing, at(300)), Some(Duration::from_secs(600)));
        assert_eq!(asks(&told, &nothing, 899), None);
        assert_eq!(asks(&told, &nothing, 900), Some((ConditionStatus::True, reason.to_owned())));
    }

    #[test]
    fn silence_asks_nobody() {
        let told = unreachable(reasons::CLUSTER_NOT_REACHABLE);
        assert_eq!(asks(&told, &Told::default(), 90_000), None);
    }

    #[test]
    fn the_condition_names_the_commands_and_is_taken_back() {
        let told = unreachable(reasons::UNAUTHORIZED);
        let asked = condition(&told, &Told::default(), Some(Duration::ZERO), "north").unwrap();
        for command in ["rok kube cluster update north -k", "rok kube cluster lost north"] {
            assert!(asked.message.contains(command), "{}", asked.message);
        }
        let shown = Told { conditions: vec![asked], ..Told::default() };
        let back = condition(&Told::default(), &shown, None, "north").unwrap();
        assert_eq!(back.status(), ConditionStatus::False);
        let shown = Told { conditions: vec![back], ..Told::default() };
        assert_eq!(condition(&Told::default(), &shown, None, "north"), None);
    }
}
