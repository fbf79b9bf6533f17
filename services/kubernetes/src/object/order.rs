//! The order in which objects are applied and removed, by their kinds. Pure.
//!
//! What others need comes first: namespaces and definitions, then accounts, roles and settings, then workloads, then custom
//! resources, whose operators are among the workloads. What the API server calls for requests of everybody comes last, when
//! the workload behind it is there.

use crate::object::prepare::Target;
use crate::object::{ObjectKey, definition};

/// Groups whose kinds Kubernetes itself serves. A kind of any other group is a custom resource.
const BUILT_IN: [&str; 22] = [
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "extensions",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

/// Kinds that workloads need when they start: (group, kind).
const NEEDED: [(&str, &str); 15] = [
    ("", "ConfigMap"),
    ("", "LimitRange"),
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("", "ResourceQuota"),
    ("", "Secret"),
    ("", "ServiceAccount"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io", "Role"),
    ("rbac.authorization.k8s.io", "RoleBinding"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("node.k8s.io", "RuntimeClass"),
    ("scheduling.k8s.io", "PriorityClass"),
    ("storage.k8s.io", "StorageClass"),
];

/// When an object is applied: the lower ones first, and as written within one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Namespaces.
    Namespace,
    /// Definitions of kinds.
    Definition,
    /// Accounts, roles, quotas, settings, volumes.
    Needed,
    /// Workloads, Services and everything else of Kubernetes itself.
    Workload,
    /// Custom resources.
    Custom,
    /// Servers that the API server calls for the kinds that they serve.
    ApiService,
    /// Servers that the API server calls for what anybody writes.
    Webhook,
}

impl Rank {
    /// The rank of an object.
    pub fn of(key: &ObjectKey) -> Self {
        match (key.group(), key.kind.as_str()) {
            ("", "Namespace") => Self::Namespace,
            _ if definition::is_definition(key) => Self::Definition,
            ("apiregistration.k8s.io", "APIService") => Self::ApiService,
            (
                "admissionregistration.k8s.io",
                "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration",
            ) => Self::Webhook,
            kind if NEEDED.contains(&kind) => Self::Needed,
            (group, _) if BUILT_IN.contains(&group) => Self::Workload,
            _ => Self::Custom,
        }
    }
}

/// Whether a target cannot be applied before another object: its namespace, or the definition of its kind.
pub(crate) fn needs(target: &Target, other: &ObjectKey) -> bool {
    match Rank::of(other) {
        Rank::Namespace => target.prepared.key.namespace.as_deref() == Some(&other.name),
        Rank::Definition => {
            let resource = &target.kind.resource;
            other.name == format!("{}.{}", resource.plural, resource.group)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("v1", "Namespace", Rank::Namespace)]
    #[case("apiextensions.k8s.io/v1", "CustomResourceDefinition", Rank::Definition)]
    #[case("v1", "ServiceAccount", Rank::Needed)]
    #[case("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", Rank::Needed)]
    #[case("apps/v1", "Deployment", Rank::Workload)]
    #[case("v1", "Service", Rank::Workload)]
    #[case("networking.k8s.io/v1", "Ingress", Rank::Workload)]
    #[case("gateway.networking.k8s.io/v1", "Gateway", Rank::Custom)]
    #[case("example.org/v1", "Namespace", Rank::Custom)]
    #[case("example.org/v1", "Secret", Rank::Custom)]
    #[case("apiregistration.k8s.io/v1", "APIService", Rank::ApiService)]
    #[case("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", Rank::Webhook)]
    #[case("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", Rank::Workload)]
    fn ranks(#[case] api_version: &str, #[case] kind: &str, #[case] expected: Rank) {
        let key = ObjectKey {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: None,
            name: "x".into(),
        };
        assert_eq!(Rank::of(&key), expected);
    }
}
