//! The names in a client's certificate. TLS has verified the certificate before; here it is only read.

use crate::der::{Der, EXTENSIONS, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, SET, VERSION};

/// Names that a certificate gives to its holder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames {
    /// Common name of the subject; the last one, if there are several.
    pub common_name: Option<String>,
    /// Organizations of the subject, in order.
    pub organizations: Vec<String>,
    /// DNS names, e-mail addresses and URIs of the subject alternative names, in order.
    pub alternative_names: Vec<String>,
}

/// Text types: UTF8String, PrintableString, IA5String.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];
/// Alternative names that are texts: e-mail address, DNS name, URI.
const NAMES: [u8; 3] = [0x81, 0x82, 0x86];

/// Object identifiers: 2.5.4.3, 2.5.4.10 and 2.5.29.17.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];
const ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];

impl CertificateNames {
    /// Reads a certificate (DER). One that cannot be read gives no names.
    pub(super) fn read(certificate: &[u8]) -> Self {
        let mut names = CertificateNames::default();
        // A certificate that ends too early has the names before its end.
        let _ = names.collect(certificate);
        names
    }

    fn collect(&mut self, certificate: &[u8]) -> Option<()> {
        let mut signed = Der(Der(Der(certificate).take(SEQUENCE)?).take(SEQUENCE)?);
        let _ = signed.take(VERSION);
        signed.take(INTEGER)?;
        // Signature algorithm, issuer, validity.
        for _ in 0..3 {
            signed.take(SEQUENCE)?;
        }
        self.subject(signed.take(SEQUENCE)?);
        while let Some(value) = signed.next() {
            if value.tag == EXTENSIONS {
                self.extensions(value.content);
            }
        }
        Some(())
    }

    fn subject(&mut self, subject: &[u8]) {
        let mut parts = Der(subject);
        while let Some(part) = parts.take(SET) {
            let mut attributes = Der(part);
            while let Some(attribute) = attributes.take(SEQUENCE) {
                let mut attribute = Der(attribute);
                let (kind, value) = (attribute.take(OBJECT_IDENTIFIER), attribute.next());
                let Some(text) = value.filter(|value| TEXTS.contains(&value.tag)) else { continue };
                let Ok(text) = std::str::from_utf8(text.content) else { continue };
                match kind {
                    Some(COMMON_NAME) => self.common_name = Some(text.to_owned()),
                    Some(ORGANIZATION) => self.organizations.push(text.to_owned()),
                    _ => {}
                }
            }
        }
    }

    fn extensions(&mut self, content: &[u8]) {
        let mut extensions = Der(Der(content).take(SEQUENCE).unwrap_or_default());
        while let Some(extension) = extensions.take(SEQUENCE) {
            let mut extension = Der(extension);
            if extension.take(OBJECT_IDENTIFIER) != Some(ALTERNATIVE_NAME) {
                continue;
            }
            // Whether it is critical may stand before it.
            while let Some(value) = extension.next() {
                if value.tag == OCTET_STRING {
                    self.alternatives(value.content);
                }
            }
        }
    }

    fn alternatives(&mut self, value: &[u8]) {
        let mut names = Der(Der(value).take(SEQUENCE).unwrap_or_default());
        while let Some(name) = names.next() {
            if let (true, Ok(text)) = (NAMES.contains(&name.tag), std::str::from_utf8(name.content)) {
                self.alternative_names.push(text.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn certificate() -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["a.example".to_owned(), "10.0.0.1".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI("spiffe://krake/scheduler".try_into().unwrap()));
        params.distinguished_name.push(DnType::OrganizationName, "ops");
        params.distinguished_name.push(DnType::CommonName, "älice");
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn subject_and_alternative_names_are_read() {
        let names = CertificateNames::read(&certificate());
        assert_eq!(names.common_name.as_deref(), Some("älice"));
        assert_eq!(names.organizations, ["ops"]);
        assert_eq!(names.alternative_names, ["a.example", "spiffe://krake/scheduler"]);
    }

    #[test]
    fn broken_certificates_are_read_without_panic() {
        let whole = certificate();
        for length in 0..whole.len() {
            CertificateNames::read(&whole[..length]);
            let mut broken = whole.clone();
            broken[length] ^= 0xff;
            CertificateNames::read(&broken);
        }
    }
}
