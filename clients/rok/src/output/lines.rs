//! What `--watch` prints: a row per happening, or a value for programs.

use serde_json::{Value, json};

use super::{Columns, shown};
use crate::args::Format;
use crate::failure::Failure;
use crate::follow::Happening;
use crate::terminal::printable;
use crate::yaml;

/// Columns are at least as wide as what they are likely to hold later.
const LEAST: usize = 9;
/// Between two columns.
const GAP: &str = "   ";

/// Turns what happens into text, piece by piece.
pub(crate) struct Lines {
    format: Format,
    /// Show no namespace.
    global: bool,
    /// Of the columns; none before the first text.
    widths: Option<Vec<usize>>,
}

impl Lines {
    /// Lines about objects in namespaces, or about `global` ones.
    pub(crate) fn new(format: Format, global: bool) -> Self {
        Lines { format, global, widths: None }
    }

    /// What happened, in order. Columns are as wide as the first text needs.
    pub(crate) fn text<K: Columns>(&mut self, happenings: &[(Happening, K)]) -> Result<String, Failure> {
        let value =
            |(happening, object): &(Happening, K)| json!({"type": happening.name(), "object": shown(object)});
        let write = |write: fn(&Value) -> Result<String, String>| {
            let texts: Result<String, String> =
                happenings.iter().map(value).map(|value| write(&value)).collect();
            texts.map_err(|error| Failure::input(format!("cannot show the answer: {error}")))
        };
        match self.format {
            Format::Table => Ok(self.rows(happenings)),
            Format::Json => write(|value| Ok(format!("{value}\n"))),
            Format::Yaml => write(|value| Ok(format!("---\n{}", yaml::write(value)?))),
        }
    }

    fn rows<K: Columns>(&mut self, happenings: &[(Happening, K)]) -> String {
        let mut rows: Vec<Vec<String>> =
            happenings.iter().map(|(happening, object)| self.row(*happening, object)).collect();
        if self.widths.is_none() {
            rows.insert(0, self.header::<K>());
        }
        let widths = self.widths.get_or_insert_with(|| {
            let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
            let width =
                |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| length(cell)).max();
            (0..columns).map(|column| width(column).unwrap_or_default().max(LEAST)).collect()
        });
        rows.iter().map(|row| line(row, widths)).collect()
    }

    fn header<K: Columns>(&self) -> Vec<String> {
        let mut header = vec!["EVENT", "NAME"];
        header.extend((!self.global).then_some("NAMESPACE"));
        let mut header: Vec<String> = header.into_iter().map(str::to_owned).collect();
        header.extend(K::LIST.iter().map(|name| name.to_uppercase()));
        header
    }

    fn row<K: Columns>(&self, happening: Happening, object: &K) -> Vec<String> {
        let metadata = object.metadata().cloned().unwrap_or_default();
        let mut row = vec![happening.name().to_owned(), metadata.name];
        row.extend((!self.global).then_some(metadata.namespace));
        row.extend(object.cells());
        row.extend(object.trouble());
        row.iter().map(|cell| printable(cell).replace('\n', ", ")).collect()
    }
}

fn length(cell: &str) -> usize {
    cell.chars().count()
}

/// A row, each cell but the last as wide as its column.
fn line(row: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (index, cell) in row.iter().enumerate() {
        line.push_str(cell);
        if index + 1 < row.len() {
            let width = widths.get(index).copied().unwrap_or_default();
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(length(cell))));
            line.push_str(GAP);
        }
    }
    line.push('\n');
    line
}
