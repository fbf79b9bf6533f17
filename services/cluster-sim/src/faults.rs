//! Faults that a cluster can be given while it runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a cluster does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Down {
    /// Connections are cut as soon as something is asked.
    Refuse,
    /// Nothing is answered, and watches go silent, until the cluster is up again.
    Hang,
    /// Everything is answered with 503.
    Unavailable,
}

/// What is wrong with a cluster; by default nothing. In JSON every field may be left out.
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
    /// What those answers say in `Retry-After`, in seconds.
    pub retry_after_seconds: u64,
    /// Watches are cut off, in the middle of the connection, when they are this old, in milliseconds.
    pub cut_watches_after_ms: Option<u64>,
    /// Open and resumed watches get the error that their version is too old (410).
    pub expire_watches: bool,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is carried out.
    Pass,
    Conflict,
    TooManyRequests,
}

impl Faults {
    pub(crate) fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }

    /// Decides about one request, and counts it.
    pub(crate) fn judge(&mut self, writes: bool) -> Verdict {
        if self.too_many_requests > 0 {
            self.too_many_requests -= 1;
            Verdict::TooManyRequests
        } else if writes && self.conflicts > 0 {
            self.conflicts -= 1;
            Verdict::Conflict
        } else {
            Verdict::Pass
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_faults_are_used_up() {
        let mut faults = Faults { conflicts: 1, too_many_requests: 1, ..Faults::default() };
        assert_eq!(faults.judge(true), Verdict::TooManyRequests);
        assert_eq!(faults.judge(false), Verdict::Pass, "reads do not conflict");
        assert_eq!(faults.judge(true), Verdict::Conflict);
        assert_eq!(faults.judge(true), Verdict::Pass);
        assert_eq!(faults, Faults::default());
    }

    #[test]
    fn json_may_leave_everything_out_and_says_what_it_does_not_know() {
        assert_eq!(serde_json::from_str::<Faults>("{}").unwrap(), Faults::default());
        let down: Faults = serde_json::from_str(r#"{"down": "hang", "delay_ms": 5}"#).unwrap();
        assert_eq!((down.down, down.delay()), (Some(Down::Hang), Duration::from_millis(5)));
        assert!(
            serde_json::from_str::<Faults>(r#"{"dwon": "hang"}"#).unwrap_err().to_string().contains("dwon")
        );
    }
}
