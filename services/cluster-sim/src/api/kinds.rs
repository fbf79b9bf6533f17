//! The kinds that every cluster serves, as Kubernetes 1.20 has them.

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};

use crate::ownership::Schema;

/// A kind in one version.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    /// Whether there is a subresource `status`.
    pub(crate) status: bool,
    /// Whether changes of the spec are counted in `metadata.generation`.
    pub(crate) generation: bool,
    /// From a definition: items of lists tell their kind then, and unknown fields are dropped by `fields`.
    pub(crate) custom: bool,
    /// The OpenAPI schema of a custom kind; null otherwise.
    pub(crate) fields: Value,
    pub(crate) schema: Schema,
    /// The fields that an empty object of the kind has.
    pub(crate) zero: Value,
}

impl Kind {
    /// `apps/v1`, `v1`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `deployments.apps`, `pods`.
    pub(crate) fn resource(&self) -> String {
        resource(&self.plural, &self.group)
    }

    pub(crate) fn is(&self, group: &str, kind: &str) -> bool {
        !self.custom && self.group == group && self.kind == kind
    }
}

/// The name of a kind in all its versions.
pub(crate) fn resource(plural: &str, group: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}

/// Lists in every object.
const METADATA: [(&str, &str); 2] = [("metadata.finalizers", "set"), ("metadata.ownerReferences", "uid")];

/// Lists in a pod's spec.
const POD_SPEC: [(&str, &str); 22] = [
    ("containers", "name"),
    ("containers[].env", "name"),
    ("containers[].ports", "containerPort,protocol"),
    ("containers[].volumeMounts", "mountPath"),
    ("containers[].volumeDevices", "devicePath"),
    ("initContainers", "name"),
    ("initContainers[].env", "name"),
    ("initContainers[].ports", "containerPort,protocol"),
    ("initContainers[].volumeMounts", "mountPath"),
    ("initContainers[].volumeDevices", "devicePath"),
    ("volumes", "name"),
    ("imagePullSecrets", "name"),
    ("hostAliases", "ip"),
    ("topologySpreadConstraints", "topologyKey,whenUnsatisfiable"),
    ("containers[].env[].valueFrom.configMapKeyRef", "atomic"),
    ("containers[].env[].valueFrom.secretKeyRef", "atomic"),
    ("containers[].env[].valueFrom.fieldRef", "atomic"),
    ("containers[].env[].valueFrom.resourceFieldRef", "atomic"),
    ("initContainers[].env[].valueFrom.configMapKeyRef", "atomic"),
    ("initContainers[].env[].valueFrom.secretKeyRef", "atomic"),
    ("initContainers[].env[].valueFrom.fieldRef", "atomic"),
    ("initContainers[].env[].valueFrom.resourceFieldRef", "atomic"),
];

/// The schema of a kind: lists of its own (`path keys`), and where it has a pod's spec.
pub(crate) fn schema(own: &[&str], pod_spec: Option<&str>) -> Schema {
    let prefix = pod_spec.unwrap_or_default();
    let pods: Vec<(String, &str)> = POD_SPEC
        .iter()
        .filter(|_| pod_spec.is_some())
        .map(|(path, keys)| (format!("{prefix}.{path}"), *keys))
        .collect();
    let own = own.iter().filter_map(|entry| entry.split_once(' '));
    let pods = pods.iter().map(|(path, keys)| (path.as_str(), *keys));
    Schema::of(METADATA.into_iter().chain(own).chain(pods))
}

struct Form {
    /// group, version, kind, plural, short names (with commas between), category.
    names: [&'static str; 6],
    namespaced: bool,
    status: bool,
    generation: bool,
    lists: &'static [&'static str],
    pod_spec: Option<&'static str>,
    zero: Value,
}

impl Form {
    fn new(names: [&'static str; 6]) -> Self {
        let zero = json!({"metadata": {}});
        Self { names, namespaced: true, status: false, generation: false, lists: &[], pod_spec: None, zero }
    }

    fn cluster_wide(self) -> Self {
        Self { namespaced: false, ..self }
    }

    fn with_status(self) -> Self {
        Self { status: true, ..self }.zero("/status", json!({}))
    }

    fn counted(self) -> Self {
        Self { generation: true, ..self }
    }

    fn lists(self, lists: &'static [&'static str]) -> Self {
        Self { lists, ..self }
    }

    fn pods_at(self, pod_spec: &'static str) -> Self {
        Self { pod_spec: Some(pod_spec), ..self }
    }

    /// An empty object has `value` at `pointer`, and all that leads there.
    fn zero(mut self, pointer: &str, value: Value) -> Self {
        let mut place = &mut self.zero;
        for step in pointer.split('/').skip(1) {
            if !place[step].is_object() {
                place[step] = json!({});
            }
            place = &mut place[step];
        }
        *place = value;
        self
    }

    fn workload(self) -> Self {
        self.with_status()
            .zero("/spec/template", json!({"metadata": {}, "spec": {"containers": null}}))
            .zero("/spec/selector", Value::Null)
            .pods_at("spec.template.spec")
    }

    fn build(self) -> Arc<Kind> {
        let [group, version, kind, plural, short_names, category] = self.names.map(str::to_owned);
        let some = |name: String| if name.is_empty() { Vec::new() } else { vec![name] };
        Arc::new(Kind {
            singular: kind.to_lowercase(),
            group,
            version,
            kind,
            plural,
            short_names: some(short_names)
                .iter()
                .flat_map(|names| names.split(','))
                .map(str::to_owned)
                .collect(),
            categories: some(category),
            namespaced: self.namespaced,
            status: self.status,
            generation: self.generation,
            custom: false,
            fields: Value::Null,
            schema: schema(self.lists, self.pod_spec),
            zero: self.zero,
        })
    }
}

const CONDITIONS: &[&str] = &["status.conditions type", "spec.selector atomic"];

static KINDS: LazyLock<Vec<Arc<Kind>>> = LazyLock::new(|| {
    let core = |kind, plural, short| Form::new(["", "v1", kind, plural, short, ""]);
    let apps = |kind, plural, short| Form::new(["apps", "v1", kind, plural, short, "all"]);
    let rbac = |kind, plural| Form::new(["rbac.authorization.k8s.io", "v1", kind, plural, "", ""]);
    let job = ["batch", "v1", "Job", "jobs", "", "all"];
    let cron_job = ["batch", "v1beta1", "CronJob", "cronjobs", "cj", "all"];
    let ingress = ["networking.k8s.io", "v1", "Ingress", "ingresses", "ing", ""];
    let definition = [
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        "crd,crds",
        "api-extensions",
    ];
    [
        core("ConfigMap", "configmaps", "cm"),
        core("Endpoints", "endpoints", "ep"),
        core("Namespace", "namespaces", "ns")
            .cluster_wide()
            .with_status()
            .zero("/spec", json!({}))
            .lists(&["status.conditions type"]),
        core("Node", "nodes", "no")
            .cluster_wide()
            .with_status()
            .zero("/spec", json!({}))
            .lists(&["status.conditions type", "status.addresses type"]),
        core("PersistentVolumeClaim", "persistentvolumeclaims", "pvc")
            .with_status()
            .zero("/spec", json!({"resources": {}}))
            .lists(CONDITIONS),
        Form { names: ["", "v1", "Pod", "pods", "po", "all"], ..core("", "", "") }
            .with_status()
            .zero("/spec", json!({"containers": null}))
            .pods_at("spec")
            .lists(&["status.conditions type", "status.podIPs ip"]),
        core("Secret", "secrets", ""),
        Form { names: ["", "v1", "Service", "services", "svc", "all"], ..core("", "", "") }
            .with_status()
            .zero("/status/loadBalancer", json!({}))
            .zero("/spec", json!({}))
            .lists(&["status.conditions type", "spec.ports port,protocol"]),
        core("ServiceAccount", "serviceaccounts", "sa").lists(&["secrets name", "imagePullSecrets name"]),
        apps("DaemonSet", "daemonsets", "ds")
            .workload()
            .counted()
            .zero("/spec/updateStrategy", json!({}))
            .lists(CONDITIONS),
        apps("Deployment", "deployments", "deploy")
            .workload()
            .counted()
            .zero("/spec/strategy", json!({}))
            .lists(CONDITIONS),
        apps("ReplicaSet", "replicasets", "rs").workload().counted().lists(CONDITIONS),
        apps("StatefulSet", "statefulsets", "sts")
            .workload()
            .counted()
            .zero("/spec/updateStrategy", json!({}))
            .zero("/spec/serviceName", json!(""))
            .lists(CONDITIONS),
        Form::new(job).workload().lists(CONDITIONS),
        Form::new(cron_job)
            .with_status()
            .zero("/spec/jobTemplate/spec/template", json!({"metadata": {}, "spec": {"containers": null}}))
            .pods_at("spec.jobTemplate.spec.template.spec")
            .lists(&["spec.jobTemplate.spec.selector atomic"]),
        Form::new(ingress)
            .with_status()
            .counted()
            .zero("/spec", json!({}))
            .zero("/status/loadBalancer", json!({})),
        rbac("ClusterRole", "clusterroles").cluster_wide().zero("/rules", Value::Null),
        rbac("ClusterRoleBinding", "clusterrolebindings").cluster_wide().zero("/roleRef", json!({})),
        rbac("Role", "roles").zero("/rules", Value::Null),
        rbac("RoleBinding", "rolebindings").zero("/roleRef", json!({})),
        Form::new(definition)
            .cluster_wide()
            .with_status()
            .counted()
            .zero("/spec", json!({"names": {}, "versions": null}))
            .lists(&["status.conditions type"]),
    ]
    .into_iter()
    .map(Form::build)
    .collect()
});

/// The kinds of every cluster, by group in the order of discovery.
pub(crate) fn built_in() -> &'static [Arc<Kind>] {
    &KINDS
}
