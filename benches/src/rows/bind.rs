//! Binding: from the creation of applications to the last binding, without adapters.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use krake_client::{Client, Mask, WatchEvent, WatchOptions};
use krake_proto::Resource;
use krake_proto::krake::core::v1::metrics_provider_spec::Type;
use krake_proto::krake::core::v1::{
    Metric, MetricSource, MetricSpec, MetricsProvider, MetricsProviderSpec, StaticProvider,
};
use krake_proto::krake::kubernetes::v1::{Application, Cluster};
use krake_proto::krake::meta::v1::View;
use tokio::time::{Instant, timeout};

use super::{CONNECTIONS, CREATE, create_applications};
use crate::call::Connections;
use crate::environment::{Environment, State};
use crate::load::Limit;
use crate::objects;
use crate::report::{Row, Verdict, cpu, rate};
use crate::usage::Meter;

const APPLICATIONS: u64 = 3000;
const CLUSTERS: usize = 20;
const METRICS: [&str; 2] = ["load", "price"];
/// The longest time for all to be bound.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn measure(environment: &Environment) -> Result<Vec<Row>> {
    let state = environment.state("bind").await?;
    let client = state.client()?;
    prepare(&client).await?;
    let (scheduler, _) = state.controller("krake-scheduler", &["--workers", "16"]).await?;
    let scheduler_pid = scheduler.pid()?;
    let processes = |scheduler| -> Result<_> {
        let state = state.running.pid()?;
        Ok([("scheduler", scheduler), ("state", state), ("etcd", environment.etcd_pid)])
    };
    let meter = Meter::start(&processes(scheduler_pid)?)?;
    let begin = Instant::now();
    let creating = create(&state, "a");
    let (created, bound) = tokio::try_join!(creating, bindings(&client, "a"))?;
    let together = (bound.last - begin).as_secs_f64();
    let used = cpu(&meter.per_call(APPLICATIONS)?);

    // Once more with the applications there first, so that only binding is measured.
    drop(scheduler);
    create(&state, "b").await?;
    let watching = bindings(&client, "b");
    let starting = state.controller("krake-scheduler", &["--workers", "16"]);
    let (bound_alone, (scheduler, _)) = tokio::try_join!(watching, starting)?;
    let alone = (bound_alone.last - bound_alone.first).as_secs_f64();
    drop(scheduler);

    let per_second = APPLICATIONS as f64 / together;
    let mut row = Row::new(
        "create and bind, 16 in flight, adapters off",
        "≥ 1,000/s",
        Verdict::of(per_second >= 1000.0),
    );
    row.measured = rate(per_second);
    row.notes = vec![
        format!(
            "{APPLICATIONS} created in {created:.2} s, the last of them bound after {together:.2} s; {used}"
        ),
        format!("binding alone, applications there first: {}", rate(APPLICATIONS as f64 / alone)),
        "to RUNNING: not measured without adapters".to_owned(),
    ];
    Ok(vec![row])
}

/// Clusters that are online, and metrics that tell them apart.
async fn prepare(client: &Client) -> Result<()> {
    let values = METRICS.iter().map(|name| ((*name).to_owned(), 0.5)).collect();
    let provider = MetricsProvider {
        metadata: Some(objects::metadata("", "fixed")),
        spec: Some(MetricsProviderSpec { r#type: Some(Type::Static(StaticProvider { metrics: values })) }),
    };
    client.api().create(&provider).await?;
    for name in METRICS {
        let metric = Metric {
            metadata: Some(objects::metadata("", name)),
            spec: Some(MetricSpec {
                min: Some(0.0),
                max: Some(1.0),
                provider: Some(MetricSource { name: "fixed".to_owned(), metric: name.to_owned() }),
                allowed_values: vec![],
            }),
        };
        client.api().create(&metric).await?;
    }
    for number in 0..CLUSTERS {
        let name = format!("cluster-{number}");
        client.api().create(&objects::cluster("clusters", &name, &METRICS)).await?;
        let conditions = Mask::fields(["status.conditions"]);
        client.api::<Cluster>().update_status(&objects::online("clusters", &name), conditions).await?;
    }
    Ok(())
}

/// Creates applications; how many seconds that takes.
async fn create(state: &State, prefix: &str) -> Result<f64> {
    let connections = Connections::open(state.url(), CONNECTIONS).await?;
    let limit = Limit { time: PATIENCE, calls: APPLICATIONS };
    let done = create_applications(&connections, CREATE, "bench", prefix, limit).await?;
    if done.calls < APPLICATIONS {
        bail!("only {} applications were created", done.calls);
    }
    Ok(done.time.as_secs_f64())
}

struct Bound {
    first: Instant,
    last: Instant,
}

/// Waits until all applications with that prefix are bound.
async fn bindings(client: &Client, prefix: &str) -> Result<Bound> {
    let options = WatchOptions { view: View::Basic, ..WatchOptions::namespace("bench") };
    let mut watch = client.api::<Application>().watch(options);
    let follow = async {
        let (mut first, mut bound) = (None, 0);
        while let Some(event) = watch.next().await {
            let WatchEvent::Applied { object, .. } = event? else { continue };
            let is_meant = object.metadata().is_some_and(|metadata| metadata.name.starts_with(prefix));
            if is_meant && object.status.is_some_and(|status| !status.bindings.is_empty()) {
                first.get_or_insert_with(Instant::now);
                bound += 1;
            }
            if bound == APPLICATIONS {
                let last = Instant::now();
                return Ok(Bound { first: first.unwrap_or(last), last });
            }
        }
        bail!("the watch ended")
    };
    timeout(PATIENCE, follow).await.context("not all are bound")?
}
