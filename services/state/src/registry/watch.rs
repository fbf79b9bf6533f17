//! Watch: initial state if wanted, then every change in whole revisions, with bookmarks; for typed and metadata
//! watches alike.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use futures::future::BoxFuture;
use krake_proto::Kind;
use krake_proto::envelope::{WatchRequest, WatchStart};
use krake_proto::krake::meta::v1::EventType;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{Call, Error, Filter, Registry};
use crate::cache::{Cache, Stored};
use crate::store::{Revision, StoreError};

/// A silent watch says where it is this often; clients take much longer silence for a broken connection.
const BOOKMARK: Duration = Duration::from_secs(25);
/// How many revisions are taken from the cache at a time.
const REVISIONS: usize = 100;
/// A message is sent when it holds about this many bytes.
const MESSAGE_BYTES: usize = 1024 * 1024;

/// How long a watch that brings its own place may wait for the store before it begins. It learns later what the store
/// held when it was opened.
const OPENING: Duration = Duration::from_secs(2);
/// Pause before a store that failed is asked again how far it is.
const RETRY: Duration = Duration::from_millis(500);

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

impl Registry {
    /// Where and with what filter a typed watch begins.
    pub(crate) fn watch_request(
        &self,
        kind: &'static Kind,
        request: &WatchRequest,
    ) -> Result<(Filter, Start), Error> {
        let filter = Filter::request(kind, &request.namespace, &request.label_selector)?
            .on_cluster(&request.cluster)?;
        let start = match request.start {
            Some(WatchStart::InitialState(true)) => Start::InitialState,
            Some(WatchStart::Now(true)) => Start::Now,
            Some(WatchStart::After(revision)) if revision >= 0 => Start::After(Revision(revision)),
            Some(WatchStart::After(_)) => return Err(Error::invalid("after", "must not be negative")),
            _ => return Err(Error::invalid("start", "set one of initial_state, now and after")),
        };
        Ok((filter, start))
    }

    /// The messages of a watch. Nothing is delivered twice or left out; the stream ends with the first error.
    ///
    /// Once a message with the store's revision at the time of this call, or a later one, is due, it comes at once and
    /// waits for no change: so whoever resumes knows that nothing written before is hidden from him. Where the store
    /// does not answer, a resumed watch begins all the same, and that message follows when it does.
    pub(crate) async fn watch(
        self: &Arc<Self>,
        _call: &Call,
        filter: Filter,
        start: Start,
        shutdown: CancellationToken,
    ) -> Result<impl Stream<Item = Result<Message, Error>> + Send + use<>, Error> {
        let mut opening = Box::pin(self.clone().caught_up());
        let in_time = match start {
            Start::InitialState => self.refresh(0).await.map(|()| true)?,
            Start::Now | Start::After(_) => tokio::time::timeout(OPENING, &mut opening).await.is_ok(),
        };
        // A token of its own: a shared one would have all watches wait on one lock.
        let shutdown = shutdown.child_token();
        let mut watcher = Watcher {
            changed: self.cache.follow(),
            cache: self.cache.clone(),
            filter,
            place: self.cache.revision(),
            pending: VecDeque::new(),
            owed: None,
            opening: None,
            bookmark: Instant::now() + BOOKMARK,
            alarm: Box::pin(tokio::time::sleep(BOOKMARK)),
            ending: Box::pin(shutdown.clone().cancelled_owned()),
            shutdown,
        };
        if !in_time {
            watcher.opening = Some(opening);
        }
        match start {
            Start::Now => watcher.owed = Some(watcher.place),
            Start::InitialState => watcher.initial(),
            Start::After(revision) => {
                let asked = revision.0;
                self.cache
                    .since(revision, 0)
                    .map_err(|behind| Error::Compacted { asked, oldest: behind.oldest.0 })?;
                if revision > watcher.place {
                    return Err(if in_time {
                        StoreError::Future { asked: revision }.into()
                    } else {
                        StoreError::Unavailable { reason: "it does not tell how far it is".to_owned() }.into()
                    });
                }
                watcher.owed = in_time.then_some(watcher.place);
                watcher.place = revision;
            }
        }
        Ok(futures::stream::unfold(Some(watcher), |watcher| async move {
            let mut watcher = watcher?;
            match watcher.next().await {
                Ok(message) => Some((Ok(message), Some(watcher))),
                Err(error) => Some((Err(error), None)),
            }
        }))
    }

    /// Waits, however long, until the cache shows what the store held when this was called.
    async fn caught_up(self: Arc<Self>) {
        while let Err(error) = self.refresh(0).await {
            tracing::debug!(%error, "a watch waits for the store");
            tokio::time::sleep(RETRY).await;
        }
    }
}

struct Watcher {
    cache: Arc<Cache>,
    changed: Receiver<Revision>,
    filter: Filter,
    place: Revision,
    pending: VecDeque<Message>,
    /// A message with this revision or a later one is due at once.
    owed: Option<Revision>,
    /// Done when the cache shows what the store held when the watch was opened; `None` if it does.
    opening: Option<BoxFuture<'static, ()>>,
    /// When the next message is due, whether it shows anything or not.
    bookmark: Instant,
    /// Wakes the watch at `bookmark` or before: it is set again only when it has gone off, not with each message.
    alarm: Pin<Box<Sleep>>,
    shutdown: CancellationToken,
    /// Done when `shutdown` is cancelled.
    ending: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Watcher {
    fn initial(&mut self) {
        let (objects, revision) = self.cache.list(&self.filter.prefix, None);
        self.place = revision;
        let shown = objects.into_iter().filter(|(key, object)| self.filter.shows(key, object));
        let events = shown.map(|(_, object)| (EventType::Added, object));
        push_messages(&mut self.pending, events, revision);
        match self.pending.back_mut() {
            Some(last) => last.synced = true,
            None => self.pending.push_back(Message { revision, synced: true, ..Default::default() }),
        }
    }

    async fn next(&mut self) -> Result<Message, Error> {
        let message = self.due().await?;
        self.bookmark = Instant::now() + BOOKMARK;
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
            if let Some(message) = self.pending.pop_front() {
                return Ok(message);
            }
            if self.owed.is_some_and(|owed| owed <= self.place) {
                return Ok(Message { revision: self.place, ..Default::default() });
            }
            // Marked before the look, so that a change during it wakes us.
            self.changed.mark_unchanged();
            let (batches, now) = self.cache.since(self.place, REVISIONS).map_err(|_| Error::TooSlow)?;
            for batch in &batches {
                self.place = batch.revision;
                // A revision that shows nothing here needs no message: the next one or a bookmark tells the place.
                let shown = batch.changes.iter().filter_map(|change| self.filter.event(change));
                push_messages(&mut self.pending, shown, batch.revision);
            }
            if batches.is_empty() {
                self.place = now;
                if self.owed.is_some_and(|owed| owed <= now) {
                    continue;
                }
            }
            if !self.pending.is_empty() {
                continue;
            }
            if Instant::now() >= self.bookmark {
                return Ok(Message { revision: self.place, ..Default::default() });
            }
            if batches.is_empty() {
                self.wait().await?;
            }
        }
    }

    /// Waits for a change, or until something is due without one.
    async fn wait(&mut self) -> Result<(), Error> {
        tokio::select! {
            biased;
            () = &mut self.ending => {}
            changed = self.changed.changed() => changed.map_err(|_| Error::ShuttingDown)?,
            () = &mut self.alarm => self.alarm.as_mut().reset(self.bookmark),
            () = opened(&mut self.opening) => {
                self.opening = None;
                self.owed = Some(self.cache.revision());
            }
        }
        Ok(())
    }
}

/// Ends when the watch has learnt what the store held when it was opened; never if there is nothing to learn.
async fn opened(opening: &mut Option<BoxFuture<'static, ()>>) {
    match opening {
        Some(opening) => opening.await,
        None => std::future::pending().await,
    }
}

/// Adds the events of one revision, or of the initial state, cut into messages; all but the last are partial. Nothing
/// if there are no events.
fn push_messages(
    messages: &mut VecDeque<Message>,
    events: impl Iterator<Item = (EventType, Arc<Stored>)>,
    revision: Revision,
) {
    let mut bytes = MESSAGE_BYTES;
    let mut last: Option<Message> = None;
    for (r#type, object) in events {
        if bytes >= MESSAGE_BYTES {
            bytes = 0;
            messages.extend(last.take().map(|full| Message { partial: true, ..full }));
        }
        bytes += object.sections.encoded_len();
        last.get_or_insert_with(|| Message { revision, ..Default::default() }).events.push((r#type, object));
    }
    messages.extend(last);
}

#[cfg(test)]
mod tests;
