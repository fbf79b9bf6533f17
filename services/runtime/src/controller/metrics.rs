//! Metrics of controllers: how deep their queues are, how long reconciles take, how often they fail.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use super::schedule::Depth;
use crate::metrics::Metrics;

/// The metrics of all controllers in a process; clones share them. The default measures without being shown.
#[derive(Clone, Debug)]
pub struct ControllerMetrics {
    durations: Family<ControllerLabel, Histogram, fn() -> Histogram>,
    errors: Family<ErrorLabels, Counter>,
    depths: QueueDepths,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ControllerLabel {
    controller: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    controller: &'static str,
    reason: &'static str,
}

impl Default for ControllerMetrics {
    fn default() -> Self {
        Self {
            // 1 ms to 65 s.
            durations: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 4.0, 9))),
            errors: Family::default(),
            depths: QueueDepths::default(),
        }
    }
}

impl ControllerMetrics {
    /// The metrics shown in `metrics`, the same for all controllers of the process.
    pub fn register(metrics: &Metrics) -> Self {
        metrics.shared(|registry| {
            let new = Self::default();
            registry.register(
                "reconcile_duration_seconds",
                "How long reconciles took, failed ones included",
                new.durations.clone(),
            );
            registry.register("reconcile_errors", "Reconciles that will be retried", new.errors.clone());
            registry.register_collector(Box::new(new.depths.clone()));
            new
        })
    }

    /// Shows the depth of a queue from now on, as of the moment someone looks.
    pub(super) fn watch_depth(
        &self,
        controller: &'static str,
        depth: impl Fn() -> Depth + Send + Sync + 'static,
    ) {
        let mut queues = self.depths.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|(name, _)| *name != controller);
        queues.push((controller, Box::new(depth)));
    }

    /// Counts one reconcile; `error` says why it will be retried.
    pub(super) fn reconciled(&self, controller: &'static str, took: Duration, error: Option<&'static str>) {
        self.durations.get_or_create(&ControllerLabel { controller }).observe(took.as_secs_f64());
        if let Some(reason) = error {
            self.errors.get_or_create(&ErrorLabels { controller, reason }).inc();
        }
    }
}

type DepthOf = Box<dyn Fn() -> Depth + Send + Sync>;

/// Asks each queue for its depth whenever metrics are read.
#[derive(Clone, Default)]
struct QueueDepths {
    queues: Arc<Mutex<Vec<(&'static str, DepthOf)>>>,
}

impl fmt::Debug for QueueDepths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueDepths").finish_non_exhaustive()
    }
}

impl Collector for QueueDepths {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(
            "queue_depth",
            "Keys in a controller's queue",
            None,
            MetricType::Gauge,
        )?;
        for (controller, depth) in self.queues.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let Depth { ready, delayed, working } = depth();
            for (state, keys) in [("ready", ready), ("delayed", delayed), ("working", working)] {
                let labels = [("controller", *controller), ("state", state)];
                metric.encode_family(&labels)?.encode_gauge(&(keys as u64))?;
            }
        }
        Ok(())
    }
}
