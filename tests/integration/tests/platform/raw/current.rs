//! The kinds that applications have on current clusters.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::api::Api;
use crate::report::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    vec![case("current kinds are applied, and counted where they are", current)]
}

/// An object of each kind: version, kind, plural, and what is in it.
fn objects(namespace: &str) -> Value {
    let pod = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "none",
        "resources": {"limits": {"cpu": 1}}}]}});
    let scaled = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let rule = json!({"host": "a.example", "http": {"paths": [{"path": "/", "pathType": "Prefix",
        "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}});
    let hook = json!({"name": "a.example.org", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "failurePolicy": "Ignore", "clientConfig": {"url": "https://a.example"}});
    let labels = json!({"matchLabels": {"app": "web"}});
    let rbac = "rbac.authorization.k8s.io";
    json!([
        ["batch/v1", "CronJob", "cronjobs",
            {"spec": {"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {"spec": {"template": pod}}}}],
        ["batch/v1", "Job", "jobs", {"spec": {"suspend": true, "template": pod}}],
        ["networking.k8s.io/v1", "NetworkPolicy", "networkpolicies",
            {"spec": {"podSelector": {}, "ingress": [{"from": [{"podSelector": labels}]}]}}],
        ["networking.k8s.io/v1", "Ingress", "ingresses", {"spec": {"rules": [rule]}}],
        ["policy/v1", "PodDisruptionBudget", "poddisruptionbudgets",
            {"spec": {"minAvailable": "50%", "selector": labels}}],
        ["autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers",
            {"spec": {"maxReplicas": 3, "scaleTargetRef": scaled}}],
        ["v1", "PersistentVolumeClaim", "persistentvolumeclaims",
            {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}],
        ["v1", "ResourceQuota", "resourcequotas", {"spec": {"hard": {"pods": "100"}}}],
        ["v1", "Secret", "secrets", {"stringData": {"k": "v"}}],
        ["coordination.k8s.io/v1", "Lease", "leases", {"spec": {"holderIdentity": "a"}}],
        ["rbac.authorization.k8s.io/v1", "Role", "roles",
            {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}],
        ["rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings",
            {"roleRef": {"apiGroup": rbac, "kind": "Role", "name": "a"},
                "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}]}],
        ["admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations",
            {"webhooks": [hook]}],
        ["storage.k8s.io/v1", "StorageClass", "storageclasses", {"provisioner": "example.org/none"}],
        ["scheduling.k8s.io/v1", "PriorityClass", "priorityclasses", {"value": 1}],
    ])
}

/// Who owns the fields of an object of each kind, and whether its changes are counted.
async fn current(api: Api) -> Result<()> {
    for described in objects(&api.namespace).as_array().into_iter().flatten() {
        let text = |place: usize| described[place].as_str().unwrap_or_default();
        let (version, kind, plural, mut object) = (text(0), text(1), text(2), described[3].clone());
        object["apiVersion"] = json!(version);
        object["kind"] = json!(kind);
        object["metadata"] = json!({"name": "a"});
        let root = if version == "v1" { "/api/v1".to_owned() } else { format!("/apis/{version}") };
        let cluster_wide = plural.ends_with("classes") || plural.ends_with("configurations");
        let place = if cluster_wide { String::new() } else { format!("/namespaces/{}", api.namespace) };
        let path = format!("{root}{place}/{plural}/a");
        let made = api.unrecorded().apply("krake", &path, &object).await?.expect(201)?;
        let metadata = &made.body["metadata"];
        api.note(kind, json!([metadata["generation"], metadata["managedFields"][0]["fieldsV1"]]));
        let again = api.unrecorded().apply("krake", &path, &object).await?.expect(200)?;
        ensure!(again.text("/metadata/uid") == made.text("/metadata/uid"), "{again:?}");
        if cluster_wide {
            api.unrecorded().delete(&path, &json!({})).await?.expect(200)?;
        }
    }
    Ok(())
}
