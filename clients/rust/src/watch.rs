//! The resumable watch: drives the state machine with streams, time and chance.

mod machine;
mod source;

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use tonic::Status;

use crate::backoff::Backoff;
use crate::error::Error;
use crate::options::Start;
use machine::{Machine, Next};
pub(crate) use machine::{Message, changes};
pub(crate) use source::{KindSource, MessageStream, Source};

/// The server sends a bookmark every 30 s; three missed ones mean that nobody is there.
const SILENCE: Duration = Duration::from_secs(90);

/// What a watch delivers.
#[derive(Debug, Clone, PartialEq)]
pub enum WatchEvent<T> {
    /// An initial state begins: first, and again whenever the server no longer has the changes since the last revision
    /// delivered. Objects that are not among those delivered until [`WatchEvent::Synced`] have vanished, which says
    /// nothing about why.
    Restarted,
    /// The object is there, in this form.
    Applied {
        /// The object.
        object: T,
        /// Part of an initial state: not necessarily a change.
        initial: bool,
    },
    /// The object exists but no longer matches the watch's filter. Never a reason to remove anything.
    LeftFilter(T),
    /// The object was erased; this is its last form.
    Deleted(T),
    /// The initial state is complete.
    Synced {
        /// The revision that it shows.
        resource_version: i64,
    },
    /// Everything up to this revision was delivered.
    Bookmark {
        /// The revision.
        resource_version: i64,
    },
}

/// A stream of [`WatchEvent`]s that resumes by itself, with backoff, at the last whole revision, and starts over when
/// the server cannot. It never ends, except after an error that trying again cannot help: then it yields that error
/// and ends. Events of one object come in the order of its revisions; what was delivered before is dropped.
///
/// Nothing is read from the network unless the stream is polled. Cancel-safe.
pub struct Watch<T> {
    events: BoxStream<'static, Result<WatchEvent<T>, Error>>,
}

impl<T: Send + 'static> Watch<T> {
    pub(crate) fn new<S: Source<Object = T>>(source: S, start: Start) -> Self {
        let driver = Driver {
            machine: Machine::new(start, S::metadata),
            source,
            stream: None,
            pending: VecDeque::new(),
            backoff: Backoff::default(),
            ended: false,
        };
        let events = futures::stream::unfold(driver, |mut driver| async move {
            let item = driver.next().await?;
            Some((item, driver))
        });
        Watch { events: events.boxed() }
    }
}

impl<T> Stream for Watch<T> {
    type Item = Result<WatchEvent<T>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_next_unpin(cx)
    }
}

impl<T> std::fmt::Debug for Watch<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

struct Driver<S: Source> {
    source: S,
    machine: Machine<S::Object>,
    /// The present stream; none between two.
    stream: Option<BoxStream<'static, Result<Message<S::Object>, Error>>>,
    /// Events of the last message that were not asked for yet.
    pending: VecDeque<WatchEvent<S::Object>>,
    backoff: Backoff,
    ended: bool,
}

impl<S: Source> Driver<S> {
    async fn next(&mut self) -> Option<Result<WatchEvent<S::Object>, Error>> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(Ok(event));
            }
            if self.ended {
                return None;
            }
            match self.receive().await {
                Ok(message) => {
                    if !message.partial {
                        self.backoff.reset();
                    }
                    let step = self.machine.message(message);
                    self.pending.extend(step.events);
                    if step.start_over {
                        tracing::info!(
                            what = self.source.what(),
                            "the server has another history: starting over"
                        );
                        self.interrupt().await;
                    }
                }
                Err(error) => match self.machine.ended(&error) {
                    Next::Fail => {
                        self.ended = true;
                        self.stream = None;
                        return Some(Err(error));
                    }
                    next => {
                        tracing::info!(what = self.source.what(), %error, ?next, "watch interrupted");
                        self.interrupt().await;
                    }
                },
            }
        }
    }

    /// The next message, from a new stream if there is none.
    async fn receive(&mut self) -> Result<Message<S::Object>, Error> {
        let silent = |_| Error::from(Status::deadline_exceeded("the server sent nothing for 90 s"));
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let opened = tokio::time::timeout(SILENCE, self.source.open(self.machine.start()));
                none.insert(opened.await.map_err(silent)??)
            }
        };
        match tokio::time::timeout(SILENCE, stream.next()).await.map_err(silent)? {
            Some(message) => message,
            None => Err(Error::from(Status::unavailable("the server ended the watch"))),
        }
    }

    async fn interrupt(&mut self) {
        self.stream = None;
        tokio::time::sleep(self.backoff.next(rand::random())).await;
    }
}

#[cfg(test)]
#[path = "watch/driver_tests.rs"]
mod tests;
