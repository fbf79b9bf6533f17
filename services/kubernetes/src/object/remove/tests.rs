//! What becomes of namespaces that are removed, by the requests that are sent.

use serde_json::{Value, json};

use super::*;
use crate::cluster::scripted::{Asked, Scripted, not_served};
use crate::object::ADOPTED_ANNOTATION;

/// A cluster with one namespace of these labels and annotations, and one Secret in it, if there is one.
#[derive(Clone)]
struct Scene {
    labels: Value,
    annotations: Value,
    secret: Option<Value>,
    /// Whether everything is answered with 404, as by a server that is no Kubernetes.
    broken: bool,
}

fn marked() -> Value {
    json!({INSTALLATION_LABEL: "inst", APPLICATION_LABEL: "app"})
}

impl Scene {
    fn with(labels: Value) -> Self {
        let annotations = json!({CLUSTER_ANNOTATION: "c"});
        Self { labels, annotations, secret: None, broken: false }
    }

    fn answer(&self, asked: &Asked) -> (u16, Value) {
        let resource = |name: &str, kind: &str, namespaced: bool| {
            json!({"name": name, "kind": kind, "namespaced": namespaced, "singularName": "",
                "verbs": ["get", "list", "watch", "create", "patch", "delete"]})
        };
        let line = asked.line.split('?').next().unwrap_or_default();
        match line {
            _ if self.broken => not_served(),
            "GET /api/v1" => (
                200,
                json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": [
                resource("namespaces", "Namespace", false), resource("secrets", "Secret", true)]}),
            ),
            "GET /apis" => (200, json!({"kind": "APIGroupList", "groups": []})),
            "GET /api/v1/namespaces/shop" | "PATCH /api/v1/namespaces/shop" => (
                200,
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "uid": "n",
                    "resourceVersion": "7", "labels": self.labels, "annotations": self.annotations}}),
            ),
            "DELETE /api/v1/namespaces/shop" => (200, json!({"kind": "Status", "status": "Success"})),
            "GET /api/v1/namespaces/shop/secrets" => (
                200,
                json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {},
                    "items": self.secret.iter().collect::<Vec<_>>()}),
            ),
            _ => not_served(),
        }
    }
}

/// A Secret of the application that was applied for a registration of the cluster.
fn secret_for(cluster: &str) -> Value {
    json!({"metadata": {"name": "s", "namespace": "shop", "uid": "s", "labels": marked(),
        "annotations": {CLUSTER_ANNOTATION: cluster}}})
}

/// Removes the namespace; what that came to, and the cluster.
async fn removed(scene: Scene, uid: Option<&str>, other_user: &OtherUser<'_>) -> (Removal, Scripted) {
    let cluster = Scripted::new(move |asked| scene.answer(asked));
    let identity = Identity {
        installation: "inst".into(),
        application: "app".into(),
        cluster: "c".into(),
        epoch: "e".into(),
    };
    let key = ObjectKey {
        api_version: "v1".into(),
        kind: "Namespace".into(),
        namespace: None,
        name: "shop".into(),
    };
    let objects = [InventoryEntry { key, uid: uid.map(str::to_owned) }];
    let going = Going {
        objects: &objects,
        staying: &[],
        identity: &identity,
        with_dependents: false,
        before_successor: false,
        until: Instant::now() + std::time::Duration::from_secs(600),
        is_shown: &|_| false,
        surroundings: Surroundings { other_user, ..Surroundings::default() },
    };
    let discovery = Discovery::new(cluster.connection.clone());
    let removal = remove(&cluster.connection, &discovery, going).await;
    (removal, cluster)
}

fn nobody(_: &dyn Fn(&ObjectKey) -> bool) -> Option<String> {
    None
}

#[tokio::test]
async fn an_empty_namespace_is_deleted_as_exactly_what_was_looked_at() {
    let mut scene = Scene::with(marked());
    scene.secret = Some(secret_for("c"));
    let (removal, cluster) = removed(scene, Some("n"), &nobody).await;
    assert_eq!(removal, Removal::default());
    let deletions = cluster.asked("DELETE ");
    assert_eq!(deletions.len(), 1);
    assert_eq!(deletions[0].body["preconditions"], json!({"uid": "n", "resourceVersion": "7"}));
}

#[tokio::test]
async fn the_living_copy_of_another_registration_keeps_its_namespace() {
    // Another application made the namespace and left it; this one moves between two registrations of the cluster.
    let mut scene = Scene::with(json!({MADE_LABEL: "inst"}));
    scene.secret = Some(secret_for("another-registration"));
    let (removal, cluster) = removed(scene, None, &nobody).await;
    assert_eq!(removal.remaining, []);
    assert_eq!(removal.released[0].why, "holds Secret shop/s");
    assert_eq!(cluster.asked("DELETE "), []);
    assert_eq!(cluster.asked("PATCH ")[0].body["metadata"]["labels"][MADE_LABEL], "inst");
}

#[tokio::test]
async fn a_namespace_that_another_application_is_about_to_use_is_left() {
    let other = |fits: &dyn Fn(&ObjectKey) -> bool| {
        let claim = ObjectKey {
            api_version: "v1".into(),
            kind: "PersistentVolumeClaim".into(),
            namespace: Some("shop".into()),
            name: "data".into(),
        };
        fits(&claim).then(|| "application demo/other".to_owned())
    };
    let (removal, cluster) = removed(Scene::with(marked()), Some("n"), &other).await;
    assert_eq!(removal.released[0].why, "is used by application demo/other");
    assert_eq!(cluster.asked("DELETE "), []);
    assert_eq!(cluster.asked("PATCH ")[0].body["metadata"]["labels"][MADE_LABEL], "inst");
}

#[tokio::test]
async fn an_adopted_namespace_is_released_unless_krake_had_made_it() {
    let adopted = |mut labels: Value, made_by: Option<&str>| {
        if let Some(made_by) = made_by {
            labels[MADE_LABEL] = made_by.into();
        }
        let mut scene = Scene::with(labels);
        scene.annotations[ADOPTED_ANNOTATION] = json!("true");
        scene
    };
    for made_by in [None, Some("another-installation")] {
        let (_, cluster) = removed(adopted(marked(), made_by), Some("n"), &nobody).await;
        assert_eq!(cluster.asked("DELETE "), [], "{made_by:?}");
        let labels = json!({INSTALLATION_LABEL: null, APPLICATION_LABEL: null});
        assert_eq!(cluster.asked("PATCH ")[0].body["metadata"]["labels"], labels);
    }
    let (_, cluster) = removed(adopted(marked(), Some("inst")), Some("n"), &nobody).await;
    assert_eq!(cluster.asked("DELETE ").len(), 1);
    let mut held = adopted(marked(), Some("inst"));
    held.secret = Some(json!({"metadata": {"name": "theirs", "namespace": "shop", "uid": "t"}}));
    let (_, cluster) = removed(held, Some("n"), &nobody).await;
    assert_eq!(cluster.asked("DELETE "), []);
    assert_eq!(cluster.asked("PATCH ")[0].body["metadata"]["labels"][MADE_LABEL], "inst");
}

#[tokio::test]
async fn a_server_that_serves_nothing_makes_nothing_gone() {
    let scene = Scene { broken: true, ..Scene::with(marked()) };
    let (removal, _) = removed(scene, Some("n"), &nobody).await;
    let why = removal.remaining[0].waits_for.as_ref().map_or("", Wait::why);
    assert!(why.contains("which every Kubernetes API serves"), "{why}");
}
