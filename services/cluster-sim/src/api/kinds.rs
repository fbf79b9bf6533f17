//! The kinds that every cluster serves, as Kubernetes 1.35 has them. Of kinds in several versions only the
//! preferred one is served.

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};

use crate::api::types::{self, Shape};
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
    /// The types of a built-in kind.
    pub(crate) types: Option<&'static types::Object>,
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

    /// What its objects may be.
    pub(crate) fn shape(&self) -> Shape<'_> {
        match self.types {
            Some(types) => Shape::Object(types),
            None => Shape::Custom(&self.fields),
        }
    }

    pub(crate) fn is(&self, group: &str, kind: &str) -> bool {
        !self.custom && self.group == group && self.kind == kind
    }
}

/// The name of a kind in all its versions.
pub(crate) fn resource(plural: &str, group: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}

/// How the fields of `metadata` are shared.
pub(crate) fn metadata_schema() -> Schema {
    types::metadata().map(types::schema).unwrap_or_default()
}

struct Form {
    /// group, version, kind, plural, short names (with commas between), category.
    names: [&'static str; 6],
    namespaced: bool,
    status: bool,
    generation: bool,
    zero: Value,
}

impl Form {
    fn new(names: [&'static str; 6]) -> Self {
        let zero = json!({"metadata": {}});
        Self { names, namespaced: true, status: false, generation: false, zero }
    }

    fn cluster_wide(self) -> Self {
        Self { namespaced: false, ..self }
    }

    fn with_status(self) -> Self {
        Self { status: true, ..self }.zero("/status", json!({}))
    }

    /// `kubectl get all` shows it.
    fn in_all(mut self) -> Self {
        self.names[5] = "all";
        self
    }

    fn counted(self) -> Self {
        Self { generation: true, ..self }
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
    }

    fn build(self) -> Arc<Kind> {
        let [group, version, kind, plural, short_names, category] = self.names.map(str::to_owned);
        let types = types::of_kind(&group, &version, &kind);
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
            schema: types.map(types::schema).unwrap_or_default(),
            types,
            zero: self.zero,
        })
    }
}

static KINDS: LazyLock<Vec<Arc<Kind>>> = LazyLock::new(|| {
    let core = |kind, plural, short| Form::new(["", "v1", kind, plural, short, ""]);
    let apps = |kind, plural, short| Form::new(["apps", "v1", kind, plural, short, "all"]);
    let other = |at: &'static str, kind, plural, short| {
        let (group, version) = at.split_once('/').unwrap_or_default();
        Form::new([group, version, kind, plural, short, ""])
    };
    let rbac = |kind, plural| Form::new(["rbac.authorization.k8s.io", "v1", kind, plural, "", ""]);
    let webhooks = |kind, plural| {
        Form::new(["admissionregistration.k8s.io", "v1", kind, plural, "", "api-extensions"])
            .cluster_wide()
            .counted()
    };
    let job = ["batch", "v1", "Job", "jobs", "", "all"];
    let cron_job = ["batch", "v1", "CronJob", "cronjobs", "cj", "all"];
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
        core("Event", "events", "ev")
            .zero("/involvedObject", json!({}))
            .zero("/source", json!({}))
            .zero("/reportingComponent", json!(""))
            .zero("/reportingInstance", json!("")),
        core("Namespace", "namespaces", "ns").cluster_wide().with_status().zero("/spec", json!({})),
        core("Node", "nodes", "no").cluster_wide().with_status().zero("/spec", json!({})),
        core("PersistentVolumeClaim", "persistentvolumeclaims", "pvc")
            .with_status()
            .zero("/spec", json!({"resources": {}})),
        Form { names: ["", "v1", "Pod", "pods", "po", "all"], ..core("", "", "") }
            .with_status()
            .counted()
            .zero("/spec", json!({"containers": null})),
        core("LimitRange", "limitranges", "limits").zero("/spec", json!({"limits": null})),
        core("PersistentVolume", "persistentvolumes", "pv")
            .cluster_wide()
            .with_status()
            .zero("/spec", json!({})),
        core("ResourceQuota", "resourcequotas", "quota").with_status().zero("/spec", json!({})),
        core("Secret", "secrets", ""),
        Form { names: ["", "v1", "Service", "services", "svc", "all"], ..core("", "", "") }
            .with_status()
            .zero("/status/loadBalancer", json!({}))
            .zero("/spec", json!({})),
        core("ServiceAccount", "serviceaccounts", "sa"),
        apps("DaemonSet", "daemonsets", "ds").workload().counted().zero("/spec/updateStrategy", json!({})),
        apps("Deployment", "deployments", "deploy").workload().counted().zero("/spec/strategy", json!({})),
        apps("ReplicaSet", "replicasets", "rs").workload().counted(),
        apps("StatefulSet", "statefulsets", "sts")
            .workload()
            .counted()
            .zero("/spec/updateStrategy", json!({}))
            .zero("/spec/serviceName", json!("")),
        Form::new(job).workload().counted(),
        Form::new(cron_job)
            .with_status()
            .counted()
            .zero("/spec/jobTemplate/spec/template", json!({"metadata": {}, "spec": {"containers": null}})),
        other("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "hpa")
            .in_all()
            .with_status()
            .zero("/spec", json!({"scaleTargetRef": {}})),
        other("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", "pdb")
            .with_status()
            .counted()
            .zero("/spec", json!({})),
        other("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", "netpol")
            .counted()
            .zero("/spec", json!({"podSelector": {}})),
        other("networking.k8s.io/v1", "IngressClass", "ingressclasses", "")
            .cluster_wide()
            .counted()
            .zero("/spec", json!({})),
        other("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", "").counted(),
        other("coordination.k8s.io/v1", "Lease", "leases", "").zero("/spec", json!({})),
        other("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses", "pc").cluster_wide().counted(),
        other("storage.k8s.io/v1", "StorageClass", "storageclasses", "sc").cluster_wide(),
        Form::new(ingress)
            .with_status()
            .counted()
            .zero("/spec", json!({}))
            .zero("/status/loadBalancer", json!({})),
        rbac("ClusterRole", "clusterroles").cluster_wide().zero("/rules", Value::Null),
        rbac("ClusterRoleBinding", "clusterrolebindings").cluster_wide().zero("/roleRef", json!({})),
        rbac("Role", "roles").zero("/rules", Value::Null),
        rbac("RoleBinding", "rolebindings").zero("/roleRef", json!({})),
        webhooks("ValidatingWebhookConfiguration", "validatingwebhookconfigurations"),
        webhooks("MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
        Form::new(definition)
            .cluster_wide()
            .with_status()
            .counted()
            .zero("/spec", json!({"names": {}, "versions": null})),
    ]
    .into_iter()
    .map(Form::build)
    .collect()
});

/// The kinds of every cluster, by group in the order of discovery.
pub(crate) fn built_in() -> &'static [Arc<Kind>] {
    &KINDS
}
