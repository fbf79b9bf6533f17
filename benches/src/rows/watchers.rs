//! Writing while a thousand clients watch the kind, beside writing while one does.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use krake_integration::wait;
use krake_proto::Resource;
use krake_proto::envelope::{WatchRequest, WatchResponse, WatchStart};
use krake_proto::krake::kubernetes::v1::Application;
use krake_proto::krake::meta::v1::View;
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use super::ROUNDS;
use crate::call::Connections;
use crate::environment::{Environment, Running, State};
use crate::objects;
use crate::report::{Row, Verdict, cpu};
use crate::statistics::percentile;
use crate::usage::Meter;

const WATCH: &str = "/krake.kubernetes.v1.ApplicationService/WatchApplications";
const MANY: u64 = 1000;
/// Between two writes.
const PAUSE: Duration = Duration::from_millis(20);
/// Writes in a round: two seconds of them.
const WRITES: u64 = 100;
/// What the watchers share.
const CONNECTIONS: usize = 10;
/// The longest time for all watches to begin, and for all events to arrive.
const PATIENCE: Duration = Duration::from_secs(20);
/// What the watchers print when all of them follow.
const BEGUN: &str = "all watch";

/// Options of the process that watches.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address of the API.
    #[arg(long)]
    url: String,
    /// Number of watches.
    #[arg(long)]
    count: u64,
    /// Events that each of them is to see.
    #[arg(long)]
    events: u64,
}

/// Watches until every watch has seen that many events; fails if that takes too long.
pub(crate) async fn run(args: Args) -> Result<()> {
    let connections = Connections::open(&args.url, CONNECTIONS).await?;
    let (begun, mut ready) = mpsc::channel(64);
    let mut watches = JoinSet::new();
    for number in 0..args.count {
        let (connections, begun) = (connections.clone(), begun.clone());
        watches.spawn(async move {
            let request = WatchRequest {
                namespace: "-".to_owned(),
                view: View::Full.into(),
                start: Some(WatchStart::Now(true)),
                ..Default::default()
            };
            let mut stream = connections.stream(usize::try_from(number)?, WATCH, &request).await?;
            stream.next().await.context("the watch does not begin")??;
            begun.send(()).await?;
            let mut seen = 0;
            while seen < args.events {
                let message = stream.next().await.context("the watch ended")??;
                seen += WatchResponse::decode(message)?.events.len() as u64;
            }
            anyhow::Ok(())
        });
    }
    drop(begun);
    for _ in 0..args.count {
        ready.recv().await.context("a watch failed")?;
    }
    eprintln!("{BEGUN}");
    let end = Instant::now() + PATIENCE;
    while let Some(ended) = timeout_at(end, watches.join_next()).await.context("events are missing")? {
        ended??;
    }
    Ok(())
}

pub(super) async fn measure(environment: &Environment) -> Result<Vec<Row>> {
    let state = environment.state("watchers").await?;
    let (mut with_one, mut with_many, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for (count, times) in [(1, &mut with_one), (MANY, &mut with_many)] {
            let (written, used) = writes(environment, &state, count, round).await?;
            notes.push(format!(
                "round {round}, {count:4} watching: p50 {:.2} ms, p99 {:.2} ms; {used}",
                percentile(&written, 50),
                percentile(&written, 99)
            ));
            times.extend(written);
        }
    }
    let (many, one) = (percentile(&with_many, 99), percentile(&with_one, 99));
    let work = "50 writes/s, 1,000 watchers, write p99; peer: the same with 1";
    let mut row = Row::new(work, "≤ 2×", Verdict::of(many <= 2.0 * one));
    (row.measured, row.peer) = (format!("{many:.2} ms"), format!("{one:.2} ms"));
    row.ratio = format!("{:.1}×", many / one);
    row.notes = notes;
    Ok(vec![row])
}

/// Times of creates at a steady pace while `count` clients watch, and the CPU time of each.
async fn writes(
    environment: &Environment,
    state: &State,
    count: u64,
    round: usize,
) -> Result<(Vec<Duration>, String)> {
    let (count_text, events) = (count.to_string(), WRITES.to_string());
    let args = ["watchers", "--url", state.url(), "--count", &count_text, "--events", &events];
    let mut watchers = Running::start("krake-bench", &args, state.url())?;
    let begun = async || watchers.process.log().contains(BEGUN).then_some(());
    wait::until("all watches to begin", PATIENCE, begun).await.with_context(|| watchers.process.log())?;
    let meter = Meter::start(&[
        ("watchers", watchers.pid()?),
        ("server", state.running.pid()?),
        ("etcd", environment.etcd_pid),
    ])?;
    let api = state.client()?.api::<Application>();
    let mut pace = interval(PAUSE);
    // Late writes come at once, so that the load stays what it is.
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut calls = JoinSet::new();
    for number in 0..WRITES {
        let due = pace.tick().await;
        let (api, name) = (api.clone(), format!("a{round}-{count}-{number}"));
        calls.spawn(async move {
            let object = objects::application("bench", &name);
            let stored = api.create(&object).await?;
            ensure!(stored.metadata().is_some(), "the answer has no metadata");
            anyhow::Ok(due.elapsed())
        });
    }
    let mut times = Vec::new();
    while let Some(call) = calls.join_next().await {
        times.push(call??);
    }
    let used = cpu(&meter.per_call(WRITES)?);
    let ended = watchers.process.ended(PATIENCE).await.with_context(|| watchers.process.log())?;
    ensure!(ended.success(), "the watchers failed: {}", watchers.process.log());
    Ok((times, used))
}
