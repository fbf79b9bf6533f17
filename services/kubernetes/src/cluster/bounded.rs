//! Bounds on what a cluster may answer: bytes, and time without progress, before anything of it is parsed.
//!
//! One layer around the HTTP service of every connection. [`limits`] decides which bounds a call has, [`body`]
//! applies them while the answer arrives. An answer beyond its bounds ends its call with an [`AnswerError`], and
//! closes the connection that it came over. The body of an error is passed on only if it is a Kubernetes `Status`;
//! redirects are not followed.

pub(crate) mod body;
pub(crate) mod limits;
pub(crate) mod status;

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Body as _;
use kube::Client;
use kube::client::Body;
use tokio::sync::Semaphore;
use tower::BoxError;

use crate::cluster::connection::Deadlines;
use crate::cluster::warnings::Warnings;
use body::BoundedBody;
use limits::{Call, Limits};

/// An answer that is outside its bounds, or not one of a Kubernetes API. Quotes nothing that the server sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnswerError {
    /// More bytes than the call may be answered with.
    #[error("its answer is larger than {limit} MiB")]
    TooLarge {
        /// The bound, in MiB.
        limit: usize,
    },
    /// One line of a watch has more bytes than allowed.
    #[error("one event of its watch is larger than {limit} MiB")]
    LineTooLong {
        /// The bound, in MiB.
        limit: usize,
    },
    /// The elements of the answer would take more memory than allowed once it is parsed.
    #[error("its answer has too many elements")]
    TooManyElements,
    /// Nothing arrived for a while.
    #[error("its answer stopped for {seconds} s before it was complete")]
    Stalled {
        /// Seconds without a byte.
        seconds: u64,
    },
    /// Bytes arrived, but not the whole in time.
    #[error("its answer was not complete within {seconds} s")]
    TooSlow {
        /// Seconds since the request.
        seconds: u64,
    },
    /// The server did not begin to answer.
    #[error("no answer within {seconds} s")]
    NoAnswer {
        /// Seconds since the request.
        seconds: u64,
    },
    /// The server points elsewhere (3xx).
    #[error("it answers with a redirect (HTTP {code}), which Krake does not follow")]
    Redirect {
        /// The HTTP status code.
        code: u16,
    },
}

impl AnswerError {
    /// The one that a client's error comes from.
    pub(crate) fn behind(error: &kube::Error) -> Option<&AnswerError> {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(error) = cause {
            if let Some(answer) = error.downcast_ref() {
                return Some(answer);
            }
            cause = error.source();
        }
        None
    }

    /// Whether asking for less at a time can help.
    pub(crate) fn is_size(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::TooManyElements)
    }
}

/// The bounds of one connection.
#[derive(Clone, Debug)]
struct Bounds {
    deadlines: Deadlines,
    /// The place of the one large answer that may be held in memory at a time.
    large: Arc<Semaphore>,
}

/// The same client with bounded answers. Must be called inside a Tokio runtime.
pub(crate) fn bounded(client: Client, deadlines: Deadlines) -> Client {
    let default_namespace = client.default_namespace().to_owned();
    let bounds = Bounds { deadlines, large: Arc::new(Semaphore::new(1)) };
    let service = tower::service_fn(move |request| send(client.clone(), bounds.clone(), request));
    Client::new(service, default_namespace)
}

/// Sends a request and hands out its answer under the bounds of its call.
async fn send(
    client: Client,
    bounds: Bounds,
    request: Request<Body>,
) -> Result<Response<BoundedBody>, BoxError> {
    let call = Call::of(request.uri());
    let warnings = request.extensions().get::<Warnings>().cloned();
    let limits = Limits::of(call, &bounds.deadlines);
    let answer = match limits.begin {
        Some(begin) => tokio::time::timeout(begin, client.send(request))
            .await
            .map_err(|_| AnswerError::NoAnswer { seconds: begin.as_secs() })?,
        None => client.send(request).await,
    };
    let (mut parts, body) = answer?.into_parts();
    if let Some(warnings) = warnings {
        warnings.take_from(&parts.headers);
    }
    if parts.status.is_redirection() {
        return Err(AnswerError::Redirect { code: parts.status.as_u16() }.into());
    }
    if parts.status.is_client_error() || parts.status.is_server_error() {
        let limits = Limits::of(Call::Error, &bounds.deadlines);
        let status = status::read(parts.status, BoundedBody::new(body, limits, bounds.large)).await;
        parts.headers.remove(http::header::CONTENT_LENGTH);
        return Ok(Response::from_parts(parts, BoundedBody::whole(status)));
    }
    // A length that is declared is not worth waiting for.
    limits.check_declared(body.size_hint().lower())?;
    Ok(Response::from_parts(parts, BoundedBody::new(body, limits, bounds.large)))
}

#[cfg(test)]
mod tests;
