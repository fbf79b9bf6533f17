//! What is measured, in the order of the table.

mod bind;
mod clusters;
mod create;
mod decide;
mod embedded;
mod foreign;
mod get;
mod idle;
mod latency;
mod list;
mod observe;
mod rest;
mod restart;
mod scale;
mod unread;
mod watchers;

use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::ValueEnum;
use futures::future::LocalBoxFuture;
use krake_proto::envelope::{CreateRequest, GetRequest};
use krake_proto::krake::meta::v1::Consistency;
use prost::Message;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::call::Connections;
use crate::environment::{Environment, EtcdRelease};
use crate::load::{self, Done, Limit};
use crate::objects;
use crate::report::{Row, Verdict};

pub(crate) use decide::{Fleet, run as decide};
pub(crate) use scale::{Args as ScaleArgs, run as scale};
pub(crate) use watchers::{Args as WatchersArgs, run as watchers};

/// As many clients as the goals speak of.
const CLIENTS: usize = 64;
/// What they share.
const CONNECTIONS: usize = 8;
/// Between them, what is compared takes turns: so that a slow moment of the machine hits all of them.
const ROUNDS: usize = 3;

/// One or several rows that are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Work {
    Create,
    Embedded,
    Get,
    Foreign,
    Observe,
    List,
    Latency,
    Watchers,
    Unread,
    Decide,
    Bind,
    Restart,
    Idle,
    Scale,
    Clusters,
    OneProcess,
}

impl Work {
    /// The releases of etcd that it is measured on: both where much of the time is etcd's, or its version decides what
    /// Krake does.
    pub(crate) fn etcd_releases(self) -> &'static [EtcdRelease] {
        match self {
            Self::Create | Self::Get | Self::Foreign | Self::Observe | Self::Latency => {
                &[EtcdRelease::Packaged, EtcdRelease::Newer]
            }
            _ => &[EtcdRelease::Packaged],
        }
    }

    /// The longest time it may take.
    fn limit(self) -> Duration {
        match self {
            Self::Restart => Duration::from_secs(75),
            Self::Scale => scale::PATIENCE,
            Self::Clusters | Self::OneProcess => clusters::PATIENCE,
            Self::Unread => unread::PATIENCE,
            _ => Duration::from_secs(50),
        }
    }

    /// Its rows; if it fails or takes too long, one row that says so.
    pub(crate) async fn rows(self, environment: &Environment) -> Vec<Row> {
        let measured: LocalBoxFuture<'_, Result<Vec<Row>>> = match self {
            Self::Create => Box::pin(create::measure(environment)),
            Self::Embedded => Box::pin(embedded::measure()),
            Self::Get => Box::pin(get::measure(environment)),
            Self::Foreign => Box::pin(foreign::measure(environment)),
            Self::Observe => Box::pin(observe::measure(environment)),
            Self::List => Box::pin(list::measure(environment)),
            Self::Latency => Box::pin(latency::measure(environment)),
            Self::Watchers => Box::pin(watchers::measure(environment)),
            Self::Unread => Box::pin(unread::measure()),
            Self::Decide => Box::pin(decide::measure()),
            Self::Bind => Box::pin(bind::measure(environment)),
            Self::Restart => Box::pin(restart::measure(environment)),
            Self::Idle => Box::pin(idle::measure(environment)),
            Self::Scale => Box::pin(scale::measure()),
            Self::Clusters => Box::pin(clusters::measure()),
            Self::OneProcess => Box::pin(clusters::in_one_process()),
        };
        let limit = self.limit();
        let measured = tokio::time::timeout(limit, measured).await;
        let measured = measured.unwrap_or_else(|_| Err(anyhow!("takes longer than {} s", limit.as_secs())));
        measured.unwrap_or_else(|error| {
            let mut row = Row::new(format!("{self:?}").to_lowercase(), "–", Verdict::Failed);
            row.notes.extend(format!("{error:#}").lines().map(str::to_owned));
            vec![row]
        })
    }
}

/// The method that reads an application.
const GET: &str = "/krake.kubernetes.v1.ApplicationService/GetApplication";
/// Programs that read, each one object after another, beside others that write.
const READERS: usize = 16;
/// Reads of each of them in a half of a round: a second or two.
const READS: usize = 150;

/// The times of all reads of the application `a0`.
async fn reads(krake: &Connections) -> Result<Vec<Duration>> {
    let mut readers = JoinSet::new();
    for reader in 0..READERS {
        let krake = krake.clone();
        readers.spawn(async move {
            let mut times = Vec::with_capacity(READS);
            for _ in 0..READS {
                let consistency = Consistency::Linearizable.into();
                let request =
                    GetRequest { namespace: "bench".to_owned(), name: "a0".to_owned(), consistency };
                let begin = Instant::now();
                krake.unary(reader, GET, &request).await?;
                times.push(begin.elapsed());
            }
            anyhow::Ok(times)
        });
    }
    let mut times = Vec::new();
    while let Some(reader) = readers.join_next().await {
        times.extend(reader??);
    }
    Ok(times)
}

/// The method that creates an application.
const CREATE: &str = "/krake.kubernetes.v1.ApplicationService/CreateApplication";

/// Creates applications `<prefix><number>` in a namespace, by that many clients.
async fn create_applications(
    connections: &Connections,
    path: &'static str,
    namespace: &'static str,
    prefix: &str,
    limit: Limit,
) -> Result<Done> {
    let (connections, prefix) = (connections.clone(), prefix.to_owned());
    load::run(CLIENTS, limit, move |client, number| {
        let connections = connections.clone();
        let name = format!("{prefix}{number}");
        async move {
            let object = objects::application(namespace, &name).encode_to_vec().into();
            let request =
                CreateRequest { namespace: namespace.to_owned(), name, object, ..Default::default() };
            connections.unary(client, path, &request).await.map(drop)
        }
    })
    .await
}
