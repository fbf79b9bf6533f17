//! Passes of an apply: an object that fails for a while keeps nobody else from being written.

use axum::http::Method;
use krake_kubernetes::object::apply::ApplyError;
use krake_kubernetes::object::validation::{FieldValidation, Writes};
use serde_json::json;

use crate::api_server::ApiServer;
use crate::apply::{apply_all, config_map, deployment};
use crate::validation::write;

const WEBHOOK: &str =
    "Internal error occurred: failed calling webhook \"validate.example\": connect: connection refused";

#[tokio::test]
async fn a_failure_that_may_pass_keeps_no_other_object_from_being_written() {
    let server = ApiServer::start();
    server.fail(Method::POST, "configmaps", 500, "InternalError", WEBHOOK);
    let manifest = [config_map("a"), deployment("server")];
    let error = apply_all(&server, &manifest, "app-1", false).await.unwrap_err();
    assert!(matches!(&error, ApplyError::Object { key, .. } if key.name == "a"), "{error}");
    assert_eq!(server.names("deployments"), ["server"], "what the webhook waits for");
    server.heal();
    apply_all(&server, &manifest, "app-1", false).await.unwrap();
    assert_eq!(server.names("configmaps"), ["a"]);
}

#[tokio::test]
async fn what_failed_is_tried_again_after_the_others() {
    let server = ApiServer::start();
    server.fail_once(Method::POST, "configmaps", 500, "InternalError", WEBHOOK);
    let applied = apply_all(&server, &[config_map("a"), config_map("b")], "app-1", false).await.unwrap();
    let path = "POST /api/v1/namespaces/demo/configmaps";
    assert_eq!(server.writes(), [path; 3]);
    let order: Vec<_> = applied.iter().map(|applied| applied.key.name.as_str()).collect();
    assert_eq!(order, ["a", "b"], "recorded in the order of the manifest");
}

#[tokio::test]
async fn what_needs_an_object_that_failed_is_not_tried() {
    let server = ApiServer::start();
    server.erase("namespaces", "", "demo");
    server.put_namespace("other");
    server.fail_dry_runs("/namespaces/demo", 500, "InternalError", WEBHOOK);
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}});
    let mut elsewhere = config_map("b");
    elsewhere["metadata"]["namespace"] = json!("other");
    let outcome = apply_all(&server, &[config_map("a"), elsewhere, space], "app-1", false).await;
    let error = outcome.unwrap_err().to_string();
    assert!(error.starts_with("Namespace demo"), "{error}");
    assert_eq!(server.names("configmaps"), ["b"]);
    let within = |request: &&String| request.contains("/namespaces/demo/") && !request.starts_with("GET");
    assert_eq!(server.requests().iter().find(within), None);
}

#[tokio::test]
async fn what_is_refused_for_good_ends_a_first_write() {
    let server = ApiServer::start();
    server.fail(Method::POST, "configmaps", 422, "Invalid", "not so");
    apply_all(&server, &[config_map("a"), deployment("d")], "app-1", false).await.unwrap_err();
    assert_eq!(server.names("deployments"), [""; 0]);
}

#[tokio::test]
async fn one_object_that_cannot_be_repaired_keeps_no_other_from_it() {
    let server = ApiServer::start();
    server.fail(Method::POST, "configmaps", 403, "Forbidden", "exceeded quota: q");
    let repair = Writes::Repair(FieldValidation::Strict);
    let (outcome, _) = write(&server, &[config_map("a"), deployment("d")], repair).await;
    let error = outcome.unwrap_err().to_string();
    assert!(error.starts_with("ConfigMap demo/a"), "{error}");
    assert_eq!(server.names("deployments"), ["d"]);
}

#[tokio::test]
async fn a_webhook_that_is_not_there_waits_for_what_a_silent_one_refuses() {
    let server = ApiServer::start();
    let hook = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "check"}});
    let manifest = [hook.clone(), config_map("a"), deployment("server")];
    server.fail(Method::POST, "configmaps", 500, "InternalError", WEBHOOK);
    apply_all(&server, &manifest, "app-1", false).await.unwrap_err();
    let hooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    let of_hooks = || server.writes().into_iter().filter(|write| write.contains(hooks)).collect::<Vec<_>>();
    assert_eq!(of_hooks(), [""; 0], "it would be in the way again");
    server.heal();
    apply_all(&server, &manifest, "app-1", false).await.unwrap();
    assert_eq!(of_hooks(), [format!("POST {hooks}")]);
    assert_eq!(server.writes().last(), of_hooks().last(), "it comes last");

    // One that is there is put right: that may be what the others wait for.
    server.fail(Method::PATCH, "configmaps", 500, "InternalError", WEBHOOK);
    let mut map = config_map("a");
    map["data"]["k"] = json!("changed");
    let mut right = hook;
    right["metadata"]["labels"] = json!({"right": "yes"});
    let repair = Writes::Repair(FieldValidation::Strict);
    write(&server, &[right, map], repair).await.0.unwrap_err();
    assert_eq!(of_hooks().last(), Some(&format!("PATCH {hooks}/check")));
}
