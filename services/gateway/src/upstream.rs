//! A watch on the state service that resumes by itself: when its stream breaks, another one continues after the last
//! whole revision, so that callers see neither a gap nor an end.

mod position;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::StatusCode;
use krake_client::Backoff;
use krake_proto::envelope::{WatchRequest, WatchResponse};
use prost::Message;
use prost_reflect::MethodDescriptor;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep, timeout, timeout_at};
use tonic::{Status, Streaming};

use crate::answer;
use crate::problem::Problem;
use crate::target::Target;
use crate::version::Version;
use position::{Next, Position};

/// An open watch: no later change is missed.
pub(crate) struct Upstream {
    target: Arc<Target>,
    rpc: MethodDescriptor,
    /// The caller's request; a resumed stream starts elsewhere.
    request: WatchRequest,
    position: Position,
    first: Option<WatchResponse>,
    connection: Connection,
    backoff: Backoff,
    _place: OwnedSemaphorePermit,
}

/// State of the stream. Kept between polls: a read that times out must not restart the opening.
enum Connection {
    Open { stream: Box<Streaming<Bytes>>, heard: Instant },
    Opening(BoxFuture<'static, Result<Streaming<Bytes>, Status>>),
    Pausing(Pin<Box<Sleep>>),
}

impl Upstream {
    /// Opens a watch and waits for its first message, which the state service sends at once.
    ///
    /// # Errors
    /// Any refusal of the state service: only a watch that was open resumes. 429 if too many are open.
    pub(crate) async fn open(
        target: Arc<Target>,
        rpc: MethodDescriptor,
        request: WatchRequest,
    ) -> Result<Self, Problem> {
        let place = target.caller.watch_place()?;
        let open = async {
            let mut stream = target.caller.stream(&rpc, &request).await?;
            let first = stream.message().await?;
            let first = first.ok_or_else(|| Status::unavailable("the state service ended the watch"))?;
            Ok((stream, first))
        };
        let (stream, first) = match timeout(target.caller.timeout(), open).await {
            Ok(opened) => opened.map_err(|status| target.problem(&status))?,
            Err(_) => {
                let text = "The state service did not answer in time.";
                return Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, text));
            }
        };
        let mut position = Position::new(&request);
        let first = WatchResponse::decode(first).map_err(answer::garbled)?;
        let first = position.take(first)?;
        let connection = Connection::Open { stream: Box::new(stream), heard: Instant::now() };
        let backoff = Backoff::default();
        Ok(Upstream {
            target,
            rpc,
            request,
            position,
            first: Some(first),
            connection,
            backoff,
            _place: place,
        })
    }

    /// The place to resume from: everything up to here was delivered. `None` before the first whole revision.
    pub(crate) fn version(&self) -> Option<Version> {
        self.position.version()
    }

    /// The next message. Cancel-safe.
    ///
    /// # Errors
    /// When the watch cannot continue without a gap; it has ended then.
    pub(crate) async fn next(&mut self) -> Result<WatchResponse, Problem> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        loop {
            let failed = match &mut self.connection {
                Connection::Pausing(pause) => {
                    pause.await;
                    self.connection = Connection::Opening(self.reopen());
                    continue;
                }
                Connection::Opening(opening) => match opening.await {
                    Ok(stream) => {
                        self.connection =
                            Connection::Open { stream: Box::new(stream), heard: Instant::now() };
                        continue;
                    }
                    Err(status) => status,
                },
                Connection::Open { stream, heard } => {
                    let silence = self.target.caller.watch_silence();
                    match timeout_at(*heard + silence, stream.message()).await {
                        Ok(Ok(Some(message))) => {
                            *heard = Instant::now();
                            return self.deliver(message);
                        }
                        Ok(Ok(None)) => Status::unavailable("the state service ended the watch"),
                        Ok(Err(status)) => status,
                        Err(_) => Status::deadline_exceeded(format!(
                            "the state service sent nothing for {silence:?}"
                        )),
                    }
                }
            };
            self.interrupted(&failed)?;
        }
    }

    fn deliver(&mut self, message: Bytes) -> Result<WatchResponse, Problem> {
        let message = WatchResponse::decode(message).map_err(answer::garbled)?;
        if !message.partial {
            self.backoff.reset();
        }
        self.position.take(message)
    }

    /// Opens another stream after a pause, unless that cannot help.
    fn interrupted(&mut self, status: &Status) -> Result<(), Problem> {
        if self.position.interrupted(status) == Next::End {
            return Err(self.target.problem(status));
        }
        let rpc = self.rpc.name();
        tracing::info!(rpc, %status, "a watch was interrupted: it resumes");
        let pause = self.backoff.next(rand::random());
        self.connection = Connection::Pausing(Box::pin(sleep(pause)));
        Ok(())
    }

    fn reopen(&self) -> BoxFuture<'static, Result<Streaming<Bytes>, Status>> {
        let (caller, rpc) = (self.target.caller.clone(), self.rpc.clone());
        let request = self.position.resume(&self.request);
        async move {
            let opened = timeout(caller.watch_silence(), caller.stream(&rpc, &request)).await;
            opened.unwrap_or_else(|_| Err(Status::deadline_exceeded("the state service did not answer")))
        }
        .boxed()
    }
}
