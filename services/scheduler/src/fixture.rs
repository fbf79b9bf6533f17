//! Small worlds for the tests.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use krake_proto::constraint::{LabelConstraint, MetricConstraint};

use crate::decide::{BindReason, Choice, Decision, Options, ScoredCluster, decide};
use crate::exodus::Share;
use crate::filter::Shortlists;
use crate::metrics::MetricError;
use crate::project::Placed;
use crate::retry::Backoff;
use crate::world::{
    Application, Binding, Cluster, ClusterState, Constraints, Lifecycle, MetricDefinition, MetricRef,
    Reading, Readings, World,
};
use krake_client::{ClusterUid, NamespacedName};

/// The time at which the tests decide.
pub(crate) fn now() -> Timestamp {
    "2030-01-01T12:00:00Z".parse().unwrap()
}

/// A time some seconds before [`now`].
pub(crate) fn ago(seconds: u64) -> Timestamp {
    now().checked_sub(Duration::from_secs(seconds)).unwrap()
}

/// A cluster of the namespace "ns" that takes applications and has no metrics.
pub(crate) fn cluster(name: &str) -> Cluster {
    Cluster {
        key: NamespacedName::new("ns", name),
        uid: format!("uid-{name}").into(),
        labels: BTreeMap::new(),
        state: ClusterState::Online,
        lifecycle: Lifecycle::Active,
        allowed_namespaces: Vec::new(),
        custom_resources: Vec::new(),
        metrics: Vec::new(),
    }
}

/// An application of the namespace "ns" that is not bound and asks for nothing.
pub(crate) fn application() -> Application {
    Application {
        key: NamespacedName::new("ns", "app"),
        uid: "uid-app".into(),
        generation: 1,
        scheduled_generation: 0,
        constraints: Arc::default(),
        migration: true,
        deleted: false,
        binding: None,
        copies: Vec::new(),
        failed_handovers: Vec::new(),
        failed_attempts: Vec::new(),
        retry_requests: 0,
        backoff: Backoff::default(),
        attempts: None,
        holds_data: false,
        min_gain: 0.0,
        min_residency: None,
    }
}

/// Bound for that many seconds; the present generation is confirmed.
pub(crate) fn bound(application: &Application, cluster: &str, seconds: u64) -> Application {
    let binding = Binding { cluster_uid: format!("uid-{cluster}").into(), bound: ago(seconds) };
    let scheduled_generation = application.generation;
    Application { binding: Some(binding), scheduled_generation, ..application.clone() }
}

/// An application as the controller keeps it, with nothing beside what decisions look at.
pub(crate) fn placed(application: Application) -> Placed {
    Placed {
        application,
        resource_version: 1,
        trace_parent: String::new(),
        scheduled: None,
        retry: (None, None),
        bound: None,
        was_moved: false,
        share: Share::default(),
    }
}

/// The choice of a cluster of the namespace "ns".
pub(crate) fn choice(cluster: &str, reason: BindReason) -> Choice {
    let key = NamespacedName::new("ns", cluster);
    Choice {
        cluster: ScoredCluster { key, uid: format!("uid-{cluster}").into(), score: 0.0 },
        reason,
        replaces: None,
        runner_up: None,
        top: Vec::new(),
        rejected: BTreeMap::new(),
        world_revision: 1,
    }
}

pub(crate) fn constraints(labels: &[&str], custom_resources: &[&str], metrics: &[&str]) -> Arc<Constraints> {
    Arc::new(Constraints {
        labels: labels.iter().map(|text| LabelConstraint::parse(text).unwrap()).collect(),
        custom_resources: custom_resources.iter().map(|name| (*name).to_owned()).collect(),
        metrics: metrics.iter().map(|text| MetricConstraint::parse(text).unwrap()).collect(),
    })
}

/// A world in the making. All metrics are global, from 0 to 1, of one provider.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fleet {
    pub(crate) clusters: Vec<Cluster>,
    pub(crate) definitions: HashMap<NamespacedName, MetricDefinition>,
    pub(crate) readings: Readings,
    pub(crate) erased: HashSet<ClusterUid>,
}

impl Fleet {
    /// Clusters by name, without metrics.
    pub(crate) fn of(names: &[&str]) -> Self {
        let readings = HashMap::from([(NamespacedName::new("", "provider"), HashMap::new())]);
        Self { clusters: names.iter().map(|name| cluster(name)).collect(), readings, ..Self::default() }
    }

    /// Clusters "a", "b", … with one metric each, "m_a", "m_b", …, of these values.
    pub(crate) fn measured(values: &[f64]) -> Self {
        let names: Vec<_> = ('a'..='z').take(values.len()).map(String::from).collect();
        let mut fleet = Self::of(&names.iter().map(String::as_str).collect::<Vec<_>>());
        for (name, value) in names.iter().zip(values) {
            fleet.metric(name, &format!("m_{name}"), 1.0, *value);
        }
        fleet
    }

    pub(crate) fn cluster(&mut self, name: &str) -> &mut Cluster {
        self.clusters.iter_mut().find(|cluster| cluster.key.name == name).unwrap()
    }

    /// Gives a cluster one more metric.
    pub(crate) fn metric(&mut self, cluster: &str, metric: &str, weight: f64, value: f64) {
        self.cluster(cluster).metrics.push(MetricRef { name: metric.to_owned(), weight, namespaced: false });
        let provider = "provider".to_owned();
        let definition = MetricDefinition {
            min: 0.0,
            max: 1.0,
            allowed_values: vec![],
            provider,
            query: format!("q_{metric}"),
        };
        self.definitions.insert(NamespacedName::new("", metric), definition);
        self.read(metric, Some(Ok(value)));
    }

    /// Changes what is known of a metric; `None`: nothing yet.
    pub(crate) fn read(&mut self, metric: &str, answer: Option<Result<f64, MetricError>>) {
        let query = self.definitions[&NamespacedName::new("", metric)].query.clone();
        let answers = self.readings.get_mut(&NamespacedName::new("", "provider")).unwrap();
        match answer {
            Some(answer) => {
                answers.insert(query, answer.map(|value| Reading { value, age: Duration::from_secs(1) }))
            }
            None => answers.remove(&query),
        };
    }

    /// The provider of a metric does not answer.
    pub(crate) fn fail(&mut self, metric: &str) {
        self.read(metric, Some(Err(MetricError::Unreachable("down".to_owned()))));
    }

    pub(crate) fn world(&self) -> Arc<World> {
        let clusters = self.clusters.clone();
        Arc::new(World::new(7, clusters, &self.definitions, &self.readings, self.erased.clone()))
    }

    pub(crate) fn decide(&self, application: &Application) -> Decision {
        self.decide_with(application, &Options::default())
    }

    pub(crate) fn decide_with(&self, application: &Application, options: &Options) -> Decision {
        let world = self.world();
        let shortlist = Shortlists::new(&world).get(&application.key.namespace, &application.constraints);
        decide(&world, &shortlist, application, now(), options)
    }
}
