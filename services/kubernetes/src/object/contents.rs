//! Looks into a Namespace or a CustomResourceDefinition: every object that would go with it, by its metadata.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{FutureExt, StreamExt, TryStreamExt};
use kube::api::{DynamicObject, ListParams};

use crate::cluster::connection::Connection;
use crate::cluster::discovery::ResolvedKind;
use crate::cluster::survey;
use crate::error::ClusterError;
use crate::object::containers::{Contents, Item};
use crate::object::{ObjectKey, definition};

/// Objects per page.
const PAGE: u32 = 500;
/// Lists in flight at once.
const LISTS_AT_ONCE: usize = 4;

/// How much is looked at. Where there is more, the rest counts as somebody else's.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Maximum number of objects of one kind.
    of_kind: usize,
    /// Maximum number of objects of all kinds.
    objects: usize,
    /// Maximum number of pages of one kind: pages that bring nothing may go on for ever.
    pages: usize,
}

const LIMITS: Limits = Limits { of_kind: 10_000, objects: 50_000, pages: 200 };

/// What the container holds. `live`: the container itself, as it was seen.
///
/// # Errors
/// When not everything could be looked at, for a reason that may pass.
pub(crate) async fn look_into(
    connection: &Connection,
    container: &ObjectKey,
    live: &DynamicObject,
) -> Result<Contents, ClusterError> {
    if !definition::is_definition(container) {
        let kinds = namespaced_kinds(connection).await?;
        return contents(connection, kinds, Some(&container.name), LIMITS).await;
    }
    match definition::served_kind(&live.data) {
        // It was never served, so there is nothing of it: once a definition is established, it stays so.
        Some(_) if definition::has_no_names(&live.data) => Ok(Contents::default()),
        Some(kind) => contents(connection, vec![kind], None, LIMITS).await,
        // Objects may be stored all the same.
        None => Ok(Contents { hidden: vec![container.name.clone()], ..Contents::default() }),
    }
}

async fn contents(
    connection: &Connection,
    kinds: Vec<ResolvedKind>,
    namespace: Option<&str>,
    limits: Limits,
) -> Result<Contents, ClusterError> {
    let sum = AtomicUsize::new(0);
    let lists = kinds.iter().map(|kind| list(connection, kind, namespace, limits, &sum).boxed());
    let lists: Vec<_> = lists.collect();
    let lists: Vec<_> = futures::stream::iter(lists).buffered(LISTS_AT_ONCE).try_collect().await?;
    let mut contents = Contents::default();
    for (kind, (items, end)) in kinds.into_iter().zip(lists) {
        contents.items.extend(items);
        match end {
            End::Whole => drop(contents.listed.insert((kind.resource.group, kind.resource.kind))),
            End::Hidden => contents.hidden.push(kind.resource.kind),
            End::Crowded => contents.crowded.push(kind.resource.kind),
        }
    }
    Ok(contents)
}

async fn namespaced_kinds(connection: &Connection) -> Result<Vec<ResolvedKind>, ClusterError> {
    let mut incomplete = BTreeSet::new();
    let kinds = survey::kinds(connection, &mut incomplete).await?;
    if !incomplete.is_empty() {
        let groups = incomplete.into_iter().collect::<Vec<_>>().join(", ");
        let why = format!("the API groups {groups} do not answer, so that its contents are not known");
        return Err(ClusterError::Busy(why.into()));
    }
    Ok(kinds.into_iter().filter(|kind| kind.namespaced).collect())
}

/// How the list of a kind ended.
enum End {
    /// These are all.
    Whole,
    /// They may not be listed.
    Hidden,
    /// There are more than are looked at.
    Crowded,
}

/// The objects of a kind. `sum`: how many were found of all kinds.
async fn list(
    connection: &Connection,
    kind: &ResolvedKind,
    namespace: Option<&str>,
    limits: Limits,
    sum: &AtomicUsize,
) -> Result<(Vec<Item>, End), ClusterError> {
    let objects = connection.objects(kind, namespace);
    let mut page = ListParams::default().limit(PAGE);
    let mut found = Vec::new();
    for _ in 0..limits.pages {
        let list = match connection.call(objects.list_metadata(&page)).await {
            Ok(list) => list,
            Err(ClusterError::Forbidden(_)) => return Ok((found, End::Hidden)),
            // The cluster has just said that it serves the kind. Either it does not any more, which the next look shows, or
            // what stands before it answers so, and nothing is known.
            Err(ClusterError::NotFound(_)) => {
                let kind = &kind.resource.kind;
                let why = format!("it lists the kind {kind} and answers that there is none");
                return Err(ClusterError::Busy(why.into()));
            }
            // It cannot be listed: there is nothing of it that lasts.
            Err(ClusterError::Rejected(status)) if status.code == 405 => return Ok((found, End::Whole)),
            Err(error) => return Err(error),
        };
        let all = sum.fetch_add(list.items.len(), Ordering::Relaxed) + list.items.len();
        let (api_version, name) = (&kind.resource.api_version, &kind.resource.kind);
        found.extend(list.items.into_iter().filter_map(|item| Item::of(api_version, name, item.metadata)));
        let is_crowded = found.len() >= limits.of_kind || all >= limits.objects;
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            None => return Ok((found, End::Whole)),
            Some(_) if is_crowded => break,
            Some(token) => page = page.continue_token(&token),
        }
    }
    Ok((found, End::Crowded))
}

#[cfg(test)]
mod tests;
