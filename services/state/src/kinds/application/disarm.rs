//! Disarms owner references to clusters that an older version had turned into deleting ones.
//!
//! A deletion with `cascade` used to rewrite the RELEASE references of all dependents to DELETE before it marked the
//! cluster. Where it was cut off, the rewritten ones stayed, and an ordinary deletion of the cluster would have taken
//! those applications along, even if they had moved since.

use std::sync::Arc;

use krake_proto::Resource;
use krake_proto::krake::kubernetes::v1::Cluster;
use krake_proto::krake::meta::v1::{OnDelete, OwnerReference};

use super::owners::is_cluster;
use crate::cache::Stored;
use crate::kinds::{Find, Rewritten, Upgrade};
use crate::object::metadata::Edit;
use crate::object::sections::Sections;
use crate::object::wire::Malformed;

/// The rewrite.
pub(super) const UPGRADE: Upgrade = Upgrade { name: "release-cluster-owners", rewrite };

fn rewrite(application: &Stored, find: &Find<'_>) -> Result<Option<Rewritten>, Malformed> {
    let mut owners = application.metadata.owners.clone();
    let mut released = Vec::new();
    for owner in owners.iter_mut().filter(|owner| is_armed(owner)) {
        // A deletion that is under way was asked for: it goes on.
        if !is_being_deleted(find(Cluster::KIND, &owner.namespace, &owner.name), owner) {
            owner.on_delete = OnDelete::Release.into();
            released.push(format!("{}/{}", owner.namespace, owner.name));
        }
    }
    if released.is_empty() {
        return Ok(None);
    }
    let metadata = Edit::new(&application.sections.metadata).owners(owners)?.finish();
    Ok(Some(Rewritten {
        sections: Sections { metadata, ..application.sections.clone() },
        report: Some(format!("the deletion of cluster {} no longer deletes it", released.join(", "))),
    }))
}

/// Whether the reference deletes and may be one of a binding, which always names a uid.
fn is_armed(owner: &OwnerReference) -> bool {
    is_cluster(owner) && !owner.uid.is_empty() && owner.on_delete() == OnDelete::Delete
}

fn is_being_deleted(cluster: Option<Arc<Stored>>, owner: &OwnerReference) -> bool {
    cluster.is_some_and(|cluster| cluster.metadata.uid == owner.uid && cluster.metadata.deleted.is_some())
}
