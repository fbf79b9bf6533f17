//! Calls to the state service by descriptor, with encoded messages and the caller's credentials.

#[cfg(test)]
mod broken;
#[cfg(test)]
mod huge_headers;
#[cfg(test)]
mod time_limits;
#[cfg(test)]
mod unread;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use krake_client::{Client, Transport, is_read};
use krake_proto::codec::RawCodec;
use krake_proto::error;
use prost::Message;
use prost_reflect::MethodDescriptor;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tonic::client::Grpc;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{ConnectError, Request, Status, Streaming};

use crate::gateway::Options;
use crate::headers::single;
use crate::problem::Problem;

/// Maximum size of a message in bytes: pages are cut at 2 MiB, one object may be larger.
const MESSAGE_LIMIT: usize = 16 << 20;
/// Time limit of a call if the caller sets none: as the SDK's.
const DEFAULT_CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time limit that a caller can set: more would only hold connections open.
const MAX_REQUEST_TIMEOUT: Duration = Duration::from_secs(300);
/// How much longer the state service may work than the gateway waits, so that the gateway's own error comes first.
const SERVER_GRACE: Duration = Duration::from_millis(500);
/// Maximum number of reads that are repeated at the same time, each on a connection of its own: far below the number of
/// connections that the state service accepts from one address.
const MAX_REPEATED_READS: usize = 16;

/// Maximum size of the headers that are passed on, in bytes as HTTP/2 counts them: the state service takes 16 KiB, and
/// those of the call itself are below 1 KiB.
const MAX_PASSED_ON_BYTES: usize = 15 << 10;
/// What HTTP/2 counts for a header beside its name and value, in bytes.
const HEADER_FRAME_BYTES: usize = 32;

/// Header by which a caller limits the time until the answer begins, in seconds.
const REQUEST_TIMEOUT: &str = "X-Request-Timeout";
/// Metadata that names a history of the store: in answers the present one, in writes that of their preconditions.
const KRAKE_EPOCH: &str = "krake-epoch";
/// Headers that are passed on unchanged.
const PASSED_ON: [HeaderName; 4] = [
    header::AUTHORIZATION,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-request-id"),
];

/// The connections to the state service that all callers share.
#[derive(Clone)]
pub(crate) struct StateService {
    /// For calls with one answer.
    transport: Transport,
    /// For watches: a connection serves a limited number of streams, and further calls on it wait for the end of one.
    watches: Transport,
    /// Places for watches.
    watch_places: Arc<Semaphore>,
    /// Maximum silence of a watch, see [`Options::watch_silence`](crate::Options::watch_silence).
    pub(crate) watch_silence: Duration,
    /// Places for reads that are repeated.
    repeated_reads: Arc<Semaphore>,
}

impl StateService {
    /// Callers read at different times, so that no write may carry what another caller has read.
    pub(crate) fn new(client: &Client, options: &Options) -> Self {
        let transport = client.transport().without_epoch();
        StateService {
            watches: transport.on_new_connection(),
            transport,
            watch_places: Arc::new(Semaphore::new(options.max_watches)),
            watch_silence: options.watch_silence,
            repeated_reads: Arc::new(Semaphore::new(MAX_REPEATED_READS)),
        }
    }
}

/// One caller's way to the state service.
#[derive(Clone)]
pub(crate) struct Caller {
    state: StateService,
    metadata: MetadataMap,
    limit: Option<TimeLimit>,
}

/// The time limit that a caller has set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeLimit {
    /// When the answer must have begun.
    pub(crate) deadline: Instant,
    /// The same as the time from the request on.
    pub(crate) length: Duration,
}

/// An answer of the state service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The encoded message.
    pub(crate) message: Bytes,
    /// The history of the store that it was read in; empty from a state service that does not name it.
    pub(crate) epoch: String,
}

impl Caller {
    /// The caller who sent a request with these headers.
    ///
    /// # Errors
    /// When `X-Request-Timeout` is not a time, or it or a header that says who calls was sent more than once; 431 when the
    /// headers that are passed on are too large.
    pub(crate) fn new(state: StateService, headers: &HeaderMap) -> Result<Self, Problem> {
        for name in ["Authorization", "X-Request-Id"] {
            single(headers, name)?;
        }
        let metadata = MetadataMap::from_headers(passed_on(headers)?);
        Ok(Caller { state, metadata, limit: time_limit(headers)? })
    }

    /// A caller who sends no headers: the gateway itself.
    pub(crate) fn anonymous(state: StateService) -> Self {
        Caller { state, metadata: MetadataMap::new(), limit: None }
    }

    /// The time limit of the request, if the caller has set one.
    pub(crate) fn limit(&self) -> Option<TimeLimit> {
        self.limit
    }

    /// Time limit of one call.
    pub(crate) fn timeout(&self) -> Duration {
        self.limit.map_or(DEFAULT_CALL_TIMEOUT, |limit| limit.length)
    }

    /// Maximum silence of a watch.
    pub(crate) fn watch_silence(&self) -> Duration {
        self.state.watch_silence
    }

    /// Calls a method; request and answer are its encoded messages.
    pub(crate) async fn unary(
        &self,
        rpc: &MethodDescriptor,
        request: &impl Message,
    ) -> Result<Reply, Status> {
        self.unary_in(rpc, request, "").await
    }

    /// Calls a method with preconditions that were read in the history `epoch`; empty if that is not known.
    pub(crate) async fn unary_in(
        &self,
        rpc: &MethodDescriptor,
        request: &impl Message,
        epoch: &str,
    ) -> Result<Reply, Status> {
        let mut metadata = self.metadata.clone();
        if !epoch.is_empty() {
            let epoch = MetadataValue::try_from(epoch);
            metadata
                .insert(KRAKE_EPOCH, epoch.map_err(|_| Status::internal("the epoch is not a header value"))?);
        }
        let call = Unary { rpc, metadata, message: request.encode_to_vec().into(), timeout: self.timeout() };
        let answer = timeout(self.timeout(), self.unary_with_retry(&call)).await;
        let answer = answer
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("the state service did not answer in time")));
        answer.inspect_err(|status| {
            if error::reason(status).is_none() {
                // Callers do not see the text, which may name an inner address.
                tracing::info!(rpc = rpc.full_name(), %status, "a call to the state service failed");
            }
        })
    }

    /// Makes a call, and a read twice if its connection breaks: the cause is usually another call on that connection.
    /// The second attempt has a connection of its own, so that an answer which breaks connections breaks no other call.
    /// There is none where too many reads are being repeated: waiting for a place would use up the call's time.
    async fn unary_with_retry(&self, call: &Unary<'_>) -> Result<Reply, Status> {
        let first = call.make(self.state.transport.clone()).await;
        match first {
            Err(status) if is_broken(&status) && is_read(call.rpc.name()) => {
                let Ok(_place) = self.state.repeated_reads.try_acquire() else { return Err(status) };
                call.make(self.state.transport.on_new_connection()).await
            }
            first => first,
        }
    }

    /// Takes a place for a watch, which is free again when it is dropped.
    ///
    /// # Errors
    /// 429 if all places are taken.
    pub(crate) fn watch_place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.state.watch_places.clone().try_acquire_owned().map_err(|_| {
            let text = "This gateway serves as many watches as it can: end some, or use another gateway.";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, text)
        })
    }

    /// Opens a watch, on the connection of watches.
    pub(crate) async fn stream(
        &self,
        rpc: &MethodDescriptor,
        request: &impl Message,
    ) -> Result<Streaming<Bytes>, Status> {
        let request = with_metadata(request.encode_to_vec().into(), self.metadata.clone());
        let mut grpc = grpc(self.state.watches.clone());
        grpc.ready().await?;
        Ok(grpc.server_streaming(request, path(rpc)?, RawCodec).await?.into_inner())
    }
}

/// A call with one answer, which can be made several times.
struct Unary<'c> {
    rpc: &'c MethodDescriptor,
    metadata: MetadataMap,
    message: Bytes,
    timeout: Duration,
}

impl Unary<'_> {
    async fn make(&self, transport: Transport) -> Result<Reply, Status> {
        let mut request = with_metadata(self.message.clone(), self.metadata.clone());
        request.set_timeout(self.timeout + SERVER_GRACE);
        let mut grpc = grpc(transport);
        grpc.ready().await?;
        let answer = grpc.unary(request, path(self.rpc)?, RawCodec).await?;
        let epoch = answer.metadata().get(KRAKE_EPOCH).and_then(|epoch| epoch.to_str().ok());
        let epoch = epoch.unwrap_or_default().to_owned();
        Ok(Reply { message: answer.into_inner(), epoch })
    }
}

/// Whether the connection could not be made, so that the call was not sent.
pub(crate) fn is_unsent(status: &Status) -> bool {
    let causes = std::iter::successors(std::error::Error::source(status), |cause| cause.source());
    causes.into_iter().any(|cause| cause.is::<ConnectError>())
}

/// Whether the connection broke before the answer was whole, or the answer did not come from a state service: the call
/// may have taken effect. The codes that such errors are mapped to would blame the caller or the state service.
pub(crate) fn is_broken(status: &Status) -> bool {
    std::error::Error::source(status).is_some() && !is_unsent(status)
}

fn grpc(transport: Transport) -> Grpc<Transport> {
    Grpc::new(transport).max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT)
}

fn with_metadata(message: Bytes, metadata: MetadataMap) -> Request<Bytes> {
    let mut request = Request::new(message);
    *request.metadata_mut() = metadata;
    request
}

/// The time limit of `X-Request-Timeout`: seconds, with or without a fraction.
fn time_limit(headers: &HeaderMap) -> Result<Option<TimeLimit>, Problem> {
    let Some(value) = single(headers, REQUEST_TIMEOUT)? else { return Ok(None) };
    let seconds = value.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok());
    let seconds = seconds
        .filter(|seconds| *seconds > 0.0)
        .ok_or_else(|| Problem::header(REQUEST_TIMEOUT, "Must be a number of seconds greater than 0."))?;
    let length = Duration::from_secs_f64(seconds.min(MAX_REQUEST_TIMEOUT.as_secs_f64()));
    Ok(Some(TimeLimit { deadline: Instant::now() + length, length }))
}

fn path(rpc: &MethodDescriptor) -> Result<PathAndQuery, Status> {
    let path = format!("/{}/{}", rpc.parent_service().full_name(), rpc.name());
    path.parse().map_err(|_| Status::internal(format!("{path} is not a path")))
}

/// The headers of a request that are passed on to the state service.
///
/// # Errors
/// When it would not take them.
fn passed_on(headers: &HeaderMap) -> Result<HeaderMap, Problem> {
    let named =
        PASSED_ON.into_iter().filter_map(|name| headers.get(&name).map(|value| (name, value.clone())));
    let passed_on: HeaderMap = named.collect();
    let bytes =
        |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + HEADER_FRAME_BYTES;
    if passed_on.iter().map(bytes).sum::<usize>() <= MAX_PASSED_ON_BYTES {
        return Ok(passed_on);
    }
    let text = format!(
        "Authorization, X-Request-Id, traceparent and tracestate take more than {} KiB together.",
        MAX_PASSED_ON_BYTES >> 10
    );
    Err(Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_passed_on_up_to_what_the_state_service_takes() {
        let all = |size: usize| {
            let value = HeaderValue::try_from("x".repeat(size)).unwrap();
            let headers: HeaderMap =
                PASSED_ON.into_iter().chain([header::COOKIE]).map(|name| (name, value.clone())).collect();
            passed_on(&headers).map(|headers| headers.len()).map_err(|problem| problem.status.as_u16())
        };
        assert_eq!(all(10), Ok(4), "others stay here");
        let room =
            (MAX_PASSED_ON_BYTES - PASSED_ON.iter().map(|name| name.as_str().len() + 32).sum::<usize>()) / 4;
        assert_eq!((all(room), all(room + 1)), (Ok(4), Err(431)));
    }

    const NAME: HeaderName = HeaderName::from_static("x-request-timeout");

    #[test]
    fn callers_limit_the_time_in_seconds() {
        let limit = |text: &str| {
            let headers: HeaderMap = [(NAME, text.parse().unwrap())].into_iter().collect();
            time_limit(&headers).map(|limit| limit.map(|limit| limit.length))
        };
        assert_eq!(time_limit(&HeaderMap::new()), Ok(None));
        let twice = [(NAME, "1".parse().unwrap()), (NAME, "2".parse().unwrap())];
        assert_eq!(time_limit(&twice.into_iter().collect()).unwrap_err().status.as_u16(), 422);
        assert_eq!(limit("1.5"), Ok(Some(Duration::from_millis(1500))));
        for long in ["100000", "1e300", "inf"] {
            assert_eq!(limit(long), Ok(Some(MAX_REQUEST_TIMEOUT)), "{long}");
        }
        for wrong in ["", "x", "-1", "-0.5", "0", "NaN", "5s", "-inf"] {
            let problem = limit(wrong).unwrap_err();
            assert_eq!(problem.status.as_u16(), 422, "{wrong:?}");
            assert!(problem.detail.contains("X-Request-Timeout"), "{}", problem.detail);
        }
    }
}
