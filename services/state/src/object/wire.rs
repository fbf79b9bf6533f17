//! Encoded messages, read and rewritten field by field without decoding them, so that unknown fields survive.

use bytes::Bytes;
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
};

/// The bytes are not an encoded message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid protobuf message: {0}")]
pub struct Malformed(pub(super) String);

impl From<prost::DecodeError> for Malformed {
    fn from(error: prost::DecodeError) -> Self {
        Malformed(error.to_string())
    }
}

/// One occurrence of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    /// The field's number.
    pub number: u32,
    /// The whole occurrence, with its key.
    pub raw: &'a [u8],
    /// The content of a length-delimited field; `None` for other wire types.
    pub content: Option<&'a [u8]>,
}

/// The occurrences of all fields, in order.
pub(crate) fn fields(message: &[u8]) -> Result<Vec<Field<'_>>, Malformed> {
    let mut rest = message;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let start = rest;
        let (number, wire_type) = decode_key(&mut rest)?;
        let content = if wire_type == WireType::LengthDelimited {
            let length = usize::try_from(decode_varint(&mut rest)?).unwrap_or(usize::MAX);
            if length > rest.len() {
                return Err(Malformed("a field is longer than its message".to_owned()));
            }
            let (content, after) = rest.split_at(length);
            rest = after;
            Some(content)
        } else {
            skip_field(wire_type, number, &mut rest, DecodeContext::default())?;
            None
        };
        found.push(Field { number, raw: &start[..start.len() - rest.len()], content });
    }
    Ok(found)
}

/// `content` as the length-delimited field `number`.
pub(crate) fn delimited(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 8);
    encode_key(number, WireType::LengthDelimited, &mut out);
    encode_varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

/// `message` without the fields `numbers`, followed by `with`, which holds encoded fields.
pub(crate) fn overwrite(message: &[u8], numbers: &[u32], with: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(message.len() + with.len());
    for field in fields(message)? {
        if !numbers.contains(&field.number) {
            out.extend_from_slice(field.raw);
        }
    }
    out.extend_from_slice(with);
    Ok(out)
}

/// All occurrences of one field, as they are.
pub(crate) fn occurrences(message: &[u8], number: u32) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::new();
    for field in fields(message)?.into_iter().filter(|field| field.number == number) {
        out.extend_from_slice(field.raw);
    }
    Ok(out)
}

/// The elements of a repeated message field.
pub(crate) fn elements(message: &[u8], number: u32) -> Result<Vec<Bytes>, Malformed> {
    let found = fields(message)?.into_iter().filter(|field| field.number == number);
    Ok(found.filter_map(|field| field.content).map(Bytes::copy_from_slice).collect())
}

/// The content of a singular message field: several occurrences are merged, as every protobuf parser does.
/// `None` if there is none.
pub(crate) fn singular(message: &[u8], number: u32) -> Result<Option<Vec<u8>>, Malformed> {
    let mut merged: Option<Vec<u8>> = None;
    for field in fields(message)?.into_iter().filter(|field| field.number == number) {
        merged.get_or_insert_default().extend_from_slice(field.content.unwrap_or_default());
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use krake_proto::krake::meta::v1::Metadata;
    use prost::Message;

    fn metadata() -> Metadata {
        Metadata {
            name: "a".into(),
            generation: 3,
            finalizers: vec!["x".into(), "y".into()],
            labels: [("k".to_owned(), "v".to_owned())].into(),
            ..Default::default()
        }
    }

    #[test]
    fn overwriting_changes_only_the_named_fields_and_keeps_unknown_ones() {
        let mut encoded = metadata().encode_to_vec();
        let unknown = delimited(4000, b"from a newer peer");
        encoded.extend_from_slice(&unknown);
        let with =
            Metadata { generation: 4, finalizers: vec!["z".into()], ..Default::default() }.encode_to_vec();
        let written = overwrite(&encoded, &[6, 11], &with).unwrap();
        let expected = Metadata { generation: 4, finalizers: vec!["z".into()], ..metadata() };
        assert_eq!(Metadata::decode(written.as_slice()).unwrap(), expected);
        assert_eq!(occurrences(&written, 4000).unwrap(), unknown);
    }

    #[test]
    fn several_occurrences_of_a_message_merge() {
        let mut twice = delimited(1, &Metadata { name: "a".into(), ..Default::default() }.encode_to_vec());
        twice.extend(delimited(1, &Metadata { generation: 2, ..Default::default() }.encode_to_vec()));
        let merged = singular(&twice, 1).unwrap().unwrap();
        let decoded = Metadata::decode(merged.as_slice()).unwrap();
        assert_eq!((decoded.name.as_str(), decoded.generation), ("a", 2));
        assert_eq!(singular(&twice, 2).unwrap(), None);
    }

    #[test]
    fn broken_bytes_are_an_error() {
        assert!(fields(&[0x0a, 0x7f, 1]).is_err());
        assert!(fields(&[0xff]).is_err());
        assert!(fields(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_fields_or_an_error(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            if let Ok(found) = fields(&bytes) {
                let joined: Vec<u8> = found.iter().flat_map(|field| field.raw.iter().copied()).collect();
                proptest::prop_assert_eq!(joined, bytes);
            }
        }
    }
}
