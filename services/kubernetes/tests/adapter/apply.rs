//! Applying: all or nothing, and never over somebody else's object.

use std::sync::Arc;

use axum::http::Method;
use krake_kubernetes::cluster::discovery::Discovery;
use krake_kubernetes::object::apply::{AppliedObject, ApplyError, Claim, apply};
use krake_kubernetes::object::autoscaler::Replicas;
use krake_kubernetes::object::ownership::Refusal;
use krake_kubernetes::object::prepare::{Target, prepare_all};
use krake_kubernetes::object::validation::{FieldValidation, Findings, Writes};
use krake_kubernetes::object::{
    ADOPTED_ANNOTATION, APPLICATION_LABEL, EPOCH_ANNOTATION, INSTALLATION_LABEL, Identity,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api_server::ApiServer;
use crate::world::HANG_GUARD;

/// A manifest that was not accepted before.
pub(crate) const FIRST: Writes = Writes::First(FieldValidation::Strict);

/// Nothing was scaled elsewhere.
pub(crate) static NO_STARTS: Replicas = Replicas::new();

pub(crate) fn identity(application: &str) -> Identity {
    Identity {
        installation: "inst".into(),
        application: application.into(),
        cluster: "c".into(),
        epoch: "e1".into(),
    }
}

pub(crate) fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "demo"}, "data": {"k": "v"}})
}

pub(crate) fn deployment(name: &str) -> Value {
    let labels = json!({"app": name});
    let containers = json!([{"name": "app", "image": "registry.example/app"}]);
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "demo"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}}}})
}

/// Somebody else's object, as it is stored.
pub(crate) fn labelled(mut object: Value, installation: &str, application: &str) -> Value {
    object["metadata"]["labels"] = json!({INSTALLATION_LABEL: installation, APPLICATION_LABEL: application});
    if object["kind"] == "ConfigMap" {
        object["data"] = json!({"k": "theirs"});
    }
    object
}

pub(crate) async fn targets(server: &Arc<ApiServer>, manifest: &[Value], identity: &Identity) -> Vec<Target> {
    let discovery = Discovery::new(server.connection());
    let mut resolved = Vec::new();
    for document in manifest {
        let (api_version, kind) =
            (document["apiVersion"].as_str().unwrap(), document["kind"].as_str().unwrap());
        resolved.push((document, discovery.resolve(api_version, kind).await.unwrap()));
    }
    prepare_all(&resolved, identity, "context-ns").unwrap()
}

/// When applies of tests end at the latest.
pub(crate) fn far() -> Instant {
    Instant::now() + HANG_GUARD
}

pub(crate) async fn apply_all(
    server: &Arc<ApiServer>,
    manifest: &[Value],
    application: &str,
    adopt: bool,
) -> Result<Vec<AppliedObject>, ApplyError> {
    let identity = identity(application);
    let targets = targets(server, manifest, &identity).await;
    let (inventory, starts) = (&[], &NO_STARTS);
    let until = far();
    let claim = Claim {
        identity: &identity,
        inventory,
        other_user: &|_| None,
        exists: &|_| true,
        adopt_existing: adopt,
        writes: FIRST,
        starts,
        until,
        secrets: &[],
    };
    let mut accepted = Vec::new();
    let mut findings = Findings::default();
    apply(&server.connection(), &targets, &claim, &mut accepted, &mut findings).await.map(|()| accepted)
}

fn occupied(outcome: Result<Vec<AppliedObject>, ApplyError>) -> Vec<String> {
    match outcome {
        Err(ApplyError::Refused(Refusal::OwnedByOther(occupied))) => {
            occupied.iter().map(ToString::to_string).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn objects_are_created_with_our_marks() {
    let server = ApiServer::start();
    server.erase("namespaces", "", "demo");
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}});
    let applied = apply_all(&server, &[config_map("c"), namespace], "app-1", false).await.unwrap();
    assert_eq!(server.writes(), ["POST /api/v1/namespaces", "POST /api/v1/namespaces/demo/configmaps"]);
    let stored = server.get("configmaps", "demo", "c").unwrap();
    assert_eq!(stored["metadata"]["labels"], json!({INSTALLATION_LABEL: "inst", APPLICATION_LABEL: "app-1"}));
    assert_eq!(stored["metadata"]["annotations"][EPOCH_ANNOTATION], "e1");
    let uid = applied[1].inventory_entry().uid;
    assert_eq!(uid.as_deref(), stored["metadata"]["uid"].as_str());
}

#[tokio::test]
async fn applying_again_changes_nothing() {
    let server = ApiServer::start();
    apply_all(&server, &[config_map("c")], "app-1", false).await.unwrap();
    // The first time, the fields that were created become fields that are applied.
    apply_all(&server, &[config_map("c")], "app-1", false).await.unwrap();
    let stored = server.get("configmaps", "demo", "c").unwrap();
    let books = stored["metadata"]["managedFields"].as_array().unwrap();
    let operations: Vec<_> = books.iter().map(|book| book["operation"].as_str().unwrap()).collect();
    assert_eq!(operations, ["Apply"]);
    apply_all(&server, &[config_map("c")], "app-1", false).await.unwrap();
    assert_eq!(server.get("configmaps", "demo", "c").unwrap(), stored);
}

#[tokio::test]
async fn one_object_of_another_application_refuses_all() {
    let server = ApiServer::start();
    let theirs = server.put("configmaps", labelled(config_map("shared"), "inst", "app-2"));
    let manifest = [config_map("mine"), deployment("mine"), config_map("shared")];
    let occupied = occupied(apply_all(&server, &manifest, "app-1", false).await);
    assert_eq!(occupied, ["ConfigMap demo/shared belongs to application app-2"]);
    assert_eq!(server.writes(), [""; 0]);
    assert_eq!(server.get("configmaps", "demo", "shared"), Some(theirs));
}

#[tokio::test]
async fn an_object_of_nobody_is_taken_only_by_adoption() {
    let server = ApiServer::start();
    server.put("configmaps", config_map("found"));
    assert_eq!(occupied(apply_all(&server, &[config_map("found")], "app-1", false).await).len(), 1);
    assert_eq!(server.writes(), [""; 0]);
    apply_all(&server, &[config_map("found")], "app-1", true).await.unwrap();
    let is_adopted = |server: &ApiServer| {
        let stored = server.get("configmaps", "demo", "found").unwrap();
        assert_eq!(stored["metadata"]["labels"][APPLICATION_LABEL], "app-1");
        assert_eq!(stored["metadata"]["annotations"][ADOPTED_ANNOTATION], "true");
    };
    is_adopted(&server);
    apply_all(&server, &[config_map("found")], "app-1", true).await.unwrap();
    is_adopted(&server);
}

#[tokio::test]
async fn a_namespace_that_existed_before_keeps_what_it_says() {
    let server = ApiServer::start();
    let namespace = |labels: Value| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo", "labels": labels}});
    server.put("namespaces", namespace(json!({"pod-security": "restricted"})));
    let wanted = namespace(json!({"pod-security": "privileged", "tier": "edge"}));
    for _ in 0..2 {
        apply_all(&server, std::slice::from_ref(&wanted), "app-1", true).await.unwrap();
        let labels = server.get("namespaces", "", "demo").unwrap()["metadata"]["labels"].clone();
        assert_eq!((&labels["pod-security"], &labels["tier"]), (&json!("restricted"), &json!("edge")));
    }
}

#[tokio::test]
async fn whoever_creates_first_wins() {
    let server = ApiServer::start();
    let theirs = labelled(config_map("c"), "inst", "app-2");
    server.race(Method::POST, "/api/v1/namespaces/demo/configmaps", {
        let theirs = theirs.clone();
        move |server| drop(server.put("configmaps", theirs))
    });
    let occupied = occupied(apply_all(&server, &[config_map("c")], "app-1", false).await);
    assert_eq!(occupied, ["ConfigMap demo/c belongs to application app-2"]);
    assert_eq!(server.get("configmaps", "demo", "c").unwrap()["data"], theirs["data"]);
}

#[tokio::test]
async fn our_own_earlier_create_is_taken_up() {
    let server = ApiServer::start();
    let ours = labelled(config_map("c"), "inst", "app-1");
    server.race(Method::POST, "/api/v1/namespaces/demo/configmaps", move |server| {
        server.put("configmaps", ours);
    });
    apply_all(&server, &[config_map("c")], "app-1", false).await.unwrap();
    assert_eq!(server.get("configmaps", "demo", "c").unwrap()["data"], json!({"k": "v"}));
}

#[tokio::test]
async fn an_object_that_was_replaced_meanwhile_is_not_overwritten() {
    let server = ApiServer::start();
    server.put("configmaps", labelled(config_map("c"), "inst", "app-1"));
    let theirs = labelled(config_map("c"), "inst", "app-2");
    server.race(Method::PATCH, "/api/v1/namespaces/demo/configmaps/c", {
        let theirs = theirs.clone();
        move |server| {
            server.erase("configmaps", "demo", "c");
            server.put("configmaps", theirs);
        }
    });
    let occupied = occupied(apply_all(&server, &[config_map("c")], "app-1", false).await);
    assert_eq!(occupied.len(), 1);
    assert_eq!(server.get("configmaps", "demo", "c").unwrap()["data"], theirs["data"]);
}

#[tokio::test]
async fn an_object_that_vanished_meanwhile_is_created() {
    let server = ApiServer::start();
    server.put("configmaps", labelled(config_map("c"), "inst", "app-1"));
    server.race(Method::PATCH, "/api/v1/namespaces/demo/configmaps/c", |server| {
        server.erase("configmaps", "demo", "c");
    });
    apply_all(&server, &[config_map("c")], "app-1", false).await.unwrap();
    assert_eq!(server.writes().last().unwrap(), "POST /api/v1/namespaces/demo/configmaps");
    assert_eq!(server.get("configmaps", "demo", "c").unwrap()["data"], json!({"k": "v"}));
}

#[tokio::test]
async fn adoption_takes_exactly_what_it_saw() {
    let server = ApiServer::start();
    server.put("configmaps", config_map("found"));
    let theirs = labelled(config_map("found"), "inst", "app-2");
    server.race(Method::PATCH, "/api/v1/namespaces/demo/configmaps/found", move |server| {
        server.put("configmaps", theirs);
    });
    assert_eq!(occupied(apply_all(&server, &[config_map("found")], "app-1", true).await).len(), 1);
}

#[tokio::test]
async fn an_object_that_is_going_is_waited_for() {
    let server = ApiServer::start();
    let mut going = labelled(config_map("c"), "inst", "app-1");
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    server.put("configmaps", going);
    let outcome = apply_all(&server, &[config_map("b"), config_map("c")], "app-1", false).await;
    assert!(matches!(outcome, Err(ApplyError::Refused(Refusal::Terminating(_)))), "{outcome:?}");
    assert_eq!(server.writes(), [""; 0]);
}

#[tokio::test]
async fn no_value_of_a_secret_is_in_an_error_and_its_end_stays() {
    let server = ApiServer::start();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "demo"},
        "stringData": {"password": "s3cr3t-password"}});
    let quoted = format!("{} czNjcjN0LXBhc3N3b3Jk s3cr3t-password: field is immutable", "x".repeat(5000));
    server.fail(Method::POST, "secrets", 422, "Invalid", &quoted);
    let error = apply_all(&server, &[secret], "app-1", false).await.unwrap_err();
    for text in [error.to_string(), format!("{error:?}")] {
        assert!(!text.contains("czNj") && !text.contains("s3cr3t"), "{text}");
    }
    let shown = error.to_string();
    assert!(shown.starts_with("Secret demo/s: ") && shown.ends_with("field is immutable"), "{shown}");
    assert!(shown.len() < 700, "{}", shown.len());
}

#[tokio::test]
async fn an_apply_ends_when_its_time_is_over_and_has_accepted_something() {
    let server = ApiServer::start();
    let identity = identity("app-1");
    let manifest = ["a", "b", "c"].map(config_map);
    let targets = targets(&server, &manifest, &identity).await;
    let (inventory, starts, until) = (&[], &NO_STARTS, Instant::now());
    let claim = Claim {
        identity: &identity,
        inventory,
        other_user: &|_| None,
        exists: &|_| true,
        adopt_existing: false,
        writes: FIRST,
        starts,
        until,
        secrets: &[],
    };
    let mut accepted = Vec::new();
    let ended = apply(&server.connection(), &targets, &claim, &mut accepted, &mut Findings::default()).await;
    assert_eq!(ended, Err(ApplyError::Unfinished { accepted: 1, of: 3 }));
    assert_eq!((accepted.len(), server.names("configmaps")), (1, vec!["a".to_owned()]));
}
