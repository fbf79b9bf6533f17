//! Log lines that a caller or a lasting failure could repeat without end: at most one a minute.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Time between two lines: often enough that an operator who looks finds one, and 1,440 lines a day.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Limits one kind of log line.
#[derive(Debug, Default)]
pub struct LogLimit {
    last: Mutex<Option<Last>>,
}

/// The last line that was logged.
#[derive(Debug)]
struct Last {
    at: Instant,
    /// Lines left out since.
    left_out: u64,
}

impl LogLimit {
    /// Returns whether a line may be logged now; if so, the number of lines that were left out since the last one.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *last {
            Some(last) if now.saturating_duration_since(last.at) < LOG_INTERVAL => {
                last.left_out += 1;
                None
            }
            last => Some(last.replace(Last { at: now, left_out: 0 }).map_or(0, |last| last.left_out)),
        }
    }

    /// Lets the next line pass: something else is to be reported.
    pub fn reset(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute_counts_those_that_were_left_out() {
        let (limit, start) = (LogLimit::default(), Instant::now());
        let at = |seconds| limit.admit(start + Duration::from_secs(seconds));
        assert_eq!([at(0), at(1), at(59), at(60), at(61)], [Some(0), None, None, Some(2), None]);
        limit.reset();
        assert_eq!([at(62), at(63), at(1000)], [Some(0), None, Some(1)]);
    }
}
