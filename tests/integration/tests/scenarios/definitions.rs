//! Kinds that are defined by others, and that go or lose a version while an application has an object of them.

use krake_integration::kubernetes_api::KubernetesApi;
use krake_integration::wait::{self, HANG_GUARD};
use serde_json::{Value, json};

use crate::applications::{condition, end, looked_after, settings, settings_in, space};
use crate::world::{World, ground};

/// The definition of a kind in two versions, of which the first may be withdrawn.
fn definition(kind: &str, first_is_served: bool) -> Value {
    let plural = format!("{}s", kind.to_lowercase());
    let version = |name: &str, served: bool, storage: bool| {
        json!({"name": name, "served": served, "storage": storage, "schema": {"openAPIV3Schema": {"type": "object",
            "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}}})
    };
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.kinds.example.org")},
        "spec": {"group": "kinds.example.org", "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
            "versions": [version("v1alpha1", first_is_served, false), version("v1", true, true)]}})
}

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Makes the definition by hand, and waits until the kind is served.
async fn define(api: &KubernetesApi, definition: &Value, served: &str) {
    let name = definition["metadata"]["name"].as_str().unwrap();
    let made = async || {
        // One of the same name may still be on its way out.
        api.apply(&format!("{DEFINITIONS}/{name}"), definition).await.ok()?;
        let kinds = api.get(&format!("/apis/kinds.example.org/{served}")).await.ok()??;
        let mut kinds = kinds["resources"].as_array()?.iter();
        kinds.any(|kind| kind["kind"] == definition["spec"]["names"]["kind"]).then_some(())
    };
    wait::until("the kind to be served", HANG_GUARD, made).await.unwrap();
}

fn resource(kind: &str, version: &str, space: &str) -> Value {
    json!({"apiVersion": format!("kinds.example.org/{version}"), "kind": kind,
        "metadata": {"name": "one", "namespace": space}, "spec": {"size": 1}})
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_kind_that_it_needs_an_application_is_not_running() {
    const SPACE: &str = "undefined";
    let Some((ground, _turn)) = ground().await else { return };
    let api = ground.one.api();
    space(api, SPACE).await;
    let definition = definition("Tub", true);
    define(api, &definition, "v1").await;
    let mut world = World::unranked(ground).await;
    world.run_on_one(&[settings(SPACE, "v"), resource("Tub", "v1", SPACE)]).await;

    // The definition and its objects go while Krake is down.
    world.stack.kubernetes.process.kill().unwrap();
    let path = format!("{DEFINITIONS}/tubs.kinds.example.org");
    assert!(api.delete(&path).await.unwrap());
    assert!(api.delete(&settings_in(SPACE)).await.unwrap());
    ground.one.wait_for_absence(&path, HANG_GUARD).await.unwrap();
    world.stack.kubernetes.process.restart().unwrap();
    world.stack.kubernetes.ready().await.unwrap();
    let told = |shown: &Value| {
        shown["status"]["state"] != "RUNNING" && condition(shown, "Available").1.contains("Tub")
    };
    world.until_shown("the missing kind to be named", told).await;
    // What is not of that kind is repaired.
    ground.one.wait_for(&settings_in(SPACE), HANG_GUARD, |map| map["data"]["value"] == "v").await.unwrap();
    assert_ne!(world.until_shown("its state", |_| true).await["status"]["state"], "RUNNING");
    // With the kind the object comes back by itself.
    define(api, &definition, "v1").await;
    world.until_running().await;
    let tub = format!("/apis/kinds.example.org/v1/namespaces/{SPACE}/tubs/one");
    assert_eq!(api.get(&tub).await.unwrap().unwrap()["spec"]["size"], 1);
    end(world, api, SPACE).await;
    api.delete(&path).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_whose_version_was_withdrawn_is_found_by_another() {
    const SPACE: &str = "versions";
    let Some((ground, _turn)) = ground().await else { return };
    let api = ground.one.api();
    space(api, SPACE).await;
    define(api, &definition("Sink", true), "v1alpha1").await;
    let world = World::unranked(ground).await;
    world.run_on_one(&[settings(SPACE, "v"), resource("Sink", "v1alpha1", SPACE)]).await;
    let path = format!("/apis/kinds.example.org/v1/namespaces/{SPACE}/sinks/one");
    let uid = api.get(&path).await.unwrap().unwrap()["metadata"]["uid"].clone();

    api.apply(&format!("{DEFINITIONS}/sinks.kinds.example.org"), &definition("Sink", false)).await.unwrap();
    let old = format!("/apis/kinds.example.org/v1alpha1/namespaces/{SPACE}/sinks/one");
    ground.one.wait_for_absence(&old, HANG_GUARD).await.unwrap();
    looked_after(&ground.one, SPACE).await;
    // The manifest with the version that is served changes the same object.
    world.application("update", &[settings(SPACE, "v"), resource("Sink", "v1", SPACE)], &[]).await;
    world.until_running().await;
    assert_eq!(api.get(&path).await.unwrap().unwrap()["metadata"]["uid"], uid);
    // By a version that is withdrawn before the application is deleted, too.
    define(api, &definition("Sink", true), "v1alpha1").await;
    world.application("update", &[settings(SPACE, "v"), resource("Sink", "v1alpha1", SPACE)], &[]).await;
    world.until_running().await;
    api.apply(&format!("{DEFINITIONS}/sinks.kinds.example.org"), &definition("Sink", false)).await.unwrap();
    ground.one.wait_for_absence(&old, HANG_GUARD).await.unwrap();
    world.remove().await;
    assert_eq!(api.get(&path).await.unwrap(), None, "it was said to be deleted");
    api.delete(&format!("/api/v1/namespaces/{SPACE}")).await.unwrap();
    api.delete(&format!("{DEFINITIONS}/sinks.kinds.example.org")).await.unwrap();
}
