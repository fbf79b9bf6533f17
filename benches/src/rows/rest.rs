//! Listing applications through the REST gateway, as one JSON document.

use anyhow::{Context, Result, ensure};
use krake_integration::{http, ports};
use serde_json::Value;
use tokio::time::Instant;

use crate::environment::State;
use crate::report::{Row, Verdict, cpu};
use crate::statistics::{median, milliseconds};
use crate::usage::Meter;

/// Milliseconds until the whole document has come, for a namespace that holds `expected` applications.
pub(super) async fn list(state: &State, namespace: &str, expected: u64, lists: usize) -> Result<Row> {
    let [port] = ports::free()?;
    let listen = format!("127.0.0.1:{port}");
    let (gateway, _) = state.controller("krake-gateway", &["--listen", &listen]).await?;
    let url = format!("http://{listen}/kubernetes/namespaces/{namespace}/applications");
    let client = http::client()?;
    let ask = async || -> Result<_> {
        let begin = Instant::now();
        let document = client.get(&url).send().await?.error_for_status()?.bytes().await?;
        Ok((milliseconds(begin.elapsed()), document))
    };
    let (_, document) = ask().await?;
    let size = document.len() as f64 / 1e6;
    let document: Value = serde_json::from_slice(&document).context("the list is no JSON")?;
    let found = document["items"].as_array().map_or(0, Vec::len);
    ensure!(found as u64 == expected, "the list holds {found}");

    let meter = Meter::start(&[
        ("client", std::process::id()),
        ("gateway", gateway.pid()?),
        ("server", state.running.pid()?),
    ])?;
    let mut times = Vec::new();
    for _ in 0..lists {
        times.push(ask().await?.0);
    }
    let whole = median(&times);
    let mut row = Row::new("  the same by REST", "≤ 150 ms", Verdict::of(whole <= 150.0));
    row.measured = format!("{whole:.0} ms");
    row.notes = vec![
        format!("one JSON document of {size:.1} MB, read but not parsed"),
        format!("{} (one call = the whole list)", cpu(&meter.per_call(lists as u64)?)),
    ];
    Ok(row)
}
