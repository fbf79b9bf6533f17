//! What is shown, by what is known and what was shown before.

use std::time::Duration;

use rstest::rstest;
use tokio::time::Instant;

use super::*;
use crate::cluster::identity::ClusterIdentity;
use crate::cluster::nodes::Fitness;
use crate::cluster::reachability::Record;

fn report(state: ClusterState, message: &str) -> ClusterReport {
    let (reachable, cause) = match state {
        ClusterState::Offline => (Reachable::No, Some(Cause::Silent)),
        _ => (Reachable::Yes, None),
    };
    let (message, since) = (message.to_owned(), Duration::ZERO);
    let fitness = Fitness { state, message: message.clone() };
    let record = Record { reachable, cause, message, since, throttled: false };
    ClusterReport {
        fitness,
        record,
        origin: Instant::now(),
        nodes: vec![],
        counts: None,
        identity: identity(),
        is_identity_seen: true,
        version: None,
    }
}

fn identity() -> ClusterIdentity {
    ClusterIdentity { kube_system_uid: "uid".to_owned(), ca_sha256: String::new() }
}

fn unknown(cause: Option<Cause>) -> ClusterReport {
    let mut report = report(ClusterState::Connecting, "why");
    (report.record.reachable, report.record.cause) = (Reachable::Unknown, cause);
    report
}

fn first(report: &ClusterReport) -> Told {
    next(report, &Told::default())
}

fn next(report: &ClusterReport, shown: &Told) -> Told {
    tell(report, None, shown, 1, Timestamp::UNIX_EPOCH)
}

fn said<'a>(told: &'a Told, r#type: &str) -> Option<(ConditionStatus, &'a str)> {
    let condition = find(&told.conditions, r#type)?;
    Some((condition.status(), condition.reason.as_str()))
}

#[test]
fn every_state_has_its_conditions() {
    let online = first(&report(ClusterState::Online, ""));
    assert_eq!(said(&online, types::REACHABLE), Some((ConditionStatus::True, "")));
    assert_eq!(said(&online, types::NODES_HEALTHY).unwrap().0, ConditionStatus::True);
    let offline = first(&report(ClusterState::Offline, "connection refused"));
    let reason = reasons::CLUSTER_NOT_REACHABLE;
    assert_eq!(said(&offline, types::REACHABLE), Some((ConditionStatus::False, reason)));
    assert_eq!(said(&offline, types::NODES_HEALTHY), None, "an old answer about nodes is not overwritten");
    let pressed = first(&report(ClusterState::Unhealthy, "node n: DiskPressure"));
    assert_eq!(said(&pressed, types::NODES_HEALTHY).unwrap().1, reasons::NODE_PRESSURE);
}

#[rstest]
#[case(Cause::Silent, reasons::CLUSTER_NOT_REACHABLE)]
#[case(Cause::Broken, reasons::BROKEN)]
#[case(Cause::Untrusted, reasons::TLS_NOT_VERIFIED)]
#[case(Cause::Unauthorized, reasons::UNAUTHORIZED)]
#[case(Cause::WrongCluster, reasons::WRONG_CLUSTER)]
fn every_cause_has_its_reason(#[case] cause: Cause, #[case] expected: &str) {
    let mut report = report(ClusterState::Offline, "why");
    report.record.cause = Some(cause);
    assert_eq!(said(&first(&report), types::REACHABLE), Some((ConditionStatus::False, expected)));
}

#[test]
fn a_cluster_that_was_never_reached_shows_why() {
    let told = first(&unknown(Some(Cause::Unauthorized)));
    assert_eq!(said(&told, types::REACHABLE), Some((ConditionStatus::Unknown, reasons::UNAUTHORIZED)));
    let back = first(&unknown(None));
    assert_eq!(said(&back, types::REACHABLE), Some((ConditionStatus::Unknown, reasons::CONNECTING)));
}

#[test]
fn a_process_that_starts_anew_overwrites_nothing_before_it_knows_more() {
    let online = first(&report(ClusterState::Online, ""));
    for known in
        [report(ClusterState::Connecting, "its nodes are being listed"), unknown(Some(Cause::Silent))]
    {
        let told = next(&known, &online);
        assert!(!differs(&told, &online), "{told:?}");
    }
}

#[test]
fn failures_before_the_start_of_this_process_count() {
    let at = |seconds| Timestamp::from_second(seconds).unwrap();
    let offline = report(ClusterState::Offline, "why");
    let shown = tell(&offline, None, &Told::default(), 1, at(1000));
    assert_eq!(shown.unreachable_since.unwrap().as_second(), 999);
    let later = tell(&offline, None, &shown, 1, at(5000));
    assert_eq!(later.unreachable_since, shown.unreachable_since);
    assert!(!differs(&later, &shown));
    let mut other = offline.clone();
    other.record.cause = Some(Cause::Unauthorized);
    assert!(tell(&other, None, &shown, 1, at(5000)).unreachable_since > shown.unreachable_since);
    assert_eq!(tell(&report(ClusterState::Online, ""), None, &shown, 1, at(5000)).unreachable_since, None);
}

#[test]
fn an_unreachable_cluster_keeps_what_is_shown_of_its_nodes() {
    let mut online = report(ClusterState::Online, "");
    online.version = Some("v1.35.8".to_owned());
    online.nodes = vec![NodeFacts::of(&serde_json::json!({"metadata": {"name": "n"}}))];
    online.counts = Some(NodeCounts { total: 1, ..NodeCounts::default() });
    let shown = first(&online);
    let told = next(&report(ClusterState::Offline, "why"), &shown);
    assert_eq!((&told.nodes, &told.version), (&shown.nodes, &shown.version));
    assert_eq!((told.counts, told.counts.unwrap().total), (shown.counts, 1));
}

#[test]
fn only_news_is_told() {
    let told = first(&report(ClusterState::Online, ""));
    assert!(differs(&told, &Told::default()));
    let mut shown = told.clone();
    shown.conditions[0].last_transition_time = Some(Default::default());
    let (status, reason) = (ConditionStatus::False, reasons::INVALID_METRIC);
    shown.conditions.push(condition(types::METRICS_AVAILABLE, status, reason, String::new()));
    assert!(!differs(&told, &shown), "others' conditions and times are no news");
    assert!(differs(&first(&report(ClusterState::Offline, "")), &shown));
}

#[test]
fn the_report_of_the_largest_cluster_fits_an_object() {
    let mut ledger = crate::cluster::nodes::NodeLedger::default();
    let text = "ü".repeat(10_000);
    for index in 0..1000 {
        let condition = serde_json::json!({"type": text, "status": text, "reason": text, "message": text});
        let name = format!("{index}{text}");
        let node =
            serde_json::json!({"metadata": {"name": name}, "status": {"conditions": vec![condition; 100]}});
        ledger.insert(NodeFacts::of(&node));
    }
    let mut report = report(ClusterState::Online, "");
    (report.nodes, report.counts) = (ledger.shown(), Some(ledger.counts()));
    let told = first(&report);
    let status = api::ClusterStatus { nodes: told.nodes, node_counts: told.counts, ..Default::default() };
    let bytes = prost::Message::encoded_len(&status);
    // With 1 MiB for an object, half is left for the spec, the orphans and conditions.
    assert!(bytes < 768 << 10, "{bytes}");
}

#[test]
fn identities_are_verified_unless_hidden_or_those_of_another_cluster() {
    let mut report = report(ClusterState::Online, "");
    let shown = |report: &ClusterReport, twin| {
        let told = tell(report, twin, &Told::default(), 1, Timestamp::UNIX_EPOCH);
        let condition = find(&told.conditions, types::IDENTITY_VERIFIED).cloned()?;
        Some((condition.status(), condition.reason, condition.message))
    };
    assert_eq!(shown(&report, None).unwrap().0, ConditionStatus::True);
    let (status, reason, message) = shown(&report, Some("demo/north")).unwrap();
    assert_eq!((status, reason.as_str()), (ConditionStatus::False, reasons::DUPLICATE_IDENTITY));
    assert!(message.contains("demo/north"), "{message}");
    report.is_identity_seen = false;
    let (status, reason, message) = shown(&report, None).unwrap();
    assert_eq!((status, reason.as_str()), (ConditionStatus::Unknown, reasons::UNVERIFIED));
    assert!(message.contains("may not read the namespace kube-system"), "{message}");
    assert!(message.contains("the uid uid, as which it was reached by this kubeconfig before"), "{message}");
    report.identity = ClusterIdentity { kube_system_uid: String::new(), ca_sha256: "c".to_owned() };
    let (_, reason, message) = shown(&report, None).unwrap();
    assert_eq!(reason, reasons::UNVERIFIED);
    assert!(message.contains("by its certificate authority"), "{message}");
    assert_eq!(shown(&unknown(Some(Cause::Silent)), None), None);
}

#[test]
fn the_kubeconfig_by_which_a_cluster_was_reached_is_recorded_once_it_was() {
    let at = |report: &ClusterReport, shown: &Told, generation| {
        tell(report, None, shown, generation, Timestamp::UNIX_EPOCH)
    };
    let reached = at(&report(ClusterState::Online, ""), &Told::default(), 3);
    assert_eq!(reached.identity_generation, 3);
    let another = at(&report(ClusterState::Offline, "another cluster"), &reached, 4);
    assert_eq!(another.identity_generation, 3, "the new kubeconfig has not shown it");
    assert!(differs(&at(&report(ClusterState::Online, ""), &reached, 4), &reached));
}
