//! Sets of fields, in the form that `metadata.managedFields` has them in (`FieldsV1`).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::ownership::schema::{Key, List, Schema};

/// A set of paths. A path element is written as in `FieldsV1`: `f:<name>`, `k:{<keys>}`, `v:<value>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSet {
    /// Whether the path that leads here is in the set.
    pub(super) own: bool,
    pub(super) below: BTreeMap<String, FieldSet>,
}

/// Why an object has no set of fields: in a server's words, after the path of the field.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) String);

/// How paths name a field of an object.
pub(super) fn named(field: &str) -> String {
    format!("f:{field}")
}

/// How paths name an item of a keyed list; the key that is missing, otherwise.
pub(super) fn keyed<'a>(keys: &'a [Key], item: &Value) -> Result<String, &'a str> {
    let mut element = Map::new();
    for key in keys {
        let given = item.get(&key.name).filter(|value| !value.is_null());
        let value = given.or(key.default.as_ref()).ok_or(key.name.as_str())?;
        element.insert(key.name.clone(), value.clone());
    }
    Ok(format!("k:{}", Value::Object(element)))
}

/// How paths name a value of a set.
pub(super) fn valued(value: &Value) -> String {
    format!("v:{value}")
}

impl FieldSet {
    /// The fields that `value` sets.
    pub(crate) fn of(schema: &Schema, value: &Value) -> Result<Self, Malformed> {
        let mut set = Self::default();
        collect(schema, value, &mut set, &mut String::new())?;
        // The object itself has no owner.
        set.own = false;
        Ok(set)
    }

    pub(crate) fn of_json(fields: &Value) -> Self {
        let mut set = Self::default();
        let elements = fields.as_object().into_iter().flatten();
        for (element, below) in elements {
            if element == "." {
                set.own = true;
                continue;
            }
            let mut child = Self::of_json(below);
            if child.below.is_empty() {
                child.own = true;
            }
            set.below.insert(element.clone(), child);
        }
        set
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut object = Map::new();
        if self.own && !self.below.is_empty() {
            object.insert(".".to_owned(), json!({}));
        }
        object.extend(self.below.iter().map(|(element, below)| (element.clone(), below.to_json())));
        Value::Object(object)
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.own && self.below.values().all(FieldSet::is_empty)
    }

    pub(super) fn insert(&mut self, path: &[String]) {
        let place = path.iter().fold(self, |set, element| set.below.entry(element.clone()).or_default());
        place.own = true;
    }

    pub(crate) fn union(&mut self, other: &FieldSet) {
        self.own |= other.own;
        for (element, below) in &other.below {
            self.below.entry(element.clone()).or_default().union(below);
        }
    }

    pub(crate) fn subtract(&mut self, other: &FieldSet) {
        self.own &= !other.own;
        for (element, below) in &other.below {
            if let Some(ours) = self.below.get_mut(element) {
                ours.subtract(below);
                if ours.is_empty() {
                    self.below.remove(element);
                }
            }
        }
    }

    pub(crate) fn intersection(&self, other: &FieldSet) -> FieldSet {
        let both = self.below.iter().filter_map(|(element, below)| {
            let common = below.intersection(other.below.get(element)?);
            (!common.is_empty()).then(|| (element.clone(), common))
        });
        FieldSet { own: self.own && other.own, below: both.collect() }
    }

    /// The paths as people write them: `.spec.containers[name="web"].image`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.write_paths("", &mut paths);
        paths
    }

    fn write_paths(&self, path: &str, paths: &mut Vec<String>) {
        if self.own {
            paths.push(path.to_owned());
        }
        for (element, below) in &self.below {
            below.write_paths(&format!("{path}{}", step(element)), paths);
        }
    }
}

/// An element of a path as people write it: `.image`, `[name="web"]`.
fn step(element: &str) -> String {
    match element.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("k", keys)) => bracketed(keys),
        Some((_, value)) => format!("[={value}]"),
        None => element.to_owned(),
    }
}

/// How people name an item of a keyed list: `[name="web"]`.
pub(crate) fn item_path(keys: &[Key], item: &Value) -> Option<String> {
    keyed(keys, item).ok().map(|element| step(&element))
}

fn bracketed(keys: &str) -> String {
    let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
    let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("[{}]", keys.join(","))
}

fn collect(schema: &Schema, value: &Value, set: &mut FieldSet, path: &mut String) -> Result<(), Malformed> {
    match (&schema.list, value) {
        (Some(List::Atomic), _) => set.own = true,
        (Some(List::Keyed(keys)), Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                let element = keyed(keys, item).map_err(|key| {
                    Malformed(format!(
                        "{path}: element {index}: associative list with keys has an element that omits key field \
                         \"{key}\" (and doesn't have default value)"
                    ))
                })?;
                let child = unshared(set, element.clone(), path)?;
                within(path, &step(&element), |path| collect(schema.item(), item, child, path))?;
            }
        }
        (Some(List::Set), Value::Array(items)) => {
            for item in items {
                unshared(set, valued(item), path)?;
            }
        }
        (_, Value::Object(fields)) => {
            // An empty object stands for all that it could hold; an empty list that would be shared for nothing.
            set.own |= fields.is_empty();
            for (name, value) in fields {
                let mut below = FieldSet { own: schema.is_entry(name), ..FieldSet::default() };
                within(path, &format!(".{name}"), |path| {
                    collect(schema.field(name), value, &mut below, path)
                })?;
                if !below.is_empty() {
                    set.below.insert(named(name), below);
                }
            }
        }
        _ => set.own = true,
    }
    Ok(())
}

/// The place of a list's item, which it has alone.
fn unshared<'a>(set: &'a mut FieldSet, element: String, path: &str) -> Result<&'a mut FieldSet, Malformed> {
    let child = set.below.entry(element.clone()).or_default();
    if child.own {
        return Err(Malformed(format!("{path}: duplicate entries for key {}", step(&element))));
    }
    child.own = true;
    Ok(child)
}

/// Does something with a path that goes one step further.
fn within<T>(path: &mut String, step: &str, work: impl FnOnce(&mut String) -> T) -> T {
    let length = path.len();
    path.push_str(step);
    let done = work(path);
    path.truncate(length);
    done
}
