//! Admission webhooks that come with an application: its own objects are subject to them.

use krake_integration::kubernetes_api::KubernetesApi;
use krake_integration::wait::{self, HANG_GUARD};
use serde_json::{Value, json};

use crate::applications::{condition, space};
use crate::world::{World, ground};

const SPACE: &str = "hooked";
const HOOK: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/widget-check";
/// What an API server says that could not ask a webhook.
const NOT_ASKED: &str = "failed calling webhook";

fn ingress() -> String {
    format!("/apis/networking.k8s.io/v1/namespaces/{SPACE}/ingresses/site")
}

/// A manifest that lists the webhook first, then an object that it judges, and its server last. Hollow nodes run nothing, so
/// nothing ever answers the webhook.
fn manifest() -> [Value; 4] {
    let labels = json!({"app": "widget-webhook"});
    let server = json!({"name": "widget-webhook", "namespace": SPACE, "path": "/check"});
    let backend = json!({"service": {"name": "site", "port": {"number": 80}}});
    [
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "widget-check"},
            "webhooks": [{"name": "check.widgets.example.org", "admissionReviewVersions": ["v1"],
                "sideEffects": "None", "failurePolicy": "Fail", "timeoutSeconds": 1,
                "clientConfig": {"service": server},
                "rules": [{"apiGroups": ["networking.k8s.io"], "apiVersions": ["v1"], "resources": ["ingresses"],
                    "operations": ["CREATE", "UPDATE"]}]}]}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": "site", "namespace": SPACE},
            "spec": {"rules": [{"host": "site.example.org",
                "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "widget-webhook", "namespace": SPACE},
            "spec": {"selector": labels, "ports": [{"port": 443, "targetPort": 8443}]}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "widget-webhook", "namespace": SPACE},
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
                "spec": {"containers": [{"name": "c", "image": "widget-webhook:1"}]}}}}),
    ]
}

/// Waits until the API server asks the webhook, or does not any more.
async fn until_asked(api: &KubernetesApi, asked: bool) {
    let [_, mut probe, ..] = manifest();
    probe["metadata"]["name"] = json!("probe");
    let path = format!("/apis/networking.k8s.io/v1/namespaces/{SPACE}/ingresses?dryRun=All");
    let look = async || {
        let refusal = api.create(&path, &probe).await.err().map(|error| format!("{error:#}"));
        (refusal.is_some_and(|refusal| refusal.contains(NOT_ASKED)) == asked).then_some(())
    };
    wait::until("the API server to know of the webhook", HANG_GUARD, look).await.unwrap();
}

/// Deletes the Ingress, which the webhook lets nobody make again, and a Service; waits until the Service is back.
async fn ingress_cannot_be_repaired(world: &World, api: &KubernetesApi) {
    let service = format!("/api/v1/namespaces/{SPACE}/services/widget-webhook");
    until_asked(api, true).await;
    assert!(api.delete(&ingress()).await.unwrap());
    assert!(api.delete(&service).await.unwrap());
    let refused = |shown: &Value| {
        let (status, message) = condition(shown, "Applied");
        status == "FALSE" && message.contains(NOT_ASKED)
    };
    let shown = world.until_shown("the webhook to be in the way", refused).await;
    assert_eq!(shown["status"]["copies"][0]["phase"], "RUNNING", "{shown:#}");
    assert_ne!(shown["status"]["state"], "FAILED", "{shown:#}");
    let back = async || api.get(&service).await.ok().flatten().map(drop);
    wait::until("the Service to be made again", HANG_GUARD, back).await.unwrap();
    assert_eq!(api.get(&ingress()).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_with_its_own_webhook_comes_up_and_recovers() {
    let Some((ground, _turn)) = ground().await else { return };
    let api = ground.one.api();
    api.delete(HOOK).await.unwrap();
    space(api, SPACE).await;
    let world = World::unranked(ground).await;
    // The webhook is written when what it judges is there.
    world.run_on_one(&manifest()).await;
    for path in [HOOK.to_owned(), ingress()] {
        assert!(api.get(&path).await.unwrap().is_some(), "{path}");
    }

    ingress_cannot_be_repaired(&world, api).await;
    // Somebody takes the webhook away for a moment: what it was in the way of is put right, and then the webhook.
    assert!(api.delete(HOOK).await.unwrap());
    ground.one.wait_for(&ingress(), HANG_GUARD, |_| true).await.unwrap();
    ground.one.wait_for(HOOK, HANG_GUARD, |_| true).await.unwrap();
    let shown = world.until_running().await;
    assert_eq!(condition(&shown, "Applied").0, "TRUE", "{shown:#}");

    // An update without it that it refuses takes it away.
    until_asked(api, true).await;
    let [_, mut site, service, server] = manifest();
    site["spec"]["rules"][0]["host"] = json!("other.example.org");
    world.application("update", &[site, service, server], &[]).await;
    let updated = |live: &Value| live["spec"]["rules"][0]["host"] == "other.example.org";
    ground.one.wait_for(&ingress(), HANG_GUARD, updated).await.unwrap();
    assert_eq!(api.get(HOOK).await.unwrap(), None);

    // It hinders no deletion.
    world.application("update", &manifest(), &[]).await;
    ground.one.wait_for(HOOK, HANG_GUARD, |_| true).await.unwrap();
    until_asked(api, true).await;
    world.remove().await;
    for path in [HOOK.to_owned(), ingress()] {
        assert_eq!(api.get(&path).await.unwrap(), None, "{path}");
    }
    api.delete(&format!("/api/v1/namespaces/{SPACE}")).await.unwrap();
}
