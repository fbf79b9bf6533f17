//! Formats violations as upstream does: as the text of a Python dict, nested by field.

use std::fmt::Write;

use krake_proto::error::Violation;

/// Key of the violations of a message as a whole, from marshmallow.
const WHOLE_MESSAGE: &str = "_schema";

/// Violations of one field and of the fields below it, in the order in which they were reported.
#[derive(Default)]
struct Node {
    texts: Vec<String>,
    below: Vec<(Key, Node)>,
}

impl Node {
    /// Returns the node of `key`, which is added if it is missing. Linear: problems have few violations.
    fn child(&mut self, key: Key) -> &mut Node {
        let known = self.below.iter().position(|(other, _)| *other == key);
        let place = known.unwrap_or(self.below.len());
        if known.is_none() {
            self.below.push((key, Node::default()));
        }
        &mut self.below[place].1
    }
}

/// One step of a field's path.
#[derive(PartialEq, Eq)]
enum Key {
    /// Field of a message, or key of a map.
    Name(String),
    /// Decimal digits: position in a list.
    Index(String),
}

/// Returns the violations as one text, for example `{'spec': {'constraints': ['Missing data for required field.']}}`.
pub(crate) fn nested(violations: &[Violation]) -> String {
    let mut root = Node::default();
    for violation in violations {
        let path = parse_path(&violation.field);
        let node = path.into_iter().fold(&mut root, Node::child);
        node.texts.push(violation.description.clone());
    }
    let mut text = String::new();
    write_node(&root, true, &mut text);
    text
}

/// Returns `None` for an empty text, else the text as a Python string literal.
pub(crate) fn optional(text: &str) -> String {
    if text.is_empty() { "None".to_owned() } else { quoted(text) }
}

/// Appends a dict, or a list if no field below `node` has violations.
fn write_node(node: &Node, is_root: bool, out: &mut String) {
    if node.below.is_empty() && !is_root {
        write_list(&node.texts, out);
        return;
    }
    out.push('{');
    let mut separator = "";
    if !node.texts.is_empty() {
        out.push_str(&quoted(WHOLE_MESSAGE));
        out.push_str(": ");
        write_list(&node.texts, out);
        separator = ", ";
    }
    for (key, below) in &node.below {
        out.push_str(separator);
        separator = ", ";
        match key {
            Key::Name(name) => out.push_str(&quoted(name)),
            Key::Index(index) => out.push_str(index),
        }
        out.push_str(": ");
        write_node(below, false, out);
    }
    out.push('}');
}

fn write_list(texts: &[String], out: &mut String) {
    let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    out.push('[');
    out.push_str(&texts.join(", "));
    out.push(']');
}

/// Returns a Python string literal with the quotes that `repr` would choose.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            other if other == quote => {
                out.push('\\');
                out.push(other);
            }
            // Writing into a String does not fail.
            other if other.is_control() => drop(write!(out, "\\x{:02x}", u32::from(other))),
            other => out.push(other),
        }
    }
    out.push(quote);
    out
}

/// Splits a path such as `spec.labels[0].name` or `metadata.labels["a.b/c"]` into its steps. Never fails: odd paths give odd steps.
fn parse_path(path: &str) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(bracket) = rest.strip_prefix('[') {
            let (key, after) = parse_bracketed(bracket);
            keys.push(key);
            rest = after;
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            if end > 0 {
                keys.push(Key::Name(rest[..end].to_owned()));
            }
            rest = &rest[end..];
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
    }
    keys
}

/// Parses the step after an opening bracket; also returns the rest of the path after the closing one.
fn parse_bracketed(text: &str) -> (Key, &str) {
    let mut strings = serde_json::Deserializer::from_str(text).into_iter::<String>();
    if let (true, Some(Ok(name))) = (text.starts_with('"'), strings.next()) {
        let after = &text[strings.byte_offset()..];
        return (Key::Name(name), after.strip_prefix(']').unwrap_or(after));
    }
    let (key, after) = text.split_once(']').unwrap_or((text, ""));
    let is_index = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit());
    (if is_index { Key::Index(key.to_owned()) } else { Key::Name(key.to_owned()) }, after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(violations: &[(&str, &str)]) -> String {
        let violations: Vec<_> =
            violations.iter().map(|(field, text)| Violation::new(*field, *text)).collect();
        nested(&violations)
    }

    #[test]
    fn violations_nest_by_field() {
        assert_eq!(
            text(&[("spec.constraints", "Missing data for required field.")]),
            "{'spec': {'constraints': ['Missing data for required field.']}}"
        );
        assert_eq!(
            text(&[
                ("spec.a", "one"),
                ("spec.a", "two"),
                ("spec.b[0].c", "three"),
                ("metadata.labels[\"x.y/z\"]", "four")
            ]),
            "{'spec': {'a': ['one', 'two'], 'b': {0: {'c': ['three']}}}, 'metadata': {'labels': {'x.y/z': ['four']}}}"
        );
        assert_eq!(text(&[("", "is no object")]), "{'_schema': ['is no object']}");
        assert_eq!(
            text(&[("spec", "whole"), ("spec.a", "part")]),
            "{'spec': {'_schema': ['whole'], 'a': ['part']}}"
        );
    }

    #[test]
    fn texts_are_python_literals() {
        assert_eq!(quoted("it's"), "\"it's\"");
        assert_eq!(quoted("\"it's\"\n\\\u{1}"), "'\"it\\'s\"\\n\\\\\\x01'");
        assert_eq!((optional(""), optional("ns")), ("None".to_owned(), "'ns'".to_owned()));
    }

    #[test]
    fn odd_paths_end() {
        for path in ["[", "[\"", "[\"a", "..", "a..b", "[]", "a[0", "]"] {
            assert!(text(&[(path, "text")]).contains("['text']"), "{path}");
        }
    }
}
