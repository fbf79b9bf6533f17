//! Calls to the state service by descriptor, with encoded messages and the caller's credentials.

#[cfg(test)]
mod huge_headers;

use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, header};
use krake_client::Transport;
use krake_proto::codec::RawCodec;
use prost::Message;
use prost_reflect::MethodDescriptor;
use tonic::client::Grpc;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status, Streaming};

/// The largest message that is taken: pages are cut at 2 MiB, one object may be larger.
const MESSAGE_LIMIT: usize = 16 << 20;
/// How long a call may take if the caller does not say.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The longest time that a caller may ask for.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(300);
/// Seconds that the caller will wait.
const REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("x-request-timeout");
/// What is passed on as it is.
const PASSED_ON: [HeaderName; 4] = [
    header::AUTHORIZATION,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-request-id"),
];

/// One caller's way to the state service.
#[derive(Clone)]
pub(crate) struct Caller {
    transport: Transport,
    metadata: MetadataMap,
    timeout: Duration,
}

impl Caller {
    /// The caller who sent a request with these headers.
    pub(crate) fn new(transport: Transport, headers: &HeaderMap) -> Self {
        let passed_on: HeaderMap = PASSED_ON
            .into_iter()
            .filter_map(|name| headers.get(&name).map(|value| (name, value.clone())))
            .collect();
        Caller { transport, metadata: MetadataMap::from_headers(passed_on), timeout: timeout(headers) }
    }

    /// How long the caller waits for an answer.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Calls a method; request and answer are its encoded messages.
    pub(crate) async fn unary(
        &self,
        rpc: &MethodDescriptor,
        request: &impl Message,
    ) -> Result<Bytes, Status> {
        let mut request = self.request(request);
        request.set_timeout(self.timeout);
        let mut grpc = self.grpc();
        grpc.ready().await?;
        Ok(grpc.unary(request, path(rpc)?, RawCodec).await?.into_inner())
    }

    /// Opens a stream of encoded messages.
    pub(crate) async fn stream(
        &self,
        rpc: &MethodDescriptor,
        request: &impl Message,
    ) -> Result<Streaming<Bytes>, Status> {
        let request = self.request(request);
        let mut grpc = self.grpc();
        grpc.ready().await?;
        Ok(grpc.server_streaming(request, path(rpc)?, RawCodec).await?.into_inner())
    }

    fn grpc(&self) -> Grpc<Transport> {
        Grpc::new(self.transport.clone())
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT)
    }

    fn request(&self, message: &impl Message) -> Request<Bytes> {
        let mut request = Request::new(Bytes::from(message.encode_to_vec()));
        *request.metadata_mut() = self.metadata.clone();
        request
    }
}

/// The time that the caller gives: whole or broken seconds.
fn timeout(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(REQUEST_TIMEOUT).and_then(|value| value.to_str().ok()?.parse::<f64>().ok());
    let asked = seconds.filter(|seconds| *seconds > 0.0).and_then(|s| Duration::try_from_secs_f64(s).ok());
    asked.map_or(TIMEOUT, |asked| asked.min(LONGEST_TIMEOUT))
}

fn path(rpc: &MethodDescriptor) -> Result<PathAndQuery, Status> {
    let path = format!("/{}/{}", rpc.parent_service().full_name(), rpc.name());
    path.parse().map_err(|_| Status::internal(format!("{path} is no path")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_say_how_long_they_wait() {
        let asked = |text: &str| {
            let headers: HeaderMap = [(REQUEST_TIMEOUT, text.parse().unwrap())].into_iter().collect();
            timeout(&headers)
        };
        assert_eq!(timeout(&HeaderMap::new()), TIMEOUT);
        assert_eq!(asked("1.5"), Duration::from_millis(1500));
        assert_eq!(asked("1e300"), TIMEOUT);
        assert_eq!(asked("100000"), LONGEST_TIMEOUT);
        for wrong in ["", "x", "-1", "0", "NaN"] {
            assert_eq!(asked(wrong), TIMEOUT, "{wrong:?}");
        }
    }
}
