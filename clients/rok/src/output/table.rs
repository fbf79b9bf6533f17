//! Tables: lists have a row per object, single objects a row per attribute.

use comfy_table::presets::ASCII_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use krake_proto::krake::meta::v1::Metadata;

use super::{Columns, text};
use crate::terminal::printable;

/// One object, attribute by attribute.
pub(super) fn object<K: Columns>(object: &K) -> String {
    let absent = Metadata::default();
    let metadata = object.metadata().unwrap_or(&absent);
    let mut table = empty();
    let mut row = |name: &str, value: String| {
        table.add_row([name.to_owned(), printable(&value).into_owned()]);
    };
    row("name", metadata.name.clone());
    if !metadata.namespace.is_empty() || !K::KIND.can_be_global() {
        row("namespace", metadata.namespace.clone());
    }
    row("labels", text::entries(&metadata.labels));
    row("created", text::time(metadata.created.as_ref()));
    row("modified", text::time(metadata.modified.as_ref()));
    row("deleted", text::time(metadata.deleted.as_ref()));
    for (name, value) in object.details() {
        row(name, value);
    }
    finished(&table)
}

/// Several objects.
pub(super) fn list<K: Columns>(objects: &[K], global: bool) -> String {
    let mut table = empty();
    let mut header = vec!["name"];
    header.extend((!global).then_some("namespace"));
    header.extend(["labels", "created"]);
    header.extend(K::LIST);
    table.set_header(header);
    for object in objects {
        let absent = Metadata::default();
        let metadata = object.metadata().unwrap_or(&absent);
        let mut row = vec![metadata.name.clone()];
        row.extend((!global).then(|| metadata.namespace.clone()));
        row.extend([text::entries(&metadata.labels), text::time(metadata.created.as_ref())]);
        row.extend(object.cells());
        table.add_row(row.iter().map(|cell| printable(cell).into_owned()));
    }
    finished(&table)
}

/// As wide as the terminal at most; elsewhere as wide as needed.
fn empty() -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table
}

fn finished(table: &Table) -> String {
    format!("{table}\n")
}
