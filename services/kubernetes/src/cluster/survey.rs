//! All objects on a cluster that bear this installation's label, of every kind that it serves, by their metadata.
//!
//! Costly for a server with many objects, so it is made rarely, page by page, and one kind after the other; and in turns,
//! so that slow clusters do not keep others waiting.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::time::Duration;

use kube::api::ListParams;
use kube::core::GroupVersion;
use tokio::time::Instant;
use tracing::debug;

use crate::cluster::connection::Connection;
use crate::cluster::discovery::{ResolvedKind, listable};
use crate::error::ClusterError;
use crate::object::INSTALLATION_LABEL;
use crate::object::orphan::Marked;

/// Objects per page.
const PAGE: u32 = 500;
/// Maximum number of pages of one kind: those that bring little may go on for ever.
const MAX_PAGES_OF_KIND: usize = 1_000;
/// Maximum number of kinds that are listed.
const MAX_KINDS: usize = 10_000;
/// How often a kind is listed from its beginning again after its next page has expired.
const MAX_RESTARTS: usize = 3;
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

/// How much one survey takes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SurveyLimits {
    /// Maximum number of objects of one kind that are looked at.
    pub of_kind: usize,
    /// Maximum number of objects that are kept, of all kinds.
    pub objects: usize,
}

impl Default for SurveyLimits {
    fn default() -> Self {
        Self { of_kind: 20_000, objects: 100_000 }
    }
}

/// A survey of one cluster, complete or on its way.
#[derive(Debug, Default)]
pub struct Survey {
    limits: SurveyLimits,
    /// The objects, each once.
    pub objects: Vec<Marked>,
    /// API groups of which not everything could be listed: absence tells nothing there.
    pub incomplete: BTreeSet<String>,
    /// uids of `objects`: one object may be served in several groups.
    seen: HashSet<String>,
    /// What is still to be listed; `None` before the cluster was asked what it serves.
    rest: Option<VecDeque<Listing>>,
}

/// A kind that is not listed to its end.
#[derive(Debug)]
struct Listing {
    kind: ResolvedKind,
    /// The next page; empty for the first.
    page: String,
    /// Number of objects on the pages before.
    found: usize,
    /// Number of pages before, also of those that expired.
    pages: usize,
    /// Number of times that its pages have expired.
    restarts: usize,
}

impl Survey {
    /// A survey that has not begun.
    pub fn within(limits: SurveyLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Goes on for about as long as `turn`: to the end of the page during which that time ends. Returns whether everything
    /// was looked at. A group or kind that cannot be listed does not keep the others.
    ///
    /// # Errors
    /// When the cluster does not tell what it serves at all, or stops to answer.
    pub async fn go_on(
        &mut self,
        connection: &Connection,
        installation: &str,
        turn: Duration,
    ) -> Result<bool, ClusterError> {
        let end = Instant::now() + turn;
        let mut rest = match self.rest.take() {
            Some(rest) => rest,
            None => {
                let kinds = kinds(connection, &mut self.incomplete).await?;
                let listing = |kind| Listing { kind, page: String::new(), found: 0, pages: 0, restarts: 0 };
                kinds.into_iter().map(listing).collect()
            }
        };
        while let Some(listing) = rest.pop_front() {
            if let Some(left) = self.page(connection, installation, listing).await? {
                rest.push_front(left);
            }
            if Instant::now() >= end {
                break;
            }
        }
        let complete = rest.is_empty();
        self.rest = Some(rest);
        Ok(complete)
    }

    /// Reads one page of a kind. Returns what is left of the kind.
    async fn page(
        &mut self,
        connection: &Connection,
        installation: &str,
        listing: Listing,
    ) -> Result<Option<Listing>, ClusterError> {
        let Listing { kind, page, found, pages, restarts } = listing;
        let label = format!("{INSTALLATION_LABEL}={installation}");
        let mut params = ListParams::default().labels(&label).limit(PAGE);
        if !page.is_empty() {
            params = params.continue_token(&page);
        }
        let list = match connection.call(connection.objects(&kind, None).list_metadata(&params)).await {
            Ok(list) => list,
            Err(error) if !error.answered() => return Err(error),
            Err(error) if expired(&error) && !page.is_empty() && restarts < MAX_RESTARTS => {
                let restarts = restarts + 1;
                return Ok(Some(Listing { kind, page: String::new(), found: 0, pages, restarts }));
            }
            Err(error) => {
                debug!(kind = kind.resource.kind, %error, "not listed");
                self.incomplete.insert(kind.resource.group);
                return Ok(None);
            }
        };
        let found = found + list.items.len();
        let objects = list.items.into_iter().filter_map(|item| Marked::of(&kind, item.metadata));
        for object in objects {
            if self.objects.len() >= self.limits.objects {
                self.incomplete.insert(kind.resource.group);
                return Ok(None);
            }
            if self.seen.insert(object.uid.clone()) {
                self.objects.push(object);
            }
        }
        let pages = pages + 1;
        let goes_on = found < self.limits.of_kind && pages < MAX_PAGES_OF_KIND;
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(page) if goes_on => Ok(Some(Listing { kind, page, found, pages, restarts })),
            Some(_) => {
                // The rest may be there or not.
                self.incomplete.insert(kind.resource.group);
                Ok(None)
            }
            None => Ok(None),
        }
    }
}

/// Whether the next page of a list is no longer there (410).
fn expired(error: &ClusterError) -> bool {
    error.status().is_some_and(|status| status.code == 410)
}

/// Every kind that can be listed and deleted, in the version that its group prefers, or else in the first one that has it.
pub(crate) async fn kinds(
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
                    if kinds.len() >= MAX_KINDS {
                        incomplete.insert(kind.resource.group);
                        continue;
                    }
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
