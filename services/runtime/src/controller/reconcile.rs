//! The loop that turns keys into reconciles: workers, deadlines, retries, resync and an orderly end.

use std::any::Any;
use std::collections::HashMap;
use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::Instant;
use tokio::time::error::Elapsed;
use tracing::Instrument;

use super::backoff::{Backoff, Failures};
use super::metrics::ControllerMetrics;
use super::queue::{Claim, Queue};
use super::schedule::Priority;
use super::trace;
use crate::shutdown::Shutdown;

/// What is to be done about a key after a reconcile without error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing until it is woken again.
    Done,
    /// Look again after this time, if nothing wakes it earlier.
    After(Duration),
}

/// Brings the world a step closer to what one object wants.
///
/// It gets a key, never an event, and reads the present state itself. It may be called at any time and any number of
/// times, but never twice at once for the same key. It may be cancelled at any `await`: record an intent before each
/// outside effect.
pub trait Reconciler: Send + Sync + 'static {
    /// Names an object.
    type Key: Clone + Eq + Hash + Ord + Debug + Display + Send + Sync + 'static;

    /// Works on one object. An error is logged with the key and the key is retried with backoff.
    fn reconcile(&self, key: &Self::Key) -> impl Future<Output = anyhow::Result<Next>> + Send;

    /// `metadata.trace_parent` of the object as it is now: a reconcile after a change continues the trace of the write
    /// that made it. Default: every reconcile has a trace of its own.
    fn trace_parent(&self, _key: &Self::Key) -> Option<String> {
        None
    }

    /// All keys known at the moment; asked at each resync.
    fn keys(&self) -> Vec<Self::Key> {
        Vec::new()
    }
}

/// How a controller works.
#[derive(Clone, Debug)]
pub struct ControllerOptions {
    /// How many keys are worked on at the same time; at least 1. Default 4.
    pub workers: usize,
    /// Waits between attempts at a failing key.
    pub backoff: Backoff,
    /// How often all of [`Reconciler::keys`] are looked at again though nothing woke them. Default: never.
    pub resync: Option<Duration>,
    /// A reconcile that takes longer is cancelled and retried. Default 60 s.
    pub deadline: Duration,
    /// Time for reconciles under way once shutdown is requested; then they are cancelled. Default 5 s.
    pub drain: Duration,
    /// Seed of the jitter, for runs that must repeat exactly; random by default.
    pub seed: Option<u64>,
    /// Where queue depth, durations and errors are counted.
    pub metrics: ControllerMetrics,
}

impl Default for ControllerOptions {
    fn default() -> Self {
        Self {
            workers: 4,
            backoff: Backoff::default(),
            resync: None,
            deadline: Duration::from_secs(60),
            drain: Duration::from_secs(5),
            seed: None,
            metrics: ControllerMetrics::default(),
        }
    }
}

/// Runs a controller until shutdown is requested and the reconciles under way have ended or were cancelled after
/// [`ControllerOptions::drain`]. `name` appears in logs and metrics.
pub async fn run<R: Reconciler>(
    name: &'static str,
    reconciler: Arc<R>,
    queue: Queue<R::Key>,
    options: ControllerOptions,
    shutdown: Shutdown,
) {
    let measured = queue.clone();
    options.metrics.watch_depth(name, move || measured.depth());
    let rng = options.seed.map_or_else(StdRng::from_os_rng, StdRng::seed_from_u64);
    let mut controller = Controller {
        name,
        failures: Failures::new(options.backoff, rng),
        reconciler,
        queue,
        options,
        tasks: JoinSet::new(),
        running: HashMap::new(),
    };
    controller.work(&shutdown).await;
    controller.drain().await;
}

struct Controller<R: Reconciler> {
    name: &'static str,
    reconciler: Arc<R>,
    queue: Queue<R::Key>,
    options: ControllerOptions,
    failures: Failures<R::Key, StdRng>,
    tasks: JoinSet<Result<anyhow::Result<Next>, Elapsed>>,
    /// What each task works on. Held here and not in the task, so that a panic does not take it along.
    running: HashMap<task::Id, (Claim<R::Key>, Instant)>,
}

impl<R: Reconciler> Controller<R> {
    async fn work(&mut self, shutdown: &Shutdown) {
        let queue = self.queue.clone();
        let mut next_resync = self.options.resync.map(|period| Instant::now() + period);
        loop {
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                Some(ended) = self.tasks.join_next_with_id() => self.settle(ended),
                Some(()) = until(next_resync) => {
                    next_resync = self.options.resync.map(|period| Instant::now() + period);
                    self.resync();
                }
                claim = queue.next(), if self.tasks.len() < self.options.workers.max(1) => self.start(claim),
            }
        }
    }

    async fn drain(&mut self) {
        let limit = Instant::now() + self.options.drain;
        while let Ok(Some(ended)) = tokio::time::timeout_at(limit, self.tasks.join_next_with_id()).await {
            self.settle(ended);
        }
        if !self.tasks.is_empty() {
            tracing::warn!(controller = self.name, reconciles = self.tasks.len(), "cancelled at shutdown");
            self.tasks.shutdown().await;
        }
    }

    fn resync(&self) {
        let keys = self.reconciler.keys();
        tracing::debug!(controller = self.name, keys = keys.len(), "resync");
        for key in keys {
            self.queue.add(key, Priority::Resync);
        }
    }

    fn start(&mut self, claim: Claim<R::Key>) {
        let (reconciler, key, deadline) =
            (self.reconciler.clone(), claim.key().clone(), self.options.deadline);
        let span = tracing::info_span!(parent: None, "reconcile", controller = self.name, %key);
        if let Some(trace_parent) = reconciler.trace_parent(&key) {
            trace::join(&span, &trace_parent, claim.priority());
        }
        let reconcile = async move { tokio::time::timeout(deadline, reconciler.reconcile(&key)).await };
        let task = self.tasks.spawn(reconcile.instrument(span));
        self.running.insert(task.id(), (claim, Instant::now()));
    }

    /// Deals with a reconcile that has ended, one way or another, and releases its key.
    fn settle(&mut self, ended: Result<(task::Id, Result<anyhow::Result<Next>, Elapsed>), JoinError>) {
        let (id, outcome) = match ended {
            Ok((id, Ok(Ok(next)))) => (id, Ok(next)),
            Ok((id, Ok(Err(error)))) => (id, Err(Failure::Error(error))),
            Ok((id, Err(_))) => (id, Err(Failure::Deadline(self.options.deadline))),
            Err(error) => (error.id(), Err(Failure::from(error))),
        };
        let Some((claim, started)) = self.running.remove(&id) else { return };
        let reason = outcome.as_ref().err().map(Failure::reason);
        self.options.metrics.reconciled(self.name, started.elapsed(), reason);
        match outcome {
            Ok(next) => {
                self.failures.succeeded(claim.key());
                if let Next::After(delay) = next {
                    self.queue.add_after(claim.key().clone(), Priority::Resync, delay);
                }
            }
            Err(failure) => {
                let (attempts, delay) = self.failures.failed(claim.key());
                failure.log(self.name, claim.key(), attempts, delay);
                self.queue.add_after(claim.key().clone(), claim.priority(), delay);
            }
        }
    }
}

/// Why a key is tried again.
enum Failure {
    Error(anyhow::Error),
    Deadline(Duration),
    Panic(String),
}

impl From<JoinError> for Failure {
    fn from(error: JoinError) -> Self {
        match error.try_into_panic() {
            Ok(payload) => Self::Panic(panic_message(payload.as_ref()).to_owned()),
            Err(cancelled) => Self::Error(cancelled.into()),
        }
    }
}

impl Failure {
    /// The label of the error counter.
    fn reason(&self) -> &'static str {
        match self {
            Self::Error(_) => "error",
            Self::Deadline(_) => "deadline",
            Self::Panic(_) => "panic",
        }
    }

    fn log(&self, controller: &'static str, key: &impl Display, attempts: u32, retry_in: Duration) {
        match self {
            Self::Error(error) => {
                let error = format!("{error:#}");
                tracing::warn!(controller, %key, attempts, ?retry_in, error, "reconcile failed");
            }
            Self::Deadline(deadline) => {
                tracing::warn!(controller, %key, attempts, ?retry_in, ?deadline, "reconcile took too long");
            }
            Self::Panic(message) => {
                tracing::error!(controller, %key, attempts, ?retry_in, message, "reconcile panicked");
            }
        }
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Waits until `at`; `None` at once where there is nothing to wait for.
async fn until(at: Option<Instant>) -> Option<()> {
    tokio::time::sleep_until(at?).await;
    Some(())
}

#[cfg(test)]
mod tests;
