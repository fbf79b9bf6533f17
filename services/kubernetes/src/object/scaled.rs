//! Finds the workloads whose replicas an autoscaler on the cluster decides on that the application did not bring along.

use std::collections::{BTreeMap, HashSet};

use kube::api::ListParams;
use kube::core::ApiResource;

use crate::cluster::connection::Connection;
use crate::cluster::discovery::ResolvedKind;
use crate::error::ClusterError;
use crate::object::ObjectKey;
use crate::object::autoscaler::{REPLICAS, owns_replicas, workload};
use crate::object::pass::Due;

/// Maximum number of autoscalers of one namespace that are looked at.
const MAX_AUTOSCALERS: u32 = 500;
/// Versions by which autoscalers are looked for. KEDA makes one of these for each of its own.
const VERSIONS: [&str; 2] = ["v2", "v1"];

/// Marks the objects whose replicas such an autoscaler decides on. Asks only where the live number differs from that of the
/// manifest, since an apply changes nothing otherwise.
pub(super) async fn find(connection: &Connection, due: &mut [Due<'_>]) {
    let mut scaled: BTreeMap<String, HashSet<ObjectKey>> = BTreeMap::new();
    for due in due.iter_mut().filter(|due| !due.scaled) {
        let key = &due.target.prepared.key;
        let Some(namespace) = key.namespace.as_deref().filter(|_| differs(due)) else { continue };
        if !scaled.contains_key(namespace) {
            let found = workloads(connection, namespace).await.unwrap_or_else(|error| {
                tracing::debug!(namespace, %error, "autoscalers are not known");
                HashSet::new()
            });
            scaled.insert(namespace.to_owned(), found);
        }
        due.scaled = scaled.get(namespace).is_some_and(|workloads| workloads.contains(key));
    }
}

/// Whether an apply would change the number of replicas of the live object.
fn differs(due: &Due<'_>) -> bool {
    let Some(live) = &due.live else { return false };
    let wanted = due.target.prepared.body.pointer(REPLICAS);
    let is = live.data.pointer(REPLICAS);
    is.is_some() && is != wanted && (wanted.is_some() || owns_replicas(live))
}

/// The workloads that autoscalers of a namespace scale.
async fn workloads(connection: &Connection, namespace: &str) -> Result<HashSet<ObjectKey>, ClusterError> {
    for version in VERSIONS {
        let resource = ApiResource {
            group: "autoscaling".to_owned(),
            version: version.to_owned(),
            api_version: format!("autoscaling/{version}"),
            kind: "HorizontalPodAutoscaler".to_owned(),
            plural: "horizontalpodautoscalers".to_owned(),
        };
        let kind = ResolvedKind { resource, namespaced: true, watchable: true, promised: false };
        let objects = connection.objects(&kind, Some(namespace));
        match connection.call(objects.list(&ListParams::default().limit(MAX_AUTOSCALERS))).await {
            Ok(list) => {
                let found = list.items.iter().filter_map(|item| workload(&item.data, Some(namespace)));
                return Ok(found.collect());
            }
            Err(ClusterError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(HashSet::new())
}
