//! Reading single applications while adapters report what they see, beside the same without reports.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use krake_client::Client;
use krake_proto::Resource;
use krake_proto::json::CANONICAL_VERSION;
use krake_proto::krake::kubernetes::v1::{
    Application, BindApplicationRequest, Binding, Cluster, Copy, Observation, ObservedObject, Phase,
    PutDocumentsRequest, ReportCopyRequest, ReportObservationRequest, Work,
};
use krake_proto::krake::meta::v1::{ResourceRef, document::Content};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{CONNECTIONS, READERS, READS, ROUNDS, reads};
use crate::call::Connections;
use crate::environment::Environment;
use crate::objects;
use crate::report::{Row, Verdict, cpu, rate};
use crate::statistics::{median, percentile};
use crate::usage::Meter;

/// Applications that are reported on in turn; the first one is read.
const APPLICATIONS: usize = 128;
/// Reports under way at once, each of applications of its own, so that none is outdated.
const REPORTERS: usize = 32;
/// What is seen of copies changes so often: a fleet in trouble.
const OBSERVATIONS_PER_SECOND: usize = 500;
/// Copies change so often.
const COPIES_PER_SECOND: usize = 1000;

/// What is reported.
#[derive(Clone, Copy, PartialEq)]
enum Reports {
    /// What is seen of copies, which is stored beside the applications.
    Observations,
    /// The copies, each a write of its application.
    Copies,
}

impl Reports {
    fn per_second(self) -> usize {
        match self {
            Self::Observations => OBSERVATIONS_PER_SECOND,
            Self::Copies => COPIES_PER_SECOND,
        }
    }
}

/// A copy of an application on the only cluster.
struct Reported {
    client: Client,
    name: String,
    uid: String,
    cluster: ResourceRef,
    work: Work,
    version: i64,
}

pub(super) async fn measure(environment: &Environment) -> Result<Vec<Row>> {
    let state = environment.state("observe").await?;
    let krake = Connections::open(state.url(), CONNECTIONS).await?;
    let mut copies = prepare(state.url()).await?;
    let processes = [("server", state.running.pid()?), ("etcd", environment.etcd_pid)];
    let mut rows = Vec::new();
    for (reports, percent, goal) in [(Reports::Observations, 50, Some(1.2)), (Reports::Copies, 99, None)] {
        let (mut idle, mut beside, mut rates) = (vec![], vec![], vec![]);
        let mut used = String::new();
        for _ in 0..ROUNDS {
            let alone = reads(&krake).await?;
            let (reporting, count) = report_beside(reports, copies);
            let (meter, begin) = (Meter::start(&processes)?, Instant::now());
            let with_reports = reads(&krake).await?;
            rates.push(count.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64());
            used = cpu(&meter.per_call((READERS * READS) as u64)?);
            copies = reporting.end().await?;
            idle.push(percentile(&alone, percent));
            beside.push(percentile(&with_reports, percent));
        }
        rows.push(row(reports, percent, goal, [&idle, &beside, &rates], used));
    }
    Ok(rows)
}

fn row(
    reports: Reports,
    percent: usize,
    goal: Option<f64>,
    [idle, beside, rates]: [&[f64]; 3],
    used: String,
) -> Row {
    let (alone, with_reports) = (median(idle), median(beside));
    let what = if reports == Reports::Copies { "reports of copies" } else { "observations" };
    let per_second = reports.per_second();
    let work =
        format!("get, {READERS} readers, p{percent}, beside {per_second} {what}/s; peer: without them");
    let verdict = goal.map_or(Verdict::Shown, |goal| Verdict::of(with_reports <= goal * alone));
    let mut row = Row::new(work, goal.map_or("–".to_owned(), |goal| format!("≤ {goal}×")), verdict);
    (row.measured, row.peer) = (format!("{with_reports:.2} ms"), format!("{alone:.2} ms"));
    row.ratio = format!("{:.1}×", with_reports / alone);
    row.notes = vec![format!("{what} that were stored: {}", rate(median(rates))), used];
    row
}

/// Applications that are deployed on a cluster, each with its documents.
async fn prepare(url: &str) -> Result<Vec<Reported>> {
    let client = Client::new(&krake_client::ConnectOptions::new(url))?;
    let cluster = client.api().create(&objects::cluster("bench", "cluster", &[])).await?;
    let metadata = cluster.metadata.context("a cluster without metadata")?;
    let cluster = Cluster::KIND.reference(&metadata);
    let mut copies = Vec::with_capacity(APPLICATIONS);
    for number in 0..APPLICATIONS {
        copies.push(deployed(&client, &cluster, format!("a{number}")).await?);
    }
    Ok(copies)
}

async fn deployed(client: &Client, cluster: &ResourceRef, name: String) -> Result<Reported> {
    let application: Application = client.api().create(&objects::application("bench", &name)).await?;
    let uid = application.metadata.unwrap_or_default().uid;
    let manifest = application.spec.unwrap_or_default().manifest;
    let document = manifest.into_iter().next().and_then(|entry| entry.document?.content);
    let Some(Content::Json(document)) = document else { anyhow::bail!("a manifest without a document") };
    let binding = Binding { cluster: Some(cluster.clone()), ..Default::default() };
    let bind = BindApplicationRequest {
        namespace: "bench".to_owned(),
        name: name.clone(),
        bindings: vec![binding],
        ..Default::default()
    };
    client.applications().bind_application(bind).await?;
    let documents = PutDocumentsRequest {
        namespace: "bench".to_owned(),
        name: name.clone(),
        uid: uid.clone(),
        documents: Bytes::from(format!("[{document}]")),
    };
    let stored = client.applications().put_documents(documents).await?.into_inner();
    let work = Work {
        sha256: stored.sha256,
        hash_version: CANONICAL_VERSION,
        generation: 1,
        pieces: stored.pieces,
        size: stored.size,
    };
    let client = client.clone();
    let mut copy = Reported { client, name, uid, cluster: cluster.clone(), work, version: 0 };
    copy.report_copy(0).await?;
    Ok(copy)
}

impl Reported {
    /// Reports the copy, with another number of pods each time.
    async fn report_copy(&mut self, number: u64) -> Result<()> {
        let health = krake_proto::krake::kubernetes::v1::ContainerHealth {
            running_pods: i32::try_from(number % 1000)?,
            ..Default::default()
        };
        let copy = Copy {
            cluster: Some(self.cluster.clone()),
            phase: Phase::Intended.into(),
            observed_generation: 1,
            health: Some(health),
            applied_work: Some(self.work.clone()),
            intended_work: Some(self.work.clone()),
            ..Default::default()
        };
        let request = ReportCopyRequest {
            namespace: "bench".to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            copy: Some(copy),
            expected_version: self.version,
            forget: false,
        };
        let after = self.client.applications().report_copy(request).await?.into_inner();
        let copies = after.status.unwrap_or_default().copies;
        self.version = copies.first().context("the copy is not recorded")?.version;
        Ok(())
    }

    /// Reports that one field of its object has another value each time.
    async fn report_observation(&self, number: u64) -> Result<()> {
        let object =
            ObservedObject { index: 0, fields: Some(format!("{{\"spec\":{{\"replicas\":{number}}}}}")) };
        let observation = Observation {
            cluster_uid: self.cluster.uid.clone(),
            sha256: self.work.sha256.clone(),
            objects: vec![object],
        };
        let request = ReportObservationRequest {
            namespace: "bench".to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            observation: Some(observation),
        };
        self.client.applications().report_observation(request).await?;
        Ok(())
    }
}

/// Reporters that run.
struct Reporting {
    stop: tokio::sync::watch::Sender<bool>,
    tasks: JoinSet<Result<Vec<Reported>>>,
}

impl Reporting {
    /// Ends them; the copies as they are now.
    async fn end(mut self) -> Result<Vec<Reported>> {
        self.stop.send_replace(true);
        let mut copies = Vec::with_capacity(APPLICATIONS);
        while let Some(ended) = self.tasks.join_next().await {
            copies.extend(ended??);
        }
        Ok(copies)
    }
}

/// Reports until it is ended; counts what was stored.
fn report_beside(reports: Reports, copies: Vec<Reported>) -> (Reporting, Arc<AtomicU64>) {
    let count = Arc::new(AtomicU64::new(0));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let pause = Duration::from_secs(1) * REPORTERS as u32 / reports.per_second() as u32;
    let mut of_reporters: Vec<Vec<Reported>> = (0..REPORTERS).map(|_| Vec::new()).collect();
    for (number, copy) in copies.into_iter().enumerate() {
        of_reporters[number % REPORTERS].push(copy);
    }
    let mut tasks = JoinSet::new();
    for mut copies in of_reporters {
        let (count, stopped) = (count.clone(), stopped.clone());
        tasks.spawn(async move {
            let mut ticks = interval(pause);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut turn = 0;
            while !*stopped.borrow() {
                ticks.tick().await;
                let number = count.fetch_add(1, Ordering::Relaxed);
                turn = (turn + 1) % copies.len();
                match reports {
                    Reports::Observations => copies[turn].report_observation(number).await?,
                    Reports::Copies => copies[turn].report_copy(number).await?,
                }
            }
            anyhow::Ok(copies)
        });
    }
    (Reporting { stop, tasks }, count)
}
