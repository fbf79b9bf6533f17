//! Applications of a scenario: manifests as values, what is shown of them, and namespaces of their own on the clusters.

use krake_integration::kubernetes::Kubernetes;
use krake_integration::kubernetes_api::KubernetesApi;
use krake_integration::wait::{self, HANG_GUARD, ROK_HANG_GUARD};
use serde_json::{Value, json};

use crate::world::World;

impl World {
    /// Creates or updates (`verb`) the application `app`.
    pub(crate) async fn application(&self, verb: &str, manifest: &[Value], more: &[&str]) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let documents: Vec<String> = manifest.iter().map(Value::to_string).collect();
        std::fs::write(file.path(), documents.join("\n---\n")).unwrap();
        let base = ["kube", "app", verb, "-f", file.path().to_str().unwrap(), "app"];
        self.stack.rok_ok(&[&base[..], more].concat()).await.unwrap();
    }

    /// Creates the application `app` on the cluster `one`, and waits until it runs.
    pub(crate) async fn run_on_one(&self, manifest: &[Value]) {
        let more = ["-L", "location is DE", "--wait", "--timeout", ROK_HANG_GUARD];
        self.application("create", manifest, &more).await;
    }

    /// Waits until what is shown of the application `app` is as wanted, and gives it.
    pub(crate) async fn until_shown(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let look = async || {
            last = self.stack.rok_json(&["kube", "app", "get", "app"]).await.ok()?;
            wanted(&last).then(|| last.clone())
        };
        let found = wait::until(what, HANG_GUARD, look).await;
        found.unwrap_or_else(|error| panic!("{error}: {last:#}"))
    }

    /// Waits until the application `app` is RUNNING by its present spec, with one copy.
    pub(crate) async fn until_running(&self) -> Value {
        let running = |shown: &Value| {
            let copies = shown["status"]["copies"].as_array().map(Vec::as_slice).unwrap_or_default();
            shown["status"]["state"] == "RUNNING"
                && copies.len() == 1
                && copies[0]["observed_generation"] == shown["metadata"]["generation"]
        };
        self.until_shown("the application to be RUNNING", running).await
    }

    /// Deletes the application `app` and waits until it is gone.
    pub(crate) async fn remove(&self) {
        let delete = ["kube", "app", "delete", "app", "--wait", "--timeout", ROK_HANG_GUARD];
        self.stack.rok_ok(&delete).await.unwrap();
    }
}

/// Status and message of a condition of the application's only copy; empty where there is none.
pub(crate) fn condition<'a>(shown: &'a Value, name: &str) -> (&'a str, &'a str) {
    let conditions = shown["status"]["copies"][0]["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|condition| condition["type"] == name);
    let text = |field: &str| found.and_then(|found| found[field].as_str()).unwrap_or_default();
    (text("status"), text("message"))
}

/// Makes a namespace for a scenario. What an earlier run has left there is removed.
pub(crate) async fn space(api: &KubernetesApi, name: &str) {
    let path = format!("/api/v1/namespaces/{name}");
    let made = async || {
        if api.get(&path).await.ok()?.is_some() {
            let _ = api.delete(&path).await;
            return None;
        }
        let space = json!({"metadata": {"name": name}});
        api.create("/api/v1/namespaces", &space).await.ok().map(drop)
    };
    wait::until("a namespace", HANG_GUARD, made).await.unwrap();
}

/// Changes the ConfigMap of the application by hand and waits until that is put right: by then the application was looked
/// at, and repaired as far as it needed repair.
pub(crate) async fn looked_after(cluster: &Kubernetes, name: &str) {
    let path = settings_in(name);
    cluster.api().patch(&path, &json!({"data": {"value": "changed"}})).await.unwrap();
    cluster.wait_for(&path, HANG_GUARD, |map| map["data"]["value"] == "v").await.unwrap();
}

/// Deletes the application, and the namespace of the scenario on the cluster `one`.
pub(crate) async fn end(world: World, api: &KubernetesApi, name: &str) {
    world.remove().await;
    api.delete(&format!("/api/v1/namespaces/{name}")).await.unwrap();
}

/// A ConfigMap of one value.
pub(crate) fn settings(space: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": space},
        "data": {"value": value}})
}

/// The path of [`settings`].
pub(crate) fn settings_in(space: &str) -> String {
    format!("/api/v1/namespaces/{space}/configmaps/settings")
}

/// A Deployment of so many pods.
pub(crate) fn web(space: &str, replicas: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": space},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "main", "image": "none"}]}}}})
}
