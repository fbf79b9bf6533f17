//! Which names and pages are served.

use super::*;

use Reach::{Loopback, Network};

const SERVED: Result<(), Refusal> = Ok(());
const HOST: Result<(), Refusal> = Err(Refusal::Host);
const ORIGIN: Result<(), Refusal> = Err(Refusal::Origin);

fn rules(allowed: &[&str]) -> HostRules {
    let names: Vec<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
    HostRules { allowed: AllowedHosts::parse(&names).unwrap(), ..HostRules::default() }
}

#[test]
fn refusals_of_grpc_listeners_have_a_reason() {
    for refusal in [Refusal::Host, Refusal::Origin] {
        let status = tonic::Status::from_header_map(permission_denied(refusal).headers()).unwrap();
        assert_eq!(error::reason(&status), Some(ErrorReason::Forbidden));
    }
}

#[test]
fn a_loopback_listener_serves_names_that_no_page_can_have() {
    for host in [
        "localhost",
        "LOCALHOST:8080",
        "localhost.",
        "krake.localhost:1",
        "127.0.0.1",
        "127.0.0.1:7700",
        "[::1]",
        "[::1]:7700",
        "192.168.0.7:80",
        "[fe80::1]:80",
    ] {
        assert_eq!(decide(&[host], None, Loopback, &rules(&[])), SERVED, "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "notlocalhost",
        "127.0.0.1.evil.example",
        "",
        ":80",
        "a b",
        "user@localhost",
        "localhost:x",
        "localhost:99999",
        "[::1",
        "[evil]",
        "127.1",
        "0x7f.1",
        "lоcalhost",
    ] {
        assert_eq!(decide(&[host], None, Loopback, &rules(&[])), HOST, "{host}");
    }
}

#[test]
fn allowed_hosts_are_served_beside_them() {
    let rules = rules(&["Krake.Example"]);
    for reach in [Loopback, Network] {
        for host in ["krake.example", "KRAKE.example:8443", "krake.example.", "10.0.0.7", "localhost"] {
            assert_eq!(decide(&[host], None, reach, &rules), SERVED, "{host}");
        }
        assert_eq!(decide(&["other.example"], None, reach, &rules), HOST);
        assert_eq!(decide(&["krake.example", "evil.example"], None, reach, &rules), HOST, "each name counts");
    }
}

#[test]
fn other_listeners_serve_every_name_until_told() {
    for host in ["state:7700", "evil.example", "", "a b"] {
        assert_eq!(decide(&[host], None, Network, &rules(&[])), SERVED, "{host}");
    }
    assert_eq!(decide(&[], None, Network, &rules(&[])), SERVED);
    assert_eq!(decide(&[], None, Loopback, &rules(&[])), SERVED, "no browser leaves out the host");
}

#[test]
fn a_page_calls_its_own_host_alone() {
    let none = rules(&[]);
    for (host, origin, expected) in [
        ("localhost:8080", "http://localhost:8080", SERVED),
        ("LocalHost:8080", "http://localhost:8080", SERVED),
        ("localhost", "http://localhost", SERVED),
        ("localhost", "http://localhost:80", SERVED),
        ("localhost:443", "https://localhost", SERVED),
        ("localhost:8080", "http://localhost:3000", ORIGIN),
        ("localhost:8080", "http://localhost", ORIGIN),
        ("localhost:8080", "http://127.0.0.1:8080", ORIGIN),
        ("localhost:8080", "https://evil.example", ORIGIN),
        ("localhost:8080", "null", ORIGIN),
        ("localhost:8080", "", ORIGIN),
        ("localhost:8080", "file://localhost:8080", ORIGIN),
        ("evil.example", "http://evil.example", HOST),
    ] {
        assert_eq!(decide(&[host], Some(origin), Loopback, &none), expected, "{host} {origin}");
    }
    assert_eq!(decide(&[], Some("http://localhost"), Loopback, &none), ORIGIN);
    assert_eq!(decide(&["state:7700"], Some("https://evil.example"), Network, &none), ORIGIN);
    assert_eq!(decide(&["a", "b"], Some("http://a"), Network, &none), ORIGIN, "each name counts");
}

#[test]
fn pages_of_allowed_hosts_and_trusted_origins_call() {
    let page = "https://page.example:8443";
    assert_eq!(decide(&["localhost"], Some(page), Loopback, &rules(&["page.example"])), SERVED);
    let trusting = |origins| HostRules { origins, ..HostRules::default() };
    let listed = trusting(TrustedOrigins::Listed(vec![page.to_owned()]));
    assert_eq!(decide(&["localhost"], Some(page), Loopback, &listed), SERVED);
    assert_eq!(decide(&["localhost"], Some("https://page.example"), Loopback, &listed), ORIGIN);
    let any = trusting(TrustedOrigins::Any);
    assert_eq!(decide(&["localhost"], Some("null"), Loopback, &any), SERVED);
    assert_eq!(decide(&["evil.example"], Some("http://evil.example"), Loopback, &any), HOST);
}

#[test]
fn refused_callers_cannot_fill_the_log() {
    #[derive(Clone, Default)]
    struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    let inner =
        tower::service_fn(|_: Request<()>| ready(Ok::<_, ()>(Response::new(axum::body::Body::empty()))));
    let guard = HostGuard::new(inner, Loopback, rules(&[]), problem);
    tracing::subscriber::with_default(subscriber, || {
        for _ in 0..1000 {
            let request = Request::builder().header(header::HOST, "evil.example").body(()).unwrap();
            // Each connection has a clone of its own.
            assert!(matches!(guard.clone().call(request), Either::Right(_)));
        }
    });
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(log.lines().count() == 1 && log.contains("evil.example"), "{log}");
}
