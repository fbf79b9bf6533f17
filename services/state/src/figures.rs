//! Metrics of the store, the cache and the watches, computed when they are read.

use std::fmt;
use std::sync::{Arc, Weak};

use krake_runtime::metrics::Metrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::registry::Registry;
use crate::store::Forward;

/// Registers them in `metrics`; they are shown while the service runs.
pub(crate) fn show(metrics: &Metrics, registry: &Arc<Registry>, store: &Arc<Forward>) {
    // Weak, because the metrics may outlive the service, whose store must be free by then.
    let figures = Figures { registry: Arc::downgrade(registry), store: Arc::downgrade(store) };
    metrics.register(|shown| shown.register_collector(Box::new(figures)));
}

struct Figures {
    registry: Weak<Registry>,
    store: Weak<Forward>,
}

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Figures").finish_non_exhaustive()
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (Some(registry), Some(store)) = (self.registry.upgrade(), self.store.upgrade()) else {
            return Ok(());
        };
        // The cache first: what the store is known to hold may only be newer.
        let cache = registry.cache().figures();
        let watches = registry.watch_figures();
        let known = store.highest().0.max(cache.revision.0);

        gauge(
            &mut encoder,
            "store_revision",
            "Highest revision that the store has returned to this process",
            known,
        )?;
        gauge(&mut encoder, "cache_revision", "Revision that the watch cache shows", cache.revision.0)?;
        gauge(
            &mut encoder,
            "cache_lag_revisions",
            "Revisions that the watch cache is behind the store",
            known - cache.revision.0,
        )?;
        gauge(
            &mut encoder,
            "cache_history_revisions",
            "Revisions in the history from which watches resume",
            cache.history as u64,
        )?;
        gauge(
            &mut encoder,
            "cache_history_bytes",
            "Encoded size of the objects in the history from which watches resume",
            cache.history_bytes as u64,
        )?;
        let help = "Objects that lists and initial states of watches have read";
        encoder
            .encode_descriptor("cache_visited_objects", help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, f64>(&cache.visited, None)?;
        gauge(&mut encoder, "watches", "Open watches", watches.watches as u64)?;
        gauge(
            &mut encoder,
            "watch_pending_bytes",
            "Encoded size of the objects in messages that wait to be sent to the clients of watches",
            watches.pending_bytes as u64,
        )?;
        gauge(
            &mut encoder,
            "watch_lag_revisions",
            "Revisions that the slowest watch is behind the watch cache",
            watches.lag,
        )?;
        let mut objects =
            encoder.encode_descriptor("objects", "Stored objects of each kind", None, MetricType::Gauge)?;
        for (kind, count) in cache.objects {
            let labels = [("api", kind.api), ("kind", kind.kind)];
            objects.encode_family(&labels)?.encode_gauge(&count)?;
        }
        Ok(())
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: impl EncodeGaugeValue,
) -> fmt::Result {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
}
