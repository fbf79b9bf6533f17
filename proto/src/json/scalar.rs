//! JSON scalars to the values of fields, and the errors of those that do not fit.

use std::collections::HashSet;
use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use prost_reflect::{EnumDescriptor, Kind, MapKey, Value};
use serde_json::Value as Json;

use crate::POOL;

/// Doubles that JSON numbers cannot show, as in protobuf's own JSON form.
pub(super) const NAN: &str = "NaN";
pub(super) const INFINITY: &str = "Infinity";
pub(super) const NEGATIVE_INFINITY: &str = "-Infinity";

/// Whole doubles up to here are exact integers.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// Longer strings are cut in error texts.
const SHOWN_CHARACTERS: usize = 60;

/// Reads a scalar of the kind; the error is what was expected. Numbers may come as strings, as upstream's clients send
/// them.
pub(super) fn read(kind: &Kind, json: &Json) -> Result<Value, String> {
    match kind {
        Kind::Bool => json.as_bool().map(Value::Bool).ok_or_else(|| "true or false".to_owned()),
        Kind::String => {
            json.as_str().map(|text| Value::String(text.to_owned())).ok_or_else(|| "a string".to_owned())
        }
        Kind::Bytes => {
            let bytes = json.as_str().and_then(|text| BASE64_STANDARD.decode(text).ok());
            bytes.map(|bytes| Value::Bytes(bytes.into())).ok_or_else(|| "a string in base64".to_owned())
        }
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            integer(json, i32::MIN.into(), i32::MAX.into(), |value| i32::try_from(value).ok().map(Value::I32))
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            integer(json, i64::MIN.into(), i64::MAX.into(), |value| i64::try_from(value).ok().map(Value::I64))
        }
        Kind::Uint32 | Kind::Fixed32 => {
            integer(json, 0, u32::MAX.into(), |value| u32::try_from(value).ok().map(Value::U32))
        }
        Kind::Uint64 | Kind::Fixed64 => {
            integer(json, 0, u64::MAX.into(), |value| u64::try_from(value).ok().map(Value::U64))
        }
        Kind::Double => double(json).map(Value::F64).ok_or_else(|| "a number".to_owned()),
        Kind::Float => {
            double(json).map(|value| Value::F32(value as f32)).ok_or_else(|| "a number".to_owned())
        }
        Kind::Enum(descriptor) => enum_value(descriptor, json),
        Kind::Message(_) => Err("an object".to_owned()),
    }
}

fn integer(
    json: &Json,
    min: i128,
    max: i128,
    value: impl Fn(i128) -> Option<Value>,
) -> Result<Value, String> {
    let number = match json {
        Json::Number(number) => {
            number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from)).or_else(|| {
                number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() <= EXACT).map(|n| n as i128)
            })
        }
        Json::String(text) => text.parse().ok(),
        _ => None,
    };
    number.and_then(value).ok_or_else(|| format!("an integer from {min} to {max}"))
}

fn double(json: &Json) -> Option<f64> {
    match json {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => match text.as_str() {
            NAN => Some(f64::NAN),
            INFINITY => Some(f64::INFINITY),
            NEGATIVE_INFINITY => Some(f64::NEG_INFINITY),
            text => text.parse().ok().filter(|value: &f64| value.is_finite()),
        },
        _ => None,
    }
}

fn enum_value(descriptor: &EnumDescriptor, json: &Json) -> Result<Value, String> {
    let named = json
        .as_str()
        .and_then(|name| descriptor.values().find(|value| enum_name(descriptor, value.name()) == name));
    named.map(|value| Value::EnumNumber(value.number())).ok_or_else(|| {
        let names = descriptor.values().filter(|value| value.number() != 0);
        let names: Vec<String> = names.map(|value| enum_name(descriptor, value.name())).collect();
        format!("one of {}", names.join(", "))
    })
}

/// Full names of the enums with the option `lower_case`: finding an option costs more than reading a value.
static LOWER_CASE: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let option = POOL.get_extension_by_name("krake.meta.v1.lower_case");
    let option = option.expect("options.proto declares the extension");
    let is_set =
        |descriptor: &EnumDescriptor| *descriptor.options().get_extension(&option) == Value::Bool(true);
    POOL.all_enums().filter(is_set).map(|descriptor| descriptor.full_name().to_owned()).collect()
});

/// The name of an enum value without the prefix that all values share: what stands before `UNSPECIFIED` in the first.
pub(crate) fn enum_name(descriptor: &EnumDescriptor, name: &str) -> String {
    let first = descriptor.default_value();
    let prefix = first.name().strip_suffix("UNSPECIFIED").unwrap_or_default();
    let short = name.strip_prefix(prefix).unwrap_or(name);
    if LOWER_CASE.contains(descriptor.full_name()) { short.to_ascii_lowercase() } else { short.to_owned() }
}

/// A map's key from the name of a JSON member.
pub(super) fn map_key(kind: &Kind, key: &str) -> Option<MapKey> {
    match kind {
        Kind::Bool => key.parse().ok().map(MapKey::Bool),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => key.parse().ok().map(MapKey::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => key.parse().ok().map(MapKey::I64),
        Kind::Uint32 | Kind::Fixed32 => key.parse().ok().map(MapKey::U32),
        Kind::Uint64 | Kind::Fixed64 => key.parse().ok().map(MapKey::U64),
        _ => Some(MapKey::String(key.to_owned())),
    }
}

/// Describes a value for an error text; a secret one by its type alone.
pub(super) fn found(json: &Json, secret: bool) -> String {
    match json {
        Json::Null => "null".to_owned(),
        Json::Array(_) => "a list".to_owned(),
        Json::Object(_) => "an object".to_owned(),
        Json::Bool(_) if secret => "a boolean".to_owned(),
        Json::Number(_) if secret => "a number".to_owned(),
        Json::String(_) if secret => "a string".to_owned(),
        Json::Bool(value) => value.to_string(),
        Json::Number(value) => value.to_string(),
        Json::String(text) if text.chars().count() > SHOWN_CHARACTERS => {
            let start: String = text.chars().take(SHOWN_CHARACTERS).collect();
            format!("{:?}", start + "…")
        }
        Json::String(text) => format!("{text:?}"),
    }
}
