//! Values written into the provider resource itself.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use tokio::time::Instant;

use super::{MetricError, MetricSource};

/// A provider with fixed values.
#[derive(Clone, Debug, PartialEq)]
pub struct StaticSource {
    values: BTreeMap<String, f64>,
}

impl StaticSource {
    /// A provider of these values, by name.
    pub fn new(values: BTreeMap<String, f64>) -> Self {
        Self { values }
    }
}

#[async_trait]
impl MetricSource for StaticSource {
    async fn fetch(
        &self,
        queries: &[String],
        _deadline: Instant,
    ) -> HashMap<String, Result<f64, MetricError>> {
        let value = |name: &String| match self.values.get(name) {
            Some(value) if value.is_finite() => Ok(*value),
            Some(value) => {
                Err(MetricError::Invalid(format!("the value of \"{name}\" is {value}, not a finite number")))
            }
            None => Err(MetricError::Invalid(format!("no value is defined for \"{name}\""))),
        };
        queries.iter().map(|name| (name.clone(), value(name))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn gives_what_is_written_and_refuses_the_rest() {
        let source =
            StaticSource::new(BTreeMap::from([("green".to_owned(), 0.9), ("broken".to_owned(), f64::NAN)]));
        let answers =
            source.fetch(&["green".to_owned(), "broken".to_owned(), "red".to_owned()], Instant::now()).await;
        assert_eq!(answers["green"], Ok(0.9));
        let message = |name: &str| answers[name].clone().unwrap_err();
        assert_eq!(
            message("broken"),
            MetricError::Invalid("the value of \"broken\" is NaN, not a finite number".to_owned())
        );
        assert_eq!(message("red"), MetricError::Invalid("no value is defined for \"red\"".to_owned()));
        assert_eq!(answers.len(), 3);
    }
}
