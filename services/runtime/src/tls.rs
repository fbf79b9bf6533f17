//! TLS of a listener by flag: certificate, key and, where wanted, the authority of client certificates.
//!
//! The files are read once, at start: a renewed certificate needs a restart of the process.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde::Deserialize;

use crate::config::{self, ConfigError};

/// TLS of a listener. In the file: section `tls` with `cert`, `key` and `client_ca`.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// Certificate chain (PEM) the listener shows; turns TLS on and needs --tls-key. Read at start: restart after
    /// renewing it.
    #[arg(long, env = "KRAKE_TLS_CERT", value_name = "PATH")]
    #[serde(rename = "cert")]
    pub tls_cert: Option<PathBuf>,
    /// Private key (PEM) of the certificate.
    #[arg(long, env = "KRAKE_TLS_KEY", value_name = "PATH")]
    #[serde(rename = "key")]
    pub tls_key: Option<PathBuf>,
    /// Certificate authority (PEM) that client certificates must come from; clients without one are then refused.
    #[arg(long, env = "KRAKE_TLS_CLIENT_CA", value_name = "PATH")]
    #[serde(rename = "client_ca")]
    pub tls_client_ca: Option<PathBuf>,
}

impl TlsArgs {
    /// Reads the files in force, for gRPC; `None` where no certificate is named, which means without TLS.
    ///
    /// # Errors
    /// When half of a configuration is missing, or a file cannot be read or used.
    pub fn resolve(self, file: TlsArgs) -> Result<Option<Arc<ServerConfig>>, ConfigError> {
        self.config(file, &[b"h2"])
    }

    /// As [`Self::resolve`], for [`crate::serve::http`]: clients may speak HTTP/2 or HTTP/1.1.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn resolve_http(self, file: TlsArgs) -> Result<Option<Arc<ServerConfig>>, ConfigError> {
        self.config(file, &[b"h2", b"http/1.1"])
    }

    fn config(self, file: TlsArgs, protocols: &[&[u8]]) -> Result<Option<Arc<ServerConfig>>, ConfigError> {
        let (cert, key, client_ca) = match self.files(file)? {
            Some(files) => files,
            None => return Ok(None),
        };
        let unusable = |_: rustls::Error| unusable();
        let roots = match client_ca {
            None => None,
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(&path, &read(&path)?)? {
                    roots.add(certificate).map_err(unusable)?;
                }
                Some(Arc::new(roots))
            }
        };
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let builder = match roots {
            None => builder.with_no_client_auth(),
            Some(roots) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(
                    roots,
                    Arc::new(rustls::crypto::ring::default_provider()),
                );
                builder.with_client_cert_verifier(verifier.build().map_err(|_| self::unusable())?)
            }
        };
        let key = PrivateKeyDer::from_pem_slice(&read(&key)?).map_err(|_| self::unusable())?;
        let mut config =
            builder.with_single_cert(certificates(&cert, &read(&cert)?)?, key).map_err(unusable)?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Some(Arc::new(config)))
    }

    /// Certificate, key and authority; `None` where no certificate is named.
    fn files(self, file: TlsArgs) -> Result<Option<(PathBuf, PathBuf, Option<PathBuf>)>, ConfigError> {
        let client_ca = self.tls_client_ca.or(file.tls_client_ca);
        match (self.tls_cert.or(file.tls_cert), self.tls_key.or(file.tls_key)) {
            (Some(cert), Some(key)) => Ok(Some((cert, key, client_ca))),
            (None, None) if client_ca.is_none() => Ok(None),
            (None, None) => Err(missing("--tls-client-ca", "--tls-cert and --tls-key")),
            (Some(_), None) => Err(missing("--tls-cert", "--tls-key")),
            (None, Some(_)) => Err(missing("--tls-key", "--tls-cert")),
        }
    }
}

/// Reads a PEM file of certificates.
///
/// # Errors
/// When it cannot be read, or holds no certificate: an authority without any would trust nobody.
pub fn read_certificates(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let pem = read(path)?;
    certificates(path, &pem)?;
    Ok(pem)
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found.ok().filter(|certificates| !certificates.is_empty()).ok_or_else(|| {
        let source = io::Error::new(io::ErrorKind::InvalidData, "it holds no certificate in the form PEM");
        ConfigError::Read { path: path.to_owned(), source }
    })
}

fn unusable() -> ConfigError {
    ConfigError::Invalid {
        option: "--tls-cert, --tls-key, --tls-client-ca",
        message: "not a PEM certificate with its private key, or not a PEM authority".into(),
    }
}

fn missing(option: &'static str, needed: &str) -> ConfigError {
    ConfigError::Invalid { option, message: format!("needs {needed} beside it") }
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    config::read_small_file(path)
}

#[cfg(test)]
pub(crate) mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use tokio::net::TcpListener;
    use tonic::service::Routes;
    use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    use super::*;
    use crate::serve::{ServeOptions, Services, serve};
    use crate::shutdown::Shutdown;

    /// An authority and its files.
    pub(crate) struct Pki {
        folder: tempfile::TempDir,
        pub(crate) issuer: CertifiedIssuer<'static, KeyPair>,
    }

    impl Pki {
        pub(crate) fn new() -> Self {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
            let pki = Self { folder: tempfile::tempdir().unwrap(), issuer };
            std::fs::write(pki.path("ca.pem"), pki.issuer.pem()).unwrap();
            pki
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        /// Certificate and key, as PEM.
        pub(crate) fn issue(&self, name: &str) -> (String, String) {
            let key = KeyPair::generate().unwrap();
            let certificate =
                CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
            (certificate.pem(), key.serialize_pem())
        }

        pub(crate) fn server_args(&self) -> TlsArgs {
            let (certificate, key) = self.issue("localhost");
            std::fs::write(self.path("cert.pem"), certificate).unwrap();
            std::fs::write(self.path("key.pem"), key).unwrap();
            TlsArgs {
                tls_cert: Some(self.path("cert.pem")),
                tls_key: Some(self.path("key.pem")),
                tls_client_ca: Some(self.path("ca.pem")),
            }
        }
    }

    async fn check(port: u16, tls: ClientTlsConfig) -> Result<(), Box<dyn std::error::Error>> {
        let endpoint = Endpoint::from_shared(format!("https://localhost:{port}"))?.tls_config(tls)?;
        HealthClient::new(endpoint.connect().await?).check(HealthCheckRequest::default()).await?;
        Ok(())
    }

    #[tokio::test]
    async fn a_client_certificate_of_the_authority_is_let_in_and_none_is_refused() {
        let pki = Pki::new();
        let tls = pki.server_args().resolve(TlsArgs::default()).unwrap();
        let listener = TcpListener::bind("localhost:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shutdown = Shutdown::new();
        let services = Services::new(Routes::default(), &[]).unwrap();
        let options = ServeOptions { tls, ..Default::default() };
        let server = tokio::spawn(serve(listener, services, options, shutdown.clone()));

        let trusting = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pki.issuer.pem()));
        let (certificate, key) = pki.issue("user");
        check(port, trusting.clone().identity(Identity::from_pem(certificate, key))).await.unwrap();
        check(port, trusting.clone()).await.unwrap_err();
        let (certificate, key) = Pki::new().issue("user");
        check(port, trusting.identity(Identity::from_pem(certificate, key))).await.unwrap_err();
        shutdown.request();
        server.await.unwrap().unwrap();
    }

    #[test]
    fn half_a_configuration_names_what_is_missing() {
        let some = || Some(PathBuf::from("/x"));
        let cases = [
            (TlsArgs { tls_cert: some(), ..Default::default() }, "--tls-cert: needs --tls-key beside it"),
            (TlsArgs { tls_key: some(), ..Default::default() }, "--tls-key: needs --tls-cert beside it"),
            (
                TlsArgs { tls_client_ca: some(), ..Default::default() },
                "--tls-client-ca: needs --tls-cert and --tls-key beside it",
            ),
        ];
        for (args, message) in cases {
            assert_eq!(args.resolve(TlsArgs::default()).unwrap_err().to_string(), message);
        }
        assert!(TlsArgs::default().resolve(TlsArgs::default()).unwrap().is_none());
    }

    #[test]
    fn files_without_a_certificate_are_named() {
        let pki = Pki::new();
        for name in ["ca.pem", "cert.pem"] {
            let args = pki.server_args();
            std::fs::write(pki.path(name), "s3cret").unwrap();
            let error = args.resolve(TlsArgs::default()).unwrap_err();
            assert_eq!(error.to_string(), format!("cannot read {}", pki.path(name).display()));
            assert!(!format!("{error:?}").contains("s3cret"));
            std::fs::write(pki.path(name), pki.issuer.pem()).unwrap();
        }
    }

    #[test]
    fn files_that_are_no_certificate_are_refused_at_start_without_showing_them() {
        let pki = Pki::new();
        let args = pki.server_args();
        std::fs::write(pki.path("key.pem"), "s3cret").unwrap();
        let error = args.resolve(TlsArgs::default()).unwrap_err();
        assert!(matches!(error, ConfigError::Invalid { .. }), "{error:?}");
        assert!(!format!("{error:?}").contains("s3cret"));
    }
}
