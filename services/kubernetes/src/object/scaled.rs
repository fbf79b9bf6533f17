//! Finds the workloads whose replicas an autoscaler on the cluster decides on that the application did not bring along.

use std::collections::{BTreeMap, HashSet};

use kube::api::ListParams;
use kube::core::ApiResource;

use crate::cluster::connection::Connection;
use crate::cluster::discovery::ResolvedKind;
use crate::error::ClusterError;
use crate::object::ObjectKey;
use crate::object::autoscaler::{self, REPLICAS, owns_replicas, workload};
use crate::object::pass::Due;

/// Maximum number of autoscalers of one namespace that are looked at.
const MAX_AUTOSCALERS: u32 = 500;
const HPA: (&str, &str) = ("HorizontalPodAutoscaler", "horizontalpodautoscalers");
/// The kinds of autoscalers, each by the versions in which it is looked for: group, version, kind, plural. KEDA makes a
/// HorizontalPodAutoscaler for each of its own, but not while that is paused.
const KINDS: &[&[(&str, &str, &str, &str)]] = &[
    &[("autoscaling", "v2", HPA.0, HPA.1), ("autoscaling", "v1", HPA.0, HPA.1)],
    &[("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects")],
];

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

/// Whether an apply would change the number of replicas of the live object, or a new one begins with other replicas than it
/// had elsewhere.
fn differs(due: &Due<'_>) -> bool {
    let Some(live) = &due.live else {
        return due.start.is_some_and(|start| start > autoscaler::wanted(&due.target.prepared.body));
    };
    let wanted = due.target.prepared.body.pointer(REPLICAS);
    let is = live.data.pointer(REPLICAS);
    is.is_some() && is != wanted && (wanted.is_some() || owns_replicas(live))
}

/// The workloads that autoscalers of a namespace scale.
async fn workloads(connection: &Connection, namespace: &str) -> Result<HashSet<ObjectKey>, ClusterError> {
    let mut found = HashSet::new();
    for versions in KINDS {
        for (group, version, kind, plural) in *versions {
            let resource = ApiResource {
                group: (*group).to_owned(),
                version: (*version).to_owned(),
                api_version: format!("{group}/{version}"),
                kind: (*kind).to_owned(),
                plural: (*plural).to_owned(),
            };
            let kind = ResolvedKind { resource, namespaced: true, watchable: true, promised: false };
            let objects = connection.objects(&kind, Some(namespace));
            match connection.call(objects.list(&ListParams::default().limit(MAX_AUTOSCALERS))).await {
                Ok(list) => {
                    let targets = list.items.iter().filter_map(|item| workload(&item.data, Some(namespace)));
                    found.extend(targets);
                    break;
                }
                Err(ClusterError::NotFound(_)) => {}
                // What else is known of the namespace counts all the same.
                Err(error @ (ClusterError::Forbidden(_) | ClusterError::Rejected(_))) => {
                    tracing::debug!(namespace, %error, "autoscalers of a kind are not known");
                    break;
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}
