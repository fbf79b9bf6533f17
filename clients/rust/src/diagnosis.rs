//! Why a server cannot be talked to, in the user's words, and what to do about it.
//!
//! [`evidence`] reads the chain of an error, [`probe`] finds out what a port speaks, and [`decide`] concludes: a pure
//! function of the URL's scheme and these two.

pub(crate) mod probe;

use std::error::Error as StdError;
use std::fmt;
use std::io;

use http::Uri;
use rustls::CertificateError;
use thiserror::Error;

use probe::Probe;

/// Port of the gRPC API if nothing else is configured.
const API_PORT: u16 = 7700;

/// Where a server is, from its URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// Whether the scheme is https.
    pub(crate) tls: bool,
    /// Host name or IP address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Address {
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let tls = uri.scheme_str()? == "https";
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Address { tls, host, port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }) })
    }

    fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    }

    fn url(&self, tls: bool, port: u16) -> String {
        format!("{}://{}", if tls { "https" } else { "http" }, Address { port, ..self.clone() })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Why a server cannot be talked to. Its text says what is wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    address: Address,
    cause: Cause,
}

impl Diagnosis {
    /// For programs that give advice of their own, such as the names of their options.
    pub fn cause(&self) -> &Cause {
        &self.cause
    }
}

/// What keeps a client from talking to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// Nothing listens there.
    Refused,
    /// The host name has no address.
    UnknownHost,
    /// Packets get no answer.
    NoAnswer,
    /// The URL says http, the server speaks TLS.
    NeedsTls,
    /// The URL says https, the server does not speak TLS.
    NoTls,
    /// Krake's REST gateway listens there.
    RestGateway,
    /// Some other HTTP server, or a proxy, listens there.
    WebServer,
    /// The server speaks TLS, but not HTTP/2 over it.
    NoHttp2,
    /// The authority that signed the server's certificate is not trusted.
    UnknownAuthority,
    /// The server's certificate is an authority's own.
    AuthorityAsServer,
    /// The server's certificate is valid for other names, as far as these are known.
    WrongName(Vec<String>),
    /// The server's certificate has expired, or is not valid yet.
    OutOfDate {
        /// Whether it has expired.
        expired: bool,
    },
    /// The server's certificate cannot be used for another reason.
    BadCertificate(String),
    /// The server ends the TLS handshake because of the client's certificate, or because there is none.
    ClientCertificate,
    /// The server ends the TLS handshake for another reason.
    Handshake(String),
    /// Another program listens there; the text is the beginning of what it says.
    OtherProgram(String),
    /// Connections are accepted, and then nothing happens.
    Silent,
    /// Connections are accepted and closed.
    Closes,
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = &self.address;
        let grpc = "clients speak gRPC, by default on port 7700";
        let api = at.url(at.tls, API_PORT);
        match &self.cause {
            Cause::Refused if at.is_loopback() => {
                write!(f, "nothing listens on {at}: is Krake running? `krake` starts it on this machine")
            }
            Cause::Refused => write!(f, "nothing listens on {at}: is the address right, and Krake running there?"),
            Cause::UnknownHost => write!(f, "the host name {:?} is not known: is it spelled right?", at.host),
            Cause::NoAnswer => write!(
                f,
                "{at} does not answer: is the address right, and does a firewall let connections through?"
            ),
            Cause::NeedsTls => write!(f, "the server speaks TLS: write {}", at.url(true, at.port)),
            Cause::NoTls => write!(f, "the server does not speak TLS: write {}", at.url(false, at.port)),
            Cause::RestGateway => {
                write!(f, "port {} looks like Krake's REST gateway; {grpc}: try {api}", at.port)
            }
            Cause::WebServer => {
                write!(f, "a web server or proxy answers on {at}, not Krake's API; {grpc}: try {api}")
            }
            Cause::NoHttp2 => write!(
                f,
                "the server speaks TLS but not HTTP/2, which gRPC needs: it is another server or a proxy; {grpc}"
            ),
            Cause::UnknownAuthority => f.write_str(
                "the server's certificate is signed by an authority that this machine does not know: give a file with \
                 that authority's certificate",
            ),
            Cause::AuthorityAsServer => f.write_str(
                "the server's certificate is an authority's own (self-signed, CA:TRUE), which may not stand for a \
                 server: give the server a certificate with CA:FALSE, and the client a file with the authority's",
            ),
            Cause::WrongName(names) => {
                write!(f, "the server's certificate is not valid for {:?}", at.host)?;
                if !names.is_empty() {
                    write!(f, ", only for {}", names.join(", "))?;
                }
                f.write_str(": use a name of the certificate in the URL, or issue one for this name")
            }
            Cause::OutOfDate { expired: true } => {
                f.write_str("the server's certificate has expired: renew it, or set the clock of this machine")
            }
            Cause::OutOfDate { expired: false } => {
                f.write_str("the server's certificate is not valid yet: is the clock of this machine right?")
            }
            Cause::BadCertificate(problem) => write!(f, "the server's certificate cannot be used: {problem}"),
            Cause::ClientCertificate => f.write_str(
                "the server wants a client certificate that its own authority has signed: give certificate and key",
            ),
            Cause::Handshake(alert) => write!(f, "the server ended the TLS handshake: {alert}"),
            Cause::OtherProgram(says) => {
                write!(f, "another program listens on {at} (it says {says:?}); {grpc}")
            }
            Cause::Silent => {
                write!(f, "{at} accepts connections and says nothing: another program, or a server that hangs")
            }
            Cause::Closes => write!(
                f,
                "{at} closes every connection at once: another program, or a proxy that does not reach Krake"
            ),
        }
    }
}

/// An HTTP answer that is not gRPC. Stands in the chain of the [`tonic::Status`] that is made of it.
#[derive(Debug, Error)]
#[error("it answers HTTP status {status} and content type {content_type:?}, which is not gRPC")]
pub(crate) struct NotGrpc {
    pub(crate) status: u16,
    /// Empty if there is none.
    pub(crate) content_type: String,
}

/// What an error says about its cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    Refused,
    UnknownHost,
    NoAnswer,
    /// What came first was not TLS.
    NotTls,
    NoHttp2,
    Certificate(Cause),
    /// The name of a TLS alert, as rustls spells it.
    Alert(String),
    /// An HTTP answer that is not gRPC, in JSON or not.
    NotGrpc {
        json: bool,
    },
    /// The connection broke, or what came over it made no sense. A probe says more.
    Broken,
}

impl Evidence {
    /// Whether a probe of the port would say more.
    pub(crate) fn is_ambiguous(&self) -> bool {
        matches!(self, Evidence::Broken | Evidence::NotTls)
    }
}

/// Reads the chain of an error.
pub(crate) fn evidence(error: &(dyn StdError + 'static)) -> Evidence {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(evidence) = evidence_of_one(error) {
            return evidence;
        }
        next = error.source();
    }
    Evidence::Broken
}

fn evidence_of_one(error: &(dyn StdError + 'static)) -> Option<Evidence> {
    if let Some(error) = error.downcast_ref::<NotGrpc>() {
        return Some(Evidence::NotGrpc { json: error.content_type.contains("json") });
    }
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(evidence_of_tls(error));
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        // The source of such an error skips the error that it holds.
        if let Some(inner) = error.get_ref() {
            return Some(evidence(inner)).filter(|evidence| *evidence != Evidence::Broken);
        }
        return match error.kind() {
            io::ErrorKind::ConnectionRefused => Some(Evidence::Refused),
            io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                Some(Evidence::NoAnswer)
            }
            _ => None,
        };
    }
    // These types are private to hyper-util and tonic; the tests with real listeners notice another wording.
    match error.to_string().as_str() {
        "dns error" => Some(Evidence::UnknownHost),
        "HTTP/2 was not negotiated." => Some(Evidence::NoHttp2),
        // h2 keeps only the text of an error that comes after the handshake, as that of client certificates does.
        text => text.strip_prefix("received fatal alert: ").map(|alert| Evidence::Alert(alert.to_owned())),
    }
}

fn evidence_of_tls(error: &rustls::Error) -> Evidence {
    match error {
        rustls::Error::InvalidMessage(_) => Evidence::NotTls,
        rustls::Error::AlertReceived(alert) => Evidence::Alert(format!("{alert:?}")),
        rustls::Error::InvalidCertificate(problem) => Evidence::Certificate(certificate(problem)),
        _ => Evidence::Broken,
    }
}

fn certificate(problem: &CertificateError) -> Cause {
    match problem {
        // A wrong signature is that of another authority with the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Cause::UnknownAuthority,
        CertificateError::NotValidForName => Cause::WrongName(Vec::new()),
        CertificateError::NotValidForNameContext { presented, .. } => {
            // Such as `DnsName("a")`.
            let bare = |name: &String| name.split('"').nth(1).unwrap_or(name).to_owned();
            Cause::WrongName(presented.iter().map(bare).collect())
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            Cause::OutOfDate { expired: true }
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Cause::OutOfDate { expired: false }
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            Cause::AuthorityAsServer
        }
        other => Cause::BadCertificate(other.to_string()),
    }
}

/// Concludes from the scheme of the URL, the error, and what a probe has found if there was one. `None` if nothing is
/// known that the error itself does not say.
pub(crate) fn decide(tls: bool, evidence: &Evidence, probe: Option<&Probe>) -> Option<Cause> {
    let cause = match evidence {
        Evidence::Refused => Cause::Refused,
        Evidence::UnknownHost => Cause::UnknownHost,
        Evidence::NoAnswer => Cause::NoAnswer,
        Evidence::NoHttp2 => Cause::NoHttp2,
        Evidence::Certificate(cause) => cause.clone(),
        Evidence::Alert(alert) => of_alert(alert),
        Evidence::NotGrpc { json: true } => Cause::RestGateway,
        Evidence::NotGrpc { json: false } => Cause::WebServer,
        Evidence::NotTls | Evidence::Broken => match probe {
            Some(Probe::Rest) => Cause::RestGateway,
            Some(Probe::Http1) => Cause::WebServer,
            Some(Probe::Other(says)) => Cause::OtherProgram(says.clone()),
            Some(Probe::Tls) if !tls => Cause::NeedsTls,
            Some(Probe::Http2) if tls => Cause::NoTls,
            Some(Probe::Silent) => Cause::Silent,
            Some(Probe::Closed) => Cause::Closes,
            // It is as the URL says, or nothing was found out.
            Some(Probe::Tls | Probe::Http2) | None if *evidence == Evidence::NotTls => Cause::NoTls,
            Some(Probe::Tls | Probe::Http2) | None => return None,
        },
    };
    Some(cause)
}

fn of_alert(alert: &str) -> Cause {
    match alert {
        "CertificateRequired"
        | "BadCertificate"
        | "UnsupportedCertificate"
        | "CertificateRevoked"
        | "CertificateExpired"
        | "CertificateUnknown"
        | "UnknownCA"
        | "AccessDenied" => Cause::ClientCertificate,
        other => Cause::Handshake(other.to_owned()),
    }
}

/// What is wrong at an address, by an error alone, if it is clear.
pub(crate) fn by_error(address: &Address, error: &(dyn StdError + 'static)) -> Option<Diagnosis> {
    let evidence = evidence(error);
    let cause = decide(address.tls, &evidence, None)?;
    Some(Diagnosis { address: address.clone(), cause })
}

/// What is wrong at an address, by an error and, if that is ambiguous, by a probe of the port.
pub(crate) async fn by_probe(
    address: &Address,
    error: Option<&(dyn StdError + 'static)>,
) -> Option<Diagnosis> {
    let evidence = error.map_or(Evidence::Broken, evidence);
    let probe = if evidence.is_ambiguous() { probe::probe(&address.host, address.port).await } else { None };
    let cause = decide(address.tls, &evidence, probe.as_ref())?;
    Some(Diagnosis { address: address.clone(), cause })
}

#[cfg(test)]
mod tests;
