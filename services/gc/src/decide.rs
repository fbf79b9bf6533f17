//! What to do about one object: a pure function of the graph.

use std::collections::BTreeSet;

use krake_client::ObjectKey;
use krake_proto::finalizer::CASCADE_DELETION;

use crate::graph::Graph;
use crate::member::{Member, Stage};

/// Maximum number of dependents that a reason names.
const NAMED: usize = 3;
/// Maximum length of a reason, in characters: the contract's limit of `Deletion.waits_for`. State cuts what is longer,
/// and a reason that differs from the recorded one is sent again.
const MAX_REASON: usize = 1_000;

/// What to do about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plan {
    /// It is not its dependents' turn, or not ours.
    Nothing,
    /// Delete these dependents, or add to their deletions what the owner's includes; what follows will wake us.
    Delete(Vec<Target>, Includes),
    /// All dependents are on their way: the disappearance of the last one will wake us. The text says what they wait
    /// for.
    Wait(String),
    /// Nothing depends on it any more: let it go on.
    Release(Target),
    /// It is part of a ring of objects that wait for each other; this one is to go first.
    LeaveTo(ObjectKey),
}

/// What the deletion of a dependent includes: as much as its owner's, so that a cascade reaches all levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Includes {
    pub(crate) cascade: bool,
    pub(crate) force: bool,
}

impl Includes {
    fn of(object: &Member) -> Self {
        Includes { cascade: object.deletion.cascade, force: object.deletion.force }
    }

    /// Whether the deletion of this dependent has begun and includes as much.
    fn hold_for(self, dependent: &Member) -> bool {
        dependent.stage != Stage::Alive
            && (dependent.deletion.cascade || !self.cascade)
            && (dependent.deletion.force || !self.force)
    }
}

/// One object, and no successor of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) key: ObjectKey,
    pub(crate) uid: String,
    /// The version that was decided on: a deletion may be made to include more at any time.
    pub(crate) resource_version: i64,
}

impl Target {
    fn new(key: &ObjectKey, member: &Member) -> Self {
        Target { key: key.clone(), uid: member.uid.clone(), resource_version: member.resource_version }
    }
}

/// Decides about the object of this key.
pub(crate) fn decide(graph: &Graph, key: &ObjectKey) -> Plan {
    let Some(object) = graph.get(key).filter(|member| member.stage == Stage::Waiting) else {
        return Plan::Nothing;
    };
    let dependents: Vec<_> = graph.dependents(key, object).collect();
    let includes = Includes::of(object);
    let left = dependents.iter().filter(|(_, member)| !includes.hold_for(member));
    let left: Vec<Target> = left.map(|(key, member)| Target::new(key, member)).collect();
    if !left.is_empty() {
        return Plan::Delete(left, includes);
    }
    if dependents.is_empty() {
        return Plan::Release(Target::new(key, object));
    }
    if dependents.iter().any(|(_, member)| member.stage == Stage::Leaving) {
        return Plan::Wait(reason(&dependents));
    }
    match first_of_ring(graph, key) {
        None => Plan::Wait(reason(&dependents)),
        Some(first) if first == *key => Plan::Release(Target::new(key, object)),
        Some(first) => Plan::LeaveTo(first),
    }
}

/// The first few dependents and what each waits for itself.
fn reason(dependents: &[(&ObjectKey, &Member)]) -> String {
    let named = dependents.iter().take(NAMED).map(|(key, member)| match member.finalizer.as_str() {
        "" => key.to_string(),
        CASCADE_DELETION => format!("{key}, which waits for its own dependents"),
        finalizer => format!("{key}, which waits for the owner of its finalizer {finalizer:?}"),
    });
    let mut text = named.collect::<Vec<_>>().join("; ");
    if dependents.len() > NAMED {
        text.push_str(&format!("; and {} more", dependents.len() - NAMED));
    }
    shortened(text)
}

/// A reason of at most [`MAX_REASON`] characters.
pub(crate) fn shortened(reason: String) -> String {
    match reason.char_indices().nth(MAX_REASON) {
        None => reason,
        Some(_) => reason.chars().take(MAX_REASON - 1).chain(['…']).collect(),
    }
}

/// Of the objects that wait for `key` and for which `key` waits: the first by key that waits for nothing else. The
/// same for every member of the ring, so that only one goes and the others then follow in order. A diamond is no ring.
fn first_of_ring(graph: &Graph, key: &ObjectKey) -> Option<ObjectKey> {
    let below = reach(key, |key| waiting_dependents(graph, key));
    if !below.contains(key) {
        return None;
    }
    let above = reach(key, |key| waiting_owners(graph, key));
    let ring: BTreeSet<&ObjectKey> = below.intersection(&above).collect();
    let waits_for_ring_only = |key: &&ObjectKey| {
        let Some(member) = graph.get(key) else { return true };
        graph.dependents(key, member).all(|(dependent, _)| ring.contains(dependent))
    };
    ring.iter().copied().find(waits_for_ring_only).cloned()
}

/// Everything that can be reached from `start` by one or more steps.
fn reach(start: &ObjectKey, step: impl Fn(&ObjectKey) -> Vec<ObjectKey>) -> BTreeSet<ObjectKey> {
    let mut reached = BTreeSet::new();
    let mut open = step(start);
    while let Some(key) = open.pop() {
        if !reached.contains(&key) {
            open.extend(step(&key));
            reached.insert(key);
        }
    }
    reached
}

fn waiting_dependents(graph: &Graph, key: &ObjectKey) -> Vec<ObjectKey> {
    let Some(member) = graph.get(key) else { return Vec::new() };
    let dependents = graph.dependents(key, member);
    dependents.filter(|(_, member)| member.stage == Stage::Waiting).map(|(key, _)| key.clone()).collect()
}

fn waiting_owners(graph: &Graph, key: &ObjectKey) -> Vec<ObjectKey> {
    let Some(member) = graph.get(key) else { return Vec::new() };
    let owners = member.owners.iter().filter(|owner| {
        graph
            .get(&owner.key)
            .is_some_and(|is| is.stage == Stage::Waiting && owner.takes_along(&owner.key, is))
    });
    owners.map(|owner| owner.key.clone()).collect()
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
