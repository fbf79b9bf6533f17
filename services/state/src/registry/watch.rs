//! Watch: initial state if wanted, then every change in whole revisions, with bookmarks; for typed and metadata
//! watches alike.

mod figures;
mod live;
mod progress;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use futures::future::BoxFuture;
use krake_proto::envelope::WatchStart;
use krake_proto::krake::meta::v1::EventType;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{Call, Error, Filter, Registry};
use crate::cache::{Cache, Stored};
use crate::store::{Revision, StoreError};
use figures::Counted;
pub(crate) use figures::WatchFigures;
pub(super) use figures::Watches;
use live::Live;
use progress::{Progress, Step};

/// Interval of bookmarks on a watch without changes; clients take much longer silence for a broken connection.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(25);
/// Maximum wait for the store before a resumed watch begins: a store in order answers in milliseconds, and what it held
/// when the watch was opened, the watch learns later.
const OPENING_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause before the revision of a store that failed is read again: many watches may wait at the same
/// time, and share one read.
const STORE_RETRY_DELAY: Duration = Duration::from_millis(500);

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// With all objects.
    InitialState,
    /// With the next change.
    Now,
    /// With the first change after a revision.
    After(Revision),
}

impl Start {
    /// Reads where a request begins. `asked_epoch` is the history that it resumes in, empty if it names none; `epoch` is
    /// the present one.
    pub(crate) fn read(start: Option<WatchStart>, asked_epoch: &str, epoch: &str) -> Result<Self, Error> {
        let start = match start {
            Some(WatchStart::InitialState(true)) => Start::InitialState,
            Some(WatchStart::Now(true)) => Start::Now,
            Some(WatchStart::After(revision)) if revision >= 0 => Start::After(Revision(revision)),
            Some(WatchStart::After(_)) => return Err(Error::invalid("after", "must not be negative")),
            _ => return Err(Error::invalid("start", "set one of initial_state, now and after")),
        };
        if asked_epoch.is_empty() || asked_epoch == epoch { Ok(start) } else { Err(Error::OtherEpoch) }
    }
}

/// One message of a watch.
#[derive(Debug, Default)]
pub(crate) struct Message {
    /// What happened to which object, in order.
    pub events: Vec<(EventType, Arc<Stored>)>,
    /// Everything up to here was delivered.
    pub revision: Revision,
    /// The initial state ends here.
    pub synced: bool,
    /// More of the same revision, or of the initial state, follows.
    pub partial: bool,
}

impl Message {
    /// Encoded bytes of its objects.
    fn bytes(&self) -> usize {
        self.events.iter().map(|(_, object)| object.sections.encoded_len()).sum()
    }
}

impl Registry {
    /// The messages of a watch. Nothing is delivered twice or left out; the stream ends with the first error. Nothing
    /// is read before the receiver wants it; a watch that waits holds no events, or the rest of one revision.
    ///
    /// Once a message with the store's revision at the time of this call, or a later one, is due, it comes at once and
    /// waits for no change: so a client that resumes knows that it has seen everything that was written before. Where the
    /// store does not answer, a resumed watch begins nevertheless, and that message follows when it does.
    ///
    /// With `live_state`, objects are shown as reads show them, and repeated when that changes with their clusters.
    pub(crate) async fn watch(
        self: &Arc<Self>,
        _call: &Call,
        filter: Filter,
        start: Start,
        live_state: bool,
        shutdown: CancellationToken,
    ) -> Result<impl Stream<Item = Result<Message, Error>> + Send + use<>, Error> {
        let mut opening = Box::pin(self.clone().caught_up());
        let in_time = match start {
            Start::InitialState => self.refresh().await.map(|()| true)?,
            Start::Now | Start::After(_) => tokio::time::timeout(OPENING_TIMEOUT, &mut opening).await.is_ok(),
        };
        let now = self.cache.revision();
        let (progress, owed) = match start {
            Start::InitialState => (Progress::initial(filter, now), None),
            Start::Now => (Progress::after(filter, now), Some(now)),
            Start::After(revision) => {
                let asked = revision.0;
                self.cache
                    .since(revision, 0)
                    .map_err(|behind| Error::Compacted { asked, oldest: behind.oldest.0 })?;
                if revision > now {
                    return Err(if in_time {
                        StoreError::Future { asked: revision }.into()
                    } else {
                        StoreError::Unavailable { reason: "it does not report its revision".to_owned() }
                            .into()
                    });
                }
                (Progress::after(filter, revision), in_time.then_some(now))
            }
        };
        let live = live_state.then(|| match start {
            Start::After(revision) => Live::resumed(&self.cache, revision),
            Start::InitialState | Start::Now => Live::new(&self.cache),
        });
        let counted = self.watches.open();
        counted.at(progress.place());
        // A token of its own: a shared one would have all watches wait on one lock.
        let shutdown = shutdown.child_token();
        let watcher = Watcher {
            changed: self.cache.follow(),
            cache: self.cache.clone(),
            progress,
            live,
            owed,
            opening: (!in_time).then_some(opening),
            bookmark: Instant::now() + BOOKMARK_INTERVAL,
            alarm: Box::pin(tokio::time::sleep(BOOKMARK_INTERVAL)),
            counted,
            ending: Box::pin(shutdown.clone().cancelled_owned()),
            shutdown,
        };
        Ok(futures::stream::unfold(Some(watcher), |watcher| async move {
            let mut watcher = watcher?;
            match watcher.next().await {
                Ok(message) => Some((Ok(message), Some(watcher))),
                Err(error) => Some((Err(error), None)),
            }
        }))
    }

    /// The open watches in figures. Takes their lock for a moment.
    pub(crate) fn watch_figures(&self) -> WatchFigures {
        self.watches.figures(self.cache.changed())
    }

    /// Waits, however long, until the cache shows what the store held when this was called.
    async fn caught_up(self: Arc<Self>) {
        while let Err(error) = self.refresh().await {
            tracing::debug!(%error, "a watch waits for the store");
            tokio::time::sleep(STORE_RETRY_DELAY).await;
        }
    }
}

struct Watcher {
    cache: Arc<Cache>,
    changed: Receiver<Revision>,
    progress: Progress,
    /// Shows objects as reads show them; `None` if the watch shows what is stored.
    live: Option<Live>,
    /// A message with this revision or a later one is due at once.
    owed: Option<Revision>,
    /// Done when the cache shows what the store held when the watch was opened; `None` if it does.
    opening: Option<BoxFuture<'static, ()>>,
    /// When the next message is due, whether it shows anything or not.
    bookmark: Instant,
    /// Wakes the watch at `bookmark` or before: it is set again only when it has gone off, not with each message.
    alarm: Pin<Box<Sleep>>,
    counted: Counted,
    shutdown: CancellationToken,
    /// Done when `shutdown` is cancelled.
    ending: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Watcher {
    async fn next(&mut self) -> Result<Message, Error> {
        self.counted.pending(0);
        let mut message = self.due().await?;
        if self.live.is_some() {
            Live::show(&mut message, &self.cache);
        }
        self.counted.at(self.progress.place());
        self.counted.pending(message.bytes());
        self.bookmark = Instant::now() + BOOKMARK_INTERVAL;
        if !message.partial && self.owed.is_some_and(|owed| owed <= message.revision) {
            self.owed = None;
        }
        Ok(message)
    }

    /// The next message. Changes that the filter hides do not put off the bookmark.
    async fn due(&mut self) -> Result<Message, Error> {
        loop {
            if self.shutdown.is_cancelled() {
                return Err(Error::ShuttingDown);
            }
            if self.owed.is_some_and(|owed| owed <= self.progress.place()) {
                return Ok(self.bookmark_message());
            }
            // Marked before the look, so that a change during it wakes us.
            self.changed.mark_unchanged();
            let step = self.progress.next(&self.cache).map_err(|_| Error::TooSlow)?;
            if let Step::Message(message) = step {
                return Ok(message);
            }
            self.counted.at(self.progress.place());
            if self.owed.is_some_and(|owed| owed <= self.progress.place()) {
                continue;
            }
            if Instant::now() >= self.bookmark && !self.progress.is_initial() {
                return Ok(self.bookmark_message());
            }
            match step {
                Step::UpToDate => match self.repeats() {
                    Some(message) => return Ok(message),
                    None => self.wait().await?,
                },
                // This may go on for long; others have their turn in between.
                _ => tokio::task::yield_now().await,
            }
        }
    }

    fn repeats(&mut self) -> Option<Message> {
        self.live.as_mut()?.next(&self.cache, self.progress.filter(), self.progress.place())
    }

    /// A message with the place of the watch alone.
    fn bookmark_message(&self) -> Message {
        Message { revision: self.progress.place(), ..Default::default() }
    }

    /// Waits for a change, or until something is due without one.
    async fn wait(&mut self) -> Result<(), Error> {
        let repeats = self.live.as_ref().and_then(|live| live.due(&self.cache));
        tokio::select! {
            biased;
            () = &mut self.ending => {}
            changed = self.changed.changed() => changed.map_err(|_| Error::ShuttingDown)?,
            () = time(repeats) => {}
            () = &mut self.alarm => self.alarm.as_mut().reset(self.bookmark),
            () = opened(&mut self.opening) => {
                self.opening = None;
                self.owed = Some(self.cache.revision());
            }
        }
        Ok(())
    }
}

/// Ends at this time; never if there is none.
async fn time(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Ends when the watch has learnt what the store held when it was opened; never if there is nothing to learn.
async fn opened(opening: &mut Option<BoxFuture<'static, ()>>) {
    match opening {
        Some(opening) => opening.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
