//! The rights that the documentation gives to Krake on a cluster are enough for its main job.

use krake_integration::etcd::Etcd;
use krake_integration::kubernetes::Kubernetes;
use krake_integration::kubernetes_api::KubernetesApi;
use krake_integration::stack::Stack;
use krake_integration::wait::{self, HANG_GUARD, ROK_HANG_GUARD};
use serde_json::{Value, json};

use crate::world::{DEPLOYMENT, SERVICE, SETTINGS, ground, repository};

/// Where objects of a kind are.
fn collection(object: &Value) -> String {
    let (group, plural) = match object["kind"].as_str().unwrap() {
        "Namespace" => ("/api/v1", "namespaces"),
        "ServiceAccount" => ("/api/v1", "namespaces/krake/serviceaccounts"),
        "Secret" => ("/api/v1", "namespaces/krake/secrets"),
        "ClusterRole" => ("/apis/rbac.authorization.k8s.io/v1", "clusterroles"),
        "ClusterRoleBinding" => ("/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings"),
        other => panic!("a {other} in the manifest"),
    };
    format!("{group}/{plural}")
}

/// Applies the documented manifest; gives the token.
pub(crate) async fn grant(api: &KubernetesApi) -> String {
    let manifest = std::fs::read_to_string(repository().join("examples/cluster-access.yaml")).unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&manifest).unwrap();
    assert_eq!(objects.len(), 7);
    for object in objects {
        let path = format!("{}/{}", collection(&object), object["metadata"]["name"].as_str().unwrap());
        api.apply(&path, &object).await.unwrap();
    }
    let token = async || {
        let secret = api.get("/api/v1/namespaces/krake/secrets/krake-token").await.ok()??;
        let encoded = secret["data"]["token"].as_str()?.to_owned();
        let bytes = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, encoded).ok()?;
        String::from_utf8(bytes).ok()
    };
    wait::until("the token of the service account", HANG_GUARD, token).await.unwrap()
}

/// As the documentation says for those who grant some namespaces only: here `default`, and no nodes.
async fn narrow(api: &KubernetesApi) {
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let binding = api.get(&format!("{bindings}/krake-deploy")).await.unwrap().unwrap();
    assert!(api.delete(&format!("{bindings}/krake-deploy")).await.unwrap());
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": { "name": "krake-deploy" },
        "roleRef": binding["roleRef"],
        "subjects": binding["subjects"],
    });
    let path = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings/krake-deploy";
    api.apply(path, &binding).await.unwrap();
    let role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/krake-observe";
    let mut observe = api.get(role).await.unwrap().unwrap();
    observe["rules"].as_array_mut().unwrap().retain(|rule| rule.get("nonResourceURLs").is_some());
    api.patch(role, &json!({ "rules": observe["rules"] })).await.unwrap();
}

/// Registers a cluster with a token, runs the example there, and removes both.
async fn use_it(stack: &Stack, cluster: &Kubernetes, name: &str, token: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("krake.kubeconfig");
    std::fs::write(&path, cluster.kubeconfig_with(token).to_string()).unwrap();
    let register = [
        "kube",
        "cluster",
        "register",
        name,
        "-k",
        path.to_str().unwrap(),
        "--wait",
        "--timeout",
        ROK_HANG_GUARD,
    ];
    stack.rok_ok(&register).await.unwrap();
    let example = repository().join("examples/echo-demo.yaml");
    let create = [
        "kube",
        "app",
        "create",
        "-f",
        example.to_str().unwrap(),
        "echo-demo",
        "--wait",
        "--timeout",
        ROK_HANG_GUARD,
    ];
    stack.rok_ok(&create).await.unwrap();
    let shown = stack.rok_json(&["kube", "app", "get", "echo-demo"]).await.unwrap();
    assert_eq!(shown["status"]["running_on"]["name"], *name);
    // What others change is put back, which needs the watch.
    cluster.api().patch(DEPLOYMENT, &json!({ "spec": { "replicas": 1 } })).await.unwrap();
    let repaired = |object: &Value| object["spec"]["replicas"] == 2;
    cluster.wait_for(DEPLOYMENT, HANG_GUARD, repaired).await.unwrap();
    stack
        .rok_ok(&["kube", "app", "delete", "echo-demo", "--wait", "--timeout", ROK_HANG_GUARD])
        .await
        .unwrap();
    cluster.wait_for_absence(SERVICE, HANG_GUARD).await.unwrap();
    stack.rok_ok(&["kube", "cluster", "delete", name, "--wait", "--timeout", ROK_HANG_GUARD]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_rights_are_enough() {
    let Some((ground, _turn)) = ground().await else { return };
    let etcd = Etcd::start(&ground.binaries).await.unwrap();
    let stack = Stack::start(&etcd, SETTINGS).await.unwrap();
    let everywhere = grant(ground.one.api()).await;
    use_it(&stack, &ground.one, "everywhere", &everywhere).await;
    let here = grant(ground.two.api()).await;
    narrow(ground.two.api()).await;
    use_it(&stack, &ground.two, "here", &here).await;
}
