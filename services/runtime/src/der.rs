//! DER values, as certificates consist of them (X.690): tag, length and content, one after the other.

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
/// `version [0] EXPLICIT` of a certificate.
pub(crate) const VERSION: u8 = 0xa0;
/// `extensions [3] EXPLICIT` of a certificate.
pub(crate) const EXTENSIONS: u8 = 0xa3;

/// One value.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a> {
    /// What it is.
    pub(crate) tag: u8,
    /// Its content.
    pub(crate) content: &'a [u8],
    /// Tag, length and content.
    pub(crate) whole: &'a [u8],
}

/// A sequence of values.
pub(crate) struct Der<'a>(pub(crate) &'a [u8]);

impl<'a> Der<'a> {
    /// The content of the next value, if it has this tag; otherwise the value stays.
    pub(crate) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.0.first() != Some(&tag) {
            return None;
        }
        self.next().map(|value| value.content)
    }

    /// The next value; `None` at the end, and for what is no DER.
    pub(crate) fn next(&mut self) -> Option<Value<'a>> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk::<2>()?;
        let mut length = usize::from(first);
        if first & 0x80 != 0 {
            // A length of more than 4 bytes is longer than any certificate, and one of none is not DER.
            let bytes = usize::from(first & 0x7f);
            let (digits, after) = rest.split_at_checked(bytes).filter(|_| (1..=4).contains(&bytes))?;
            length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
            rest = after;
        }
        let (content, after) = rest.split_at_checked(length)?;
        let whole = self.0.get(..self.0.len() - after.len())?;
        self.0 = after;
        Some(Value { tag, content, whole })
    }
}
