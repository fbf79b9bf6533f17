//! `metadata.managedFields`: who owns which fields.

use serde_json::{Value, json};

use crate::ownership::apply::Ask;
use crate::ownership::fields::FieldSet;

pub(super) const APPLY: &str = "Apply";
pub(super) const UPDATE: &str = "Update";

/// What one manager owns by one way of writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) manager: String,
    /// `Apply` or `Update`.
    pub(super) operation: String,
    /// Empty for the object itself.
    pub(super) subresource: String,
    pub(super) api_version: String,
    pub(super) time: String,
    pub(super) fields: FieldSet,
}

impl Entry {
    /// Whether it is the entry of this writer: appliers are the same in all API versions, updaters are not.
    pub(super) fn is(&self, ask: Ask<'_>, operation: &str) -> bool {
        self.manager == ask.manager
            && self.operation == operation
            && self.subresource == ask.subresource
            && (operation == APPLY || self.api_version == ask.api_version)
    }
}

/// The entries of an object; none if it has none, or a reset (`[{}]`).
pub(super) fn read(object: &Value) -> Vec<Entry> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    entries
        .map(|entry| Entry {
            manager: text(entry, "manager"),
            operation: text(entry, "operation"),
            subresource: text(entry, "subresource"),
            api_version: text(entry, "apiVersion"),
            time: text(entry, "time"),
            fields: FieldSet::of_json(&entry["fieldsV1"]),
        })
        .filter(|entry| !entry.fields.is_empty())
        .collect()
}

/// Writes the entries into an object: appliers first, then by time and name.
pub(super) fn write(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    entries.sort_by(|a, b| {
        let place = |entry: &Entry| {
            let Entry { operation, time, manager, api_version, subresource, .. } = entry.clone();
            (operation, time, manager, api_version, subresource)
        };
        place(a).cmp(&place(b))
    });
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    if entries.is_empty() {
        metadata.remove("managedFields");
        return;
    }
    let entries: Vec<Value> = entries
        .into_iter()
        .map(|entry| {
            let mut book = json!({
                "manager": entry.manager, "operation": entry.operation, "apiVersion": entry.api_version,
                "fieldsType": "FieldsV1", "fieldsV1": entry.fields.to_json(),
            });
            // Books that somebody else wrote may have no time.
            for (name, text) in [("time", entry.time), ("subresource", entry.subresource)] {
                if !text.is_empty() {
                    book[name] = json!(text);
                }
            }
            book
        })
        .collect();
    metadata.insert("managedFields".to_owned(), Value::Array(entries));
}
