//! Which clusters come into question for an application, and why the others do not.
//!
//! [`Shortlists`] judges a whole fleet and answers every single constraint once per world, not once per application.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use krake_proto::constraint::{LabelConstraint, MetricConstraint};

use crate::bitset::BitSet;
use crate::score::{MetricState, Standing};
use crate::world::{ClusterState, Constraints, Lifecycle, RankedCluster, World};

/// Why a cluster does not come into question. Constraints are told by their index in the application's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rejection {
    /// It belongs to another namespace and does not admit this one.
    Namespace,
    /// It is being deleted.
    Deleted,
    /// Its applications are to move away.
    Draining,
    /// It does not answer.
    Offline,
    /// It answers again, but was not yet looked at.
    Connecting,
    /// A node reports pressure.
    Unhealthy,
    /// A node is not ready.
    NotReady,
    /// It is not ONLINE for another reason.
    Unavailable,
    /// One of its metrics has no valid value.
    FailingMetrics,
    /// One of its metrics has not been read yet.
    PendingMetrics,
    /// A copy of this very application failed there a short time ago.
    CoolingDown,
    /// It does not satisfy this label constraint.
    Label(usize),
    /// It does not offer this custom resource.
    CustomResource(usize),
    /// It does not satisfy this metric constraint, or does not have the metric.
    Metric(usize),
}

impl Rejection {
    /// The rejection in words, with the constraint itself.
    pub fn describe(self, constraints: &Constraints) -> String {
        fn quoted<T: fmt::Display>(what: &str, list: &[T], index: usize) -> String {
            list.get(index).map_or_else(|| what.to_owned(), |item| format!("{what} \"{item}\""))
        }
        match self {
            Self::Namespace => "not allowed to the application's namespace".to_owned(),
            Self::Deleted => "being deleted".to_owned(),
            Self::Draining => "being drained".to_owned(),
            Self::Offline => "OFFLINE".to_owned(),
            Self::Connecting => "CONNECTING".to_owned(),
            Self::Unhealthy => "UNHEALTHY".to_owned(),
            Self::NotReady => "NOTREADY".to_owned(),
            Self::Unavailable => "not ONLINE".to_owned(),
            Self::FailingMetrics => "FAILING_METRICS".to_owned(),
            Self::PendingMetrics => "metrics not read yet".to_owned(),
            Self::CoolingDown => "a copy failed there a short time ago".to_owned(),
            Self::Label(index) => quoted("label constraint", &constraints.labels, index),
            Self::CustomResource(index) => quoted("custom resource", &constraints.custom_resources, index),
            Self::Metric(index) => quoted("metric constraint", &constraints.metrics, index),
        }
    }
}

/// Why a cluster takes no new applications, whatever they ask for.
fn closed(entry: &RankedCluster) -> Option<Rejection> {
    match entry.cluster.lifecycle {
        Lifecycle::Deleted | Lifecycle::Cascading => return Some(Rejection::Deleted),
        Lifecycle::Draining => return Some(Rejection::Draining),
        Lifecycle::Active => {}
    }
    match entry.cluster.state {
        ClusterState::Online => {}
        ClusterState::Offline { .. }
        | ClusterState::Broken { .. }
        | ClusterState::Unauthorized { .. }
        | ClusterState::Inaccessible => return Some(Rejection::Offline),
        ClusterState::Connecting => return Some(Rejection::Connecting),
        ClusterState::Unhealthy => return Some(Rejection::Unhealthy),
        ClusterState::NotReady => return Some(Rejection::NotReady),
        ClusterState::Unavailable => return Some(Rejection::Unavailable),
    }
    match entry.assessment.standing() {
        Standing::Measured(_) | Standing::Unmeasured => None,
        Standing::Failing => Some(Rejection::FailingMetrics),
        Standing::Pending => Some(Rejection::PendingMetrics),
    }
}

fn offers(entry: &RankedCluster, custom_resource: &str) -> bool {
    entry.cluster.custom_resources.iter().any(|offered| offered == custom_resource)
}

/// Whether a constraint on a metric holds; `None` if the metric has no value at present.
fn metric_holds(entry: &RankedCluster, constraint: &MetricConstraint) -> Option<bool> {
    match entry.assessment.metric(constraint.metric()) {
        None => Some(false),
        Some(MetricState::Known(raw)) => Some(constraint.matches(Some(*raw))),
        Some(MetricState::Pending | MetricState::Failed(_)) => None,
    }
}

/// Whether a cluster satisfies the constraints. A metric without a value counts as `unknown_metric` says.
fn satisfies(
    entry: &RankedCluster,
    namespace: &str,
    constraints: &Constraints,
    unknown_metric: bool,
) -> Result<(), Rejection> {
    if !entry.cluster.serves(namespace) {
        return Err(Rejection::Namespace);
    }
    let labels = constraints.labels.iter().map(|constraint| constraint.matches(&entry.cluster.labels));
    if let Some(index) = first_false(labels) {
        return Err(Rejection::Label(index));
    }
    let custom_resources = constraints.custom_resources.iter().map(|name| offers(entry, name));
    if let Some(index) = first_false(custom_resources) {
        return Err(Rejection::CustomResource(index));
    }
    let metrics =
        constraints.metrics.iter().map(|metric| metric_holds(entry, metric).unwrap_or(unknown_metric));
    first_false(metrics).map_or(Ok(()), |index| Err(Rejection::Metric(index)))
}

fn first_false(mut verdicts: impl Iterator<Item = bool>) -> Option<usize> {
    verdicts.position(|holds| !holds)
}

/// Whether the cluster of that rank takes a new application of the namespace with these constraints: the plain form
/// of what [`Shortlists`] must say.
#[cfg(test)]
pub(crate) fn candidate(
    world: &World,
    rank: usize,
    namespace: &str,
    constraints: &Constraints,
) -> Result<(), Rejection> {
    let entry = &world.ranked()[rank];
    if !entry.cluster.serves(namespace) {
        return Err(Rejection::Namespace);
    }
    closed(entry).map_or(Ok(()), Err)?;
    satisfies(entry, namespace, constraints, false)
}

/// Whether an application that runs on a cluster may stay by its constraints. The state of the cluster does not
/// matter here, and neither does a metric without a value: nothing moves because something is not known.
pub(crate) fn tenable(
    entry: &RankedCluster,
    namespace: &str,
    constraints: &Constraints,
) -> Result<(), Rejection> {
    satisfies(entry, namespace, constraints, true)
}

/// The clusters that come into question for applications of one namespace with the same constraints.
#[derive(Debug)]
pub struct Shortlist {
    candidates: BitSet,
    rejected: BTreeMap<Rejection, u32>,
}

impl Shortlist {
    /// How many clusters come into question.
    pub fn len(&self) -> usize {
        self.candidates.len() as usize
    }

    /// Whether no cluster comes into question.
    pub fn is_empty(&self) -> bool {
        self.candidates.len() == 0
    }

    /// How many of the clusters that the namespace may use were rejected, by the first reason found.
    pub fn rejected(&self) -> &BTreeMap<Rejection, u32> {
        &self.rejected
    }

    /// Ranks of the candidates, best first.
    pub(crate) fn ranks(&self) -> impl Iterator<Item = usize> {
        self.candidates.iter()
    }
}

/// Shortlists of one world, each made once.
#[derive(Debug)]
pub struct Shortlists {
    world: Arc<World>,
    closed: Vec<(Rejection, BitSet)>,
    namespaces: HashMap<String, BitSet>,
    labels: HashMap<LabelConstraint, BitSet>,
    custom_resources: HashMap<String, BitSet>,
    metrics: HashMap<MetricConstraint, BitSet>,
    made: HashMap<String, HashMap<Arc<Constraints>, Arc<Shortlist>>>,
}

impl Shortlists {
    /// No shortlists yet.
    pub fn new(world: &Arc<World>) -> Self {
        let ranked = world.ranked();
        let mut reasons: Vec<_> = ranked.iter().filter_map(closed).collect();
        reasons.sort_unstable();
        reasons.dedup();
        let open = |reason| BitSet::of(ranked.len(), |rank| closed(&ranked[rank]) != Some(reason));
        Self {
            world: Arc::clone(world),
            closed: reasons.into_iter().map(|reason| (reason, open(reason))).collect(),
            namespaces: HashMap::new(),
            labels: HashMap::new(),
            custom_resources: HashMap::new(),
            metrics: HashMap::new(),
            made: HashMap::new(),
        }
    }

    /// The shortlist for applications of `namespace` with these constraints.
    pub fn get(&mut self, namespace: &str, constraints: &Arc<Constraints>) -> Arc<Shortlist> {
        if let Some(made) = self.made.get(namespace).and_then(|made| made.get(constraints)) {
            return Arc::clone(made);
        }
        let made = Arc::new(self.make(namespace, constraints));
        self.made.entry(namespace.to_owned()).or_default().insert(Arc::clone(constraints), Arc::clone(&made));
        made
    }

    fn make(&mut self, namespace: &str, constraints: &Constraints) -> Shortlist {
        let world = Arc::clone(&self.world);
        let ranked = world.ranked();
        let size = ranked.len();
        let served =
            recall(&mut self.namespaces, namespace, size, |rank| ranked[rank].cluster.serves(namespace));
        // Clusters of other tenants are not even counted.
        let mut candidates = served.clone();
        let mut rejected = BTreeMap::new();
        let mut apply = |reason: Rejection, passing: &BitSet| match candidates.retain(passing) {
            0 => {}
            count => *rejected.entry(reason).or_default() += count,
        };
        for (reason, open) in &self.closed {
            apply(*reason, open);
        }
        for (index, constraint) in constraints.labels.iter().enumerate() {
            let holds = |rank: usize| constraint.matches(&ranked[rank].cluster.labels);
            apply(Rejection::Label(index), recall(&mut self.labels, constraint, size, holds));
        }
        for (index, name) in constraints.custom_resources.iter().enumerate() {
            let holds = |rank: usize| offers(&ranked[rank], name);
            apply(
                Rejection::CustomResource(index),
                recall(&mut self.custom_resources, name.as_str(), size, holds),
            );
        }
        for (index, constraint) in constraints.metrics.iter().enumerate() {
            let holds = |rank: usize| metric_holds(&ranked[rank], constraint) == Some(true);
            apply(Rejection::Metric(index), recall(&mut self.metrics, constraint, size, holds));
        }
        Shortlist { candidates, rejected }
    }
}

/// The remembered answer to one question, or a new one.
fn recall<'m, K, Q>(
    memory: &'m mut HashMap<K, BitSet>,
    question: &Q,
    size: usize,
    holds: impl Fn(usize) -> bool,
) -> &'m BitSet
where
    K: std::borrow::Borrow<Q> + std::hash::Hash + Eq,
    Q: ToOwned<Owned = K> + std::hash::Hash + Eq + ?Sized,
{
    if !memory.contains_key(question) {
        memory.insert(question.to_owned(), BitSet::of(size, holds));
    }
    &memory[question]
}

#[cfg(test)]
mod tests;
