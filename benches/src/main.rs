//! Measures Krake and its peers in one run and prints a table; `make bench` runs it.

mod call;
mod environment;
mod load;
mod objects;
mod peer;
mod report;
mod rows;
mod statistics;
mod usage;

use std::io::Write;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};

use crate::environment::Environment;
use crate::rows::Work;

/// Measures Krake and its peers. Takes a quarter of an hour or more, and nothing but this machine.
#[derive(Debug, Parser)]
#[command(name = "krake-bench", version)]
struct Args {
    /// Measure only this. May be given several times.
    #[arg(long, value_enum)]
    only: Vec<Work>,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What runs as a process of its own.
#[derive(Debug, Subcommand)]
#[command(hide = true)]
enum Part {
    /// A minimal server over etcd.
    Peer(peer::Args),
    /// Many watches.
    Watchers(rows::WatchersArgs),
    /// The scheduler's decisions.
    Decide(rows::Fleet),
    /// Many clusters and applications.
    Scale(rows::ScaleArgs),
}

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    match args.part {
        Some(Part::Peer(args)) => runtime.block_on(peer::run(args)),
        Some(Part::Watchers(args)) => runtime.block_on(rows::watchers(args)),
        Some(Part::Decide(fleet)) => rows::decide(fleet),
        Some(Part::Scale(args)) => runtime.block_on(rows::scale(args)),
        None => runtime.block_on(measure(&args.only)),
    }
}

async fn measure(only: &[Work]) -> Result<()> {
    let busy = usage::load()?;
    let mut rows = Vec::new();
    for work in Work::value_variants().iter().filter(|work| only.is_empty() || only.contains(work)) {
        for release in work.etcd_releases() {
            // Each on an empty etcd: what one leaves behind must not slow the next.
            let environment = Environment::start(*release).await?;
            eprintln!("measuring: {work:?} (etcd {})", environment.etcd_version);
            let mut measured = work.rows(&environment).await;
            if work.etcd_releases().len() > 1 {
                measured
                    .iter_mut()
                    .for_each(|row| row.work += &format!(" [etcd {}]", environment.etcd_version));
            }
            rows.extend(measured);
        }
    }
    let mut out = std::io::stdout().lock();
    let cores = std::thread::available_parallelism()?;
    writeln!(
        out,
        "{cores} cores; load average before the run: {busy} (above 0.5, trust only CPU times and memory)"
    )?;
    writeln!(out, "{}", report::text(&rows))?;
    Ok(out.flush()?)
}
