//! The resumable watch: drives the state machine with streams, time and chance.

mod machine;
mod source;

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use tokio::sync::watch;
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
    events: BoxStream<'static, Result<Delivery<T>, Error>>,
    /// Counts the requests to resume.
    requests: watch::Sender<u64>,
    interruption: watch::Receiver<Option<String>>,
}

/// An event, and how fresh the stream is that brought it.
#[derive(Debug)]
pub(crate) struct Delivery<T> {
    pub(crate) event: WatchEvent<T>,
    /// So many requests to resume had been made when the stream was opened.
    pub(crate) requests: u64,
}

impl<T: Send + 'static> Watch<T> {
    pub(crate) fn new<S: Source<Object = T>>(source: S, start: Start) -> Self {
        let (requests, requested) = watch::channel(0);
        let (interrupted, interruption) = watch::channel(None);
        let driver = Driver {
            machine: Machine::new(start, S::metadata),
            source,
            stream: None,
            pending: VecDeque::new(),
            backoff: Backoff::default(),
            requests: Requests { made: requested, heeded: 0 },
            interrupted,
            ended: false,
        };
        let events = futures::stream::unfold(driver, |mut driver| async move {
            let item = driver.next().await?;
            let requests = driver.requests.heeded;
            Some((item.map(|event| Delivery { event, requests }), driver))
        });
        Watch { events: events.boxed(), requests, interruption }
    }

    /// Why the watch delivers nothing at present: its stream broke, and it tries to resume. `None` while a stream is
    /// open. Changes only while the watch is polled.
    pub fn interruption(&self) -> watch::Receiver<Option<String>> {
        self.interruption.clone()
    }

    /// Opens a new stream at once, after the last whole revision; an initial state that is arriving is waited for.
    /// `requests` counts how often this was asked for: a number that was named before does nothing.
    pub(crate) fn resume(&self, requests: u64) {
        self.requests.send_if_modified(|made| std::mem::replace(made, requests) != requests);
    }

    /// The next event, and how fresh it is. Cancel-safe.
    pub(crate) async fn deliver(&mut self) -> Option<Result<Delivery<T>, Error>> {
        self.events.next().await
    }
}

impl<T> Stream for Watch<T> {
    type Item = Result<WatchEvent<T>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let delivery = std::task::ready!(self.events.poll_next_unpin(cx));
        Poll::Ready(delivery.map(|delivery| delivery.map(|delivery| delivery.event)))
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
    stream: Option<MessageStream<S::Object>>,
    /// Events of the last message that were not asked for yet.
    pending: VecDeque<WatchEvent<S::Object>>,
    backoff: Backoff,
    requests: Requests,
    /// Why the last stream broke, until another one has brought a message.
    interrupted: watch::Sender<Option<String>>,
    ended: bool,
}

/// Requests to resume.
struct Requests {
    made: watch::Receiver<u64>,
    /// Those that were made before the present stream was opened, or will be when the next one is.
    heeded: u64,
}

impl Requests {
    /// Takes note of all that were made: a stream is about to be opened.
    fn heed(&mut self) {
        self.heeded = *self.made.borrow_and_update();
    }

    /// Waits for one that was not heeded.
    async fn more(&mut self) {
        let heeded = self.heeded;
        if self.made.wait_for(|made| *made > heeded).await.is_err() {
            // Nobody is there to ask.
            std::future::pending().await
        }
    }
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
            if self.stream.is_none() {
                self.requests.heed();
            }
            // An initial state would have to begin anew; what it shows is fresh enough to be waited for.
            let resumable = !self.machine.is_initial();
            let received = tokio::select! {
                biased;
                () = self.requests.more(), if resumable => {
                    self.stream = None;
                    continue;
                }
                received = receive(&mut self.stream, &self.source, &self.machine) => received,
            };
            match received {
                Ok(message) => {
                    if !message.partial {
                        self.backoff.reset();
                    }
                    self.interrupted.send_if_modified(|why| why.take().is_some());
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
                        // The first reason stays: what follows tells only that it is still so.
                        self.interrupted.send_if_modified(|why| match why {
                            Some(_) => false,
                            None => why.replace(error.to_string()).is_none(),
                        });
                        self.interrupt().await;
                    }
                },
            }
        }
    }

    async fn interrupt(&mut self) {
        self.stream = None;
        let pause = self.backoff.next(rand::random());
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.requests.more() => {}
        }
    }
}

/// The next message, from a new stream if there is none.
async fn receive<S: Source>(
    stream: &mut Option<MessageStream<S::Object>>,
    source: &S,
    machine: &Machine<S::Object>,
) -> Result<Message<S::Object>, Error> {
    let silent = |_| Error::from(Status::deadline_exceeded("the server sent nothing for 90 s"));
    let stream = match stream {
        Some(stream) => stream,
        none => {
            let opened = tokio::time::timeout(SILENCE, source.open(machine.start()));
            none.insert(opened.await.map_err(silent)??)
        }
    };
    match tokio::time::timeout(SILENCE, stream.next()).await.map_err(silent)? {
        Some(message) => message,
        None => Err(Error::from(Status::unavailable("the server ended the watch"))),
    }
}

#[cfg(test)]
#[path = "watch/driver_tests.rs"]
mod tests;
