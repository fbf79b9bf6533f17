//! Objects as people or programs want to see them.

mod application;
mod cluster;
mod lines;
mod table;
#[cfg(test)]
mod tests;
pub(crate) mod text;

pub(crate) use lines::Lines;

use krake_proto::Resource;
use krake_proto::json::{self, Options};
use serde_json::Value;

use crate::args::Format;
use crate::failure::Failure;
use crate::yaml;

/// What tables show of a kind beside its metadata.
pub(crate) trait Columns: Resource {
    /// Headers of the further columns of a list.
    const LIST: &'static [&'static str];

    /// The cells of [`Columns::LIST`].
    fn cells(&self) -> Vec<String>;

    /// The further rows of a single object.
    fn details(&self) -> Vec<(&'static str, String)>;

    /// What is wrong with it, on one line.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// What a forced deletion leaves where it was, a line each.
    fn left_behind(&self) -> Vec<String> {
        Vec::new()
    }
}

/// One object.
pub(crate) fn object<K: Columns>(object: &K, format: Format) -> Result<String, Failure> {
    match format {
        Format::Table => Ok(table::object(object)),
        Format::Json => text_of(&shown(object), format),
        Format::Yaml => text_of(&shown(object), format),
    }
}

/// Several objects of a kind; `global` ones show no namespace.
pub(crate) fn list<K: Columns>(objects: &[K], global: bool, format: Format) -> Result<String, Failure> {
    match format {
        Format::Table => Ok(table::list(objects, global)),
        Format::Json | Format::Yaml => text_of(&objects.iter().map(shown).collect(), format),
    }
}

/// The JSON form without secrets.
fn shown<K: Columns>(object: &K) -> Value {
    json::to_value(object, Options { redact: true })
}

fn text_of(value: &Value, format: Format) -> Result<String, Failure> {
    let text = match format {
        Format::Yaml => yaml::write(value),
        Format::Json | Format::Table => {
            serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(|error| error.to_string())
        }
    };
    text.map_err(|error| Failure::input(format!("cannot show the answer: {error}")))
}
