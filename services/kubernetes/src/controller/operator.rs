//! When a cluster needs a person: it is unreachable for a reason that does not pass by itself.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use krake_proto::condition::{find, reason_of, reasons, types};
use krake_proto::krake::meta::v1::{Condition, ConditionStatus};

use krake_client::NamespacedName;
use krake_runtime::metrics::Metrics;
use prometheus_client::metrics::gauge::Gauge;

use super::project::{Cluster, Told};

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
        let reason = reachable.map(reason_of).unwrap_or_default();
        let mut message = format!(
            "renew its kubeconfig: rok kube cluster update {name} -k FILE; or, if the cluster is gone for good, have \
             its applications placed elsewhere: rok kube cluster lost {name}"
        );
        if reason == reasons::WRONG_CLUSTER {
            let accept = format!(
                "; or put the one that answers in its place: rok kube cluster update {name} --accept-new-identity"
            );
            message.push_str(&accept);
        }
        return Some(condition(ConditionStatus::True, reason, message));
    }
    let needed = find(&shown.conditions, types::NEEDS_OPERATOR)
        .is_some_and(|shown| shown.status() != ConditionStatus::False);
    needed.then(|| condition(ConditionStatus::False, "", String::new()))
}

/// Whether the condition is true.
fn is_needed(told: &Told) -> bool {
    find(&told.conditions, types::NEEDS_OPERATOR).is_some_and(|shown| shown.status() == ConditionStatus::True)
}

/// Logs that a person is needed, or not any more, when that changes.
pub(super) fn log_change(cluster: &str, told: &Told, shown: &Told) {
    let Some(condition) = find(&told.conditions, types::NEEDS_OPERATOR) else { return };
    match (is_needed(told), is_needed(shown)) {
        (true, false) => {
            let reason = reason_of(condition);
            tracing::warn!(cluster, reason, "NeedsOperator: {}", condition.message);
        }
        (false, true) => {
            tracing::info!(cluster, "NeedsOperator is over: the cluster needs no operator any more")
        }
        _ => {}
    }
}

/// The clusters that need a person, in a metric of the process; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct OperatorCalls {
    clusters: Arc<Mutex<BTreeSet<NamespacedName>>>,
    count: Gauge,
}

impl OperatorCalls {
    /// Shown in `metrics`.
    pub(crate) fn register(metrics: &Metrics) -> Self {
        metrics.shared(|registry| {
            let new = Self::default();
            let help = "Clusters that need an operator: their condition NeedsOperator is true";
            registry.register("clusters_needing_operator", help, new.count.clone());
            new
        })
    }

    /// Takes in what is shown of a cluster, or that it is gone.
    pub(super) fn shown(&self, key: &NamespacedName, cluster: Option<&Cluster>) {
        let needs = cluster.is_some_and(|cluster| is_needed(&cluster.told) && !cluster.lost);
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        if needs {
            clusters.insert(key.clone());
        } else {
            clusters.remove(key);
        }
        self.count.set(clusters.len().try_into().unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use krake_proto::json::document;
    use krake_proto::krake::kubernetes::v1 as api;
    use krake_proto::krake::meta::v1::Metadata;
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

    #[test]
    fn a_metric_counts_the_clusters_that_need_a_person() {
        let metrics = Metrics::new();
        let calls = OperatorCalls::register(&metrics);
        let cluster = |name: &str, asks: bool, lost: bool| {
            let status = match asks {
                true => ConditionStatus::True,
                false => ConditionStatus::False,
            };
            let condition = Condition {
                r#type: types::NEEDS_OPERATOR.into(),
                status: status.into(),
                ..Condition::default()
            };
            let object = api::Cluster {
                metadata: Some(Metadata { name: name.into(), uid: name.into(), ..Metadata::default() }),
                spec: Some(api::ClusterSpec {
                    kubeconfig: Some(document(&serde_json::json!({"fake": name}))),
                    ..api::ClusterSpec::default()
                }),
                status: Some(api::ClusterStatus {
                    conditions: vec![condition],
                    lost: lost.then(api::ClusterLoss::default),
                    ..api::ClusterStatus::default()
                }),
            };
            super::super::project::cluster(&object)
        };
        let key = |name: &str| NamespacedName::new("ns", name);
        let counts = |expected: usize| {
            let shown = metrics.encode().unwrap();
            assert!(shown.contains(&format!("krake_clusters_needing_operator {expected}\n")), "{shown}");
        };
        counts(0);
        for name in ["one", "two", "two", "three"] {
            calls.shown(&key(name), cluster(name, true, false).as_ref());
        }
        counts(3);
        calls.shown(&key("one"), cluster("one", false, false).as_ref());
        calls.shown(&key("two"), cluster("two", true, true).as_ref());
        counts(1);
        calls.shown(&key("three"), None);
        counts(0);
    }
}
