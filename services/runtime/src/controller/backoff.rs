//! Backoff: how long to wait before a key is tried again, growing with each failure in a row.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use rand::Rng;

/// Exponential backoff with jitter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The longest wait after the first failure.
    pub initial: Duration,
    /// The longest wait ever.
    pub max: Duration,
    /// By how much the wait grows with each failure; at least 1.
    pub factor: f64,
}

impl Default for Backoff {
    /// 250 ms, doubling up to one minute.
    fn default() -> Self {
        Self { initial: Duration::from_millis(250), max: Duration::from_secs(60), factor: 2.0 }
    }
}

impl Backoff {
    /// The wait after `failures` failures in a row (1 and up): evenly spread over the upper half of
    /// `min(max, initial × factor^(failures - 1))`, so that keys that failed together do not come back together.
    pub fn delay(&self, failures: u32, rng: &mut impl Rng) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let max = self.max.as_secs_f64();
        let longest = (self.initial.as_secs_f64() * self.factor.max(1.0).powi(exponent)).min(max);
        Duration::from_secs_f64(longest * rng.random_range(0.5..=1.0))
    }
}

/// Failures in a row per key. Only failing keys take up room.
#[derive(Debug)]
pub(super) struct Failures<K, R> {
    backoff: Backoff,
    rng: R,
    counts: HashMap<K, u32>,
}

impl<K: Clone + Eq + Hash, R: Rng> Failures<K, R> {
    pub(super) fn new(backoff: Backoff, rng: R) -> Self {
        Self { backoff, rng, counts: HashMap::new() }
    }

    /// Counts one more failure of `key`; gives their number in a row and the wait before the next attempt.
    pub(super) fn failed(&mut self, key: &K) -> (u32, Duration) {
        let count = self.counts.entry(key.clone()).or_default();
        *count = count.saturating_add(1);
        (*count, self.backoff.delay(*count, &mut self.rng))
    }

    /// Forgets the failures of `key`.
    pub(super) fn succeeded(&mut self, key: &K) {
        self.counts.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    proptest! {
        #[test]
        fn the_wait_is_in_the_upper_half_of_its_bound(
            failures in 0..=u32::MAX,
            initial_ms in 1..10_000u64,
            extra_ms in 0..1_000_000u64,
            factor in 0.0..5.0f64,
            seed: u64,
        ) {
            let initial = Duration::from_millis(initial_ms);
            let backoff = Backoff { initial, max: initial + Duration::from_millis(extra_ms), factor };
            let delay = backoff.delay(failures, &mut StdRng::seed_from_u64(seed));
            let slack = Duration::from_nanos(2);
            prop_assert!(delay <= backoff.max + slack);
            prop_assert!(delay + slack >= backoff.initial / 2);
            prop_assert_eq!(delay, backoff.delay(failures, &mut StdRng::seed_from_u64(seed)), "pure given its dice");
        }
    }

    #[test]
    fn the_wait_doubles_up_to_its_limit_and_starts_again_after_a_success() {
        let mut failures = Failures::new(Backoff::default(), StdRng::seed_from_u64(7));
        let mut bound = Duration::from_millis(250);
        for expected in 1..=12 {
            let (count, delay) = failures.failed(&"a");
            assert_eq!(count, expected);
            assert!(delay >= bound / 2 && delay <= bound, "{expected}: {delay:?} of {bound:?}");
            bound = (bound * 2).min(Duration::from_secs(60));
        }
        assert_eq!(failures.failed(&"b").0, 1, "keys do not know of each other");
        failures.succeeded(&"a");
        assert_eq!(failures.failed(&"a").0, 1);
    }
}
