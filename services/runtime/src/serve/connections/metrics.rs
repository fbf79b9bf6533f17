//! Metrics of listeners: connections and calls, open and refused.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::metrics::Metrics;

/// The families that all listeners of a process share.
#[derive(Clone, Debug, Default)]
struct Families {
    open: Family<Label, Gauge>,
    limit: Family<Label, Gauge>,
    accepted: Family<Label, Counter>,
    refused: Family<Label, Counter>,
    refused_calls: Family<Label, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Label {
    listener: &'static str,
}

/// The metrics of one listener; clones share them. The default measures without being shown.
#[derive(Clone, Debug, Default)]
pub(in crate::serve) struct ConnectionMetrics {
    open: Gauge,
    limit: Gauge,
    accepted: Counter,
    refused: Counter,
    refused_calls: Counter,
}

impl ConnectionMetrics {
    /// The metrics of the listener of this name, shown in `metrics`. Two listeners of one name are counted together.
    pub(in crate::serve) fn register(metrics: &Metrics, listener: &'static str) -> Self {
        let families = metrics.shared(|registry| {
            let new = Families::default();
            registry.register("connections", "Open connections", new.open.clone());
            registry.register(
                "connections_limit",
                "Connections that are served at the same time; further ones wait to be accepted",
                new.limit.clone(),
            );
            registry.register("connections_accepted", "Connections that were accepted", new.accepted.clone());
            registry.register(
                "connections_refused",
                "Connections that were closed at once because their peer had too many",
                new.refused.clone(),
            );
            registry.register(
                "calls_refused",
                "Calls that were refused because their peer had too many open",
                new.refused_calls.clone(),
            );
            new
        });
        let label = Label { listener };
        ConnectionMetrics {
            open: families.open.get_or_create_owned(&label),
            limit: families.limit.get_or_create_owned(&label),
            accepted: families.accepted.get_or_create_owned(&label),
            refused: families.refused.get_or_create_owned(&label),
            refused_calls: families.refused_calls.get_or_create_owned(&label),
        }
    }

    /// The listener serves this many connections at the same time.
    pub(super) fn limited_to(&self, connections: usize) {
        self.limit.set(i64::try_from(connections).unwrap_or(i64::MAX));
    }

    /// Counts an accepted connection, which is open until the returned value is dropped.
    pub(in crate::serve) fn connected(&self) -> Connected {
        self.accepted.inc();
        self.open.inc();
        Connected(self.open.clone())
    }

    /// A connection was refused.
    pub(super) fn refused(&self) {
        self.refused.inc();
    }

    /// Counts refused calls.
    pub(super) fn refused_calls(&self) -> Counter {
        self.refused_calls.clone()
    }
}

/// An open connection.
pub(in crate::serve) struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}
