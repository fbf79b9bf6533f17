//! What a Namespace or a CustomResourceDefinition of an application holds that is not the application's own. Deleting it
//! would take that along, so it is released instead. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::Value;

use crate::object::claims::{ClaimTemplates, Claims};
use crate::object::order::Rank;
use crate::object::{
    APPLICATION_LABEL, CLUSTER_ANNOTATION, INSTALLATION_LABEL, InventoryEntry, ObjectKey, keys, text,
};

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

/// Whether an object is the container, or one that the container holds or would hold. `live`: the container.
pub(crate) fn fits(container: &ObjectKey, live: &Value) -> impl Fn(&ObjectKey) -> bool {
    let is_namespace = Rank::of(container) == Rank::Namespace;
    let part = |path: &[&str]| text(live, path).map(str::to_owned);
    let defined = part(&["spec", "group"]).zip(part(&["spec", "names", "kind"]));
    let container = container.clone();
    move |key| {
        let is_inside = match &defined {
            _ if is_namespace => key.namespace.as_ref() == Some(&container.name),
            Some((group, kind)) => key.group() == group && key.kind == *kind,
            None => false,
        };
        is_inside || *key == container
    }
}

/// An object that a container holds: what of its metadata tells whose it is.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    key: ObjectKey,
    uid: String,
    installation: Option<String>,
    application: Option<String>,
    /// uid of the cluster in Krake that it was applied for.
    cluster: Option<String>,
    /// The ServiceAccount that it is a token of.
    token_of: Option<String>,
    owners: Vec<OwnerReference>,
    terminating: bool,
}

impl Item {
    /// From the metadata of an object of this API version and kind; nothing if it has no name.
    pub(crate) fn of(api_version: &str, kind: &str, metadata: ObjectMeta) -> Option<Self> {
        let (mut labels, mut annotations) =
            (metadata.labels.unwrap_or_default(), metadata.annotations.unwrap_or_default());
        // An empty mark is none, as for the object itself.
        let mut mark = |name: &str| labels.remove(name).filter(|mark| !mark.is_empty());
        Some(Self {
            key: ObjectKey {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
                namespace: metadata.namespace,
                name: metadata.name?,
            },
            uid: metadata.uid.unwrap_or_default(),
            installation: mark(INSTALLATION_LABEL),
            application: mark(APPLICATION_LABEL),
            cluster: annotations.remove(CLUSTER_ANNOTATION),
            token_of: annotations.remove(TOKEN_OF),
            owners: metadata.owner_references.unwrap_or_default(),
            terminating: metadata.deletion_timestamp.is_some(),
        })
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
    /// Kinds of which there are more objects than are looked at: the others count as somebody else's.
    pub(crate) crowded: Vec<String>,
}

/// Whose objects go together with a container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'a> {
    /// uuid of this installation.
    pub(crate) installation: &'a str,
    /// uid of the application.
    pub(crate) application: &'a str,
    /// uid of the cluster in Krake. Objects that were applied for another registration of the same Kubernetes cluster are of
    /// another copy, which may run. Absent: those of every registration count.
    pub(crate) cluster: Option<&'a str>,
    /// What is being removed.
    pub(crate) going: &'a [InventoryEntry],
    /// What of the copy stays.
    pub(crate) staying: &'a [InventoryEntry],
    /// The claim templates of the application's StatefulSets.
    pub(crate) claims: &'a [ClaimTemplates],
}

/// What keeps a container from being deleted, for people; nothing if it holds only what is the application's own.
pub(crate) fn held(contents: &Contents, owner: Owner<'_>) -> Option<String> {
    let going = Holding::new(contents, owner).going();
    let foreign = contents.items.iter().zip(going).filter(|(_, goes)| !goes);
    let mut names: Vec<String> = foreign.map(|(item, _)| item.key.to_string()).collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let hidden = contents.hidden.iter().take(NAMED);
    names.extend(hidden.map(|kind| format!("perhaps objects of kind {kind}, which may not be listed")));
    let crowded = contents.crowded.iter().take(NAMED);
    names.extend(crowded.map(|kind| format!("more objects than Krake looks at, those of kind {kind}")));
    match (names.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(names.join(", ")),
        (false, more) => Some(format!("{} and {more} more", names.join(", "))),
    }
}

/// What a container holds, and whose objects go together with it.
struct Holding<'a> {
    contents: &'a Contents,
    owner: Owner<'a>,
    /// The place of each item by its uid.
    by_uid: HashMap<&'a str, usize>,
    /// The ServiceAccounts by their names.
    accounts: HashMap<&'a str, &'a Item>,
    claims: Claims<'a>,
    staying: HashSet<&'a ObjectKey>,
    /// uids of what is being removed.
    recorded: HashSet<&'a str>,
}

impl<'a> Holding<'a> {
    fn new(contents: &'a Contents, owner: Owner<'a>) -> Self {
        let items = contents.items.iter();
        let accounts = items.clone().filter(|item| item.key.kind == "ServiceAccount");
        let named = items.zip(0..).filter(|(item, _)| !item.uid.is_empty());
        Self {
            by_uid: named.map(|(item, place)| (item.uid.as_str(), place)).collect(),
            accounts: accounts.map(|item| (item.key.name.as_str(), item)).collect(),
            claims: Claims::of(owner.claims, owner.going),
            staying: keys(owner.staying),
            recorded: owner.going.iter().filter_map(|entry| entry.uid.as_deref()).collect(),
            contents,
            owner,
        }
    }

    /// For each item whether it is the application's own, or goes by itself, or with all its owners. Each reference is
    /// followed once, so that no chain, fan or ring of owners takes longer.
    fn going(&self) -> Vec<bool> {
        let items = &self.contents.items;
        let mut goes = vec![false; items.len()];
        let mut ready = Vec::new();
        // How many owners of an item are not known to go, and the items that wait for an owner.
        let mut waits = vec![0_usize; items.len()];
        let mut parts: Vec<Vec<usize>> = vec![Vec::new(); items.len()];
        for (place, item) in items.iter().enumerate() {
            if self.staying.contains(&item.key) {
                continue;
            }
            if self.goes_by_itself(item) {
                ready.push(place);
                continue;
            }
            let Some(owners) = self.owners(item) else { continue };
            for owner in &owners {
                parts[*owner].push(place);
            }
            waits[place] = owners.len();
            if owners.is_empty() {
                ready.push(place);
            }
        }
        while let Some(place) = ready.pop() {
            goes[place] = true;
            for part in &parts[place] {
                waits[*part] -= 1;
                if waits[*part] == 0 {
                    ready.push(*part);
                }
            }
        }
        goes
    }

    /// Whether an item goes, whatever its owners do.
    fn goes_by_itself(&self, item: &Item) -> bool {
        let ObjectKey { kind, name, .. } = &item.key;
        item.terminating
            || item.key.group().is_empty() && OF_EVERY_NAMESPACE.contains(&(kind.as_str(), name.as_str()))
            || self.is_own(item)
            || self.claims.hold(&item.key)
            || self.is_token(item)
    }

    /// The owners of an item that have to go before the garbage collector takes it, by their places; nothing if it has no
    /// owner, or one that does not go.
    fn owners(&self, item: &Item) -> Option<Vec<usize>> {
        let mut found = Vec::new();
        for reference in &item.owners {
            if let Some(place) = self.by_uid.get(reference.uid.as_str()) {
                found.push(*place);
                continue;
            }
            let group = reference.api_version.rsplit_once('/').map_or("", |(group, _)| group);
            // It is gone if all of its kind were listed.
            let is_gone = self.contents.listed.contains(&(group.to_owned(), reference.kind.clone()));
            if !is_gone && !self.recorded.contains(reference.uid.as_str()) {
                return None;
            }
        }
        (!item.owners.is_empty()).then_some(found)
    }

    /// Whether an object is of this copy, by its marks, or by one of them and its uid: without any it was released, or somebody
    /// has taken them off, which releases it.
    fn is_own(&self, item: &Item) -> bool {
        let Owner { installation, application, cluster, .. } = self.owner;
        if let (Some(cluster), Some(applied_for)) = (cluster, &item.cluster)
            && cluster != applied_for
        {
            return false;
        }
        let marks = [item.installation.as_deref(), item.application.as_deref()];
        match marks {
            [Some(mark), Some(other)] => mark == installation && other == application,
            [None, None] => false,
            [mark, other] => {
                mark.is_none_or(|mark| mark == installation)
                    && other.is_none_or(|other| other == application)
                    && self.recorded.contains(item.uid.as_str())
            }
        }
    }

    /// Whether an object is the token of a ServiceAccount that every namespace has, or that goes.
    fn is_token(&self, item: &Item) -> bool {
        item.key.kind == "Secret"
            && item.token_of.as_deref().is_some_and(|account| {
                let found = self.accounts.get(account);
                account == "default" || found.is_none_or(|found| self.is_own(found))
            })
    }
}

#[cfg(test)]
mod tests;
