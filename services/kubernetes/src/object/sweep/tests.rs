//! What becomes of an orphaned namespace.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use super::*;
use crate::cluster::discovery::ResolvedKind;
use crate::cluster::scripted::{Scripted, not_served};
use crate::object::{APPLICATION_LABEL, INSTALLATION_LABEL, MADE_LABEL, ObjectKey};

/// Sweeps the namespace `shop` of an application that is gone, with one Secret in it, if there is one.
async fn swept(secret: Option<Value>, other_user: &OtherUser<'_>) -> (Swept, Scripted) {
    let metadata = json!({"name": "shop", "uid": "n", "resourceVersion": "7",
        "labels": {INSTALLATION_LABEL: "inst", APPLICATION_LABEL: "gone"}});
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Namespace"));
    let kind = ResolvedKind { resource, namespaced: false, watchable: true, promised: false };
    let parsed: ObjectMeta = serde_json::from_value(metadata.clone()).unwrap();
    let orphan = Marked::of(&kind, parsed).unwrap();
    let cluster = Scripted::new(move |asked| match asked.line.split('?').next().unwrap_or_default() {
        "GET /api/v1" => {
            let secrets = json!({"name": "secrets", "kind": "Secret", "namespaced": true, "singularName": "",
                "verbs": ["list", "delete"]});
            (200, json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": [secrets]}))
        }
        "GET /apis" => (200, json!({"kind": "APIGroupList", "groups": []})),
        "GET /api/v1/namespaces/shop/secrets" => (
            200,
            json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {},
                "items": secret.iter().collect::<Vec<_>>()}),
        ),
        "GET /api/v1/namespaces/shop" | "PATCH /api/v1/namespaces/shop" => {
            (200, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}))
        }
        "DELETE /api/v1/namespaces/shop" => (200, json!({"kind": "Status", "status": "Success"})),
        _ => not_served(),
    });
    (sweep(&cluster.connection, &orphan, "inst", other_user).await.unwrap(), cluster)
}

fn secret(application: &str) -> Value {
    json!({"metadata": {"name": "s", "namespace": "shop", "uid": "s",
        "labels": {INSTALLATION_LABEL: "inst", APPLICATION_LABEL: application}}})
}

fn nobody(_: &dyn Fn(&ObjectKey) -> bool) -> Option<String> {
    None
}

#[tokio::test]
async fn what_others_are_in_stays_krakes_to_remove() {
    let (done, cluster) = swept(Some(secret("other")), &nobody).await;
    assert!(done == Swept::Gone && cluster.asked("DELETE ").is_empty());
    let labels = &cluster.asked("PATCH ")[0].body["metadata"]["labels"];
    let expected = json!({INSTALLATION_LABEL: null, APPLICATION_LABEL: null, MADE_LABEL: "inst"});
    assert_eq!(*labels, expected, "the last of them removes it");
}

#[tokio::test]
async fn what_others_are_about_to_use_is_left_to_them() {
    let namespace = ObjectKey {
        api_version: "v1".into(),
        kind: "Namespace".into(),
        namespace: None,
        name: "shop".into(),
    };
    let other = |fits: &dyn Fn(&ObjectKey) -> bool| fits(&namespace).then(|| "application x".to_owned());
    let (done, cluster) = swept(None, &other).await;
    assert!(done == Swept::Gone && cluster.asked("DELETE ").is_empty());
    assert_eq!(cluster.asked("PATCH ")[0].body["metadata"]["labels"][MADE_LABEL], "inst");
}

#[tokio::test]
async fn what_is_empty_goes_and_what_holds_its_own_waits() {
    let (done, cluster) = swept(None, &nobody).await;
    assert!(done == Swept::Gone && cluster.asked("DELETE ").len() == 1);
    let (done, cluster) = swept(Some(secret("gone")), &nobody).await;
    assert!(
        done == Swept::Deferred && cluster.asked("DELETE ").is_empty() && cluster.asked("PATCH ").is_empty()
    );
}
