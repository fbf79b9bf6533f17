//! The process: mirrors of applications and clusters, the two controllers, and what clusters wake.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use krake_client::{Change, Client, Mirror, Notice, WatchOptions};
use krake_proto::krake::kubernetes::v1 as api;
use krake_proto::krake::meta::v1::{GetInstallationRequest, Installation};
use krake_runtime::admin::Admin;
use krake_runtime::controller::{self, ControllerMetrics, ControllerOptions, Priority, Queue};
use krake_runtime::serve::bind;
use krake_runtime::shutdown::Shutdown;

use crate::cluster::ProbeTimes;
use crate::cluster::clusters::Clusters;
use crate::cluster::connection::Deadlines;
use crate::cluster::wake::{Wake, Wakes};
use crate::config::Config;
use crate::controller::applications::Applications;
use crate::controller::clusters::ClusterController;
use crate::controller::index::Index;
use crate::controller::project::{self, Application, Cluster};

/// Pause before an API that does not answer is asked again.
const RETRY: Duration = Duration::from_secs(1);
/// How often everything is looked at though nothing changed.
const RESYNC: Duration = Duration::from_secs(300);

/// Runs the adapter until shutdown is requested.
///
/// # Errors
/// When the API's address or the admin listener cannot be used, or the API refuses to show objects. An API that is not
/// there is waited for.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let client = Client::new(&config.connect)?;
    let admin = Admin::new();
    let ready = admin.readiness.condition("objects-synced");
    let metrics = ControllerMetrics::register(&admin.metrics);
    let listener = bind(config.admin, false).await?;
    let serve = async {
        admin.serve(listener, shutdown.clone()).await.context("the admin listener failed")?;
        // Ended by the shutdown: the rest ends in its own time.
        std::future::pending().await
    };
    let work = async {
        let Some(installation) = installation(&client, &shutdown).await else { return Ok(()) };
        let options = ControllerOptions {
            workers: config.workers,
            resync: Some(RESYNC),
            metrics,
            ..ControllerOptions::default()
        };
        let adapter = Adapter::new(client.clone(), installation, config.rollout_deadline);
        adapter.run(options, move || ready.set(true), shutdown.clone()).await
    };
    tokio::select! {
        result = work => result,
        result = serve => result,
    }
}

/// Waits for the API, as long as it takes; `None` if shutdown is requested first.
async fn installation(client: &Client, shutdown: &Shutdown) -> Option<Installation> {
    loop {
        match client.objects().get_installation(GetInstallationRequest {}).await {
            Ok(response) => return Some(response.into_inner()),
            Err(status) => {
                let error = krake_client::Error::from(status);
                tracing::warn!(%error, "waiting for the API");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = shutdown.requested() => return None,
        }
    }
}

/// Everything that belongs to one installation.
struct Adapter {
    client: Client,
    installation: Installation,
    rollout_deadline: Duration,
    clusters: Arc<Clusters>,
    wakes: Arc<Wakes>,
    index: Arc<Index>,
}

impl Adapter {
    fn new(client: Client, installation: Installation, rollout_deadline: Duration) -> Self {
        let wakes = Arc::new(Wakes::default());
        let times = ProbeTimes::default();
        let clusters = Clusters::new(&installation.installation, Deadlines::default(), times, wakes.clone());
        Adapter {
            client,
            installation,
            rollout_deadline,
            clusters: Arc::new(clusters),
            wakes,
            index: Arc::default(),
        }
    }

    async fn run(
        &self,
        options: ControllerOptions,
        ready: impl FnOnce() + Send,
        shutdown: Shutdown,
    ) -> anyhow::Result<()> {
        let (application_queue, cluster_queue) = (Queue::new(), Queue::new());
        let (applications, application_feed) = Mirror::of_kind(project::application);
        let (clusters, cluster_feed) = Mirror::of_kind(project::cluster);
        let controller = Arc::new(Applications::new(
            self.client.clone(),
            applications.clone(),
            self.clusters.clone(),
            self.index.clone(),
            application_queue.clone(),
            self.installation.installation.clone(),
            self.installation.epoch.clone(),
            self.rollout_deadline,
        ));
        let cluster_controller = Arc::new(ClusterController {
            client: self.client.clone(),
            mirror: clusters.clone(),
            applications: applications.clone(),
            clusters: self.clusters.clone(),
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
                self.cluster_changed(&notice);
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
                () = shutdown.requested() => return Ok(()),
            }
            ready();
            tracing::info!(
                applications = applications.len(),
                clusters = clusters.len(),
                "all objects are known"
            );
            tokio::join!(
                controller::run(
                    "applications",
                    controller.clone(),
                    application_queue.clone(),
                    options.clone(),
                    shutdown.clone()
                ),
                controller::run(
                    "clusters",
                    cluster_controller.clone(),
                    cluster_queue.clone(),
                    options,
                    shutdown.clone()
                ),
            );
            Ok(())
        };
        let result = tokio::select! {
            result = work => result,
            result = follow_applications => result,
            result = follow_clusters => result,
            () = wake => Ok(()),
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

    fn cluster_changed(&self, notice: &Notice<Cluster>) {
        if let Some(after) = &notice.after {
            self.index.cluster(&after.uid, &notice.key);
        }
        let replaced = |before: &Cluster| notice.after.as_ref().is_none_or(|after| after.uid != before.uid);
        if let Some(before) = notice.before.as_ref().filter(|before| replaced(before)) {
            self.index.forget_cluster(&before.uid, notice.change == Change::Deleted);
            self.clusters.drop_cluster(&before.uid);
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
