//! Watches: from memory while they keep up, from the file while they catch up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::super::cursor::Cursor;
use super::super::{Batch, Key, Revision, StoreError, WatchError};
use super::Shared;
use super::log;
use super::readers::ReadError;
use super::recent::Later;

/// Pause before a file that cannot be read is read again: the disk is full or busy, which takes a while.
const READ_RETRY_DELAY: Duration = Duration::from_secs(1);

/// The place that one watch has reached in the history.
pub(super) struct Place {
    shared: Arc<Shared>,
    newest: watch::Receiver<Revision>,
    prefix: Key,
    seen: Revision,
    /// What is to be told next.
    ready: VecDeque<Batch>,
    /// Whether commits that change only keys aside are reported.
    reports: bool,
}

impl Place {
    pub(super) fn new(shared: Arc<Shared>, prefix: Key, after: Revision, reports: bool) -> Self {
        let newest = shared.recent.subscribe();
        Self { shared, newest, prefix, seen: after.max(Revision(0)), ready: VecDeque::new(), reports }
    }

    /// Reads a piece of the history from the file.
    async fn catch_up(&mut self) -> Result<(), WatchError> {
        let (prefix, seen) = (self.prefix.clone(), self.seen);
        let piece = self.shared.readers.read(move |connection| {
            let extent = log::extent(connection)?;
            if seen < extent.compacted {
                return Err(ReadError::Store(StoreError::Compacted { oldest: extent.compacted }));
            }
            Ok(log::history(connection, &prefix, seen, extent.revision)?)
        });
        match piece.await {
            Ok((_, reached)) if reached <= seen => {
                tracing::warn!(%seen, %reached, "the file does not hold the newest changes; trying again");
                tokio::time::sleep(READ_RETRY_DELAY).await;
            }
            Ok((batches, reached)) => {
                self.seen = reached;
                let last = batches.last().map(|batch| batch.revision);
                self.ready.extend(batches);
                if self.reports && last.is_none_or(|last| last < reached) {
                    self.ready.push_back(Batch { revision: reached, changes: Vec::new() });
                }
            }
            Err(StoreError::Compacted { oldest }) => return Err(WatchError::Compacted { oldest }),
            Err(error) => {
                tracing::warn!(%error, "a watch cannot read the history; trying again");
                tokio::time::sleep(READ_RETRY_DELAY).await;
            }
        }
        Ok(())
    }
}

impl Cursor for Place {
    /// The next batch that has a change below the prefix.
    async fn next(&mut self) -> Result<Batch, WatchError> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(batch);
            }
            self.newest.mark_unchanged();
            match self.shared.recent.later(self.seen) {
                Later::Compacted(oldest) => return Err(WatchError::Compacted { oldest }),
                Later::Older => self.catch_up().await?,
                Later::Batches(batches, reached) => {
                    self.seen = reached;
                    let shown = batches.iter().filter_map(|batch| batch.shown(&self.prefix, self.reports));
                    self.ready.extend(shown);
                    // The sender lives in `shared`, which this cursor holds, so waiting cannot fail.
                    if self.ready.is_empty() {
                        let _ = self.newest.changed().await;
                    }
                }
            }
        }
    }
}
