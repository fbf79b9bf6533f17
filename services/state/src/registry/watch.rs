//! Watch: initial state if wanted, then every change in whole revisions, with bookmarks; for typed and metadata
//! watches alike.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use krake_proto::Kind;
use krake_proto::envelope::{WatchRequest, WatchStart};
use krake_proto::krake::meta::v1::EventType;
use tokio::sync::watch::Receiver;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Call, Error, Filter, Registry};
use crate::cache::{Cache, Stored};
use crate::store::Revision;

/// A silent watch says where it is this often; clients take much longer silence for a broken connection.
const BOOKMARK: Duration = Duration::from_secs(25);
/// How many revisions are taken from the cache at a time.
const REVISIONS: usize = 100;
/// A message is sent when it holds about this many bytes.
const MESSAGE_BYTES: usize = 1024 * 1024;

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
    pub(crate) async fn watch(
        &self,
        _call: &Call,
        filter: Filter,
        start: Start,
        shutdown: CancellationToken,
    ) -> Result<impl Stream<Item = Result<Message, Error>> + Send + use<>, Error> {
        self.refresh(0).await?;
        let mut watcher = Watcher {
            changed: self.cache.subscribe(),
            cache: self.cache.clone(),
            filter,
            place: self.cache.revision(),
            pending: VecDeque::new(),
            bookmark: Instant::now() + BOOKMARK,
            shutdown,
        };
        match start {
            Start::Now => {
                watcher.pending.push_back(Message { revision: watcher.place, ..Default::default() })
            }
            Start::InitialState => watcher.initial(),
            Start::After(revision) => {
                let asked = revision.0;
                self.cache
                    .since(revision, 0)
                    .map_err(|behind| Error::Compacted { asked, oldest: behind.oldest.0 })?;
                if revision > watcher.place {
                    return Err(crate::store::StoreError::Future { asked: revision }.into());
                }
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
}

struct Watcher {
    cache: Arc<Cache>,
    changed: Receiver<Revision>,
    filter: Filter,
    place: Revision,
    pending: VecDeque<Message>,
    /// When the next message is due, whether it shows anything or not.
    bookmark: Instant,
    shutdown: CancellationToken,
}

impl Watcher {
    fn initial(&mut self) {
        let (objects, revision) = self.cache.list(&self.filter.prefix, None);
        self.place = revision;
        let shown = objects.into_iter().filter(|(key, object)| self.filter.shows(key, object));
        let events = shown.map(|(_, object)| (EventType::Added, object));
        self.pending = messages(events, revision);
        if let Some(last) = self.pending.back_mut() {
            last.partial = false;
            last.synced = true;
        }
    }

    async fn next(&mut self) -> Result<Message, Error> {
        let message = self.due().await;
        self.bookmark = Instant::now() + BOOKMARK;
        message
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
            if Instant::now() >= self.bookmark {
                return Ok(Message { revision: self.place, ..Default::default() });
            }
            // Marked before the look, so that a change during it wakes us.
            self.changed.mark_unchanged();
            let (batches, now) = self.cache.since(self.place, REVISIONS).map_err(|_| Error::TooSlow)?;
            if batches.is_empty() {
                self.place = now;
                tokio::select! {
                    () = self.shutdown.cancelled() => return Err(Error::ShuttingDown),
                    changed = self.changed.changed() => changed.map_err(|_| Error::ShuttingDown)?,
                    () = tokio::time::sleep_until(self.bookmark) => {}
                }
                continue;
            }
            for batch in batches {
                self.place = batch.revision;
                let shown = batch.changes.iter().filter_map(|change| self.filter.event(change));
                let mut more = messages(shown, batch.revision);
                // A revision that shows nothing here needs no message: the next one or a bookmark tells the place.
                if more.iter().any(|message| !message.events.is_empty()) {
                    self.pending.append(&mut more);
                }
            }
        }
    }
}

/// The events of one revision, or of the initial state, cut into messages; all but the last are partial.
fn messages(events: impl Iterator<Item = (EventType, Arc<Stored>)>, revision: Revision) -> VecDeque<Message> {
    let mut messages = VecDeque::from([Message { revision, ..Default::default() }]);
    let mut bytes = 0;
    for (r#type, object) in events {
        if bytes >= MESSAGE_BYTES {
            bytes = 0;
            messages.push_back(Message { revision, ..Default::default() });
        }
        bytes += object.sections.encoded_len();
        if let Some(message) = messages.back_mut() {
            message.events.push((r#type, object));
        }
    }
    let last = messages.len() - 1;
    for message in messages.iter_mut().take(last) {
        message.partial = true;
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{key, value};
    use crate::store::{MemoryStore, Store, Txn};
    use bytes::Bytes;
    use futures::StreamExt;
    use std::time::SystemTime;

    #[tokio::test(start_paused = true)]
    async fn changes_that_a_watch_hides_do_not_put_off_its_bookmarks() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let cache = Arc::new(Cache::default());
        let feed = tokio::spawn({
            let (cache, store) = (cache.clone(), store.clone());
            async move { cache.feed(store).await }
        });
        let registry = Registry::new(store.clone(), cache, Arc::new(SystemTime::now));
        let metric = krake_proto::kind("core", "Metric").unwrap();
        let filter = Filter::request(metric, "quiet", "").unwrap();
        let call = Call { user: "alice".into(), trace_parent: String::new(), fence: None };
        let watch = registry.watch(&call, filter, Start::Now, CancellationToken::new()).await.unwrap();
        let mut watch = std::pin::pin!(watch);
        watch.next().await.unwrap().unwrap();
        let busy = tokio::spawn(async move {
            loop {
                tokio::time::sleep(BOOKMARK / 3).await;
                let value = value::encode(metric.message, &Bytes::new());
                let txn = Txn::new().put(key::resource(metric, "busy", "m"), value);
                store.commit(txn).await.unwrap().unwrap();
            }
        });
        let mut place = Revision::default();
        for _ in 0..3 {
            let next = tokio::time::timeout(Duration::from_secs(30), watch.next()).await;
            let bookmark = next.expect("in time").unwrap().unwrap();
            assert!(bookmark.events.is_empty() && bookmark.revision > place, "it moves on");
            place = bookmark.revision;
        }
        busy.abort();
        feed.abort();
    }
}
