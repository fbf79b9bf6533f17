//! Disarms owner references to clusters that an older version had turned into deleting ones.
//!
//! A deletion with `cascade` used to rewrite the RELEASE references of all dependents to DELETE before it marked the
//! cluster. Where it was cut off, the rewritten ones stayed, and an ordinary deletion of the cluster would have taken
//! those applications along, even if they had moved since.

use std::collections::BTreeSet;
use std::sync::Arc;

use krake_proto::Resource;
use krake_proto::krake::kubernetes::v1::{ApplicationStatus, Cluster};
use krake_proto::krake::meta::v1::{OnDelete, OwnerReference};
use prost::{DecodeError, Message};

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
    let placed = placed_on(application.sections.status.as_deref().unwrap_or_default())?;
    // A reference to any other cluster was never a placement's: it is a user's own.
    let is_placement = |owner: &&mut OwnerReference| is_armed(owner) && placed.contains(&owner.uid);
    for owner in owners.iter_mut().filter(is_placement) {
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

/// The uids of the clusters that the application is or was placed on: bindings, copies, and past placements, since an
/// application kept the rewritten reference when it moved.
fn placed_on(status: &[u8]) -> Result<BTreeSet<String>, DecodeError> {
    let status = ApplicationStatus::decode(status)?;
    let bound = status.bindings.into_iter().filter_map(|binding| binding.cluster);
    let copies = status.copies.into_iter().filter_map(|copy| copy.cluster);
    let past = status.history.into_iter().flat_map(|placement| [placement.from, placement.to]).flatten();
    Ok(bound.chain(copies).chain(past).map(|cluster| cluster.uid).collect())
}

/// Whether the reference deletes and names its cluster by uid, as references of bindings and copies do.
fn is_armed(owner: &OwnerReference) -> bool {
    is_cluster(owner) && !owner.uid.is_empty() && owner.on_delete() == OnDelete::Delete
}

fn is_being_deleted(cluster: Option<Arc<Stored>>, owner: &OwnerReference) -> bool {
    cluster.is_some_and(|cluster| cluster.metadata.uid == owner.uid && cluster.metadata.deleted.is_some())
}
