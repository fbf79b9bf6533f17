//! Finds out what a port speaks, by saying hello in HTTP/1.1 and, if that gets no answer, in TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// Longest duration of each of the two attempts. A person waits for it, and a server that is there answers in less.
const ATTEMPT: Duration = Duration::from_secs(2);
/// Most bytes of an answer that are read: enough for a head and the beginning of a body.
const ANSWER: usize = 4096;
/// Most characters of a foreign greeting that are kept.
const GREETING: usize = 40;

/// Harmless anywhere. Krake's REST gateway and upstream's API answer it with their version.
const REQUEST: &str =
    "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nConnection: close\r\n\r\n";
/// What a port speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// TLS; what is inside is not known.
    Tls,
    /// HTTP/2 without TLS, as gRPC servers do.
    Http2,
    /// HTTP/1.1, and it answers as Krake's REST gateway does.
    Rest,
    /// HTTP/1.1.
    Http1,
    /// Something else, which begins so.
    Other(String),
    /// It accepts connections and says nothing.
    Silent,
    /// It closes connections without a word.
    Closed,
}

/// Probes a port; `None` if no connection can be made.
pub(crate) async fn probe(host: &str, port: u16) -> Option<Probe> {
    let answer = exchange(host, port, REQUEST.as_bytes()).await.ok()?;
    match recognise(&answer) {
        Some(found) => Some(found),
        None => {
            let hello = client_hello(host).unwrap_or_default();
            Some(match exchange(host, port, &hello).await {
                Ok(to_hello) if is_tls(&to_hello.bytes) => Probe::Tls,
                _ if answer.ended => Probe::Closed,
                _ => Probe::Silent,
            })
        }
    }
}

/// The first message of a TLS handshake. The handshake is not completed, so it does not matter that nothing is trusted.
fn client_hello(host: &str) -> Option<Vec<u8>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let config = builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let mut connection = ClientConnection::new(Arc::new(config), name).ok()?;
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).ok()?;
    Some(hello)
}

/// What came back.
#[derive(Debug, Default)]
struct Answer {
    bytes: Vec<u8>,
    /// Whether the server has closed the connection.
    ended: bool,
}

/// Sends bytes over a connection of its own, and reads what comes until there is enough of it or time is up.
async fn exchange(host: &str, port: u16, request: &[u8]) -> io::Result<Answer> {
    let deadline = Instant::now() + ATTEMPT;
    let mut stream = timeout_at(deadline, TcpStream::connect((host, port))).await??;
    let mut answer = Answer::default();
    // A peer may say what it has to say and close before it has read anything.
    let _ = timeout_at(deadline, stream.write_all(request)).await?;
    let mut buffer = [0; 1024];
    while answer.bytes.len() < ANSWER {
        match timeout_at(deadline, stream.read(&mut buffer)).await {
            Err(_) => break,
            Ok(Ok(count)) if count > 0 => {
                answer.bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
                // Only of an HTTP/1.1 answer the rest says more.
                if answer.bytes.len() >= 9 && !answer.bytes.starts_with(b"HTTP/") {
                    break;
                }
            }
            Ok(_) => {
                answer.ended = true;
                break;
            }
        }
    }
    Ok(answer)
}

/// What the answer to [`REQUEST`] shows; `None` if there is none.
fn recognise(answer: &Answer) -> Option<Probe> {
    let bytes = answer.bytes.as_slice();
    if bytes.is_empty() {
        return None;
    }
    if is_tls(bytes) {
        return Some(Probe::Tls);
    }
    // A settings frame: three bytes of length, then its type, no flags, stream 0.
    if matches!(bytes, [0, 0, _, 4, _, 0, 0, 0, 0, ..]) {
        return Some(Probe::Http2);
    }
    let text = String::from_utf8_lossy(bytes);
    if bytes.starts_with(b"HTTP/1.") {
        let lower = text.to_lowercase();
        // Servers that speak TLS and were so kind to answer in plain text.
        if lower.contains("http request was sent to https") || lower.contains("http request to an https") {
            return Some(Probe::Tls);
        }
        let (head, body) = lower.split_once("\r\n\r\n").unwrap_or((&lower, ""));
        let json = head.contains("application/json") || head.contains("application/problem+json");
        let krake = json && (body.contains("\"version\"") || head.contains("problem+json"));
        return Some(if krake { Probe::Rest } else { Probe::Http1 });
    }
    let greeting: String = text.lines().next().unwrap_or_default().chars().take(GREETING).collect();
    Some(Probe::Other(greeting))
}

/// Whether this begins with a TLS record: an alert or a handshake.
fn is_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [0x15 | 0x16, 3, 0..=4, ..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::alert(b"\x15\x03\x03\x00\x02\x02\x32", Some(Probe::Tls))]
    #[case::kind(
        b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.",
        Some(Probe::Tls)
    )]
    #[case::settings(b"\x00\x00\x24\x04\x00\x00\x00\x00\x00\x00", Some(Probe::Http2))]
    #[case::gateway(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"version\":\"1\"}",
        Some(Probe::Rest)
    )]
    #[case::problem(b"HTTP/1.1 401 U\r\nContent-Type: application/problem+json\r\n\r\n{}", Some(Probe::Rest))]
    #[case::web(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<html>", Some(Probe::Http1))]
    #[case::ssh(b"SSH-2.0-OpenSSH_9.2\r\n", Some(Probe::Other("SSH-2.0-OpenSSH_9.2".into())))]
    #[case::nothing(b"", None)]
    fn answers_are_recognised(#[case] bytes: &[u8], #[case] expected: Option<Probe>) {
        let answer = Answer { bytes: bytes.to_vec(), ended: true };
        assert_eq!(recognise(&answer), expected);
    }

    #[test]
    fn a_long_greeting_is_cut() {
        let answer = Answer { bytes: [b'x'; 1000].to_vec(), ended: false };
        assert_eq!(recognise(&answer), Some(Probe::Other("x".repeat(GREETING))));
    }
}
