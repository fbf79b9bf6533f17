//! Which fields two states of an object differ in.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::ownership::fields::{FieldSet, keyed, named, valued};
use crate::ownership::schema::{List, Schema};

/// The fields that differ.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// New, or of another value.
    pub(super) set: FieldSet,
    /// Not there any more.
    pub(super) removed: FieldSet,
}

/// What a change from `old` to `new` changes.
pub(super) fn compare(schema: &Schema, old: &Value, new: &Value) -> Changes {
    let mut changes = Changes::default();
    walk(schema, Some(old), Some(new), &mut Vec::new(), &mut changes);
    changes
}

fn walk(schema: &Schema, old: Option<&Value>, new: Option<&Value>, path: &mut Vec<String>, to: &mut Changes) {
    if old == new {
        return;
    }
    let divided = |value: Option<&Value>| match (&schema.list, value) {
        (Some(List::Atomic), _) => false,
        (Some(_), Some(Value::Array(items))) => !items.is_empty(),
        (_, Some(Value::Object(fields))) => !fields.is_empty(),
        _ => false,
    };
    if !divided(old) && !divided(new) {
        match new {
            Some(_) => to.set.insert(path),
            None => to.removed.insert(path),
        }
        return;
    }
    // What holds the new fields is new itself.
    match (old, new) {
        (None, Some(_)) if !path.is_empty() => to.set.insert(path),
        (Some(_), None) if !path.is_empty() => to.removed.insert(path),
        _ => {}
    }
    match &schema.list {
        Some(List::Keyed(keys)) => {
            let element = |item: &Value| keyed(keys, item).ok();
            pairs(items(old), items(new), element, path, |path, old, new| {
                walk(schema.item(), old, new, path, to);
            });
        }
        Some(List::Set) => {
            pairs(
                items(old),
                items(new),
                |item| Some(valued(item)),
                path,
                |path, old, new| match (old, new) {
                    (None, Some(_)) => to.set.insert(path),
                    (Some(_), None) => to.removed.insert(path),
                    _ => {}
                },
            );
        }
        _ => {
            let (old, new) = (fields(old), fields(new));
            let names: BTreeSet<&String> = old.into_iter().chain(new).flat_map(Map::keys).collect();
            for name in names {
                path.push(named(name));
                let value =
                    |of: Option<&'_ Map<String, Value>>| of.and_then(|fields| fields.get(name)).cloned();
                let (old, new) = (value(old), value(new));
                walk(schema.field(name), old.as_ref(), new.as_ref(), path, to);
                path.pop();
            }
        }
    }
}

fn fields(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object)
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Calls `meet` for every item that is in one list or in both.
fn pairs(
    old: &[Value],
    new: &[Value],
    element: impl Fn(&Value) -> Option<String>,
    path: &mut Vec<String>,
    mut meet: impl FnMut(&mut Vec<String>, Option<&Value>, Option<&Value>),
) {
    let mut elements: Vec<String> = old.iter().chain(new).filter_map(&element).collect();
    elements.sort_unstable();
    elements.dedup();
    for name in elements {
        let find = |items: &'_ [Value]| items.iter().position(|item| element(item).as_ref() == Some(&name));
        let (was, is) = (find(old), find(new));
        path.push(name);
        meet(path, was.map(|index| &old[index]), is.map(|index| &new[index]));
        path.pop();
    }
}
