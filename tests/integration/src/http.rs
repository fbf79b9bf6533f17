//! HTTP clients of the harness, with TLS by ring and no proxy.

use std::sync::Once;
use std::time::Duration;

use anyhow::{Context, Result};

/// Longest duration of a whole request: a busy machine answers late, and what hangs costs one look of many.
const DEADLINE: Duration = Duration::from_secs(30);

/// Makes ring the TLS provider of this process, unless one is installed already.
pub fn install_tls_provider() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // An error says that another provider is there already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// A client for plain HTTP on this machine.
pub fn client() -> Result<reqwest::Client> {
    builder().build().context("building an HTTP client")
}

/// A client that trusts just the certificates in `pem`.
pub fn client_trusting(pem: &[u8]) -> Result<reqwest::Client> {
    let certificates = reqwest::Certificate::from_pem_bundle(pem).context("reading the CA certificate")?;
    builder().tls_certs_only(certificates).build().context("building an HTTPS client")
}

fn builder() -> reqwest::ClientBuilder {
    install_tls_provider();
    // No idle connections: a component that was restarted answers the first request, not the second.
    reqwest::Client::builder().no_proxy().timeout(DEADLINE).pool_max_idle_per_host(0)
}
