//! What is said about the metrics of a cluster: the condition MetricsAvailable and the reasons beside it. Pure.
//!
//! Something is said only when it is something else than before. Texts about a provider that cannot be reached differ
//! from attempt to attempt (refused, reset, no answer in time): alone they are no news.

use std::collections::BTreeMap;

use krake_proto::condition::{bounded, reasons, types};
use krake_proto::krake::kubernetes::v1::ClusterStatus;
use krake_proto::krake::meta::v1::{Condition, ConditionStatus, Reason, ReasonCode};

use crate::project::Registered;
use crate::score::{Assessment, FailureCode, MetricState};

/// What is to be written about the metrics of a cluster, as they are judged now; nothing if the status says so
/// already, if there is nothing to say, or if it cannot be told yet. Only `conditions` and `metrics_reasons` are set.
pub(crate) fn report(registered: &Registered, assessment: &Assessment) -> Option<ClusterStatus> {
    if registered.cluster.lifecycle.is_deleted() {
        return None;
    }
    let failures: BTreeMap<_, _> = assessment
        .failures()
        .map(|(metric, failure)| (metric.to_owned(), (code(failure.code), failure.message.clone())))
        .collect();
    let names = || registered.cluster.metrics.iter().map(|reference| reference.name.as_str());
    if failures.is_empty() {
        if names().any(|metric| matches!(assessment.metric(metric), Some(MetricState::Pending))) {
            return None;
        }
        let told = registered.metrics_available.as_ref().map(|(status, ..)| *status);
        // Without metrics there is no question, but an earlier complaint is taken back.
        let fine = match told {
            None => names().next().is_none(),
            Some(status) => status == ConditionStatus::True,
        };
        if fine && registered.metrics_reasons.is_empty() {
            return None;
        }
        return Some(status(registered, ConditionStatus::True, "", "", &failures));
    }
    let message: Vec<_> =
        failures.iter().map(|(metric, (_, message))| format!("{metric}: {message}")).collect();
    let first = failures.values().next().map_or(ReasonCode::Unspecified, |(code, _)| *code);
    let told = registered.metrics_available.as_ref();
    let said = told.is_some_and(|(status, reason, _)| {
        *status == ConditionStatus::False && *reason == condition_reason(first)
    });
    if said && same(&registered.metrics_reasons, &failures) {
        return None;
    }
    let reason = condition_reason(first);
    Some(status(registered, ConditionStatus::False, reason, &message.join("; "), &failures))
}

type Reasons = BTreeMap<String, (ReasonCode, String)>;

/// Whether two lists of failures say the same.
fn same(told: &Reasons, found: &Reasons) -> bool {
    told.len() == found.len()
        && told.iter().zip(found).all(|((metric, (code, message)), (other, (other_code, other_message)))| {
            (metric, code) == (other, other_code)
                && (message == other_message || *code == ReasonCode::UnreachableMetricsProvider)
        })
}

fn status(
    registered: &Registered,
    status: ConditionStatus,
    reason: &str,
    message: &str,
    failures: &Reasons,
) -> ClusterStatus {
    let condition = Condition {
        r#type: types::METRICS_AVAILABLE.into(),
        status: status.into(),
        reason: reason.into(),
        message: bounded(message.to_owned()),
        observed_generation: registered.generation,
        ..Condition::default()
    };
    let reasons = failures.iter().map(|(metric, (code, message))| {
        (metric.clone(), Reason { code: (*code).into(), message: message.clone() })
    });
    ClusterStatus {
        conditions: vec![condition],
        metrics_reasons: reasons.collect(),
        ..ClusterStatus::default()
    }
}

fn code(code: FailureCode) -> ReasonCode {
    match code {
        FailureCode::UnknownMetric => ReasonCode::UnknownMetric,
        FailureCode::UnknownProvider => ReasonCode::UnknownMetricsProvider,
        FailureCode::UnreachableProvider => ReasonCode::UnreachableMetricsProvider,
        FailureCode::InvalidMetric => ReasonCode::InvalidMetric,
    }
}

fn condition_reason(code: ReasonCode) -> &'static str {
    match code {
        ReasonCode::UnknownMetric => reasons::UNKNOWN_METRIC,
        ReasonCode::UnknownMetricsProvider => reasons::UNKNOWN_METRICS_PROVIDER,
        ReasonCode::UnreachableMetricsProvider => reasons::UNREACHABLE_METRICS_PROVIDER,
        _ => reasons::INVALID_METRIC,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Fleet;
    use crate::metrics::MetricError;
    use crate::world::Lifecycle;

    /// The only cluster of a fleet and what its status says by now.
    fn registered(fleet: &Fleet) -> Registered {
        Registered {
            cluster: fleet.clusters[0].clone(),
            resource_version: 1,
            generation: 3,
            metrics_available: None,
            metrics_reasons: BTreeMap::new(),
        }
    }

    /// Writes what there is to say, and tells whether there was anything.
    fn say(fleet: &Fleet, registered: &mut Registered) -> Option<ConditionStatus> {
        registered.cluster = fleet.clusters[0].clone();
        let written = report(registered, &fleet.world().ranked()[0].assessment)?;
        let condition = &written.conditions[0];
        assert_eq!((condition.r#type.as_str(), condition.observed_generation), (types::METRICS_AVAILABLE, 3));
        registered.metrics_available =
            Some((condition.status(), condition.reason.clone(), condition.message.clone()));
        let reasons = written.metrics_reasons.iter();
        registered.metrics_reasons =
            reasons.map(|(name, reason)| (name.clone(), (reason.code(), reason.message.clone()))).collect();
        Some(condition.status())
    }

    fn reason(registered: &Registered) -> &str {
        &registered.metrics_available.as_ref().unwrap().1
    }

    #[test]
    fn a_cluster_without_metrics_has_no_condition() {
        let fleet = Fleet::of(&["a"]);
        assert_eq!(say(&fleet, &mut registered(&fleet)), None);
    }

    #[test]
    fn success_failure_and_recovery_are_each_said_once() {
        let mut fleet = Fleet::measured(&[0.5]);
        let mut cluster = registered(&fleet);
        assert_eq!(say(&fleet, &mut cluster), Some(ConditionStatus::True));
        fleet.read("m_a", Some(Ok(0.6)));
        assert_eq!(say(&fleet, &mut cluster), None, "another value is no news");
        fleet.fail("m_a");
        assert_eq!(say(&fleet, &mut cluster), Some(ConditionStatus::False));
        assert_eq!(reason(&cluster), reasons::UNREACHABLE_METRICS_PROVIDER);
        let (code, message) = &cluster.metrics_reasons["m_a"];
        assert_eq!(*code, ReasonCode::UnreachableMetricsProvider);
        assert_eq!(message, "metrics provider provider: down");
        assert_eq!(cluster.metrics_available.as_ref().unwrap().2, "m_a: metrics provider provider: down");
        assert_eq!(say(&fleet, &mut cluster), None);
        fleet.read("m_a", Some(Err(MetricError::Unreachable("reset".into()))));
        assert_eq!(say(&fleet, &mut cluster), None, "another way of not answering");
        fleet.read("m_a", Some(Ok(7.0)));
        assert_eq!(say(&fleet, &mut cluster), Some(ConditionStatus::False), "another problem");
        assert_eq!(reason(&cluster), reasons::INVALID_METRIC);
        fleet.read("m_a", Some(Ok(8.0)));
        assert_eq!(say(&fleet, &mut cluster), None, "texts do not follow the value");
        fleet.read("m_a", Some(Ok(0.5)));
        assert_eq!(say(&fleet, &mut cluster), Some(ConditionStatus::True));
        assert!(cluster.metrics_reasons.is_empty());
        assert_eq!(say(&fleet, &mut cluster), None);
    }

    #[test]
    fn only_what_fails_is_named_and_more_of_it_is_news() {
        let mut fleet = Fleet::measured(&[0.5]);
        fleet.metric("a", "second", 1.0, 0.5);
        let mut cluster = registered(&fleet);
        fleet.fail("second");
        assert_eq!(say(&fleet, &mut cluster), Some(ConditionStatus::False));
        assert_eq!(cluster.metrics_reasons.keys().collect::<Vec<_>>(), ["second"]);
        fleet.fail("m_a");
        assert_eq!(say(&fleet, &mut cluster), Some(ConditionStatus::False));
        assert_eq!(cluster.metrics_reasons.len(), 2);
    }

    #[test]
    fn unknown_metrics_and_providers_have_reasons_of_their_own() {
        let mut fleet = Fleet::measured(&[0.5]);
        let mut cluster = registered(&fleet);
        let definitions = std::mem::take(&mut fleet.definitions);
        assert_eq!(say(&fleet, &mut cluster), Some(ConditionStatus::False));
        assert_eq!(reason(&cluster), reasons::UNKNOWN_METRIC);
        fleet.definitions = definitions;
        fleet.readings.clear();
        assert_eq!(say(&fleet, &mut cluster), Some(ConditionStatus::False));
        assert_eq!(reason(&cluster), reasons::UNKNOWN_METRICS_PROVIDER);
    }

    #[test]
    fn what_is_not_known_yet_changes_nothing_and_metrics_that_are_taken_away_end_a_complaint() {
        let mut fleet = Fleet::measured(&[0.5]);
        let mut cluster = registered(&fleet);
        fleet.read("m_a", None);
        assert_eq!(say(&fleet, &mut cluster), None);
        fleet.fail("m_a");
        assert_eq!(say(&fleet, &mut cluster), Some(ConditionStatus::False));
        fleet.read("m_a", None);
        assert_eq!(say(&fleet, &mut cluster), None, "the complaint holds until there is a value");
        fleet.cluster("a").metrics.clear();
        assert_eq!(say(&fleet, &mut cluster), Some(ConditionStatus::True));
        assert_eq!(say(&fleet, &mut cluster), None);
    }

    #[test]
    fn nothing_is_said_about_a_cluster_that_is_being_deleted() {
        let mut fleet = Fleet::measured(&[0.5]);
        fleet.fail("m_a");
        fleet.cluster("a").lifecycle = Lifecycle::Deleted;
        assert_eq!(say(&fleet, &mut registered(&fleet)), None);
    }
}
