//! The two ways to write an object: apply (what I set is mine, what I drop goes) and update (what I change is mine).

use serde_json::Value;

use crate::ownership::books::{self, APPLY, Entry, UPDATE};
use crate::ownership::compare::compare;
use crate::ownership::fields::{FieldSet, Malformed};
use crate::ownership::merge::{merge, prune};
use crate::ownership::schema::Schema;

/// Fields without an owner.
const UNOWNED_METADATA: [&str; 12] = [
    "name",
    "namespace",
    "generateName",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "clusterName",
    "uid",
];

/// Who writes what kind of object, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) schema: &'a Schema,
    /// The fields that an empty object of the kind has.
    pub(crate) zero: &'a Value,
    pub(crate) manager: &'a str,
    /// The subresource that is written; empty for the object itself.
    pub(crate) subresource: &'a str,
    /// Whether the status has a subresource of its own: writing the object then owns nothing of it.
    pub(crate) own_status: bool,
    pub(crate) api_version: &'a str,
    /// As in objects.
    pub(crate) now: &'a str,
}

/// What an apply comes to.
#[derive(Debug, PartialEq)]
pub(crate) enum Applied {
    /// The object as it is to be.
    Object(Value),
    /// Others own fields that it would change: (who, field).
    Conflicts(Vec<(String, String)>),
    /// What is applied has list items without name, or twice.
    Malformed(Malformed),
}

/// Applies `applied` to `live` (the empty object where there is none).
pub(crate) fn apply(live: &Value, applied: &Value, ask: Ask<'_>, force: bool) -> Applied {
    let mut part_applied = owned_part(applied);
    if part_applied["metadata"].as_object().is_some_and(serde_json::Map::is_empty)
        && let Some(fields) = part_applied.as_object_mut()
    {
        fields.remove("metadata");
    }
    let mut set = match FieldSet::of(ask.schema, &part_applied) {
        Ok(set) => set,
        Err(malformed) => return Applied::Malformed(malformed),
    };
    restrict(ask, &mut set);
    let mut entries = books::read(live);
    if entries.is_empty() && !live["metadata"]["uid"].is_null() {
        let mut all = compare(ask.schema, &owned_part(ask.zero), &part(ask, live)).set;
        restrict(ask, &mut all);
        entries.push(Entry { manager: "before-first-apply".to_owned(), ..new_entry(ask, UPDATE, all) });
    }
    let ours = |entry: &Entry| entry.is(ask, APPLY);
    let before =
        entries.iter().find(|entry| ours(entry)).map(|entry| entry.fields.clone()).unwrap_or_default();

    let merged = merge(ask.schema, Some(live.clone()), applied);
    let mut kept = set.clone();
    entries.iter().filter(|entry| !ours(entry)).for_each(|entry| kept.union(&entry.fields));
    let mut gone = before.clone();
    gone.subtract(&kept);
    let mut object = prune(ask.schema, merged, &gone, Some(&kept)).unwrap_or_default();

    let changes = compare(ask.schema, &part(ask, live), &part(ask, &object));
    let mut conflicts = Vec::new();
    for entry in entries.iter_mut().filter(|entry| !ours(entry)) {
        let lost = entry.fields.intersection(&changes.set);
        let who = match entry.operation.as_str() {
            APPLY => format!("\"{}\"", entry.manager),
            _ => format!("\"{}\" using {}", entry.manager, entry.api_version),
        };
        conflicts.extend(lost.paths().into_iter().map(|path| (who.clone(), path)));
        entry.fields.subtract(&lost);
        entry.fields.subtract(&changes.removed);
    }
    if !force && !conflicts.is_empty() {
        return Applied::Conflicts(conflicts);
    }
    match entries.iter_mut().find(|entry| ours(entry)) {
        Some(entry) => {
            let unchanged = before == set && owned_part(live) == owned_part(&object);
            if !unchanged {
                entry.time = ask.now.to_owned();
            }
            entry.fields = set;
            entry.api_version = ask.api_version.to_owned();
        }
        None => entries.push(new_entry(ask, APPLY, set)),
    }
    books::write(&mut object, entries);
    Applied::Object(object)
}

/// `new` with the books that follow from its writing it over `live` (the empty object where there is none). Books in
/// `new` that are not empty replace those of `live`; an empty list, or a list of nothing, drops them.
pub(crate) fn update(live: &Value, mut new: Value, ask: Ask<'_>) -> Value {
    let given = new["metadata"]["managedFields"].as_array();
    let reset = given.is_some_and(|given| given.iter().all(|entry| *entry == serde_json::json!({})));
    let mut entries = books::read(&new);
    if entries.is_empty() && !reset {
        entries = books::read(live);
    }
    // Of an object without books none are kept until the first apply.
    let created = live["metadata"]["uid"].is_null();
    if reset || entries.is_empty() && !created {
        books::write(&mut new, Vec::new());
        return new;
    }
    let mut changes = compare(ask.schema, &part(ask, live), &part(ask, &new));
    restrict(ask, &mut changes.set);
    let ours = |entry: &Entry| entry.is(ask, UPDATE);
    for entry in &mut entries {
        if !ours(entry) {
            entry.fields.subtract(&changes.set);
        }
        entry.fields.subtract(&changes.removed);
    }
    if !changes.set.is_empty() {
        match entries.iter_mut().find(|entry| ours(entry)) {
            Some(entry) => {
                entry.fields.union(&changes.set);
                entry.time = ask.now.to_owned();
            }
            None => entries.push(new_entry(ask, UPDATE, changes.set)),
        }
    }
    books::write(&mut new, entries);
    new
}

/// Takes out what the request does not write: the status of the object itself, or all but the status.
fn restrict(ask: Ask<'_>, set: &mut FieldSet) {
    let is_status = |element: &String| element == "f:status";
    match ask.subresource {
        "status" => set.below.retain(|element, _| is_status(element)),
        _ if ask.own_status => set.below.retain(|element, _| !is_status(element)),
        _ => {}
    }
}

fn new_entry(ask: Ask<'_>, operation: &str, fields: FieldSet) -> Entry {
    Entry {
        manager: ask.manager.to_owned(),
        operation: operation.to_owned(),
        subresource: ask.subresource.to_owned(),
        api_version: ask.api_version.to_owned(),
        time: ask.now.to_owned(),
        fields,
    }
}

/// The part of an object that managers can own.
fn owned_part(object: &Value) -> Value {
    let mut part = object.clone();
    let Some(fields) = part.as_object_mut() else { return part };
    fields.remove("apiVersion");
    fields.remove("kind");
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        UNOWNED_METADATA.iter().for_each(|name| drop(metadata.remove(*name)));
    }
    part
}

/// The part that managers can own, with the fields that are always there.
fn part(ask: Ask<'_>, object: &Value) -> Value {
    owned_part(&complete(ask.zero, object))
}

/// `object` with the fields that are there even when no manager sets them.
fn complete(zero: &Value, object: &Value) -> Value {
    match (zero, object) {
        (Value::Object(zero), Value::Object(object)) => {
            let mut all = object.clone();
            for (name, value) in zero {
                let completed =
                    all.get(name).map_or_else(|| value.clone(), |present| complete(value, present));
                all.insert(name.clone(), completed);
            }
            Value::Object(all)
        }
        (_, object) => object.clone(),
    }
}
