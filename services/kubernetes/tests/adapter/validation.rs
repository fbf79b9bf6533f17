//! First writes: what later applies would refuse is never created, and what the server warns of is told.

use axum::http::Method;
use krake_kubernetes::object::apply::{ApplyError, Claim, apply};
use krake_kubernetes::object::validation::{FieldValidation, Findings, Verdict, Writes};
use krake_proto::condition::{find, reasons, types};
use krake_proto::krake::kubernetes::v1::{Application, Phase};
use krake_proto::krake::meta::v1::{Condition, ConditionStatus};
use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::apply::{NO_STARTS, config_map, deployment, far, identity, targets};
use crate::world::World;

pub(crate) async fn write(
    server: &std::sync::Arc<ApiServer>,
    manifest: &[Value],
    writes: Writes,
) -> (Result<(), ApplyError>, Findings) {
    let identity = identity("app-1");
    let targets = targets(server, manifest, &identity).await;
    let (inventory, starts, until) = (&[], &NO_STARTS, far());
    let claim = Claim {
        identity: &identity,
        inventory,
        other_user: &|_| None,
        exists: &|_| true,
        adopt_existing: false,
        writes,
        starts,
        until,
        secrets: &[],
    };
    let mut findings = Findings::default();
    let outcome = apply(&server.connection(), &targets, &claim, &mut Vec::new(), &mut findings).await;
    (outcome, findings)
}

/// The parameter `fieldValidation` of each write so far.
fn asked_for(server: &ApiServer) -> Vec<String> {
    let writes = server.asked().into_iter().filter(|request| !request.starts_with("GET "));
    let parameter = |request: String| {
        let (method, query) = request.split_once(' ')?;
        let value = query.split(['?', '&']).find_map(|pair| pair.strip_prefix("fieldValidation="))?;
        let tries = if query.contains("dryRun=All") { " (dry run)" } else { "" };
        Some(format!("{method} {value}{tries}"))
    };
    writes.filter_map(parameter).collect()
}

#[tokio::test]
async fn what_later_applies_would_refuse_is_never_created() {
    for validation in [FieldValidation::Strict, FieldValidation::Warn] {
        let server = ApiServer::start();
        // A POST would be accepted.
        let mut web = deployment("web");
        let twice = json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]);
        web["spec"]["template"]["spec"]["containers"][0]["env"] = twice;
        let (outcome, _) = write(&server, &[web], Writes::First(validation)).await;
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("duplicate entries for key"), "{error}");
        assert_eq!(server.get("deployments", "demo", "web"), None);
    }
}

#[tokio::test]
async fn first_writes_are_strict_and_repairs_are_not() {
    let server = ApiServer::start();
    let strict = Writes::First(FieldValidation::Strict);
    write(&server, &[config_map("a")], strict).await.0.unwrap();
    assert_eq!(asked_for(&server), ["PATCH Strict (dry run)", "POST Strict"]);
    let server = ApiServer::start();
    write(&server, &[config_map("a")], Writes::First(FieldValidation::Warn)).await.0.unwrap();
    assert_eq!(asked_for(&server), ["PATCH Warn (dry run)", "POST Warn"]);
    let server = ApiServer::start();
    let repair = Writes::Repair(FieldValidation::Strict);
    write(&server, &[config_map("a")], repair).await.0.unwrap();
    write(&server, &[config_map("a")], repair).await.0.unwrap();
    assert_eq!(asked_for(&server), ["POST Warn", "PATCH Warn"]);
    write(&server, &[config_map("a")], strict).await.0.unwrap();
    assert_eq!(asked_for(&server)[2..], ["PATCH Strict"], "an existing object: the apply itself");
}

#[tokio::test]
async fn what_cannot_be_tried_is_written_and_told() {
    let server = ApiServer::start();
    let unsupported = "admission webhook \"x.example\" does not support dry run";
    server.fail_dry_runs("configmaps", 400, "BadRequest", unsupported);
    let (outcome, findings) =
        write(&server, &[config_map("a")], Writes::First(FieldValidation::Strict)).await;
    outcome.unwrap();
    assert!(server.get("configmaps", "demo", "a").is_some());
    let Verdict::NotValidated(why) = findings.verdict(Some("v1.35.8")) else { panic!("silent") };
    assert!(why.starts_with("ConfigMap demo/a was not tried before") && why.contains("x.example"), "{why}");
}

async fn validated(world: &World, what: &str, condition: impl Fn(&Condition) -> bool) -> Condition {
    let found = |copies: Vec<krake_proto::krake::kubernetes::v1::Copy>| {
        find(&copies.first()?.conditions, types::VALIDATED).cloned().filter(|found| condition(found))
    };
    world.krake.until(what, |store| found(store.copies("app"))).await
}

#[tokio::test]
async fn warnings_reach_the_status_without_values_of_secrets_until_a_manifest_has_none() {
    let world = World::start().await;
    let server = world.server("one");
    server.warn(Method::POST, "secrets", "the value s3cr3t-password is weak");
    server.warn(Method::PATCH, "configmaps", "v1 ConfigMap is \"old\"");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "demo"},
        "stringData": {"password": "s3cr3t-password"}});
    world.krake.change(|store| store.create("app", &[config_map("a"), secret], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    let told = validated(&world, "the warnings told", |_| true).await;
    assert_eq!((told.status(), told.reason.as_str()), (ConditionStatus::False, reasons::WARNINGS));
    let expected = "ConfigMap demo/a: v1 ConfigMap is \"old\"; Secret demo/s: the value <withheld> is weak";
    assert_eq!(told.message, expected);
    // A repair that is not warned of says nothing about the manifest.
    server.heal();
    server.erase("configmaps", "demo", "a");
    world.until("repaired", || server.get("configmaps", "demo", "a").is_some()).await;
    world.krake.change(|store| {
        store.update("app", &[config_map("a"), config_map("b")]);
        store.bind("app", &["one"]);
    });
    let clean = |told: &Condition| told.observed_generation == 2 && told.status() == ConditionStatus::True;
    assert_eq!(validated(&world, "validated", clean).await.message, "");
    world.krake.change(|store| store.delete::<Application>("app"));
    world.krake.until("erased", |store| store.applications.is_empty().then_some(())).await;
    world.stop().await;
}

#[tokio::test]
async fn a_server_that_does_not_validate_is_told_of() {
    let world = World::prepare().await;
    world.server("one").set_version("v1.24.17");
    let mut world = world;
    world.start_adapter();
    world.krake.change(|store| store.create("app", &[config_map("a")], "one"));
    let told = validated(&world, "told", |_| true).await;
    assert_eq!((told.status(), told.reason.as_str()), (ConditionStatus::Unknown, reasons::NOT_VALIDATED));
    assert!(told.message.contains("Kubernetes v1.24.17 does not know fieldValidation"), "{}", told.message);
    world.stop().await;
}

#[tokio::test]
async fn what_a_server_says_of_a_repair_holds_no_value_of_a_secret_that_is_as_it_should_be() {
    let world = World::start().await;
    let server = world.server("one").clone();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "demo"},
        "stringData": {"password": "s3cr3t-password"}});
    world.krake.change(|store| store.create("app", &[secret, config_map("a")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    server.fail(Method::POST, "/configmaps", 403, "Forbidden", "it quotes s3cr3t-password");
    server.erase("configmaps", "demo", "a");
    let told = world.krake.until("the refusal told", |store| {
        let copies = store.copies("app");
        let applied = find(&copies.first()?.conditions, types::APPLIED)?;
        (applied.status() == ConditionStatus::False).then(|| applied.message.clone())
    });
    let told = told.await;
    assert!(told.contains("it quotes <withheld>"), "{told}");
    world.stop().await;
}
