//! Shutdown: one request that reaches every part of a process, and a limit within which all of it ends.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How long a process may take to end once asked to. Parts that drain take less, see
/// [`crate::serve::ServeOptions::drain`].
pub const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

/// The work did not end within the deadline after shutdown was requested; it was dropped.
#[derive(Debug, thiserror::Error)]
#[error("shutdown took longer than {}s; what was left was cut off", deadline.as_secs_f32())]
pub struct DeadlineExceeded {
    deadline: Duration,
}

/// A handle on the request to end. Clones share the request; it is never taken back.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    /// Owns the task that listens for signals: it ends with the last handle.
    _signals: Option<Arc<AbortOnDropHandle<()>>>,
}

impl Shutdown {
    /// A handle that only [`Shutdown::request`] triggers: for tests and for parts that end on their own.
    pub fn new() -> Self {
        Self::default()
    }

    /// A handle that SIGINT and SIGTERM trigger. Needs a tokio runtime.
    pub fn on_signals() -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let token = CancellationToken::new();
        let request = token.clone();
        let listener = tokio::spawn(async move {
            let name = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
                () = request.cancelled() => return,
            };
            tracing::info!(signal = name, "shutting down");
            request.cancel();
        });
        Ok(Self { token, _signals: Some(Arc::new(AbortOnDropHandle::new(listener))) })
    }

    /// Asks everything that holds this handle, a clone or a child of it to end.
    pub fn request(&self) {
        self.token.cancel();
    }

    /// Whether the end was requested.
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until the end is requested.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// A handle that ends with this one and can be requested by itself.
    pub fn child(&self) -> Shutdown {
        Self { token: self.token.child_token(), _signals: self._signals.clone() }
    }

    /// The request as a token, for interfaces that do not know this crate.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Runs `work` to its end; once shutdown is requested, it has `deadline` left and is then dropped.
    pub async fn run_until_done<F: Future>(
        &self,
        deadline: Duration,
        work: F,
    ) -> Result<F::Output, DeadlineExceeded> {
        let limit = async {
            self.requested().await;
            tokio::time::sleep(deadline).await;
        };
        tokio::select! {
            biased;
            output = work => Ok(output),
            () = limit => Err(DeadlineExceeded { deadline }),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_child_ends_with_its_parent_but_not_the_other_way_round() {
        let parent = Shutdown::new();
        let (one, two) = (parent.child(), parent.child());
        one.request();
        assert!(one.is_requested() && !parent.is_requested() && !two.is_requested());
        parent.request();
        two.requested().await;
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_does_not_end_is_cut_off_at_the_deadline() {
        let shutdown = Shutdown::new();
        let (started, handle) = (Instant::now(), shutdown.clone());
        let asked = async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            handle.request();
            std::future::pending::<()>().await;
        };
        let result = shutdown.run_until_done(Duration::from_secs(10), asked).await;
        assert!(result.is_err());
        assert_eq!(started.elapsed().as_secs(), 70, "60 s of work are not limited, 10 s of shutdown are");
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_ends_in_time_gives_its_output() {
        let shutdown = Shutdown::new();
        shutdown.request();
        let work = async {
            tokio::time::sleep(Duration::from_secs(9)).await;
            42
        };
        assert_eq!(shutdown.run_until_done(Duration::from_secs(10), work).await.unwrap(), 42);
    }
}
