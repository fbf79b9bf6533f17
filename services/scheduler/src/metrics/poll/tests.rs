//! The laws of the poller, in simulated time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::time::{sleep, timeout};

use super::*;

const INTERVAL: Duration = Duration::from_secs(10);

/// Answers every query with the next of its answers, and with the last one for ever. `None` hangs.
struct Script {
    answers: Mutex<VecDeque<Option<Result<f64, MetricError>>>>,
    rounds: AtomicUsize,
}

#[async_trait]
impl MetricSource for Script {
    async fn fetch(
        &self,
        queries: &[String],
        _deadline: Instant,
    ) -> HashMap<String, Result<f64, MetricError>> {
        self.rounds.fetch_add(1, Ordering::Relaxed);
        let answer = {
            let mut answers = self.answers.lock().unwrap();
            if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() }
        };
        match answer {
            Some(answer) => queries.iter().map(|query| (query.clone(), answer.clone())).collect(),
            None => std::future::pending().await,
        }
    }
}

fn script(answers: impl IntoIterator<Item = Option<Result<f64, MetricError>>>) -> Arc<Script> {
    Arc::new(Script { answers: Mutex::new(answers.into_iter().collect()), rounds: AtomicUsize::new(0) })
}

fn unreachable() -> Option<Result<f64, MetricError>> {
    Some(Err(MetricError::Unreachable("down".to_owned())))
}

fn target(source: Arc<Script>) -> Target {
    Target { source, version: 1, queries: BTreeSet::from(["load".to_owned()]), interval: INTERVAL }
}

fn provider(name: &str) -> NamespacedName {
    NamespacedName::new("", name)
}

fn polling(targets: impl IntoIterator<Item = (&'static str, Target)>) -> Poller {
    let mut poller = Poller::new();
    poller.set_targets(targets.into_iter().map(|(name, target)| (provider(name), target)).collect());
    poller
}

async fn settled(poller: &Poller) {
    let mut changes = poller.changes();
    while !poller.is_settled() {
        changes.changed().await.unwrap();
    }
}

fn load(poller: &Poller, name: &str) -> Option<Result<f64, MetricError>> {
    let answer = poller.readings().get(&provider(name))?.get("load").cloned()?;
    Some(answer.map(|reading| reading.value))
}

#[tokio::test(start_paused = true)]
async fn a_provider_is_asked_once_an_interval_however_often_the_values_are_read() {
    let source = script([Some(Ok(1.0))]);
    let poller = polling([("p", target(Arc::clone(&source)))]);
    settled(&poller).await;
    for _ in 0..1000 {
        assert_eq!(load(&poller, "p"), Some(Ok(1.0)));
    }
    sleep(INTERVAL * 9 + INTERVAL / 2).await;
    assert_eq!(source.rounds.load(Ordering::Relaxed), 10);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_delays_nobody_else() {
    let hanging = script([None]);
    let poller =
        polling([("good", target(script([Some(Ok(1.0))]))), ("hanging", target(Arc::clone(&hanging)))]);
    let mut changes = poller.changes();
    let begun = Instant::now();
    changes.changed().await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(load(&poller, "good"), Some(Ok(1.0)));
    assert_eq!(load(&poller, "hanging"), None, "asked, not answered yet");
    timeout(INTERVAL + ANSWER_GRACE * 2, settled(&poller)).await.unwrap();
    assert_eq!(load(&poller, "hanging"), Some(Err(MetricError::Unreachable("no answer in time".to_owned()))));
    sleep(INTERVAL * 3).await;
    assert!(hanging.rounds.load(Ordering::Relaxed) >= 3, "it is asked again");
}

#[tokio::test(start_paused = true)]
async fn a_value_outlives_its_provider_for_three_intervals_and_tells_its_age() {
    let poller = polling([("p", target(script([Some(Ok(1.0)), unreachable()])))]);
    settled(&poller).await;
    let mut changes = poller.changes();
    sleep(INTERVAL * 2 + INTERVAL / 2).await;
    let reading = poller.readings()[&provider("p")]["load"].clone();
    assert_eq!(reading, Ok(Reading { value: 1.0, age: INTERVAL * 2 + INTERVAL / 2 }));
    assert!(!changes.has_changed().unwrap(), "nothing to decide anew yet");
    timeout(INTERVAL * 2, changes.changed()).await.unwrap().unwrap();
    let error = MetricError::Unreachable("the last value is older than 30s: down".to_owned());
    assert_eq!(load(&poller, "p"), Some(Err(error)));
    assert!(timeout(INTERVAL * 10, changes.changed()).await.is_err(), "told once");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_knows_of_no_value_ends_the_last_one_at_once() {
    let invalid = MetricError::Invalid("gone".to_owned());
    let answers = [Some(Ok(1.0)), Some(Err(invalid.clone())), unreachable(), Some(Ok(2.0))];
    let poller = polling([("p", target(script(answers)))]);
    settled(&poller).await;
    let mut changes = poller.changes();
    for expected in [Err(invalid), Err(MetricError::Unreachable("down".to_owned())), Ok(2.0)] {
        timeout(INTERVAL * 2, changes.changed()).await.unwrap().unwrap();
        assert_eq!(load(&poller, "p"), Some(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_change_is_told() {
    let answers = [Some(Ok(1.0)), Some(Ok(1.0)), Some(Ok(1.0)), Some(Ok(2.0))];
    let poller = polling([("p", target(script(answers)))]);
    settled(&poller).await;
    let mut changes = poller.changes();
    let begun = Instant::now();
    changes.changed().await.unwrap();
    assert_eq!(begun.elapsed(), INTERVAL * 3);
    assert_eq!(load(&poller, "p"), Some(Ok(2.0)));
}

#[tokio::test(start_paused = true)]
async fn new_targets_disturb_only_what_has_changed() {
    let (same, old, new) = (script([Some(Ok(1.0))]), script([Some(Ok(2.0)), None]), script([Some(Ok(3.0))]));
    let mut poller =
        polling([("same", target(Arc::clone(&same))), ("p", target(old)), ("gone", target(script([None])))]);
    sleep(INTERVAL / 2).await;
    let mut changes = poller.changes();
    let mut more = target(Arc::clone(&new));
    more.version = 2;
    more.queries.insert("more".to_owned());
    poller.set_targets(HashMap::from([
        (provider("same"), target(Arc::clone(&same))),
        (provider("p"), more),
        (provider("idle"), Target { queries: BTreeSet::new(), ..target(script([None])) }),
    ]));
    assert_eq!(load(&poller, "p"), Some(Ok(2.0)), "until the new source answers");
    timeout(INTERVAL / 4, changes.changed()).await.unwrap().unwrap();
    assert_eq!(load(&poller, "p"), Some(Ok(3.0)));
    settled(&poller).await;
    let readings = poller.readings();
    assert_eq!(readings[&provider("p")].len(), 2);
    assert_eq!(readings.get(&provider("gone")), None);
    assert_eq!(readings[&provider("idle")], HashMap::new(), "it exists, and nothing is asked of it");
    assert_eq!(same.rounds.load(Ordering::Relaxed), 1);
    for _ in ["p", "gone"] {
        let ended = timeout(INTERVAL, poller.tasks.join_next()).await.unwrap().unwrap();
        assert!(ended.unwrap_err().is_cancelled());
    }
    assert_eq!(poller.tasks.len(), 2, "those of \"same\" and of the new \"p\"");
}

#[tokio::test(start_paused = true)]
async fn no_interval_is_too_short_or_too_long() {
    let (short, long) = (script([Some(Ok(1.0))]), script([Some(Ok(1.0))]));
    let poller = polling([
        ("short", Target { interval: Duration::ZERO, ..target(Arc::clone(&short)) }),
        ("long", Target { interval: Duration::MAX, ..target(long) }),
    ]);
    settled(&poller).await;
    sleep(Duration::from_millis(950)).await;
    assert_eq!(short.rounds.load(Ordering::Relaxed), 10);
    assert_eq!(load(&poller, "long"), Some(Ok(1.0)));
}
