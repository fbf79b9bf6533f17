//! What a cluster's answers say about it: causes, and what is not taken for an outage.

use krake_kubernetes::cluster::nodes::ClusterState;
use krake_kubernetes::cluster::reachability::{Cause, Reachable};
use rstest::rstest;

use crate::api_server::{ApiServer, Mood};
use crate::cluster::{Adapter, CALM, node, state};

#[tokio::test]
async fn a_cluster_that_throttles_stays_reachable_and_is_asked_less() {
    let server = ApiServer::start();
    server.put("nodes", node("n1", "Ready", "True"));
    let adapter = Adapter::start(CALM);
    let handle = adapter.add("c", &server);
    adapter.until("online", || state(&handle) == Some(ClusterState::Online)).await;
    server.set_mood(Mood::Answers(429));
    let throttled = || handle.report().is_some_and(|report| report.record.throttled);
    adapter.until("throttled", throttled).await;
    assert_eq!(handle.answers(), Some(Ok(())));
    assert_eq!(state(&handle), Some(ClusterState::Online), "its nodes stay as they were seen");
    server.set_mood(Mood::Well);
    adapter.until("not throttled", || !throttled()).await;
    adapter.clusters.shutdown().await;
}

#[rstest]
#[case::unauthorized(401, Cause::Unauthorized)]
#[case::broken(500, Cause::Broken)]
#[case::unavailable(503, Cause::Broken)]
#[case::behind_a_proxy(502, Cause::Silent)]
#[case::no_kubernetes(404, Cause::Broken)]
#[case::nothing_allowed(403, Cause::Unauthorized)]
#[tokio::test]
async fn answers_are_told_apart(#[case] code: u16, #[case] expected: Cause) {
    let server = ApiServer::start();
    let adapter = Adapter::start(CALM);
    let handle = adapter.add("c", &server);
    adapter.until("online", || state(&handle) == Some(ClusterState::Online)).await;
    server.set_mood(Mood::Answers(code));
    let record = || handle.report().unwrap().record;
    adapter.until("unreachable", || record().reachable == Reachable::No).await;
    assert_eq!(record().cause, Some(expected));
    assert!(handle.answers().unwrap().is_err());
    server.set_mood(Mood::Well);
    adapter.until("reachable", || record().reachable == Reachable::Yes).await;
    adapter.clusters.shutdown().await;
}

#[tokio::test]
async fn a_cluster_that_was_never_reached_says_why_and_gets_nothing() {
    let server = ApiServer::start();
    server.set_mood(Mood::Answers(401));
    let adapter = Adapter::start(CALM);
    let handle = adapter.add("c", &server);
    let gets_something = || matches!(handle.answers(), Some(Ok(())));
    let unauthorized = || {
        assert!(!gets_something(), "it has never answered");
        handle.report().is_some_and(|report| report.record.cause == Some(Cause::Unauthorized))
    };
    adapter.until("unauthorized", unauthorized).await;
    let unreachable = || {
        assert!(!gets_something(), "it has never answered");
        handle.report().unwrap().record.reachable == Reachable::No
    };
    adapter.until("unreachable", unreachable).await;
    adapter.clusters.shutdown().await;
}

#[tokio::test]
async fn a_cluster_with_thousands_of_nodes_is_summarised() {
    let server = ApiServer::start();
    for index in 0..3000 {
        let ready = if index % 1000 == 7 { "Unknown" } else { "True" };
        server.put("nodes", node(&format!("n-{index:04}"), "Ready", ready));
    }
    let adapter = Adapter::start(CALM);
    let handle = adapter.add("c", &server);
    adapter.until("not ready", || state(&handle) == Some(ClusterState::NotReady)).await;
    let report = handle.report().unwrap();
    assert_eq!(report.nodes.len(), 50);
    let counts = report.counts.unwrap();
    assert_eq!((counts.total, counts.ready, counts.in_trouble), (3001, 2998, 3));
    assert_eq!(report.fitness.message, "node n-0007: Ready: m (and 2 more of 3001 nodes)");
    adapter.clusters.shutdown().await;
}

#[tokio::test]
async fn a_cluster_without_nodes_takes_no_applications_until_it_has_one() {
    let server = ApiServer::without_nodes();
    let adapter = Adapter::start(CALM);
    let handle = adapter.add("c", &server);
    adapter.until("not ready", || state(&handle) == Some(ClusterState::NotReady)).await;
    server.put("nodes", node("n", "Ready", "True"));
    adapter.until("online", || state(&handle) == Some(ClusterState::Online)).await;
    adapter.clusters.shutdown().await;
}
