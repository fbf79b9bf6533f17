//! Names of the finalizers that Krake's own services use. Each names the work that stands before an erasure.

/// Any object: dependents are deleted first. Set with the deletion, removed by the garbage collector.
pub const CASCADE_DELETION: &str = "cascade_deletion";

/// Application: copies exist on clusters. Set with the first copy and removed with the last one, both by the state
/// service. The name is upstream's.
pub const KUBERNETES_RESOURCES: &str = "kubernetes_resources_deletion";

/// Cluster: applications have, or had, copies on it. Set by the state service with the first copy; removed by the
/// Kubernetes adapter when the cluster is being deleted and no copy is left.
pub const CLUSTER_COPIES: &str = "kubernetes_copies_removal";
