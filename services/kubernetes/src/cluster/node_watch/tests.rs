//! Node lists that do not end, and those that are forbidden for a while.

use super::*;
use crate::cluster::connection::Deadlines;
use serde_json::json;

fn watch() -> NodeWatch {
    let nobody = tower::service_fn(|_: http::Request<kube::client::Body>| async {
        std::future::pending::<Result<http::Response<kube::client::Body>, tower::BoxError>>().await
    });
    let client = kube::Client::new(nobody, "default");
    // No request ends before the list has to.
    let deadlines = Deadlines { request: 2 * LIST_DEADLINE, ..Deadlines::default() };
    let watch = NodeWatch::new("c".into(), Connection::over(client, "", "host", deadlines));
    NodeWatch { limits: NodeLimits { nodes: 100, ..NodeLimits::default() }, ..watch }
}

fn node(index: usize) -> DynamicObject {
    let conditions = json!([{"type": "Ready", "status": "True"}]);
    serde_json::from_value(
        json!({"metadata": {"name": format!("n-{index}")}, "status": {"conditions": conditions}}),
    )
    .unwrap()
}

fn refusal(watch: &NodeWatch) -> Option<&str> {
    match watch.look() {
        Look::TooMany(why) => Some(why),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn more_nodes_than_are_counted_are_said_and_asked_for_again_later() {
    let mut watch = watch();
    watch.take_in(Ok(Event::Init));
    let last = (0..).find(|index| watch.take_in(Ok(Event::InitApply(node(*index)))));
    assert_eq!(last, Some(100));
    assert!(refusal(&watch).unwrap().contains("more nodes than Krake counts"), "{:?}", refusal(&watch));
    let begun = Instant::now();
    assert!(!watch.next().await, "it begins again");
    assert!(begun.elapsed() >= PAUSE && begun.elapsed() < 2 * PAUSE);
    assert!(refusal(&watch).is_some(), "until there is a list that ends");
    watch.take_in(Ok(Event::Init));
    watch.take_in(Ok(Event::InitApply(node(1))));
    assert!(watch.take_in(Ok(Event::InitDone)) && refusal(&watch).is_none());
    // The same by events.
    let last = (2..).find(|index| {
        watch.take_in(Ok(Event::Apply(node(*index))));
        refusal(&watch).is_some()
    });
    assert_eq!(last, Some(101));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_brings_nothing_and_does_not_end_is_given_up() {
    let mut watch = watch();
    let begun = Instant::now();
    // Its beginning is an event, too.
    while !watch.next().await {}
    assert!(begun.elapsed() >= LIST_DEADLINE && begun.elapsed() < 2 * LIST_DEADLINE);
    assert!(refusal(&watch).unwrap().contains("within 15 min"), "{:?}", refusal(&watch));
}

#[tokio::test(start_paused = true)]
async fn nodes_that_may_not_be_watched_for_a_moment_are_listed_anew() {
    let mut watch = watch();
    watch.take_in(Ok(Event::Init));
    watch.take_in(Ok(Event::InitApply(node(1))));
    watch.take_in(Ok(Event::InitDone));
    let status =
        kube::core::Status { code: 403, reason: "Forbidden".into(), ..kube::core::Status::default() };
    let forbidden = watcher::Error::WatchStartFailed(kube::Error::Api(Box::new(status)));
    assert!(watch.take_in(Err(forbidden)));
    assert!(matches!(watch.look(), Look::NodesHidden));
    let begun = Instant::now();
    assert!(!watch.next().await, "it begins again");
    assert!(begun.elapsed() >= FORBIDDEN_PAUSE && begun.elapsed() < 2 * FORBIDDEN_PAUSE);
    watch.take_in(Ok(Event::Init));
    watch.take_in(Ok(Event::InitDone));
    assert!(matches!(watch.look(), Look::Nodes(_)));
}
