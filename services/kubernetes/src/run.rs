//! The process: mirrors of applications and clusters, the controllers, and what clusters wake.

mod parts;
mod queues;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use krake_client::{Change, Client, MirrorFeed, Notice, WatchOptions};
use krake_proto::krake::kubernetes::v1 as api;
use krake_proto::krake::meta::v1::{GetInstallationRequest, Installation};
use krake_runtime::controller::{ControllerOptions, ControllerProcess, Priority};
use krake_runtime::leadership::Leadership;
use krake_runtime::shutdown::Shutdown;

use crate::cluster::clusters::Clusters;
use crate::cluster::connection::Deadlines;
use crate::cluster::wake::{Wake, Wakes};
use crate::config::{Clock, Config};
use crate::controller::applications::Applications;
use crate::controller::index::Index;
use crate::controller::operator::OperatorCalls;
use crate::controller::orphans::Orphans;
use crate::controller::pauses::SlowRetries;
use crate::controller::project::{Application, Cluster};
use crate::controller::resurvey;
use crate::controller::stake::same_store;
use crate::controller::strays::Strays;
use crate::controller::surveys::SweepTimes;
use crate::object::ClusterUid;
use parts::Parts;

/// Election whose leader acts.
const ELECTION: &str = "kubernetes/0";
/// Pause before an API that does not answer is called again.
const API_RETRY: Duration = Duration::from_secs(1);
/// Pause between two looks at everything while nothing changes.
const RESYNC: Duration = Duration::from_secs(300);
/// Pause between two checks that the store of the API still is the same.
const STORE_CHECK: Duration = Duration::from_secs(5);

/// Runs the adapter until shutdown is requested.
///
/// # Errors
/// When the API's address or the admin listener cannot be used, or the API refuses to show objects. An API that is not
/// there is waited for.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let process = config.controller.clone().start(ELECTION, "kubernetes-synced").await?;
    let ControllerProcess { client, leadership, metrics, ready, admin } = process;
    let operator = OperatorCalls::register(admin.metrics());
    let work = async {
        let options = ControllerOptions {
            workers: config.workers,
            resync: Some(RESYNC),
            metrics,
            ..ControllerOptions::default()
        };
        while let Some(installation) = installation(&client, &shutdown).await {
            let (leadership, operator) = (leadership.clone(), operator.clone());
            let adapter = Adapter::new(client.clone(), installation, &config, leadership, operator);
            match adapter.run(options.clone(), || ready.set(true), shutdown.clone()).await? {
                Ended::ByShutdown => break,
                Ended::ByRestore => {
                    tracing::warn!(
                        "the store was restored or replaced: starting over with what it knows now"
                    );
                    ready.set(false);
                }
            }
        }
        Ok(())
    };
    // Boxed, because the whole adapter is in it.
    admin.beside(&shutdown, Box::pin(work)).await
}

/// Waits for the API, as long as it takes; `None` if shutdown is requested first.
async fn installation(client: &Client, shutdown: &Shutdown) -> Option<Installation> {
    let mut told = String::new();
    loop {
        match client.objects().get_installation(GetInstallationRequest {}).await {
            Ok(response) => return Some(response.into_inner()),
            Err(status) => {
                let error = krake_client::Error::from(status).to_string();
                if error != told {
                    tracing::warn!(error, "waiting for the API");
                    told = error;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(API_RETRY) => {}
            () = shutdown.requested() => return None,
        }
    }
}

/// Why an adapter ended.
enum Ended {
    ByShutdown,
    /// The store is not the one that the adapter was made for: all that it remembers may be wrong.
    ByRestore,
}

/// Everything that belongs to one installation, in one epoch of its store.
struct Adapter {
    client: Client,
    installation: Installation,
    rollout_deadline: Duration,
    removal_deadline: Duration,
    slow_retries: SlowRetries,
    longest_part: Duration,
    observation_interval: Duration,
    sweep: SweepTimes,
    leadership: Leadership,
    clock: Clock,
    operator: OperatorCalls,
    strays: Arc<Strays>,
    clusters: Arc<Clusters>,
    wakes: Arc<Wakes>,
    index: Arc<Index>,
}

impl Adapter {
    fn new(
        client: Client,
        installation: Installation,
        config: &Config,
        leadership: Leadership,
        operator: OperatorCalls,
    ) -> Self {
        let wakes = Arc::new(Wakes::default());
        let (uuid, deadlines) = (&installation.installation, Deadlines::default());
        let clusters = Clusters::new(uuid, deadlines, config.probe, wakes.clone());
        let clusters = clusters.opened_by(config.opener.clone());
        Adapter {
            client,
            installation,
            rollout_deadline: config.rollout_deadline,
            removal_deadline: config.removal_deadline,
            slow_retries: config.slow_retries,
            longest_part: config.longest_part,
            observation_interval: config.observation_interval,
            sweep: config.sweep,
            leadership,
            clock: config.clock.clone(),
            operator,
            strays: Arc::default(),
            clusters: Arc::new(clusters),
            wakes,
            index: Arc::default(),
        }
    }

    async fn run(
        &self,
        options: ControllerOptions,
        ready: impl Fn() + Send,
        shutdown: Shutdown,
    ) -> anyhow::Result<Ended> {
        let (parts, feeds) = Parts::of(self, options);
        let result = tokio::select! {
            result = self.work(&parts, ready, &shutdown) => result,
            result = self.follow_applications(&parts, feeds.applications) => result,
            result = self.follow_clusters(&parts, feeds.clusters) => result,
            () = self.wake(&parts) => Ok(Ended::ByShutdown),
            () = self.restored() => Ok(Ended::ByRestore),
        };
        self.clusters.shutdown().await;
        result
    }

    /// Runs the controllers once all objects are known.
    async fn work(
        &self,
        parts: &Parts,
        ready: impl Fn() + Send,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Ended> {
        tokio::select! {
            synced = parts.synced() => synced?,
            () = shutdown.requested() => return Ok(Ended::ByShutdown),
        }
        ready();
        let (applications, clusters) = (&parts.applications.mirror, &parts.clusters.mirror);
        tracing::info!(applications = applications.len(), clusters = clusters.len(), "all objects are known");
        let barriers = [applications.barrier(), clusters.barrier()];
        // Standbys probe clusters too, so they have current health when elected.
        let (acted, ()) = tokio::join!(
            self.leadership.while_leading(&barriers, shutdown, |stop| parts.lead(stop)),
            parts.probe(shutdown.clone()),
        );
        acted?;
        Ok(Ended::ByShutdown)
    }

    async fn follow_applications(
        &self,
        parts: &Parts,
        feed: MirrorFeed<api::Application, Application>,
    ) -> anyhow::Result<Ended> {
        let watch = self.client.api::<api::Application>().watch(WatchOptions::all_namespaces());
        let on_change = |notice: Notice<Application>| {
            self.application_changed(&notice, &parts.applications);
            self.resurvey(&notice, parts);
            for left in clusters_left(&notice) {
                if let Some(before) = &notice.before {
                    self.clusters.release(&before.uid, Some(&left));
                    parts.applications.memory.forget(&before.uid, &left);
                }
                if let Some(key) = self.index.cluster_key(&left) {
                    parts.queues.clusters.add(key, Priority::Change);
                }
            }
            parts.queues.applications.add(notice.key, Priority::Change);
        };
        feed.run(watch, on_change).await.context("cannot follow the applications")?;
        bail!("the watch of the applications ended")
    }

    async fn follow_clusters(
        &self,
        parts: &Parts,
        feed: MirrorFeed<api::Cluster, Cluster>,
    ) -> anyhow::Result<Ended> {
        let watch = self.client.api::<api::Cluster>().watch(WatchOptions::all_namespaces());
        let on_change = |notice: Notice<Cluster>| {
            self.cluster_changed(&notice, &parts.orphans);
            parts.queues.clusters.add(notice.key, Priority::Change);
        };
        feed.run(watch, on_change).await.context("cannot follow the clusters")?;
        bail!("the watch of the clusters ended")
    }

    /// Queues what the clusters wake, without end.
    async fn wake(&self, parts: &Parts) {
        loop {
            for wake in self.wakes.take().await {
                parts.queues.woken(&self.index, &wake);
            }
        }
    }

    fn application_changed(&self, notice: &Notice<Application>, controller: &Applications) {
        if let Some(after) = &notice.after {
            self.index.application(&after.uid, &notice.key);
        }
        let clusters = |application: &Option<Arc<Application>>| {
            application.as_deref().map(Application::clusters).unwrap_or_default()
        };
        self.index.placed(&notice.key, &clusters(&notice.before), &clusters(&notice.after));
        let replaced =
            |before: &Application| notice.after.as_ref().is_none_or(|after| after.uid != before.uid);
        if let Some(before) = notice.before.as_ref().filter(|before| replaced(before)) {
            controller.forget(before, notice.change == Change::Deleted);
            self.clusters.release(&before.uid, None);
        }
    }

    /// Looks soon for what an application that is gone left, and whether what it has now is still shown as an orphan.
    fn resurvey(&self, notice: &Notice<Application>, parts: &Parts) {
        let clusters = &parts.clusters.mirror;
        let known = |uid: &ClusterUid| clusters.get(&self.index.cluster_key(uid)?);
        for cluster in resurvey::concerned(notice, known) {
            parts.orphans.surveys.sooner(&cluster);
            if let Some(key) = self.index.cluster_key(&cluster) {
                parts.queues.orphans.add(key, Priority::Resync);
            }
        }
    }

    /// Waits until the store is another one, or restored from a back-up.
    async fn restored(&self) {
        loop {
            tokio::time::sleep(STORE_CHECK).await;
            match same_store(&self.client, &self.installation).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => tracing::debug!(%error, "cannot ask which store it is"),
            }
        }
    }

    fn cluster_changed(&self, notice: &Notice<Cluster>, orphans: &Orphans) {
        if let Some(after) = &notice.after {
            if !after.lost {
                self.clusters.admit(&after.uid);
            }
            if after.lost && self.index.lose_cluster(&after.uid) {
                tracing::warn!(cluster = %notice.key, "declared lost: nothing is done there any more");
                self.clusters.drop_cluster(&after.uid);
                self.wakes.push(Wake::Cluster(after.uid.clone()));
            }
            // What a cluster that goes means for a copy there, its applications have to find out.
            if self.index.cluster(&after.uid, &notice.key, after.deleted) {
                self.wakes.push(Wake::Cluster(after.uid.clone()));
            }
        }
        let replaced = |before: &Cluster| notice.after.as_ref().is_none_or(|after| after.uid != before.uid);
        if let Some(before) = notice.before.as_ref().filter(|before| replaced(before)) {
            self.index.forget_cluster(&before.uid, notice.change == Change::Deleted);
            self.clusters.drop_cluster(&before.uid);
            orphans.surveys.forget(&before.uid);
            self.wakes.push(Wake::Cluster(before.uid.clone()));
        }
    }
}

/// The clusters on which an application has no copy any more.
fn clusters_left(notice: &Notice<Application>) -> Vec<ClusterUid> {
    let copies = |application: &Application| -> Vec<_> {
        application.copies.iter().map(|copy| copy.record.cluster.clone()).collect()
    };
    let now = notice.after.as_deref().map(copies).unwrap_or_default();
    let before = notice.before.as_deref().map(copies).unwrap_or_default();
    before.into_iter().filter(|cluster| !now.contains(cluster)).collect()
}
