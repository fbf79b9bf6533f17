//! Creating applications: the API on etcd, beside the minimal server and etcd itself.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use etcd_client::{Client, KvClient};

use super::{CLIENTS, CONNECTIONS, CREATE, ROUNDS, create_applications};
use crate::call::Connections;
use crate::environment::{Environment, State};
use crate::load::{self, Done, Limit};
use crate::report::{Row, Verdict, cpu, percent, rate};
use crate::statistics::median;
use crate::usage::Meter;
use crate::{objects, peer};

/// How long each of them is under load in a round.
const TIME: Duration = Duration::from_millis(1200);

/// Whom the clients call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Put,
    Transaction,
    Peer,
    PeerWithWatch,
    Memory,
    Krake,
}

/// Figures of one target, one for each round.
#[derive(Default)]
struct Samples {
    rates: Vec<f64>,
    /// Microseconds per call, by process.
    cpu: Vec<Vec<(&'static str, f64)>>,
}

impl Samples {
    fn rate(&self) -> f64 {
        median(&self.rates)
    }

    /// The rate, and the median of each process's time per call.
    fn text(&self) -> String {
        let processes = self.cpu.first().map(Vec::as_slice).unwrap_or_default().iter().enumerate();
        let times = processes.map(|(index, (name, _))| {
            (*name, median(&self.cpu.iter().map(|round| round[index].1).collect::<Vec<_>>()))
        });
        format!("{}; {}", rate(self.rate()), cpu(&times.collect::<Vec<_>>()))
    }
}

pub(super) async fn measure(environment: &Environment) -> Result<Vec<Row>> {
    let krake = environment.state("create").await?;
    let memory = State::start(&["--store", "memory"]).await?;
    let (bare, watching) = (environment.peer(false).await?, environment.peer(true).await?);
    let servers = [
        (Target::Peer, bare.url(), peer::CREATE, bare.pid()?),
        (Target::PeerWithWatch, watching.url(), peer::CREATE, watching.pid()?),
        (Target::Memory, memory.url().to_owned(), CREATE, memory.running.pid()?),
        (Target::Krake, krake.url().to_owned(), CREATE, krake.running.pid()?),
    ];
    let (me, etcd) = (("client", std::process::id()), ("etcd", environment.etcd_pid));
    let mut samples: BTreeMap<Target, Samples> = BTreeMap::new();
    let mut add = |target, done: Done, meter: &Meter| {
        let samples = samples.entry(target).or_default();
        samples.rates.push(done.rate());
        samples.cpu.push(meter.per_call(done.calls)?);
        anyhow::Ok(())
    };
    for round in 0..ROUNDS {
        for target in [Target::Put, Target::Transaction] {
            let meter = Meter::start(&[me, etcd])?;
            let done = direct(environment, target, round).await?;
            add(target, done, &meter)?;
        }
        for (target, url, path, pid) in &servers {
            let connections = Connections::open(url, CONNECTIONS).await?;
            let meter = Meter::start(&[me, ("server", *pid), etcd])?;
            // The two peers share their keys.
            let prefix = format!("{target:?}-{round}-").to_lowercase();
            let done = create_applications(&connections, path, "bench", &prefix, Limit::time(TIME)).await?;
            add(*target, done, &meter)?;
        }
    }
    Ok(rows(&samples))
}

/// Puts by etcd's own API.
async fn direct(environment: &Environment, target: Target, round: usize) -> Result<Done> {
    let mut clients: Vec<KvClient> = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(Client::connect([environment.etcd()], None).await?.kv_client());
    }
    let value = objects::value();
    load::run(CLIENTS, Limit::time(TIME), move |client, number| {
        let mut kv = clients[client % clients.len()].clone();
        let (key, value) = (format!("/raw/{target:?}/{round}/{number}"), value.clone());
        async move {
            match target {
                Target::Put => kv.put(key, value, None).await.map(drop)?,
                _ => kv.txn(peer::guarded_put(&key, &value)).await.map(drop)?,
            }
            Ok(())
        }
    })
    .await
}

fn rows(samples: &BTreeMap<Target, Samples>) -> Vec<Row> {
    let measured = |target| samples.get(&target).map_or(0.0, Samples::rate);
    let krake = measured(Target::Krake);
    let row = |work: &str, peer, goal: &str, verdict: fn(f64) -> Verdict| {
        let ratio = krake / measured(peer);
        let mut row = Row::new(work, goal, verdict(ratio));
        (row.measured, row.peer, row.ratio) = (rate(krake), rate(measured(peer)), percent(ratio));
        row
    };
    let mut first =
        row("create on etcd, 64 clients; peer: minimal proxy", Target::Peer, "≥ 150 %", |ratio| {
            Verdict::of(ratio >= 1.5)
        });
    for (target, what) in [
        (Target::Put, "etcd, puts             "),
        (Target::Transaction, "etcd, guarded puts     "),
        (Target::Peer, "minimal proxy          "),
        (Target::PeerWithWatch, "minimal proxy + watch  "),
        (Target::Memory, "krake-state on memory  "),
        (Target::Krake, "krake-state on etcd    "),
    ] {
        let text = samples.get(&target).map(Samples::text).unwrap_or_default();
        first.notes.push(format!("{what} {text}"));
    }
    let stretch = |ratio| if ratio >= 1.0 { Verdict::Met } else { Verdict::Shown };
    vec![
        first,
        row("  the same; peer: minimal proxy that also watches", Target::PeerWithWatch, "–", |_| {
            Verdict::Shown
        }),
        row("  the same; peer: raw etcd puts", Target::Put, "stretch: ≥ 100 %", stretch),
    ]
}
