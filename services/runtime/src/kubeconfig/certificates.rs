//! Certificates and keys of a kubeconfig: whether TLS can use them.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde_json::Value as Json;

use super::Findings;
use super::x509::{self, Facts};

/// A client certificate with its key. Prints neither.
#[derive(Clone)]
pub struct Identity(Arc<CertifiedKey>);

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

impl Identity {
    /// For TLS. Certificates of version 1 are sent as they are: it is for the server to accept them.
    #[must_use]
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0)
    }
}

const AUTHORITY: &str = "clusters[0].cluster.certificate-authority-data";
const CERTIFICATE: &str = "users[0].user.client-certificate-data";
const KEY: &str = "users[0].user.client-key-data";
/// The object identifier of the curve P-521, in DER.
const P521: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];

/// Judges the certificates of a kubeconfig whose base64 is in one line.
pub(super) fn judge(document: &Json, findings: &mut Findings) -> Option<Identity> {
    let content = |pointer: &str| {
        let text = document.pointer(pointer)?.as_str()?;
        // What is no base64 was found before.
        STANDARD.decode(text).ok()
    };
    if let Some(authority) = content("/clusters/0/cluster/certificate-authority-data") {
        judge_authority(&authority, findings);
    }
    let certificate = content("/users/0/user/client-certificate-data");
    match (certificate, content("/users/0/user/client-key-data")) {
        (Some(certificate), Some(key)) => judge_identity(&certificate, &key, findings),
        (Some(_), None) => {
            findings.add(KEY, "is missing; a client certificate needs its key");
            None
        }
        (None, Some(_)) => {
            findings.add(CERTIFICATE, "is missing; the key needs its certificate");
            None
        }
        (None, None) => None,
    }
}

/// The certificates in a text in PEM; `None` if there are none, or one is broken.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!found.is_empty()).then_some(found)
}

fn judge_authority(pem: &[u8], findings: &mut Findings) {
    let Some(found) = certificates(pem) else {
        findings.add(AUTHORITY, "holds no certificate in PEM");
        return;
    };
    let mut roots = RootCertStore::empty();
    if found.iter().any(|certificate| roots.add(certificate.clone()).is_err()) {
        findings.add(AUTHORITY, "holds a certificate that cannot be read");
        return;
    }
    // A server that is its own authority proves itself by its own certificate; any other needs that of its issuer.
    let is_leaf = |facts: Facts<'_>| !(facts.is_v1 || facts.is_self_issued || facts.is_authority);
    if found.iter().all(|certificate| x509::facts(certificate).is_some_and(is_leaf)) {
        let text = "is the certificate of a server, and of no certificate authority; give the certificate of the authority that \
            issued it";
        findings.add(AUTHORITY, text);
    }
}

fn judge_identity(certificate: &[u8], key: &[u8], findings: &mut Findings) -> Option<Identity> {
    let chain = certificates(certificate);
    let facts = chain.as_ref().and_then(|chain| x509::facts(chain.first()?));
    let (Some(chain), Some(facts)) = (&chain, facts) else {
        findings.add(CERTIFICATE, "holds no certificate in PEM");
        return None;
    };
    let private = match PrivateKeyDer::from_pem_slice(key) {
        Ok(private) => private,
        Err(_) if key.windows(ENCRYPTED.len()).any(|part| part == ENCRYPTED) => {
            findings.add(KEY, "is encrypted; store the key without a passphrase");
            return None;
        }
        Err(_) => {
            findings.add(KEY, "holds no private key in PEM");
            return None;
        }
    };
    let Ok(signs) = any_supported_type(&private) else {
        let is_p521 = facts.public_key.windows(P521.len()).any(|part| part == P521);
        let text = match is_p521 {
            true => "is a key of the curve P-521",
            false => "is of a kind or a size",
        };
        findings.add(
            KEY,
            format!("{text} that Krake cannot use; use RSA with 2048 to 8192 bits, P-256, P-384 or Ed25519"),
        );
        return None;
    };
    if signs.public_key().is_some_and(|public| public.as_ref() != facts.public_key) {
        findings.add(KEY, "is not the key of client-certificate-data");
        return None;
    }
    Some(Identity(Arc::new(CertifiedKey::new(chain.clone(), signs))))
}

/// How the PEM blocks of encrypted keys begin, of PKCS #8 and of older forms.
const ENCRYPTED: &[u8] = b"ENCRYPTED";
