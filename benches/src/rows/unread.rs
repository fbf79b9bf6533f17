//! Watches that begin with all objects and are never read: what they cost the API server.

use std::time::Duration;

use anyhow::{Context, Result};
use krake_integration::folder;
use krake_proto::envelope::{CreateRequest, GetRequest, WatchRequest, WatchStart};
use krake_proto::krake::core::v1::{Metric, MetricSource, MetricSpec};
use krake_proto::krake::meta::v1::Consistency;
use prost::Message;
use tokio::time::{Instant, sleep};

use super::CLIENTS;
use crate::call::Connections;
use crate::environment::State;
use crate::load::{self, Limit};
use crate::objects;
use crate::report::{Row, Verdict, cpu};
use crate::statistics::{milliseconds, percentile};
use crate::usage::{self, Meter};

const CREATE: &str = "/krake.core.v1.MetricService/CreateMetric";
const GET: &str = "/krake.core.v1.MetricService/GetMetric";
const WATCH: &str = "/krake.core.v1.MetricService/WatchMetrics";
const METRICS: u64 = 100_000;
const WATCHES: usize = 400;
/// What the watches share. Each connection has flow control of its own, so more of them make the server hold more.
const CONNECTIONS: usize = 100;
/// Calls of each measurement, one after the other.
const GETS: u64 = 1_000;
/// In MiB.
const MEMORY: f64 = 400.0;
/// How much slower a Get may be, in its slowest hundredth.
const SLOWER: f64 = 10.0;
/// The longest time that it all may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(150);

pub(super) async fn measure() -> Result<Vec<Row>> {
    let folder = folder::create("unread")?;
    let file = folder.path().join("krake.db");
    let state =
        State::start(&["--store", "sqlite", "--sqlite-file", file.to_str().context("a path")?]).await?;
    let pid = state.running.pid()?;
    let connections = Connections::open(state.url(), super::CONNECTIONS).await?;
    let limit = Limit { time: PATIENCE, calls: METRICS };
    let calls = connections.clone();
    let created = load::run(CLIENTS, limit, move |client, number| {
        let calls = calls.clone();
        async move { calls.unary(client, CREATE, &create(number)).await.map(drop) }
    });
    let created = created.await?;
    let before = usage::resident(pid)?;
    let idle = percentile(&gets(&connections).await?, 99);

    let watching = Connections::open_narrow(state.url(), CONNECTIONS).await?;
    let meter = Meter::start(&[("server", pid)])?;
    let opening = tokio::spawn(async move {
        let begin = Instant::now();
        let mut streams = Vec::with_capacity(WATCHES);
        for number in 0..WATCHES {
            let request = WatchRequest {
                namespace: "bench".to_owned(),
                start: Some(WatchStart::InitialState(true)),
                ..Default::default()
            };
            streams.push(watching.stream(number, WATCH, &request).await?);
        }
        anyhow::Ok((streams, begin.elapsed()))
    });
    let meanwhile = gets(&connections).await?;
    let (half, meanwhile) = (percentile(&meanwhile, 50), percentile(&meanwhile, 99));
    let (streams, took) = opening.await??;
    // What the connections take is taken by then.
    sleep(Duration::from_secs(2)).await;
    let after = usage::resident(pid)?;
    let used = cpu(&meter.per_call(WATCHES as u64)?);
    let opened = percentile(&gets(&connections).await?, 99);
    drop(streams);

    let work = format!("{WATCHES} unread watches of {METRICS} metrics on SQLite");
    let mut memory = Row::new(
        format!("{work}: memory; peer: before them"),
        format!("≤ {MEMORY:.0} MiB"),
        Verdict::of(after <= MEMORY),
    );
    (memory.measured, memory.peer) = (format!("{after:.0} MiB"), format!("{before:.0} MiB"));
    memory.ratio = format!("{:.1}×", after / before);
    memory.notes = vec![
        format!("{used} (one call = a watch, reads meanwhile included)"),
        format!("each watch: {:.0} KiB", (after - before) * 1024.0 / WATCHES as f64),
        format!("most memory ever: {:.0} MiB", usage::peak(pid)?),
        format!("created: {:.0}/s", created.rate()),
    ];
    let slowest = opened.max(meanwhile);
    let mut get = Row::new(
        "  the same: get p99; peer: before them",
        format!("≤ {SLOWER:.0}×"),
        Verdict::of(slowest <= SLOWER * idle),
    );
    (get.measured, get.peer) = (format!("{slowest:.2} ms"), format!("{idle:.2} ms"));
    get.ratio = format!("{:.1}×", slowest / idle);
    get.notes = vec![format!(
        "while they are opened, which takes {:.0} ms, {meanwhile:.2} ms (p50 {half:.2} ms); afterwards {opened:.2} ms",
        milliseconds(took)
    )];
    Ok(vec![memory, get])
}

fn create(number: u64) -> CreateRequest {
    let name = format!("metric{number}");
    let provider = MetricSource { name: "prometheus".to_owned(), metric: format!("load_{number}") };
    let spec =
        MetricSpec { min: Some(0.0), max: Some(100.0), provider: Some(provider), ..Default::default() };
    let metadata = Some(objects::metadata("bench", &name));
    let object = Metric { metadata, spec: Some(spec) }.encode_to_vec().into();
    CreateRequest { namespace: "bench".to_owned(), name, object, ..Default::default() }
}

/// Times of reads that follow each other.
async fn gets(connections: &Connections) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for number in 0..GETS {
        let request = GetRequest {
            namespace: "bench".to_owned(),
            name: format!("metric{}", number * (METRICS / GETS)),
            consistency: Consistency::Linearizable.into(),
        };
        let begin = Instant::now();
        connections.unary(0, GET, &request).await?;
        times.push(begin.elapsed());
    }
    Ok(times)
}
