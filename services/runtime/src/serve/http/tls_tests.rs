//! HTTP over TLS, by real handshakes.

use std::io;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::tests::{PATIENCE, Served, serve};
use super::*;
use crate::tls::TlsArgs;
use crate::tls::tests::Pki;

async fn served(pki: &Pki, asks_for_certificates: bool) -> Served {
    let mut args = pki.server_args();
    if !asks_for_certificates {
        args.tls_client_ca = None;
    }
    let tls = args.resolve_http(TlsArgs::default()).unwrap();
    assert!(tls.is_some(), "a certificate is named");
    serve(HttpOptions { tls, ..Default::default() }).await
}

async fn connect(
    pki: &Pki,
    served: &Served,
    version: &str,
    with_certificate: bool,
) -> io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pki.issuer.pem().as_bytes()).unwrap()).unwrap();
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = if with_certificate {
        let (certificate, key) = pki.issue("user");
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        builder.with_client_auth_cert(vec![certificate], key).unwrap()
    } else {
        builder.with_no_client_auth()
    };
    config.alpn_protocols = vec![version.as_bytes().to_vec()];
    let stream = TcpStream::connect(served.address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// What is answered over HTTP/1.1.
async fn answer(mut tls: TlsStream<TcpStream>) -> io::Result<String> {
    tls.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut text = String::new();
    timeout(PATIENCE, tls.read_to_string(&mut text)).await??;
    Ok(text)
}

#[tokio::test]
async fn clients_speak_either_version() {
    let pki = Pki::new();
    let served = served(&pki, false).await;
    for version in ["h2", "http/1.1"] {
        let tls = connect(&pki, &served, version, false).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(version.as_bytes()));
    }
    let tls = connect(&pki, &served, "http/1.1", false).await.unwrap();
    assert!(answer(tls).await.unwrap().ends_with("hello"));
    served.shutdown.request();
}

#[tokio::test]
async fn clients_show_a_certificate_where_they_must() {
    let pki = Pki::new();
    let served = served(&pki, true).await;
    let known = connect(&pki, &served, "http/1.1", true).await.unwrap();
    assert!(answer(known).await.unwrap().ends_with("hello"));
    // In TLS 1.3 the refusal comes after the client's part of the handshake.
    let refused = match connect(&pki, &served, "http/1.1", false).await {
        Ok(unknown) => answer(unknown).await,
        Err(error) => Err(error),
    };
    assert!(refused.is_err(), "{refused:?}");
    served.shutdown.request();
}
