//! Label selectors in Kubernetes' grammar: `tier=edge,zone in (a, b),!legacy`.
//!
//! | | |
//! |---|---|
//! | `k = v`, `k == v` | the label is there and has this value |
//! | `k in (a, b)` | the label is there and has one of these values |
//! | `k != v`, `k notin (a, b)` | the label has no such value, or is not there |
//! | `k` | the label is there |
//! | `!k` | the label is not there |
//!
//! Commas mean "and". Unlike the constraints of applications, which a missing label never satisfies.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use krake_proto::constraint::ConstraintError;
use krake_proto::name::{NameError, label_key, label_value};

use super::Error;

/// The field of requests that holds it.
const FIELD: &str = "label_selector";
/// The longest selector in bytes: it is compared with every object, and repeated in page tokens.
pub(super) const MAX_SELECTOR_BYTES: usize = 16 * 1024;
/// Maximum number of characters of the text that an error repeats.
const FOUND_MAX: usize = 40;

/// Which labels an object must have; the empty one matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Exists,
    Absent,
}

impl Selector {
    /// Reads the field `label_selector` of a request; the empty text selects everything.
    pub(super) fn read(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_SELECTOR_BYTES {
            let text = format!("is {} bytes; at most {MAX_SELECTOR_BYTES} are allowed", text.len());
            return Err(Error::invalid(FIELD, text));
        }
        Self::parse(text).map_err(|error| Error::invalid(FIELD, error.to_string()))
    }

    fn parse(text: &str) -> Result<Self, ConstraintError> {
        let mut parser = Parser { text, place: 0 };
        let mut requirements = Vec::new();
        if parser.peek().is_none() {
            return Ok(Selector::default());
        }
        loop {
            requirements.push(parser.requirement()?);
            match parser.next() {
                None => return Ok(Selector(requirements)),
                Some((_, ",")) => {}
                Some((at, _)) => return Err(parser.unexpected(at, "\",\" or the end", None)),
            }
        }
    }

    /// Whether labels satisfy all of it.
    pub(crate) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|Requirement { key, test }| match (labels.get(key), test) {
            (label, Test::Exists) => label.is_some(),
            (label, Test::Absent) => label.is_none(),
            (label, Test::In(values)) => label.is_some_and(|label| values.contains(label)),
            (label, Test::NotIn(values)) => label.is_none_or(|label| !values.contains(label)),
        })
    }

    /// Whether it matches everything.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The canonical form, which reads back to an equal selector.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined =
            |values: &BTreeSet<String>| values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        for (index, Requirement { key, test }) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            match test {
                Test::Exists => f.write_str(key)?,
                Test::Absent => write!(f, "!{key}")?,
                Test::In(values) => write!(f, "{key} in ({})", joined(values))?,
                Test::NotIn(values) => write!(f, "{key} notin ({})", joined(values))?,
            }
        }
        Ok(())
    }
}

/// A place in the text. Tokens are words, signs and single marks; spaces separate and mean nothing else.
struct Parser<'a> {
    text: &'a str,
    place: usize,
}

fn is_sign(c: char) -> bool {
    matches!(c, '=' | '!' | '<' | '>')
}

fn is_word(c: char) -> bool {
    !is_sign(c) && !matches!(c, ',' | '(' | ')') && !c.is_ascii_whitespace()
}

impl<'a> Parser<'a> {
    /// The next token and where it begins, without taking it; `None` at the end.
    fn peek(&self) -> Option<(usize, &'a str)> {
        let rest = &self.text[self.place..];
        let start = self.place + rest.len() - rest.trim_ascii_start().len();
        let rest = &self.text[start..];
        let first = rest.chars().next()?;
        let end = |same: fn(char) -> bool| rest.find(|c| !same(c)).unwrap_or(rest.len());
        let length = match first {
            // It stands alone before a key, and is a part of "!=".
            '!' if rest.starts_with("!=") => 2,
            c if is_sign(c) && c != '!' => end(is_sign),
            c if is_word(c) => end(is_word),
            c => c.len_utf8(),
        };
        Some((start, &rest[..length]))
    }

    fn next(&mut self) -> Option<(usize, &'a str)> {
        let token = self.peek()?;
        self.place = token.0 + token.1.len();
        Some(token)
    }

    fn requirement(&mut self) -> Result<Requirement, ConstraintError> {
        if self.peek().is_some_and(|(_, token)| token == "!") {
            self.next();
            return Ok(Requirement { key: self.word("a label key", label_key)?, test: Test::Absent });
        }
        let key = self.word("a label key or \"!\"", label_key)?;
        let Some((at, token)) = self.peek() else { return Ok(Requirement { key, test: Test::Exists }) };
        let one = |value: String| BTreeSet::from([value]);
        if token != "," {
            self.next();
        }
        let test = match token {
            "," => Test::Exists,
            "=" | "==" => Test::In(one(self.value()?)),
            "!=" => Test::NotIn(one(self.value()?)),
            "in" => Test::In(self.values()?),
            "notin" => Test::NotIn(self.values()?),
            _ => {
                return Err(self.unexpected(
                    at,
                    "an operator (=, ==, !=, in, notin), \",\" or the end",
                    None,
                ));
            }
        };
        Ok(Requirement { key, test })
    }

    /// `(a, b)`.
    fn values(&mut self) -> Result<BTreeSet<String>, ConstraintError> {
        self.mark("(", "\"(\"")?;
        let mut values = BTreeSet::new();
        loop {
            values.insert(self.value()?);
            match self.next() {
                Some((_, ")")) => return Ok(values),
                Some((_, ",")) => {}
                other => {
                    let at = other.map_or(self.text.len(), |(at, _)| at);
                    return Err(self.unexpected(at, "\",\" or \")\"", None));
                }
            }
        }
    }

    /// A value. As in Kubernetes it may be left out, and is empty then.
    fn value(&mut self) -> Result<String, ConstraintError> {
        match self.peek() {
            None | Some((_, "," | ")")) => Ok(String::new()),
            Some(_) => self.word("a value", label_value),
        }
    }

    fn word(
        &mut self,
        expected: &'static str,
        rule: fn(&str) -> Result<(), NameError>,
    ) -> Result<String, ConstraintError> {
        match self.next() {
            Some((at, word)) if word.starts_with(is_word) => match rule(word) {
                Ok(()) => Ok(word.to_owned()),
                Err(error) => Err(self.unexpected(at, expected, Some(error.to_string()))),
            },
            Some((at, _)) => Err(self.unexpected(at, expected, None)),
            None => Err(self.unexpected(self.text.len(), expected, None)),
        }
    }

    fn mark(&mut self, mark: &str, expected: &'static str) -> Result<(), ConstraintError> {
        match self.next() {
            Some((_, token)) if token == mark => Ok(()),
            Some((at, _)) => Err(self.unexpected(at, expected, None)),
            None => Err(self.unexpected(self.text.len(), expected, None)),
        }
    }

    /// What stands at `at`, which is not `expected`.
    fn unexpected(&self, at: usize, expected: &'static str, reason: Option<String>) -> ConstraintError {
        let found = Parser { text: self.text, place: at }.peek();
        ConstraintError {
            position: self.text[..at].chars().count() + 1,
            found: found.map(|(_, token)| token.chars().take(FOUND_MAX).collect()),
            expected,
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Selector::parse(selector).unwrap_or_else(|error| panic!("{selector}: {error}")).matches(&labels)
    }

    const EDGE: &[(&str, &str)] = &[("tier", "edge"), ("k8s.io/zone", "a")];

    #[rstest]
    #[case("", true)]
    #[case("  ", true)]
    #[case("tier=edge", true)]
    #[case("tier == edge", true)]
    #[case("tier=core", false)]
    #[case("tier=", false)]
    #[case("other=edge", false)]
    #[case("tier!=edge", false)]
    #[case("tier != core", true)]
    #[case("other!=edge", true)]
    #[case("tier!=", true)]
    #[case("tier in (core, edge)", true)]
    #[case("tier in(core)", false)]
    #[case("tier in (,edge)", true)]
    #[case("other in (a)", false)]
    #[case("tier notin (core,cloud)", true)]
    #[case("tier notin (core,edge)", false)]
    #[case("other notin (a)", true)]
    #[case("tier", true)]
    #[case("other", false)]
    #[case("!tier", false)]
    #[case("! other", true)]
    #[case("k8s.io/zone=a,tier in (edge),!other", true)]
    #[case("k8s.io/zone=a,tier=core", false)]
    #[case("\ttier=edge ,\n k8s.io/zone", true)]
    fn the_grammar_means_what_it_means_in_kubernetes(#[case] selector: &str, #[case] expected: bool) {
        assert_eq!(matches(selector, EDGE), expected);
    }

    #[test]
    fn operators_in_words_are_keys_and_values_elsewhere() {
        assert!(matches("in in (notin)", &[("in", "notin")]));
        assert!(matches("notin=in,in", &[("in", ""), ("notin", "in")]));
    }

    #[rstest]
    #[case("tier=edge,", "unexpected end at column 11: expected a label key or \"!\"")]
    #[case(",tier", "unexpected \",\" at column 1: expected a label key or \"!\"")]
    #[case(
        "tier edge",
        "unexpected \"edge\" at column 6: expected an operator (=, ==, !=, in, notin), \",\" or the end"
    )]
    #[case(
        "tier>5",
        "unexpected \">\" at column 5: expected an operator (=, ==, !=, in, notin), \",\" or the end"
    )]
    #[case(
        "tier=!=edge",
        "unexpected \"=!=\" at column 5: expected an operator (=, ==, !=, in, notin), \",\" or the end"
    )]
    #[case("tier=a b", "unexpected \"b\" at column 8: expected \",\" or the end")]
    #[case("tier in edge", "unexpected \"edge\" at column 9: expected \"(\"")]
    #[case("tier in", "unexpected end at column 8: expected \"(\"")]
    #[case("tier in (a", "unexpected end at column 11: expected \",\" or \")\"")]
    #[case("tier in (a b)", "unexpected \"b\" at column 12: expected \",\" or \")\"")]
    #[case("tier notin (a))", "unexpected \")\" at column 15: expected \",\" or the end")]
    #[case("!", "unexpected end at column 2: expected a label key")]
    #[case("!tier=a", "unexpected \"=\" at column 6: expected \",\" or the end")]
    #[case("!!tier", "unexpected \"!\" at column 2: expected a label key")]
    #[case("tier=ä", "unexpected \"ä\" at column 6: expected a value: 'ä' (its character 1)")]
    #[case("ä", "unexpected \"ä\" at column 1: expected a label key or \"!\": 'ä'")]
    #[case("ä=", "unexpected \"ä\" at column 1")]
    #[case("a=b,-c", "unexpected \"-c\" at column 5")]
    fn what_is_wrong_is_named_with_its_place(#[case] selector: &str, #[case] expected: &str) {
        let error = Selector::parse(selector).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn selectors_are_bounded() {
        let long = format!("tier in ({})", "a,".repeat(MAX_SELECTOR_BYTES));
        assert!(matches!(Selector::read(&long), Err(Error::Invalid(found)) if found[0].field == FIELD));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_selector_or_an_error_within_it(text in "[a-c!=<>,() \u{e4}\n]{0,20}|in|notin|.{0,20}") {
            if let Err(error) = Selector::parse(&text) {
                proptest::prop_assert!((1..=text.chars().count() + 1).contains(&error.position));
            }
        }

        #[test]
        fn a_selector_and_its_negation_share_every_object(value in "[a-c]", label in proptest::option::of("[a-c]")) {
            let labels: Vec<(&str, &str)> = label.iter().map(|label| ("k", label.as_str())).collect();
            for (yes, no) in [("k={}", "k!={}"), ("k in ({})", "k notin ({})"), ("k", "!k")] {
                let (yes, no) = (yes.replace("{}", &value), no.replace("{}", &value));
                proptest::prop_assert_ne!(matches(&yes, &labels), matches(&no, &labels));
            }
        }
    }
}
