//! Watches: what the state service streams, written as it comes, with signs of life between, and a last word why it ends.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, StatusCode, header};
use krake_proto::envelope::{WatchRequest, WatchStart};
use krake_runtime::shutdown::Shutdown;
use prost_reflect::{MessageDescriptor, MethodDescriptor};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::frame::{Form, last_event};
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::target::Target;
use crate::upstream::Upstream;

/// The header by which browsers go on with a stream of events.
const LAST_EVENT_ID: &str = "last-event-id";

/// `GET …?watch`: the answer begins once nothing can be missed any more.
pub(crate) async fn watch(
    target: Arc<Target>,
    rpc: MethodDescriptor,
    headers: &HeaderMap,
    parameters: &Parameters,
    documentation: &str,
    shutdown: Shutdown,
) -> Result<Response, Problem> {
    let form = Form::accepted(headers);
    let pause = parameters.heartbeat()?;
    let request = request(&target, headers, parameters)?;
    let descriptor = target.descriptor();
    let feed = Feed {
        upstream: Upstream::open(target, rpc, request).await?,
        descriptor,
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
    upstream: Upstream,
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
                message = self.upstream.next() => message,
                () = tick(&mut self.heartbeat) => return Ok(Bytes::from_static(self.form.heartbeat())),
                () = self.shutdown.requested() => {
                    let text = "The gateway shuts down: watch again from the last resource_version.";
                    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, text))
                }
            };
            match message {
                Ok(message) => {
                    let chunk = self.form.message(&self.descriptor, &message);
                    // Nothing for a bookmark.
                    if !chunk.is_empty() {
                        return Ok(chunk.into());
                    }
                }
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
