//! Where metric values come from: one trait, one file for each type of provider, and the poller that asks them.

mod poll;
mod prometheus;
mod refused_source;
mod static_source;

use std::collections::HashMap;

use async_trait::async_trait;
use thiserror::Error;
use tokio::time::Instant;

pub use poll::{Poller, Target};
pub use prometheus::{PrometheusClient, PrometheusSource, UrlError};
pub use refused_source::RefusedSource;
pub use static_source::StaticSource;

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MetricError {
    /// The provider does not answer, or not as such a provider does (UNREACHABLE_METRICS_PROVIDER). Asking again
    /// may help.
    #[error("{0}")]
    Unreachable(String),
    /// The provider answers, but has no usable value (INVALID_METRIC). Somebody must change something.
    #[error("{0}")]
    Invalid(String),
}

/// A provider of metric values.
#[async_trait]
pub trait MetricSource: Send + Sync {
    /// The present values of some queries, in the provider's language. The answer has an entry for every query and
    /// comes by the deadline; a query that fails or hangs does not affect the others. Values are finite. The future
    /// may be dropped at any await.
    async fn fetch(&self, queries: &[String], deadline: Instant)
    -> HashMap<String, Result<f64, MetricError>>;
}
