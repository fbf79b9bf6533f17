//! Watches: the stream of the state service as it comes, heartbeats between, and a last event with the reason of the
//! end.

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

use crate::frame::Form;
use crate::headers::single;
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::target::Target;
use crate::upstream::Upstream;
use crate::version::Version;

/// Header by which browsers resume a stream of events.
const LAST_EVENT_ID: &str = "Last-Event-ID";

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

/// The start of the watch: now, as upstream's, or after the revision that the client has read.
fn request(target: &Target, headers: &HeaderMap, parameters: &Parameters) -> Result<WatchRequest, Problem> {
    let mut epoch = parameters.get("epoch").unwrap_or_default().to_owned();
    let mut after = parameters.revision("resource_version")?;
    if let Some(id) = single(headers, LAST_EVENT_ID)? {
        let version = id.to_str().ok().and_then(Version::parse).ok_or_else(|| {
            Problem::new(StatusCode::BAD_REQUEST, "Last-Event-ID: not the id of an event of this watch")
        })?;
        after = Some(version.revision);
        epoch = version.epoch;
    }
    Ok(WatchRequest {
        namespace: target.namespace.clone(),
        label_selector: parameters.get("label_selector").unwrap_or_default().to_owned(),
        start: Some(after.map_or(WatchStart::Now(true), WatchStart::After)),
        epoch,
        live_state: true,
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
    /// Returns the next chunk, or as an error the last one.
    async fn next(&mut self) -> Result<Bytes, Bytes> {
        loop {
            let message = tokio::select! {
                message = self.upstream.next() => message,
                () = tick(&mut self.heartbeat) => return Ok(Bytes::from_static(self.form.heartbeat())),
                () = self.shutdown.requested() => {
                    let text = "The gateway is shutting down: watch again from resource_version.";
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
                Err(problem) => {
                    // After a gap there is no place to resume from.
                    let place = self.upstream.version().filter(|_| problem.status != StatusCode::GONE);
                    return Err(self.form.end(&problem, &self.documentation, place.as_ref()).into());
                }
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
