//! Reading single applications while another program writes to the same etcd, beside the same without it.

use std::time::Duration;

use anyhow::Result;
use etcd_client::{Client, KvClient};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{CONNECTIONS, CREATE, READERS, READS, ROUNDS, create_applications, reads};
use crate::call::Connections;
use crate::environment::Environment;
use crate::load::Limit;
use crate::objects;
use crate::report::{Row, Verdict};
use crate::statistics::{median, percentile};
use crate::usage::Meter;

/// Writes per second of the other program: a busy Kubernetes control plane.
const FOREIGN_WRITES_PER_SECOND: u32 = 1000;
/// Writes under way at once, so that a slow one does not hold up the rest.
const FOREIGN_WRITERS: u32 = 8;

pub(super) async fn measure(environment: &Environment) -> Result<Vec<Row>> {
    let state = environment.state("foreign").await?;
    let krake = Connections::open(state.url(), CONNECTIONS).await?;
    create_applications(&krake, CREATE, "bench", "a", Limit { time: Duration::from_secs(20), calls: 1 })
        .await?;
    let (mut idle, mut beside, mut raw) = (vec![], vec![], vec![]);
    let mut notes = Vec::new();
    let kv = Client::connect([environment.etcd()], None).await?.kv_client();
    // The first reads beside others find out that there are others.
    for round in 0..=ROUNDS {
        let alone = reads(&krake).await?;
        let writers = write_beside(environment).await?;
        let meter = Meter::start(&[("server", state.running.pid()?), ("etcd", environment.etcd_pid)])?;
        let with_others = reads(&krake).await?;
        notes = vec![crate::report::cpu(&meter.per_call((READERS * READS) as u64)?)];
        let etcd_alone = raw_reads(kv.clone()).await?;
        drop(writers);
        if round > 0 {
            idle.push(percentile(&alone, 50));
            beside.push(percentile(&with_others, 50));
            raw.push(percentile(&etcd_alone, 50));
        }
    }
    let (alone, with_others) = (median(&idle), median(&beside));
    let mut row = Row::new(
        format!(
            "get, {READERS} readers, p50, beside {FOREIGN_WRITES_PER_SECOND} foreign writes/s; peer: without them"
        ),
        "≤ 1.2×",
        Verdict::of(with_others <= 1.2 * alone),
    );
    (row.measured, row.peer) = (format!("{with_others:.2} ms"), format!("{alone:.2} ms"));
    row.ratio = format!("{:.1}×", with_others / alone);
    row.notes = notes;
    row.notes.push(format!("a read of etcd itself beside them: p50 {:.2} ms", median(&raw)));
    Ok(vec![row])
}

async fn raw_reads(mut kv: KvClient) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(READS);
    for _ in 0..READS {
        let begin = Instant::now();
        kv.get("/theirs/0", None).await?;
        times.push(begin.elapsed());
    }
    Ok(times)
}

/// Writes until the tasks are dropped.
async fn write_beside(environment: &Environment) -> Result<JoinSet<()>> {
    let mut kv = Client::connect([environment.etcd()], None).await?.kv_client();
    kv.put("/theirs/0", objects::value(), None).await?;
    let pause = Duration::from_secs(1) * FOREIGN_WRITERS / FOREIGN_WRITES_PER_SECOND;
    let mut writers = JoinSet::new();
    for number in 0..FOREIGN_WRITERS {
        let mut kv = kv.clone();
        writers.spawn(async move {
            let mut ticks = interval(pause);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                // A write that fails is seen in the reads.
                let _ = kv.put(format!("/theirs/{number}"), objects::value(), None).await;
            }
        });
    }
    Ok(writers)
}
