//! Watches: the state service's stream, written as it comes, with signs of life between.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, StatusCode, header};
use krake_proto::envelope::{WatchRequest, WatchResponse, WatchStart};
use krake_runtime::shutdown::Shutdown;
use prost::Message;
use prost_reflect::{MessageDescriptor, MethodDescriptor};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};
use tonic::Streaming;

use crate::answer;
use crate::frame::{Form, last_event};
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::target::Target;

/// The header by which browsers go on with a stream of events.
const LAST_EVENT_ID: &str = "last-event-id";

/// A watch that is open: nothing that happens from here on is missed.
pub(crate) struct Opened {
    stream: Streaming<Bytes>,
    first: Option<WatchResponse>,
}

impl Opened {
    /// Opens a watch and waits for its first message, which the state service sends at once.
    pub(crate) async fn open(
        target: &Target,
        rpc: &MethodDescriptor,
        request: &WatchRequest,
    ) -> Result<Self, Problem> {
        let open = async {
            let mut stream = target.caller.stream(rpc, request).await?;
            let first = stream.message().await?;
            Ok((stream, first))
        };
        let (stream, first) = match timeout(target.caller.timeout(), open).await {
            Ok(opened) => opened.map_err(|status| target.problem(&status))?,
            Err(_) => {
                return Err(Problem::new(
                    StatusCode::GATEWAY_TIMEOUT,
                    "The state service did not answer in time.",
                ));
            }
        };
        let first = first.map(WatchResponse::decode).transpose().map_err(answer::garbled)?;
        Ok(Opened { stream, first })
    }

    /// The next message; none at the end.
    pub(crate) async fn next(&mut self, target: &Target) -> Result<Option<WatchResponse>, Problem> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let message = self.stream.message().await.map_err(|status| target.problem(&status))?;
        message.map(WatchResponse::decode).transpose().map_err(answer::garbled)
    }
}

/// `GET …?watch`: the answer begins once nothing can be missed any more.
pub(crate) async fn watch(
    target: Target,
    rpc: &MethodDescriptor,
    headers: &HeaderMap,
    parameters: &Parameters,
    documentation: &str,
    shutdown: Shutdown,
) -> Result<Response, Problem> {
    let form = Form::accepted(headers);
    let pause = parameters.heartbeat()?;
    let request = request(&target, headers, parameters)?;
    let opened = Opened::open(&target, rpc, &request).await?;
    let feed = Feed {
        opened,
        descriptor: target.descriptor(),
        target,
        form,
        heartbeat: pause.map(heartbeat),
        documentation: documentation.to_owned(),
        shutdown,
    };
    let chunks = stream::unfold(Some(feed), |feed| async {
        let mut feed = feed?;
        match feed.next().await {
            Ok(chunk) => Some((Ok::<_, Infallible>(chunk), Some(feed))),
            Err(last) => Some((Ok(last), None)),
        }
    });
    let headers = [(header::CONTENT_TYPE, form.content_type()), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

/// Where the watch begins: now, as upstream's does, or after what the client has read already.
fn request(target: &Target, headers: &HeaderMap, parameters: &Parameters) -> Result<WatchRequest, Problem> {
    let mut epoch = parameters.get("epoch").unwrap_or_default().to_owned();
    let mut after = parameters.revision("resource_version")?;
    if let Some(id) = headers.get(LAST_EVENT_ID) {
        let (revision, history) = id.to_str().ok().and_then(last_event).ok_or_else(|| {
            Problem::new(StatusCode::BAD_REQUEST, "Last-Event-ID: not the id of an event of this watch")
        })?;
        after = Some(revision);
        epoch = history.to_owned();
    }
    Ok(WatchRequest {
        namespace: target.namespace.clone(),
        label_selector: parameters.get("label_selector").unwrap_or_default().to_owned(),
        start: Some(after.map_or(WatchStart::Now(true), WatchStart::After)),
        epoch,
        ..Default::default()
    })
}

fn heartbeat(pause: Duration) -> Interval {
    let mut interval = interval_at(Instant::now() + pause, pause);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// A watch being written.
struct Feed {
    opened: Opened,
    target: Target,
    descriptor: MessageDescriptor,
    form: Form,
    heartbeat: Option<Interval>,
    documentation: String,
    shutdown: Shutdown,
}

impl Feed {
    /// What is to be written next, or last.
    async fn next(&mut self) -> Result<Bytes, Bytes> {
        loop {
            let message = tokio::select! {
                message = self.opened.next(&self.target) => message,
                () = tick(&mut self.heartbeat) => return Ok(Bytes::from_static(self.form.heartbeat())),
                () = self.shutdown.requested() => return Err(Bytes::new()),
            };
            let written = match message {
                Ok(Some(message)) => self.form.message(&self.descriptor, &message).map_err(answer::garbled),
                Ok(None) => return Err(Bytes::new()),
                Err(problem) => Err(problem),
            };
            match written {
                // A bookmark: nothing to say.
                Ok(chunk) if chunk.is_empty() => {}
                Ok(chunk) => return Ok(chunk.into()),
                Err(problem) => return Err(self.form.end(&problem, &self.documentation).into()),
            }
        }
    }
}

async fn tick(heartbeat: &mut Option<Interval>) {
    match heartbeat {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}
