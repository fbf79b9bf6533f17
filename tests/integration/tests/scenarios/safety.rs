//! What is changed by hand is put right, and what is not ours is left alone.

use krake_integration::wait::{self, HANG_GUARD, ROK_HANG_GUARD};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::applications::{settings, settings_in};
use crate::world::{DEPLOYMENT, DEPLOYMENTS, World, available, bystander, deployments, ground, repository};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_or_changed_by_hand_is_put_right() {
    let Some((ground, _turn)) = ground().await else { return };
    let api = ground.one.api();
    let world = World::start(ground).await;
    world.create_echo_demo().await;
    let before = api.get(DEPLOYMENT).await.unwrap().unwrap();

    let uid = &before["metadata"]["uid"];
    api.delete(DEPLOYMENT).await.unwrap();
    let deleted = Instant::now();
    ground.one.wait_for(DEPLOYMENT, HANG_GUARD, |object| object["metadata"]["uid"] != *uid).await.unwrap();
    println!("a deleted Deployment was back within {:.2?}", deleted.elapsed());
    ground.one.wait_for(DEPLOYMENT, HANG_GUARD, available).await.unwrap();

    let image = |object: &Value| object["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    let wanted = image(&before);
    let evil = json!({"spec": {"template": {"spec": {"containers": [{"name": "echo", "image": "evil:1"}]}}}});
    let changed = api.patch(DEPLOYMENT, &evil).await.unwrap().unwrap();
    assert_eq!(image(&changed), "evil:1");
    let at = Instant::now();
    ground.one.wait_for(DEPLOYMENT, HANG_GUARD, |object| image(object) == wanted).await.unwrap();
    println!("a changed image was reverted within {:.2?}", at.elapsed());

    // A field that the manifest does not name is nobody's business here.
    let foreign = json!({"metadata": {"annotations": {"team": "blue"}}, "spec": {"minReadySeconds": 1}});
    api.patch(DEPLOYMENT, &foreign).await.unwrap().unwrap();
    // A repair of something else would take it along, if anything did.
    api.patch(DEPLOYMENT, &json!({"spec": {"replicas": 1}})).await.unwrap().unwrap();
    ground.one.wait_for(DEPLOYMENT, HANG_GUARD, |object| object["spec"]["replicas"] == 2).await.unwrap();
    let now = api.get(DEPLOYMENT).await.unwrap().unwrap();
    assert_eq!(now["metadata"]["annotations"]["team"], "blue");
    assert_eq!(now["spec"]["minReadySeconds"], 1);

    world
        .stack
        .rok_ok(&["kube", "app", "delete", "echo-demo", "--wait", "--timeout", ROK_HANG_GUARD])
        .await
        .unwrap();
    assert!(deployments(api).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_has_one_owner() {
    let Some((ground, _turn)) = ground().await else { return };
    let api = ground.one.api();
    let world = World::start(ground).await;
    world.create_echo_demo().await;
    let stranger = bystander(api, "stranger").await;
    let before = api.get(DEPLOYMENT).await.unwrap().unwrap();

    let file = tempfile::NamedTempFile::new().unwrap();
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "second"}, "data": {"a": "b"}});
    let theirs = |name: &str| {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {
                "replicas": 7, "selector": {"matchLabels": {"app": "x"}},
                "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "x", "image": "x"}]}},
            },
        })
    };
    for name in ["echo-demo", "stranger"] {
        std::fs::write(file.path(), format!("{map}\n---\n{}\n", theirs(name))).unwrap();
        let create =
            ["kube", "app", "create", "-f", file.path().to_str().unwrap(), "-L", "location is DE", "second"];
        world.stack.rok_ok(&create).await.unwrap();
        let refused = async || {
            let shown = world.stack.rok_json(&["kube", "app", "get", "second"]).await.ok()?;
            let copy = &shown["status"]["copies"][0];
            let applied =
                copy["conditions"].as_array()?.iter().find(|condition| condition["type"] == "Applied")?;
            (applied["reason"] == "ObjectOwnedByOther").then(|| shown["status"]["state"].clone())
        };
        let state = wait::until("the second application to be refused", HANG_GUARD, refused).await.unwrap();
        assert_eq!(state, "FAILED");
        let configured = api.get("/api/v1/namespaces/default/configmaps/second").await.unwrap();
        assert!(configured.is_none(), "it is refused whole");
        world
            .stack
            .rok_ok(&["kube", "app", "delete", "second", "--wait", "--timeout", ROK_HANG_GUARD])
            .await
            .unwrap();
    }
    let after = api.get(DEPLOYMENT).await.unwrap().unwrap();
    assert_eq!(after["spec"], before["spec"], "nothing was changed");
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    let stays = deployments(api).await;
    assert!(stays.contains(&("stranger".to_owned(), stranger)), "nor removed: {stays:?}");
    api.delete(&format!("{DEPLOYMENTS}/stranger")).await.unwrap();
    world
        .stack
        .rok_ok(&["kube", "app", "delete", "echo-demo", "--wait", "--timeout", ROK_HANG_GUARD])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_deleted_hands_its_applications_over() {
    let Some((ground, _turn)) = ground().await else { return };
    let world = World::start(ground).await;
    world.create_echo_demo().await;
    world
        .stack
        .rok_ok(&["kube", "cluster", "delete", "one", "--wait", "--timeout", ROK_HANG_GUARD])
        .await
        .unwrap();
    world.runs_on("two").await;
    assert!(deployments(ground.one.api()).await.is_empty(), "the deleted cluster is clean");
    // With its last cluster an application waits; it does not go.
    world
        .stack
        .rok_ok(&["kube", "cluster", "delete", "two", "--wait", "--timeout", ROK_HANG_GUARD])
        .await
        .unwrap();
    let waits = async || {
        let shown = world.stack.rok_json(&["kube", "app", "get", "echo-demo"]).await.ok()?;
        (shown["status"]["state"] == "PENDING").then(|| shown["status"]["reason"]["code"].clone())
    };
    let reason = wait::until("the application to be PENDING", HANG_GUARD, waits).await.unwrap();
    assert_eq!(reason, "NO_SUITABLE_RESOURCE");
    assert!(deployments(ground.two.api()).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_cluster_fits_any_more_is_released_before_it_begins() {
    let Some((ground, _turn)) = ground().await else { return };
    let mut world = World::unranked(ground).await;
    world.stack.kubernetes.process.kill().unwrap();
    let manifest = [settings("default", "v")];
    world.application("create", &manifest, &["-L", "location in (DE, NL)"]).await;
    let is_bound = |shown: &Value| shown["status"]["scheduled_to"]["name"] == "one";
    world.until_shown("the application to be bound", is_bound).await;
    // Beside the other constraint: it has to be in NL.
    world.application("update", &manifest, &["-L", "location in (FR, NL)"]).await;
    let is_released = |shown: &Value| {
        let status = &shown["status"];
        let nowhere = status["scheduled_to"].is_null() && status["state"] == "PENDING";
        nowhere && status["reason"]["code"] == "NO_SUITABLE_RESOURCE"
    };
    world.until_shown("the application to be released, with a reason", is_released).await;
    world.stack.kubernetes.process.restart().unwrap();
    world.stack.rok_ok(&["kube", "cluster", "update", "two", "-l", "location=NL"]).await.unwrap();
    world.until_running().await;
    let path = settings_in("default");
    assert!(ground.one.api().get(&path).await.unwrap().is_none(), "nothing was begun where it must not run");
    world.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_krake_that_knows_nothing_deletes_nothing() {
    let Some((ground, _turn)) = ground().await else { return };
    let api = ground.one.api();
    let first = World::start(ground).await;
    first.create_echo_demo().await;
    let uid = api.get(DEPLOYMENT).await.unwrap().unwrap()["metadata"]["uid"].clone();
    drop(first);

    // Another installation, pointed at the same clusters, with an application that wants the same objects.
    let second = World::start(ground).await;
    let example = repository().join("examples/echo-demo.yaml");
    let create =
        ["kube", "app", "create", "-f", example.to_str().unwrap(), "-L", "location is DE", "echo-demo"];
    second.stack.rok_ok(&create).await.unwrap();
    let refused = async || {
        let shown = second.stack.rok_json(&["kube", "app", "get", "echo-demo"]).await.ok()?;
        (shown["status"]["state"] == "FAILED").then_some(())
    };
    wait::until("the second Krake to be refused", HANG_GUARD, refused).await.unwrap();
    second
        .stack
        .rok_ok(&["kube", "app", "delete", "echo-demo", "--wait", "--timeout", ROK_HANG_GUARD])
        .await
        .unwrap();
    for name in ["one", "two"] {
        second
            .stack
            .rok_ok(&["kube", "cluster", "delete", name, "--wait", "--timeout", ROK_HANG_GUARD])
            .await
            .unwrap();
    }
    let stays = api.get(DEPLOYMENT).await.unwrap().unwrap();
    assert_eq!(stays["metadata"]["uid"], uid, "the workload of the first Krake still runs");
    for path in [DEPLOYMENT, crate::world::SERVICE] {
        timeout(HANG_GUARD, api.delete(path)).await.unwrap().unwrap();
    }
}
