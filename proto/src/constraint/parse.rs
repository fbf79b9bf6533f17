//! The grammar of constraints.
//!
//! Alternatives are decided by one token, never by trying longer ones in turn: so the place where parsing stops
//! is the place of the mistake.

use winnow::combinator::{alt, delimited, eof, opt, peek, repeat};
use winnow::error::{ContextError, StrContext, StrContextValue};
use winnow::prelude::*;
use winnow::stream::Stream;
use winnow::token::take_while;

use super::{Bound, Comparison, ConstraintError, LabelConstraint, LabelTest, MetricConstraint};
use crate::name::{NameError, label_key, label_value, resource_name};

const LABEL_OPERATOR: &str = "an operator (=, ==, is, !=, is not, in, not in)";
const METRIC_OPERATOR: &str =
    "an operator (=, is, !=, is not, >, gt, greater than, >=, gte, <, lt, less than, <=, lte, …)";
/// The most characters of the text that an error repeats.
const FOUND_MAX: usize = 40;

pub(super) fn label_constraint(text: &str) -> Result<LabelConstraint, ConstraintError> {
    label.parse(text).map_err(|error| explain(text, error.offset(), error.inner()))
}

pub(super) fn metric_constraint(text: &str) -> Result<MetricConstraint, ConstraintError> {
    metric.parse(text).map_err(|error| explain(text, error.offset(), error.inner()))
}

fn label(input: &mut &str) -> ModalResult<LabelConstraint> {
    let key = spaced(checked("a label key", label_key)).parse_next(input)?.to_owned();
    let start = input.checkpoint();
    let test = match operator(LABEL_OPERATOR).parse_next(input)? {
        "=" | "==" => LabelTest::Equal(value(input)?),
        "!=" | "isnot" => LabelTest::NotEqual(value(input)?),
        "is" if is_followed_by_not(input)? => LabelTest::NotEqual(value(input)?),
        "is" => LabelTest::Equal(value(input)?),
        "in" => LabelTest::In(values(input)?),
        "notin" => LabelTest::NotIn(values(input)?),
        "not" => {
            keyword("in", "\"in\"").parse_next(input)?;
            LabelTest::NotIn(values(input)?)
        }
        _ => return unexpected(input, &start, LABEL_OPERATOR),
    };
    end(input)?;
    Ok(LabelConstraint { key, test })
}

fn value(input: &mut &str) -> ModalResult<String> {
    spaced(checked("a value", label_value)).map(str::to_owned).parse_next(input)
}

/// `(a, b)`; after the last value any number of commas.
fn values(input: &mut &str) -> ModalResult<Vec<String>> {
    spaced("(".context(expected("\"(\""))).parse_next(input)?;
    let mut values = vec![value(input)?];
    loop {
        let commas: usize = repeat(0.., spaced(",")).parse_next(input)?;
        if opt(spaced(")")).parse_next(input)?.is_some() {
            return Ok(values);
        }
        match commas {
            0 => return fail("\",\" or \")\""),
            1 => values.push(value(input)?),
            _ => return fail("\")\""),
        }
    }
}

fn metric(input: &mut &str) -> ModalResult<MetricConstraint> {
    let metric = spaced(checked("the name of a metric", resource_name)).parse_next(input)?.to_owned();
    let start = input.checkpoint();
    let token = operator(METRIC_OPERATOR).parse_next(input)?;
    let comparison = match token {
        "=" | "==" => Comparison::Equal,
        "!=" | "isnot" => Comparison::NotEqual,
        ">" => Comparison::Greater,
        ">=" | "=>" => Comparison::GreaterOrEqual,
        "<" => Comparison::Less,
        "<=" | "=<" => Comparison::LessOrEqual,
        "is" if is_followed_by_not(input)? => Comparison::NotEqual,
        "is" => {
            let next = input.checkpoint();
            let token = opt(word).parse_next(input)?.unwrap_or_default();
            match in_words(token, input)? {
                Some(comparison) => comparison,
                None => {
                    input.reset(&next);
                    Comparison::Equal
                }
            }
        }
        other => match in_words(other, input)? {
            Some(comparison) => comparison,
            None => return unexpected(input, &start, METRIC_OPERATOR),
        },
    };
    let bound = spaced(word.try_map(number).context(expected("a number"))).parse_next(input)?;
    end(input)?;
    Ok(MetricConstraint { metric, comparison, bound })
}

/// The comparison that a word starts, with the words that complete it; `None` if it starts none.
fn in_words(first: &str, input: &mut &str) -> ModalResult<Option<Comparison>> {
    let (strict, or_equal) = match first {
        "gt" => return Ok(Some(Comparison::Greater)),
        "gte" => return Ok(Some(Comparison::GreaterOrEqual)),
        "lt" => return Ok(Some(Comparison::Less)),
        "lte" => return Ok(Some(Comparison::LessOrEqual)),
        "greater" => (Comparison::Greater, Comparison::GreaterOrEqual),
        "less" | "lesser" => (Comparison::Less, Comparison::LessOrEqual),
        _ => return Ok(None),
    };
    keyword("than", "\"than\"").parse_next(input)?;
    if opt(keyword("or", "")).parse_next(input)?.is_none() {
        return Ok(Some(strict));
    }
    keyword("equal", "\"equal\"").parse_next(input)?;
    opt(keyword("to", "")).parse_next(input)?;
    Ok(Some(or_equal))
}

/// Takes the `not` of `is not v`. In `is not` alone, `not` is the value.
fn is_followed_by_not(input: &mut &str) -> ModalResult<bool> {
    opt((keyword("not", ""), peek(spaced(word)))).map(|not| not.is_some()).parse_next(input)
}

#[derive(Debug, thiserror::Error)]
enum NumberError {
    #[error("not a decimal number")]
    NotDecimal,
    #[error("out of range")]
    OutOfRange,
}

fn number(text: &str) -> Result<Bound, NumberError> {
    // The standard parser also takes "inf", "infinity" and "nan".
    let is_decimal = text.chars().all(|c| c.is_ascii_digit() || "+-.eE".contains(c));
    let value = text.parse().ok().filter(|_| is_decimal).ok_or(NumberError::NotDecimal)?;
    Bound::new(value).ok_or(NumberError::OutOfRange)
}

fn is_sign(c: char) -> bool {
    "=!<>".contains(c)
}

fn is_word(c: char) -> bool {
    !is_sign(c) && !" ,()".contains(c)
}

fn word<'i>(input: &mut &'i str) -> ModalResult<&'i str> {
    take_while(1.., is_word).parse_next(input)
}

/// A word that obeys a rule for names.
fn checked<'i>(
    what: &'static str,
    rule: fn(&str) -> Result<(), NameError>,
) -> impl ModalParser<&'i str, &'i str, ContextError> {
    word.try_map(move |text| rule(text).map(|()| text)).context(expected(what))
}

/// The longest run of signs, or else a word; whoever asks decides which of them are operators.
fn operator<'i>(what: &'static str) -> impl ModalParser<&'i str, &'i str, ContextError> {
    spaced(alt((take_while(1.., is_sign), word)).context(expected(what)))
}

fn keyword<'i>(text: &'static str, what: &'static str) -> impl ModalParser<&'i str, &'i str, ContextError> {
    spaced(word.verify(move |found: &str| found == text).context(expected(what)))
}

/// `parser` with the spaces before and after it.
fn spaced<'i, O>(
    parser: impl ModalParser<&'i str, O, ContextError>,
) -> impl ModalParser<&'i str, O, ContextError> {
    delimited(spaces, parser, spaces)
}

fn spaces(input: &mut &str) -> ModalResult<()> {
    take_while(0.., ' ').void().parse_next(input)
}

fn end(input: &mut &str) -> ModalResult<()> {
    eof.void().context(expected("the end")).parse_next(input)
}

fn expected(what: &'static str) -> StrContext {
    StrContext::Expected(StrContextValue::Description(what))
}

fn fail<O>(what: &'static str) -> ModalResult<O> {
    let mut error = ContextError::new();
    error.push(expected(what));
    Err(winnow::error::ErrMode::Backtrack(error))
}

/// Fails at `start`, where something stands that is not `what`.
fn unexpected<'i, O>(
    input: &mut &'i str,
    start: &<&'i str as Stream>::Checkpoint,
    what: &'static str,
) -> ModalResult<O> {
    input.reset(start);
    fail(what)
}

fn explain(text: &str, offset: usize, error: &ContextError) -> ConstraintError {
    let rest = text.get(offset..).unwrap_or_default();
    let rest = rest.trim_start_matches(' ');
    let found = match rest.chars().next() {
        None => None,
        Some(c) if is_word(c) => Some(rest.chars().take_while(|c| is_word(*c)).take(FOUND_MAX).collect()),
        Some(c) if is_sign(c) => Some(rest.chars().take_while(|c| is_sign(*c)).take(FOUND_MAX).collect()),
        Some(c) => Some(c.to_string()),
    };
    let expected = error.context().find_map(|context| match context {
        StrContext::Expected(StrContextValue::Description(what)) if !what.is_empty() => Some(*what),
        _ => None,
    });
    ConstraintError {
        position: text[..text.len() - rest.len()].chars().count() + 1,
        found,
        expected: expected.unwrap_or("a constraint"),
        reason: error.cause().map(ToString::to_string),
    }
}
