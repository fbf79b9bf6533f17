//! Restarting each service while there are many applications.

use std::time::Duration;

use anyhow::Result;

use super::{CONNECTIONS, CREATE, create_applications};
use crate::call::Connections;
use crate::environment::Environment;
use crate::load::Limit;
use crate::report::{Row, Verdict};
use crate::usage;

/// As many as the goal speaks of, or as many as can be created in this time.
const LIMIT: Limit = Limit { time: Duration::from_secs(30), calls: 30_000 };
/// Seconds.
const GOAL: f64 = 30.0;

pub(super) async fn measure(environment: &Environment) -> Result<Vec<Row>> {
    let mut state = environment.state("restart").await?;
    let connections = Connections::open(state.url(), CONNECTIONS).await?;
    let count = create_applications(&connections, CREATE, "bench", "a", LIMIT).await?.calls;
    let row = |name: &str, time: Duration| {
        let time = time.as_secs_f64();
        let goal = format!("≤ {GOAL:.0} s with 30,000");
        let mut row = Row::new(
            format!("restart of {name}, {count} applications"),
            goal,
            Verdict::of(time <= GOAL && count == LIMIT.calls),
        );
        row.measured = format!("{time:.2} s");
        row
    };
    let time = state.running.restart().await?;
    let mut first = row("krake-state", time);
    let memory = usage::resident(state.running.pid()?)?;
    first.notes = vec![format!("memory of krake-state afterwards: {memory:.0} MiB")];
    let mut rows = vec![first];
    // The scheduler comes last: there is no cluster, and it begins to say so of every application.
    for name in ["krake-gc", "krake-kubernetes", "krake-scheduler"] {
        let (mut running, _) = state.controller(name, &[]).await?;
        let mut row = row(name, running.restart().await?);
        row.notes = vec![format!("memory of {name} afterwards: {:.0} MiB", usage::resident(running.pid()?)?)];
        rows.push(row);
    }
    Ok(rows)
}
