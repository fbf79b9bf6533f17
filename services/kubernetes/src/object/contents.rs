//! Looks into a Namespace or a CustomResourceDefinition: every object that would go with it, by its metadata.

use std::collections::BTreeSet;

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
/// Maximum number of objects of one kind that are looked at. Where there are more, some count as somebody else's.
const MAX_OBJECTS: usize = 10_000;
/// Lists in flight at once.
const LISTS_AT_ONCE: usize = 4;

/// What the container holds. `live`: the container itself, as it was seen.
///
/// # Errors
/// When not everything could be looked at, for a reason that may pass.
pub(crate) async fn look_into(
    connection: &Connection,
    container: &ObjectKey,
    live: &DynamicObject,
) -> Result<Contents, ClusterError> {
    let (kinds, namespace) = match definition::is_definition(container) {
        true => (definition::served_kind(&live.data).into_iter().collect(), None),
        false => (namespaced_kinds(connection).await?, Some(container.name.as_str())),
    };
    let lists: Vec<_> = kinds.iter().map(|kind| list(connection, kind, namespace).boxed()).collect();
    let lists: Vec<_> = futures::stream::iter(lists).buffered(LISTS_AT_ONCE).try_collect().await?;
    let mut contents = Contents::default();
    for (kind, listed) in kinds.into_iter().zip(lists) {
        match listed {
            Listed::Whole(items) => {
                contents.items.extend(items);
                contents.listed.insert((kind.resource.group, kind.resource.kind));
            }
            Listed::Hidden => contents.hidden.push(kind.resource.kind),
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

enum Listed {
    Whole(Vec<Item>),
    /// They may not be listed, or not all of them.
    Hidden,
}

async fn list(
    connection: &Connection,
    kind: &ResolvedKind,
    namespace: Option<&str>,
) -> Result<Listed, ClusterError> {
    let objects = connection.objects(kind, namespace);
    let mut page = ListParams::default().limit(PAGE);
    let mut found = Vec::new();
    loop {
        let list = match connection.call(objects.list_metadata(&page)).await {
            Ok(list) => list,
            Err(ClusterError::Forbidden(_)) => return Ok(Listed::Hidden),
            // It is not served any more, or cannot be listed: there is nothing of it that lasts.
            Err(ClusterError::NotFound(_)) => return Ok(Listed::Whole(found)),
            Err(ClusterError::Rejected(status)) if status.code == 405 => return Ok(Listed::Whole(found)),
            Err(error) => return Err(error),
        };
        let (api_version, name) = (&kind.resource.api_version, &kind.resource.kind);
        found.extend(list.items.into_iter().filter_map(|item| Item::of(api_version, name, item.metadata)));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(_) if found.len() >= MAX_OBJECTS => return Ok(Listed::Hidden),
            Some(token) => page = page.continue_token(&token),
            None => return Ok(Listed::Whole(found)),
        }
    }
}
