//! The owner references that state writes: an application belongs to the clusters that it is bound to or has a copy on.

use std::collections::BTreeSet;

use krake_proto::Resource;
use krake_proto::krake::kubernetes::v1::Cluster;
use krake_proto::krake::meta::v1::{OnDelete, OwnerReference, ResourceRef};

/// The owners of an application: its clusters, whose deletion releases it, and whatever else is `present`.
pub(super) fn owners<'a>(
    present: &[OwnerReference],
    clusters: impl Iterator<Item = &'a ResourceRef>,
) -> Vec<OwnerReference> {
    let mut owners: Vec<OwnerReference> =
        present.iter().filter(|owner| !is_placement(owner)).cloned().collect();
    let mut seen = BTreeSet::new();
    for cluster in clusters.filter(|cluster| seen.insert(cluster.uid.clone())) {
        owners.push(OwnerReference {
            api: cluster.api.clone(),
            kind: cluster.kind.clone(),
            namespace: cluster.namespace.clone(),
            name: cluster.name.clone(),
            uid: cluster.uid.clone(),
            on_delete: OnDelete::Release.into(),
        });
    }
    owners
}

/// Whether a reference is one that a placement writes.
fn is_placement(owner: &OwnerReference) -> bool {
    is_cluster(owner) && owner.on_delete() == OnDelete::Release
}

/// Whether a reference names a cluster.
pub(super) fn is_cluster(owner: &OwnerReference) -> bool {
    (owner.api.as_str(), owner.kind.as_str()) == (Cluster::KIND.api, Cluster::KIND.kind)
}
