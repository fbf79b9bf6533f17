//! How good a cluster is: from raw metric values to one number, and from there to an order.
//!
//! ```text
//! normalised value   v = (raw − min) / (max − min)
//! score              (Σ v·w + s) / (Σ |w| + s)      with metrics
//!                    s                              without
//! ```
//! `w` are the weights of the cluster's metric references, `s` is the stickiness for the cluster that the
//! application is bound to and 0 for any other. Upstream divides by `Σ w`; for weights that are not negative this is
//! the same. With a negative weight (low values are good) `Σ w` may vanish or turn the order around, `Σ |w|` cannot.

use std::cmp::Ordering;
use std::collections::HashMap;

use crate::metrics::MetricError;
use crate::world::{Cluster, MetricDefinition, MetricRef, Readings};
use krake_client::NamespacedName;

/// What the metrics of one cluster say.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    metrics: Vec<(String, MetricState)>,
    standing: Standing,
}

/// What is known of one metric of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricState {
    /// The raw value, valid by the metric's definition.
    Known(f64),
    /// Its provider has not been asked yet.
    Pending,
    /// There is no valid value.
    Failed(MetricFailure),
}

/// Why a metric has no valid value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricFailure {
    /// The class of failure.
    pub code: FailureCode,
    /// For people: what is wrong and where.
    pub message: String,
}

/// Classes of failure of a metric, by upstream's reason codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureCode {
    /// UNKNOWN_METRIC: there is no metric of that name.
    UnknownMetric,
    /// UNKNOWN_METRICS_PROVIDER: the metric names a provider that does not exist.
    UnknownProvider,
    /// UNREACHABLE_METRICS_PROVIDER: the provider does not answer.
    UnreachableProvider,
    /// INVALID_METRIC: no value, or not one that the metric's definition allows.
    InvalidMetric,
}

/// What all metrics of a cluster come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Standing {
    /// It has no metrics.
    Unmeasured,
    /// All are known.
    Measured(WeightedMean),
    /// None has failed, some are not read yet.
    Pending,
    /// At least one has failed: the others alone would not compare with those of other clusters.
    Failing,
}

/// `sum / weight`, kept apart because stickiness goes into both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct WeightedMean {
    sum: f64,
    weight: f64,
}

impl Assessment {
    /// Judges the metrics of a cluster.
    pub(crate) fn of(
        cluster: &Cluster,
        definitions: &HashMap<NamespacedName, MetricDefinition>,
        readings: &Readings,
    ) -> Self {
        let mut sum = 0.0;
        let mut weight = 0.0;
        let mut metrics = Vec::with_capacity(cluster.metrics.len());
        for reference in &cluster.metrics {
            let state = match measure(cluster, reference, definitions, readings) {
                Ok((raw, normalised)) => {
                    sum += normalised * reference.weight;
                    weight += reference.weight.abs();
                    MetricState::Known(raw)
                }
                Err(state) => state,
            };
            metrics.push((reference.name.clone(), state));
        }
        let any = |wanted: fn(&MetricState) -> bool| metrics.iter().any(|(_, state)| wanted(state));
        let standing = if metrics.is_empty() {
            Standing::Unmeasured
        } else if any(|state| matches!(state, MetricState::Failed(_))) {
            Standing::Failing
        } else if any(|state| matches!(state, MetricState::Pending)) {
            Standing::Pending
        } else if weight > 0.0 && weight.is_finite() {
            Standing::Measured(WeightedMean { sum, weight })
        } else {
            let message =
                format!("the weights of the cluster's metrics sum to {weight}: no score can be made of them");
            for (_, state) in &mut metrics {
                *state = MetricState::Failed(MetricFailure {
                    code: FailureCode::InvalidMetric,
                    message: message.clone(),
                });
            }
            Standing::Failing
        };
        Self { metrics, standing }
    }

    /// What is known of the metric of that name; `None` if the cluster does not refer to one.
    pub fn metric(&self, name: &str) -> Option<&MetricState> {
        self.metrics.iter().find(|(metric, _)| metric == name).map(|(_, state)| state)
    }

    /// The metrics that failed, by name. Not empty: the cluster is FAILING_METRICS.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &MetricFailure)> {
        self.metrics.iter().filter_map(|(name, state)| match state {
            MetricState::Failed(failure) => Some((name.as_str(), failure)),
            MetricState::Known(_) | MetricState::Pending => None,
        })
    }

    pub(crate) fn standing(&self) -> Standing {
        self.standing
    }

    /// The part of the score that is the same for every application.
    pub(crate) fn rank(&self) -> (bool, Value) {
        self.valued(0.0)
    }

    /// The score of this cluster for an application that is bound to it (`Some(stickiness)`) or not.
    pub(crate) fn score(&self, stickiness: Option<f64>, tie: u64) -> Score {
        let (measured, value) = self.valued(stickiness.unwrap_or(0.0));
        Score { measured, value, bound: stickiness.is_some(), tie }
    }

    fn valued(&self, stickiness: f64) -> (bool, Value) {
        match self.standing {
            Standing::Measured(WeightedMean { sum, weight }) => {
                (true, Value::new((sum + stickiness) / (weight + stickiness)))
            }
            Standing::Unmeasured | Standing::Pending | Standing::Failing => (false, Value::new(stickiness)),
        }
    }
}

/// Raw and normalised value of one metric.
fn measure(
    cluster: &Cluster,
    reference: &MetricRef,
    definitions: &HashMap<NamespacedName, MetricDefinition>,
    readings: &Readings,
) -> Result<(f64, f64), MetricState> {
    let failed = |code, message| MetricState::Failed(MetricFailure { code, message });
    let invalid = |message| failed(FailureCode::InvalidMetric, message);
    let namespace = if reference.namespaced { cluster.key.namespace.as_str() } else { "" };
    if reference.namespaced && namespace.is_empty() {
        return Err(invalid("a resource without a namespace refers to a metric of its namespace".to_owned()));
    }
    let key = NamespacedName::new(namespace, reference.name.as_str());
    let Some(definition) = definitions.get(&key) else {
        return Err(failed(FailureCode::UnknownMetric, format!("the metric {key} does not exist")));
    };
    let provider = NamespacedName::new(namespace, definition.provider.as_str());
    let Some(answers) = readings.get(&provider) else {
        return Err(failed(
            FailureCode::UnknownProvider,
            format!("the metrics provider {provider} does not exist"),
        ));
    };
    let raw = match answers.get(&definition.query) {
        None => return Err(MetricState::Pending),
        Some(Ok(reading)) => reading.value,
        Some(Err(MetricError::Unreachable(message))) => {
            return Err(failed(
                FailureCode::UnreachableProvider,
                format!("metrics provider {provider}: {message}"),
            ));
        }
        Some(Err(MetricError::Invalid(message))) => {
            return Err(invalid(format!("metrics provider {provider}: {message}")));
        }
    };
    let MetricDefinition { min, max, allowed_values, .. } = definition;
    let span = max - min;
    if !(span > 0.0 && span.is_finite()) {
        return Err(invalid(format!("the metric {key} has no range: min {min} must be below max {max}")));
    }
    // Written so that NaN is refused, too.
    if !(*min <= raw && raw <= *max) {
        // Without the value: texts that change with every reading would be written with every reading.
        return Err(invalid(format!("the value of the metric {key} is not between {min} and {max}")));
    }
    #[allow(clippy::cast_precision_loss)] // the definition compares numbers, not representations
    if !allowed_values.is_empty() && !allowed_values.iter().any(|allowed| *allowed as f64 == raw) {
        return Err(invalid(format!("the value of the metric {key} is none of its allowed values")));
    }
    if !reference.weight.is_finite() {
        return Err(invalid(format!(
            "the weight {} of the metric {key} is not a finite number",
            reference.weight
        )));
    }
    Ok((raw, (raw - min) / span))
}

/// A finite number with a total order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value(f64);

impl Value {
    fn new(value: f64) -> Self {
        // Sums of finite numbers can overflow, and such a cluster must not win by it. Adding zero turns -0 into 0.
        Self(if value.is_finite() { value + 0.0 } else { f64::MIN })
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Value {}

/// How good a cluster is for one application. The order of the fields is the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score {
    /// Clusters with metrics go before clusters without.
    measured: bool,
    /// The weighted mean, stickiness included.
    value: Value,
    /// Among equals the bound cluster stays.
    bound: bool,
    /// Otherwise a rendezvous hash spreads applications, the same way every time.
    tie: u64,
}

impl Score {
    /// The number that people see.
    pub fn value(&self) -> f64 {
        self.value.0
    }

    /// Whether metrics or stickiness alone make it better, whatever the tie breakers say.
    pub(crate) fn outranks(&self, other: &Self) -> bool {
        (self.measured, self.value) > (other.measured, other.value)
    }
}

/// The part of a uid in [`rendezvous`] (FNV-1a, 64 bit: the same on every machine and in every release).
pub(crate) fn rendezvous_key(uid: &str) -> u64 {
    uid.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Rendezvous hash: among equal clusters, an application prefers the one with the highest. A cluster that comes or
/// goes changes the preference of no application for the others.
pub(crate) fn rendezvous(application: u64, cluster: u64) -> u64 {
    // The finaliser of SplitMix64, so that every bit of either key moves every bit of the result.
    let mut hash = application.rotate_left(32) ^ cluster;
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests;
