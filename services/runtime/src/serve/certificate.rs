//! The names in a client's certificate. TLS has verified the certificate before; here it is only read.

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

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
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
        while let Some((tag, content)) = signed.next() {
            if tag == EXTENSIONS {
                self.extensions(content);
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
                let Some((_, text)) = value.filter(|(tag, _)| TEXTS.contains(tag)) else { continue };
                let Ok(text) = std::str::from_utf8(text) else { continue };
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
            while let Some((tag, value)) = extension.next() {
                if tag == OCTET_STRING {
                    self.alternatives(value);
                }
            }
        }
    }

    fn alternatives(&mut self, value: &[u8]) {
        let mut names = Der(Der(value).take(SEQUENCE).unwrap_or_default());
        while let Some((tag, name)) = names.next() {
            if let (true, Ok(text)) = (NAMES.contains(&tag), std::str::from_utf8(name)) {
                self.alternative_names.push(text.to_owned());
            }
        }
    }
}

/// A sequence of DER values.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value, if it has this tag; otherwise it stays.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.0.first() != Some(&tag) {
            return None;
        }
        self.next().map(|(_, content)| content)
    }

    /// Tag and content of the next value.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first & 0x80 != 0 {
            // A length of more than 4 bytes is longer than any certificate.
            let bytes = usize::from(first & 0x7f);
            let (digits, after) = rest.split_at_checked(bytes).filter(|_| (1..=4).contains(&bytes))?;
            length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
            rest = after;
        }
        let (content, after) = rest.split_at_checked(length)?;
        self.0 = after;
        Some((tag, content))
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
