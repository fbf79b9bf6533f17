//! How often a cluster is asked for what applications share, and how much is kept of it.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Request, Response};
use kube::api::{ApiResource, GroupVersionKind};
use kube::client::Body;
use serde_json::{Value, json};
use tower::BoxError;

use super::*;
use crate::cluster::connection::Deadlines;
use crate::cluster::discovery::ResolvedKind;

/// Shared objects of a server that gives the same answer to all requests, which are counted.
fn over(code: u16, body: Value) -> (SharedObjects, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let service = tower::service_fn({
        let asked = asked.clone();
        move |_: Request<Body>| {
            asked.fetch_add(1, Ordering::SeqCst);
            let response = Response::builder().status(code).body(Body::from(body.to_string().into_bytes()));
            async move { response.map_err(BoxError::from) }
        }
    });
    let client = kube::Client::new(service, "demo");
    (SharedObjects::new(Connection::over(client, "demo", "host", Deadlines::default())), asked)
}

fn target(group: &str, kind: &str, body: Value) -> Target {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    let api_version = resource.api_version.clone();
    let kind_of = ResolvedKind { resource, namespaced: false, watchable: true, promised: false };
    let key = ObjectKey { api_version, kind: kind.into(), namespace: None, name: "shop".into() };
    Target { prepared: Prepared { key, body, scaled: false }, kind: kind_of }
}

fn namespace(label: &str) -> Target {
    target("", "Namespace", json!({"metadata": {"labels": {"team": label}}}))
}

#[tokio::test(start_paused = true)]
async fn an_object_is_read_once_in_a_while_for_all_that_use_it() {
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "uid": "u"}});
    let (shared, asked) = over(200, body);
    for label in ["blue", "red"] {
        assert!(shared.find(&namespace(label)).await.unwrap().is_some());
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    tokio::time::advance(MAX_AGE).await;
    shared.find(&namespace("blue")).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_definition_is_compared_with_what_each_wants_of_it() {
    let definition = |scope: &str| json!({"spec": {"scope": scope}});
    let mut body = definition("Namespaced");
    body["metadata"] = json!({"name": "shop", "uid": "u"});
    let (shared, asked) = over(200, body);
    let used = async |scope: &str| {
        let wanted = target("apiextensions.k8s.io", "CustomResourceDefinition", definition(scope));
        let identity = crate::object::Identity {
            installation: "inst".into(),
            application: "app".into(),
            cluster: "c".into(),
            epoch: "e".into(),
        };
        shared.find(&wanted).await.unwrap().unwrap().is_used_by(&identity, None)
    };
    for _ in 0..2 {
        assert_eq!((used("Namespaced").await, used("Cluster").await), (true, false));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_not_asked_for_again_at_once() {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403,
        "reason": "Forbidden", "message": "not allowed"});
    let (shared, asked) = over(403, status);
    for _ in 0..3 {
        assert!(shared.find(&namespace("blue")).await.unwrap_err().contains("not allowed"));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    tokio::time::advance(MAX_FAILURE_AGE).await;
    shared.find(&namespace("blue")).await.unwrap_err();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_hold_any_more_goes_and_there_is_a_bound() {
    let mut answers = Answers::default();
    let asked = |number: usize| (namespace("blue").prepared.key, number as u64);
    for number in 0..MAX_OBJECTS + 5 {
        answers.insert(asked(number), Some(Err("x".into())));
    }
    assert_eq!(answers.0.len(), MAX_OBJECTS);
    answers.insert(asked(1), None);
    assert_eq!(
        (answers.0.len(), answers.get(&asked(1))),
        (MAX_OBJECTS - 1, None),
        "it is not there any more"
    );
    tokio::time::advance(MAX_FAILURE_AGE).await;
    answers.insert(asked(0), Some(Err("y".into())));
    assert_eq!(answers.0.len(), 1, "one insertion lets all go that are too old");
}
