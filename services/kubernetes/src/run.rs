//! The process: mirrors of applications and clusters, the two controllers, and what clusters wake.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, bail};
use krake_client::{Change, Client, Mirror, Notice, WatchOptions};
use krake_proto::krake::kubernetes::v1 as api;
use krake_proto::krake::meta::v1::{GetInstallationRequest, Installation};
use krake_runtime::controller::{self, ControllerOptions, ControllerProcess, Priority, Queue, Reconciler};
use krake_runtime::leadership::Leadership;
use krake_runtime::shutdown::Shutdown;

use crate::cluster::clusters::Clusters;
use crate::cluster::connection::Deadlines;
use crate::cluster::wake::{Wake, Wakes};
use crate::config::{Clock, Config};
use crate::controller::applications::Applications;
use crate::controller::clusters::ClusterController;
use crate::controller::index::Index;
use crate::controller::orphans::{Orphans, SweepTimes};
use crate::controller::project::{self, Application, Cluster};
use crate::controller::stake::same_store;
use crate::controller::strays::Strays;
use crate::controller::turns::Turns;
use crate::controller::view::Memory;

/// Of several adapters, the leader of this election acts.
const ELECTION: &str = "kubernetes/0";
/// Pause before an API that does not answer is asked again.
const RETRY: Duration = Duration::from_secs(1);
/// How often everything is looked at though nothing changed.
const RESYNC: Duration = Duration::from_secs(300);
/// How often the API is asked whether its store still is the same.
const SAME_STORE: Duration = Duration::from_secs(5);
/// One cluster gets at most the workers divided by this.
const TURNS: usize = 4;
/// An application may have many objects, on a slow cluster.
const APPLICATION: Duration = Duration::from_secs(300);
/// So many clusters are looked through at the same time, each for so long.
const SURVEYS: usize = 4;
const SURVEY: Duration = Duration::from_secs(300);

/// Runs the adapter until shutdown is requested.
///
/// # Errors
/// When the API's address or the admin listener cannot be used, or the API refuses to show objects. An API that is not
/// there is waited for.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let process = config.controller.clone().start(ELECTION, "kubernetes-synced").await?;
    let ControllerProcess { client, leadership, metrics, ready, admin } = process;
    let work = async {
        let options = ControllerOptions {
            workers: config.workers,
            resync: Some(RESYNC),
            metrics,
            ..ControllerOptions::default()
        };
        while let Some(installation) = installation(&client, &shutdown).await {
            let adapter = Adapter::new(client.clone(), installation, &config, leadership.clone());
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
    admin.beside(&shutdown, work).await
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
            () = tokio::time::sleep(RETRY) => {}
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
    sweep: SweepTimes,
    leadership: Leadership,
    clock: Clock,
    strays: Arc<Strays>,
    clusters: Arc<Clusters>,
    wakes: Arc<Wakes>,
    index: Arc<Index>,
}

impl Adapter {
    fn new(client: Client, installation: Installation, config: &Config, leadership: Leadership) -> Self {
        let wakes = Arc::new(Wakes::default());
        let (uuid, deadlines) = (&installation.installation, Deadlines::default());
        let clusters = Clusters::new(uuid, deadlines, config.probe, wakes.clone());
        let clusters = clusters.opened_by(config.opener.clone());
        Adapter {
            client,
            installation,
            rollout_deadline: config.rollout_deadline,
            sweep: config.sweep,
            leadership,
            clock: config.clock.clone(),
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
        let (application_queue, cluster_queue, orphan_queue) = (Queue::new(), Queue::new(), Queue::new());
        let (applications, application_feed) = Mirror::of_kind(project::application);
        let (clusters, cluster_feed) = Mirror::of_kind(project::cluster);
        // Writes carry the fence of whoever leads.
        let client = self.leadership.client();
        let controller = Arc::new(Applications {
            client: client.clone(),
            mirror: applications.clone(),
            clusters: self.clusters.clone(),
            index: self.index.clone(),
            queue: application_queue.clone(),
            turns: Turns::new(options.workers / TURNS, application_queue.clone()),
            strays: self.strays.clone(),
            memory: Memory::default(),
            installation: self.installation.clone(),
            leadership: self.leadership.clone(),
            deadline: self.rollout_deadline,
            clock: self.clock.clone(),
        });
        let cluster_controller = Arc::new(ClusterController {
            client: client.clone(),
            mirror: clusters.clone(),
            applications: applications.clone(),
            clusters: self.clusters.clone(),
            leadership: self.leadership.clone(),
        });
        let orphans = Arc::new(Orphans {
            client: client.clone(),
            mirror: clusters.clone(),
            applications: applications.clone(),
            clusters: self.clusters.clone(),
            index: self.index.clone(),
            strays: self.strays.clone(),
            queue: application_queue.clone(),
            installation: self.installation.clone(),
            leadership: self.leadership.clone(),
            times: self.sweep,
            due: Mutex::default(),
        });

        let follow_applications = async {
            let watch = self.client.api::<api::Application>().watch(WatchOptions::all_namespaces());
            let on_change = |notice: Notice<Application>| {
                self.application_changed(&notice, &controller);
                for left in clusters_left(&notice) {
                    if let Some(key) = self.index.cluster_key(&left) {
                        cluster_queue.add(key, Priority::Change);
                    }
                }
                application_queue.add(notice.key, Priority::Change);
            };
            application_feed.run(watch, on_change).await.context("cannot follow the applications")?;
            bail!("the watch of the applications ended")
        };
        let follow_clusters = async {
            let watch = self.client.api::<api::Cluster>().watch(WatchOptions::all_namespaces());
            let on_change = |notice: Notice<Cluster>| {
                self.cluster_changed(&notice, &orphans);
                cluster_queue.add(notice.key, Priority::Change);
            };
            cluster_feed.run(watch, on_change).await.context("cannot follow the clusters")?;
            bail!("the watch of the clusters ended")
        };
        let wake = async {
            loop {
                for wake in self.wakes.take().await {
                    match wake {
                        Wake::Cluster(cluster) => {
                            for key in controller.concerned(&cluster) {
                                application_queue.add(key, Priority::Change);
                            }
                            if let Some(key) = self.index.cluster_key(&cluster) {
                                orphan_queue.add(key.clone(), Priority::Resync);
                                cluster_queue.add(key, Priority::Change);
                            }
                        }
                        Wake::Application(application, _) => {
                            if let Some(key) = self.index.application_key(&application) {
                                application_queue.add(key, Priority::Change);
                            }
                        }
                    }
                }
            }
        };
        let work = async {
            tokio::select! {
                synced = async { applications.synced().await.and(clusters.synced().await) } => synced?,
                () = shutdown.requested() => return Ok(Ended::ByShutdown),
            }
            ready();
            tracing::info!(
                applications = applications.len(),
                clusters = clusters.len(),
                "all objects are known"
            );
            let act = |stop: Shutdown| {
                // What a leader before has left, and what this process had begun in a term before.
                for key in controller.keys() {
                    application_queue.add(key, Priority::Resync);
                }
                for key in cluster_controller.keys() {
                    cluster_queue.add(key.clone(), Priority::Resync);
                    orphan_queue.add(key, Priority::Resync);
                }
                let applications = controller::run(
                    "applications",
                    controller.clone(),
                    application_queue.clone(),
                    ControllerOptions { deadline: APPLICATION, ..options.clone() },
                    stop.clone(),
                );
                let orphans = controller::run(
                    "orphans",
                    orphans.clone(),
                    orphan_queue.clone(),
                    ControllerOptions { workers: SURVEYS, deadline: SURVEY, ..options.clone() },
                    stop,
                );
                async {
                    tokio::join!(applications, orphans);
                    Ok(())
                }
            };
            let barriers = [applications.barrier(), clusters.barrier()];
            // Who stands by looks after the clusters all the same, so as to know how they do when it is elected.
            let (acted, ()) = tokio::join!(
                self.leadership.while_leading(&barriers, &shutdown, act),
                controller::run(
                    "clusters",
                    cluster_controller.clone(),
                    cluster_queue.clone(),
                    options.clone(),
                    shutdown.clone()
                ),
            );
            acted?;
            Ok(Ended::ByShutdown)
        };
        let result = tokio::select! {
            result = work => result,
            result = follow_applications => result,
            result = follow_clusters => result,
            () = wake => Ok(Ended::ByShutdown),
            () = self.restored() => Ok(Ended::ByRestore),
        };
        self.clusters.shutdown().await;
        result
    }

    fn application_changed(&self, notice: &Notice<Application>, controller: &Applications) {
        if let Some(after) = &notice.after {
            self.index.application(&after.uid, &notice.key);
        }
        let replaced =
            |before: &Application| notice.after.as_ref().is_none_or(|after| after.uid != before.uid);
        if let Some(before) = notice.before.as_ref().filter(|before| replaced(before)) {
            controller.forget(before);
        }
    }

    /// Waits until the store is another one, or restored from a back-up.
    async fn restored(&self) {
        loop {
            tokio::time::sleep(SAME_STORE).await;
            match same_store(&self.client, &self.installation).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => tracing::debug!(%error, "cannot ask which store it is"),
            }
        }
    }

    fn cluster_changed(&self, notice: &Notice<Cluster>, orphans: &Orphans) {
        if let Some(after) = &notice.after {
            // What a cluster that goes means for a copy there, its applications have to find out.
            if self.index.cluster(&after.uid, &notice.key, after.deleted) {
                self.wakes.push(Wake::Cluster(after.uid.clone()));
            }
        }
        let replaced = |before: &Cluster| notice.after.as_ref().is_none_or(|after| after.uid != before.uid);
        if let Some(before) = notice.before.as_ref().filter(|before| replaced(before)) {
            self.index.forget_cluster(&before.uid, notice.change == Change::Deleted);
            self.clusters.drop_cluster(&before.uid);
            orphans.forget(&before.uid);
            self.wakes.push(Wake::Cluster(before.uid.clone()));
        }
    }
}

/// The clusters on which an application has no copy any more.
fn clusters_left(notice: &Notice<Application>) -> Vec<crate::object::ClusterUid> {
    let copies = |application: &Application| -> Vec<_> {
        application.copies.iter().map(|copy| copy.record.cluster.clone()).collect()
    };
    let now = notice.after.as_deref().map(copies).unwrap_or_default();
    let before = notice.before.as_deref().map(copies).unwrap_or_default();
    before.into_iter().filter(|cluster| !now.contains(cluster)).collect()
}
