//! Encoded messages by their descriptors, with fields that are unknown, repeated, out of order and at their borders.

use krake_proto::wire::delimited;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use rand::Rng;
use rand::rngs::StdRng;

use crate::pick;

/// The deepest nesting of generated messages.
const DEPTH: usize = 7;

const TEXTS: [&str; 20] = [
    "",
    "a",
    "b",
    "ns",
    "metric-1",
    "app is web",
    "load > 1.5",
    "zone in (a, b)",
    "2023-02-28T10:48:54.123456+00:00",
    "<redacted>",
    "kubernetes_resources_deletion",
    "\u{0}\"\\\u{2028}\u{1f980}",
    "{}",
    "null",
    "[1, 1.0, 1e300, 18446744073709551615, -0]",
    r#"{"b": 1, "a": [{"b": 2}], "b": "\ud83e\udd80"}"#,
    r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"v"}}"#,
    r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a","namespace":"ns"},"spec":{"replicas":1}}"#,
    r#"{"clusters":[{"name":"c","cluster":{"server":"https://c:6443"}}],"users":[{"name":"u","user":{"token":"t"}}],"contexts":[{"name":"x","context":{"cluster":"c","user":"u"}}]}"#,
    "http://prometheus:9090",
];

const NUMBERS: [u64; 10] = [0, 1, 2, 7, 60, 1 << 31, (1 << 53) + 1, i64::MAX as u64, 1 << 63, u64::MAX];

const FLOATS: [f64; 9] =
    [0.0, -0.0, 1.0, 0.1, -1.5e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE];

/// An encoded message.
pub(crate) fn message(descriptor: &MessageDescriptor, random: &mut StdRng) -> Vec<u8> {
    nested(descriptor, random, 0)
}

fn nested(descriptor: &MessageDescriptor, random: &mut StdRng, depth: usize) -> Vec<u8> {
    let fields: Vec<FieldDescriptor> = descriptor.fields().collect();
    let mut out = Vec::new();
    // Few fields at a time where nesting is deep, so that messages end.
    let most = if depth == 0 { 6 } else { 8_usize.saturating_sub(depth) };
    for _ in 0..random.random_range(0..=most) {
        if fields.is_empty() || random.random_ratio(1, 40) {
            out.extend(unknown(random));
            continue;
        }
        let field = pick(random, &fields);
        out.extend(occurrence(field, random, depth));
    }
    out
}

fn occurrence(field: &FieldDescriptor, random: &mut StdRng, depth: usize) -> Vec<u8> {
    let number = field.number();
    match field.kind() {
        Kind::Message(_) if depth >= DEPTH => Vec::new(),
        Kind::Message(inner) => delimited(number, &nested(&inner, random, depth + 1)),
        Kind::String | Kind::Bytes => delimited(number, pick(random, &TEXTS).as_bytes()),
        kind => {
            let wire_type = kind.wire_type();
            let mut out = Vec::new();
            if field.is_list() && random.random() {
                let mut packed = Vec::new();
                for _ in 0..random.random_range(0..4) {
                    number_of(wire_type, random, &mut packed);
                }
                return delimited(number, &packed);
            }
            encode_key(number, wire_type, &mut out);
            number_of(wire_type, random, &mut out);
            out
        }
    }
}

fn number_of(wire_type: WireType, random: &mut StdRng, out: &mut Vec<u8>) {
    match wire_type {
        WireType::SixtyFourBit => out.extend(pick(random, &FLOATS).to_le_bytes()),
        WireType::ThirtyTwoBit => out.extend((*pick(random, &FLOATS) as f32).to_le_bytes()),
        _ => encode_varint(*pick(random, &NUMBERS), out),
    }
}

/// A field of a newer peer.
fn unknown(random: &mut StdRng) -> Vec<u8> {
    let mut out = Vec::new();
    match random.random_range(0..3) {
        0 => out = delimited(4000, b"new"),
        1 => {
            encode_key(4001, WireType::StartGroup, &mut out);
            encode_key(4002, WireType::Varint, &mut out);
            encode_varint(7, &mut out);
            encode_key(4001, WireType::EndGroup, &mut out);
        }
        _ => {
            encode_key(15, WireType::Varint, &mut out);
            encode_varint(u64::MAX, &mut out);
        }
    }
    out
}
