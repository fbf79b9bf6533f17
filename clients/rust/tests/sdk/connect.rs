//! What is said of servers that cannot be talked to, by real listeners.

use std::path::PathBuf;
use std::time::Duration;

use crate::fake::{Fake, HANG_GUARD};
use krake_client::{Cause, Client, ConnectOptions, Diagnosis};
use krake_proto::krake::core::v1::Metric;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

/// An authority, with its certificate as a file.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Authority { issuer, folder }
    }

    fn file(&self) -> Option<PathBuf> {
        Some(self.folder.path().join("ca.pem"))
    }

    /// A server's certificate, valid for a name, and changed at will.
    fn identity(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity::from_pem(certificate.pem(), key.serialize_pem())
    }
}

/// Serves gRPC over TLS; its port. It ends with the test.
async fn tls(identity: Identity, client_ca: Option<&Authority>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut config = ServerTlsConfig::new().identity(identity);
    if let Some(authority) = client_ca {
        config = config.client_ca_root(Certificate::from_pem(authority.issuer.pem()));
    }
    let routes = tonic::service::Routes::default();
    let server = Server::builder().tls_config(config).unwrap().add_routes(routes);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    port
}

/// Answers the same bytes on every connection, if any, and then closes it if told so; its port.
async fn parrot(says: &'static str, closes: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if !says.is_empty() {
                // What comes is read first: closing before that would be a reset, which takes the answer along.
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(says.as_bytes()).await;
            }
            if !closes {
                held.push(stream);
            }
        }
    });
    port
}

/// What is found out about a call to `url`; the error's own text too.
async fn diagnose(url: String, change: impl FnOnce(&mut ConnectOptions)) -> (String, Option<Diagnosis>) {
    let mut options = ConnectOptions::new(url);
    // Of those who do not answer, something is wrong soon enough.
    options.request_timeout = Duration::from_secs(10);
    change(&mut options);
    let client = Client::new(&options).unwrap();
    let work = async {
        let error = client.api::<Metric>().get("ns", "load").await.unwrap_err();
        (error.to_string(), client.diagnose(&error).await)
    };
    tokio::time::timeout(HANG_GUARD, work).await.unwrap()
}

async fn cause(url: String, change: impl FnOnce(&mut ConnectOptions)) -> Cause {
    let (error, diagnosis) = diagnose(url, change).await;
    diagnosis.unwrap_or_else(|| panic!("nothing is found out about {error}")).cause().clone()
}

fn plain(_: &mut ConnectOptions) {}

#[tokio::test]
async fn scheme_and_port_that_do_not_fit_are_found_out() {
    let authority = Authority::new("a");
    let secure = tls(authority.identity("localhost", |_| {}), None).await;
    assert_eq!(cause(format!("http://localhost:{secure}"), plain).await, Cause::NeedsTls);

    let server = Fake::start().await;
    assert_eq!(cause(format!("https://{}", server.address), plain).await, Cause::NoTls);

    let json = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"version\":\"1\"}";
    let rest = parrot(json, true).await;
    let (_, diagnosis) = diagnose(format!("http://127.0.0.1:{rest}"), plain).await;
    let text = diagnosis.unwrap().to_string();
    for part in [&format!("port {rest}"), "REST gateway", "http://127.0.0.1:7700"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert_eq!(cause(format!("https://127.0.0.1:{rest}"), plain).await, Cause::RestGateway);

    let html = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>";
    let web = parrot(html, true).await;
    assert_eq!(cause(format!("http://127.0.0.1:{web}"), plain).await, Cause::WebServer);
}

#[tokio::test]
async fn certificates_that_are_refused_are_explained() {
    let (authority, other, namesake) = (Authority::new("a"), Authority::new("b"), Authority::new("a"));
    let at = |port: u16| format!("https://localhost:{port}");
    let trusting = |options: &mut ConnectOptions| options.ca_file = authority.file();

    let good = tls(authority.identity("localhost", |_| {}), None).await;
    let (error, diagnosis) = diagnose(at(good), trusting).await;
    assert_eq!(diagnosis, None, "it can be talked to, and refuses the call by itself: {error}");
    for stranger in [other, namesake] {
        assert_eq!(
            cause(at(good), |options| options.ca_file = stranger.file()).await,
            Cause::UnknownAuthority
        );
    }

    let issuer = &authority.issuer;
    let own = tls(Identity::from_pem(issuer.pem(), issuer.key().serialize_pem()), None).await;
    assert_eq!(cause(at(own), trusting).await, Cause::AuthorityAsServer);

    let elsewhere = tls(authority.identity("krake.example", |_| {}), None).await;
    assert_eq!(cause(at(elsewhere), trusting).await, Cause::WrongName(vec!["krake.example".into()]));

    let old = authority.identity("localhost", |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    assert_eq!(cause(at(tls(old, None).await), trusting).await, Cause::OutOfDate { expired: true });
    let early =
        authority.identity("localhost", |params| params.not_before = rcgen::date_time_ymd(4000, 1, 1));
    assert_eq!(cause(at(tls(early, None).await), trusting).await, Cause::OutOfDate { expired: false });

    let strict = tls(authority.identity("localhost", |_| {}), Some(&authority)).await;
    assert_eq!(cause(at(strict), trusting).await, Cause::ClientCertificate);
}

#[tokio::test]
async fn places_where_no_server_is_are_told_apart() {
    // Bound and not listening: nobody else can take the port, and connections are refused.
    let bound = TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let refused = format!("http://{}", bound.local_addr().unwrap());
    let (error, _) = diagnose(refused.clone(), plain).await;
    assert!(error.contains("nothing listens") && error.contains("`krake` starts it"), "{error}");
    assert_eq!(cause(refused, plain).await, Cause::Refused);

    // No label of a host name is so long, so no server for names is asked.
    let nowhere = format!("http://{}:7700", "a".repeat(64));
    assert_eq!(cause(nowhere, plain).await, Cause::UnknownHost);

    let ssh = parrot("SSH-2.0-OpenSSH_9.2p1\r\n", true).await;
    let says = Cause::OtherProgram("SSH-2.0-OpenSSH_9.2p1".into());
    assert_eq!(cause(format!("http://127.0.0.1:{ssh}"), plain).await, says);
    assert_eq!(cause(format!("http://127.0.0.1:{}", parrot("", true).await), plain).await, Cause::Closes);
    let hangs = |options: &mut ConnectOptions| options.request_timeout = Duration::from_millis(200);
    assert_eq!(cause(format!("http://127.0.0.1:{}", parrot("", false).await), hangs).await, Cause::Silent);
}

#[tokio::test]
async fn a_server_that_is_only_slow_is_not_blamed() {
    let server = Fake::start_with(|options| options.request_timeout = Duration::from_millis(100)).await;
    server.answers.forget_permits(usize::MAX);
    let error = server.client.api::<Metric>().get("ns", "load").await.unwrap_err();
    assert_eq!(server.client.diagnose(&error).await, None);
    let refused = server.client.api::<Metric>().get("ns", "missing").await.unwrap_err();
    assert_eq!(server.client.diagnose(&refused).await, None, "what a server refuses is its own matter");
}
