//! The stored form of a resource: a short header, then the encoded message.
//!
//! `"KRK"`, format version (1), length and text of the key id (empty: not encrypted), length and text of the message's
//! full name, then the message. The name makes a dump readable and lets types move.

use bytes::{BufMut, Bytes, BytesMut};

const MAGIC: &[u8; 3] = b"KRK";
const FORMAT: u8 = 1;

/// A stored value that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ValueError {
    /// Not written by Krake.
    #[error("the value has no Krake header")]
    NotOurs,
    /// Written by a newer Krake.
    #[error("the value has format {0}; this version reads format {FORMAT}")]
    Format(u8),
    /// Encrypted with a key that is not configured.
    #[error("the value is encrypted with key {0:?}, which is not configured")]
    Encrypted(String),
    /// Of another kind than its key says.
    #[error("the value is a {found}, its key says {expected}")]
    OtherKind {
        /// Full name in the header.
        found: String,
        /// Full name expected.
        expected: String,
    },
}

/// The stored form of `message`, of type `name`.
pub(crate) fn encode(name: &str, message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(message.len() + name.len() + 8);
    out.put_slice(MAGIC);
    out.put_u8(FORMAT);
    out.put_u8(0);
    // Message names are our own and short; the cast cannot truncate.
    out.put_u8(name.len() as u8);
    out.put_slice(name.as_bytes());
    out.put_slice(message);
    out.freeze()
}

/// The message in a stored value, which must be of type `name`.
pub(crate) fn decode(name: &str, value: &Bytes) -> Result<Bytes, ValueError> {
    let rest = value.strip_prefix(MAGIC.as_slice()).ok_or(ValueError::NotOurs)?;
    let (&format, rest) = rest.split_first().ok_or(ValueError::NotOurs)?;
    if format != FORMAT {
        return Err(ValueError::Format(format));
    }
    let (key, rest) = text(rest)?;
    if !key.is_empty() {
        return Err(ValueError::Encrypted(key));
    }
    let (found, message) = text(rest)?;
    if found != name {
        return Err(ValueError::OtherKind { found, expected: name.to_owned() });
    }
    Ok(value.slice_ref(message))
}

fn text(bytes: &[u8]) -> Result<(String, &[u8]), ValueError> {
    let (&length, rest) = bytes.split_first().ok_or(ValueError::NotOurs)?;
    let (text, rest) = rest.split_at_checked(length.into()).ok_or(ValueError::NotOurs)?;
    Ok((String::from_utf8_lossy(text).into_owned(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_back_only_as_what_it_is() {
        let value = encode("krake.core.v1.Metric", b"message");
        assert_eq!(decode("krake.core.v1.Metric", &value).unwrap().as_ref(), b"message");
        assert!(matches!(decode("krake.core.v1.Role", &value), Err(ValueError::OtherKind { .. })));
        assert_eq!(decode("x", &Bytes::from_static(b"other")), Err(ValueError::NotOurs));
        assert_eq!(decode("x", &Bytes::from_static(b"KRK\x09\x00\x00")), Err(ValueError::Format(9)));
        for length in 0..value.len() - 7 {
            assert!(decode("krake.core.v1.Metric", &value.slice(..length)).is_err(), "cut to {length}");
        }
    }
}
