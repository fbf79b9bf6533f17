//! What every call passes before it is dispatched: authentication, and the preconditions that it brings along; around
//! both, the audit. A handler authorizes what is left by [`authorize`], once it knows which object is named.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Extensions, HeaderMap, HeaderValue, Request, Response};
use krake_proto::error::{self, ErrorReason, Violation};
use krake_runtime::serve::Peer;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

use super::audit::{Audit, Observer};
use super::authentication::Authenticate;
use super::metrics::MethodMetrics;
use super::rpc::Rpc;
use crate::access::{Access, Admitted, Authorization, Authorized};
use crate::registry::{Error, Fence, Registry};

/// Metadata that says as which leader a controller writes.
const FENCE: &str = "krake-fence";
/// Metadata that proves it: the ticket that the campaign answered.
const TICKET: &str = "krake-ticket";
/// Metadata of the history that a precondition was read in; state names it in every answer.
const EPOCH: &str = "krake-epoch";

/// What all calls share.
pub(super) struct Gate {
    pub(super) authentication: Arc<dyn Authenticate>,
    pub(super) authorization: Authorization,
    pub(super) observer: Option<Observer>,
    pub(super) registry: Arc<Registry>,
    pub(super) epoch: HeaderValue,
}

impl Gate {
    /// Lets a request in, or says why not.
    async fn admit(&self, rpc: &Rpc, peer: &Peer, headers: &HeaderMap) -> Result<Admitted, Status> {
        let caller = self.authentication.authenticate(peer, headers).await?;
        let mut fence = None;
        if rpc.verb.writes() {
            check_epoch(headers, &self.epoch)?;
            fence = read_fence(headers)?;
        }
        if let Some(fence) = &fence {
            let ticket = headers.get(TICKET).and_then(|ticket| ticket.to_str().ok()).unwrap_or_default();
            self.registry.check_ticket(fence, ticket, &caller.user).await?;
        }
        let trace_parent = headers.get("traceparent").and_then(|value| value.to_str().ok());
        Ok(Admitted {
            caller,
            trace_parent: trace_parent.filter(|text| is_trace_parent(text)).unwrap_or_default().to_owned(),
            fence,
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
        Box::pin(async move {
            let peer = request.extensions().get::<Arc<Peer>>().cloned().unwrap_or_else(unknown_peer);
            let mut audit = Audit::begin(rpc, peer.clone(), metrics, gate.observer.clone());
            let mut answer = match gate.admit(rpc, &peer, request.headers()).await {
                Err(status) => status.into_http(),
                Ok(admitted) => {
                    let admitted = Arc::new(admitted);
                    audit.admitted(admitted.clone());
                    request.extensions_mut().insert(Admission { rpc, admitted });
                    inner.call(request).await?
                }
            };
            // A refusal has no body, so its status is in the headers; a stream that has begun goes on.
            let code = answer
                .headers()
                .get("grpc-status")
                .map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
            audit.end(code);
            if code == Code::Ok {
                answer.headers_mut().insert(EPOCH, gate.epoch.clone());
            }
            Ok(answer)
        })
    }
}

/// Of requests that did not come over a connection.
fn unknown_peer() -> Arc<Peer> {
    Arc::new(Peer { address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), certificate: None })
}

/// What a handler finds with its request.
#[derive(Clone)]
pub(super) struct Admission {
    rpc: &'static Rpc,
    pub(super) admitted: Arc<Admitted>,
}

impl Admission {
    /// That of a request with these extensions.
    pub(super) fn of(extensions: &Extensions) -> Result<Self, Status> {
        let missing =
            || error::status(Code::Internal, ErrorReason::Internal, "the request was not authenticated");
        extensions.get::<Self>().cloned().ok_or_else(missing)
    }

    /// Authorizes an encoded request.
    pub(super) fn encoded<T: AsRef<[u8]>>(&self, request: T) -> Result<Authorized<T>, Status> {
        self.admitted.authorize(self.rpc.access(request.as_ref()), request)
    }

    /// Authorizes a request that names this object; both empty where it names none.
    pub(super) fn named<T>(&self, namespace: &str, name: &str, request: T) -> Result<Authorized<T>, Status> {
        self.admitted.authorize(self.rpc.access_to(namespace.to_owned(), name.to_owned()), request)
    }

    /// Authorizes a request about an object of a kind that the RPC does not name.
    pub(super) fn of_kind<T>(
        &self,
        kind: &'static krake_proto::Kind,
        namespace: &str,
        name: &str,
        request: T,
    ) -> Result<Authorized<T>, Status> {
        let access = self.rpc.access_to(namespace.to_owned(), name.to_owned());
        let access = Access { api: kind.api.into(), resource: kind.plural.into(), ..access };
        self.admitted.authorize(access, request)
    }
}

/// Authorizes a decoded request that names no object.
pub(super) fn authorize<T>(request: tonic::Request<T>) -> Result<Authorized<T>, Status> {
    let admission = Admission::of(request.extensions())?;
    admission.named("", "", request.into_inner())
}

/// Refuses a write whose preconditions were read in another history: versions of both may be equal by chance.
fn check_epoch(headers: &HeaderMap, epoch: &HeaderValue) -> Result<(), Status> {
    if headers.get(EPOCH).is_none_or(|read_in| read_in == epoch) {
        return Ok(());
    }
    let message = "krake-epoch: the store was restored since the object was read; read it again".to_owned();
    Err(Error::Conflict { message, resource_version: 0 }.into())
}

fn read_fence(headers: &HeaderMap) -> Result<Option<Fence>, Status> {
    let Some(value) = headers.get(FENCE) else { return Ok(None) };
    let fence = value.to_str().ok().and_then(Fence::parse);
    fence.map(Some).ok_or_else(|| {
        let text = "is not `<election>=<revision>`, with what the campaign answered";
        error::invalid(&[Violation::new(FENCE, text)])
    })
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

    #[test]
    fn a_fence_that_cannot_be_read_lets_nothing_pass() {
        let mut headers = HeaderMap::new();
        assert_eq!(read_fence(&headers).unwrap(), None);
        headers.insert(FENCE, "scheduler=7".parse().unwrap());
        assert_eq!(read_fence(&headers).unwrap(), Fence::parse("scheduler=7"));
        headers.insert(FENCE, "scheduler".parse().unwrap());
        let refused = read_fence(&headers).unwrap_err();
        assert_eq!(error::violations(&refused)[0].field, FENCE);
    }

    #[test]
    fn a_precondition_of_another_history_is_a_conflict() {
        let epoch = HeaderValue::from_static("one");
        let mut headers = HeaderMap::new();
        check_epoch(&headers, &epoch).unwrap();
        headers.insert(EPOCH, epoch.clone());
        check_epoch(&headers, &epoch).unwrap();
        let refused = check_epoch(&headers, &HeaderValue::from_static("two")).unwrap_err();
        assert_eq!(error::reason(&refused), Some(ErrorReason::Conflict));
    }
}
