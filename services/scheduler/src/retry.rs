//! Further attempts to find a cluster: when they are due, and when there are no more.
//!
//! A change of the world is always followed by a look at every application that waits, whatever is written here. What
//! is counted are the attempts that come due although nothing has changed. Without a limit there is nothing to count:
//! then none are scheduled, and nothing is written again and again.
//!
//! Everything is kept in the status of the application, so that a restart loses no attempt and gains none.

use std::time::Duration;

use jiff::Timestamp;

/// The longest wait between two attempts, unless the first wait is longer by itself.
const WAIT_MAX: Duration = Duration::from_secs(86_400);

/// How attempts are spaced and limited: the `backoff` fields of an application's spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Factor between the waits; 1 or more.
    pub factor: u32,
    /// The first wait.
    pub delay: Duration,
    /// Attempts after the first one; `None`: as long as it takes.
    pub limit: Option<u32>,
}

impl Default for Backoff {
    /// 1, 1 s and no limit.
    fn default() -> Self {
        Self { factor: 1, delay: Duration::from_secs(1), limit: None }
    }
}

/// What is recorded of the attempts for one generation, of which the last one failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts {
    /// `metadata.generation` that they were made for.
    pub generation: i64,
    /// When the first one failed, or the spec changed after that.
    pub since: Timestamp,
    /// What is left.
    pub retry: Retry,
}

/// Attempts that are left, and when the next one is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How many more after the one that is due; `None`: no limit.
    pub left: Option<u32>,
    /// When the next one is due; `None`: when the world changes, or never.
    pub due: Option<Timestamp>,
}

impl Retry {
    /// Whether only the user can help now: a change of the spec begins anew.
    pub fn is_exhausted(&self) -> bool {
        self.left == Some(0) && self.due.is_none()
    }
}

/// What is left after an attempt that failed at `now`. `recorded` are the attempts for the present generation, if
/// there were any. An attempt that was not due (something had changed) does not count.
pub fn after_failure(backoff: &Backoff, recorded: Option<&Attempts>, now: Timestamp) -> Retry {
    let Some(limit) = backoff.limit else { return Retry { left: None, due: None } };
    let (left, since) = match recorded {
        Some(Attempts { retry, .. }) if retry.is_exhausted() => return *retry,
        Some(Attempts { retry: Retry { due: Some(due), left: Some(left) }, .. }) if *due > now => {
            return Retry { left: Some(*left), due: Some(*due) };
        }
        Some(Attempts { retry: Retry { left: Some(left), .. }, since, .. }) => (*left, *since),
        _ => (limit, now),
    };
    match left.checked_sub(1) {
        None => Retry { left: Some(0), due: None },
        Some(left) => Retry { left: Some(left), due: Some(later(now, wait(backoff, since, now))) },
    }
}

/// `delay`, `delay × factor`, `delay × factor²`, …: the sum of the waits so far is the time since the first failure,
/// from which the next one follows, so that nobody has to count.
fn wait(backoff: &Backoff, since: Timestamp, now: Timestamp) -> Duration {
    let elapsed = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    let grown = backoff.delay.saturating_add(elapsed.saturating_mul(backoff.factor.saturating_sub(1)));
    grown.min(WAIT_MAX.max(backoff.delay))
}

/// The end of a period, or of time.
pub(crate) fn later(start: Timestamp, period: Duration) -> Timestamp {
    start.checked_add(period).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Every attempt fails the moment it is due: when they are made, from 0 on, and how many are left after each.
    fn series(backoff: &Backoff) -> Vec<(i64, u32)> {
        let (mut now, mut recorded, mut seen) = (at(0), None, Vec::new());
        loop {
            let retry = after_failure(backoff, recorded.as_ref(), now);
            seen.push((now.as_second(), retry.left.unwrap()));
            let Some(due) = retry.due else { return seen };
            recorded = Some(Attempts { generation: 1, since: at(0), retry });
            now = due;
        }
    }

    #[test]
    fn waits_grow_by_the_factor_and_end_with_the_limit() {
        let backoff = |factor, limit| Backoff { factor, delay: Duration::from_secs(3), limit: Some(limit) };
        assert_eq!(series(&backoff(1, 3)), [(0, 2), (3, 1), (6, 0), (9, 0)]);
        assert_eq!(series(&backoff(2, 3)), [(0, 2), (3, 1), (9, 0), (21, 0)]);
        assert_eq!(series(&backoff(3, 2)), [(0, 1), (3, 0), (12, 0)]);
        assert_eq!(series(&backoff(2, 0)), [(0, 0)], "no further attempt at all");
    }

    #[test]
    fn without_a_limit_nothing_is_counted_and_no_timer_runs() {
        let forever = Backoff::default();
        let first = after_failure(&forever, None, at(0));
        assert_eq!(first, Retry { left: None, due: None });
        assert!(!first.is_exhausted());
        let recorded = Attempts { generation: 1, since: at(0), retry: first };
        assert_eq!(after_failure(&forever, Some(&recorded), at(100)), first);
    }

    #[test]
    fn the_wait_has_a_limit_of_its_own() {
        let eager = Backoff { factor: u32::MAX, delay: Duration::from_secs(1), limit: Some(u32::MAX) };
        let recorded = Attempts {
            generation: 1,
            since: at(0),
            retry: Retry { left: Some(7), due: Some(at(1_000_000)) },
        };
        let next = after_failure(&eager, Some(&recorded), at(1_000_000));
        assert_eq!(next.due, Some(at(1_000_000 + 86_400)));
        let slow = Backoff { delay: Duration::from_secs(200_000), ..eager };
        assert_eq!(after_failure(&slow, None, at(0)).due, Some(at(200_000)), "as the user asked");
    }

    proptest! {
        #[test]
        fn no_attempt_is_lost_and_none_is_gained(
            factor in 1..4u32, delay in 0..60u64, limit in 0..5u32, looks in prop::collection::vec(0..200i64, 1..40),
        ) {
            let backoff = Backoff { factor, delay: Duration::from_secs(delay), limit: Some(limit) };
            let (mut now, mut recorded, mut counted) = (at(0), None::<Attempts>, 0);
            for pause in looks {
                let before = recorded.map(|recorded| recorded.retry);
                let retry = after_failure(&backoff, recorded.as_ref(), now);
                if before != Some(retry) {
                    // Something was counted: it was the first failure, or an attempt that was due.
                    prop_assert!(before.is_none_or(|before| before.due.is_some_and(|due| due <= now)));
                    counted += 1;
                } else {
                    prop_assert!(retry.is_exhausted() || retry.due.is_some_and(|due| due > now));
                }
                prop_assert_eq!(retry.is_exhausted(), counted == limit + 1);
                recorded = Some(Attempts { generation: 1, since: at(0), retry });
                now = later(now, Duration::from_secs(pause.unsigned_abs()));
            }
        }
    }
}
