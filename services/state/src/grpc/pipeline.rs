//! What every call passes before it is dispatched: authentication, and around it the audit. A handler authorizes its
//! request by [`Authorizer`], once it knows which object is named; the preconditions of a write are checked after that.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Extensions, HeaderMap, HeaderValue, Request, Response};
use krake_proto::error::{self, ErrorReason};
use krake_runtime::serve::{CallDeadline, Peer};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

use super::audit::{Audit, Observer};
use super::authentication::Authenticate;
use super::metrics::MethodMetrics;
use super::preconditions::{EPOCH, Preconditions};
use super::rpc::Rpc;
use super::transport;
use crate::access::{Access, Authenticated, Authorization, Authorized};
use crate::elections::Elections;

/// What all calls share.
pub(super) struct Gate {
    pub(super) authentication: Arc<dyn Authenticate>,
    pub(super) authorization: Authorization,
    pub(super) observer: Option<Observer>,
    pub(super) elections: Arc<Elections>,
    pub(super) epoch: HeaderValue,
}

impl Gate {
    /// Finds out who calls.
    async fn authenticate(
        &self,
        rpc: &Rpc,
        peer: &Peer,
        headers: &HeaderMap,
    ) -> Result<Authenticated, Status> {
        let caller = self.authentication.authenticate(peer, headers).await?;
        let trace_parent = headers.get("traceparent").and_then(|value| value.to_str().ok());
        Ok(Authenticated {
            caller,
            trace_parent: trace_parent.filter(|text| is_trace_parent(text)).unwrap_or_default().to_owned(),
            authorization: self.authorization,
            open_to_all: rpc.open_to_all,
            asked: OnceLock::new(),
        })
    }
}

/// An RPC behind the gate.
#[derive(Clone)]
pub(super) struct Pipeline<S> {
    pub(super) inner: S,
    pub(super) gate: Arc<Gate>,
    pub(super) rpc: &'static Rpc,
    pub(super) metrics: Arc<MethodMetrics>,
    /// Size of the largest request that the service reads, in bytes.
    pub(super) max_request: usize,
}

impl<S> Service<Request<axum::body::Body>> for Pipeline<S>
where
    S: Service<Request<axum::body::Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<axum::body::Body>) -> Self::Future {
        // The service that was ready is the one to call.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let (gate, rpc, metrics) = (self.gate.clone(), self.rpc, self.metrics.clone());
        let max_request = self.max_request;
        Box::pin(async move {
            let peer = peer(request.extensions());
            let deadline = request.extensions().get::<CallDeadline>().copied();
            let mut audit = Audit::begin(rpc, peer.clone(), deadline, metrics, gate.observer.clone());
            let mut answer = match gate.authenticate(rpc, &peer, request.headers()).await {
                Err(status) => status.into_http(),
                Ok(caller) => {
                    let caller = Arc::new(caller);
                    audit.authenticated(caller.clone());
                    let preconditions = if rpc.verb.writes() {
                        Preconditions::of(request.headers())
                    } else {
                        Preconditions::default()
                    };
                    let authorizer = Authorizer { rpc, gate: gate.clone(), caller, preconditions };
                    request.extensions_mut().insert(authorizer);
                    inner.call(request).await?
                }
            };
            // A refusal has no body, so its status is in the headers; a stream that has begun goes on.
            let mut code = Code::Ok;
            if let Some(status) = Status::from_header_map(answer.headers()) {
                code = status.code();
                if let Some(status) = transport::explained(&status, max_request) {
                    code = status.code();
                    answer = status.into_http();
                }
            }
            audit.end(code);
            if code == Code::Ok {
                answer.headers_mut().insert(EPOCH, gate.epoch.clone());
            }
            Ok(answer)
        })
    }
}

/// The peer of a request with these extensions; an unspecified one if it did not come over a connection.
pub(super) fn peer(extensions: &Extensions) -> Arc<Peer> {
    let unknown =
        || Arc::new(Peer { address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), certificate: None });
    extensions.get::<Arc<Peer>>().cloned().unwrap_or_else(unknown)
}

/// What a handler finds with its request: the one way to have it authorized.
#[derive(Clone)]
pub(super) struct Authorizer {
    rpc: &'static Rpc,
    gate: Arc<Gate>,
    caller: Arc<Authenticated>,
    preconditions: Preconditions,
}

impl Authorizer {
    /// That of a request with these extensions.
    pub(super) fn of(extensions: &Extensions) -> Result<Self, Status> {
        let missing =
            || error::status(Code::Internal, ErrorReason::Internal, "the request was not authenticated");
        extensions.get::<Self>().cloned().ok_or_else(missing)
    }

    /// Authorizes an encoded request.
    pub(super) async fn encoded<T: AsRef<[u8]>>(&self, request: T) -> Result<Authorized<T>, Status> {
        self.check(self.rpc.access(request.as_ref()), request).await
    }

    /// Authorizes a request that names this object; both empty where it names none.
    pub(super) async fn named<T>(
        &self,
        namespace: &str,
        name: &str,
        request: T,
    ) -> Result<Authorized<T>, Status> {
        self.check(self.rpc.access_to(namespace.to_owned(), name.to_owned()), request).await
    }

    /// Authorizes a request about an object of a kind that the RPC does not name.
    pub(super) async fn of_kind<T>(
        &self,
        kind: &'static krake_proto::Kind,
        namespace: &str,
        name: &str,
        request: T,
    ) -> Result<Authorized<T>, Status> {
        let access = self.rpc.access_to(namespace.to_owned(), name.to_owned()).on(kind);
        self.check(access, request).await
    }

    /// Authorizes a decoded request that names no object.
    pub(super) async fn decoded<T>(request: tonic::Request<T>) -> Result<Authorized<T>, Status> {
        let authorizer = Self::of(request.extensions())?;
        authorizer.named("", "", request.into_inner()).await
    }

    /// Authorizes the request, then checks its preconditions.
    async fn check<T>(&self, access: Access, request: T) -> Result<Authorized<T>, Status> {
        let authorized = self.caller.authorize(access, request)?;
        let (user, gate) = (&self.caller.caller.user, &self.gate);
        let fence = self.preconditions.check(user, &gate.epoch, &gate.elections).await?;
        Ok(authorized.fenced(fence))
    }
}

/// Whether `text` is a W3C traceparent, whose hexadecimal digits are lower case and whose ids are not zero; anything
/// else is not stored.
fn is_trace_parent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let id = |part: &str, length| hex(part, length) && part.bytes().any(|byte| byte != b'0');
    matches!(parts.as_slice(), [version, trace, span, flags]
        if hex(version, 2) && *version != "ff" && id(trace, 32) && id(span, 16) && hex(flags, 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_real_traceparent_is_kept() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(is_trace_parent(parent));
        let nobody = format!("00-{}-b7ad6b7169203331-01", "0".repeat(32));
        for wrong in ["junk", &parent.to_uppercase(), &parent.replacen("00", "ff", 1), &nobody] {
            assert!(!is_trace_parent(wrong), "{wrong}");
        }
    }
}
