//! How soon a manifest may be applied again: at once, unless it failed, or another writer keeps changing what was applied.
//!
//! What is passing is tried again within seconds. What is not, and whatever failed for good, is tried again slowly: the
//! obstacle may go without a change that Krake sees.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::refusals::Refusals;
use crate::object::{ApplicationUid, ClusterUid};
use crate::plan::Aim;

/// The pause after the first failure that may pass.
const SHORTEST: Duration = Duration::from_millis(250);
/// Maximum pause after failures that may pass.
const LONGEST: Duration = Duration::from_secs(30);
/// So many applies in a row are repairs; more are a quarrel with another writer.
const REPAIRS: u32 = 5;
/// After so long without an apply nothing is held against the next one.
const FORGIVEN: Duration = Duration::from_secs(120);
/// A slow pause is longer or shorter by up to this part of it, so that the retries of many applications spread.
const JITTER: f64 = 0.2;
/// Sets of documents of one copy that are tried at the same time: the wanted one, and the applied one that is repaired.
const SETS: usize = 2;

/// Pauses between attempts that are not expected to succeed soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowRetries {
    /// The first pause. Each further one is twice as long.
    pub first: Duration,
    /// Maximum pause.
    pub longest: Duration,
}

impl Default for SlowRetries {
    /// 5 min and 6 h.
    fn default() -> Self {
        Self { first: Duration::from_secs(300), longest: Duration::from_secs(6 * 3600) }
    }
}

impl SlowRetries {
    /// The pause after so many failures in a row, one or more, of this subject.
    pub(super) fn pause(&self, failures: u32, subject: &impl Hash) -> Duration {
        let pause = doubled(self.first, failures.saturating_sub(1), self.longest);
        pause.mul_f64(1.0 + JITTER * spread(&(subject, failures)))
    }
}

/// How an apply ended, as far as the next one is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Applied,
    /// It failed, and may succeed soon.
    Passing,
    /// It failed, and will hardly succeed soon.
    Lasting,
}

#[derive(Clone, Copy, Debug)]
struct Attempts {
    aim: Aim,
    /// Failures in a row that may pass.
    passing: u32,
    /// Failures in a row that last.
    lasting: u32,
    applies: u32,
    last: Instant,
}

type Copy = (ApplicationUid, ClusterUid);

/// The attempts to apply, per copy and what is applied.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    slow: SlowRetries,
    pub(super) refusals: Refusals,
    attempts: Mutex<HashMap<Copy, Vec<Attempts>>>,
}

impl Pauses {
    pub(crate) fn new(slow: SlowRetries) -> Self {
        Self { slow, refusals: Refusals::new(slow), attempts: Mutex::default() }
    }

    /// How long to wait before something is applied; nothing if it may be at once.
    pub(crate) fn remaining(
        &self,
        application: &ApplicationUid,
        cluster: &ClusterUid,
        aim: Aim,
    ) -> Option<Duration> {
        let copy = (application.clone(), cluster.clone());
        let all = self.lock();
        let attempts = all.get(&copy)?.iter().find(|attempts| attempts.aim == aim)?;
        let due = attempts.last.checked_add(self.pause(&copy, attempts))?;
        Some(due.saturating_duration_since(Instant::now())).filter(|rest| !rest.is_zero())
    }

    /// Counts an attempt.
    pub(crate) fn tried(&self, application: &ApplicationUid, cluster: &ClusterUid, aim: Aim, ending: Ending) {
        let now = Instant::now();
        let mut all = self.lock();
        let of_copy = all.entry((application.clone(), cluster.clone())).or_default();
        let place = of_copy.iter().position(|attempts| attempts.aim == aim);
        let known = place.map(|place| of_copy.remove(place));
        let fresh = Attempts { aim, passing: 0, lasting: 0, applies: 0, last: now };
        let mut attempts = known.unwrap_or(fresh);
        if now - attempts.last > FORGIVEN {
            attempts = Attempts { lasting: attempts.lasting, ..fresh };
        }
        attempts.last = now;
        match ending {
            Ending::Applied => {
                attempts = Attempts {
                    passing: 0,
                    lasting: 0,
                    applies: attempts.applies.saturating_add(1),
                    ..attempts
                };
            }
            Ending::Passing => {
                attempts = Attempts { passing: attempts.passing.saturating_add(1), lasting: 0, ..attempts };
            }
            Ending::Lasting => {
                attempts = Attempts { passing: 0, lasting: attempts.lasting.saturating_add(1), ..attempts };
            }
        }
        of_copy.push(attempts);
        let surplus = of_copy.len().saturating_sub(SETS);
        of_copy.drain(..surplus);
    }

    /// Begins to wait for the next attempt of a copy that failed, if no failure of it is known: it failed before this
    /// process began, or by not becoming available.
    pub(crate) fn failed(&self, application: &ApplicationUid, cluster: &ClusterUid, aim: Aim) {
        let lasts = |of_copy: &Vec<Attempts>| {
            of_copy.iter().any(|attempts| attempts.aim == aim && attempts.lasting > 0)
        };
        let known = self.lock().get(&(application.clone(), cluster.clone())).is_some_and(lasts);
        if !known {
            self.tried(application, cluster, aim, Ending::Lasting);
        }
    }

    /// Holds nothing that may pass against the next attempt.
    pub(crate) fn revived(&self, application: &ApplicationUid, cluster: &ClusterUid) {
        if let Some(of_copy) = self.lock().get_mut(&(application.clone(), cluster.clone())) {
            of_copy.retain(|attempts| attempts.lasting > 0);
        }
    }

    /// Holds nothing against the next attempt.
    pub(crate) fn forget(&self, application: &ApplicationUid, cluster: &ClusterUid) {
        self.refusals.forget(application, cluster);
        self.lock().remove(&(application.clone(), cluster.clone()));
    }

    fn pause(&self, copy: &Copy, attempts: &Attempts) -> Duration {
        match attempts.lasting.checked_sub(1) {
            None => short(attempts.passing, attempts.applies),
            Some(_) => self.slow.pause(attempts.lasting, copy),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Copy, Vec<Attempts>>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pause after so many failures, or so many applies, in a row.
fn short(failures: u32, applies: u32) -> Duration {
    let too_many = failures.max(applies.saturating_sub(REPAIRS));
    too_many.checked_sub(1).map_or(Duration::ZERO, |doublings| doubled(SHORTEST, doublings, LONGEST))
}

fn doubled(first: Duration, doublings: u32, longest: Duration) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(doublings)).min(longest)
}

/// A number from -1 to 1 that depends on nothing but the subject.
fn spread(subject: &impl Hash) -> f64 {
    let mut hasher = DefaultHasher::new();
    subject.hash(&mut hasher);
    (hasher.finish() % 2001) as f64 / 1000.0 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remaining(pauses: &Pauses, generation: i64) -> Option<u128> {
        pauses.remaining(&"app".into(), &"c".into(), Aim::Generation(generation)).map(|rest| rest.as_millis())
    }

    fn tried(pauses: &Pauses, ending: Ending) {
        pauses.tried(&"app".into(), &"c".into(), Aim::Generation(1), ending);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_double_the_pause_and_a_new_generation_ends_it() {
        let pauses = Pauses::default();
        assert_eq!(remaining(&pauses, 1), None);
        for expected in [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            tried(&pauses, Ending::Passing);
            assert_eq!(remaining(&pauses, 1), Some(expected));
        }
        assert_eq!(remaining(&pauses, 2), None);
        tokio::time::advance(Duration::from_secs(29)).await;
        assert_eq!(remaining(&pauses, 1), Some(1000));
        tried(&pauses, Ending::Applied);
        assert_eq!(remaining(&pauses, 1), None);
    }

    #[tokio::test(start_paused = true)]
    async fn repairs_are_at_once_and_a_quarrel_slows_down() {
        let pauses = Pauses::default();
        for _ in 0..REPAIRS {
            tried(&pauses, Ending::Applied);
            assert_eq!(remaining(&pauses, 1), None);
        }
        for expected in [250, 500, 1000] {
            tried(&pauses, Ending::Applied);
            assert_eq!(remaining(&pauses, 1), Some(expected));
        }
        tokio::time::advance(FORGIVEN + Duration::from_secs(1)).await;
        tried(&pauses, Ending::Applied);
        assert_eq!(remaining(&pauses, 1), None);
        tried(&pauses, Ending::Passing);
        pauses.revived(&"app".into(), &"c".into());
        assert_eq!(remaining(&pauses, 1), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_lasts_is_tried_slowly_until_it_succeeds_or_the_copy_goes() {
        let pauses = Pauses::default();
        let close = |expected: u64| {
            let seconds = remaining(&pauses, 1).unwrap() as f64 / 1000.0;
            let expected = expected as f64;
            assert!((expected * 0.79..expected * 1.21).contains(&seconds), "{seconds} beside {expected}");
        };
        for expected in [300, 600, 1200, 2400, 4800, 9600, 19_200, 21_600, 21_600] {
            tried(&pauses, Ending::Lasting);
            close(expected);
            // Neither a cluster that was away nor a long pause makes it begin anew.
            pauses.revived(&"app".into(), &"c".into());
            close(expected);
            let rest = pauses.remaining(&"app".into(), &"c".into(), Aim::Generation(1)).unwrap();
            tokio::time::advance(rest).await;
            assert_eq!(remaining(&pauses, 1), None);
        }
        tried(&pauses, Ending::Applied);
        assert_eq!(remaining(&pauses, 1), None);
        pauses.failed(&"app".into(), &"c".into(), Aim::Generation(1));
        close(300);
        pauses.failed(&"app".into(), &"c".into(), Aim::Generation(1));
        close(300);
        pauses.forget(&"app".into(), &"c".into());
        assert_eq!(remaining(&pauses, 1), None);
    }

    #[tokio::test(start_paused = true)]
    async fn repairs_of_the_former_manifest_do_not_end_the_pause_of_the_present_one() {
        let pauses = Pauses::default();
        pauses.tried(&"app".into(), &"c".into(), Aim::Generation(2), Ending::Lasting);
        tried(&pauses, Ending::Applied);
        assert!(remaining(&pauses, 2).is_some());
        assert_eq!(remaining(&pauses, 1), None);
    }
}
