//! Constraints and label selectors: any text is one or an error within it, and what is read prints to an equal one.

use std::collections::BTreeMap;

use krake_proto::constraint::{ConstraintError, LabelConstraint, MetricConstraint};
use krake_state::fuzz::Selector;
use rand::Rng;
use rand::rngs::StdRng;

use crate::pick;

/// Words of the grammars.
pub const WORDS: &[&str] = &[
    "=",
    "==",
    "!=",
    "is",
    "is not",
    "isnot",
    "in",
    "not in",
    "notin",
    "(",
    ")",
    ",",
    ">",
    ">=",
    "=>",
    "<",
    "<=",
    "=<",
    "gt",
    "gte",
    "lt",
    "lte",
    "greater than",
    "lesser than or equal to",
    "!",
    "a",
    "k8s.io/zone",
    "1e308",
    "1e999",
    "-0",
    "+1.5",
    "0.1",
    ".5",
    "5.",
    "NaN",
    "inf",
    "\u{e4}",
    " ",
    "\t",
    "\u{a0}",
];

/// See the module.
pub fn target(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match LabelConstraint::parse(text) {
        Ok(constraint) => assert_eq!(LabelConstraint::parse(&constraint.to_string()), Ok(constraint)),
        Err(error) => within(text, &error),
    }
    match MetricConstraint::parse(text) {
        Ok(constraint) => assert_eq!(MetricConstraint::parse(&constraint.to_string()), Ok(constraint)),
        Err(error) => within(text, &error),
    }
    if let Some(selector) = Selector::read(text) {
        let printed = selector.to_string();
        // The canonical form is longer than the shortest one, so it may exceed the limit of requests.
        if printed.len() <= Selector::MAX_BYTES {
            assert_eq!(Selector::read(&printed).as_ref(), Some(&selector), "{printed:?}");
            assert_eq!(Selector::read(&printed).unwrap().to_string(), printed, "one canonical form");
        }
        for labels in [BTreeMap::new(), BTreeMap::from([("a".to_owned(), "b".to_owned())])] {
            selector.matches(&labels);
        }
    }
}

/// An error tells a place in the text, and does not repeat much of it.
fn within(text: &str, error: &ConstraintError) {
    assert!((1..=text.chars().count() + 1).contains(&error.position), "{error}");
    assert!(error.to_string().len() < 1024, "{} bytes", error.to_string().len());
}

/// See [`crate::Target::case`].
pub fn case(random: &mut StdRng) -> Vec<u8> {
    let valid = [
        "zone is a",
        "zone not in (a, b)",
        "k8s.io/zone = a",
        "load > 1.5",
        "m is greater than or equal to -1e3",
        "m isnot 5",
        "tier=edge,zone in (a, b),!legacy",
        "a,b notin (,c),d==",
        "in in (in)",
    ];
    if random.random_ratio(1, 3) {
        return pick(random, &valid).as_bytes().to_vec();
    }
    let words: Vec<&str> = (0..random.random_range(1..9)).map(|_| *pick(random, WORDS)).collect();
    words.join(*pick(random, &["", " "])).into_bytes()
}
