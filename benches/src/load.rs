//! Closed-loop load: some clients, each of which sends its next call when the last one was answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// After its time is over, a load waits this long for the calls that are under way.
const GRACE: Duration = Duration::from_secs(30);

/// When a load ends: at whichever comes first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) time: Duration,
    pub(crate) calls: u64,
}

impl Limit {
    /// However many calls that makes, within reason.
    pub(crate) fn time(time: Duration) -> Self {
        Self { time, calls: 1_000_000 }
    }
}

/// What a load came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Done {
    pub(crate) calls: u64,
    pub(crate) time: Duration,
}

impl Done {
    /// Calls per second.
    pub(crate) fn rate(&self) -> f64 {
        self.calls as f64 / self.time.as_secs_f64()
    }
}

/// Makes calls from `clients` tasks. `call` is given the number of the client and that of the call among all. The first
/// call that fails ends it all.
pub(crate) async fn run<F, R>(clients: usize, limit: Limit, call: F) -> Result<Done>
where
    F: Fn(usize, u64) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Result<()>> + Send + 'static,
{
    let next = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let end = begin + limit.time;
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let (call, next) = (call.clone(), next.clone());
        tasks.spawn(async move {
            let mut calls = 0;
            while Instant::now() < end {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= limit.calls {
                    break;
                }
                call(client, number).await?;
                calls += 1;
            }
            anyhow::Ok(calls)
        });
    }
    let mut calls = 0;
    while let Some(task) = timeout(limit.time + GRACE, tasks.join_next()).await.context("a call hangs")? {
        calls += task.context("a client")??;
    }
    ensure!(calls > 0, "no call was answered");
    Ok(Done { calls, time: begin.elapsed() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[tokio::test]
    async fn every_number_is_used_once_and_the_limit_holds() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let limit = Limit { time: Duration::from_secs(60), calls: 50 };
        let record = seen.clone();
        let done = run(8, limit, move |_, number| {
            record.lock().unwrap().push(number);
            async { Ok(()) }
        });
        assert_eq!(done.await.unwrap().calls, 50);
        let mut seen = seen.lock().unwrap().clone();
        seen.sort_unstable();
        assert_eq!(seen, (0..50).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_failing_call_is_told() {
        let limit = Limit::time(Duration::from_secs(60));
        let error = run(2, limit, |_, number| async move {
            ensure!(number < 5, "call {number} was refused");
            Ok(())
        });
        assert!(error.await.unwrap_err().to_string().contains("was refused"));
    }
}
