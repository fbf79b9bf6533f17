//! What decisions are made on: mirrors of resources, metric values, and the world built from them when they change.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use krake_client::{Mirror, NamespacedName};
use krake_proto::krake::core::v1::metrics_provider_spec::Type;
use tokio::sync::watch;

use crate::metrics::{MetricSource, Poller, PrometheusSource, StaticSource, Target};
use crate::project::{Placed, Provider};
use crate::world::{Cluster, MetricDefinition, World};

/// Everything that decisions look at.
pub(crate) struct Inputs {
    /// Applications.
    pub(crate) applications: Mirror<Placed>,
    /// Clusters.
    pub(crate) clusters: Mirror<Cluster>,
    /// Metrics: global ones, and those of namespaces.
    pub(crate) metrics: [Mirror<MetricDefinition>; 2],
    /// Metrics providers: global ones, and those of namespaces.
    pub(crate) providers: [Mirror<Provider>; 2],
    poller: Mutex<Poller>,
    client: reqwest::Client,
    interval: Duration,
    /// uids of clusters that are known to be erased.
    erased: Mutex<HashSet<String>>,
    /// Counts changes of anything that the world is made of.
    version: AtomicU64,
    changed: watch::Sender<u64>,
    world: Mutex<Option<(u64, Arc<World>)>>,
}

impl Inputs {
    pub(crate) fn new(
        applications: Mirror<Placed>,
        clusters: Mirror<Cluster>,
        metrics: [Mirror<MetricDefinition>; 2],
        providers: [Mirror<Provider>; 2],
        client: reqwest::Client,
        interval: Duration,
    ) -> Self {
        Inputs {
            applications,
            clusters,
            metrics,
            providers,
            poller: Mutex::new(Poller::new()),
            client,
            interval,
            erased: Mutex::default(),
            version: AtomicU64::new(0),
            changed: watch::channel(0).0,
            world: Mutex::default(),
        }
    }

    /// Clusters or metric values changed: the next look builds a new world.
    pub(crate) fn touch(&self) {
        let version = self.version.fetch_add(1, Ordering::AcqRel) + 1;
        self.changed.send_replace(version);
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
    pub(crate) fn erase(&self, uid: &str) {
        if lock(&self.erased).insert(uid.to_owned()) {
            self.touch();
        }
    }

    /// Metrics or providers changed: asks what is defined now, and nothing else.
    pub(crate) fn retarget(&self) {
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
        self.touch();
    }

    fn source(&self, name: &NamespacedName, provider: &Provider) -> Option<Arc<dyn MetricSource>> {
        match provider.spec.r#type.as_ref()? {
            Type::Prometheus(prometheus) => match PrometheusSource::new(self.client.clone(), &prometheus.url)
            {
                Ok(source) => Some(Arc::new(source)),
                Err(error) => {
                    tracing::error!(provider = %name, %error, "a stored provider cannot be asked");
                    None
                }
            },
            Type::Static(fixed) => Some(Arc::new(StaticSource::new(fixed.metrics.clone()))),
            // Refused at admission; one that is there all the same counts as missing.
            Type::Kafka(_) | Type::Influx(_) => None,
        }
    }

    /// The world as it is now.
    pub(crate) fn world(&self) -> Arc<World> {
        let version = self.version.load(Ordering::Acquire);
        let mut cached = lock(&self.world);
        if let Some((built, world)) = cached.as_ref()
            && *built == version
        {
            return world.clone();
        }
        let clusters =
            self.clusters.snapshot().into_iter().map(|(_, cluster)| Cluster::clone(&cluster)).collect();
        let definitions = self.metrics.iter().flat_map(Mirror::snapshot);
        let definitions =
            definitions.map(|(name, metric)| (name, MetricDefinition::clone(&metric))).collect();
        let readings = lock(&self.poller).readings();
        let revision = self.clusters.resource_version();
        let erased = lock(&self.erased).clone();
        let world = Arc::new(World::new(revision, clusters, &definitions, &readings, erased));
        *cached = Some((version, world.clone()));
        world
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds one of these locks panics halfway through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
