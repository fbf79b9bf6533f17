//! What decisions are made on: mirrors of resources, metric values, and the world built from them when they change.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use krake_client::{Barrier, ClusterUid, Mirror, MirrorClosed, NamespacedName};
use krake_proto::krake::core::v1::metrics_provider_spec::Type;
use tokio::sync::watch;

use crate::exodus::Exodus;
use crate::filter::{Shortlist, Shortlists};
use crate::in_flight::InFlight;
use crate::metrics::{
    MetricSource, Poller, PrometheusClient, PrometheusSource, RefusedSource, StaticSource, Target,
};
use crate::project::{Placed, Provider, Registered};
use crate::world::{Constraints, MetricDefinition, World};

/// The most erased clusters that are remembered.
const MAX_ERASED: usize = 4096;

/// Everything that decisions look at.
pub(crate) struct Inputs {
    /// Applications.
    pub(crate) applications: Mirror<Placed>,
    /// Moves of applications that are under way.
    pub(crate) in_flight: InFlight,
    /// Failures that may lead to moves.
    pub(crate) exodus: Exodus,
    /// Clusters.
    pub(crate) clusters: Mirror<Registered>,
    /// Metrics: global ones, and those of namespaces.
    pub(crate) metrics: [Mirror<MetricDefinition>; 2],
    /// Metrics providers: global ones, and those of namespaces.
    pub(crate) providers: [Mirror<Provider>; 2],
    poller: Mutex<Poller>,
    client: PrometheusClient,
    interval: Duration,
    /// Metrics or providers changed since the poller was told whom to ask.
    redefined: AtomicBool,
    /// uids of clusters that are known to be erased, as long as an application is bound to them.
    erased: Mutex<HashSet<ClusterUid>>,
    /// Counts changes of the objects that the world is made of.
    objects: AtomicU64,
    changed: watch::Sender<u64>,
    snapshot: Mutex<Arc<Snapshot>>,
}

/// How often what the world is made of has changed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    /// Objects.
    objects: u64,
    /// Values of metrics. The poller counts them by itself, so that they count also while nobody follows them.
    values: u64,
}

/// The world as it was at one moment, and the shortlists that were made of it.
pub(crate) struct Snapshot {
    version: Version,
    world: Arc<World>,
    shortlists: Mutex<Shortlists>,
}

impl Snapshot {
    fn new(version: Version, world: World) -> Arc<Self> {
        let world = Arc::new(world);
        Arc::new(Snapshot { version, shortlists: Mutex::new(Shortlists::new(&world)), world })
    }

    /// The world.
    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    /// The shortlist for applications of `namespace` with these constraints.
    pub(crate) fn shortlist(&self, namespace: &str, constraints: &Arc<Constraints>) -> Arc<Shortlist> {
        lock(&self.shortlists).get(namespace, constraints)
    }
}

impl Inputs {
    pub(crate) fn new(
        applications: Mirror<Placed>,
        clusters: Mirror<Registered>,
        metrics: [Mirror<MetricDefinition>; 2],
        providers: [Mirror<Provider>; 2],
        client: PrometheusClient,
        interval: Duration,
    ) -> Self {
        let nothing = World::new(0, vec![], &HashMap::new(), &HashMap::new(), HashSet::new());
        Inputs {
            applications,
            in_flight: InFlight::default(),
            exodus: Exodus::default(),
            clusters,
            metrics,
            providers,
            poller: Mutex::new(Poller::new()),
            client,
            interval,
            redefined: AtomicBool::new(true),
            erased: Mutex::default(),
            // The empty world is out of date from the first moment on.
            objects: AtomicU64::new(1),
            changed: watch::channel(1).0,
            snapshot: Mutex::new(Snapshot::new(Version { objects: 0, values: 0 }, nothing)),
        }
    }

    /// Objects changed, or time has passed: the world is to be built anew.
    pub(crate) fn touch(&self) {
        let objects = self.objects.fetch_add(1, Ordering::AcqRel) + 1;
        self.changed.send_replace(objects);
    }

    fn version(&self) -> Version {
        Version { objects: self.objects.load(Ordering::Acquire), values: lock(&self.poller).version() }
    }

    /// Metrics or providers changed: others are to be asked, and the world is to be built anew.
    pub(crate) fn redefine(&self) {
        self.redefined.store(true, Ordering::Release);
        self.touch();
    }

    /// Tells when the world is another one.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Tells when a metric's value is another one.
    pub(crate) fn metric_changes(&self) -> watch::Receiver<u64> {
        lock(&self.poller).changes()
    }

    /// Remembers that a cluster was erased.
    pub(crate) fn erase(&self, uid: &ClusterUid) {
        let mut erased = lock(&self.erased);
        if erased.len() >= MAX_ERASED {
            // Nobody looks at all applications, as in a standby. What is bound to one of them is asked for again.
            erased.clear();
        }
        if erased.insert(uid.clone()) {
            drop(erased);
            self.touch();
        }
    }

    /// Forgets the erased clusters of `world` that are not in `bound`: nothing depends on them any more. What is bound
    /// to one all the same, and seen later, is asked for again.
    pub(crate) fn forget_erased(&self, world: &World, bound: &HashSet<&ClusterUid>) {
        lock(&self.erased).retain(|uid| !world.is_erased(uid) || bound.contains(uid));
    }

    /// Waits until every mirror shows everything.
    pub(crate) async fn synced(&self) -> Result<(), MirrorClosed> {
        self.applications.synced().await?;
        self.clusters.synced().await?;
        for mirror in &self.metrics {
            mirror.synced().await?;
        }
        for mirror in &self.providers {
            mirror.synced().await?;
        }
        Ok(())
    }

    /// What makes sure that no mirror is behind.
    pub(crate) fn barriers(&self) -> Vec<Barrier> {
        let mut barriers = vec![self.applications.barrier(), self.clusters.barrier()];
        barriers.extend(self.metrics.iter().map(Mirror::barrier));
        barriers.extend(self.providers.iter().map(Mirror::barrier));
        barriers
    }

    /// Waits until every metric was read, or could not be, at least once.
    pub(crate) async fn measured(&self) {
        let mut changes = self.metric_changes();
        // The sender lives as long as the poller: this ends with an answer.
        while !lock(&self.poller).is_settled() && changes.changed().await.is_ok() {}
    }

    /// Asks what is defined now, and nothing else.
    fn retarget(&self) {
        let mut targets: HashMap<NamespacedName, Target> = HashMap::new();
        for (name, provider) in self.providers.iter().flat_map(Mirror::snapshot) {
            let source = self.source(&name, &provider);
            let Some(source) = source else { continue };
            let target = Target {
                source,
                version: provider.version,
                queries: BTreeSet::new(),
                interval: self.interval,
            };
            targets.insert(name, target);
        }
        for (name, metric) in self.metrics.iter().flat_map(Mirror::snapshot) {
            let provider = NamespacedName::new(name.namespace, metric.provider.clone());
            if let Some(target) = targets.get_mut(&provider) {
                target.queries.insert(metric.query.clone());
            }
        }
        lock(&self.poller).set_targets(targets);
    }

    fn source(&self, name: &NamespacedName, provider: &Provider) -> Option<Arc<dyn MetricSource>> {
        match provider.spec.r#type.as_ref()? {
            Type::Prometheus(prometheus) => match PrometheusSource::new(self.client.clone(), &prometheus.url)
            {
                Ok(source) => Some(Arc::new(source)),
                Err(error) => {
                    tracing::error!(provider = %name, %error, "a stored provider cannot be asked");
                    Some(Arc::new(RefusedSource::new(error.to_string())))
                }
            },
            Type::Static(fixed) => Some(Arc::new(StaticSource::new(fixed.metrics.clone()))),
            // Refused at admission; one that is there all the same counts as missing.
            Type::Kafka(_) | Type::Influx(_) => None,
        }
    }

    /// The world as it was built last. It may be behind by the time that changes are gathered for.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        lock(&self.snapshot).clone()
    }

    /// Whether nothing has changed since a snapshot was made.
    pub(crate) fn is_current(&self, snapshot: &Snapshot) -> bool {
        snapshot.version == self.version()
    }

    /// The world as it is now. Must be called within a Tokio runtime.
    pub(crate) fn rebuild(&self) -> Arc<Snapshot> {
        let mut current = lock(&self.snapshot);
        let version = self.version();
        if current.version == version {
            return current.clone();
        }
        if self.redefined.swap(false, Ordering::AcqRel) {
            self.retarget();
        }
        let clusters = self.clusters.snapshot();
        let clusters = clusters.into_iter().map(|(_, registered)| registered.cluster.clone()).collect();
        let definitions = self.metrics.iter().flat_map(Mirror::snapshot);
        let definitions =
            definitions.map(|(name, metric)| (name, MetricDefinition::clone(&metric))).collect();
        let readings = lock(&self.poller).readings();
        let revision = self.clusters.resource_version();
        let erased = lock(&self.erased).clone();
        *current = Snapshot::new(version, World::new(revision, clusters, &definitions, &readings, erased));
        current.clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds one of these locks panics halfway through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use krake_runtime::address::AddressPolicy;

    use super::*;

    #[tokio::test]
    async fn a_value_that_was_read_while_nobody_followed_makes_another_world() {
        let inputs = Inputs::new(
            Mirror::of_kind(crate::project::application).0,
            Mirror::of_kind(crate::project::cluster).0,
            [Mirror::of_kind(crate::project::metric).0, Mirror::of_kind(crate::project::metric).0],
            [Mirror::of_kind(crate::project::provider).0, Mirror::of_kind(crate::project::provider).0],
            PrometheusClient::new(AddressPolicy::default()).unwrap(),
            Duration::from_secs(1),
        );
        let before = inputs.rebuild();
        assert!(inputs.is_current(&before));
        let mut read = inputs.metric_changes();
        let target = Target {
            source: Arc::new(StaticSource::new(BTreeMap::from([("wind".to_owned(), 0.9)]))),
            version: 1,
            queries: BTreeSet::from(["wind".to_owned()]),
            interval: Duration::from_secs(1),
        };
        lock(&inputs.poller).set_targets(HashMap::from([(NamespacedName::new("", "fixed"), target)]));
        read.changed().await.unwrap();
        assert!(!inputs.is_current(&before), "a standby follows no values, and acts on them when it leads");
        assert!(!Arc::ptr_eq(&before, &inputs.rebuild()));
    }
}
