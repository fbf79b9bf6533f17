//! Parts of the process that end together, and how to end them.

use std::time::Duration;

use anyhow::{Context, anyhow};
use krake_runtime::shutdown::Shutdown;
use tokio::task::JoinSet;

/// Running parts, each a task. Those that are left are aborted when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    stop: Shutdown,
    tasks: JoinSet<(&'static str, anyhow::Result<()>)>,
}

impl Parts {
    /// No parts yet. They end when [`Parts::end`] is called, and not before.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Starts a part. It should end when the handle that it gets is requested.
    pub(crate) fn spawn<F>(&mut self, name: &'static str, work: impl FnOnce(Shutdown) -> F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let work = work(self.stop.clone());
        self.tasks.spawn(async move { (name, work.await) });
    }

    /// Waits until a part ends, which none should. Never returns if there is none.
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        let Some(ended) = self.tasks.join_next().await else { return std::future::pending().await };
        match ended {
            Err(panicked) => anyhow::Error::from(panicked).context("a part of Krake broke down"),
            Ok((name, Ok(()))) => anyhow!("the {name} ended by itself"),
            Ok((name, Err(error))) => error.context(format!("the {name} failed")),
        }
    }

    /// Asks all parts to end and waits for them; what takes longer than `limit` is cut off.
    ///
    /// # Errors
    /// The first of a part.
    pub(crate) async fn end(&mut self, limit: Duration) -> anyhow::Result<()> {
        self.stop.request();
        let mut first = Ok(());
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                let ended = ended.context("a part of Krake broke down");
                let ended =
                    ended.and_then(|(name, result)| result.with_context(|| format!("the {name} failed")));
                first = std::mem::replace(&mut first, Ok(())).and(ended);
            }
        };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "not everything ended in time: cutting it off");
            self.tasks.shutdown().await;
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_part_that_ends_by_itself_is_named_and_the_rest_ends_when_asked() {
        let mut parts = Parts::new();
        parts.spawn("gateway", async |stop: Shutdown| {
            stop.requested().await;
            Ok(())
        });
        parts.spawn("scheduler", async |_: Shutdown| Err(anyhow!("no API")));
        assert_eq!(format!("{:#}", parts.failed().await), "the scheduler failed: no API");
        parts.end(LIMIT).await.unwrap();
        assert!(parts.tasks.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_end_is_cut_off_and_errors_at_the_end_are_told() {
        let mut parts = Parts::new();
        parts.spawn("state service", async |_: Shutdown| std::future::pending().await);
        parts.spawn("gateway", async |stop: Shutdown| {
            stop.requested().await;
            Err(anyhow!("cannot drain"))
        });
        assert_eq!(format!("{:#}", parts.end(LIMIT).await.unwrap_err()), "the gateway failed: cannot drain");
        assert!(parts.tasks.is_empty());
    }

    #[tokio::test]
    async fn a_panic_is_told() {
        let mut parts = Parts::new();
        parts.spawn("scheduler", async |_: Shutdown| panic!("at the disco"));
        assert!(format!("{:#}", parts.failed().await).starts_with("a part of Krake broke down"));
    }
}
