//! Connecting: from a URL and files to a [`Client`].

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;
use krake_proto::Resource;
use krake_proto::krake::core::v1::leadership_service_client::LeadershipServiceClient;
use krake_proto::krake::core::v1::metric_service_client::MetricServiceClient;
use krake_proto::krake::core::v1::metrics_provider_service_client::MetricsProviderServiceClient;
use krake_proto::krake::kubernetes::v1::application_service_client::ApplicationServiceClient;
use krake_proto::krake::kubernetes::v1::cluster_service_client::ClusterServiceClient;
use krake_proto::krake::meta::v1::object_service_client::ObjectServiceClient;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::api::Api;
use crate::bounded::read_file_at_most;
use crate::diagnosis::{self, Address, Diagnosis};
use crate::error::Error as CallError;
use crate::fence::Fence;
use crate::transport::Transport;

/// The largest message that is sent or accepted, in bytes. Servers cut pages at 2 MiB; one object may be larger.
pub(crate) const MESSAGE_LIMIT: usize = 16 << 20;

/// Default maximum size of an answer's headers, in bytes: as much as a message may have. Krake's errors stay below 8 KiB,
/// but a proxy may send more.
const DEFAULT_MAX_HEADER_BYTES: u32 = MESSAGE_LIMIT as u32;

/// Maximum number of unread bytes of one stream, and so the memory of a watch that is not read. Enough for 25 MB/s over a
/// connection with a round trip of 10 ms.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// Bytes of all streams together: the maximum of HTTP/2 (RFC 9113, section 6.9.1), so that only the windows of streams
/// count. Otherwise a few streams that are not read would hold up all calls of the connection.
const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;

/// How to reach a state service.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// `http://host:port` or `https://host:port`.
    pub url: String,
    /// Timeout for making a connection. Default 5 s.
    pub connect_timeout: Duration,
    /// Timeout of a unary call, connecting included. Default 30 s. Streams have none.
    pub request_timeout: Duration,
    /// Interval between keep-alive pings, also when no call is open. Default 10 s.
    pub keep_alive_interval: Duration,
    /// Timeout of a keep-alive ping, after which the connection is closed. Default 5 s.
    pub keep_alive_timeout: Duration,
    /// Maximum size of an answer's headers, in bytes. An answer far beyond it closes the connection, with all other calls
    /// on it. Default 16 MiB.
    pub max_header_bytes: u32,
    /// PEM file with the authorities that may vouch for the server. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the certificate that identifies this client. Needs `client_key_file`.
    pub client_cert_file: Option<PathBuf>,
    /// PEM file with the private key of `client_cert_file`.
    pub client_key_file: Option<PathBuf>,
    /// Who calls, for the server's logs.
    pub user_agent: String,
    /// A channel made elsewhere, for example over a simulated network. The URL then only names the server in errors,
    /// and what else is said of the connection counts for nothing. Default: none.
    pub channel: Option<Channel>,
}

impl ConnectOptions {
    /// The defaults, for a server at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        ConnectOptions {
            url: url.into(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            keep_alive_interval: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(5),
            max_header_bytes: DEFAULT_MAX_HEADER_BYTES,
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            user_agent: concat!("krake-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            channel: None,
        }
    }

    /// The URL, checked.
    fn uri(&self) -> Result<Uri, ConnectError> {
        let wrong = |problem: &str| ConnectError::Url { url: self.url.clone(), problem: problem.to_owned() };
        let uri: Uri =
            self.url.trim().parse().map_err(|error: http::uri::InvalidUri| wrong(&error.to_string()))?;
        match uri.scheme_str() {
            Some("http" | "https") => {}
            Some(other) => return Err(wrong(&format!("the scheme is {other:?}: use http or https"))),
            None => return Err(wrong("it has no scheme: write http://host:port or https://host:port")),
        }
        if uri.host().is_none_or(str::is_empty) {
            return Err(wrong("it has no host"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong("it must end after the port"));
        }
        Ok(uri)
    }

    /// The certificates that a connection to `uri` uses; none without TLS.
    fn tls(&self, uri: &Uri) -> Result<Option<ClientTlsConfig>, ConnectError> {
        let files = [
            ("CA file", &self.ca_file),
            ("client certificate", &self.client_cert_file),
            ("client key", &self.client_key_file),
        ];
        if uri.scheme_str() != Some("https") {
            return match files.into_iter().find(|(_, file)| file.is_some()) {
                None => Ok(None),
                Some((what, _)) => Err(ConnectError::Url {
                    url: self.url.clone(),
                    problem: format!("a {what} is set, but the scheme is not https"),
                }),
            };
        }
        let mut tls = ClientTlsConfig::new().timeout(self.connect_timeout);
        tls = match &self.ca_file {
            None => tls.with_enabled_roots(),
            Some(path) => tls.ca_certificate(Certificate::from_pem(read_certificates("CA file", path)?)),
        };
        tls = match (&self.client_cert_file, &self.client_key_file) {
            (None, None) => tls,
            (Some(cert), Some(key)) => {
                let cert = read_certificates("client certificate", cert)?;
                tls.identity(Identity::from_pem(cert, read("client key", key)?))
            }
            (Some(_), None) => return Err(ConnectError::Incomplete { given: "certificate", missing: "key" }),
            (None, Some(_)) => return Err(ConnectError::Incomplete { given: "key", missing: "certificate" }),
        };
        Ok(Some(tls))
    }
}

/// Maximum size of a PEM file: the authorities of a whole system take 250 KB.
const MAX_PEM_MIB: u64 = 1;

/// The content of a PEM file.
fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, ConnectError> {
    let failed = |source| ConnectError::File { what, path: path.to_owned(), source };
    read_file_at_most(MAX_PEM_MIB, path).map_err(failed)
}

/// The content of a PEM file that must hold a certificate: without one, no server would be trusted.
fn read_certificates(what: &'static str, path: &Path) -> Result<Vec<u8>, ConnectError> {
    let pem = read(what, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    if found.is_ok_and(|certificates| !certificates.is_empty()) {
        return Ok(pem);
    }
    let source = io::Error::new(io::ErrorKind::InvalidData, "it holds no certificate in the form PEM");
    Err(ConnectError::File { what, path: path.to_owned(), source })
}

/// Why connect options cannot be used. Trying again does not help.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The URL is not one of a state service.
    #[error("API URL {url:?}: {problem}")]
    Url {
        /// The URL as given.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file cannot be read.
    #[error("cannot read the {what} {}: {source}", path.display())]
    File {
        /// Which file.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
        /// Why it cannot be read.
        source: std::io::Error,
    },
    /// A client certificate without key, or the other way round.
    #[error("a client {given} is set, but no client {missing}: set both or none")]
    Incomplete {
        /// What is there.
        given: &'static str,
        /// What is not.
        missing: &'static str,
    },
    /// The certificates cannot be used.
    #[error("TLS for {url:?}: {problem}")]
    Tls {
        /// The URL.
        url: String,
        /// What is wrong with the certificates.
        problem: String,
    },
    /// The user agent is no header value.
    #[error("user agent {0:?}: only visible ASCII characters are allowed")]
    UserAgent(String),
}

/// A connection to a state service, opened with the first call and again whenever it was lost. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Transport,
}

impl Client {
    /// A client for the given server; nothing is sent yet. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When the URL, a file or the user agent cannot be used.
    pub fn new(options: &ConnectOptions) -> Result<Self, ConnectError> {
        if let Some(channel) = &options.channel {
            return Ok(Self::from_channel(channel.clone(), &options.url, options.request_timeout));
        }
        let uri = options.uri()?;
        let tls = options.tls(&uri)?;
        let address = Address::of(&uri);
        let mut endpoint = Endpoint::from(uri)
            .user_agent(options.user_agent.as_str())
            .map_err(|_| ConnectError::UserAgent(options.user_agent.clone()))?
            .connect_timeout(options.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(options.keep_alive_interval)
            .keep_alive_timeout(options.keep_alive_timeout)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_max_header_list_size(options.max_header_bytes);
        if let Some(tls) = tls {
            endpoint = endpoint.tls_config(tls).map_err(|error| ConnectError::Tls {
                url: options.url.clone(),
                problem: crate::transport::root_cause(&error),
            })?;
        }
        let Client { transport } =
            Self::from_channel(endpoint.connect_lazy(), &options.url, options.request_timeout);
        Ok(Client { transport: transport.to(address, endpoint) })
    }

    /// A client on a channel made elsewhere, for example over a simulated network. `server` names it in errors.
    pub fn from_channel(channel: Channel, server: &str, request_timeout: Duration) -> Self {
        Client { transport: Transport::new(channel, server, request_timeout) }
    }

    /// Why a call got no answer from a state service, if more can be found out than the error says: a wrong scheme or
    /// port, another program, a certificate. May open up to two connections to the server's port to see what it
    /// speaks, and takes four seconds at most. `None` for errors that the state service itself has answered.
    pub async fn diagnose(&self, error: &CallError) -> Option<Diagnosis> {
        let (address, status) = (self.transport.address()?, error.status()?);
        let ours = error.reason().is_some();
        let source = std::error::Error::source(status);
        let broken = status.code() == tonic::Code::DeadlineExceeded || source.is_some();
        if ours || !broken {
            return None;
        }
        diagnosis::by_probe(address, source).await
    }

    /// A client on the same connection whose unary writes carry the fence, and fail without being sent while it is
    /// lowered. Reads and streams are as without.
    ///
    /// # Errors
    /// Of its writes: [`Error::is_fenced`](crate::Error::is_fenced) if another holder leads.
    pub fn fenced(&self, fence: Fence) -> Self {
        Client { transport: self.transport.fenced(fence) }
    }

    /// The connection itself, for calls by descriptor; their messages are the caller's matter.
    pub fn transport(&self) -> Transport {
        self.transport.clone()
    }

    /// The standard methods of a kind.
    pub fn api<K: Resource>(&self) -> Api<K> {
        Api::new(self.transport.clone())
    }

    /// The generated client of applications, for `BindApplication` and `ReportCopy`.
    pub fn applications(&self) -> ApplicationServiceClient<Transport> {
        ApplicationServiceClient::new(self.transport.clone())
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT)
    }

    /// The generated client of clusters.
    pub fn clusters(&self) -> ClusterServiceClient<Transport> {
        ClusterServiceClient::new(self.transport.clone())
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT)
    }

    /// The generated client of metrics.
    pub fn metrics(&self) -> MetricServiceClient<Transport> {
        MetricServiceClient::new(self.transport.clone())
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT)
    }

    /// The generated client of metrics providers.
    pub fn metrics_providers(&self) -> MetricsProviderServiceClient<Transport> {
        MetricsProviderServiceClient::new(self.transport.clone())
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT)
    }

    /// The generated client of objects of all kinds; [`Client::watch_objects`] follows them.
    pub fn objects(&self) -> ObjectServiceClient<Transport> {
        ObjectServiceClient::new(self.transport.clone())
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT)
    }

    /// The generated client of elections.
    pub fn leadership(&self) -> LeadershipServiceClient<Transport> {
        LeadershipServiceClient::new(self.transport.clone())
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(change: impl FnOnce(&mut ConnectOptions), url: &str) -> String {
        let mut options = ConnectOptions::new(url);
        change(&mut options);
        Client::new(&options).unwrap_err().to_string()
    }

    #[tokio::test]
    async fn errors_name_what_is_wrong() {
        let nothing = |_: &mut ConnectOptions| {};
        for (url, part) in [
            ("localhost:7700", "no scheme"),
            ("ftp://localhost:7700", "the scheme is \"ftp\""),
            ("http://localhost:7700/api", "must end after the port"),
            ("http://", "API URL \"http://\""),
            ("", "API URL \"\""),
        ] {
            let text = error(nothing, url);
            assert!(text.contains(part) && text.contains(url), "{url}: {text}");
        }
        let ca = |options: &mut ConnectOptions| options.ca_file = Some("/nowhere/ca.pem".into());
        assert!(error(ca, "http://localhost:7700").contains("a CA file is set, but the scheme is not https"));
        assert!(error(ca, "https://localhost:7700").starts_with("cannot read the CA file /nowhere/ca.pem"));
        let key = |options: &mut ConnectOptions| options.client_key_file = Some("/nowhere/key.pem".into());
        assert!(error(key, "https://localhost:7700").contains("no client certificate"));
    }

    #[tokio::test]
    async fn a_file_that_holds_no_key_is_named_as_a_tls_problem() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("certificate.pem");
        let certificate = rcgen::generate_simple_self_signed(Vec::new()).unwrap().cert;
        std::fs::write(&path, certificate.pem()).unwrap();
        let text = error(
            |options| {
                options.client_cert_file = Some(path.clone());
                options.client_key_file = Some(path.clone());
            },
            "https://localhost:7700",
        );
        assert!(text.starts_with("TLS for \"https://localhost:7700\""), "{text}");
    }

    #[tokio::test]
    async fn a_file_without_a_certificate_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        for content in ["", "not a certificate", broken, &key] {
            std::fs::write(&path, content).unwrap();
            let ca = |options: &mut ConnectOptions| options.ca_file = Some(path.clone());
            let text = error(ca, "https://localhost:7700");
            let name = path.display();
            assert_eq!(
                text,
                format!("cannot read the CA file {name}: it holds no certificate in the form PEM")
            );
        }
    }
}
