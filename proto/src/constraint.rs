//! Label constraints and metric constraints: their types, their text form, and what they match.
//!
//! | | label constraint | metric constraint |
//! |---|---|---|
//! | equal | `k = v`, `k == v`, `k is v` | `m = 5`, `m == 5`, `m is 5` |
//! | not equal | `k != v`, `k is not v`, `k isnot v` | `m != 5`, `m is not 5`, `m isnot 5` |
//! | one of | `k in (a, b)`, `k in (a,)` | |
//! | none of | `k not in (a, b)`, `k notin (a)` | |
//! | greater | | `m > 5`, `m gt 5`, `m greater than 5` |
//! | greater or equal | | `m >= 5`, `m => 5`, `m gte 5`, `m greater than or equal [to] 5` |
//! | less | | `m < 5`, `m lt 5`, `m less than 5`, `m lesser than 5` |
//! | less or equal | | `m <= 5`, `m =< 5`, `m lte 5`, `m less[er] than or equal [to] 5` |
//!
//! Keywords are lower case; the comparisons in words may follow an `is` (`m is greater than 5`). Only spaces
//! separate, and around signs they may be left out (`m>-1.5`). Keys and values obey [`crate::name`]; numbers are
//! decimal, finite, perhaps signed, perhaps with an exponent.

mod parse;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

/// Text that is not a constraint. [`fmt::Display`] gives the whole story:
/// `unexpected ")" at column 14: expected a value`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unexpected {} at column {position}: expected {expected}{}", Found(found), Reason(reason))]
pub struct ConstraintError {
    /// Where the text stops making sense: a column, counted in characters from 1; one past the end if the text
    /// ends too early.
    pub position: usize,
    /// What stands there, cut to a few dozen characters; `None` is the end of the text.
    pub found: Option<String>,
    /// What could stand there.
    pub expected: &'static str,
    /// Why what was found is not that, where it looks like it (a value that is too long, say).
    pub reason: Option<String>,
}

struct Found<'a>(&'a Option<String>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(text) => write!(f, "{text:?}"),
            None => f.write_str("end"),
        }
    }
}

struct Reason<'a>(&'a Option<String>);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

/// A condition on the labels of a cluster, cloud or project. `Display` prints the canonical form, which parses
/// back to an equal value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelConstraint {
    key: String,
    test: LabelTest,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum LabelTest {
    Equal(String),
    NotEqual(String),
    In(Vec<String>),
    NotIn(Vec<String>),
}

impl LabelConstraint {
    /// Reads a label constraint in any of its spellings.
    ///
    /// # Errors
    /// Where the text is not one, and what was expected there.
    pub fn parse(text: &str) -> Result<Self, ConstraintError> {
        parse::label_constraint(text)
    }

    /// The label that is looked at.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether labels satisfy the constraint. Where the label is missing, **no** constraint on it is satisfied,
    /// "not equal" and "not in" included.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.get(&self.key).is_some_and(|label| match &self.test {
            LabelTest::Equal(value) => label == value,
            LabelTest::NotEqual(value) => label != value,
            LabelTest::In(values) => values.contains(label),
            LabelTest::NotIn(values) => !values.contains(label),
        })
    }
}

impl fmt::Display for LabelConstraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.test {
            LabelTest::Equal(value) => write!(f, "{key} = {value}"),
            LabelTest::NotEqual(value) => write!(f, "{key} != {value}"),
            LabelTest::In(values) => write!(f, "{key} in ({})", values.join(", ")),
            LabelTest::NotIn(values) => write!(f, "{key} not in ({})", values.join(", ")),
        }
    }
}

/// A condition on the **raw** value of one metric of a cluster or cloud: the number as its provider reports it,
/// before normalisation and weighting. `Display` prints the canonical form, which parses back to an equal value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MetricConstraint {
    metric: String,
    comparison: Comparison,
    bound: Bound,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// A finite number, zero without a sign: so that equality is an equivalence and agrees with the hash.
#[derive(Clone, Copy, Debug)]
struct Bound(f64);

impl Bound {
    fn new(value: f64) -> Option<Self> {
        // Adding zero turns -0 into 0.
        value.is_finite().then_some(Self(value + 0.0))
    }
}

impl PartialEq for Bound {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Bound {}

impl std::hash::Hash for Bound {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl MetricConstraint {
    /// Reads a metric constraint in any of its spellings.
    ///
    /// # Errors
    /// Where the text is not one, and what was expected there.
    pub fn parse(text: &str) -> Result<Self, ConstraintError> {
        parse::metric_constraint(text)
    }

    /// The name of the metric that is looked at, as a metric reference names it.
    pub fn metric(&self) -> &str {
        &self.metric
    }

    /// Whether the raw value of the metric satisfies the constraint; equality is exact. A metric without a value
    /// satisfies no constraint, and neither does NaN.
    pub fn matches(&self, raw: Option<f64>) -> bool {
        let bound = self.bound.0;
        raw.is_some_and(|value| match self.comparison {
            Comparison::Equal => value == bound,
            Comparison::NotEqual => !value.is_nan() && value != bound,
            Comparison::Greater => value > bound,
            Comparison::GreaterOrEqual => value >= bound,
            Comparison::Less => value < bound,
            Comparison::LessOrEqual => value <= bound,
        })
    }
}

impl fmt::Display for MetricConstraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.comparison {
            Comparison::Equal => "=",
            Comparison::NotEqual => "!=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
        };
        write!(f, "{} {sign} {}", self.metric, self.bound.0)
    }
}
