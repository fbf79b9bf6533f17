//! A provider that cannot be asked at all.

use std::collections::HashMap;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{MetricError, MetricSource};

/// Answers every query with the reason why its provider is not asked, so that clusters show it.
#[derive(Clone, Debug)]
pub struct RefusedSource(String);

impl RefusedSource {
    /// A provider that is not asked for this reason.
    pub fn new(reason: String) -> Self {
        Self(reason)
    }
}

#[async_trait]
impl MetricSource for RefusedSource {
    async fn fetch(&self, queries: &[String], _: Instant) -> HashMap<String, Result<f64, MetricError>> {
        let refused = || Err(MetricError::Unreachable(self.0.clone()));
        queries.iter().map(|query| (query.clone(), refused())).collect()
    }
}
