//! How soon a manifest may be applied again: at once, unless it failed, or somebody keeps changing what was applied.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::object::{ApplicationUid, ClusterUid};

/// The pause after the first failure.
const SHORTEST: Duration = Duration::from_millis(250);
/// No pause is longer.
const LONGEST: Duration = Duration::from_secs(30);
/// So many applies in a row are repairs; more are a quarrel with somebody.
const REPAIRS: u32 = 5;
/// After so long without an apply nothing is held against the next one.
const FORGIVEN: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug)]
struct Attempts {
    generation: i64,
    failures: u32,
    applies: u32,
    last: Instant,
}

/// The attempts to apply, per application and cluster.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    attempts: Mutex<HashMap<(ApplicationUid, ClusterUid), Attempts>>,
}

impl Pauses {
    /// How long to wait before a generation is applied; nothing if it may be at once.
    pub(crate) fn remaining(
        &self,
        application: &ApplicationUid,
        cluster: &ClusterUid,
        generation: i64,
    ) -> Option<Duration> {
        let attempts = *self.lock().get(&(application.clone(), cluster.clone()))?;
        if attempts.generation != generation {
            return None;
        }
        let due = attempts.last + pause(attempts.failures, attempts.applies);
        Some(due.saturating_duration_since(Instant::now())).filter(|rest| !rest.is_zero())
    }

    /// Counts an attempt.
    pub(crate) fn tried(
        &self,
        application: &ApplicationUid,
        cluster: &ClusterUid,
        generation: i64,
        succeeded: bool,
    ) {
        let now = Instant::now();
        let fresh = Attempts { generation, failures: 0, applies: 0, last: now };
        let mut all = self.lock();
        let attempts = all.entry((application.clone(), cluster.clone())).or_insert(fresh);
        if attempts.generation != generation || now - attempts.last > FORGIVEN {
            *attempts = fresh;
        }
        attempts.last = now;
        if succeeded {
            attempts.failures = 0;
            attempts.applies = attempts.applies.saturating_add(1);
        } else {
            attempts.failures = attempts.failures.saturating_add(1);
        }
    }

    /// Holds nothing against the next attempt.
    pub(crate) fn forget(&self, application: &ApplicationUid, cluster: &ClusterUid) {
        self.lock().remove(&(application.clone(), cluster.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(ApplicationUid, ClusterUid), Attempts>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pause after so many failures, or so many applies, in a row: doubling.
fn pause(failures: u32, applies: u32) -> Duration {
    let too_many = failures.max(applies.saturating_sub(REPAIRS));
    match too_many.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => SHORTEST.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remaining(pauses: &Pauses, generation: i64) -> Option<u128> {
        pauses.remaining(&"app".into(), &"c".into(), generation).map(|rest| rest.as_millis())
    }

    fn tried(pauses: &Pauses, succeeded: bool) {
        pauses.tried(&"app".into(), &"c".into(), 1, succeeded);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_double_the_pause_and_a_new_generation_ends_it() {
        let pauses = Pauses::default();
        assert_eq!(remaining(&pauses, 1), None);
        for expected in [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            tried(&pauses, false);
            assert_eq!(remaining(&pauses, 1), Some(expected));
        }
        assert_eq!(remaining(&pauses, 2), None);
        tokio::time::advance(Duration::from_secs(29)).await;
        assert_eq!(remaining(&pauses, 1), Some(1000));
        tried(&pauses, true);
        assert_eq!(remaining(&pauses, 1), None);
    }

    #[tokio::test(start_paused = true)]
    async fn repairs_are_at_once_and_a_quarrel_slows_down() {
        let pauses = Pauses::default();
        for _ in 0..REPAIRS {
            tried(&pauses, true);
            assert_eq!(remaining(&pauses, 1), None);
        }
        for expected in [250, 500, 1000] {
            tried(&pauses, true);
            assert_eq!(remaining(&pauses, 1), Some(expected));
        }
        tokio::time::advance(FORGIVEN + Duration::from_secs(1)).await;
        tried(&pauses, true);
        assert_eq!(remaining(&pauses, 1), None);
        tried(&pauses, false);
        pauses.forget(&"app".into(), &"c".into());
        assert_eq!(remaining(&pauses, 1), None);
    }
}
