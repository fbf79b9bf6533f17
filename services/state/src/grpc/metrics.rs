//! Metrics of calls: how long they take and how they end, by method and code.
//!
//! Methods are those of the contract; calls of any other are counted together, so callers cannot fill the registry. A call costs no look-up by its name: each method holds its histograms.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use krake_runtime::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tonic::Code;

/// The name of all methods that the contract does not have.
const OTHER: &str = "other";

/// The names of the codes, in the order of their numbers.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

type Durations = Family<Labels, Histogram, fn() -> Histogram>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    method: &'static str,
    code: &'static str,
}

/// The metrics of all methods.
#[derive(Clone, Debug)]
pub(super) struct RpcMetrics {
    durations: Durations,
}

impl RpcMetrics {
    pub(super) fn register(metrics: &Metrics) -> Self {
        // 0.5 ms to 33 s.
        let durations: Durations =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_5, 4.0, 9)));
        metrics.register(|registry| {
            registry.register(
                "rpc_duration_seconds",
                "Time until a call ended, or until its stream began",
                durations.clone(),
            );
        });
        RpcMetrics { durations }
    }

    /// Those of the method at this path, `/package.Service/Method`.
    pub(super) fn method(&self, path: &'static str) -> Arc<MethodMetrics> {
        let method = path.strip_prefix('/').unwrap_or(path);
        let codes = [const { OnceLock::new() }; CODES.len()];
        Arc::new(MethodMetrics { durations: self.durations.clone(), method, codes })
    }

    /// Those of all methods that the contract does not have.
    pub(super) fn other(&self) -> Arc<MethodMetrics> {
        self.method(OTHER)
    }
}

/// The metrics of one method. A code is looked up in the family once and shown from then on.
#[derive(Debug)]
pub(super) struct MethodMetrics {
    durations: Durations,
    method: &'static str,
    codes: [OnceLock<Histogram>; CODES.len()],
}

impl MethodMetrics {
    /// Counts a call that has ended, or whose stream has begun.
    pub(super) fn finished(&self, code: Code, took: Duration) {
        let place = usize::try_from(i32::from(code)).unwrap_or_default();
        let Some(known) = self.codes.get(place) else { return };
        let histogram = known.get_or_init(|| {
            self.durations.get_or_create_owned(&Labels { method: self.method, code: CODES[place] })
        });
        histogram.observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_name() {
        let shown = Metrics::new();
        let method = RpcMetrics::register(&shown).method("/krake.x.v1.Y/Z");
        for number in 0..17 {
            let code = Code::from_i32(number);
            method.finished(code, Duration::from_millis(1));
            // NotFound → NOT_FOUND
            let mut name = String::new();
            for letter in format!("{code:?}").chars() {
                if letter.is_uppercase() && !name.is_empty() && code != Code::Ok {
                    name.push('_');
                }
                name.push(letter.to_ascii_uppercase());
            }
            let line =
                format!("krake_rpc_duration_seconds_count{{method=\"krake.x.v1.Y/Z\",code=\"{name}\"}} 1");
            let text = shown.encode().unwrap();
            assert!(text.contains(&line), "{line} is missing in {text}");
        }
    }
}
