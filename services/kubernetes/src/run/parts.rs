//! The controllers of one adapter, with their queues and mirrors.

use std::sync::Arc;
use std::time::Duration;

use krake_client::{Mirror, MirrorClosed, MirrorFeed};
use krake_proto::krake::kubernetes::v1 as api;
use krake_runtime::controller::{self, ControllerOptions, OwnWrites, Reconciler};
use krake_runtime::shutdown::Shutdown;

use super::Adapter;
use super::queues::Queues;
use crate::controller::applications::Applications;
use crate::controller::clusters::ClusterController;
use crate::controller::memory::Memory;
use crate::controller::orphans::Orphans;
use crate::controller::pauses::Pauses;
use crate::controller::project::{self, Application, Cluster};
use crate::controller::removals::Removals;
use crate::controller::surveys::Surveys;
use crate::controller::turns::Turns;

/// One cluster gets at most the workers divided by this, so that a slow one leaves most of them to the others.
const CLUSTER_SHARE: usize = 4;
/// Deadline of one reconcile of an application, which may have many objects on a slow cluster.
const APPLICATION_DEADLINE: Duration = Duration::from_secs(300);
/// Maximum concurrent orphan surveys: each lists every kind of a cluster.
const SURVEY_CONCURRENCY: usize = 4;
/// Deadline of one orphan survey.
const SURVEY_DEADLINE: Duration = Duration::from_secs(300);

/// The controllers and their queues.
pub(super) struct Parts {
    pub(super) applications: Arc<Applications>,
    pub(super) clusters: Arc<ClusterController>,
    pub(super) orphans: Arc<Orphans>,
    pub(super) queues: Queues,
    options: ControllerOptions,
}

/// What fills the mirrors.
pub(super) struct Feeds {
    pub(super) applications: MirrorFeed<api::Application, Application>,
    pub(super) clusters: MirrorFeed<api::Cluster, Cluster>,
}

impl Parts {
    /// Makes the controllers of an adapter; nothing runs yet.
    pub(super) fn of(adapter: &Adapter, options: ControllerOptions) -> (Self, Feeds) {
        let queues = Queues::default();
        let (applications, application_feed) = Mirror::of_kind(project::application);
        let (clusters, cluster_feed) = Mirror::of_kind(project::cluster);
        // Writes carry the fence of whichever process leads.
        let client = adapter.leadership.client();
        let orphans = Orphans {
            client: client.clone(),
            mirror: clusters.clone(),
            applications: applications.clone(),
            clusters: adapter.clusters.clone(),
            index: adapter.index.clone(),
            strays: adapter.strays.clone(),
            queue: queues.applications.clone(),
            installation: adapter.installation.clone(),
            leadership: adapter.leadership.clone(),
            surveys: Surveys::new(adapter.sweep),
        };
        let cluster_controller = ClusterController {
            client: client.clone(),
            mirror: clusters,
            applications: applications.clone(),
            clusters: adapter.clusters.clone(),
            leadership: adapter.leadership.clone(),
            clock: adapter.clock.clone(),
            operator: adapter.operator.clone(),
            own_writes: OwnWrites::default(),
        };
        let application_controller = Applications {
            client,
            mirror: applications,
            clusters: adapter.clusters.clone(),
            index: adapter.index.clone(),
            own_writes: OwnWrites::default(),
            turns: Turns::new(options.workers / CLUSTER_SHARE, queues.applications.clone()),
            strays: adapter.strays.clone(),
            memory: Memory::new(
                Pauses::new(adapter.slow_retries),
                adapter.longest_part,
                adapter.observation_interval,
            ),
            installation: adapter.installation.clone(),
            leadership: adapter.leadership.clone(),
            deadline: adapter.rollout_deadline,
            removals: Removals::default(),
            removal_deadline: adapter.removal_deadline,
            clock: adapter.clock.clone(),
        };
        let parts = Parts {
            applications: Arc::new(application_controller),
            clusters: Arc::new(cluster_controller),
            orphans: Arc::new(orphans),
            queues,
            options,
        };
        (parts, Feeds { applications: application_feed, clusters: cluster_feed })
    }

    /// Waits until both mirrors are filled.
    pub(super) async fn synced(&self) -> Result<(), MirrorClosed> {
        self.applications.mirror.synced().await?;
        self.clusters.mirror.synced().await
    }

    /// Acts on clusters for one term of leadership.
    pub(super) async fn lead(&self, stop: Shutdown) -> anyhow::Result<()> {
        self.applications.memory.begin_term();
        // What a leader before has left, and what this process had begun in a term before.
        self.queues.all(self.applications.keys(), self.clusters.keys());
        let applications = controller::run(
            "applications",
            self.applications.clone(),
            self.queues.applications.clone(),
            ControllerOptions { deadline: APPLICATION_DEADLINE, ..self.options.clone() },
            stop.clone(),
        );
        let orphans = controller::run(
            "orphans",
            self.orphans.clone(),
            self.queues.orphans.clone(),
            ControllerOptions {
                workers: SURVEY_CONCURRENCY,
                deadline: SURVEY_DEADLINE,
                ..self.options.clone()
            },
            stop,
        );
        tokio::join!(applications, orphans);
        Ok(())
    }

    /// Probes the clusters, and reports on them while this process leads.
    pub(super) async fn probe(&self, stop: Shutdown) {
        let (clusters, queue) = (self.clusters.clone(), self.queues.clusters.clone());
        controller::run("clusters", clusters, queue, self.options.clone(), stop).await;
    }
}
