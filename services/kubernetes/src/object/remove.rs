//! Removing the objects of a copy from a cluster: only those that bear our marks, each under its uid.

use std::collections::BTreeMap;

use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use tracing::Instrument;

use crate::cluster::connection::Connection;
use crate::cluster::discovery::{Discovery, DiscoveryError, ResolvedKind};
use crate::error::ClusterError;
use crate::object::orphan::Marked;
use crate::object::ownership::{self, Holder};
use crate::object::{
    ADOPTED_ANNOTATION, APPLICATION_LABEL, CLUSTER_ANNOTATION, EPOCH_ANNOTATION, FIELD_MANAGER,
    INSTALLATION_LABEL, Identity, InventoryEntry, ObjectKey,
};

/// An object that is not gone yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// The object.
    pub key: ObjectKey,
    /// What it waits for, for people.
    pub waits_for: String,
}

/// What one object came to.
enum Fate {
    Gone,
    Remains(String),
}

/// Asks the cluster to delete every object of `inventory` that is marked as `identity`'s, last applied first, and releases
/// those that existed before. Returns what is not gone yet; repeat until that is nothing. Objects that bear no marks of
/// ours, or somebody else's, are left alone and count as gone, and so do those that were never accepted and may not be
/// read. Trouble with one object does not keep the others.
pub async fn remove(
    connection: &Connection,
    discovery: &Discovery,
    inventory: &[InventoryEntry],
    identity: &Identity,
) -> Vec<Remaining> {
    let mut remaining = Vec::new();
    for InventoryEntry { key, uid } in inventory.iter().rev() {
        let fate = match discovery.resolve_any_version(&key.api_version, &key.kind).await {
            Ok(kind) => {
                let span = tracing::info_span!("remove", otel.kind = "client", object = %key,
                    cluster = identity.cluster.as_str());
                remove_one(connection, &kind, key, uid.as_deref(), identity).instrument(span).await
            }
            // The server says that it has no such kind in any version, so it has no such object.
            Err(DiscoveryError::Unsupported { .. }) => Ok(Fate::Gone),
            Err(DiscoveryError::Cluster(error)) => Err(error),
        };
        match fate {
            Ok(Fate::Gone) => {}
            Ok(Fate::Remains(waits_for)) => remaining.push(Remaining { key: key.clone(), waits_for }),
            // All objects are read before one is written, so what may not be read and was never accepted is not there. If it
            // is all the same, written by a process that ended before it could record it, it is an orphan.
            Err(ClusterError::Forbidden(_)) if uid.is_none() => {}
            Err(error) => remaining.push(Remaining { key: key.clone(), waits_for: error.to_string() }),
        }
    }
    remaining
}

async fn remove_one(
    connection: &Connection,
    kind: &ResolvedKind,
    key: &ObjectKey,
    recorded: Option<&str>,
    identity: &Identity,
) -> Result<Fate, ClusterError> {
    let objects = connection.objects(kind, key.namespace.as_deref());
    let Some(live) = connection.find(&objects, &key.name).await? else {
        return Ok(Fate::Gone);
    };
    if live.metadata.labels.as_ref().is_none_or(|labels| !is_marked(labels)) {
        // Somebody has taken both marks off, which releases it.
        return Ok(Fate::Gone);
    }
    let Holder::Ours(facts) = ownership::holder(Some(&live.metadata), identity, recorded) else {
        return Ok(Fate::Gone);
    };
    let applied_for = live.metadata.annotations.as_ref().and_then(|all| all.get(CLUSTER_ANNOTATION));
    if applied_for.is_some_and(|cluster| cluster != identity.cluster.as_str()) {
        // By now it is the copy of another registration of this cluster.
        return Ok(Fate::Gone);
    }
    if facts.adopted {
        let released = release(connection, kind, key, &facts.uid, &facts.resource_version).await;
        return settle(released, Fate::Gone);
    }
    if facts.terminating {
        let finalizers = live.metadata.finalizers.unwrap_or_default();
        return Ok(Fate::Remains(if finalizers.is_empty() {
            "its deletion".to_owned()
        } else {
            format!("its finalizers {}", finalizers.join(", "))
        }));
    }
    let guard = Preconditions { uid: Some(facts.uid), resource_version: None };
    let deletion = DeleteParams::background().preconditions(guard);
    let deleted = connection.call(objects.delete(&key.name, &deletion)).await;
    let after = match &deleted {
        // An object in the answer means that it only begins to go.
        Ok(answer) if answer.is_left() => Fate::Remains("its deletion".to_owned()),
        _ => Fate::Gone,
    };
    settle(deleted.map(|_| ()), after)
}

fn is_marked(labels: &BTreeMap<String, String>) -> bool {
    [INSTALLATION_LABEL, APPLICATION_LABEL].iter().any(|label| labels.contains_key(*label))
}

/// Removes one object that belongs to nobody, if it still is exactly what was seen; one that existed before is released.
/// Tells whether it was: if not, somebody changed it, and it has to be judged again.
pub async fn sweep(connection: &Connection, orphan: &Marked) -> Result<bool, ClusterError> {
    let Marked { kind, key, uid, resource_version, .. } = orphan;
    let outcome = if orphan.adopted {
        release(connection, kind, key, uid, resource_version).await
    } else {
        let guard =
            Preconditions { uid: Some(uid.clone()), resource_version: Some(resource_version.clone()) };
        let deletion = DeleteParams::background().preconditions(guard);
        let objects = connection.objects(kind, key.namespace.as_deref());
        connection.call(objects.delete(&key.name, &deletion)).await.map(|_| ())
    };
    match outcome {
        Ok(()) => Ok(true),
        Err(ClusterError::NotFound(_) | ClusterError::Conflict(_)) => Ok(false),
        // Servers answer a wrong uid in a patch with "immutable field".
        Err(ClusterError::Rejected(_)) if orphan.adopted => Ok(false),
        Err(error) => Err(error),
    }
}

fn settle(outcome: Result<(), ClusterError>, done: Fate) -> Result<Fate, ClusterError> {
    match outcome {
        Ok(()) => Ok(done),
        Err(ClusterError::NotFound(_)) => Ok(Fate::Gone),
        // Another object has the name by now, or it changed: the next look decides.
        Err(ClusterError::Conflict(_)) => Ok(Fate::Remains("another look: it changed".to_owned())),
        Err(error) => Err(error),
    }
}

/// Takes our marks off an object that existed before, and leaves the rest as it is.
async fn release(
    connection: &Connection,
    kind: &ResolvedKind,
    key: &ObjectKey,
    uid: &str,
    resource_version: &str,
) -> Result<(), ClusterError> {
    let patch = json!({"metadata": {
        "uid": uid,
        "resourceVersion": resource_version,
        "labels": {INSTALLATION_LABEL: null, APPLICATION_LABEL: null},
        "annotations": {ADOPTED_ANNOTATION: null, EPOCH_ANNOTATION: null, CLUSTER_ANNOTATION: null},
    }});
    let objects = connection.objects(kind, key.namespace.as_deref());
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    connection.call(objects.patch(&key.name, &params, &Patch::Merge(&patch))).await?;
    Ok(())
}
