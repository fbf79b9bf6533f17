//! Objects that live on after they were applied: what others do to them, and what Kubernetes itself does.

use std::collections::BTreeSet;

use krake_integration::wait::{self, HANG_GUARD, ROK_HANG_GUARD};
use serde_json::{Value, json};

use crate::applications::{end, looked_after, settings, settings_in, space, web};
use crate::world::{World, ground};

#[tokio::test(flavor = "multi_thread")]
async fn marks_that_were_taken_off_are_put_back() {
    const SPACE: &str = "marks";
    let Some((ground, _turn)) = ground().await else { return };
    let api = ground.one.api();
    space(api, SPACE).await;
    let world = World::unranked(ground).await;
    world.run_on_one(&[settings(SPACE, "v"), web(SPACE, 1)]).await;
    let path = settings_in(SPACE);
    let before = api.get(&path).await.unwrap().unwrap();
    let labels = before["metadata"]["labels"].as_object().unwrap();
    let marks: Vec<_> = labels.keys().filter(|label| label.starts_with("krake.cloud/")).collect();
    assert!(marks.len() > 1, "{labels:?}");
    for mark in marks {
        let patch = json!({"metadata": {"labels": {mark: null}}});
        api.patch(&path, &patch).await.unwrap();
        let whole = |map: &Value| map["metadata"]["labels"] == before["metadata"]["labels"];
        let after = ground.one.wait_for(&path, HANG_GUARD, whole).await.unwrap();
        assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    }
    looked_after(&ground.one, SPACE).await;
    world.until_running().await;
    end(world, api, SPACE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_kubernetes_collected_is_not_run_again() {
    const SPACE: &str = "collected";
    let Some((ground, _turn)) = ground().await else { return };
    if ground.one.minor() < 23 {
        println!("this release collects no finished Jobs");
        return;
    }
    let api = ground.one.api();
    space(api, SPACE).await;
    let world = World::unranked(ground).await;
    // Without completions it is done at once, without a pod, which would never end on a hollow node.
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once", "namespace": SPACE},
        "spec": {"completions": 0, "ttlSecondsAfterFinished": 1, "template": {"spec":
            {"restartPolicy": "Never", "containers": [{"name": "main", "image": "none"}]}}}});
    world.application("create", &[settings(SPACE, "v"), job], &["-L", "location is DE"]).await;
    let path = format!("/apis/batch/v1/namespaces/{SPACE}/jobs/once");
    world.until_running().await;
    ground.one.wait_for_absence(&path, HANG_GUARD).await.unwrap();
    for _ in 0..3 {
        looked_after(&ground.one, SPACE).await;
        assert_eq!(api.get(&path).await.unwrap(), None, "it was made again");
    }
    world.until_running().await;
    // Every Job that there ever was has left its events.
    let of_jobs = async || {
        let events = api.list(&format!("/api/v1/namespaces/{SPACE}/events")).await.ok()?;
        let of_jobs = events.iter().map(|event| &event["involvedObject"]).filter(|it| it["kind"] == "Job");
        let uids: BTreeSet<_> = of_jobs.map(|job| job["uid"].to_string()).collect();
        (!uids.is_empty()).then_some(uids)
    };
    let jobs = wait::until("the events of the Job", HANG_GUARD, of_jobs).await.unwrap();
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    end(world, api, SPACE).await;
}

fn autoscaler(version: &str, space: &str, metrics: (&str, Value)) -> Value {
    let mut object = json!({"apiVersion": version, "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": space},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 3, "maxReplicas": 5}});
    object["spec"][metrics.0] = metrics.1;
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaler_scales_and_lives_on_under_a_later_version() {
    const SPACE: &str = "scaled";
    let Some((ground, _turn)) = ground().await else { return };
    let api = ground.one.api();
    space(api, SPACE).await;
    let world = World::unranked(ground).await;
    let first = autoscaler("autoscaling/v1", SPACE, ("targetCPUUtilizationPercentage", json!(70)));
    world.run_on_one(&[settings(SPACE, "v"), web(SPACE, 1), first]).await;
    let deployment = format!("/apis/apps/v1/namespaces/{SPACE}/deployments/web");
    let scaled = |object: &Value| object["status"]["availableReplicas"] == 3;
    let before = ground.one.wait_for(&deployment, HANG_GUARD, scaled).await.unwrap();
    for _ in 0..3 {
        looked_after(&ground.one, SPACE).await;
    }
    world.until_running().await;
    let after = api.get(&deployment).await.unwrap().unwrap();
    assert_eq!(after["metadata"]["generation"], before["metadata"]["generation"], "nobody scaled it since");

    let path = format!("/apis/autoscaling/v1/namespaces/{SPACE}/horizontalpodautoscalers/web");
    let uid = api.get(&path).await.unwrap().unwrap()["metadata"]["uid"].clone();
    let version = if ground.one.minor() < 23 { "autoscaling/v2beta2" } else { "autoscaling/v2" };
    let cpu = json!([{"type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]);
    let later = autoscaler(version, SPACE, ("metrics", cpu));
    world.application("update", &[settings(SPACE, "v"), web(SPACE, 1), later], &[]).await;
    let shown = world.until_running().await;
    let object = api.get(&path).await.unwrap().unwrap();
    assert_eq!(object["metadata"]["uid"], uid, "the same object");
    assert_eq!(object["spec"]["targetCPUUtilizationPercentage"], 50, "{object:#}");
    let inventory = shown["status"]["copies"][0]["inventory"].as_array().unwrap().clone();
    let kinds: Vec<_> = inventory.iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "HorizontalPodAutoscaler").count(), 1, "{kinds:?}");
    end(world, api, SPACE).await;
    ground.one.wait_for_absence(&path, HANG_GUARD).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_takes_nothing_of_others_along() {
    const SPACE: &str = "taken";
    let Some((ground, _turn)) = ground().await else { return };
    let api = ground.one.api();
    let world = World::start(ground).await;
    let path = format!("/api/v1/namespaces/{SPACE}");
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}});
    let anywhere = ["-L", "location in (DE, FR)"];
    world.application("create", &[namespace, settings(SPACE, "v"), web(SPACE, 1)], &anywhere).await;
    let shown = world.until_running().await;
    assert_eq!(shown["status"]["running_on"]["name"], "one", "{shown:#}");
    let theirs = json!({"metadata": {"name": "theirs"}, "data": {"k": "dg=="}});
    let theirs = api.create(&format!("{path}/secrets"), &theirs).await.unwrap();

    ground.set(0.1, 0.8);
    let moved = |shown: &Value| {
        shown["status"]["running_on"]["name"] == "two"
            && shown["status"]["copies"].as_array().is_some_and(|copies| copies.len() == 1)
    };
    world.until_shown("the application to be on two alone", moved).await;
    ground.one.wait_for_absence(&settings_in(SPACE), HANG_GUARD).await.unwrap();
    let left = api.get(&path).await.unwrap().unwrap();
    assert!(left["metadata"]["deletionTimestamp"].is_null(), "{left:#}");
    let stays = api.get(&format!("{path}/secrets/theirs")).await.unwrap().unwrap();
    assert_eq!(stays["metadata"]["uid"], theirs["metadata"]["uid"]);
    world.remove().await;
    ground.two.wait_for_absence(&path, HANG_GUARD).await.unwrap();
    api.delete(&path).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_claims_volumes_does_not_move_for_a_better_score_unless_it_says_how() {
    const SPACE: &str = "claimed";
    let Some((ground, _turn)) = ground().await else { return };
    for cluster in [&ground.one, &ground.two] {
        space(cluster.api(), SPACE).await;
    }
    let world = World::start(ground).await;
    // Without replicas it is available at once: no volume is ever bound on a hollow node.
    let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": "store", "namespace": SPACE},
        "spec": {"replicas": 0, "serviceName": "store", "selector": {"matchLabels": {"app": "store"}},
            "template": {"metadata": {"labels": {"app": "store"}},
                "spec": {"containers": [{"name": "main", "image": "none"}]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}}}}]}});
    let path = format!("/apis/apps/v1/namespaces/{SPACE}/statefulsets/store");
    let anywhere = ["-L", "location in (DE, FR)"];
    world.application("create", std::slice::from_ref(&set), &anywhere).await;
    world.until_running().await;
    let before = ground.one.api().get(&path).await.unwrap().unwrap();
    world.create_echo_demo().await;
    world.runs_on("one").await;

    ground.set(0.1, 0.8);
    // Decided by the same numbers.
    world.runs_on("two").await;
    world.until_running().await;
    let after = ground.one.api().get(&path).await.unwrap().unwrap();
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(ground.two.api().get(&path).await.unwrap(), None);
    world.application("update", &[set], &["--migration-strategy", "create-first"]).await;
    ground.one.wait_for_absence(&path, HANG_GUARD).await.unwrap();
    assert!(ground.two.api().get(&path).await.unwrap().is_some());
    for application in ["app", "echo-demo"] {
        let delete = ["kube", "app", "delete", application, "--wait", "--timeout", ROK_HANG_GUARD];
        world.stack.rok_ok(&delete).await.unwrap();
    }
}
