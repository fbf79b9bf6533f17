//! Request bodies: read within limits of size and time, and as JSON.

use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use krake_proto::json::{self, ParseError};
use prost_reflect::{Kind, MessageDescriptor};
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::problem::Problem;
use crate::work;

/// Maximum size of a body in bytes: the JSON form of the largest object fits, large manifests apart.
pub(crate) const MAX_BODY: usize = 4 << 20;
/// The same for objects whose documents may be stored apart, 4 MiB of them.
pub(crate) const MAX_LARGE_BODY: usize = 8 << 20;
/// Bodies that are larger than [`MAX_BODY`] and read at the same time: 64 MiB in a process.
static LARGE_BODIES: Semaphore = Semaphore::const_new(8);
/// Maximum bytes of a larger body that are read and discarded, so that its sender can read the answer.
const MAX_DISCARDED: usize = 64 << 20;
/// Maximum memory in bytes that is allocated because of the header Content-Length alone, which may be false.
const MAX_FIRST_ALLOCATION: usize = 64 << 10;
/// Time for a body: 4 MiB over a slow link.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The body of a request, which holds a message of the API.
pub(crate) struct Parsed {
    /// The JSON form; its documents are strings that hold their text.
    value: Value,
    /// Size of the JSON text, in bytes.
    size: usize,
}

impl Parsed {
    /// Size of the JSON text, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The JSON form.
    pub(crate) fn into_value(self) -> Value {
        self.value
    }

    /// Works on the body, away from the I/O if it is large.
    pub(crate) async fn work<T: Send + 'static>(
        self,
        work: impl FnOnce(Value) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let Parsed { value, size } = self;
        work::run(size, || work(value)).await?
    }
}

/// Reads a body that holds the JSON form of a message.
///
/// # Errors
/// 413 if it is too large or has too many elements, 415 if it is no JSON (upstream's answer), 422 if it gives a member
/// twice or an integer that would be rounded, 408 if it does not come.
pub(crate) async fn json(
    headers: &HeaderMap,
    body: Body,
    descriptor: MessageDescriptor,
) -> Result<Parsed, Problem> {
    let limit = max_body(&descriptor);
    // Until it is parsed.
    let (bytes, _room) = match timeout(BODY_TIMEOUT, read(headers, body, limit)).await {
        Ok(bytes) => bytes?,
        Err(_) => return Err(Problem::plain(StatusCode::REQUEST_TIMEOUT)),
    };
    let size = bytes.len();
    let parsed = work::run(size, move || json::parse(&descriptor, &bytes)).await?;
    let value = parsed.map_err(|error| match error {
        ParseError::Syntax(_) => Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error.to_string()),
        ParseError::TooManyElements(_) => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
        ParseError::Inexact(violation) => Problem::invalid(vec![violation]),
    })?;
    Ok(Parsed { value, size })
}

/// The place of a large body among those that are read.
type Room = Option<SemaphorePermit<'static>>;

/// Maximum size of the body of a message.
fn max_body(descriptor: &MessageDescriptor) -> usize {
    let spec = descriptor.get_field_by_name("spec").map(|spec| spec.kind());
    let is_large =
        matches!(spec, Some(Kind::Message(spec)) if spec.get_field_by_name("manifest_set").is_some());
    if is_large { MAX_LARGE_BODY } else { MAX_BODY }
}

async fn read(headers: &HeaderMap, mut body: Body, limit: usize) -> Result<(Vec<u8>, Room), Problem> {
    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let expected = length.and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
    let mut bytes = Vec::with_capacity(expected.min(MAX_FIRST_ALLOCATION));
    let (mut seen, mut room) = (0, None);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            Problem::new(StatusCode::BAD_REQUEST, "The body ended before all of it had come.")
        })?;
        let Some(data) = frame.data_ref() else { continue };
        seen += data.len();
        if seen > MAX_BODY && seen <= limit && room.is_none() {
            // The semaphore is never closed.
            room = LARGE_BODIES.acquire().await.ok();
        }
        if seen <= limit {
            bytes.extend_from_slice(data);
        } else {
            bytes = Vec::new();
        }
        if seen > MAX_DISCARDED {
            break;
        }
    }
    if seen <= limit {
        return Ok((bytes, room));
    }
    let actual = length.unwrap_or(seen as u64);
    let detail = format!("Maximum request body size {limit} exceeded, actual body size {actual}");
    Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn status(body: impl Into<Body>) -> Result<Value, u16> {
        let metric = krake_proto::POOL.get_message_by_name("krake.core.v1.Metric").unwrap();
        let parsed = json(&HeaderMap::new(), body.into(), metric).await;
        parsed.map(|parsed| parsed.value).map_err(|problem| problem.status.as_u16())
    }

    #[tokio::test]
    async fn only_json_of_bounded_size_is_read() {
        let named = serde_json::json!({"metadata": {"name": "a"}});
        assert_eq!(status(named.to_string()).await, Ok(named));
        assert_eq!(status("").await, Err(415));
        assert_eq!(status(r#"{"a": [1"#).await, Err(415));
        assert_eq!(status("a=1").await, Err(415));
        assert_eq!(status("[".repeat(100_000)).await, Err(415), "nested too deeply");
        assert_eq!(status(" ".repeat(MAX_BODY) + "1").await, Err(413));
        let large = |spaces: usize| async move {
            let application =
                krake_proto::POOL.get_message_by_name("krake.kubernetes.v1.Application").unwrap();
            let body = " ".repeat(spaces) + "{}";
            json(&HeaderMap::new(), body.into(), application).await.is_ok()
        };
        assert!(large(MAX_BODY).await && large(MAX_LARGE_BODY - 2).await && !large(MAX_LARGE_BODY).await);
        assert_eq!(status(" ".repeat(10 << 20)).await, Err(413));
        let elements = format!(r#"{{"metadata":{{"owners":[{{}}{}]}}}}"#, ",{}".repeat(1_000_000));
        assert_eq!(status(elements).await, Err(413));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_given_up() {
        let never = Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
        assert_eq!(status(never).await, Err(408));
    }
}
