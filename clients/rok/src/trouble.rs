//! What is wrong with an object, in words: its reason, or the conditions that do not hold.

use krake_proto::condition::{is_foreign, reason_of, type_of};
use krake_proto::krake::meta::v1::{Condition, ConditionStatus, Reason};

/// The reason; without one, the conditions that do not hold. Nothing if all is well.
pub(crate) fn why<'a>(
    reason: Option<&Reason>,
    conditions: impl IntoIterator<Item = &'a Condition>,
) -> Option<String> {
    if let Some(reason) = reason {
        let code = reason.code().as_str_name().trim_start_matches("REASON_CODE_");
        return Some(joined([code, &reason.message]));
    }
    let unmet = unmet(conditions);
    (!unmet.is_empty()).then(|| unmet.join("; "))
}

/// Conditions that are false or unknown.
pub(crate) fn unmet<'a>(conditions: impl IntoIterator<Item = &'a Condition>) -> Vec<String> {
    let unmet = |condition: &&Condition| {
        matches!(condition.status(), ConditionStatus::False | ConditionStatus::Unknown)
    };
    all(conditions.into_iter().filter(unmet))
}

/// Conditions of Krake's that hold and say more than that, such as which objects are only used.
pub(crate) fn notes<'a>(conditions: impl IntoIterator<Item = &'a Condition>) -> Vec<String> {
    let notable = |condition: &&Condition| {
        condition.status() == ConditionStatus::True
            && !condition.message.is_empty()
            && !is_foreign(type_of(condition))
    };
    all(conditions.into_iter().filter(notable))
}

/// All conditions, those of other programs too.
pub(crate) fn all<'a>(conditions: impl IntoIterator<Item = &'a Condition>) -> Vec<String> {
    let text = |condition: &Condition| {
        let parts = joined([type_of(condition), reason_of(condition), &condition.message]);
        match condition.status() {
            ConditionStatus::True => parts,
            ConditionStatus::False => format!("not {parts}"),
            ConditionStatus::Unknown | ConditionStatus::Unspecified => format!("unknown whether {parts}"),
        }
    };
    conditions.into_iter().map(text).collect()
}

/// The parts that are there, with colons between them.
fn joined<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use krake_proto::condition::{reasons, types};
    use krake_proto::krake::meta::v1::ReasonCode;

    fn condition(kind: &str, status: ConditionStatus) -> Condition {
        let (reason, message) = (reasons::PROGRESSING.into(), "0 of 1 pods".into());
        Condition { r#type: kind.into(), status: status.into(), reason, message, ..Condition::default() }
    }

    #[test]
    fn a_reason_goes_before_conditions() {
        let conditions = [
            condition(types::APPLIED, ConditionStatus::True),
            condition(types::AVAILABLE, ConditionStatus::False),
            condition(types::REACHABLE, ConditionStatus::Unknown),
        ];
        assert_eq!(
            why(None, &conditions).unwrap(),
            "not Available: Progressing: 0 of 1 pods; unknown whether Reachable: Progressing: 0 of 1 pods"
        );
        let reason = Reason { code: ReasonCode::KubernetesError.into(), message: String::new() };
        assert_eq!(why(Some(&reason), &conditions).unwrap(), "KUBERNETES_ERROR");
        assert_eq!(why(None, &conditions[..1]), None);
        let foreign = condition("example.org/BackedUp", ConditionStatus::True);
        assert_eq!(why(None, [&foreign]), None);
        assert_eq!(notes(&conditions), ["Applied: Progressing: 0 of 1 pods"]);
        assert_eq!(notes([&foreign]), Vec::<String>::new());
        assert_eq!(all([&foreign]), ["example.org/BackedUp: Progressing: 0 of 1 pods"]);
    }
}
