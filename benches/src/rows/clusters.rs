//! What simulated clusters and their applications cost the adapter: while nothing happens, when objects are changed by
//! hand, after a restart, and when one of the clusters answers without end or not at all.

mod fleet;
mod repair;

use std::time::Duration;

use anyhow::{Context, Result};
use krake_client::{Client, ConnectOptions};
use krake_cluster_sim::{Down, Fault, Faults, Rule, RuleVerb};
use krake_integration::{folder, http, ports};
use tokio::time::Instant;

use crate::environment::{Running, State};
use crate::report::{Row, Verdict};
use crate::statistics::percentile;
use crate::usage;
use fleet::{Size, Terrain};

/// What the goals speak of.
const SIZE: Size = Size { clusters: 200, applications: 50 };
/// The longest time for the whole.
pub(super) const PATIENCE: Duration = Duration::from_secs(1800);
/// How long nothing happens, and requests and CPU are counted.
const REST: Duration = Duration::from_secs(30);
/// Until what came before a measurement has settled.
const CALM: Duration = Duration::from_secs(10);
/// Pause between two looks at what was reported.
const POLL: Duration = Duration::from_secs(1);
/// The metric of the state service that counts the reports of what is seen of copies.
const REPORTS: &str = concat!(
    "krake_rpc_duration_seconds_count",
    r#"{method="krake.kubernetes.v1.ApplicationService/ReportObservation",code="OK"}"#,
);
/// Number of repairs that a percentile is of.
const REPAIRS: usize = 200;
/// Length of the answer of a cluster that answers without end.
const HUGE: u64 = 1_500_000_000;
/// How long a cluster answers so.
const TROUBLE: Duration = Duration::from_secs(20);
/// Number of repairs before, while and after a cluster hangs, each. With [`HANGING_PAUSE`] they take 40 s and more: the hang
/// is noticed after 15 to 20 s.
const HANGING_REPAIRS: usize = 400;
/// Pause between two rounds of these repairs.
const HANGING_PAUSE: Duration = Duration::from_millis(400);
/// Number of applications of the hanging cluster that users change meanwhile: more than may be worked on there at once.
const HANGING_CHANGES: usize = 20;

pub(super) async fn measure() -> Result<Vec<Row>> {
    let data = folder::create("clusters")?;
    let file = data.path().join("krake.db");
    let state =
        State::start(&["--store", "sqlite", "--sqlite-file", file.to_str().context("a path")?]).await?;
    let (_scheduler, _) = state.controller("krake-scheduler", &[]).await?;
    let (mut adapter, _) = state.controller("krake-kubernetes", &[]).await?;
    let terrain = Terrain::start(SIZE).await?;
    let client = state.client()?;
    let begun = Instant::now();
    terrain.register(&client).await?;
    terrain.deploy(&client).await?;
    let deployed = begun.elapsed();
    eprintln!("  first reports of what is seen");
    let reporting = first_reports(&state, &adapter).await?;

    eprintln!("  while nothing happens");
    let mut rows = steady(&terrain, &adapter).await?;
    rows[1].notes.push(reporting);
    rows[0].notes.push(format!("registered, deployed and RUNNING after {:.0} s", deployed.as_secs_f64()));
    eprintln!("  repairs");
    let usual = repair::times(&terrain, REPAIRS, 1, None, Duration::ZERO).await?;
    let usual = p99(&usual);
    let work = format!("repair of an object changed by hand, p99 of {REPAIRS}");
    rows.push(seconds(&work, usual, Duration::from_secs(2)));
    eprintln!("  a restart");
    rows.push(restart(&terrain, &mut adapter).await?);
    tokio::time::sleep(CALM).await;
    eprintln!("  answers without end");
    rows.push(endless(&terrain, &adapter).await?);
    tokio::time::sleep(CALM).await;
    eprintln!("  a cluster that hangs");
    rows.push(hanging(&terrain, &client).await?);
    drop(adapter);
    terrain.stop().await?;
    Ok(rows)
}

/// The memory of `krake`, with everything in it but the clusters.
pub(super) async fn in_one_process() -> Result<Vec<Row>> {
    let data = folder::create("clusters-whole")?;
    let [api, rest, admin] = ports::free()?.map(|port| format!("127.0.0.1:{port}"));
    let data_dir = data.path().to_str().context("a path")?;
    let args = ["--data-dir", data_dir, "--listen", &api, "--rest-listen", &rest, "--admin-listen", &admin];
    let mut krake = Running::start("krake", &args, &admin)?;
    krake.ready().await?;
    let terrain = Terrain::start(SIZE).await?;
    let client = Client::new(&ConnectOptions::new(format!("http://{api}")))?;
    terrain.register(&client).await?;
    terrain.deploy(&client).await?;
    tokio::time::sleep(CALM).await;
    let pid = krake.pid()?;
    let memory = usage::resident(pid)?;
    let count = SIZE.clusters * SIZE.applications;
    let mut row = Row::new(
        format!("{count} applications of 3 objects in one process: memory of krake"),
        "≤ 300 MiB",
        Verdict::of(memory <= 300.0),
    );
    row.measured = format!("{memory:.0} MiB");
    row.notes = vec![format!("at most: {:.0} MiB", usage::peak(pid)?)];
    drop(krake);
    terrain.stop().await?;
    Ok(vec![row])
}

fn p99(times: &[Duration]) -> Duration {
    Duration::from_secs_f64(percentile(times, 99) / 1e3)
}

/// A row whose figure is a time.
fn seconds(work: &str, measured: Duration, goal: Duration) -> Row {
    let goal_text = format!("≤ {:.1} s", goal.as_secs_f64());
    let mut row = Row::new(work, goal_text, Verdict::of(measured <= goal));
    row.measured = format!("{:.2} s", measured.as_secs_f64());
    row
}

/// Waits until what is seen of each copy was reported: the adapter sends 50 reports a second at most, so it goes on doing so
/// after a deployment. Returns what that takes, as a note.
async fn first_reports(state: &State, adapter: &Running) -> Result<String> {
    let (client, url) = (http::client()?, format!("{}/metrics", state.running.url()));
    let reports = async || {
        let text = client.get(&url).send().await?.error_for_status()?.text().await?;
        anyhow::Ok(counted(&text, REPORTS))
    };
    let pid = adapter.pid()?;
    let (first, cpu, begun) = (reports().await?, usage::cpu(pid)?, Instant::now());
    let (mut last, mut since, mut used) = (first, begun, Duration::ZERO);
    while since.elapsed() < CALM {
        tokio::time::sleep(POLL).await;
        let now = reports().await?;
        if now > last {
            (last, since, used) = (now, Instant::now(), usage::cpu(pid)?.saturating_sub(cpu));
        }
    }
    let lasted = since.duration_since(begun).as_secs_f64();
    let share = used.as_secs_f64() / lasted.max(1.0) * 100.0;
    let count = last - first;
    Ok(format!(
        "before, while {count} copies were reported for the first time in {lasted:.0} s: {share:.1} %"
    ))
}

/// The value of a counter in the text of the metrics; 0 if it is not there yet.
fn counted(metrics: &str, series: &str) -> u64 {
    let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
    value.unwrap_or_default()
}

/// Requests, CPU and memory while nothing happens.
async fn steady(terrain: &Terrain, adapter: &Running) -> Result<Vec<Row>> {
    let pid = adapter.pid()?;
    terrain.count_requests();
    let (cpu, begun) = (usage::cpu(pid)?, Instant::now());
    tokio::time::sleep(REST).await;
    let (used, lasted) = (usage::cpu(pid)?.saturating_sub(cpu), begun.elapsed());
    let requests = terrain.requests();
    terrain.mend();
    let Size { clusters, applications } = SIZE;
    let work = format!("steady state, {clusters} clusters × {applications} applications × 3 objects");
    let others = requests.others();
    let mut first =
        Row::new(format!("{work}: requests but probes and watches"), "0", Verdict::of(others == 0));
    first.measured = others.to_string();
    first.notes = vec![format!("in {:.0} s: {requests}", lasted.as_secs_f64())];
    let share = used.as_secs_f64() / lasted.as_secs_f64() * 100.0;
    let mut second =
        Row::new(format!("{work}: CPU of the adapter"), "≤ 5 % of a core", Verdict::of(share <= 5.0));
    second.measured = format!("{share:.1} %");
    let memory = usage::resident(pid)?;
    let mut third =
        Row::new(format!("{work}: memory of the adapter"), "≤ 400 MiB", Verdict::of(memory <= 400.0));
    third.measured = format!("{memory:.0} MiB");
    third.notes = vec![format!("at most: {:.0} MiB", usage::peak(pid)?)];
    Ok(vec![first, second, third])
}

/// The adapter is killed; meanwhile an object is changed on each cluster. All must be put right.
async fn restart(terrain: &Terrain, adapter: &mut Running) -> Result<Row> {
    let begun = Instant::now();
    let changes = repair::change_one_on_each(terrain)?;
    adapter.restart().await?;
    let ready = begun.elapsed();
    changes.put_right().await?;
    let mut row = seconds(
        "restart of the adapter, until an object changed meanwhile on each cluster is put right",
        begun.elapsed(),
        Duration::from_secs(30),
    );
    row.notes = vec![format!("ready after {:.1} s", ready.as_secs_f64())];
    Ok(row)
}

/// One cluster answers lists without end.
async fn endless(terrain: &Terrain, adapter: &Running) -> Result<Row> {
    let pid = adapter.pid()?;
    let before = usage::resident(pid)?;
    let rule = Rule {
        verbs: vec![RuleVerb::Get, RuleVerb::List],
        kinds: Vec::new(),
        fault: Fault::Huge { bytes: HUGE },
        times: None,
    };
    terrain.first().set_faults(Faults { rules: vec![rule], expire_watches: true, ..Faults::default() });
    let (mut most, end) = (before, Instant::now() + TROUBLE);
    while Instant::now() < end {
        most = most.max(usage::resident(pid)?);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    terrain.mend();
    let more = most - before;
    let mut row = Row::new(
        "one cluster answers every read with 1.5 GB: memory beyond that before",
        "≤ 32 MiB",
        Verdict::of(more <= 32.0),
    );
    row.measured = format!("{more:.0} MiB");
    row.notes = vec![format!("before: {before:.0} MiB")];
    Ok(row)
}

/// One cluster hangs, with work for it; how long repairs take on the others, beside those before and after. All of them
/// are the first ones of their objects since the adapter was restarted, and made at the same pace.
async fn hanging(terrain: &Terrain, client: &Client) -> Result<Row> {
    let first = terrain.first();
    let numbers = HANGING_REPAIRS.div_ceil(SIZE.clusters - 1);
    let repairs = |phase: usize| {
        let number = 2 + phase * numbers;
        repair::times(terrain, HANGING_REPAIRS, number, Some(first.name()), HANGING_PAUSE)
    };
    let mut usual = repairs(0).await?;
    first.set_faults(Faults { down: Some(Down::Hang), ..Faults::default() });
    let (beside, changed) =
        tokio::join!(repairs(1), terrain.change_specs(client, first.name(), HANGING_CHANGES));
    let beside = beside?;
    changed?;
    terrain.mend();
    tokio::time::sleep(CALM).await;
    usual.extend(repairs(2).await?);
    let (beside, usual) = (p99(&beside), p99(&usual));
    let ratio = beside.as_secs_f64() / usual.as_secs_f64().max(f64::EPSILON);
    let mut row = Row::new(
        "one cluster hangs: p99 of repairs on the others, beside that before and after",
        "≤ 1.2 ×",
        Verdict::of(ratio <= 1.2),
    );
    row.measured = format!("{:.2} s", beside.as_secs_f64());
    row.peer = format!("{:.2} s", usual.as_secs_f64());
    row.ratio = format!("{ratio:.2} ×");
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_among_others() {
        let other = REPORTS.replace("OK", "ABORTED");
        assert_eq!(counted(&format!("{other} 7\n{REPORTS} 42\n"), REPORTS), 42);
        assert_eq!(counted(&format!("{other} 7\n"), REPORTS), 0);
    }
}
