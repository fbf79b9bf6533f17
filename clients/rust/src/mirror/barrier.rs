//! The barrier before a mirror: who has passed it acts on nothing older than a given revision.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{MirrorClosed, Progress};

/// After this time the watch is asked once more, for what it waits for may hang; then after twice the time, and so on.
const AGAIN: Duration = Duration::from_secs(10);
/// The longest such time.
const LONGEST: Duration = Duration::from_secs(80);

/// Makes sure that a mirror is not behind; see [`super::Mirror::barrier`]. Cheap to clone.
///
/// A mirror hears of changes, but not that there were none: its watch tells its place only now and then. So
/// [`Barrier::pass`] makes the watch resume, which the server answers at once with the present place.
#[derive(Clone)]
pub struct Barrier {
    progress: watch::Receiver<Progress>,
    /// Counts the requests to resume.
    requests: Arc<watch::Sender<u64>>,
}

impl std::fmt::Debug for Barrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Barrier").field("progress", &self.progress()).finish_non_exhaustive()
    }
}

impl Barrier {
    /// The barrier before the mirror of this progress, and the requests to resume its watch.
    pub(super) fn new(progress: watch::Receiver<Progress>) -> (Self, watch::Receiver<u64>) {
        let (sender, requests) = watch::channel(0);
        (Barrier { progress, requests: Arc::new(sender) }, requests)
    }

    /// Waits until the mirror shows everything up to a revision of the store's present history, and everything that it
    /// shows was told. That the mirror has come to that number before is not enough: it may have been in a history that
    /// was restored away since. So a new stream of the watch has to say it.
    ///
    /// Ends in the time of a request where the server is there; else it waits.
    ///
    /// # Errors
    /// When the feed of the mirror has ended.
    pub async fn pass(&self, resource_version: i64) -> Result<(), MirrorClosed> {
        let first = self.request();
        let passed = |progress: &Progress| {
            progress.synced && progress.requests >= first && progress.resource_version >= resource_version
        };
        let mut patience = AGAIN;
        loop {
            if let Ok(result) = tokio::time::timeout(patience, self.reached(passed)).await {
                return result;
            }
            self.request();
            patience = (patience * 2).min(LONGEST);
        }
    }

    /// Asks the watch to resume, and tells the number of the request.
    fn request(&self) -> u64 {
        let mut number = 0;
        self.requests.send_modify(|requests| {
            *requests += 1;
            number = *requests;
        });
        number
    }

    pub(super) fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    pub(super) async fn reached(&self, condition: impl Fn(&Progress) -> bool) -> Result<(), MirrorClosed> {
        let mut progress = self.progress.clone();
        progress.wait_for(|progress| condition(progress)).await.map(drop).map_err(|_| MirrorClosed)
    }
}

#[cfg(test)]
#[path = "barrier_tests.rs"]
mod tests;
