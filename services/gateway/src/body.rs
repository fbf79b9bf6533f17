//! Request bodies: read within limits of size and time, and as JSON.

use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::time::timeout;

use crate::problem::Problem;

/// The largest body that is read, in bytes: room for the JSON form of the largest object.
pub(crate) const MAX_BODY: usize = 4 << 20;
/// How much of a larger body is thrown away, so that its sender gets to read the answer.
const MAX_DISCARDED: usize = 64 << 20;
/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The JSON value that a body holds.
///
/// # Errors
/// 413 if it is too large, 415 if it is no JSON (upstream's answer), 408 if it does not come.
pub(crate) async fn json(headers: &HeaderMap, body: Body) -> Result<Value, Problem> {
    let bytes = match timeout(BODY_TIMEOUT, read(headers, body)).await {
        Ok(bytes) => bytes?,
        Err(_) => return Err(Problem::plain(StatusCode::REQUEST_TIMEOUT)),
    };
    serde_json::from_slice(&bytes).map_err(|error| {
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("The body is not valid JSON: {error}"))
    })
}

async fn read(headers: &HeaderMap, mut body: Body) -> Result<Vec<u8>, Problem> {
    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let mut bytes = Vec::new();
    let mut seen = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            Problem::new(StatusCode::BAD_REQUEST, "The body ended before all of it had come.")
        })?;
        let Some(data) = frame.data_ref() else { continue };
        seen += data.len();
        if seen <= MAX_BODY {
            bytes.extend_from_slice(data);
        } else {
            bytes = Vec::new();
        }
        if seen > MAX_DISCARDED {
            break;
        }
    }
    if seen <= MAX_BODY {
        return Ok(bytes);
    }
    let actual = length.unwrap_or(seen as u64);
    let detail = format!("Maximum request body size {MAX_BODY} exceeded, actual body size {actual}");
    Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn status(body: impl Into<Body>) -> Result<Value, u16> {
        json(&HeaderMap::new(), body.into()).await.map_err(|problem| problem.status.as_u16())
    }

    #[tokio::test]
    async fn only_json_of_bounded_size_is_read() {
        assert_eq!(status(r#"{"a": [1]}"#).await, Ok(serde_json::json!({"a": [1]})));
        assert_eq!(status("").await, Err(415));
        assert_eq!(status(r#"{"a": [1"#).await, Err(415));
        assert_eq!(status("a=1").await, Err(415));
        assert_eq!(status("[".repeat(100_000)).await, Err(415), "nested too deeply");
        assert_eq!(status(" ".repeat(MAX_BODY) + "1").await, Err(413));
        assert_eq!(status(" ".repeat(10 << 20)).await, Err(413));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_given_up() {
        let never = Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
        assert_eq!(status(never).await, Err(408));
    }
}
