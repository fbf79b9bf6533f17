//! TLS: one authority for all simulated clusters, and a certificate for the addresses of a fleet.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ED25519,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// What stands before the seed of an Ed25519 key in PKCS #8.
const PKCS8_ED25519: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// The authority's key is the same in every process, so that kubeconfigs outlive a restart. It is public, as the tokens
/// are: simulated clusters have nothing to protect.
const SEED: &[u8; 32] = b"krake simulates; nothing secret.";

/// The certificate of a fleet, and the authority that signed it.
#[derive(Clone, Debug)]
pub struct Tls {
    authority: Arc<str>,
    config: Arc<ServerConfig>,
}

/// The certificate cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A host is neither a DNS name nor an IP address, or a key is not accepted.
    #[error("cannot make a certificate for the simulated clusters")]
    Certificate(#[from] rcgen::Error),
    /// The certificate cannot be served.
    #[error("cannot serve the certificate of the simulated clusters")]
    Serve(#[from] rustls::Error),
}

impl Tls {
    /// For clients that reach the fleet at one of these host names or IP addresses.
    ///
    /// # Errors
    /// When a host is neither a DNS name nor an IP address.
    pub fn of_hosts(hosts: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, TlsError> {
        let (authority, issuer) = authority()?;
        let hosts: Vec<String> = hosts.into_iter().map(Into::into).collect();
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name = named("simulated clusters");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        // One request at a time on a connection: a fault that breaks a connection breaks no other request.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { authority: authority.into(), config: Arc::new(config) })
    }

    /// The authority's certificate, in PEM.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

/// The authority: its certificate, which is the same whenever it is made, and what signs in its name.
fn authority() -> Result<(String, Issuer<'static, KeyPair>), TlsError> {
    let key = [PKCS8_ED25519.as_slice(), SEED].concat();
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(key), &PKCS_ED25519)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = named("authority of simulated clusters");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?.pem();
    Ok((certificate, Issuer::new(params, key)))
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::OrganizationName, "Krake");
    named.push(DnType::CommonName, name);
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_is_the_same_whenever_it_is_made() {
        let (one, other) = (Tls::of_hosts(["127.0.0.1"]).unwrap(), Tls::of_hosts(["sim", "::1"]).unwrap());
        assert_eq!(one.authority(), other.authority());
        assert!(one.authority().starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(Tls::of_hosts(["no name"]).is_err() || Tls::of_hosts(["ä"]).is_err());
    }
}
