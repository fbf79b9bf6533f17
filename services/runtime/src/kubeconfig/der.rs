//! The few facts about an X.509 certificate that decide how it can be used, read from its DER form.

/// What is known of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts<'a> {
    /// Version 1 has no extensions, and so does not say whether it is an authority's.
    pub(super) is_v1: bool,
    /// Issuer and subject have the same name: it may be its own authority.
    pub(super) is_self_issued: bool,
    /// The extension basicConstraints says that it is an authority's.
    pub(super) is_authority: bool,
    /// The public key, as SubjectPublicKeyInfo in DER.
    pub(super) public_key: &'a [u8],
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// `version [0] EXPLICIT`.
const VERSION: u8 = 0xa0;
/// `extensions [3] EXPLICIT`.
const EXTENSIONS: u8 = 0xa3;
/// 2.5.29.19.
const BASIC_CONSTRAINTS: [u8; 3] = [0x55, 0x1d, 0x13];

/// Reads a certificate; `None` if it is none.
pub(super) fn facts(certificate: &[u8]) -> Option<Facts<'_>> {
    let (outer, _) = element(certificate, SEQUENCE)?;
    let mut fields = element(outer.content, SEQUENCE)?.0.content;
    let version = match element(fields, VERSION) {
        Some((version, after)) => {
            fields = after;
            element(version.content, INTEGER)?.0.content.last().copied()?
        }
        None => 0,
    };
    let mut next = |tag: Option<u8>| {
        let (found, after) = any(fields)?;
        fields = after;
        tag.is_none_or(|tag| found.tag == tag).then_some(found)
    };
    next(Some(INTEGER))?;
    next(Some(SEQUENCE))?;
    let issuer = next(Some(SEQUENCE))?;
    next(Some(SEQUENCE))?;
    let subject = next(Some(SEQUENCE))?;
    let public_key = next(Some(SEQUENCE))?;
    let mut is_authority = false;
    while let Some((found, after)) = any(fields) {
        fields = after;
        if found.tag == EXTENSIONS {
            is_authority = has_authority(found.content)?;
        }
    }
    Some(Facts {
        is_v1: version == 0,
        is_self_issued: issuer.content == subject.content,
        is_authority,
        public_key: public_key.whole,
    })
}

/// Whether one of these extensions says that the certificate is an authority's.
fn has_authority(extensions: &[u8]) -> Option<bool> {
    let mut list = element(extensions, SEQUENCE)?.0.content;
    while let Some((extension, after)) = any(list) {
        list = after;
        let (name, mut rest) = element(extension.content, OBJECT_IDENTIFIER)?;
        if name.content != BASIC_CONSTRAINTS {
            continue;
        }
        if let Some((_, after)) = element(rest, BOOLEAN) {
            // Whether it is critical.
            rest = after;
        }
        let constraints = element(element(rest, OCTET_STRING)?.0.content, SEQUENCE)?.0;
        let authority = element(constraints.content, BOOLEAN);
        return Some(authority.is_some_and(|(value, _)| value.content.iter().any(|byte| *byte != 0)));
    }
    Some(false)
}

/// An element: tag, length and content.
#[derive(Clone, Copy)]
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    whole: &'a [u8],
}

/// The first element if it has this tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(Element<'_>, &[u8])> {
    any(bytes).filter(|(found, _)| found.tag == tag)
}

/// The first element, and what follows it.
fn any(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&[tag, first], mut rest) = bytes.split_first_chunk::<2>()?;
    let length = match first {
        0..=0x7f => usize::from(first),
        // Indefinite lengths are no DER.
        0x80 => return None,
        0x81..=0x84 => {
            let (digits, after) = rest.split_at_checked(usize::from(first - 0x80))?;
            rest = after;
            digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit))
        }
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(length)?;
    let whole = bytes.get(..bytes.len() - after.len())?;
    Some((Element { tag, content, whole }, after))
}
