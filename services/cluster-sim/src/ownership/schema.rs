//! What a field is to those who share it: merged, or owned as a whole.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

/// How a list is shared. Objects that are not [`List::Atomic`] are always shared field by field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum List {
    /// The list, or the object, has one owner. Lists of which nothing is said are so.
    Atomic,
    /// Each value is owned by itself.
    Set,
    /// Each item is owned by itself, and named by these of its fields.
    Keyed(Vec<Key>),
}

impl List {
    /// From `atomic`, `set`, or the names of the keys, with commas between them, each with its default behind `=` if it
    /// has one.
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "atomic" => Self::Atomic,
            "set" => Self::Set,
            keys => Self::Keyed(keys.split(',').map(Key::parse).collect()),
        }
    }
}

/// A field that names the items of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) name: String,
    /// Its value in items without it. Absent: every item needs it.
    pub(crate) default: Option<Value>,
}

impl Key {
    /// From `name`, or `name=default` with a number or a text.
    fn parse(text: &str) -> Self {
        let Some((name, default)) = text.split_once('=') else {
            return Self { name: text.to_owned(), default: None };
        };
        let number = default.parse::<u64>().map(Value::from);
        Self { name: name.to_owned(), default: Some(number.unwrap_or_else(|_| default.into())) }
    }

    /// Those of a list in the OpenAPI schema of a definition.
    pub(crate) fn of_definition(list: &Value) -> Vec<Self> {
        let names =
            list["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let default = |name: &str| list["items"]["properties"][name].get("default").cloned();
        names.map(|name| Self { name: name.to_owned(), default: default(name) }).collect()
    }
}

/// The schema of one field and of those below it, as far as it says more than the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Schema {
    /// Absent for objects that are shared field by field, scalars, and lists with one owner.
    pub(crate) list: Option<List>,
    fields: BTreeMap<String, Schema>,
    /// Of the items of a list.
    items: Option<Box<Schema>>,
    /// Of fields of any other name.
    rest: Option<Box<Schema>>,
    /// Nothing is described from here on: objects are maps, lists have one owner.
    free: bool,
}

static NOTHING_SAID: LazyLock<Schema> = LazyLock::new(Schema::default);
static FREE: LazyLock<Schema> = LazyLock::new(|| Schema { free: true, ..Schema::default() });

impl Schema {
    /// An object with these fields.
    pub(crate) fn object(fields: BTreeMap<String, Schema>) -> Self {
        Self { fields, ..Self::default() }
    }

    /// A map with such values.
    pub(crate) fn map(value: Self) -> Self {
        Self { rest: Some(Box::new(value)), ..Self::default() }
    }

    /// A list with such items; with [`List::Atomic`] anything that has one owner.
    pub(crate) fn list(list: List, item: Self) -> Self {
        Self { list: Some(list), items: Some(Box::new(item)), ..Self::default() }
    }

    /// Whatever it may be: nothing is described from here on.
    pub(crate) fn free() -> Self {
        Self { free: true, ..Self::default() }
    }

    /// From paths such as `spec.containers[].ports`, and how each is shared.
    #[cfg(test)]
    pub(crate) fn of<'a>(paths: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut schema = Self::default();
        for (path, shared) in paths {
            let mut place = &mut schema;
            for step in path.split('.') {
                let (name, into_items) = step.strip_suffix("[]").map_or((step, false), |name| (name, true));
                place = place.fields.entry(name.to_owned()).or_default();
                if into_items {
                    place = place.items.get_or_insert_default();
                }
            }
            place.list = Some(List::parse(shared));
        }
        schema
    }

    /// From the OpenAPI schema in a custom resource definition.
    pub(crate) fn of_definition(definition: &Value, metadata: Schema) -> Self {
        let mut schema = from_open_api(definition);
        schema.fields.insert("metadata".to_owned(), metadata);
        schema
    }

    pub(super) fn field(&self, name: &str) -> &Schema {
        let known = self.fields.get(name).or(self.rest.as_deref());
        known.unwrap_or(if self.free { &FREE } else { &NOTHING_SAID })
    }

    /// Whether a field is an entry of a map: such an entry is owned beside what is in it.
    pub(super) fn is_entry(&self, name: &str) -> bool {
        (self.free || self.rest.is_some()) && !self.fields.contains_key(name)
    }

    pub(super) fn item(&self) -> &Schema {
        self.items.as_deref().unwrap_or(if self.free { &FREE } else { &NOTHING_SAID })
    }
}

fn from_open_api(definition: &Value) -> Schema {
    let list =
        match (definition["x-kubernetes-list-type"].as_str(), definition["x-kubernetes-map-type"].as_str()) {
            (Some("map"), _) => Some(List::Keyed(Key::of_definition(definition))),
            (Some("set"), _) => Some(List::Set),
            (Some("atomic"), _) | (_, Some("atomic")) => Some(List::Atomic),
            _ => None,
        };
    let below = |name: &str| {
        definition.get(name).filter(|schema| schema.is_object()).map(from_open_api).map(Box::new)
    };
    let properties = definition["properties"].as_object().into_iter().flatten();
    Schema {
        list,
        fields: properties.map(|(name, schema)| (name.clone(), from_open_api(schema))).collect(),
        items: below("items"),
        rest: below("additionalProperties"),
        free: definition["x-kubernetes-preserve-unknown-fields"] == true,
    }
}
