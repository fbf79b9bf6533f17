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
use tokio::time::Instant;
use tower::Service;

use crate::log_limit::LogLimit;

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
    /// Any caller can be refused as often as it likes.
    log_limit: Arc<LogLimit>,
}

impl<S: Clone, B> Clone for HostGuard<S, B> {
    fn clone(&self) -> Self {
        let (rules, log_limit) = (self.rules.clone(), self.log_limit.clone());
        HostGuard { inner: self.inner.clone(), rules, log_limit, ..*self }
    }
}

impl<S, B> HostGuard<S, B> {
    /// `refuse` makes the answer to what is not served.
    pub(crate) fn new(inner: S, reach: Reach, rules: HostRules, refuse: fn(Refusal) -> Response<B>) -> Self {
        HostGuard { inner, reach, rules: Arc::new(rules), refuse, log_limit: Arc::default() }
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
                if let Some(left_out) = self.log_limit.admit(Instant::now()) {
                    let (host, uri) = (request.headers().get(header::HOST), request.uri());
                    tracing::info!(?refusal, ?host, %uri, left_out, "refused; further lines within a minute are left out");
                }
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
mod tests;
