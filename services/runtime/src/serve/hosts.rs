//! Which host names and which web pages are served.
//!
//! A web page may let its own name point to a loopback address (DNS rebinding): the browser then takes what listens
//! there for a part of the page. The request names the page's host, so a listener that serves only names that it knows
//! is out of the page's reach. A header such as X-Forwarded-Host, which the page can set itself, is never read.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{Either, Ready, ready};
use http::uri::{Authority, Uri};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use krake_proto::error::{self, ErrorReason};
use tower::Service;

/// Host names that are served beside loopback names and IP addresses: lower case, without port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedHosts(Vec<String>);

impl AllowedHosts {
    /// Reads host names.
    ///
    /// # Errors
    /// The first text that is not a host name without port.
    pub fn parse(names: &[String]) -> Result<Self, String> {
        let read = |name: &String| match name.parse::<Authority>() {
            Ok(read) if read.as_str() == read.host() && !read.host().is_empty() => Ok(normal(read.host())),
            _ => Err(name.clone()),
        };
        Ok(AllowedHosts(names.iter().map(read).collect::<Result<_, _>>()?))
    }

    /// Whether no name is listed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn contains(&self, host: &str) -> bool {
        self.0.iter().any(|allowed| allowed == host)
    }
}

/// The origins whose web pages may call, beside the request's own host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TrustedOrigins {
    /// No others.
    #[default]
    None,
    /// These, such as `https://dashboard.example.com`.
    Listed(Vec<String>),
    /// Every origin.
    Any,
}

/// What a listener serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostRules {
    /// Names by which it may be called.
    pub allowed: AllowedHosts,
    /// Pages that may call.
    pub origins: TrustedOrigins,
}

/// Who can reach a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// This machine alone: browsers of its users, with whatever page they show.
    Loopback,
    /// Other hosts too.
    Network,
}

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It names a host that this listener does not serve.
    Host,
    /// It comes from a web page that may not call.
    Origin,
}

impl Refusal {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Refusal::Host => StatusCode::MISDIRECTED_REQUEST,
            Refusal::Origin => StatusCode::FORBIDDEN,
        }
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Refusal::Host => {
                "this listener is not known by the host name of the request: use an IP address or localhost, or start \
                 it with --allowed-host NAME"
            }
            Refusal::Origin => "web pages of this origin may not call",
        }
    }
}

/// Whether a request is served that names `hosts` and comes from a page of `origin`; requests that no page made have no
/// origin. HTTP allows several names in one request (in the address and in `Host`): each must be served.
pub(crate) fn decide(
    hosts: &[&str],
    origin: Option<&str>,
    reach: Reach,
    rules: &HostRules,
) -> Result<(), Refusal> {
    let checked = reach == Reach::Loopback || !rules.allowed.is_empty();
    if checked && !hosts.iter().all(|host| is_served(host, &rules.allowed)) {
        return Err(Refusal::Host);
    }
    let Some(origin) = origin else { return Ok(()) };
    let trusted = match &rules.origins {
        TrustedOrigins::Any => true,
        TrustedOrigins::Listed(listed) => listed.iter().any(|listed| listed == origin),
        TrustedOrigins::None => false,
    };
    let Some(page) = Page::parse(origin) else { return trusted.then_some(()).ok_or(Refusal::Origin) };
    let own = !hosts.is_empty() && hosts.iter().all(|host| page.is_at(host));
    (trusted || own || rules.allowed.contains(&page.host)).then_some(()).ok_or(Refusal::Origin)
}

/// Whether a listener that checks names serves this one.
fn is_served(host: &str, allowed: &AllowedHosts) -> bool {
    let Some((host, _)) = split(host) else { return false };
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<Ipv4Addr>().is_ok()
        || address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
        || allowed.contains(&host)
}

/// Host and port of an authority; none if it is not one, or has a user.
fn split(authority: &str) -> Option<(String, Option<u16>)> {
    let read = authority.parse::<Authority>().ok()?;
    let host = normal(read.host());
    let bare = !host.is_empty() && !authority.contains('@');
    // A port that is not a number must not pass as none.
    let port = read.port_u16();
    (bare && (port.is_some() || read.as_str().len() == read.host().len())).then_some((host, port))
}

/// Lower case, without the dot of a fully qualified name.
fn normal(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Where a web page comes from.
struct Page {
    host: String,
    port: u16,
}

impl Page {
    fn parse(origin: &str) -> Option<Self> {
        let (scheme, authority) = origin.split_once("://")?;
        let default_port = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let (host, port) = split(authority)?;
        Some(Page { host, port: port.unwrap_or(default_port) })
    }

    /// Whether `host` names the server that the page comes from. Which scheme the request has cannot be told behind a
    /// proxy, so a host without a port has the default port of the page's.
    fn is_at(&self, host: &str) -> bool {
        split(host).is_some_and(|(host, port)| host == self.host && port.is_none_or(|port| port == self.port))
    }
}

/// Serves what [`decide`] lets pass.
#[derive(Debug)]
pub(crate) struct HostGuard<S, B> {
    inner: S,
    reach: Reach,
    rules: Arc<HostRules>,
    refuse: fn(Refusal) -> Response<B>,
}

impl<S: Clone, B> Clone for HostGuard<S, B> {
    fn clone(&self) -> Self {
        HostGuard { inner: self.inner.clone(), rules: self.rules.clone(), ..*self }
    }
}

impl<S, B> HostGuard<S, B> {
    /// `refuse` makes the answer to what is not served.
    pub(crate) fn new(inner: S, reach: Reach, rules: HostRules, refuse: fn(Refusal) -> Response<B>) -> Self {
        HostGuard { inner, reach, rules: Arc::new(rules), refuse }
    }

    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let named: Vec<String> = headers.get_all(header::HOST).iter().map(text).collect();
        let hosts: Vec<&str> = uri
            .authority()
            .map(Authority::as_str)
            .into_iter()
            .chain(named.iter().map(String::as_str))
            .collect();
        // A preflight changes nothing, and its answer says which origins may call.
        let origin = headers.get(header::ORIGIN).filter(|_| *method != Method::OPTIONS).map(text);
        decide(&hosts, origin.as_deref(), self.reach, &self.rules)
    }
}

impl<S, R, B> Service<Request<R>> for HostGuard<S, B>
where
    S: Service<Request<R>, Response = Response<B>>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<B>, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        match self.check(request.method(), request.uri(), request.headers()) {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(refusal) => {
                tracing::info!(?refusal, host = ?request.headers().get(header::HOST), uri = %request.uri(), "refused");
                Either::Right(ready(Ok((self.refuse)(refusal))))
            }
        }
    }
}

/// The answer of REST listeners: a problem as RFC 9457 has it.
pub(crate) fn problem(refusal: Refusal) -> Response<axum::body::Body> {
    problem_with(refusal.status(), refusal.text())
}

/// A problem with a text of our own.
pub(crate) fn problem_with(status: StatusCode, text: &'static str) -> Response<axum::body::Body> {
    let title = status.canonical_reason().unwrap_or_default();
    // The texts are our own and need no escapes.
    let body = format!(
        r#"{{"type":"about:blank","title":"{title}","status":{},"detail":"{}"}}"#,
        status.as_u16(),
        text
    );
    let mut response = Response::new(axum::body::Body::from(body));
    *response.status_mut() = status;
    let json = http::HeaderValue::from_static("application/problem+json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// The answer of gRPC listeners: a status that clients show.
pub(crate) fn permission_denied(refusal: Refusal) -> Response<tonic::body::Body> {
    error::status(tonic::Code::PermissionDenied, ErrorReason::Forbidden, refusal.text()).into_http()
}

#[cfg(test)]
mod tests {
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
            assert_eq!(
                decide(&["krake.example", "evil.example"], None, reach, &rules),
                HOST,
                "each name counts"
            );
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
}
