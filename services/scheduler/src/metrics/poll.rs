//! Asks every provider at regular intervals, for all applications together, and remembers the answers.
//!
//! Each provider has a task of its own, so that one that hangs delays no other. A value outlives a provider that does
//! not answer for three intervals; then the error takes its place.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{MetricError, MetricSource};
use crate::world::{Reading, Readings};
use krake_client::NamespacedName;

/// A value is used for this many intervals.
const LIFETIME_INTERVALS: u32 = 3;
/// The longest time a provider may take to answer, however long the interval is.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// The shortest and the longest interval.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(86_400));
/// What a source gets on top before it is cut off with all of its queries.
const ANSWER_GRACE: Duration = Duration::from_millis(500);

/// A provider and what to ask it.
#[derive(Clone)]
pub struct Target {
    /// How to ask it.
    pub source: Arc<dyn MetricSource>,
    /// Changes with the provider's spec: another version is another source. The resource version will do.
    pub version: i64,
    /// The queries of all metrics that name the provider.
    pub queries: BTreeSet<String>,
    /// Time from the beginning of one round to that of the next; from 100 ms to one day, or the nearer of both.
    pub interval: Duration,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("version", &self.version)
            .field("queries", &self.queries)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

impl Target {
    fn asks_the_same_as(&self, other: &Self) -> bool {
        let bounded = |target: &Self| target.interval.clamp(INTERVALS.0, INTERVALS.1);
        self.version == other.version && self.queries == other.queries && bounded(self) == bounded(other)
    }
}

/// The cache of metric values. Dropping it ends the polling.
#[derive(Debug)]
pub struct Poller {
    memory: Arc<Memory>,
    targets: HashMap<NamespacedName, (Target, Option<AbortHandle>)>,
    tasks: JoinSet<()>,
    tasks_spawned: u64,
}

/// What the tasks write and the decisions read.
#[derive(Debug)]
struct Memory {
    providers: Mutex<HashMap<NamespacedName, Answers>>,
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct Answers {
    /// The task that may write here.
    task: u64,
    lifetime: Duration,
    queries: HashMap<String, Entry>,
}

/// What is known of one query.
#[derive(Debug, Default)]
struct Entry {
    /// The last value, and when its round began.
    value: Option<(f64, Instant)>,
    /// Why the last round gave none.
    failure: Option<MetricError>,
    /// What was told last, to see what is news.
    told: Option<Result<f64, MetricError>>,
}

impl Entry {
    /// What holds now; `None` before the first answer.
    fn present(&self, now: Instant, lifetime: Duration) -> Option<Result<Reading, MetricError>> {
        let Some((value, read)) = self.value else {
            return self.failure.clone().map(Err);
        };
        let age = now.saturating_duration_since(read);
        if age <= lifetime {
            return Some(Ok(Reading { value, age }));
        }
        Some(Err(match &self.failure {
            Some(MetricError::Unreachable(why)) => {
                MetricError::Unreachable(format!("the last value is older than {lifetime:?}: {why}"))
            }
            _ => MetricError::Invalid(format!("the last value is older than {lifetime:?}")),
        }))
    }

    fn record(&mut self, answer: Result<f64, MetricError>, begun: Instant) {
        match answer {
            Ok(value) => (self.value, self.failure) = (Some((value, begun)), None),
            // The provider knows that there is no value: the last one is over.
            Err(invalid @ MetricError::Invalid(_)) => (self.value, self.failure) = (None, Some(invalid)),
            Err(unreachable @ MetricError::Unreachable(_)) => self.failure = Some(unreachable),
        }
    }
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, HashMap<NamespacedName, Answers>> {
        // Nothing that holds the lock panics halfway through a change.
        self.providers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in the answers of one round, and tells if that changed anything.
    fn record(
        &self,
        provider: &NamespacedName,
        task: u64,
        begun: Instant,
        mut round: HashMap<String, Result<f64, MetricError>>,
    ) {
        let mut news = false;
        let mut providers = self.lock();
        let Some(answers) = providers.get_mut(provider).filter(|answers| answers.task == task) else {
            return;
        };
        for (query, entry) in &mut answers.queries {
            let missing = || Err(MetricError::Unreachable("no answer in time".to_owned()));
            entry.record(round.remove(query).unwrap_or_else(missing), begun);
            let present =
                entry.present(Instant::now(), answers.lifetime).map(|held| held.map(|reading| reading.value));
            if present != entry.told {
                match (&present, &entry.told) {
                    (Some(Err(error)), _) => tracing::warn!(%provider, query, %error, "metric has no value"),
                    (_, Some(Err(_))) => tracing::info!(%provider, query, "metric has a value again"),
                    _ => {}
                }
                entry.told = present;
                news = true;
            }
        }
        drop(providers);
        if news {
            self.changes.send_modify(|count| *count += 1);
        }
    }
}

impl Default for Poller {
    fn default() -> Self {
        Self::new()
    }
}

impl Poller {
    /// A cache that asks nobody yet.
    pub fn new() -> Self {
        let memory = Memory { providers: Mutex::default(), changes: watch::Sender::new(0) };
        Self { memory: Arc::new(memory), targets: HashMap::new(), tasks: JoinSet::new(), tasks_spawned: 0 }
    }

    /// Asks these providers from now on, and no others. What stays the same goes on undisturbed; what is new or has
    /// changed is asked at once. Values of queries that stay are kept until their provider answers again.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn set_targets(&mut self, targets: HashMap<NamespacedName, Target>) {
        while self.tasks.try_join_next().is_some() {}
        self.targets.retain(|provider, (target, task)| {
            let stays = targets.get(provider).is_some_and(|wanted| wanted.asks_the_same_as(target));
            if let (false, Some(task)) = (stays, task) {
                task.abort();
            }
            stays
        });
        let mut providers = self.memory.lock();
        providers.retain(|provider, _| targets.contains_key(provider));
        for (provider, mut target) in targets {
            if self.targets.contains_key(&provider) {
                continue;
            }
            target.interval = target.interval.clamp(INTERVALS.0, INTERVALS.1);
            self.tasks_spawned += 1;
            let task = self.tasks_spawned;
            let mut kept = providers.remove(&provider).map(|answers| answers.queries).unwrap_or_default();
            let queries =
                target.queries.iter().map(|query| (query.clone(), kept.remove(query).unwrap_or_default()));
            let lifetime = target.interval.saturating_mul(LIFETIME_INTERVALS);
            providers.insert(provider.clone(), Answers { task, lifetime, queries: queries.collect() });
            let handle = (!target.queries.is_empty()).then(|| {
                self.tasks.spawn(poll(Arc::clone(&self.memory), provider.clone(), task, target.clone()))
            });
            self.targets.insert(provider, (target, handle));
        }
    }

    /// What is known now. Every provider that was set has an entry.
    pub fn readings(&self) -> Readings {
        let now = Instant::now();
        let present = |answers: &Answers| {
            let held = |(query, entry): (&String, &Entry)| {
                Some((query.clone(), entry.present(now, answers.lifetime)?))
            };
            answers.queries.iter().filter_map(held).collect()
        };
        self.memory.lock().iter().map(|(provider, answers)| (provider.clone(), present(answers))).collect()
    }

    /// Changes whenever a value or an error does, and only then. What the targets are does not matter here.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.memory.changes.subscribe()
    }

    /// How often that has changed so far.
    pub fn version(&self) -> u64 {
        *self.memory.changes.borrow()
    }

    /// Whether every query was answered, or failed, at least once. A provider that hangs takes its time.
    pub fn is_settled(&self) -> bool {
        let providers = self.memory.lock();
        providers.values().flat_map(|answers| answers.queries.values()).all(|entry| entry.told.is_some())
    }
}

async fn poll(memory: Arc<Memory>, provider: NamespacedName, task: u64, target: Target) {
    let queries: Vec<_> = target.queries.iter().cloned().collect();
    loop {
        let begun = Instant::now();
        let deadline = begun + target.interval.min(ANSWER_MAX);
        let round = timeout_at(deadline + ANSWER_GRACE, target.source.fetch(&queries, deadline)).await;
        memory.record(&provider, task, begun, round.unwrap_or_default());
        sleep_until(begun + target.interval).await;
    }
}

#[cfg(test)]
mod tests;
