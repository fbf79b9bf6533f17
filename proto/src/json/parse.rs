//! JSON text to a body, by descriptor: only what the message has a place for is kept, so that a body never takes many
//! times its size in memory, whatever it holds.
//!
//! Documents stay text. Unknown members are dropped. A value of the wrong type (a list in place of a number) is kept as
//! an empty value of its type, enough for [`read`](super::read) to report it.

use std::borrow::Cow;
use std::fmt;

use prost_reflect::MessageDescriptor;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::compact::Compact;
use super::fault::{Fault, Strictness};
use super::flat;
use super::shape::{self, Form, Shape, shape};
use crate::error::Violation;

/// Memory in bytes that the values of any body may take: a short body may hold many small values.
const BASE_MEMORY: usize = 1 << 20;
/// Memory in bytes that the values of a body may take for each byte of its length: usual bodies need less than two.
const MEMORY_PER_BYTE: usize = 4;
/// Memory in bytes of a value and of the name of a member, without their characters.
const VALUE_MEMORY: usize = 96;
/// Memory in bytes of an object or list that is not empty: an object comes in nodes of about 640 bytes.
const CONTAINER_MEMORY: usize = 768;

/// Why a text is not a body.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// It is not JSON; with line and column.
    #[error("{0}")]
    Syntax(serde_json::Error),
    /// It has more elements than its size allows; with line and column.
    #[error("{0}")]
    TooManyElements(serde_json::Error),
    /// It holds a value that could not be kept as it is, which the violation names.
    #[error("{0}")]
    Inexact(Violation),
}

/// Parses the JSON form of a message of the API as a caller sent it. In the value, each document is a string that holds
/// its text: [`read_parsed`](super::read_parsed) makes the message from it.
///
/// # Errors
/// When the text is not JSON, has too many elements for its size, gives a known member twice, or holds an integer in a
/// document that is larger than 64 bits.
///
/// # Panics
/// If the message is not part of the API.
pub fn parse(descriptor: &MessageDescriptor, text: &[u8]) -> Result<Value, ParseError> {
    parse_with(descriptor, text, Strictness::of(text))
}

/// [`parse`] for what [`write`](super::write()) wrote. Documents that came by gRPC may hold what a body may not: of
/// equal members the last counts.
///
/// # Errors
/// When the text is not JSON, or has too many elements for its size.
///
/// # Panics
/// If the message is not part of the API.
pub fn parse_written(descriptor: &MessageDescriptor, text: &[u8]) -> Result<Value, ParseError> {
    parse_with(descriptor, text, Strictness::Lenient)
}

fn parse_with(
    descriptor: &MessageDescriptor,
    text: &[u8],
    strictness: Strictness,
) -> Result<Value, ParseError> {
    let memory = BASE_MEMORY.saturating_add(text.len().saturating_mul(MEMORY_PER_BYTE));
    let parser = &mut Parser { memory, strictness, fault: None };
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let place = Place::Message(shape(descriptor));
    let parsed = Seed { place, parser: &mut *parser }.deserialize(&mut deserializer);
    let parsed = parsed.and_then(|value| deserializer.end().map(|()| value));
    parsed.map_err(|error| match parser.fault.take() {
        None => ParseError::Syntax(error),
        Some(Fault::TooManyElements) => ParseError::TooManyElements(error),
        Some(Fault::Inexact(fault)) => ParseError::Inexact(fault.violation()),
    })
}

/// State that the values of a body share while they are parsed.
struct Parser {
    /// Memory left for values, in bytes.
    memory: usize,
    strictness: Strictness,
    /// Why parsing ended, if not for the syntax.
    fault: Option<Fault>,
}

impl Parser {
    fn spend<E: Error>(&mut self, memory: usize) -> Result<(), E> {
        match self.memory.checked_sub(memory) {
            Some(rest) => {
                self.memory = rest;
                Ok(())
            }
            None => {
                self.fault = Some(Fault::TooManyElements);
                Err(E::custom("too many elements for the size of the body"))
            }
        }
    }
}

/// Place of a value in a message, which defines what it may hold.
#[derive(Clone, Copy)]
enum Place {
    /// Values below it are skipped.
    Scalar,
    Document,
    Message(&'static Shape),
    /// All elements have the same place.
    List(&'static shape::Field),
    Map(&'static shape::Field),
}

impl Place {
    fn of(field: &'static shape::Field) -> Self {
        if field.is_map {
            Place::Map(field)
        } else if field.is_list {
            Place::List(field)
        } else {
            Place::element(field)
        }
    }

    /// Of one element of a list, or of a field that is not repeated.
    fn element(field: &'static shape::Field) -> Self {
        match field.message() {
            None => Place::Scalar,
            Some(shape) => match shape.form {
                Form::Document => Place::Document,
                Form::Timestamp | Form::Duration => Place::Scalar,
                Form::Fields => match shape.shown_as {
                    Some(index) => Place::of(&shape.fields[index]),
                    None => Place::Message(shape),
                },
            },
        }
    }

    /// Of the values of a map.
    fn entry(field: &'static shape::Field) -> Self {
        let value = field
            .message()
            .and_then(|entry| entry.fields.iter().find(|field| field.descriptor.name() == "value"));
        value.map_or(Place::Scalar, Place::element)
    }
}

struct Seed<'p> {
    place: Place,
    parser: &'p mut Parser,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.parser.spend(VALUE_MEMORY)?;
        match self.place {
            Place::Document => {
                let mut text = Vec::new();
                let Parser { strictness, fault, .. } = self.parser;
                Compact { out: &mut text, strictness: *strictness, fault }.deserialize(deserializer)?;
                if text == b"null" {
                    return Ok(Value::Null);
                }
                String::from_utf8(text).map(Value::from).map_err(D::Error::custom)
            }
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        match self.place {
            Place::List(field) => {
                let place = Place::element(field);
                loop {
                    let item = items.next_element_seed(Seed { place, parser: &mut *self.parser });
                    let item =
                        item.inspect_err(|_| Fault::below_index(&mut self.parser.fault, list.len()))?;
                    let Some(item) = item else { break };
                    if list.is_empty() {
                        self.parser.spend(CONTAINER_MEMORY)?;
                    }
                    list.push(item);
                }
            }
            _ => while items.next_element::<IgnoredAny>()?.is_some() {},
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<Cow<'de, str>>()? {
            let place = match self.place {
                Place::Map(field) => Some(Place::entry(field)),
                Place::Message(shape) => member(shape, &name),
                Place::Scalar | Place::Document | Place::List(_) => None,
            };
            let Some(place) = place else {
                members.next_value::<IgnoredAny>()?;
                continue;
            };
            if self.parser.strictness != Strictness::Lenient && object.contains_key(&*name) {
                return Err(Fault::given_twice(&mut self.parser.fault, &name));
            }
            self.parser
                .spend(VALUE_MEMORY + name.len() + if object.is_empty() { CONTAINER_MEMORY } else { 0 })?;
            let value = members.next_value_seed(Seed { place, parser: &mut *self.parser });
            let value = value.inspect_err(|_| Fault::below_member(&mut self.parser.fault, &name))?;
            object.insert(name.into_owned(), value);
        }
        Ok(Value::Object(object))
    }
}

/// The place of a message's member; `None` if it is unknown.
fn member(shape: &'static Shape, name: &str) -> Option<Place> {
    match flat::field(shape, name).map(|(_, field)| field) {
        Some(field) => Some(Place::of(field)),
        None if matches!(name, "api" | "kind") && shape.kind.is_some() => Some(Place::Scalar),
        None if name == "type" && shape.union.is_some() => Some(Place::Scalar),
        None => None,
    }
}
