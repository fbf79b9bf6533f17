//! Finds the workloads whose replicas an autoscaler on the cluster decides on that the application did not bring along.

use std::collections::{BTreeMap, HashSet};

use kube::api::ListParams;
use kube::core::ApiResource;

use crate::cluster::connection::Connection;
use crate::cluster::discovery::ResolvedKind;
use crate::error::ClusterError;
use crate::object::ObjectKey;
use crate::object::autoscaler::{self, REPLICAS, Scaling, owns_replicas, workload};
use crate::object::pass::Due;

/// Autoscalers per page of a list.
const PAGE: u32 = 500;
/// Maximum number of pages of one kind in one namespace. Where there are more, a workload that is on none of them may be
/// scaled or not.
const MAX_PAGES: usize = 20;

/// A kind of autoscalers: the versions in which it is looked for, the first that is served counts.
struct Kind {
    group: &'static str,
    versions: &'static [&'static str],
    kind: &'static str,
    plural: &'static str,
    /// Every Kubernetes serves one of the versions, so that "not found" is believed only of a server that does not name the
    /// group either: what stands before the API server may have answered.
    is_built_in: bool,
}

/// The kinds of autoscalers. KEDA makes a HorizontalPodAutoscaler for each of its own, but not while that is paused.
const KINDS: [Kind; 2] = [
    Kind {
        group: "autoscaling",
        versions: &["v2", "v1"],
        kind: "HorizontalPodAutoscaler",
        plural: "horizontalpodautoscalers",
        is_built_in: true,
    },
    Kind {
        group: "keda.sh",
        versions: &["v1alpha1"],
        kind: "ScaledObject",
        plural: "scaledobjects",
        is_built_in: false,
    },
];

/// Marks the objects whose replicas such an autoscaler decides on, or may decide on. Asks only where the live number differs
/// from that of the manifest, since an apply changes nothing otherwise.
pub(super) async fn find(connection: &Connection, due: &mut [Due<'_>]) {
    let mut found: BTreeMap<String, Autoscalers> = BTreeMap::new();
    for due in due.iter_mut().filter(|due| due.scaling == Scaling::No) {
        let key = &due.target.prepared.key;
        let Some(namespace) = key.namespace.as_deref().filter(|_| differs(due)) else { continue };
        if !found.contains_key(namespace) {
            found.insert(namespace.to_owned(), autoscalers(connection, namespace).await);
        }
        due.scaling = found.get(namespace).map_or(Scaling::No, |found| found.decide(key));
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

/// What was found out about the autoscalers of a namespace.
#[derive(Debug, Default)]
struct Autoscalers {
    /// The workloads that they scale.
    workloads: HashSet<ObjectKey>,
    /// Why there may be others.
    trouble: Option<ClusterError>,
}

impl Autoscalers {
    /// Whether one of them decides on the replicas of a workload. What was found counts, whatever could not be read.
    fn decide(&self, workload: &ObjectKey) -> Scaling {
        match &self.trouble {
            _ if self.workloads.contains(workload) => Scaling::Yes,
            Some(trouble) => Scaling::Unknown(trouble.clone()),
            None => Scaling::No,
        }
    }
}

/// The autoscalers of a namespace, as far as they can be read.
async fn autoscalers(connection: &Connection, namespace: &str) -> Autoscalers {
    let mut found = Autoscalers::default();
    for kind in &KINDS {
        let Err(error) = of_kind(connection, namespace, kind, &mut found.workloads).await else { continue };
        tracing::debug!(namespace, kind = kind.kind, %error, "autoscalers are not known");
        // Without the right to read them nothing is known of them, now and later: documented as if there were none.
        let is_settled = matches!(error, ClusterError::Forbidden(_) | ClusterError::Rejected(_));
        if !is_settled {
            let is_silent = !error.answered();
            found.trouble.get_or_insert(error.map_message(|why| {
                format!("its replicas stay as they are, since autoscalers cannot be read: {why}")
            }));
            if is_silent {
                break;
            }
        }
    }
    found
}

/// Adds the workloads that the autoscalers of one kind scale.
///
/// # Errors
/// When not all of these autoscalers could be read.
async fn of_kind(
    connection: &Connection,
    namespace: &str,
    kind: &Kind,
    workloads: &mut HashSet<ObjectKey>,
) -> Result<(), ClusterError> {
    for version in kind.versions {
        let resource = ApiResource {
            group: kind.group.to_owned(),
            version: (*version).to_owned(),
            api_version: format!("{}/{version}", kind.group),
            kind: kind.kind.to_owned(),
            plural: kind.plural.to_owned(),
        };
        match of_version(connection, namespace, resource, workloads).await {
            Err(ClusterError::NotFound(_)) => {}
            answer => return answer,
        }
    }
    let groups = match kind.is_built_in {
        true => connection.call(connection.client().list_api_groups()).await?.groups,
        false => return Ok(()),
    };
    if !groups.iter().any(|group| group.name == kind.group) {
        return Ok(());
    }
    let message = format!("it has the group {} and answers that there is no {}", kind.group, kind.kind);
    Err(ClusterError::Busy(message.into()))
}

async fn of_version(
    connection: &Connection,
    namespace: &str,
    resource: ApiResource,
    workloads: &mut HashSet<ObjectKey>,
) -> Result<(), ClusterError> {
    let kind = ResolvedKind { resource, namespaced: true, watchable: true, promised: false };
    let objects = connection.objects(&kind, Some(namespace));
    let mut page = ListParams::default().limit(PAGE);
    for _ in 0..MAX_PAGES {
        let list = connection.call(objects.list(&page)).await?;
        workloads.extend(list.items.iter().filter_map(|item| workload(&item.data, Some(namespace))));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(()),
        }
    }
    Err(ClusterError::Busy(format!("there are more than {MAX_PAGES} pages of them").into()))
}

#[cfg(test)]
mod tests;
