//! Listing 3,000 applications, page by page.

use std::time::Duration;

use anyhow::{Result, ensure};
use etcd_client::{Client, GetOptions};
use krake_client::ListOptions;
use krake_proto::envelope::{ListRequest, ListResponse};
use krake_proto::krake::kubernetes::v1::Application;
use krake_proto::krake::meta::v1::{Consistency, View};
use prost::Message;
use tokio::time::Instant;

use super::{CONNECTIONS, CREATE, create_applications, rest};
use crate::call::Connections;
use crate::environment::{Environment, State};
use crate::load::Limit;
use crate::report::{Row, Verdict, cpu};
use crate::statistics::{median, milliseconds};
use crate::usage::Meter;

const LIST: &str = "/krake.kubernetes.v1.ApplicationService/ListApplications";
const APPLICATIONS: u64 = 3000;
const PAGE: i32 = 500;
const LISTS: usize = 15;
/// Name of the prefix in etcd.
const NAME: &str = "list";

pub(super) async fn measure(environment: &Environment) -> Result<Vec<Row>> {
    let state = environment.state(NAME).await?;
    let connections = Connections::open(state.url(), CONNECTIONS).await?;
    let limit = Limit { time: Duration::from_secs(25), calls: APPLICATIONS };
    create_applications(&connections, CREATE, "bench", "a", limit).await?;

    let sdk = sdk(&state).await?;
    let meter = Meter::start(&[
        ("client", std::process::id()),
        ("server", state.running.pid()?),
        ("etcd", environment.etcd_pid),
    ])?;
    let mut pages = Vec::new();
    for _ in 0..LISTS {
        pages.push(list(&connections).await?);
    }
    let used = cpu(&meter.per_call(LISTS as u64)?);
    let pages = |place: usize| median(&pages.iter().map(|times| times[place]).collect::<Vec<_>>());
    let first = pages(0);
    let all: Vec<f64> = (0..APPLICATIONS as usize / PAGE as usize).map(pages).collect();
    let whole: f64 = all.iter().sum();

    let mut row =
        Row::new("list of 3,000 applications, FULL, pages of 500, gRPC", "≤ 50 ms", Verdict::of(sdk <= 50.0));
    row.measured = format!("{sdk:.0} ms");
    row.notes = vec![
        format!("decoded by the SDK: {sdk:.1} ms; objects left encoded: {whole:.1} ms"),
        format!(
            "of these: first page {first:.1} ms, each later one {:.1} ms",
            (whole - first) / (all.len() - 1) as f64
        ),
        format!("etcd alone, six ranges of 500 at one revision: {:.1} ms", ranges(environment).await?),
        format!("{used} (one call = the whole list)"),
    ];
    Ok(vec![row, rest::list(&state, "bench", APPLICATIONS, LISTS).await?])
}

/// Milliseconds as a user of the SDK sees them, decoded.
async fn sdk(state: &State) -> Result<f64> {
    let api = state.client()?.api::<Application>();
    let options = ListOptions { page_size: PAGE, view: View::Full, ..Default::default() };
    let mut times = Vec::new();
    for _ in 0..LISTS {
        let begin = Instant::now();
        let found = api.list("bench", &options).await?.items.len();
        times.push(milliseconds(begin.elapsed()));
        ensure!(found as u64 == APPLICATIONS, "the list holds {found}");
    }
    Ok(median(&times))
}

/// Milliseconds of each page.
async fn list(connections: &Connections) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    let mut token = String::new();
    loop {
        let request = ListRequest {
            namespace: "bench".to_owned(),
            page_size: PAGE,
            page_token: token,
            label_selector: String::new(),
            view: View::Full.into(),
            consistency: Consistency::Linearizable.into(),
        };
        let begin = Instant::now();
        let answer = connections.unary(0, LIST, &request).await?;
        times.push(milliseconds(begin.elapsed()));
        token = ListResponse::decode(answer)?.next_page_token;
        if token.is_empty() {
            ensure!(times.len() as u64 == APPLICATIONS / PAGE as u64, "the list has {} pages", times.len());
            return Ok(times);
        }
    }
}

/// Milliseconds that etcd takes for the same entries.
async fn ranges(environment: &Environment) -> Result<f64> {
    let mut kv = Client::connect([environment.etcd()], None).await?.kv_client();
    let prefix = format!("/{NAME}/krake/kubernetes/applications/bench/");
    let end = format!("/{NAME}/krake/kubernetes/applications/bench0");
    let mut times = Vec::new();
    for _ in 0..LISTS {
        let (mut start, mut revision) = (prefix.clone().into_bytes(), 0);
        let begin = Instant::now();
        loop {
            let options = GetOptions::new().with_range(end.clone()).with_limit(PAGE.into());
            let answer = kv.get(start, Some(options.with_revision(revision))).await?;
            revision = answer.header().map_or(0, |header| header.revision());
            let Some(last) = answer.kvs().last().filter(|_| answer.more()) else { break };
            start = [last.key(), b"\0"].concat();
        }
        times.push(milliseconds(begin.elapsed()));
    }
    Ok(median(&times))
}
