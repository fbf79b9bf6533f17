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
    Keyed(Vec<String>),
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
}

static NOTHING_SAID: LazyLock<Schema> = LazyLock::new(Schema::default);

impl Schema {
    /// From paths such as `spec.template.spec.containers[].ports` and how each is shared: `atomic`, `set`, or the names
    /// of the keys, with commas between them.
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
            place.list = Some(match shared {
                "atomic" => List::Atomic,
                "set" => List::Set,
                keys => List::Keyed(keys.split(',').map(str::to_owned).collect()),
            });
        }
        schema
    }

    /// From the OpenAPI schema in a custom resource definition; `metadata` is taken from `common`.
    pub(crate) fn of_definition(definition: &Value, common: &Schema) -> Self {
        let mut schema = from_open_api(definition);
        if let Some(metadata) = common.fields.get("metadata") {
            schema.fields.insert("metadata".to_owned(), metadata.clone());
        }
        schema
    }

    pub(super) fn field(&self, name: &str) -> &Schema {
        self.fields.get(name).or(self.rest.as_deref()).unwrap_or(&NOTHING_SAID)
    }

    pub(super) fn item(&self) -> &Schema {
        self.items.as_deref().unwrap_or(&NOTHING_SAID)
    }
}

fn from_open_api(definition: &Value) -> Schema {
    let keys = || {
        let keys = definition["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
        keys.filter_map(|key| key.as_str().map(str::to_owned)).collect()
    };
    let list =
        match (definition["x-kubernetes-list-type"].as_str(), definition["x-kubernetes-map-type"].as_str()) {
            (Some("map"), _) => Some(List::Keyed(keys())),
            (Some("set"), _) => Some(List::Set),
            (Some("atomic"), _) | (_, Some("atomic")) => Some(List::Atomic),
            _ => None,
        };
    let below = |name: &str| {
        definition.get(name).filter(|schema| schema.is_object()).map(from_open_api).map(Box::new)
    };
    // What is not described has one owner.
    let free = definition["x-kubernetes-preserve-unknown-fields"] == true;
    let undescribed = || free.then(|| Box::new(Schema { list: Some(List::Atomic), ..Schema::default() }));
    let properties = definition["properties"].as_object().into_iter().flatten();
    Schema {
        list,
        fields: properties.map(|(name, schema)| (name.clone(), from_open_api(schema))).collect(),
        items: below("items"),
        rest: below("additionalProperties").or_else(undescribed),
    }
}
