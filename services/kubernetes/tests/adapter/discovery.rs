//! Which kinds a cluster serves.

use std::time::Duration;

use krake_kubernetes::cluster::discovery::{Discovery, DiscoveryError, ResolvedKind};
use kube::api::{ApiResource, GroupVersionKind};
use serde_json::json;

use crate::api_server::{ApiServer, Mood};

/// Lets time pass at once. It stands still for no longer: what comes over a connection takes time that no clock in this
/// process may skip.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn kinds_are_resolved_and_remembered() {
    let server = ApiServer::start();
    let discovery = Discovery::new(server.connection());
    let deployment = discovery.resolve("apps/v1", "Deployment").await.unwrap();
    assert_eq!((deployment.resource.plural.as_str(), deployment.namespaced), ("deployments", true));
    assert!(!discovery.resolve("v1", "Namespace").await.unwrap().namespaced);
    discovery.resolve("apps/v1", "Deployment").await.unwrap();
    assert_eq!(server.requests(), ["GET /apis/apps/v1", "GET /api/v1"]);
}

#[tokio::test]
async fn what_is_not_served_is_named() {
    let server = ApiServer::start();
    let discovery = Discovery::new(server.connection());
    for (api_version, kind) in [("apps/v1", "Foo"), ("none.example/v1", "Foo"), ("a/b/c", "Foo")] {
        let error = discovery.resolve(api_version, kind).await.unwrap_err();
        assert!(matches!(error, DiscoveryError::Unsupported { .. }), "{error}");
        assert!(error.to_string().starts_with(&format!("Foo resources of {api_version}")), "{error}");
    }
    let reviews = json!([{"name": "subjectaccessreviews", "singularName": "", "kind": "SubjectAccessReview",
        "namespaced": false, "verbs": ["create"]}]);
    server.show_kinds("authorization.k8s.io/v1", Some(reviews));
    let error = discovery.resolve("authorization.k8s.io/v1", "SubjectAccessReview").await.unwrap_err();
    assert!(error.to_string().ends_with("no `get`"), "{error}");
}

#[tokio::test]
async fn a_broken_api_hides_no_other_and_is_no_absence() {
    let server = ApiServer::start();
    server.wishes.show(
        "/apis/garbage.example/v1",
        Some(json!({"kind": "APIResourceList", "groupVersion": "x", "resources": []})),
    );
    let discovery = Discovery::new(server.connection());
    for api_version in ["metrics.k8s.io/v1beta1", "garbage.example/v1"] {
        let error = discovery.resolve(api_version, "NodeMetrics").await.unwrap_err();
        assert!(matches!(error, DiscoveryError::Cluster(_)), "{error}");
    }
    discovery.resolve("apps/v1", "Deployment").await.unwrap();
}

#[tokio::test]
async fn a_new_kind_is_found_but_not_by_hammering() {
    let server = ApiServer::start();
    server.serve_kind("Always");
    let discovery = Discovery::new(server.connection());
    for _ in 0..5 {
        discovery.resolve("example.org/v1", "Foo").await.unwrap_err();
    }
    assert_eq!(server.requests().len(), 1);
    server.serve_kind("Foo");
    pass(Duration::from_secs(3)).await;
    discovery.resolve("example.org/v1", "Foo").await.unwrap();
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_question_that_failed_is_asked_again() {
    let server = ApiServer::start();
    let discovery = Discovery::new(server.connection());
    server.set_mood(Mood::Down);
    discovery.resolve("apps/v1", "Deployment").await.unwrap_err();
    server.set_mood(Mood::Well);
    pass(Duration::from_secs(3)).await;
    discovery.resolve("apps/v1", "Deployment").await.unwrap();
}

/// Servers say so in plain text, which kube's own `get_opt` takes for trouble.
#[tokio::test]
async fn of_a_group_that_is_not_served_there_are_no_objects() {
    let server = ApiServer::start();
    let connection = server.connection();
    let tub = ResolvedKind {
        resource: ApiResource::from_gvk(&GroupVersionKind::gvk("baths.example", "v1", "Tub")),
        namespaced: true,
        watchable: true,
        promised: true,
    };
    let tubs = connection.objects(&tub, Some("demo"));
    assert!(connection.find(&tubs, "t").await.unwrap().is_none());
    server.set_mood(Mood::Down);
    assert!(connection.find(&tubs, "t").await.is_err(), "silence is no absence");
}
