//! The application controller: looks at everything that concerns one application, plans, and carries the plan out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use krake_client::{Client, Mirror, NamespacedName};
use krake_proto::krake::meta::v1::Installation;
use krake_runtime::controller::{Next, OWN_WRITE_PATIENCE, OwnWrites, Reconciler};
use krake_runtime::leadership::Leadership;

use super::execute::{Executor, Progress};
use super::index::Index;
use super::memory::Memory;
use super::neighbours::Neighbours;
use super::project::Application;
use super::removals::Removals;
use super::strays::{Strays, Sweeper};
use super::turns::Turns;
use super::view::{Look, Sighting};
use crate::cluster::clusters::Clusters;
use crate::config::Clock;
use crate::object::{ClusterUid, Identity};
use crate::plan::{Snapshot, Step, plan};

/// The controller.
pub(crate) struct Applications {
    pub(crate) client: Client,
    pub(crate) mirror: Mirror<Application>,
    pub(crate) clusters: Arc<Clusters>,
    pub(crate) index: Arc<Index>,
    pub(crate) own_writes: OwnWrites<NamespacedName>,
    pub(crate) turns: Arc<Turns>,
    pub(crate) strays: Arc<Strays>,
    pub(crate) memory: Memory,
    pub(crate) installation: Installation,
    pub(crate) leadership: Leadership,
    pub(crate) deadline: Duration,
    pub(crate) removals: Removals,
    pub(crate) removal_deadline: Duration,
    pub(crate) clock: Clock,
}

impl Applications {
    /// Forgets an application that is not there any more.
    pub(crate) fn forget(&self, application: &Application, erased: bool) {
        self.own_writes.forget(&application.key);
        self.index.forget_application(&application.uid, erased);
        drop(self.strays.take(&application.uid));
        self.memory.forget_application(&application.uid);
        for cluster in application.clusters() {
            self.memory.forget(&application.uid, &cluster);
            self.removals.forget(&application.uid, &cluster);
        }
    }
}

impl Reconciler for Applications {
    type Key = NamespacedName;

    fn trace_parent(&self, key: &NamespacedName) -> Option<String> {
        self.mirror.get(key).map(|application| application.trace_parent.clone())
    }

    async fn reconcile(&self, key: &NamespacedName) -> anyhow::Result<Next> {
        let application = self.mirror.get(key);
        let application = application.filter(|application| !application.deleted || application.our_turn);
        let Some(application) = application else {
            self.turns.leave(key);
            return Ok(Next::Done);
        };
        if let Some(left) = self.own_writes.unseen_for(key, application.resource_version) {
            return Ok(Next::After(left));
        }
        let Some(_turns) = self.turns.take(self.working(&application), key) else { return Ok(Next::Done) };
        let strays = self.strays.take(&application.uid);
        if !strays.is_empty() {
            let sweeper = Sweeper {
                client: &self.client,
                clusters: &self.clusters,
                neighbours: self.neighbours(),
                leadership: &self.leadership,
                installation: &self.installation,
            };
            sweeper.sweep(&application, strays).await?;
        }
        let looks = application.clusters().into_iter().map(|cluster| async {
            let identity = self.identity(&application, &cluster);
            let look = Look {
                client: &self.client,
                clusters: &self.clusters,
                index: &self.index,
                memory: &self.memory,
                application: &application,
                identity: &identity,
                cluster: &cluster,
            };
            let sighting = look.take().await?;
            anyhow::Ok(sighting.map(|sighting| (cluster, sighting)))
        });
        let sightings: HashMap<ClusterUid, Sighting> =
            try_join_all(looks).await?.into_iter().flatten().collect();
        let steps = plan(&self.snapshot(&application, &sightings));
        if !steps.iter().all(|step| matches!(step, Step::Wait(_))) {
            tracing::debug!(application = %key, ?steps, "planned");
        }
        let (mut progress, ended) = self.execute(&application, &sightings, steps).await;
        let has_written = progress.version != 0;
        if has_written {
            self.own_writes.wrote(key, progress.version);
        }
        ended?;
        if has_written {
            // The next plan is made when the mirror shows this one, which wakes the application. One that was erased is not
            // shown any more.
            progress = progress.and(Progress { again: Some(OWN_WRITE_PATIENCE), ..Progress::default() });
        } else {
            // After a report the next look follows at once.
            let told = self.tell_observations(&application, &sightings).await;
            progress = progress.and(Progress { again: told, ..Progress::default() });
        }
        Ok(progress.again.map_or(Next::Done, Next::After))
    }

    fn keys(&self) -> Vec<NamespacedName> {
        self.mirror.snapshot().into_iter().map(|(key, _)| key).collect()
    }
}

impl Applications {
    /// What all applications have on clusters.
    fn neighbours(&self) -> Neighbours<'_> {
        Neighbours { mirror: &self.mirror, index: &self.index }
    }

    /// What marks the application's objects on a cluster.
    fn identity(&self, application: &Application, cluster: &ClusterUid) -> Identity {
        Identity {
            installation: self.installation.installation.clone(),
            application: application.uid.clone(),
            cluster: cluster.clone(),
            epoch: self.installation.epoch.clone(),
        }
    }

    /// The clusters of an application that answer: those that a reconcile may spend time on.
    fn working(&self, application: &Application) -> Vec<ClusterUid> {
        let answers = |cluster: &ClusterUid| match self.clusters.get(cluster) {
            Some(Ok(handle)) => handle.answers() == Some(Ok(())),
            _ => false,
        };
        application.clusters().into_iter().filter(answers).collect()
    }

    fn snapshot(&self, application: &Application, sightings: &HashMap<ClusterUid, Sighting>) -> Snapshot {
        let views = sightings.iter().map(|(cluster, sighting)| (cluster.clone(), sighting.view.clone()));
        Snapshot {
            deleted: application.deleted,
            generation: application.generation,
            scheduled_generation: application.scheduled_generation,
            retry_requests: application.retry_requests,
            bindings: application.bindings.iter().map(|cluster| cluster.uid.as_str().into()).collect(),
            copies: application.copies.iter().map(|copy| copy.record.clone()).collect(),
            completed: application.completed.clone(),
            leaving: application
                .clusters()
                .into_iter()
                .filter(|cluster| self.index.is_leaving(cluster))
                .collect(),
            strategy: application.strategy,
            given_up: application.given_up.clone(),
            clusters: views.collect(),
            now: (self.clock)(),
            deadline: self.deadline,
        }
    }

    /// Reports what is seen of the copies. Returns when to look again.
    async fn tell_observations(
        &self,
        application: &Application,
        sightings: &HashMap<ClusterUid, Sighting>,
    ) -> Option<Duration> {
        if !self.leadership.leading() {
            return None;
        }
        let told = sightings.iter().map(|(cluster, sighting)| {
            self.memory.observations.tell(&self.client, application, cluster, sighting)
        });
        join_all(told).await.into_iter().flatten().min()
    }

    /// Carries out a plan: the steps of one cluster one after the other, different clusters side by side. The
    /// progress includes what was written before an error.
    async fn execute(
        &self,
        application: &Application,
        sightings: &HashMap<ClusterUid, Sighting>,
        steps: Vec<Step>,
    ) -> (Progress, anyhow::Result<()>) {
        let mut progress = Progress::default();
        let mut of_clusters: BTreeMap<ClusterUid, Vec<Step>> = BTreeMap::new();
        for step in steps {
            match (step.cluster().cloned(), step) {
                (Some(cluster), step) => of_clusters.entry(cluster).or_default().push(step),
                (None, Step::Wait(time)) => progress.again = Some(time),
                // The state service drops the finalizer with the last copy.
                (None, _) => {}
            }
        }
        let runs = of_clusters.into_iter().map(|(cluster, steps)| async move {
            let executor = Executor {
                client: &self.client,
                application,
                identity: &self.identity(application, &cluster),
                cluster: &cluster,
                sighting: sightings.get(&cluster),
                memory: &self.memory,
                neighbours: self.neighbours(),
                leadership: &self.leadership,
                deadline: self.deadline,
                removals: &self.removals,
                removal_deadline: self.removal_deadline,
            };
            let mut progress = Progress::default();
            let ended = executor.run(steps, &mut progress).await;
            (progress, ended)
        });
        // One cluster's trouble must not cut short what is under way on another.
        let mut ended = Ok(());
        for (of_cluster, result) in join_all(runs).await {
            progress = progress.and(of_cluster);
            ended = ended.and(result);
        }
        (progress, ended)
    }
}
