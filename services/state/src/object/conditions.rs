//! Encoded conditions: brought into the present form without losing fields that this version does not know.

use bytes::Bytes;
use krake_proto::condition::{normalise, type_of};
use krake_proto::krake::meta::v1::Condition;
use krake_proto::numbers::meta::v1::condition as field;
use prost::Message;

use super::wire::{self, Malformed};

/// A condition, decoded and as it is encoded.
#[derive(Debug, Clone)]
pub(crate) struct Encoded {
    /// In the present form, unless this version does not know its type.
    pub(crate) condition: Condition,
    /// Its encoding, with the fields that this version does not know.
    pub(crate) bytes: Bytes,
    /// Whether it was in the form of an older version.
    pub(crate) was_legacy: bool,
}

impl Encoded {
    /// Reads a condition of either form.
    pub(crate) fn read(bytes: Bytes) -> Result<Self, Malformed> {
        let mut condition = Condition::decode(bytes.as_ref())?;
        let was_legacy = normalise(&mut condition);
        let mut read = Encoded { condition, bytes, was_legacy };
        if was_legacy {
            read.write(&[field::LEGACY_TYPE, field::LEGACY_REASON, field::TYPE, field::REASON])?;
        }
        Ok(read)
    }

    /// Encodes the named fields of the condition anew.
    pub(crate) fn write(&mut self, numbers: &[u32]) -> Result<(), Malformed> {
        let whole = self.condition.encode_to_vec();
        let mut with = Vec::new();
        for number in numbers {
            with.extend(wire::occurrences(&whole, *number)?);
        }
        self.bytes = wire::overwrite(&self.bytes, numbers, &with)?.into();
        Ok(())
    }
}

/// Reads stored conditions. Of several of a type only the last one is kept: an older version does not recognise what a
/// newer one wrote, and appends its own.
pub(crate) fn read(stored: Vec<Bytes>) -> Result<Vec<Encoded>, Malformed> {
    let mut kept: Vec<Encoded> = Vec::with_capacity(stored.len());
    for bytes in stored {
        let read = Encoded::read(bytes)?;
        let name = type_of(&read.condition).to_owned();
        kept.retain(|other| name.is_empty() || type_of(&other.condition) != name);
        kept.push(read);
    }
    Ok(kept)
}

/// `message` with the conditions in its field `number` in the present form; `None` if they are already.
pub(crate) fn modernised(message: &[u8], number: u32) -> Result<Option<Vec<u8>>, Malformed> {
    let stored = wire::elements(message, number)?;
    let read = read(stored)?;
    if !read.iter().any(|condition| condition.was_legacy) {
        return Ok(None);
    }
    let encoded: Vec<u8> =
        read.iter().flat_map(|condition| wire::delimited(number, &condition.bytes)).collect();
    wire::overwrite(message, &[number], &encoded).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A condition as the version before this one encoded it: type 4 (Reachable), status 2 (FALSE), reason 9
    /// (ClusterNotReachable), message "m", and field 4000, which no version knows.
    const LEGACY: &[u8] = b"\x08\x04\x10\x02\x18\x09\x22\x01m\x82\xfa\x01\x03new";

    fn new(r#type: &str) -> Bytes {
        Condition { r#type: r#type.into(), ..Condition::default() }.encode_to_vec().into()
    }

    #[test]
    fn a_condition_of_an_older_version_keeps_what_nobody_here_knows() {
        let read = Encoded::read(Bytes::from_static(LEGACY)).unwrap();
        assert!(read.was_legacy);
        let decoded = Condition::decode(read.bytes.as_ref()).unwrap();
        assert_eq!(decoded, read.condition);
        assert_eq!((decoded.r#type.as_str(), decoded.reason.as_str()), ("Reachable", "ClusterNotReachable"));
        assert_eq!((decoded.message.as_str(), decoded.status), ("m", 2));
        assert_eq!(wire::occurrences(&read.bytes, 4000).unwrap(), b"\x82\xfa\x01\x03new");
        assert!(wire::occurrences(&read.bytes, field::LEGACY_TYPE).unwrap().is_empty());
        assert!(wire::occurrences(&read.bytes, field::LEGACY_REASON).unwrap().is_empty());
    }

    #[test]
    fn what_is_in_the_present_form_is_left_alone() {
        let message = wire::delimited(12, &new("Reachable"));
        assert_eq!(modernised(&message, 12).unwrap(), None);
        assert_eq!(modernised(b"", 12).unwrap(), None);
        // Type 99, which no version had.
        assert_eq!(modernised(&wire::delimited(12, b"\x08\x63"), 12).unwrap(), None);
    }

    #[test]
    fn the_last_condition_of_a_type_is_kept_and_the_rest_of_the_message_too() {
        let mut message = wire::delimited(12, &new("Reachable"));
        message.extend(wire::delimited(12, &new("a.b/C")));
        message.extend(wire::delimited(4000, b"beside"));
        message.extend(wire::delimited(12, LEGACY));
        let modern = modernised(&message, 12).unwrap().unwrap();
        let read = read(wire::elements(&modern, 12).unwrap()).unwrap();
        let types: Vec<&str> = read.iter().map(|read| read.condition.r#type.as_str()).collect();
        assert_eq!(types, ["a.b/C", "Reachable"]);
        assert_eq!(read[1].condition.message, "m");
        assert_eq!(wire::occurrences(&modern, 4000).unwrap(), wire::delimited(4000, b"beside"));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_converted_once_or_an_error(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
            let message = wire::delimited(12, &bytes);
            if let Ok(Some(modern)) = modernised(&message, 12) {
                proptest::prop_assert_eq!(modernised(&modern, 12).unwrap(), None);
            }
        }
    }
}
