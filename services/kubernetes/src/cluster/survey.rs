//! All objects on a cluster that bear this installation's label, of every kind that it serves, by their metadata.
//!
//! Costly for a server with many objects, so it is made rarely, page by page, and one kind after the other.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::ListParams;
use kube::core::GroupVersion;
use tracing::debug;

use crate::cluster::connection::Connection;
use crate::cluster::discovery::{ResolvedKind, listable};
use crate::error::ClusterError;
use crate::object::INSTALLATION_LABEL;
use crate::object::orphan::Marked;

/// Objects per page.
const PAGE: u32 = 500;
/// The most objects of one kind that are looked at.
const MOST: usize = 20_000;
/// Kinds that nobody applies, and that would cost most: (group, kind). Endpoints copy the labels of their Service.
const LEFT_OUT: [(&str, &str); 7] = [
    ("", "Endpoints"),
    ("", "Event"),
    ("apps", "ControllerRevision"),
    ("coordination.k8s.io", "Lease"),
    ("discovery.k8s.io", "EndpointSlice"),
    ("events.k8s.io", "Event"),
    ("metrics.k8s.io", "PodMetrics"),
];

/// What was found.
#[derive(Debug, Default)]
pub struct Survey {
    /// The objects, each once.
    pub objects: Vec<Marked>,
    /// API groups of which not everything could be listed: absence tells nothing there.
    pub incomplete: BTreeSet<String>,
}

/// Looks at everything. A group or kind that cannot be listed does not keep the others.
///
/// # Errors
/// When the cluster does not tell what it serves at all, or stops to answer.
pub async fn survey(connection: &Connection, installation: &str) -> Result<Survey, ClusterError> {
    let mut found = Survey::default();
    let mut seen = BTreeSet::new();
    for kind in kinds(connection, &mut found.incomplete).await? {
        match list(connection, &kind, installation).await {
            Ok(objects) => {
                // One object may be served in several groups.
                found.objects.extend(objects.into_iter().filter(|object| seen.insert(object.uid.clone())));
            }
            Err(error) if !error.answered() => return Err(error),
            Err(error) => {
                debug!(kind = kind.resource.kind, %error, "not listed");
                found.incomplete.insert(kind.resource.group);
            }
        }
    }
    Ok(found)
}

/// Every kind that can be listed and deleted, in the version that its group prefers, or else in the first one that has it.
async fn kinds(
    connection: &Connection,
    incomplete: &mut BTreeSet<String>,
) -> Result<Vec<ResolvedKind>, ClusterError> {
    let client = connection.client();
    let mut versions = vec!["v1".to_owned()];
    for group in connection.call(client.list_api_groups()).await?.groups {
        let preferred = group.preferred_version.map(|version| version.group_version);
        let all = group.versions.into_iter().map(|version| version.group_version);
        let others: Vec<_> = all.filter(|version| Some(version) != preferred.as_ref()).collect();
        versions.extend(preferred.into_iter().chain(others));
    }
    let mut kinds: BTreeMap<(String, String), ResolvedKind> = BTreeMap::new();
    for version in versions {
        let Ok(parsed) = version.parse::<GroupVersion>() else { continue };
        let answer = if parsed.group.is_empty() {
            connection.call(client.list_core_api_resources(&parsed.version)).await
        } else {
            connection.call(client.list_api_group_resources(&version)).await
        };
        match answer {
            Ok(list) => {
                for kind in listable(&parsed, list) {
                    let name = (kind.resource.group.clone(), kind.resource.kind.clone());
                    if !LEFT_OUT.contains(&(name.0.as_str(), name.1.as_str())) {
                        kinds.entry(name).or_insert(kind);
                    }
                }
            }
            Err(error) if !error.answered() => return Err(error),
            Err(_) => drop(incomplete.insert(parsed.group)),
        }
    }
    Ok(kinds.into_values().collect())
}

async fn list(
    connection: &Connection,
    kind: &ResolvedKind,
    installation: &str,
) -> Result<Vec<Marked>, ClusterError> {
    let objects = connection.objects(kind, None);
    let mut page = ListParams::default().labels(&format!("{INSTALLATION_LABEL}={installation}")).limit(PAGE);
    let mut found = Vec::new();
    loop {
        let list = connection.call(objects.list_metadata(&page)).await?;
        found.extend(list.items.into_iter().filter_map(|item| Marked::of(kind, item.metadata)));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) if found.len() < MOST => page = page.continue_token(&token),
            _ => return Ok(found),
        }
    }
}
