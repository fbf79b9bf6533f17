//! What every call passes through: deadline, trace context, and errors that name the server.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use krake_proto::error::ErrorReason;
use opentelemetry::trace::TraceContextExt;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tower::{Service, ServiceExt};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::diagnosis::{self, Address, NotGrpc};
use crate::epoch::{Epoch, KRAKE_EPOCH};
use crate::fence::{Fence, KRAKE_FENCE, KRAKE_TICKET, is_read};

/// The header that tells the server how long the caller will wait.
const GRPC_TIMEOUT: &str = "grpc-timeout";
/// The W3C header that names the caller's span.
const TRACEPARENT: &str = "traceparent";
/// How much longer the server may work than the caller waits: so that the caller's own, clearer error comes first.
const SERVER_GRACE: Duration = Duration::from_millis(500);

/// The connection as generated clients see it: a [`Channel`] that gives unary calls a deadline and sends the current
/// span along. Cheap to clone.
#[derive(Clone)]
pub struct Transport {
    channel: Channel,
    /// What `channel` was made from; none of a channel that was made elsewhere.
    endpoint: Option<Endpoint>,
    /// Where the channel leads, for error texts.
    server: Arc<str>,
    /// The same for diagnoses; none of a channel that was made elsewhere.
    address: Option<Arc<Address>>,
    request_timeout: Duration,
    /// As which leader writes are sent.
    fence: Option<Fence>,
    /// The history that the last answer came from; `None` where each call names the one that it means.
    epoch: Option<Epoch>,
}

impl Transport {
    pub(crate) fn new(channel: Channel, server: &str, request_timeout: Duration) -> Self {
        Transport {
            channel,
            endpoint: None,
            server: server.into(),
            address: None,
            request_timeout,
            fence: None,
            epoch: Some(Epoch::default()),
        }
    }

    /// The same connection, with the address that it leads to and what it was made from.
    pub(crate) fn to(self, address: Option<Address>, endpoint: Endpoint) -> Self {
        Transport { address: address.map(Arc::new), endpoint: Some(endpoint), ..self }
    }

    /// The same server over a connection of its own, opened with its first call. A channel that was made elsewhere is
    /// shared.
    pub fn on_new_connection(&self) -> Self {
        let channel = self.endpoint.as_ref().map_or_else(|| self.channel.clone(), Endpoint::connect_lazy);
        Transport { channel, ..self.clone() }
    }

    /// The same connection, whose writes carry no epoch but the one that a call names itself (metadata `krake-epoch`).
    /// For programs that write on behalf of others, who read at other times.
    pub fn without_epoch(&self) -> Self {
        Transport { epoch: None, ..self.clone() }
    }

    pub(crate) fn address(&self) -> Option<&Address> {
        self.address.as_deref()
    }

    /// The same connection, for a leader's writes.
    pub(crate) fn fenced(&self, fence: Fence) -> Self {
        Transport { fence: Some(fence), ..self.clone() }
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Service<Request<Body>> for Transport {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // Readiness of the channel is awaited inside the call, where the deadline covers it.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let deadline = deadline(&request, self.request_timeout);
        if let Some(deadline) = deadline {
            request.headers_mut().insert(GRPC_TIMEOUT, timeout_header(deadline + SERVER_GRACE));
        }
        if let Some(traceparent) = traceparent() {
            request.headers_mut().insert(TRACEPARENT, traceparent);
        }
        let writes = is_unary_write(&request);
        let fence = match self.fence.as_ref().filter(|_| writes) {
            None => None,
            Some(fence) => match fence.headers() {
                Ok(headers) => {
                    request.headers_mut().insert(KRAKE_FENCE, headers.fence);
                    request.headers_mut().insert(KRAKE_TICKET, headers.ticket);
                    Some((fence.clone(), headers.revision))
                }
                Err(refused) => return Box::pin(std::future::ready(Err(refused))),
            },
        };
        if let Some(epoch) = self.epoch.as_ref().filter(|_| writes).and_then(Epoch::known) {
            request.headers_mut().insert(KRAKE_EPOCH, epoch);
        }
        let epoch = self.epoch.clone();
        let (server, address) = (self.server.clone(), self.address.clone());
        let answer = self.channel.clone().oneshot(request);
        Box::pin(async move {
            let answer = match deadline {
                None => answer.await,
                Some(deadline) => match tokio::time::timeout(deadline, answer).await {
                    Ok(answer) => answer,
                    Err(_) => {
                        let text = format!("{server} did not answer within {} s", deadline.as_secs_f64());
                        return Err(Status::deadline_exceeded(text));
                    }
                },
            };
            let answer = answer.map_err(|error| unreachable_server(&server, address.as_deref(), error))?;
            if let Some(refused) = not_grpc(&server, address.as_deref(), &answer) {
                return Err(refused);
            }
            if let Some(epoch) = epoch {
                epoch.learn(answer.headers());
            }
            if let Some((fence, revision)) = fence
                && is_fenced(&answer)
            {
                fence.refuse(revision);
            }
            Ok(answer)
        })
    }
}

fn is_unary_write(request: &Request<Body>) -> bool {
    request.uri().path().rsplit('/').next().is_some_and(|method| !is_streaming(method) && !is_read(method))
}

/// Whether a write was refused because another holder leads. Refusals have no body, so their status is in the headers.
fn is_fenced(answer: &Response<Body>) -> bool {
    let status = Status::from_header_map(answer.headers());
    status.is_some_and(|status| krake_proto::error::reason(&status) == Some(ErrorReason::Fenced))
}

/// How long to wait for the answer: streams live on, and a timeout that the caller chose is left to the channel.
fn deadline(request: &Request<Body>, request_timeout: Duration) -> Option<Duration> {
    let streaming = request.uri().path().rsplit('/').next().is_some_and(is_streaming);
    (!streaming && !request.headers().contains_key(GRPC_TIMEOUT)).then_some(request_timeout)
}

/// Whether an RPC of the Krake API is a stream, by its name.
fn is_streaming(method: &str) -> bool {
    method.starts_with("Watch") || method == "Campaign"
}

/// The value of `grpc-timeout`: at most eight digits and a unit.
fn timeout_header(timeout: Duration) -> HeaderValue {
    let millis = timeout.as_millis();
    let text = if millis <= 99_999_999 {
        format!("{millis}m")
    } else {
        format!("{}S", timeout.as_secs().min(99_999_999))
    };
    HeaderValue::try_from(text).expect("digits and a letter are a header value")
}

/// The current span as a W3C `traceparent`; none when no tracer is installed.
fn traceparent() -> Option<HeaderValue> {
    let context = tracing::Span::current().context();
    let span = context.span();
    let span = span.span_context();
    if !span.is_valid() {
        return None;
    }
    let text = format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8());
    HeaderValue::try_from(text).ok()
}

/// A status for a request that got no answer, with the server and what is wrong in its text.
fn unreachable_server(server: &str, address: Option<&Address>, error: tonic::transport::Error) -> Status {
    let diagnosis = address.and_then(|address| diagnosis::by_error(address, &error));
    let problem = diagnosis.map_or_else(|| root_cause(&error), |diagnosis| diagnosis.to_string());
    let error = Arc::new(error);
    let status = Status::from_error(Box::new(error.clone()));
    // What the transport cannot classify is a broken connection.
    let code = if status.code() == Code::Unknown { Code::Unavailable } else { status.code() };
    with_source(Status::new(code, format!("cannot reach {server}: {problem}")), error)
}

/// A status for an HTTP answer that does not come from a gRPC server, as from a REST gateway or a proxy.
fn not_grpc(server: &str, address: Option<&Address>, answer: &Response<Body>) -> Option<Status> {
    let content_type = answer.headers().get(http::header::CONTENT_TYPE);
    let content_type = content_type.map_or("", |value| value.to_str().unwrap_or("?")).to_owned();
    // A server that knows the status of the call is one of gRPC, whatever it says of the body.
    if content_type.starts_with("application/grpc") || answer.headers().contains_key("grpc-status") {
        return None;
    }
    let code = code_of_http(answer.status());
    let error = NotGrpc { status: answer.status().as_u16(), content_type };
    let diagnosis = address.and_then(|address| diagnosis::by_error(address, &error));
    let problem = diagnosis.map_or_else(|| error.to_string(), |diagnosis| diagnosis.to_string());
    Some(with_source(Status::new(code, format!("cannot reach {server}: {problem}")), Arc::new(error)))
}

fn with_source(mut status: Status, source: Arc<dyn std::error::Error + Send + Sync>) -> Status {
    status.set_source(source);
    status
}

/// The code that gRPC assigns to an HTTP status without a gRPC status.
fn code_of_http(status: http::StatusCode) -> Code {
    match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 | 405 => Code::Unimplemented,
        429 | 502..=504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_rule_holds_for_every_rpc_of_the_api() {
        for service in krake_proto::POOL.services().filter(|s| s.full_name().starts_with("krake.")) {
            for method in service.methods() {
                let streams = method.is_server_streaming() || method.is_client_streaming();
                assert_eq!(is_streaming(method.name()), streams, "{}", method.full_name());
            }
        }
    }

    #[test]
    fn unary_calls_get_a_deadline_unless_they_have_one() {
        let request = |path: &str| Request::builder().uri(path).body(Body::empty()).unwrap();
        let limit = Duration::from_secs(30);
        assert_eq!(deadline(&request("/krake.x/GetApplication"), limit), Some(limit));
        assert_eq!(deadline(&request("/krake.x/WatchApplications"), limit), None);
        let mut chosen = request("/krake.x/GetApplication");
        chosen.headers_mut().insert(GRPC_TIMEOUT, timeout_header(Duration::from_secs(1)));
        assert_eq!(deadline(&chosen, limit), None);
    }

    #[test]
    fn timeouts_fit_the_header() {
        assert_eq!(timeout_header(Duration::from_millis(30_500)), "30500m");
        assert_eq!(timeout_header(Duration::from_secs(100_000)), "100000S");
        assert_eq!(timeout_header(Duration::MAX), "99999999S");
    }
}
