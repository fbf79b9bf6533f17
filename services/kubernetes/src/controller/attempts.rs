//! How long the present attempt at each copy has lasted: the time in which its cluster answered, by the monotonic clocks of
//! the processes that looked after it. Each records with the copy how far it came, and the next one goes on from there; times
//! of day are not compared.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::object::{ApplicationUid, ClusterUid};
use crate::plan::{Aim, CopyRecord, Phase, RecordedAttempt};

/// Longest part of an attempt that a process which ends leaves unrecorded.
const RECORD_INTERVAL: Duration = Duration::from_secs(60);
/// The same before the first record of a process: one that is restarted again and again must get on, too.
const FIRST_RECORD: Duration = Duration::from_secs(10);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    /// To bring this up, for this request of a user to try again.
    Deploy(Aim, i64),
    /// To remove the copy.
    Remove,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    subject: Subject,
    elapsed: Duration,
    /// What was recorded of it when this process first looked.
    taken_over: Duration,
    /// When the cluster was last seen to answer, if nothing else was seen since.
    seen: Option<Instant>,
    /// Nothing is awaited, so there is nothing to count.
    ended: bool,
}

/// What is known of the present attempt at a copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Elapsed {
    pub(crate) time: Duration,
    /// What is to be recorded of it; `None` if no attempt goes on.
    pub(crate) record: Option<RecordedAttempt>,
    /// When that is due, if nothing else is recorded before.
    pub(crate) record_in: Option<Duration>,
}

/// The present attempts.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<HashMap<(ApplicationUid, ClusterUid), Attempt>>);

impl Attempts {
    /// Takes in a look at a copy and returns how long its attempt at `aim`, for the retry request `retry`, has lasted.
    pub(crate) fn look(
        &self,
        application: &ApplicationUid,
        copy: &CopyRecord,
        aim: Aim,
        retry: i64,
        answers: bool,
    ) -> Elapsed {
        let now = Instant::now();
        let key = (application.clone(), copy.cluster.clone());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.get(&key).copied();
        let attempt = advance(before, copy, (aim, retry), now, answers);
        all.insert(key, attempt);
        attempt.shown(copy)
    }

    /// The time until the next look does not count: nobody looked.
    pub(crate) fn interrupt(&self) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values_mut().for_each(|attempt| attempt.seen = None);
    }

    /// The time since the last look at a copy does not count.
    pub(crate) fn skip(&self, application: &ApplicationUid, cluster: &ClusterUid) {
        let key = (application.clone(), cluster.clone());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(attempt) = all.get_mut(&key) {
            attempt.seen = attempt.seen.map(|_| Instant::now());
        }
    }

    /// Forgets a copy.
    pub(crate) fn forget(&self, application: &ApplicationUid, cluster: &ClusterUid) {
        let key = (application.clone(), cluster.clone());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }
}

/// The attempt after a look at `now`. A look at a cluster that does not answer follows at once when it falls silent, so
/// the time until then counts.
fn advance(
    before: Option<Attempt>,
    copy: &CopyRecord,
    (aim, retry): (Aim, i64),
    now: Instant,
    answers: bool,
) -> Attempt {
    let subject = match (copy.phase, before) {
        (Phase::Removing, _) => Subject::Remove,
        // While the cluster is silent nothing is known of what is wanted there.
        (_, Some(Attempt { subject: subject @ Subject::Deploy(..), .. })) if !answers => subject,
        _ => Subject::Deploy(aim, retry),
    };
    let seen = answers.then_some(now);
    let recorded = recorded(copy, subject);
    let fresh = Attempt { subject, elapsed: Duration::ZERO, taken_over: Duration::ZERO, seen, ended: false };
    let taken_over = Attempt { elapsed: recorded, taken_over: recorded, ..fresh };
    let known = before.unwrap_or(taken_over);
    if !aim.is_awaited(copy) {
        return Attempt { ended: true, ..fresh };
    }
    if known.subject != subject {
        return taken_over;
    }
    let passed = known.seen.map_or(Duration::ZERO, |seen| now.saturating_duration_since(seen));
    // Another process may have counted on meanwhile. What was recorded of an attempt that ended is not taken up again.
    let elapsed =
        known.elapsed.saturating_add(passed).max(if known.ended { Duration::ZERO } else { recorded });
    Attempt { subject, elapsed, taken_over: known.taken_over, seen, ended: false }
}

/// What is recorded of the attempt at a subject.
fn recorded(copy: &CopyRecord, subject: Subject) -> Duration {
    let recorded = copy.attempt.filter(|recorded| Subject::Deploy(recorded.aim, recorded.retry) == subject);
    recorded.map_or(Duration::ZERO, |recorded| recorded.elapsed)
}

impl Attempt {
    /// What is to be known of it, and to be recorded with the copy.
    fn shown(&self, copy: &CopyRecord) -> Elapsed {
        let known = Elapsed { time: self.elapsed, ..Elapsed::default() };
        let Subject::Deploy(aim, retry) = self.subject else { return known };
        if self.ended {
            return known;
        }
        let elapsed = Duration::from_secs(self.elapsed.as_secs());
        let record = RecordedAttempt { aim, retry, elapsed };
        let recorded = recorded(copy, self.subject);
        let interval = if recorded > self.taken_over { RECORD_INTERVAL } else { FIRST_RECORD };
        let due = (recorded + interval).saturating_sub(self.elapsed);
        // While the cluster does not answer no time passes.
        Elapsed { record: Some(record), record_in: self.seen.map(|_| due), ..known }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::plan::{Answer, Reason};

    fn copy(phase: Phase, observed_generation: i64) -> CopyRecord {
        let copy = CopyRecord::intended(&"c".into(), Timestamp::UNIX_EPOCH);
        CopyRecord { phase, observed_generation, ..copy }
    }

    /// Looks after each so many seconds; answers the seconds of the attempt after each look.
    async fn looks(looks: &[(u64, CopyRecord, i64, bool)]) -> Vec<u64> {
        let attempts = Attempts::default();
        let mut lasted = Vec::new();
        for (seconds, copy, generation, answers) in looks {
            tokio::time::advance(Duration::from_secs(*seconds)).await;
            lasted.push(
                attempts.look(&"app".into(), copy, Aim::Generation(*generation), 0, *answers).time.as_secs(),
            );
        }
        lasted
    }

    /// Seconds of an attempt at a copy that is being brought up, after a look now.
    fn seconds(attempts: &Attempts) -> u64 {
        attempts.look(&"app".into(), &copy(Phase::Applying, 1), Aim::Generation(1), 0, true).time.as_secs()
    }

    /// An attempt that was looked at twice, seven seconds apart.
    async fn after_seven_seconds() -> Attempts {
        let attempts = Attempts::default();
        seconds(&attempts);
        tokio::time::advance(Duration::from_secs(7)).await;
        seconds(&attempts);
        attempts
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_another_process_led_does_not_count() {
        let attempts = after_seven_seconds().await;
        attempts.interrupt();
        tokio::time::advance(Duration::from_secs(5000)).await;
        assert_eq!(seconds(&attempts), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_the_cluster_accepts_all_does_not_count() {
        let attempts = after_seven_seconds().await;
        tokio::time::advance(Duration::from_secs(200)).await;
        attempts.skip(&"app".into(), &"c".into());
        assert_eq!(seconds(&attempts), 7);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(seconds(&attempts), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn time_without_contact_does_not_count_and_flaps_begin_no_new_attempt() {
        let (intended, applying) = (|| copy(Phase::Intended, 0), || copy(Phase::Applying, 1));
        let seen = looks(&[
            (0, intended(), 1, true),
            (10, intended(), 1, true),
            (10, applying(), 1, true),
            (10, applying(), 1, false),
            (500, applying(), 1, false),
            (500, applying(), 1, true),
            (10, applying(), 1, true),
        ])
        .await;
        assert_eq!(seen, [0, 10, 20, 30, 30, 30, 40]);
    }

    #[tokio::test(start_paused = true)]
    async fn another_generation_a_failure_and_a_removal_begin_anew() {
        let seen = looks(&[
            (0, copy(Phase::Applying, 1), 1, true),
            (10, copy(Phase::Applying, 1), 2, true),
            (10, copy(Phase::Intended, 0), 2, true),
            (10, copy(Phase::Failed, 2), 2, true),
            (10, copy(Phase::Failed, 2), 2, true),
            (10, copy(Phase::Applying, 2), 2, true),
            (10, copy(Phase::Removing, 2), 2, true),
            (10, copy(Phase::Removing, 2), 3, true),
        ])
        .await;
        assert_eq!(seen, [0, 0, 10, 0, 0, 10, 0, 10]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_running_copy_has_an_attempt_only_while_an_update_is_awaited() {
        let running = |available| CopyRecord { available, ..copy(Phase::Running, 1) };
        let starts = || Answer::no(Reason::Progressing, "1 of 2");
        let ill = Answer::no(Reason::Unhealthy, "1 of 2");
        let seen = looks(&[
            (0, running(starts()), 1, true),
            (10, running(starts()), 1, true),
            (10, running(Answer::yes()), 1, true),
            (10, running(ill), 1, true),
            (10, running(starts()), 2, true),
            (10, running(starts()), 2, true),
        ])
        .await;
        assert_eq!(seen, [0, 10, 0, 0, 0, 10]);
    }

    /// The copy as it is recorded after a look.
    fn kept(copy: &CopyRecord, look: Elapsed) -> CopyRecord {
        CopyRecord { attempt: look.record, ..copy.clone() }
    }

    fn look(attempts: &Attempts, copy: &CopyRecord, answers: bool) -> Elapsed {
        attempts.look(&"app".into(), copy, Aim::Generation(1), 0, answers)
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_process_goes_on_from_what_is_recorded() {
        let mut copy = copy(Phase::Applying, 1);
        for lives in 1..=20 {
            // Each process lives for eleven seconds.
            let attempts = Attempts::default();
            let first = look(&attempts, &copy, true);
            assert_eq!(first.time.as_secs(), 11 * (lives - 1));
            assert_eq!(first.record_in, Some(FIRST_RECORD));
            tokio::time::advance(Duration::from_secs(11)).await;
            let last = look(&attempts, &copy, true);
            assert_eq!(last.record_in, Some(Duration::ZERO));
            copy = kept(&copy, last);
        }
        assert_eq!(copy.attempt.unwrap().elapsed.as_secs(), 220);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_attempt_is_recorded_once_a_minute() {
        let (attempts, mut copy) = (Attempts::default(), copy(Phase::Applying, 1));
        let mut records = 0;
        for _ in 0..600 {
            let seen = look(&attempts, &copy, true);
            if seen.record_in == Some(Duration::ZERO) {
                records += 1;
                copy = kept(&copy, seen);
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(records, 1 + 9, "after ten seconds, and then every minute");
        assert_eq!(
            look(&attempts, &copy, false).record_in,
            None,
            "nothing passes while the cluster is silent"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_recorded_of_another_attempt_does_not_count() {
        let elapsed = Duration::from_secs(200);
        let with = |aim, retry| {
            let attempt = Some(RecordedAttempt { aim, retry, elapsed });
            let copy = CopyRecord { attempt, ..copy(Phase::Applying, 1) };
            look(&Attempts::default(), &copy, true).time.as_secs()
        };
        assert_eq!(with(Aim::Generation(1), 0), 200);
        assert_eq!([with(Aim::Generation(2), 0), with(Aim::Generation(1), 1)], [0, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_ended_is_not_taken_up_again() {
        let recorded =
            RecordedAttempt { aim: Aim::Generation(1), retry: 0, elapsed: Duration::from_secs(300) };
        let with = |phase| CopyRecord { attempt: Some(recorded), ..copy(phase, 1) };
        let attempts = Attempts::default();
        let failed = look(&attempts, &with(Phase::Failed), true);
        assert_eq!((failed.time, failed.record, failed.record_in), (Duration::ZERO, None, None));
        tokio::time::advance(Duration::from_secs(5)).await;
        // Tried again before the record shows that the former attempt is over.
        assert!(look(&attempts, &with(Phase::Applying), true).time < Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn time_that_a_successor_counted_counts() {
        let (attempts, copy) = (Attempts::default(), copy(Phase::Applying, 1));
        look(&attempts, &copy, true);
        attempts.interrupt();
        let elapsed = Duration::from_secs(90);
        let theirs = Some(RecordedAttempt { aim: Aim::Generation(1), retry: 0, elapsed });
        assert_eq!(look(&attempts, &CopyRecord { attempt: theirs, ..copy }, true).time, elapsed);
    }
}
