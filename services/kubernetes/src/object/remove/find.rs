//! Where an object of an inventory is: by the version that it was applied by, or another one in which its kind is served.

use kube::api::DynamicObject;

use crate::cluster::connection::{Connection, LookUp};
use crate::cluster::discovery::{Discovery, DiscoveryError, ResolvedKind};
use crate::error::ClusterError;
use crate::object::ObjectKey;

/// Versions that an object is looked for by: that which is remembered, and another one if it was withdrawn.
const LOOKS_BY_VERSION: usize = 2;

/// What a cluster says of an object.
pub(super) enum Found {
    Object(ResolvedKind, Box<DynamicObject>),
    NoObject,
    /// It has no such kind in any version, so it has no such object.
    NoKind,
}

/// Looks for an object by a version in which its kind is served.
pub(super) async fn find(
    connection: &Connection,
    discovery: &Discovery,
    key: &ObjectKey,
) -> Result<Found, ClusterError> {
    for look in 1..=LOOKS_BY_VERSION {
        let kind = match discovery.resolve_any_version(&key.api_version, &key.kind).await {
            Ok(kind) => kind,
            Err(DiscoveryError::Unsupported { .. }) => return Ok(Found::NoKind),
            Err(DiscoveryError::Cluster(error)) => return Err(error),
        };
        let objects = connection.objects(&kind, key.namespace.as_deref());
        match connection.look_up(&objects, &key.name).await? {
            LookUp::Found(live) => return Ok(Found::Object(kind, live)),
            LookUp::NoSuchObject => return Ok(Found::NoObject),
            // The cluster has just said that it serves the kind, so it is the object that is not there.
            LookUp::NoSuchObjectOrKind if look == LOOKS_BY_VERSION => return Ok(Found::NoObject),
            // The version may have been withdrawn since the cluster was asked for its kinds.
            LookUp::NoSuchKind | LookUp::NoSuchObjectOrKind => {
                discovery.forget(&kind.resource.api_version);
            }
        }
    }
    Err(ClusterError::Unreachable("it lists the kind and does not serve it".to_owned()))
}
