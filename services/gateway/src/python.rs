//! Violations as upstream writes them: the text of a nested Python dict, by field.

use std::fmt::Write;

use krake_proto::error::Violation;

/// The place of what is wrong with a message as a whole.
const WHOLE: &str = "_schema";

/// A place's violations and the places below it, in the order of the violations.
#[derive(Default)]
struct Node {
    texts: Vec<String>,
    below: Vec<(Key, Node)>,
}

#[derive(PartialEq, Eq)]
enum Key {
    Name(String),
    Index(String),
}

/// The violations as one text, for example `{'spec': {'constraints': ['Missing data for required field.']}}`.
pub(crate) fn nested(violations: &[Violation]) -> String {
    let mut root = Node::default();
    for violation in violations {
        let mut node = &mut root;
        for key in keys(&violation.field) {
            let place = node.below.iter().position(|(known, _)| *known == key);
            let place = place.unwrap_or_else(|| {
                node.below.push((key, Node::default()));
                node.below.len() - 1
            });
            node = &mut node.below[place].1;
        }
        node.texts.push(violation.description.clone());
    }
    let mut text = String::new();
    show(&root, true, &mut text);
    text
}

/// `None` for an empty text, else the text in quotes.
pub(crate) fn optional(text: &str) -> String {
    if text.is_empty() { "None".to_owned() } else { quoted(text) }
}

fn show(node: &Node, is_root: bool, out: &mut String) {
    if node.below.is_empty() && !is_root {
        list(&node.texts, out);
        return;
    }
    out.push('{');
    let mut separator = "";
    if !node.texts.is_empty() {
        out.push_str(&quoted(WHOLE));
        out.push_str(": ");
        list(&node.texts, out);
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
        show(below, false, out);
    }
    out.push('}');
}

fn list(texts: &[String], out: &mut String) {
    let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    out.push('[');
    out.push_str(&texts.join(", "));
    out.push(']');
}

/// A Python string literal.
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

/// The parts of a path such as `spec.labels[0].name` or `metadata.labels["a.b/c"]`.
fn keys(path: &str) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(bracket) = rest.strip_prefix('[') {
            let (key, after) = bracketed(bracket);
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

/// What stands in brackets, and what comes after them.
fn bracketed(text: &str) -> (Key, &str) {
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
