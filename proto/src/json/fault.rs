//! Values that a body may not hold although they are JSON: they would be dropped or changed in silence.

use serde::de::Error;

use crate::error::Violation;

/// Floats from here on may stand for an integer that serde_json could not keep: the first that needs more than 64 bits.
const FIRST_INEXACT: f64 = 9_223_372_036_854_775_808.0;

/// Treatment of values that a body may not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strictness {
    /// Of equal members the last counts, and large integers are rounded.
    Lenient,
    /// Members that are given twice are refused.
    Exact {
        /// Whether the text has integers of more than 64 bits anywhere, which the parser shows as whole floats.
        has_large_integers: bool,
    },
}

impl Strictness {
    /// That of a body.
    pub(super) fn of(text: &[u8]) -> Self {
        Strictness::Exact { has_large_integers: has_large_integers(text) }
    }

    /// Whether a float may be an integer that was rounded.
    pub(super) fn refuses(self, value: f64) -> bool {
        self == Strictness::Exact { has_large_integers: true }
            && value.fract() == 0.0
            && value.abs() >= FIRST_INEXACT
    }
}

/// Why a text is not a body, beside its syntax.
#[derive(Debug)]
pub(super) enum Fault {
    TooManyElements,
    Inexact(Inexact),
}

/// A value that could not be kept as it is.
#[derive(Debug)]
pub(super) struct Inexact {
    /// Names of the members around it, the innermost first.
    path: Vec<Segment>,
    problem: &'static str,
}

#[derive(Debug)]
enum Segment {
    Member(String),
    Index(usize),
}

impl Fault {
    /// Notes that `name` is given twice, and returns the error that ends parsing.
    pub(super) fn given_twice<E: Error>(fault: &mut Option<Fault>, name: &str) -> E {
        let path = vec![Segment::Member(name.to_owned())];
        Self::note(fault, Inexact { path, problem: "is given twice" })
    }

    /// Notes an integer that cannot be kept, and returns the error that ends parsing.
    pub(super) fn too_large<E: Error>(fault: &mut Option<Fault>) -> E {
        let problem = "is an integer of more than 64 bits, which would be rounded; write it as a string";
        Self::note(fault, Inexact { path: Vec::new(), problem })
    }

    fn note<E: Error>(fault: &mut Option<Fault>, inexact: Inexact) -> E {
        let problem = inexact.problem;
        *fault = Some(Fault::Inexact(inexact));
        E::custom(problem)
    }

    /// Notes on the way out that the fault is below a member.
    pub(super) fn below_member(fault: &mut Option<Fault>, name: &str) {
        if let Some(Fault::Inexact(inexact)) = fault {
            inexact.path.push(Segment::Member(name.to_owned()));
        }
    }

    /// Notes on the way out that the fault is below an element of a list.
    pub(super) fn below_index(fault: &mut Option<Fault>, index: usize) {
        if let Some(Fault::Inexact(inexact)) = fault {
            inexact.path.push(Segment::Index(index));
        }
    }
}

impl Inexact {
    pub(super) fn violation(self) -> Violation {
        let mut field = String::new();
        for segment in self.path.into_iter().rev() {
            match segment {
                Segment::Member(name) if field.is_empty() => field = name,
                Segment::Member(name) => {
                    field.push('.');
                    field.push_str(&name);
                }
                Segment::Index(index) => field.push_str(&format!("[{index}]")),
            }
        }
        Violation::new(field, self.problem)
    }
}

/// Whether a JSON text has integers that need more than 64 bits. Of any other text, anything.
fn has_large_integers(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            b'"' => after_string(after),
            b'-' | b'0'..=b'9' => {
                let end = rest.iter().position(|byte| !is_of_number(*byte)).unwrap_or(rest.len());
                let (number, after) = rest.split_at(end);
                if is_large_integer(number) {
                    return true;
                }
                after
            }
            _ => after,
        };
    }
    false
}

/// Returns the text after a string whose opening quote was read.
fn after_string(text: &[u8]) -> &[u8] {
    let mut is_escaped = false;
    let end = text.iter().position(|byte| {
        let ends = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        ends
    });
    end.map_or(&[], |end| &text[end + 1..])
}

fn is_of_number(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
}

fn is_large_integer(number: &[u8]) -> bool {
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let text = std::str::from_utf8(number).unwrap_or_default();
    text.parse::<u64>().is_err() && text.parse::<i64>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::POOL;
    use crate::json::{ParseError, parse, parse_written};

    fn refused(body: &str) -> String {
        let application = POOL.get_message_by_name("krake.kubernetes.v1.Application").unwrap();
        match parse(&application, body.as_bytes()) {
            Err(ParseError::Inexact(violation)) => violation.to_string(),
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn members_that_are_given_twice_are_named() {
        for (body, field) in [
            (r#"{"metadata": {}, "metadata": {}}"#, "metadata"),
            (r#"{"kind": "Application", "kind": "Application"}"#, "kind"),
            (r#"{"metadata": {"name": "a", "n\u0061me": "b"}}"#, "metadata.name"),
            (r#"{"metadata": {"labels": {"a": "1", "b": "2", "a": "1"}}}"#, "metadata.labels.a"),
            (r#"{"spec": {"manifest": [{}, {"a": {"b": 1, "c": 2, "b": 3}}]}}"#, "spec.manifest[1].a.b"),
            (r#"{"spec": {"manifest": [[{"a": 1, "a": 1}]]}}"#, "spec.manifest[0][0].a"),
        ] {
            assert_eq!(refused(body), format!("{field}: is given twice"));
        }
    }

    #[test]
    fn integers_in_documents_are_exact_or_refused() {
        let application = POOL.get_message_by_name("krake.kubernetes.v1.Application").unwrap();
        let manifest = |number: &str| format!(r#"{{"spec": {{"manifest": [{{"n": [1, {number}]}}]}}}}"#);
        for exact in
            ["9007199254740993", "18446744073709551615", "-9223372036854775808", "1e30", "1.5", "0.1e-7"]
        {
            let parsed = parse(&application, manifest(exact).as_bytes()).unwrap();
            let kept: serde_json::Value =
                serde_json::from_str(parsed["spec"]["manifest"][0].as_str().unwrap()).unwrap();
            assert_eq!(kept["n"][1], exact.parse::<serde_json::Value>().unwrap(), "{exact}");
        }
        for large in ["18446744073709551616", "-9223372036854775809", &"9".repeat(300)] {
            assert!(refused(&manifest(large)).starts_with("spec.manifest[0].n[1]: is an integer of more"));
        }
        let text = format!(r#"{{"n": "\\\"{0}", "m": 1.5, "other": {0}e0}}"#, "9".repeat(30));
        assert!(!has_large_integers(text.as_bytes()), "{text}");
    }

    #[test]
    fn what_is_stored_is_read_whatever_it_holds() {
        let application = POOL.get_message_by_name("krake.kubernetes.v1.Application").unwrap();
        let stored = r#"{"spec": {"manifest": [{"a": 1, "a": 2, "b": 99999999999999999999}]}}"#;
        let parsed = parse_written(&application, stored.as_bytes()).unwrap();
        assert_eq!(parsed["spec"]["manifest"][0], r#"{"a":2,"b":1e+20}"#);
    }
}
