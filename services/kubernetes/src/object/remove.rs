//! Removing the objects of a copy from a cluster: only those that bear our marks, each under its uid, wave by wave.

mod find;

use std::collections::{BTreeMap, HashSet};

use futures::{FutureExt, StreamExt};
use kube::api::{DeleteParams, DynamicObject, Preconditions};
use serde_json::Value;
use tokio::time::Instant;
use tracing::Instrument;

use crate::cluster::connection::Connection;
use crate::cluster::discovery::{Discovery, ResolvedKind};
use crate::error::{ClusterError, shortened};
use crate::object::claims::ClaimTemplates;
use crate::object::containers::{self, Owner};
use crate::object::contents::look_into;
use crate::object::ownership::{self, Holder, Live, Others};
use crate::object::release::release;
use crate::object::waves::{self, Ends, State, Wait, Wave};
use crate::object::{
    APPLICATION_LABEL, ApplicationUid, CLUSTER_ANNOTATION, INSTALLATION_LABEL, Identity, InventoryEntry,
    MADE_LABEL, ObjectKey, field, text,
};
use find::{Found, find};

/// Objects that are looked at at once.
const LOOKS_AT_ONCE: usize = 8;

/// The finalizer by which Kubernetes keeps an object until what it owns is gone.
const FOREGROUND: &str = "foregroundDeletion";

/// An object that is not gone yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// The object.
    pub key: ObjectKey,
    /// What it waits for. Nothing: its turn comes when what goes before it is gone.
    pub waits_for: Option<Wait>,
}

impl Remaining {
    /// How what it waits for ends.
    pub fn ends(&self) -> Ends {
        self.waits_for.as_ref().map_or(Ends::ByItself, Wait::ends)
    }
}

/// An object that was left on the cluster without our marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// The object.
    pub key: ObjectKey,
    /// Why, for people: "holds …", "is used …", or "bears …".
    pub why: String,
}

/// What a removal came to so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// What is not gone yet.
    pub remaining: Vec<Remaining>,
    /// What was released because it holds what is not the application's, or since its marks were taken off.
    pub released: Vec<Released>,
    /// The wave that is waited for; absent if nothing is left.
    pub wave: Option<Wave>,
}

/// Names, for people, another application that has a copy on the cluster with an object that fits.
pub type OtherUser<'a> = dyn Fn(&dyn Fn(&ObjectKey) -> bool) -> Option<String> + Sync + 'a;

/// What is known of what a container holds, beyond what the cluster says.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The claim templates of the application's StatefulSets.
    pub claims: &'a [ClaimTemplates],
    /// Finds others that use a container or anything in it, whether it is on the cluster yet or not.
    pub other_user: &'a OtherUser<'a>,
    /// Whether the application with a uid may exist: it is not known to be erased.
    pub exists: &'a (dyn Fn(&ApplicationUid) -> bool + Sync),
    /// Whether the copy of another application on the cluster records the object with a uid as its own.
    pub recorded: &'a (dyn Fn(&str) -> bool + Sync),
}

impl Default for Surroundings<'_> {
    /// No claims, no others that use anything; any application may exist.
    fn default() -> Self {
        Self { claims: &[], other_user: &|_| None, exists: &|_| true, recorded: &|_| false }
    }
}

/// What is removed, and by whom.
#[derive(Clone, Copy)]
pub struct Going<'a> {
    /// The objects to remove, in the order in which they were applied.
    pub objects: &'a [InventoryEntry],
    /// What of the same copy stays.
    pub staying: &'a [InventoryEntry],
    /// The marks of the application.
    pub identity: &'a Identity,
    /// Whether an object is gone only with all that it owns, so that no pod of it runs when its successor starts.
    pub with_dependents: bool,
    /// Whether a successor starts when all are gone: then nothing that the application has run may be left running.
    pub before_successor: bool,
    /// When no further object is deleted. One is, however long it took to look at all.
    pub until: Instant,
    /// Whether the watches of the cluster still show an object: then one answer that it is not there is no proof.
    pub is_shown: &'a (dyn Fn(&ObjectKey) -> bool + Sync),
    /// What is known of the contents of namespaces and definitions.
    pub surroundings: Surroundings<'a>,
}

/// What was seen of one object: how to write to it, and what it is.
struct Look {
    kind: Option<ResolvedKind>,
    live: Option<DynamicObject>,
    facts: Option<Live>,
    /// It is there, and not the application's to remove.
    stays: bool,
    /// It was the application's, and somebody has taken both marks off.
    unmarked: bool,
}

/// Asks the cluster to delete the objects of `going` that bear its marks, wave by wave (see [`waves`]), and releases those
/// that existed before, and namespaces and definitions that hold what is not the application's. Returns what is not gone
/// yet; repeat until that is nothing. Objects that bear no marks of ours, or somebody else's, are left alone and count as
/// gone, and so do those that were never accepted and may not be read.
pub async fn remove(connection: &Connection, discovery: &Discovery, going: Going<'_>) -> Removal {
    let looks = going.objects.iter().map(|entry| look(connection, discovery, entry, going).boxed());
    let looks: Vec<_> = looks.collect();
    let looks: Vec<(Look, State)> = futures::stream::iter(looks).buffered(LOOKS_AT_ONCE).collect().await;
    let keys = going.objects.iter().map(|entry| entry.key.clone());
    let (looks, states): (Vec<_>, Vec<_>) = looks.into_iter().unzip();
    let mut objects: Vec<(ObjectKey, State)> = keys.zip(states).collect();
    let unmarked = objects.iter().zip(&looks).filter(|(_, look)| look.unmarked);
    let why = || "bears no mark of Krake any more".to_owned();
    let mut released: Vec<_> =
        unmarked.map(|((key, _), _)| Released { key: key.clone(), why: why() }).collect();
    // What is left on the cluster takes nothing along.
    let goes = |(_, look): &(&InventoryEntry, &Look)| {
        !look.stays && look.facts.as_ref().is_none_or(|facts| !facts.adopted)
    };
    let leaving = going.objects.iter().zip(&looks).filter(goes).map(|(entry, _)| entry.clone());
    let leaving: Vec<InventoryEntry> = leaving.collect();
    let going = Going { objects: &leaving, ..going };
    let mut is_over = false;
    let last = loop {
        let next = waves::next(&objects);
        for place in &next.delete {
            if is_over {
                break;
            }
            let key = &objects[*place].0;
            let span = tracing::info_span!("remove", otel.kind = "client", object = %key,
                cluster = going.identity.cluster.as_str());
            let removed = remove_one(connection, key, &looks[*place], going).instrument(span).await;
            objects[*place].1 = match removed {
                Ok(Fate::Gone) => State::Gone,
                Ok(Fate::Going(waits_for)) => State::Going(waits_for),
                Ok(Fate::Released(why)) => {
                    released.push(Released { key: key.clone(), why });
                    State::Gone
                }
                Err(error) => State::Unknown(error.to_string()),
            };
            is_over = Instant::now() >= going.until;
        }
        if next.delete.is_empty() || is_over {
            break next;
        }
    };
    let later: HashSet<_> = last.later.iter().copied().collect();
    let mut remaining: Vec<Remaining> = Vec::new();
    for (place, (key, state)) in objects.into_iter().enumerate() {
        let waits_for = match state {
            State::Gone => continue,
            _ if later.contains(&place) => None,
            State::Present => None,
            State::Going(wait) => Some(wait),
            State::Unknown(why) | State::Unlikely(why) => Some(why.into()),
        };
        remaining.push(Remaining { key, waits_for });
    }
    // What is only unlikely to be there is waited for last of all.
    let wave = last.wave.or((!remaining.is_empty()).then_some(Wave::Namespace));
    Removal { remaining, released, wave }
}

/// Looks at one object of an inventory.
async fn look(
    connection: &Connection,
    discovery: &Discovery,
    entry: &InventoryEntry,
    going: Going<'_>,
) -> (Look, State) {
    let identity = going.identity;
    let nothing =
        |state| (Look { kind: None, live: None, facts: None, stays: false, unmarked: false }, state);
    let others = |unmarked| (Look { stays: true, unmarked, ..nothing(State::Gone).0 }, State::Gone);
    let InventoryEntry { key, uid } = entry;
    let unknown = |error: ClusterError| match (error, uid) {
        // All objects are read before one is written, so what may not be read and was never accepted is not there. If it is
        // all the same, written by a process that ended before it could record it, it is an orphan.
        (ClusterError::Forbidden(_), None) => State::Gone,
        (error, None) => State::Unlikely(error.to_string()),
        (error, Some(_)) => State::Unknown(error.to_string()),
    };
    let (kind, live) = match find(connection, discovery, key).await {
        Ok(Found::Object(kind, live)) => (kind, *live),
        Ok(Found::NoObject | Found::NoKind) if (going.is_shown)(key) => {
            return nothing(State::Unknown("the cluster's watch, which still shows it".to_owned()));
        }
        Ok(Found::NoObject | Found::NoKind) => return nothing(State::Gone),
        Err(error) => return nothing(unknown(error)),
    };
    if going.staying.iter().any(|stays| stays.uid.is_some() && stays.uid == live.metadata.uid) {
        // The same object by another group that serves it, such as Ingress until Kubernetes 1.21.
        return nothing(State::Gone);
    }
    let is_recorded = uid.is_some() && live.metadata.uid == *uid;
    let may_run = is_recorded && going.before_successor && !containers::is_container(key);
    let is_recorded_by_another = live.metadata.uid.as_deref().is_some_and(going.surroundings.recorded);
    let held = |why: &str| (nothing(State::Gone).0, State::Going(Wait::for_a_person(why)));
    if live.metadata.labels.as_ref().is_none_or(|labels| !is_marked(labels)) {
        if uid.is_none() && containers::is_container(key) && is_made(&live, identity) {
            return judged(kind, ownership::facts(&live.metadata), live);
        }
        // Somebody has taken both marks off, which releases it.
        return if may_run { held("it bears no mark of Krake any more") } else { others(is_recorded) };
    }
    // What is deleted cannot be brought back: an object stays with any application that its label names and that is there.
    let exists = going.surroundings.exists;
    let known = Others { has: exists, exists };
    let holder = ownership::holder(Some(&live.metadata), identity, uid.as_deref(), known);
    let facts = match holder {
        Holder::Ours(facts) => facts,
        // Only what another copy has recorded is in its care, whatever a label says.
        Holder::Other(holder) if may_run && !is_recorded_by_another => {
            return held(&format!("it belongs to {holder} by now"));
        }
        _ => return others(false),
    };
    if !is_recorded && is_recorded_by_another {
        // Its label was changed by hand, and this application has never had it.
        return others(false);
    }
    let applied_for = live.metadata.annotations.as_ref().and_then(|all| all.get(CLUSTER_ANNOTATION));
    if applied_for.is_some_and(|cluster| cluster != identity.cluster.as_str()) {
        // By now it is the copy of another registration of this cluster.
        return others(false);
    }
    judged(kind, facts, live)
}

/// What becomes of an object that is the application's to remove.
fn judged(kind: ResolvedKind, facts: Live, live: DynamicObject) -> (Look, State) {
    let state = match (facts.adopted, facts.terminating) {
        (false, true) => State::Going(waits_for(&live)),
        _ => State::Present,
    };
    (Look { kind: Some(kind), live: Some(live), facts: Some(facts), stays: false, unmarked: false }, state)
}

/// Whether an object was made by an application of this installation that left it to others: this may be the last of them.
fn is_made(live: &DynamicObject, identity: &Identity) -> bool {
    let made_by = live.metadata.labels.as_ref().and_then(|labels| labels.get(MADE_LABEL));
    made_by.is_some_and(|made_by| *made_by == identity.installation)
}

/// What an object that is being deleted waits for: its finalizers, or what a namespace says of its contents.
fn waits_for(live: &DynamicObject) -> Wait {
    let all = live.metadata.finalizers.as_deref().unwrap_or_default();
    let finalizers: Vec<&str> = all.iter().map(String::as_str).filter(|name| *name != FOREGROUND).collect();
    if !finalizers.is_empty() {
        return Wait::for_finalizers(&finalizers);
    }
    if !all.is_empty() {
        return "the end of what it owns, such as Pods".into();
    }
    let conditions = field(&live.data, &["status", "conditions"]).and_then(Value::as_array);
    let reasons = conditions.into_iter().flatten().filter(|condition| {
        text(condition, &["status"]) == Some("True")
            && text(condition, &["type"]).is_some_and(|name| name.starts_with("Namespace"))
    });
    let reasons: Vec<_> = reasons.filter_map(|condition| text(condition, &["message"])).collect();
    match reasons.is_empty() {
        true => "its deletion".into(),
        false => shortened(&reasons.join("; ")).into(),
    }
}

async fn remove_one(
    connection: &Connection,
    key: &ObjectKey,
    look: &Look,
    going: Going<'_>,
) -> Result<Fate, ClusterError> {
    let Look { kind: Some(kind), live: Some(live), facts: Some(facts), .. } = look else {
        return Ok(Fate::Gone);
    };
    let is_container = containers::is_container(key);
    // What existed before is released, unless it was Krake that had made it.
    if facts.adopted && going.before_successor && !is_container {
        return Ok(Fate::Going(Wait::for_a_person("it existed before Krake, which leaves it running")));
    }
    if facts.adopted && !(is_container && is_made(live, going.identity)) {
        return settle(release(connection, kind, key, facts, None).await, Fate::Gone);
    }
    if is_container && let Some(why) = kept_for(connection, key, live, going).await? {
        let made_by = Some(going.identity.installation.as_str());
        return settle(release(connection, kind, key, facts, made_by).await, Fate::Released(why));
    }
    let objects = connection.objects(kind, key.namespace.as_deref());
    // What was decided by what a container holds is done to exactly the container that was looked at.
    let resource_version = is_container.then(|| facts.resource_version.clone());
    let guard = Preconditions { uid: Some(facts.uid.clone()), resource_version };
    let deletion = match going.with_dependents {
        true => DeleteParams::foreground(),
        false => DeleteParams::background(),
    };
    let deletion = deletion.preconditions(guard);
    let deleted = connection.call(objects.delete(&key.name, &deletion)).await;
    let after = match &deleted {
        // An object in the answer means that it only begins to go.
        Ok(answer) => answer.as_ref().left().map_or(Fate::Gone, |going| Fate::Going(waits_for(going))),
        Err(_) => Fate::Gone,
    };
    settle(deleted.map(|_| ()), after)
}

/// Why a container must not be deleted, for people. Others of Krake are asked for last: they record what they are about to
/// create before they do.
async fn kept_for(
    connection: &Connection,
    key: &ObjectKey,
    live: &DynamicObject,
    going: Going<'_>,
) -> Result<Option<String>, ClusterError> {
    let Identity { installation, application, cluster, .. } = going.identity;
    let owner = Owner {
        installation,
        application: application.as_str(),
        cluster: Some(cluster.as_str()),
        going: going.objects,
        staying: going.staying,
        claims: going.surroundings.claims,
    };
    if let Some(holds) = containers::held(&look_into(connection, key, live).await?, owner) {
        return Ok(Some(format!("holds {holds}")));
    }
    let user = (going.surroundings.other_user)(&containers::fits(key, &live.data));
    Ok(user.map(|user| format!("is used by {user}")))
}

fn is_marked(labels: &BTreeMap<String, String>) -> bool {
    [INSTALLATION_LABEL, APPLICATION_LABEL].iter().any(|label| labels.contains_key(*label))
}

/// What one object came to.
enum Fate {
    Gone,
    /// What it waits for.
    Going(Wait),
    /// Why it was left.
    Released(String),
}

fn settle(outcome: Result<(), ClusterError>, done: Fate) -> Result<Fate, ClusterError> {
    match outcome {
        Ok(()) => Ok(done),
        // It was there a moment ago: whether it is gone, another look tells.
        Err(ClusterError::NotFound(_)) => Ok(Fate::Going("another look: it was not found".into())),
        // Another object has the name by now, or it changed: the next look decides.
        Err(ClusterError::Conflict(_)) => Ok(Fate::Going("another look: it changed".into())),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
