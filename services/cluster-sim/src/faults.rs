//! Faults that a cluster can be given while it runs.

mod rule;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use rule::Asked;
pub use rule::{Fault, Refusal, Rule, RuleVerb};

/// How a cluster does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Down {
    /// Connections are cut as soon as something is asked.
    Refuse,
    /// Nothing is answered, and watches go silent, until the cluster is up again.
    Hang,
    /// As `Hang`; and watches that are open stay silent for ever, as over connections that were lost unnoticed.
    Lost,
    /// Everything is answered with 503.
    Unavailable,
}

/// What is wrong with a cluster; by default nothing. In JSON every field may be left out.
///
/// ```
/// let faults = r#"{"rules": [
///     {"verbs": ["create", "apply"], "kinds": ["deployments.apps"], "fault": {"code": 403}, "times": 2},
///     {"verbs": ["list"], "fault": {"huge": {"bytes": 2000000000}}},
///     {"kinds": ["discovery"], "fault": "hang"}]}"#;
/// let faults: krake_cluster_sim::Faults = serde_json::from_str(faults)?;
/// assert_eq!(faults.rules.len(), 3);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Every answer, and everything that a watch tells, comes this much later, in milliseconds.
    pub delay_ms: u64,
    /// It does not answer at all.
    pub down: Option<Down>,
    /// Number of following writes that are answered with 409 Conflict; counts down.
    pub conflicts: u32,
    /// Number of following requests that are answered with 429 Too Many Requests; counts down.
    pub too_many_requests: u32,
    /// `Retry-After` of every 429, in seconds.
    pub retry_after_seconds: u64,
    /// Watches are cut off, in the middle of the connection, when they are this old, in milliseconds.
    pub cut_watches_after_ms: Option<u64>,
    /// Open and resumed watches get the error that their version is too old (410).
    pub expire_watches: bool,
    /// Uid of the namespace kube-system, which identifies a cluster: as if another cluster were at the address.
    /// Absent: the cluster's own.
    pub identity: Option<String>,
    /// Faults of single verbs and kinds. A request gets the first that is for it.
    pub rules: Vec<Rule>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is carried out.
    Pass,
    Conflict,
    TooManyRequests,
    /// A rule is for it.
    Ruled(Fault),
}

impl Faults {
    pub(crate) fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }

    /// Decides about one request, and counts it.
    pub(crate) fn judge(&mut self, asked: &Asked<'_>) -> Verdict {
        if self.too_many_requests > 0 {
            self.too_many_requests -= 1;
            Verdict::TooManyRequests
        } else if asked.verb.writes() && self.conflicts > 0 {
            self.conflicts -= 1;
            Verdict::Conflict
        } else {
            let rule = self.rules.iter_mut().find_map(|rule| rule.meets(asked).then_some(rule.fault));
            rule.map_or(Verdict::Pass, Verdict::Ruled)
        }
    }
}
