//! Tells people when a watch loses its connection, and when it has it back.

use krake_client::Watch;
use tokio::sync::watch::Receiver;

use crate::terminal::notice;

/// The connection of a watch.
pub(crate) struct Interruption(Receiver<Option<String>>);

impl Interruption {
    /// Of this watch.
    pub(crate) fn of<K: Send + 'static>(watch: &Watch<K>) -> Self {
        Interruption(watch.interruption())
    }

    /// Waits for a change and reports it. Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // The watch has ended, which its own stream reports.
            std::future::pending::<()>().await;
        }
        self.report();
    }

    /// Reports a change that has not been reported yet.
    pub(crate) fn report_change(&mut self) {
        if self.0.has_changed().unwrap_or_default() {
            self.report();
        }
    }

    fn report(&mut self) {
        match self.0.borrow_and_update().as_deref() {
            Some(why) => notice(&format!("connection lost, trying to resume: {why}")),
            None => notice("connected again"),
        }
    }
}
