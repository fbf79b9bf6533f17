//! Conclusions, as a table.

use super::*;
use rstest::rstest;

fn address(url: &str) -> Address {
    Address::of(&url.parse().unwrap()).unwrap()
}

/// What is said of `url`.
fn said(url: &str, evidence: &Evidence, probe: Option<Probe>) -> Option<String> {
    let address = address(url);
    let cause = decide(address.tls, evidence, probe.as_ref())?;
    Some(Diagnosis { address, cause }.to_string())
}

const PLAIN: &str = "http://krake:8080";
const SECURE: &str = "https://krake:7700";

#[rstest]
#[case::rest_port(PLAIN, Evidence::NotGrpc { json: true }, None, &["port 8080", "REST gateway", "http://krake:7700"])]
#[case::proxy(PLAIN, Evidence::NotGrpc { json: false }, None, &["web server or proxy", "http://krake:7700"])]
#[case::upstream(PLAIN, Evidence::Broken, Some(Probe::Rest), &["port 8080", "REST gateway", "http://krake:7700"])]
#[case::web(PLAIN, Evidence::Broken, Some(Probe::Http1), &["web server or proxy answers on krake:8080"])]
#[case::http_to_tls(PLAIN, Evidence::Broken, Some(Probe::Tls), &["speaks TLS", "https://krake:8080"])]
#[case::https_to_plain(SECURE, Evidence::NotTls, Some(Probe::Http2), &["does not speak TLS", "http://krake:7700"])]
#[case::https_cut_by_plain(SECURE, Evidence::Broken, Some(Probe::Http2), &["does not speak TLS", "http://krake:7700"])]
#[case::https_to_plain_unprobed(SECURE, Evidence::NotTls, None, &["does not speak TLS"])]
#[case::https_to_plain_rest(SECURE, Evidence::NotTls, Some(Probe::Rest), &["REST gateway"])]
#[case::tls_without_http2(SECURE, Evidence::NoHttp2, None, &["not HTTP/2"])]
#[case::unknown_authority(SECURE, Evidence::Certificate(Cause::UnknownAuthority), None, &["authority that this machine does not know", "file"])]
#[case::self_signed(SECURE, Evidence::Certificate(Cause::AuthorityAsServer), None, &["self-signed", "CA:FALSE"])]
#[case::name(SECURE, Evidence::Certificate(Cause::WrongName(vec!["a".into(), "b".into()])), None, &["\"krake\"", "only for a, b"])]
#[case::expired(SECURE, Evidence::Certificate(Cause::OutOfDate { expired: true }), None, &["has expired"])]
#[case::client(SECURE, Evidence::Alert("CertificateRequired".into()), None, &["client certificate"])]
#[case::handshake(SECURE, Evidence::Alert("ProtocolVersion".into()), None, &["TLS handshake", "ProtocolVersion"])]
#[case::refused("http://krake:7700", Evidence::Refused, None, &["nothing listens on krake:7700"])]
#[case::refused_here("http://[::1]:7700", Evidence::Refused, None, &["nothing listens on [::1]:7700", "`krake` starts it"])]
#[case::name_unknown(PLAIN, Evidence::UnknownHost, None, &["host name \"krake\" is not known"])]
#[case::no_answer(PLAIN, Evidence::NoAnswer, None, &["krake:8080 does not answer", "firewall"])]
#[case::ssh(PLAIN, Evidence::Broken, Some(Probe::Other("SSH-2.0".into())), &["another program", "SSH-2.0"])]
#[case::silent(PLAIN, Evidence::Broken, Some(Probe::Silent), &["says nothing"])]
#[case::closes(PLAIN, Evidence::Broken, Some(Probe::Closed), &["closes every connection"])]
fn what_is_wrong_is_said_with_what_to_do(
    #[case] url: &str,
    #[case] evidence: Evidence,
    #[case] probe: Option<Probe>,
    #[case] parts: &[&str],
) {
    let text = said(url, &evidence, probe).unwrap();
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in {text:?}");
    }
}

#[rstest]
#[case::a_server_that_speaks_as_the_url_says(PLAIN, Some(Probe::Http2))]
#[case::the_same_with_tls(SECURE, Some(Probe::Tls))]
#[case::nothing_found_out(PLAIN, None)]
fn what_is_not_known_is_not_guessed(#[case] url: &str, #[case] probe: Option<Probe>) {
    assert_eq!(said(url, &Evidence::Broken, probe), None);
}

#[test]
fn errors_are_recognised_wherever_they_stand_in_the_chain() {
    let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
    assert_eq!(evidence(&refused), Evidence::Refused);
    let inside = |error: rustls::Error| io::Error::new(io::ErrorKind::InvalidData, error);
    let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
    assert_eq!(evidence(&inside(unknown)), Evidence::Certificate(Cause::UnknownAuthority));
    let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
    let nested = io::Error::other(inside(alert));
    assert_eq!(evidence(&nested), Evidence::Alert("CertificateRequired".into()));
    assert_eq!(evidence(&io::Error::from(io::ErrorKind::BrokenPipe)), Evidence::Broken);
    let json = NotGrpc { status: 404, content_type: "application/problem+json".into() };
    assert_eq!(evidence(&json), Evidence::NotGrpc { json: true });
}

#[test]
fn addresses_have_default_ports() {
    assert_eq!(address("https://krake").to_string(), "krake:443");
    assert_eq!(address("http://[::1]").to_string(), "[::1]:80");
    assert!(address("http://127.8.9.1:1").is_loopback() && !address("http://krake:1").is_loopback());
}
