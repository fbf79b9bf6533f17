//! Creating applications on the embedded store, each on the disk before it is answered, beside bare SQLite.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use krake_integration::folder;
use rusqlite::{Connection, params};
use tokio::time::Instant;

use super::{CLIENTS, CONNECTIONS, CREATE, ROUNDS, create_applications};
use crate::call::Connections;
use crate::environment::State;
use crate::load::{Done, Limit};
use crate::objects;
use crate::report::{Row, Verdict, cpu, percent, rate};
use crate::statistics::median;
use crate::usage::Meter;

/// How long each of them is under load in a round.
const TIME: Duration = Duration::from_millis(1500);

/// How many inserts share a transaction where they are grouped: as many as there are clients.
const GROUP: u64 = CLIENTS as u64;

pub(super) async fn measure() -> Result<Vec<Row>> {
    let folder = folder::create("embedded")?;
    let path = |name: &str| folder.path().join(name);
    let file = path("krake.db");
    let krake =
        State::start(&["--store", "sqlite", "--sqlite-file", file.to_str().context("a path")?]).await?;
    let pid = krake.running.pid()?;
    let (mut single, mut grouped, mut whole, mut times) = (vec![], vec![], vec![], vec![]);
    for round in 0..ROUNDS {
        single.push(bare(path(&format!("single-{round}.db")), 1).await?.rate());
        grouped.push(bare(path(&format!("grouped-{round}.db")), GROUP).await?.rate());
        let connections = Connections::open(krake.url(), CONNECTIONS).await?;
        let meter = Meter::start(&[("client", std::process::id()), ("server", pid)])?;
        let prefix = format!("e{round}-");
        let done = create_applications(&connections, CREATE, "bench", &prefix, Limit::time(TIME)).await?;
        whole.push(done.rate());
        times.push(meter.per_call(done.calls)?);
    }
    let (krake, single, grouped) = (median(&whole), median(&single), median(&grouped));
    let row = |work: &str, peer: f64| {
        let mut row = Row::new(work, "–", Verdict::Shown);
        (row.measured, row.peer, row.ratio) = (rate(krake), rate(peer), percent(krake / peer));
        row
    };
    let mut first =
        row("create on SQLite, durable, 64 clients; peer: bare SQLite, one insert a transaction", single);
    first.notes.push(format!("bare SQLite, one insert a transaction        {}", rate(single)));
    first.notes.push(format!("bare SQLite, {GROUP} inserts a transaction         {}", rate(grouped)));
    first.notes.push(format!(
        "krake-state: all API work, shared transactions {}; {}",
        rate(krake),
        cpu(&times.pop().unwrap_or_default())
    ));
    Ok(vec![first, row("  the same; peer: bare SQLite, 64 inserts a transaction", grouped)])
}

/// Inserts values as large as an application into a new file by one thread, so many at a time, each transaction on the
/// disk before the next one.
async fn bare(file: PathBuf, group: u64) -> Result<Done> {
    tokio::task::spawn_blocking(move || insert(&file, group)).await.context("inserting")?
}

fn insert(file: &Path, group: u64) -> Result<Done> {
    let mut connection = Connection::open(file)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch("CREATE TABLE values_by_key (key TEXT PRIMARY KEY, value BLOB NOT NULL)")?;
    let value = objects::value();
    let (begin, mut calls) = (Instant::now(), 0);
    while begin.elapsed() < TIME {
        let transaction = connection.transaction()?;
        for _ in 0..group {
            calls += 1;
            transaction
                .prepare_cached("INSERT INTO values_by_key VALUES (?, ?)")?
                .execute(params![format!("/bare/{calls}"), &value[..]])?;
        }
        transaction.commit()?;
    }
    Ok(Done { calls, time: begin.elapsed() })
}
