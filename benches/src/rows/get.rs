//! Reading single applications, beside an empty call.

use std::time::Duration;

use anyhow::Result;
use krake_proto::envelope::GetRequest;
use krake_proto::krake::meta::v1::Consistency;

use super::{CLIENTS, CONNECTIONS, CREATE, GET, ROUNDS, create_applications};
use crate::call::Connections;
use crate::environment::Environment;
use crate::load::{self, Done, Limit};
use crate::peer;
use crate::report::{Row, Verdict, cpu, percent, rate};
use crate::statistics::median;
use crate::usage::Meter;

/// How long each of them is under load in a round.
const TIME: Duration = Duration::from_millis(1500);
/// Applications that are read in turn.
const APPLICATIONS: u64 = 500;

pub(super) async fn measure(environment: &Environment) -> Result<Vec<Row>> {
    let state = environment.state("get").await?;
    let server = environment.peer(false).await?;
    let krake = Connections::open(state.url(), CONNECTIONS).await?;
    let empty = Connections::open(&server.url(), CONNECTIONS).await?;
    let limit = Limit { time: Duration::from_secs(20), calls: APPLICATIONS };
    create_applications(&krake, CREATE, "bench", "a", limit).await?;
    let (me, etcd) = (("client", std::process::id()), ("etcd", environment.etcd_pid));
    let krake_processes = [me, ("server", state.running.pid()?), etcd];
    let mut notes: Vec<String> = Vec::new();
    let (mut linearizable, mut cached, mut unary) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        notes.clear();
        for (what, consistency, rates) in [
            ("linearizable", Consistency::Linearizable, &mut linearizable),
            ("cached      ", Consistency::Cached, &mut cached),
        ] {
            let meter = Meter::start(&krake_processes)?;
            let done = get(&krake, consistency).await?;
            rates.push(done.rate());
            notes.push(format!("{what} {}", cpu(&meter.per_call(done.calls)?)));
        }
        let meter = Meter::start(&[me, ("server", server.pid()?)])?;
        let calls = empty.clone();
        let done = load::run(CLIENTS, Limit::time(TIME), move |client, _| {
            let calls = calls.clone();
            async move { calls.unary(client, peer::EMPTY, &()).await.map(drop) }
        });
        let done = done.await?;
        unary.push(done.rate());
        notes.push(format!("empty call   {}", cpu(&meter.per_call(done.calls)?)));
    }
    let row = |work: &str, goal: &str, rates: &[f64], verdict: fn(f64) -> Verdict| {
        let ratio = median(rates) / median(&unary);
        let mut row = Row::new(work, goal, verdict(ratio));
        (row.measured, row.peer, row.ratio) = (rate(median(rates)), rate(median(&unary)), percent(ratio));
        row
    };
    let mut first = row("get, 64 clients; peer: empty unary call", "≥ 60 %", &linearizable, |ratio| {
        Verdict::of(ratio >= 0.6)
    });
    first.notes = notes;
    Ok(vec![first, row("  the same from the cache (CACHED)", "–", &cached, |_| Verdict::Shown)])
}

async fn get(connections: &Connections, consistency: Consistency) -> Result<Done> {
    let connections = connections.clone();
    load::run(CLIENTS, Limit::time(TIME), move |client, number| {
        let connections = connections.clone();
        let request = GetRequest {
            namespace: "bench".to_owned(),
            name: format!("a{}", number % APPLICATIONS),
            consistency: consistency.into(),
        };
        async move { connections.unary(client, GET, &request).await.map(drop) }
    })
    .await
}
