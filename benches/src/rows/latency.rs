//! The time from a write to its event, beside that of etcd.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use etcd_client::{Client, WatchOptions as EtcdWatchOptions};
use futures::StreamExt;
use krake_client::{Api, Watch, WatchEvent, WatchOptions};
use krake_proto::Resource;
use krake_proto::krake::kubernetes::v1::Application;
use tokio::time::{Instant, timeout};

use super::ROUNDS;
use crate::environment::Environment;
use crate::objects;
use crate::report::{Row, Verdict};
use crate::statistics::{median, percentile};

/// Writes in a round, one after the other.
const WRITES: usize = 300;
/// The longest wait for one event.
const PATIENCE: Duration = Duration::from_secs(10);

/// 50th and 99th percentile of each round, in milliseconds.
#[derive(Default)]
struct Percentiles {
    half: Vec<f64>,
    tail: Vec<f64>,
}

impl Percentiles {
    fn add(&mut self, times: &[Duration]) {
        self.half.push(percentile(times, 50));
        self.tail.push(percentile(times, 99));
    }
}

pub(super) async fn measure(environment: &Environment) -> Result<Vec<Row>> {
    let state = environment.state("latency").await?;
    let api = state.client()?.api::<Application>();
    let mut watch = state
        .client()?
        .api::<Application>()
        .watch(WatchOptions { start: krake_client::Start::Now, ..WatchOptions::namespace("bench") });
    timeout(PATIENCE, watch.next())
        .await
        .context("the watch does not begin")?
        .context("the watch ended")??;
    let (mut krake, mut answers, mut etcd) =
        (Percentiles::default(), Percentiles::default(), Percentiles::default());
    for round in 0..ROUNDS {
        let (events, answered) = krake_round(&api, &mut watch, round).await?;
        krake.add(&events);
        answers.add(&answered);
        etcd.add(&etcd_round(environment, round).await?);
    }
    let row = |percentile: &str, krake: &[f64], etcd: &[f64], limit: f64| {
        let (krake, etcd) = (median(krake), median(etcd));
        let (work, goal) =
            (format!("put → watch event, {percentile}; peer: raw etcd"), format!("≤ {limit}×"));
        let mut row = Row::new(work, goal, Verdict::of(krake <= limit * etcd));
        (row.measured, row.peer) = (format!("{krake:.2} ms"), format!("{etcd:.2} ms"));
        row.ratio = format!("{:.1}×", krake / etcd);
        row
    };
    let mut tail = row("p99", &krake.tail, &etcd.tail, 4.0);
    tail.notes = vec![
        format!(
            "the answer of the create itself: p50 {:.2} ms, p99 {:.2} ms",
            median(&answers.half),
            median(&answers.tail)
        ),
        format!("p99 of each round: krake {:.2?} ms, etcd {:.2?} ms", krake.tail, etcd.tail),
    ];
    Ok(vec![row("p50", &krake.half, &etcd.half, 3.0), tail])
}

/// Times from before each create to its event, and to its answer.
async fn krake_round(
    api: &Api<Application>,
    watch: &mut Watch<Application>,
    round: usize,
) -> Result<(Vec<Duration>, Vec<Duration>)> {
    let (mut events, mut answers) = (Vec::new(), Vec::new());
    for number in 0..WRITES {
        let name = format!("a{round}-{number}");
        let object = objects::application("bench", &name);
        let begin = Instant::now();
        let create = async {
            api.create(&object).await?;
            anyhow::Ok(begin.elapsed())
        };
        let seen = async {
            timeout(PATIENCE, shown(watch, &name)).await.context("no event")??;
            anyhow::Ok(begin.elapsed())
        };
        let (answered, seen) = tokio::try_join!(create, seen)?;
        events.push(seen);
        answers.push(answered);
    }
    Ok((events, answers))
}

async fn shown(watch: &mut Watch<Application>, name: &str) -> Result<()> {
    while let Some(event) = watch.next().await {
        match event? {
            WatchEvent::Applied { object, .. } if object.metadata().is_some_and(|it| it.name == name) => {
                return Ok(());
            }
            _ => {}
        }
    }
    bail!("the watch ended")
}

async fn etcd_round(environment: &Environment, round: usize) -> Result<Vec<Duration>> {
    let mut kv = Client::connect([environment.etcd()], None).await?.kv_client();
    let mut watching = Client::connect([environment.etcd()], None).await?;
    let prefix = format!("/latency-raw/{round}/");
    let options = EtcdWatchOptions::new().with_prefix();
    let mut changes = watching.watch(prefix.clone(), Some(options)).await?;
    let value = objects::value();
    let mut times = Vec::new();
    for number in 0..WRITES {
        let key = format!("{prefix}{number}");
        let begin = Instant::now();
        let put = async { anyhow::Ok(kv.put(key, value.clone(), None).await?) };
        let seen = async {
            loop {
                let message = timeout(PATIENCE, changes.message()).await.context("no event")??;
                if !message.context("the watch ended")?.events().is_empty() {
                    return anyhow::Ok(begin.elapsed());
                }
            }
        };
        times.push(tokio::try_join!(put, seen)?.1);
    }
    Ok(times)
}
