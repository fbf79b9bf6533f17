//! Memory of each service when there is nothing to do.

use std::time::Duration;

use anyhow::Result;

use crate::environment::Environment;
use crate::report::{Row, Verdict};
use crate::usage;

/// Idle for that long, once ready.
const REST: Duration = Duration::from_secs(3);
/// MiB.
const GOAL: f64 = 30.0;

pub(super) async fn measure(environment: &Environment) -> Result<Vec<Row>> {
    let state = environment.state("idle").await?;
    let mut controllers = Vec::new();
    for name in ["krake-scheduler", "krake-gc", "krake-kubernetes"] {
        controllers.push((name, state.controller(name, &[]).await?.0));
    }
    tokio::time::sleep(REST).await;
    let row = |name: &str, goal: String, memory: f64, verdict| {
        let mut row = Row::new(format!("idle memory of {name}"), goal, verdict);
        row.measured = format!("{memory:.1} MiB");
        row
    };
    let mut rows = Vec::new();
    for (name, running) in &controllers {
        let memory = usage::resident(running.pid()?)?;
        rows.push(row(name, format!("≤ {GOAL:.0} MiB"), memory, Verdict::of(memory <= GOAL)));
    }
    let memory = usage::resident(state.running.pid()?)?;
    rows.push(row("krake-state (no goal)", "–".to_owned(), memory, Verdict::Shown));
    Ok(rows)
}
