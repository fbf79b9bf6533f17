//! Removal: in waves, and without taking along what is somebody else's.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::cases::{deployment, env, gone, runs, settings};
use super::world::{APP, SPACE, World};
use crate::api::MERGE;

pub(super) async fn shared(world: &mut World<'_>) -> Result<()> {
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "whole-shared"}});
    let (mut inside, mut workload) = (settings(json!({"k": "v"})), deployment(1, env(&[])));
    inside["metadata"]["namespace"] = json!("whole-shared");
    workload["metadata"]["namespace"] = json!("whole-shared");
    world.run(&[space, inside, workload], &[]).await?;
    runs(world).await?;
    let secrets = "/api/v1/namespaces/whole-shared/secrets";
    world.make(secrets, &json!({"metadata": {"name": "theirs"}, "data": {"k": "dg=="}})).await?;
    world.remove().await?;
    for path in ["configmaps/settings", "secrets/theirs"] {
        let path = format!("/api/v1/namespaces/whole-shared/{path}");
        let wanted = if path.ends_with("theirs") { 200 } else { 404 };
        world.api.until(&path, |reply| reply.code == wanted).await?;
    }
    let left = world.api.until("/api/v1/namespaces/whole-shared", |reply| reply.code == 200).await?;
    ensure!(left.body["metadata"]["deletionTimestamp"].is_null(), "{left:?}");
    let marks = left.body["metadata"]["labels"].as_object().into_iter().flatten();
    let marks = marks.map(|(name, _)| name.as_str()).filter(|name| name.starts_with("krake.cloud/"));
    let marks: Vec<_> = marks.collect();
    ensure!(
        marks == ["krake.cloud/made-by"],
        "it belongs to no application, and the last one may remove it: {marks:?}"
    );
    world.delete("/api/v1/namespaces/whole-shared").await?;
    world.api.until("/api/v1/namespaces/whole-shared", gone).await?;
    Ok(())
}

pub(super) async fn waves(world: &mut World<'_>) -> Result<()> {
    let pipe = json!({"apiVersion": "waves.example.org/v1", "kind": "Pipe",
        "metadata": {"name": "one", "namespace": SPACE, "finalizers": ["waves.example.org/drain"]},
        "spec": {"size": 1}});
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object",
        "properties": {"size": {"type": "integer"}}}}});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "pipes.waves.example.org"},
        "spec": {"group": "waves.example.org", "scope": "Namespaced", "names": {"kind": "Pipe", "plural": "pipes"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}});
    world.run(&[pipe, definition, deployment(1, env(&[]))], &[]).await?;
    runs(world).await?;
    world.rok(&["kube", "app", "delete", APP]).await?;
    let path = format!("/apis/waves.example.org/v1/namespaces/{SPACE}/pipes/one");
    let going = |reply: &crate::api::Reply| reply.body["metadata"]["deletionTimestamp"].is_string();
    world.api.until(&path, going).await?;
    let waiting = |app: &Value| app.to_string().contains("its finalizers waves.example.org/drain");
    world.until_application("what it waits for", waiting).await?;
    for path in [
        world.api.apps("deployments/web"),
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/pipes.waves.example.org".to_owned(),
    ] {
        let stays = world.api.get(&path).await?;
        ensure!(
            stays.code == 200 && stays.body["metadata"]["deletionTimestamp"].is_null(),
            "{path}: {stays:?}"
        );
    }
    world.patch(&path, MERGE, &json!({"metadata": {"finalizers": null}})).await?;
    world.api.until(&world.api.apps("deployments/web"), gone).await?;
    world
        .api
        .until("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/pipes.waves.example.org", gone)
        .await?;
    Ok(())
}
