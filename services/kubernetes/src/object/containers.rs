//! What a Namespace or a CustomResourceDefinition of an application holds that is not the application's own. Deleting it
//! would take that along, so it is released instead. Pure.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::object::order::Rank;
use crate::object::{APPLICATION_LABEL, INSTALLATION_LABEL, Identity, InventoryEntry, ObjectKey, keys};

/// Maximum number of objects that are named.
const NAMED: usize = 3;
/// What every namespace holds: (kind, name). Events, Leases, Endpoints and EndpointSlices are not looked for at all.
const OF_EVERY_NAMESPACE: [(&str, &str); 2] =
    [("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")];
/// Annotation of a Secret with the token of a ServiceAccount, on Kubernetes before 1.24.
const TOKEN_OF: &str = "kubernetes.io/service-account.name";

/// Whether deleting the object deletes others with it.
pub(crate) fn is_container(key: &ObjectKey) -> bool {
    matches!(Rank::of(key), Rank::Namespace | Rank::Definition)
}

/// An object that a container holds.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    key: ObjectKey,
    metadata: ObjectMeta,
}

impl Item {
    /// From the metadata of an object of this API version and kind; nothing if it has no name.
    pub(crate) fn of(api_version: &str, kind: &str, metadata: ObjectMeta) -> Option<Self> {
        let key = ObjectKey {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone()?,
        };
        Some(Self { key, metadata })
    }

    fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }
}

/// What a container was found to hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    /// The objects.
    pub(crate) items: Vec<Item>,
    /// (group, kind) of everything that was listed whole.
    pub(crate) listed: BTreeSet<(String, String)>,
    /// Kinds whose objects may not be listed: they count as somebody else's.
    pub(crate) hidden: Vec<String>,
}

/// Whose objects go together with a container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'a> {
    /// The marks of the application.
    pub(crate) identity: &'a Identity,
    /// What is being removed.
    pub(crate) going: &'a [InventoryEntry],
    /// What of the copy stays.
    pub(crate) staying: &'a [InventoryEntry],
}

/// What keeps a container from being deleted, for people; nothing if it holds only what is the application's own.
pub(crate) fn held(contents: &Contents, owner: Owner<'_>) -> Option<String> {
    let by_uid: BTreeMap<&str, &Item> = contents.items.iter().map(|item| (item.uid(), item)).collect();
    let going = owner.going.iter().filter_map(|entry| entry.uid.as_deref()).collect();
    let holding = Holding { contents, by_uid, owner, staying: keys(owner.staying), going };
    let foreign = contents.items.iter().filter(|item| !holding.goes(item, 0));
    let mut names: Vec<String> = foreign.map(|item| item.key.to_string()).collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let hidden = contents.hidden.iter().take(NAMED);
    names.extend(hidden.map(|kind| format!("perhaps objects of kind {kind}, which may not be listed")));
    match (names.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(names.join(", ")),
        (false, more) => Some(format!("{} and {more} more", names.join(", "))),
    }
}

/// Longest chain of owners that is followed.
const MAX_OWNERS: usize = 8;

/// What a container holds, and whose objects go together with it.
struct Holding<'a> {
    contents: &'a Contents,
    by_uid: BTreeMap<&'a str, &'a Item>,
    owner: Owner<'a>,
    staying: HashSet<&'a ObjectKey>,
    /// uids of what is being removed.
    going: HashSet<&'a str>,
}

impl Holding<'_> {
    /// Whether an object is the application's own, or goes by itself. `depth`: length of the chain of owners before it.
    fn goes(&self, item: &Item, depth: usize) -> bool {
        let Self { owner, .. } = self;
        if self.staying.contains(&item.key) {
            return false;
        }
        item.metadata.deletion_timestamp.is_some()
            || item.key.group().is_empty()
                && OF_EVERY_NAMESPACE.contains(&(item.key.kind.as_str(), item.key.name.as_str()))
            || self.is_own(item)
            || is_claim(&item.key, owner.going)
            || self.is_token(item)
            || depth < MAX_OWNERS && self.is_owned(item, depth)
    }

    /// Whether each owner of an object goes, or is gone, so that the garbage collector takes the object.
    fn is_owned(&self, item: &Item, depth: usize) -> bool {
        let owners = item.metadata.owner_references.as_deref().unwrap_or_default();
        let mut each = owners.iter().map(|reference| {
            if self.going.contains(reference.uid.as_str()) {
                return true;
            }
            match self.by_uid.get(reference.uid.as_str()) {
                Some(found) => self.goes(found, depth + 1),
                None => {
                    let group = reference.api_version.rsplit_once('/').map_or("", |(group, _)| group);
                    self.contents.listed.contains(&(group.to_owned(), reference.kind.clone()))
                }
            }
        });
        !owners.is_empty() && each.all(|goes| goes)
    }

    /// Whether an object is of the application, by its marks or by its uid.
    fn is_own(&self, item: &Item) -> bool {
        let identity = self.owner.identity;
        let label = |name: &str| item.metadata.labels.as_ref().and_then(|labels| labels.get(name));
        let marked = label(INSTALLATION_LABEL).is_some_and(|value| *value == identity.installation)
            && label(APPLICATION_LABEL).is_some_and(|value| value == identity.application.as_str());
        marked || self.going.contains(item.uid())
    }

    /// Whether an object is the token of a ServiceAccount that every namespace has, or that goes.
    fn is_token(&self, item: &Item) -> bool {
        let account = item.metadata.annotations.as_ref().and_then(|all| all.get(TOKEN_OF));
        item.key.kind == "Secret"
            && account.is_some_and(|account| {
                let all = self.contents.items.iter();
                let mut accounts = all.filter(|other| other.key.kind == "ServiceAccount");
                let found = accounts.find(|other| other.key.name == *account);
                account == "default" || found.is_none_or(|found| self.is_own(found))
            })
    }
}

/// Whether an object is a volume claim that a StatefulSet of the application made: `<template>-<set>-<number>`.
fn is_claim(key: &ObjectKey, going: &[InventoryEntry]) -> bool {
    let sets = going.iter().map(|entry| &entry.key);
    let mut sets = sets.filter(|set| {
        (set.group(), set.kind.as_str()) == ("apps", "StatefulSet") && set.namespace == key.namespace
    });
    let made_by = |set: &ObjectKey| {
        let (rest, number) = key.name.rsplit_once('-')?;
        let template = rest.strip_suffix(set.name.as_str())?.strip_suffix('-')?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        (is_number && !template.is_empty()).then_some(())
    };
    (key.group(), key.kind.as_str()) == ("", "PersistentVolumeClaim")
        && sets.any(|set| made_by(set).is_some())
}

#[cfg(test)]
mod tests;
