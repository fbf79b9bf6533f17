//! The cases: what the adapter promises its users.

use anyhow::{Result, ensure};
use krake_integration::wait::ROK_HANG_GUARD;
use serde_json::{Value, json};

use super::world::{APP, SPACE, World};
use crate::api::{APPLY, MERGE, Reply, STRATEGIC};

pub(super) fn deployment(replicas: u32, env: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": SPACE},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "main", "image": "none", "env": env,
                    "ports": [{"containerPort": 80}]}]}}}})
}

fn service() -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": SPACE},
        "spec": {"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80}]}})
}

pub(super) fn settings(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": SPACE}, "data": data})
}

pub(super) fn env(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"name": name, "value": "1"})).collect()
}

pub(super) fn gone(reply: &Reply) -> bool {
    reply.code == 404
}

/// What is compared of an application: its state, and what its copies say.
pub(super) fn told(application: &Value) -> Value {
    let copies = application["status"]["copies"].as_array().cloned().unwrap_or_default();
    let copies: Vec<Value> = copies
        .iter()
        .map(|copy| {
            let conditions = copy["conditions"].as_array().into_iter().flatten();
            // Before 1.25 nothing is validated, and that is told; what was found by validation is for a case of its own.
            let conditions = conditions
                .filter(|condition| condition["type"] != "Validated" || condition["status"] == "FALSE");
            let mut conditions: Vec<Value> = conditions
                .map(|condition| json!([condition["type"], condition["status"], condition["reason"]]))
                .collect();
            conditions.sort_by_key(Value::to_string);
            let kinds: Vec<&Value> =
                copy["inventory"].as_array().into_iter().flatten().map(|entry| &entry["kind"]).collect();
            json!({"phase": copy["phase"], "conditions": conditions, "inventory": kinds})
        })
        .collect();
    json!({"state": application["status"]["state"], "reason": application["status"]["reason"]["code"], "copies": copies})
}

/// The only copy's condition `Applied`.
pub(super) fn applied(application: &Value) -> &str {
    let conditions = application["status"]["copies"][0]["conditions"].as_array();
    let mut applied = conditions.into_iter().flatten().filter(|condition| condition["type"] == "Applied");
    applied.next().and_then(|condition| condition["status"].as_str()).unwrap_or_default()
}

/// Waits until the application runs as its present spec says.
pub(super) async fn runs(world: &World<'_>) -> Result<Value> {
    let present = |app: &Value| {
        let copy = &app["status"]["copies"][0];
        app["status"]["state"] == "RUNNING"
            && copy["phase"] == "RUNNING"
            && copy["observed_generation"] == app["metadata"]["generation"]
    };
    world.until_application("to run", present).await
}

/// Waits until the cluster does not take the application.
pub(super) async fn fails(world: &World<'_>) -> Result<Value> {
    let refused = |app: &Value| app["status"]["state"] == "FAILED" && applied(app) == "FALSE";
    world.until_application("to fail", refused).await
}

pub(super) async fn deploy(world: &mut World<'_>) -> Result<()> {
    let manifest = [deployment(2, env(&["A"])), service(), settings(json!({"k": "v"}))];
    world.run(&manifest, &[]).await?;
    let seen = |app: &Value| {
        let status = &app["status"];
        status["container_health"]["running_pods"] == 2 && status["services"]["web"].is_string()
    };
    world.until_application("its health", seen).await?;
    let application = runs(world).await?;
    world.note("application", told(&application));
    let address = application["status"]["services"]["web"].as_str().unwrap_or_default();
    let port = address.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
    world.note("the Service has an address", json!(port.is_some_and(|port| port >= 30_000)));
    for path in [
        world.api.apps("deployments/web"),
        world.api.core("services/web"),
        world.api.core("configmaps/settings"),
    ] {
        let object = world.api.until(&path, |reply| reply.code == 200).await?;
        let marks = |field: &str| -> Vec<String> {
            let all = object.body["metadata"][field].as_object().into_iter().flatten();
            all.map(|(name, _)| name.clone()).filter(|name| name.starts_with("krake.cloud/")).collect()
        };
        let managers = object.body["metadata"]["managedFields"].as_array().into_iter().flatten();
        let ours: Vec<&Value> =
            managers.filter(|entry| entry["manager"] == "krake").map(|entry| &entry["operation"]).collect();
        world.note(&path, json!([marks("labels"), marks("annotations"), ours]));
    }
    world.remove().await?;
    Ok(())
}

pub(super) async fn drift(world: &mut World<'_>) -> Result<()> {
    world.run(&[deployment(1, env(&["A"])), settings(json!({"k": "v"}))], &[]).await?;
    let path = world.api.core("configmaps/settings");
    // What the manifest does not name is nobody's business here.
    world.patch(&path, MERGE, &json!({"data": {"k": "changed", "theirs": "stays"}})).await?;
    let map = world.api.until(&path, |reply| reply.body["data"]["k"] == "v").await?;
    world.note("the map", map.body["data"].clone());
    let path = world.api.apps("deployments/web");
    let evil = json!({"spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "main", "image": "evil"}]}}}});
    world.patch(&path, STRATEGIC, &evil).await?;
    let image = "/spec/template/spec/containers/0/image";
    let back = |reply: &Reply| reply.text(image) == "none" && reply.body["spec"]["replicas"] == 1;
    world.api.until(&path, back).await?;
    let stolen = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"k": "stolen"}});
    let map = world.api.core("configmaps/settings");
    let forced = format!("{map}?force=true&fieldManager=thief");
    world.api.call(reqwest::Method::PATCH, &forced, APPLY, Some(stolen.to_string())).await?.expect(200)?;
    world.api.until(&map, |reply| reply.body["data"]["k"] == "v").await?;
    let application = runs(world).await?;
    world.note("application", application["status"]["state"].clone());
    world.remove().await
}

pub(super) async fn recreated(world: &mut World<'_>) -> Result<()> {
    world.run(&[deployment(1, env(&[])), settings(json!({"k": "v"}))], &[]).await?;
    for path in [world.api.core("configmaps/settings"), world.api.apps("deployments/web")] {
        let before = world.api.until(&path, |reply| reply.code == 200).await?;
        world.delete(&path).await?;
        let other =
            |reply: &Reply| reply.code == 200 && reply.text("/metadata/uid") != before.text("/metadata/uid");
        world.api.until(&path, other).await?;
    }
    let application = runs(world).await?;
    world.note("application", application["status"]["state"].clone());
    world.remove().await
}

pub(super) async fn pruned(world: &mut World<'_>) -> Result<()> {
    world
        .run(&[deployment(1, env(&["A", "B"])), settings(json!({"k": "v", "l": "w"})), service()], &[])
        .await?;
    // Not once more applied yet, so the fields that go were created, not applied.
    let less = [deployment(1, env(&["B"])), settings(json!({"l": "w"}))];
    world.application("update", &less, &["--wait", "--timeout", ROK_HANG_GUARD]).await?;
    world.api.until(&world.api.core("services/web"), gone).await?;
    let data = json!({"l": "w"});
    world.api.until(&world.api.core("configmaps/settings"), |reply| reply.body["data"] == data).await?;
    let path = world.api.apps("deployments/web");
    let of = |reply: &Reply| reply.body.pointer("/spec/template/spec/containers/0/env").cloned();
    let found = world.api.until(&path, |reply| of(reply) == Some(env(&["B"]))).await?;
    world.note("variables", of(&found).unwrap_or_default());
    world
        .application(
            "update",
            &[deployment(1, env(&[])), settings(json!({"l": "w"}))],
            &["--wait", "--timeout", ROK_HANG_GUARD],
        )
        .await?;
    world.api.until(&path, |reply| of(reply).is_none()).await?;
    let application = runs(world).await?;
    world.note("application", told(&application));
    world.remove().await
}

pub(super) async fn custom(world: &mut World<'_>) -> Result<()> {
    let tub = json!({"apiVersion": "whole.example.org/v1", "kind": "Tub",
        "metadata": {"name": "one", "namespace": SPACE}, "spec": {"size": 1}});
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object",
        "properties": {"size": {"type": "integer"}}}}});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "tubs.whole.example.org"},
        "spec": {"group": "whole.example.org", "scope": "Namespaced", "names": {"kind": "Tub", "plural": "tubs"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}});
    world.run(&[tub.clone(), definition.clone()], &[]).await?;
    let path = format!("/apis/whole.example.org/v1/namespaces/{SPACE}/tubs/one");
    world.api.until(&path, |reply| reply.body["spec"]["size"] == 1).await?;
    world.patch(&path, MERGE, &json!({"spec": {"size": 7}})).await?;
    world.api.until(&path, |reply| reply.body["spec"]["size"] == 1).await?;
    let application = runs(world).await?;
    world.note("application", told(&application));
    world.remove().await?;
    world
        .api
        .until("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/tubs.whole.example.org", gone)
        .await?;
    Ok(())
}

pub(super) async fn current(world: &mut World<'_>) -> Result<()> {
    let pod = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "none"}]}});
    let object = |version: &str, kind: &str, spec: Value| json!({"apiVersion": version, "kind": kind, "metadata": {"name": "web", "namespace": SPACE}, "spec": spec});
    let labels = json!({"matchLabels": {"app": "web"}});
    let job = json!({"spec": {"template": pod}});
    let manifest = [
        object("batch/v1", "CronJob", json!({"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": job})),
        object(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            json!({"podSelector": {}, "policyTypes": ["Ingress"]}),
        ),
        object("policy/v1", "PodDisruptionBudget", json!({"minAvailable": 1, "selector": labels})),
    ];
    world.run(&manifest, &[]).await?;
    let application = runs(world).await?;
    world.note("application", told(&application));
    world.remove().await
}

pub(super) async fn refused(world: &mut World<'_>) -> Result<()> {
    let theirs = world.make(&world.api.core("services"), &service()).await?;
    let manifest = [settings(json!({"k": "v"})), service()];
    world.application("create", &manifest, &[]).await?;
    let application = fails(world).await?;
    world.note("application", told(&application));
    ensure!(application.to_string().contains("ObjectOwnedByOther"), "{application}");
    world.api.until(&world.api.core("configmaps/settings"), gone).await?;
    world.remove().await?;
    let stays = world.api.until(&world.api.core("services/web"), |reply| reply.code == 200).await?;
    ensure!(stays.body["metadata"]["uid"] == theirs["metadata"]["uid"], "{stays:?}");
    world.delete(&world.api.core("services/web")).await
}

pub(super) async fn adopted(world: &mut World<'_>) -> Result<()> {
    let path = world.api.core("configmaps/settings");
    let mut before = settings(json!({"k": "old", "theirs": "stays"}));
    before["metadata"]["labels"] = json!({"team": "blue"});
    let made = world.make(&world.api.core("configmaps"), &before).await?;
    world.run(&[settings(json!({"k": "v"})), deployment(1, env(&[]))], &["--adopt-existing"]).await?;
    let taken = world.api.until(&path, |reply| reply.body["data"]["k"] == "v").await?;
    ensure!(taken.body["metadata"]["uid"] == made["metadata"]["uid"], "{taken:?}");
    world.note("data", taken.body["data"].clone());
    world.remove().await?;
    world.api.until(&world.api.apps("deployments/web"), gone).await?;
    let released = world.api.until(&path, |reply| reply.code == 200).await?;
    world.note(
        "released",
        json!([
            released.body["metadata"]["labels"],
            released.body["metadata"]["annotations"],
            released.body["data"]
        ]),
    );
    world.delete(&path).await
}

pub(super) async fn deleted(world: &mut World<'_>) -> Result<()> {
    let theirs = json!({"metadata": {"name": "theirs"}, "data": {"k": "v"}});
    let bystander = world.make(&world.api.core("configmaps"), &theirs).await?;
    world.run(&[deployment(1, env(&[])), service(), settings(json!({"k": "v"}))], &[]).await?;
    world.remove().await?;
    for path in [
        world.api.apps("deployments/web"),
        world.api.core("services/web"),
        world.api.core("configmaps/settings"),
    ] {
        world.api.until(&path, gone).await?;
    }
    let path = world.api.core("configmaps/theirs");
    let stays = world.api.until(&path, |reply| reply.code == 200).await?;
    ensure!(stays.body == bystander, "{stays:?}");
    world.delete(&path).await
}

pub(super) async fn rejected(world: &mut World<'_>) -> Result<()> {
    let mut wrong = deployment(1, env(&[]));
    wrong["spec"]["selector"]["matchLabels"] = json!({"app": "other"});
    world.application("create", &[wrong], &[]).await?;
    let application = fails(world).await?;
    world.note("application", told(&application));
    world.application("update", &[deployment(1, env(&[]))], &[]).await?;
    let application = runs(world).await?;
    world.note("better", told(&application));
    world.remove().await
}

pub(super) async fn namespaced(world: &mut World<'_>) -> Result<()> {
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "whole-inner"}});
    let mut inside = settings(json!({"k": "v"}));
    inside["metadata"]["namespace"] = json!("whole-inner");
    world.run(&[inside, space], &[]).await?;
    let application = runs(world).await?;
    world.note("application", told(&application));
    world.remove().await?;
    world.api.until("/api/v1/namespaces/whole-inner", gone).await?;
    Ok(())
}

pub(super) async fn nodes(world: &mut World<'_>) -> Result<()> {
    world.until_cluster("ONLINE").await?;
    let list = world.api.until("/api/v1/nodes", |reply| reply.code == 200).await?;
    let path = format!("/api/v1/nodes/{}/status", list.text("/items/0/metadata/name"));
    let condition = |status: Value| json!({"status": {"conditions": [status]}});
    let pressed = condition(json!({"type": "ExamplePressure", "status": "True", "message": "full"}));
    world.patch(&path, STRATEGIC, &pressed).await?;
    let cluster = world.until_cluster("UNHEALTHY").await?;
    let known = cluster["status"]["nodes"].as_array().map(Vec::len);
    world.note("nodes", json!(known));
    let relieved = condition(json!({"type": "ExamplePressure", "$patch": "delete"}));
    world.patch(&path, STRATEGIC, &relieved).await?;
    world.until_cluster("ONLINE").await?;
    Ok(())
}

pub(super) async fn unreachable(world: &mut World<'_>) -> Result<()> {
    world.run(&[deployment(1, env(&[])), settings(json!({"k": "v"}))], &[]).await?;
    world.hang(true).await?;
    world.until_cluster("OFFLINE").await?;
    let lost = world
        .until_application("to be out of sight", |app| {
            app["status"]["state"] == "DEGRADED" && app["status"]["reason"]["code"] == "CLUSTER_NOT_REACHABLE"
        })
        .await?;
    ensure!(lost["status"]["copies"][0]["phase"] == "RUNNING", "the copy keeps its last phase: {lost}");
    world.note("copies", json!(lost["status"]["copies"].as_array().map(Vec::len)));
    world.hang(false).await?;
    world.until_cluster("ONLINE").await?;
    let back = world.until_application("to run", |app| app["status"]["state"] == "RUNNING").await?;
    world.note("application", back["status"]["state"].clone());
    // It is watched again, too.
    let path = world.api.core("configmaps/settings");
    world.patch(&path, MERGE, &json!({"data": {"k": "changed"}})).await?;
    world.api.until(&path, |reply| reply.body["data"]["k"] == "v").await?;
    world.remove().await?;
    ensure!(world.rok(&["kube", "app", "list"]).await.is_ok_and(|list| !list.contains(APP)), "it is gone");
    Ok(())
}
