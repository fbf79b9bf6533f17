//! The few facts about an X.509 certificate that decide how it can be used, read from its DER form.

use crate::der::{BOOLEAN, Der, EXTENSIONS, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, VERSION};

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

/// 2.5.29.19.
const BASIC_CONSTRAINTS: [u8; 3] = [0x55, 0x1d, 0x13];

/// Reads a certificate; `None` if it is none.
pub(super) fn facts(certificate: &[u8]) -> Option<Facts<'_>> {
    let mut fields = Der(Der(Der(certificate).take(SEQUENCE)?).take(SEQUENCE)?);
    let version = match fields.take(VERSION) {
        Some(version) => Der(version).take(INTEGER)?.last().copied()?,
        None => 0,
    };
    fields.take(INTEGER)?;
    // The algorithm of the signature.
    fields.take(SEQUENCE)?;
    let issuer = fields.take(SEQUENCE)?;
    // The time in which it holds.
    fields.take(SEQUENCE)?;
    let subject = fields.take(SEQUENCE)?;
    let public_key = fields.next().filter(|key| key.tag == SEQUENCE)?.whole;
    let mut is_authority = false;
    while let Some(value) = fields.next() {
        if value.tag == EXTENSIONS {
            is_authority = has_authority(value.content)?;
        }
    }
    Some(Facts { is_v1: version == 0, is_self_issued: issuer == subject, is_authority, public_key })
}

/// Whether one of these extensions says that the certificate is an authority's.
fn has_authority(extensions: &[u8]) -> Option<bool> {
    let mut list = Der(Der(extensions).take(SEQUENCE)?);
    while let Some(extension) = list.next() {
        let mut extension = Der(extension.content);
        if extension.take(OBJECT_IDENTIFIER)? != BASIC_CONSTRAINTS {
            continue;
        }
        // Whether it is critical may stand before it.
        let _ = extension.take(BOOLEAN);
        let mut constraints = Der(Der(extension.take(OCTET_STRING)?).take(SEQUENCE)?);
        let authority = constraints.take(BOOLEAN);
        return Some(authority.is_some_and(|value| value.iter().any(|byte| *byte != 0)));
    }
    Some(false)
}
