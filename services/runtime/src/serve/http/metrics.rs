//! Metrics of HTTP listeners: how long requests take and how they end, and their connections.

use std::time::Duration;

use http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use super::super::connections::ConnectionMetrics;
use crate::metrics::Metrics;

/// The name of HTTP listeners in the metrics of connections.
const LISTENER: &str = "rest";

/// The metrics of all HTTP listeners in a process; clones share them. The default measures without being shown.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    durations: Family<Labels, Histogram, fn() -> Histogram>,
    pub(super) connections: ConnectionMetrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    method: &'static str,
    status: u16,
}

impl Default for HttpMetrics {
    fn default() -> Self {
        Self {
            // 1 ms to 65 s.
            durations: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 4.0, 9))),
            connections: ConnectionMetrics::default(),
        }
    }
}

impl HttpMetrics {
    /// The metrics shown in `metrics`, the same for all HTTP listeners of the process.
    pub fn register(metrics: &Metrics) -> Self {
        let connections = ConnectionMetrics::register(metrics, LISTENER);
        metrics.shared(|registry| {
            let new = Self { connections, ..Self::default() };
            registry.register(
                "http_request_duration_seconds",
                "Time until the answer to a request began",
                new.durations.clone(),
            );
            new
        })
    }

    pub(super) fn answered(&self, method: &Method, status: StatusCode, took: Duration) {
        let labels = Labels { method: name(method), status: status.as_u16() };
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
    }
}

/// A method's name; callers may invent methods, and shall not fill the registry with them.
fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::HEAD => "HEAD",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_how_they_ended_and_invented_methods_together() {
        let shown = Metrics::new();
        let metrics = HttpMetrics::register(&shown);
        metrics.answered(&Method::GET, StatusCode::OK, Duration::from_millis(3));
        for invented in ["BREW", "WHEN"] {
            let method = Method::from_bytes(invented.as_bytes()).unwrap();
            HttpMetrics::register(&shown).answered(&method, StatusCode::METHOD_NOT_ALLOWED, Duration::ZERO);
        }
        let first = metrics.connections.connected();
        let second = metrics.connections.connected();
        drop(first);
        let text = shown.encode().unwrap();
        for line in [
            "krake_http_request_duration_seconds_count{method=\"GET\",status=\"200\"} 1",
            "krake_http_request_duration_seconds_count{method=\"other\",status=\"405\"} 2",
            "krake_connections{listener=\"rest\"} 1",
            "krake_connections_accepted_total{listener=\"rest\"} 2",
            "krake_connections_refused_total{listener=\"rest\"} 0",
        ] {
            assert!(text.contains(line), "{line} is missing in {text}");
        }
        drop(second);
        assert!(shown.encode().unwrap().contains("krake_connections{listener=\"rest\"} 0"));
    }
}
