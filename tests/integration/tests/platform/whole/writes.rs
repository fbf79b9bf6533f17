//! First writes of a manifest, and what is left to others.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::cases::{deployment, env, fails, runs, settings, told};
use super::world::{SPACE, World};
use crate::api::MERGE;

/// The condition `Validated` of the only copy: status and message.
fn validated(application: &Value) -> Option<(&str, &str)> {
    let conditions = application["status"]["copies"][0]["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == "Validated")?;
    Some((found["status"].as_str()?, found["message"].as_str()?))
}

pub(super) async fn duplicates(world: &mut World<'_>) -> Result<()> {
    let mut ports = deployment(1, env(&[]));
    let container = ports.pointer_mut("/spec/template/spec/containers/0").context("a container")?;
    container["ports"] = json!([{"containerPort": 80}, {"containerPort": 80}]);
    for wrong in [deployment(1, env(&["A", "A"])), ports] {
        world.application("create", &[wrong], &[]).await?;
        let application = fails(world).await?;
        world.note("application", told(&application));
        ensure!(application.to_string().contains("duplicate entries for key"), "{application}");
        let path = world.api.apps("deployments/web");
        ensure!(world.api.get(&path).await?.code == 404, "it was never created");
        world.remove().await?;
    }
    world.run(&[deployment(1, env(&["A"]))], &[]).await?;
    let application = runs(world).await?;
    let (status, message) = validated(&application).context("it is told")?;
    let clean = match world.validates() {
        true => (status, message) == ("TRUE", ""),
        false => status == "UNKNOWN" && message.contains("fieldValidation"),
    };
    ensure!(clean, "{application}");
    // An update with the mistake changes nothing, and the next one is accepted.
    world.application("update", &[deployment(1, env(&["A", "A"]))], &[]).await?;
    let refused = |app: &Value| super::cases::applied(app) == "FALSE";
    let application = world.until_application("the refusal", refused).await?;
    world.note("refused", told(&application));
    world.application("update", &[deployment(1, env(&["A", "B"]))], &[]).await?;
    runs(world).await?;
    world.remove().await
}

pub(super) async fn unknown_fields(world: &mut World<'_>) -> Result<()> {
    let mut typo = deployment(1, env(&["A"]));
    typo["spec"]["replcias"] = json!(3);
    typo["spec"]["template"]["spec"]["containers"][0]["imagePullpolicy"] = json!("Always");
    world.application("create", &[typo.clone()], &[]).await?;
    let application = fails(world).await?;
    world.note("refused", told(&application));
    ensure!(application.to_string().contains("replcias"), "{application}");
    world.remove().await?;

    world.run(&[typo.clone(), settings(json!({"k": "v"}))], &["--field-validation", "warn"]).await?;
    let application = runs(world).await?;
    world.note("warned", told(&application));
    let (status, message) = validated(&application).context("it is told")?;
    world.note("warnings", json!([status, message]));
    ensure!(message.contains("spec.replcias") && message.contains("imagePullpolicy"), "{message}");
    // What was accepted is accepted later too: a repair, and an update.
    let path = world.api.apps("deployments/web");
    world.patch(&path, MERGE, &json!({"spec": {"replicas": 2}})).await?;
    world.api.until(&path, |reply| reply.body["spec"]["replicas"] == 1).await?;
    typo["spec"]["replicas"] = json!(2);
    world.application("update", &[typo, settings(json!({"k": "v"}))], &[]).await?;
    runs(world).await?;
    world.api.until(&path, |reply| reply.body["spec"]["replicas"] == 2).await?;
    world.remove().await
}

pub(super) async fn autoscaled(world: &mut World<'_>) -> Result<()> {
    let autoscaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": SPACE},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1, "maxReplicas": 5, "metrics": [{"type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}]}});
    let theirs = format!("/apis/autoscaling/v2/namespaces/{SPACE}/horizontalpodautoscalers");
    let (path, map) = (world.api.apps("deployments/web"), world.api.core("configmaps/settings"));
    let k = |value: &str| settings(json!({"k": value}));
    // First one of the application's own, then one that somebody else made.
    for own in [true, false] {
        let mut manifest = vec![deployment(1, env(&["A"])), k("v")];
        if own {
            manifest.push(autoscaler.clone());
        }
        world.run(&manifest, &[]).await?;
        runs(world).await?;
        if !own {
            world.make(&theirs, &autoscaler).await?;
        }
        world.patch(&path, MERGE, &json!({"spec": {"replicas": 2}})).await?;
        world.patch(&map, MERGE, &json!({"data": {"k": "changed"}})).await?;
        world.api.until(&map, |reply| reply.body["data"]["k"] == "v").await?;
        ensure!(world.api.get(&path).await?.body["spec"]["replicas"] == 2, "scaled back by a repair");
        // Nor does a changed manifest.
        manifest[0] = deployment(1, env(&["A", "B"]));
        world.application("update", &manifest, &[]).await?;
        let application = runs(world).await?;
        world.note("application", told(&application));
        let containers = "/spec/template/spec/containers/0/env/1/name";
        let object =
            world.api.until(&path, |reply| reply.body.pointer(containers) == Some(&json!("B"))).await?;
        ensure!(object.body["spec"]["replicas"] == 2, "scaled back by an update: {object:?}");
        world.remove().await?;
    }
    world.delete(&format!("{theirs}/web")).await
}
