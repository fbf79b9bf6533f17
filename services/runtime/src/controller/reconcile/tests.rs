//! Laws of the controller loop, on paused time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::bail;
use futures::future::BoxFuture;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::sync::mpsc;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::metrics::Metrics;

const SECOND: Duration = Duration::from_secs(1);
/// The trace of the write that all objects show.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

type Script = dyn Fn(String, usize) -> BoxFuture<'static, anyhow::Result<Next>> + Send + Sync;

/// Does what the script says for the n-th attempt at a key, and reports each attempt.
struct Scripted {
    script: Box<Script>,
    attempts: Mutex<HashMap<String, usize>>,
    seen: mpsc::Sender<(String, Duration)>,
    start: Instant,
    keys: Vec<String>,
}

impl Reconciler for Scripted {
    type Key = String;

    async fn reconcile(&self, key: &String) -> anyhow::Result<Next> {
        let attempt = {
            let mut attempts = self.attempts.lock().unwrap();
            let count = attempts.entry(key.clone()).or_default();
            *count += 1;
            *count
        };
        self.seen.send((key.clone(), self.start.elapsed())).await.unwrap();
        (self.script)(key.clone(), attempt).await
    }

    fn trace_parent(&self, _: &String) -> Option<String> {
        Some(format!("00-{TRACE}-b7ad6b7169203331-01"))
    }

    fn keys(&self) -> Vec<String> {
        self.keys.clone()
    }
}

struct Running {
    queue: Queue<String>,
    seen: mpsc::Receiver<(String, Duration)>,
    shutdown: Shutdown,
    controller: tokio::task::JoinHandle<()>,
    metrics: Metrics,
}

fn start<F>(options: ControllerOptions, keys: &[&str], script: F) -> Running
where
    F: Fn(String, usize) -> BoxFuture<'static, anyhow::Result<Next>> + Send + Sync + 'static,
{
    let (sender, seen) = mpsc::channel(100);
    let reconciler = Scripted {
        script: Box::new(script),
        attempts: Mutex::default(),
        seen: sender,
        start: Instant::now(),
        keys: keys.iter().map(|key| key.to_string()).collect(),
    };
    let (queue, shutdown, metrics) = (Queue::new(), Shutdown::new(), Metrics::new());
    let options = ControllerOptions { metrics: ControllerMetrics::register(&metrics), ..options };
    let controller =
        tokio::spawn(run("test", Arc::new(reconciler), queue.clone(), options, shutdown.clone()));
    Running { queue, seen, shutdown, controller, metrics }
}

impl Running {
    fn add(&self, key: &str) {
        self.queue.add(key.to_owned(), Priority::Change);
    }

    async fn attempt(&mut self) -> (String, Duration) {
        self.seen.recv().await.unwrap()
    }

    async fn stop(self) -> Duration {
        let asked = Instant::now();
        self.shutdown.request();
        self.controller.await.unwrap();
        asked.elapsed()
    }
}

fn backoff(seconds: u64) -> ControllerOptions {
    let wait = SECOND * u32::try_from(seconds).unwrap();
    let backoff = Backoff { initial: wait, max: wait * 4, factor: 2.0 };
    ControllerOptions { backoff, seed: Some(1), ..Default::default() }
}

/// Checks that the second attempt came after the wait for one failure, counted for `reason`.
async fn is_retried(mut running: Running, failed_after: Duration, reason: &str) {
    running.add("demo/a");
    let (_, first) = running.attempt().await;
    let (key, second) = running.attempt().await;
    assert_eq!(key, "demo/a");
    let wait = second - first - failed_after;
    assert!(wait >= SECOND * 5 && wait <= SECOND * 10, "{wait:?}");
    let text = running.metrics.encode().unwrap();
    let line = format!("krake_reconcile_errors_total{{controller=\"test\",reason=\"{reason}\"}} 1\n");
    assert!(text.contains(&line), "{text}");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_error_is_retried_with_backoff() {
    let script = |_, attempt| -> BoxFuture<'static, _> {
        Box::pin(async move { if attempt == 1 { bail!("not yet") } else { Ok(Next::Done) } })
    };
    is_retried(start(backoff(10), &[], script), Duration::ZERO, "error").await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_retried_with_backoff() {
    let script = |_, attempt| -> BoxFuture<'static, _> {
        Box::pin(async move { if attempt == 1 { panic!("a defect") } else { Ok(Next::Done) } })
    };
    is_retried(start(backoff(10), &[], script), Duration::ZERO, "panic").await;
}

#[tokio::test(start_paused = true)]
async fn a_reconcile_beyond_its_deadline_is_cancelled_and_retried() {
    let options = ControllerOptions { deadline: SECOND * 30, ..backoff(10) };
    let script = |_, attempt| -> BoxFuture<'static, _> {
        Box::pin(async move { if attempt == 1 { std::future::pending().await } else { Ok(Next::Done) } })
    };
    is_retried(start(options, &[], script), SECOND * 30, "deadline").await;
}

#[tokio::test(start_paused = true)]
async fn the_wait_starts_again_after_a_success() {
    let script = |_, attempt| -> BoxFuture<'static, _> {
        Box::pin(async move {
            match attempt {
                1 | 2 | 4 => bail!("not yet"),
                _ => Ok(Next::Done),
            }
        })
    };
    let mut running = start(backoff(10), &[], script);
    running.add("a");
    let mut times = Vec::new();
    for _ in 0..3 {
        times.push(running.attempt().await.1);
    }
    assert!(times[2] - times[1] > SECOND * 10, "the second wait is longer");
    running.add("a");
    let failed = running.attempt().await.1;
    let again = running.attempt().await.1;
    assert!(again - failed <= SECOND * 10, "the first wait again");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_looks_again_in_time_and_done_does_not() {
    let script = |_, attempt| -> BoxFuture<'static, _> {
        Box::pin(async move { Ok(if attempt < 3 { Next::After(SECOND * 7) } else { Next::Done }) })
    };
    let mut running = start(ControllerOptions::default(), &[], script);
    running.add("a");
    for expected in [0, 7, 14] {
        assert_eq!(running.attempt().await.1.as_secs(), expected);
    }
    tokio::time::sleep(SECOND * 3600).await;
    assert!(running.seen.try_recv().is_err());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn resync_asks_for_all_keys_each_period() {
    let options = ControllerOptions { resync: Some(SECOND * 60), workers: 1, ..Default::default() };
    let mut running = start(options, &["a", "b"], |_, _| Box::pin(async { Ok(Next::Done) }));
    for (key, seconds) in [("a", 60), ("b", 60), ("a", 120), ("b", 120)] {
        let (seen, at) = running.attempt().await;
        assert_eq!((seen.as_str(), at.as_secs()), (key, seconds));
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn as_many_keys_at_once_as_there_are_workers_but_each_key_once() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (busy, peak) = (now.clone(), most.clone());
    let script = move |_, _| -> BoxFuture<'static, _> {
        let (busy, peak) = (busy.clone(), peak.clone());
        Box::pin(async move {
            peak.fetch_max(busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(SECOND).await;
            busy.fetch_sub(1, Ordering::SeqCst);
            Ok(Next::Done)
        })
    };
    let mut running = start(ControllerOptions { workers: 3, ..Default::default() }, &[], script);
    for key in 0..9 {
        running.add(&format!("key {key}"));
    }
    for _ in 0..9 {
        running.attempt().await;
    }
    running.stop().await;
    assert_eq!((most.load(Ordering::SeqCst), now.load(Ordering::SeqCst)), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_reconciles_under_way_but_not_for_ever() {
    let options = || ControllerOptions { drain: SECOND * 5, ..Default::default() };
    let mut quick = start(options(), &[], |_, _| {
        Box::pin(async {
            tokio::time::sleep(SECOND * 3).await;
            Ok(Next::Done)
        })
    });
    quick.add("a");
    quick.attempt().await;
    let metrics = quick.metrics.clone();
    assert_eq!(quick.stop().await.as_secs(), 3);
    let text = metrics.encode().unwrap();
    assert!(text.contains("krake_reconcile_duration_seconds_sum{controller=\"test\"} 3"), "{text}");

    let mut stuck = start(options(), &[], |_, _| Box::pin(std::future::pending()));
    stuck.add("a");
    stuck.attempt().await;
    assert_eq!(stuck.stop().await.as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn the_depth_of_the_queue_is_shown() {
    let mut running = start(ControllerOptions { workers: 1, ..Default::default() }, &[], |_, _| {
        Box::pin(std::future::pending())
    });
    for key in ["a", "b", "c"] {
        running.add(key);
    }
    running.queue.add_after("d".into(), Priority::Resync, SECOND * 9);
    running.attempt().await;
    let text = running.metrics.encode().unwrap();
    for (state, keys) in [("ready", 2), ("delayed", 1), ("working", 1)] {
        let line = format!("krake_queue_depth{{controller=\"test\",state=\"{state}\"}} {keys}\n");
        assert!(text.contains(&line), "{text}");
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_reconcile_after_a_change_continues_the_trace_of_the_write() {
    let tracer = SdkTracerProvider::builder().build().tracer("test");
    let layer = tracing_opentelemetry::layer().with_tracer(tracer).boxed();
    let _default = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let traces = Arc::new(Mutex::new(Vec::new()));
    let seen = traces.clone();
    let mut running = start(ControllerOptions::default(), &[], move |_, _| {
        let trace = tracing::Span::current().context().span().span_context().trace_id().to_string();
        seen.lock().unwrap().push(trace == TRACE);
        Box::pin(async { Ok(Next::Done) })
    });
    running.add("a");
    running.attempt().await;
    running.queue.add("b".into(), Priority::Resync);
    running.attempt().await;
    running.stop().await;
    assert_eq!(*traces.lock().unwrap(), [true, false], "a resync follows from no write");
}
