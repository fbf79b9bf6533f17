//! Joining an object with what is applied, or patched, to it; and taking fields out of it.

use serde_json::{Map, Value};

use crate::ownership::fields::{FieldSet, keyed, named, valued};
use crate::ownership::schema::{List, Schema};

/// `live` with everything that `applied` sets.
pub(super) fn merge(schema: &Schema, live: Option<Value>, applied: &Value) -> Value {
    match (&schema.list, live, applied) {
        (Some(List::Atomic), _, applied) => applied.clone(),
        (Some(List::Keyed(keys)), Some(Value::Array(mut items)), Value::Array(more)) => {
            let name = |item: &Value| keyed(keys, item).unwrap_or_default();
            let order = order(&items, more, name);
            let merged = order.into_iter().map(|(live, applied)| match (live, applied) {
                (live, Some(at)) => merge(schema.item(), live.map(|live| items[live].take()), &more[at]),
                (live, None) => live.map(|live| items[live].take()).unwrap_or_default(),
            });
            Value::Array(merged.collect())
        }
        (Some(List::Set), Some(Value::Array(items)), Value::Array(more)) => {
            let order = order(&items, more, valued);
            let item = |(live, applied): (Option<usize>, Option<usize>)| {
                live.map(|live| &items[live]).or_else(|| applied.map(|at| &more[at])).cloned()
            };
            Value::Array(order.into_iter().filter_map(item).collect())
        }
        (_, Some(Value::Object(mut fields)), Value::Object(more)) => {
            for (name, value) in more {
                let live = fields.remove(name);
                fields.insert(name.clone(), merge(schema.field(name), live, value));
            }
            Value::Object(fields)
        }
        (_, _, applied) => applied.clone(),
    }
}

/// The order in which the items of two lists are merged: each item by its place in the live list, in the applied one, or
/// in both. Items of both keep the order of the applied list, items of the live list alone their place before the items
/// of both that follow them, and what is only applied comes before what is only live from there on.
fn order(
    live: &[Value],
    applied: &[Value],
    name: impl Fn(&Value) -> String,
) -> Vec<(Option<usize>, Option<usize>)> {
    let names = |items: &[Value]| items.iter().map(&name).collect::<Vec<_>>();
    let (live, applied) = (names(live), names(applied));
    let place = |names: &[String], wanted: &String| names.iter().position(|name| name == wanted);
    let mut shared = applied.iter().filter(|name| live.contains(name)).peekable();
    let mut order = Vec::with_capacity(live.len() + applied.len());
    let (mut left, mut right) = (0, 0);
    while left < live.len() || right < applied.len() {
        let (ours, theirs) = (live.get(left), applied.get(right));
        match (ours, theirs) {
            (Some(ours), _) if !applied.contains(ours) => {
                order.push((Some(left), None));
                left += 1;
            }
            // It comes, or came, at its place in the applied list.
            (Some(ours), Some(theirs))
                if ours != theirs && shared.peek().is_some_and(|next| *next != ours) =>
            {
                left += 1;
            }
            (Some(ours), _) if place(&applied, ours).is_some_and(|at| at < right) => left += 1,
            (_, Some(theirs)) => {
                order.push((place(&live, theirs), Some(right)));
                shared.next_if(|next| *next == theirs);
                right += 1;
                left += usize::from(ours == Some(theirs));
            }
            (_, None) => left += 1,
        }
    }
    order
}

/// `value` without the fields in `gone`, except where something in `kept` is at or below them; `None` if nothing is left.
pub(super) fn prune(
    schema: &Schema,
    value: Value,
    gone: &FieldSet,
    kept: Option<&FieldSet>,
) -> Option<Value> {
    let still_owned = kept.is_some_and(|kept| !kept.is_empty());
    if gone.own && !still_owned {
        return None;
    }
    if gone.below.is_empty() {
        return Some(value);
    }
    let below = |element: &str| kept.and_then(|kept| kept.below.get(element));
    let left = match (&schema.list, value) {
        (Some(List::Keyed(keys)), Value::Array(items)) => {
            let left = items.into_iter().filter_map(|item| {
                let element = keyed(keys, &item).unwrap_or_default();
                match gone.below.get(&element) {
                    Some(gone) => prune(schema.item(), item, gone, below(&element)),
                    None => Some(item),
                }
            });
            Value::Array(left.collect())
        }
        (Some(List::Set), Value::Array(items)) => {
            let stays = |item: &Value| {
                let element = valued(item);
                !gone.below.get(&element).is_some_and(|gone| gone.own) || below(&element).is_some()
            };
            Value::Array(items.into_iter().filter(stays).collect())
        }
        (_, Value::Object(fields)) => {
            let left = fields.into_iter().filter_map(|(name, value)| {
                let element = named(&name);
                match gone.below.get(&element) {
                    Some(gone) => {
                        prune(schema.field(&name), value, gone, below(&element)).map(|value| (name, value))
                    }
                    None => Some((name, value)),
                }
            });
            Value::Object(left.collect())
        }
        (_, value) => value,
    };
    let empty = left.as_object().is_some_and(Map::is_empty) || left.as_array().is_some_and(Vec::is_empty);
    (!empty || still_owned).then_some(left)
}

/// JSON merge patch (RFC 7396).
pub(crate) fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(fields) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(name);
        } else {
            merge_patch(fields.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Kubernetes' strategic merge patch: as [`merge_patch`], but lists whose items have names are merged item by item, and
/// `$patch` says `delete` or `replace`. Orders (`$setElementOrder`) are ignored.
pub(crate) fn strategic_merge(schema: &Schema, target: &mut Value, patch: &Value) {
    match (&schema.list, patch) {
        (Some(List::Keyed(keys)), Value::Array(items)) => {
            let mut list = target.take().as_array_mut().map(std::mem::take).unwrap_or_default();
            if items.iter().any(|item| item["$patch"] == "replace") {
                list.clear();
            }
            for item in items.iter().filter(|item| item["$patch"] != "replace") {
                // Patches name items by the first key alone.
                let same = |live: &Value| keys.first().is_some_and(|key| live[&key.name] == item[&key.name]);
                let place = list.iter().position(same);
                match (place, item["$patch"] == "delete") {
                    (Some(place), true) => drop(list.remove(place)),
                    (None, true) => {}
                    (Some(place), false) => strategic_merge(schema.item(), &mut list[place], item),
                    (None, false) => list.push(item.clone()),
                }
            }
            *target = Value::Array(list);
        }
        (Some(List::Set), Value::Array(items)) => {
            let live = target.as_array().cloned().unwrap_or_default();
            let new = items.iter().filter(|item| !live.contains(item)).cloned();
            *target = Value::Array(live.iter().cloned().chain(new).collect());
        }
        (_, Value::Object(patch)) => {
            if !target.is_object() || patch.get("$patch").is_some_and(|patch| patch == "replace") {
                *target = Value::Object(Map::new());
            }
            let Some(fields) = target.as_object_mut() else { return };
            for (name, value) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
                if value.is_null() || value["$patch"] == "delete" {
                    fields.remove(name);
                } else {
                    strategic_merge(
                        schema.field(name),
                        fields.entry(name.clone()).or_insert(Value::Null),
                        value,
                    );
                }
            }
        }
        (_, value) => *target = value.clone(),
    }
}
