//! What an API server refuses for a while: what runs goes on running, what failed recovers, and nothing runs twice.

use std::time::Duration;

use krake_integration::kubernetes::Kubernetes;
use krake_integration::kubernetes_api::KubernetesApi;
use krake_integration::stack::Settings;
use krake_integration::wait::{self, HANG_GUARD, ROK_HANG_GUARD};
use serde_json::{Value, json};

use crate::access::grant;
use crate::applications::{condition, settings, settings_in, space, web};
use crate::world::{SETTINGS, World, ground};

/// What the policy of a test says.
const WORDS: &str = "no Deployments here";
const ROLE: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles/krake-deploy";

/// Gives the cluster `one` another kubeconfig.
async fn use_token(world: &World, cluster: &Kubernetes, token: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), cluster.kubeconfig_with(token).to_string()).unwrap();
    let update = ["kube", "cluster", "update", "one", "-k", file.path().to_str().unwrap()];
    world.stack.rok_ok(&update).await.unwrap();
}

/// Waits until the cluster `one` shows a state.
async fn until_cluster(world: &World, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let look = async || {
        let shown = world.stack.rok_json(&["kube", "cluster", "get", "one"]).await.ok()?;
        wanted(&shown).then_some(shown)
    };
    wait::until(what, HANG_GUARD, look).await.unwrap()
}

/// Waits until the API server answers a create in these words.
async fn until_refused(api: &KubernetesApi, path: &str, object: &Value, words: &str) {
    let mut probe = object.clone();
    probe["metadata"]["name"] = json!("probe");
    let path = format!("{path}?dryRun=All");
    let look = async || {
        let refusal = api.create(&path, &probe).await.err()?;
        format!("{refusal:#}").contains(words).then_some(())
    };
    wait::until("the obstacle to be there", HANG_GUARD, look).await.unwrap();
}

/// Deletes the ConfigMap, which cannot be made again; `lift` takes the obstacle away, and a user asks for a retry.
async fn lost_and_refused(
    world: &World,
    api: &KubernetesApi,
    name: &str,
    words: &str,
    lift: impl AsyncFnOnce(),
) {
    assert!(api.delete(&settings_in(name)).await.unwrap());
    let refused = |shown: &Value| {
        let (status, message) = condition(shown, "Applied");
        status == "FALSE" && message.contains(words)
    };
    let shown = world.until_shown("the refusal", refused).await;
    assert_eq!(shown["status"]["copies"][0]["phase"], "RUNNING", "{shown:#}");
    assert_ne!(shown["status"]["state"], "FAILED", "{shown:#}");
    lift().await;
    world.stack.rok_ok(&["kube", "app", "retry", "app"]).await.unwrap();
    let back = async || api.get(&settings_in(name)).await.ok().flatten();
    wait::until("the ConfigMap to be back", HANG_GUARD, back).await.unwrap();
    let shown = world.until_running().await;
    assert_eq!(condition(&shown, "Applied").0, "TRUE", "{shown:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_is_refused_is_made_when_the_obstacle_is_gone() {
    const SPACE: &str = "obstacles";
    let Some((ground, _turn)) = ground().await else { return };
    let api = ground.one.api();
    let token = grant(api).await;
    space(api, SPACE).await;
    let world = World::unranked(ground).await;
    use_token(&world, &ground.one, &token).await;
    world.run_on_one(&[settings(SPACE, "v"), web(SPACE, 1)]).await;
    let (maps, krake) = (format!("/api/v1/namespaces/{SPACE}/configmaps"), api.with_token(&token));

    // The right to write is taken away and given back.
    let role = api.get(ROLE).await.unwrap().unwrap();
    let mut reads = role["rules"].clone();
    for rule in reads.as_array_mut().unwrap() {
        rule["verbs"] = json!(["get", "list", "watch"]);
    }
    api.patch(ROLE, &json!({"rules": reads})).await.unwrap();
    until_refused(&krake, &maps, &settings(SPACE, "v"), "cannot create resource").await;
    let restore = async || drop(api.patch(ROLE, &json!({"rules": role["rules"]})).await.unwrap());
    lost_and_refused(&world, api, SPACE, "is forbidden", restore).await;

    // A quota is set and lifted.
    let quota = format!("/api/v1/namespaces/{SPACE}/resourcequotas");
    let none = json!({"metadata": {"name": "none"}, "spec": {"hard": {"count/configmaps": "0"}}});
    api.create(&quota, &none).await.unwrap();
    until_refused(&krake, &maps, &settings(SPACE, "v"), "exceeded quota").await;
    let lift = async || assert!(api.delete(&format!("{quota}/none")).await.unwrap());
    lost_and_refused(&world, api, SPACE, "exceeded quota", lift).await;

    // The namespace is deleted and made again: no retry is asked for.
    space(api, SPACE).await;
    let back = async || api.get(&settings_in(SPACE)).await.ok().flatten();
    wait::until("the ConfigMap in the new namespace", HANG_GUARD, back).await.unwrap();
    world.until_running().await;
    world.remove().await;
    api.delete(&format!("/api/v1/namespaces/{SPACE}")).await.unwrap();
}

/// A policy that keeps Deployments out of a namespace: paths and objects.
fn policy(space: &str) -> [(String, Value); 2] {
    let group = "/apis/admissionregistration.k8s.io/v1";
    let version = "admissionregistration.k8s.io/v1";
    let policy = json!({"apiVersion": version, "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "no-deployments"},
        "spec": {"failurePolicy": "Fail", "matchConstraints": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space}},
            "resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"],
                "resources": ["deployments"]}]},
            "validations": [{"expression": "false", "message": WORDS}]}});
    let binding = json!({"apiVersion": version, "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "no-deployments"},
        "spec": {"policyName": "no-deployments", "validationActions": ["Deny"]}});
    [
        (format!("{group}/validatingadmissionpolicies"), policy),
        (format!("{group}/validatingadmissionpolicybindings"), binding),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_the_best_cluster_refuses_runs_on_the_next_one() {
    const SPACE: &str = "refused";
    let Some((ground, _turn)) = ground().await else { return };
    if ground.one.minor() < 30 {
        // A quota is waited for until the deadline of the attempt.
        println!("this release has no policies that deny at once");
        return;
    }
    let (one, two) = (ground.one.api(), ground.two.api());
    tokio::join!(space(one, SPACE), space(two, SPACE));
    let policy = policy(SPACE);
    for (collection, object) in &policy {
        let name = object["metadata"]["name"].as_str().unwrap();
        one.delete(&format!("{collection}/{name}")).await.unwrap();
        one.create(collection, object).await.unwrap();
    }
    let deployments = format!("/apis/apps/v1/namespaces/{SPACE}/deployments");
    until_refused(one, &deployments, &web(SPACE, 1), WORDS).await;
    let world = World::start(ground).await;

    let anywhere = ["-L", "location in (DE, FR)"];
    world.application("create", &[settings(SPACE, "v"), web(SPACE, 1)], &anywhere).await;
    let shown = world.until_running().await;
    assert_eq!(shown["status"]["running_on"]["name"], "two", "{shown:#}");
    assert_eq!(
        one.get(&settings_in(SPACE)).await.unwrap(),
        None,
        "nothing is left on the cluster that refused"
    );
    world.remove().await;

    // Where no other cluster will do it has failed, and runs when the obstacle is gone.
    world.application("create", &[settings(SPACE, "v"), web(SPACE, 1)], &["-L", "location is DE"]).await;
    let failed = |shown: &Value| shown["status"]["state"] == "FAILED";
    let shown = world.until_shown("the application to be FAILED", failed).await;
    assert!(condition(&shown, "Applied").1.contains(WORDS), "{shown:#}");
    for (collection, object) in policy.iter().rev() {
        let name = object["metadata"]["name"].as_str().unwrap();
        assert!(one.delete(&format!("{collection}/{name}")).await.unwrap());
    }
    let accepted = async || {
        let mut probe = web(SPACE, 1);
        probe["metadata"]["name"] = json!("probe");
        one.create(&format!("{deployments}?dryRun=All"), &probe).await.ok()
    };
    wait::until("the obstacle to be gone", HANG_GUARD, accepted).await.unwrap();
    world.stack.rok_ok(&["kube", "app", "retry", "app"]).await.unwrap();
    world.until_running().await;
    world.remove().await;
    for api in [one, two] {
        api.delete(&format!("/api/v1/namespaces/{SPACE}")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_were_withdrawn_move_nothing() {
    const SPACE: &str = "withdrawn";
    let Some((ground, _turn)) = ground().await else { return };
    let (one, two) = (ground.one.api(), ground.two.api());
    let token = grant(one).await;
    tokio::join!(space(one, SPACE), space(two, SPACE));
    // A cluster that was silent would be left as soon as that is known.
    let world =
        World::start_with(ground, Settings { offline_grace: Duration::from_secs(1), ..SETTINGS }).await;
    use_token(&world, &ground.one, &token).await;
    let anywhere = ["-L", "location in (DE, FR)", "--wait", "--timeout", ROK_HANG_GUARD];
    world.application("create", &[settings(SPACE, "v")], &anywhere).await;
    let path = settings_in(SPACE);
    let uid = one.get(&path).await.unwrap().unwrap()["metadata"]["uid"].clone();

    assert!(one.delete("/api/v1/namespaces/krake/secrets/krake-token").await.unwrap());
    let refused = |shown: &Value| {
        let conditions = shown["status"]["conditions"].as_array().into_iter().flatten();
        let mut reachable = conditions.filter(|condition| condition["type"] == "Reachable");
        reachable.any(|reachable| reachable["status"] == "FALSE" && reachable["reason"] == "Unauthorized")
    };
    until_cluster(&world, "the credentials to be refused", refused).await;
    // The scheduler, which has seen that too, places what is new elsewhere.
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut other = settings(SPACE, "v");
    other["metadata"]["name"] = json!("other");
    std::fs::write(file.path(), other.to_string()).unwrap();
    let create = ["kube", "app", "create", "-f", file.path().to_str().unwrap(), "other"];
    world.stack.rok_ok(&[&create[..], &anywhere].concat()).await.unwrap();
    let shown = world.stack.rok_json(&["kube", "app", "get", "other"]).await.unwrap();
    assert_eq!(shown["status"]["running_on"]["name"], "two", "{shown:#}");
    let shown = world.stack.rok_json(&["kube", "app", "get", "app"]).await.unwrap();
    assert_eq!(shown["status"]["copies"].as_array().unwrap().len(), 1, "{shown:#}");
    assert_eq!(two.get(&path).await.unwrap(), None, "it runs on, and once");

    use_token(&world, &ground.one, &grant(one).await).await;
    world.until_running().await;
    assert_eq!(one.get(&path).await.unwrap().unwrap()["metadata"]["uid"], uid);
    // It is looked after again.
    one.patch(&path, &json!({"data": {"value": "changed"}})).await.unwrap();
    ground.one.wait_for(&path, HANG_GUARD, |map| map["data"]["value"] == "v").await.unwrap();
    world.remove().await;
    let delete = ["kube", "app", "delete", "other", "--wait", "--timeout", ROK_HANG_GUARD];
    world.stack.rok_ok(&delete).await.unwrap();
    for api in [one, two] {
        api.delete(&format!("/api/v1/namespaces/{SPACE}")).await.unwrap();
    }
}
