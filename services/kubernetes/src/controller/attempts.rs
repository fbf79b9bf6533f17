//! How long the present attempt at each copy has lasted: the time in which its cluster answered, by the monotonic clock of
//! this process. A new process begins to count anew.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::object::{ApplicationUid, ClusterUid};
use crate::plan::{Aim, CopyRecord, Phase, Reason, Truth};

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
    /// When the cluster was last seen to answer, if nothing else was seen since.
    seen: Option<Instant>,
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
    ) -> Duration {
        let now = Instant::now();
        let key = (application.clone(), copy.cluster.clone());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.get(&key).copied();
        let attempt = advance(before, copy, (aim, retry), now, answers);
        all.insert(key, attempt);
        attempt.elapsed
    }

    /// The time until the next look does not count: nobody looked.
    pub(crate) fn interrupt(&self) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values_mut().for_each(|attempt| attempt.seen = None);
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
    let fresh = Attempt { subject, elapsed: Duration::ZERO, seen };
    let known = before.unwrap_or(fresh);
    let ended = match copy.phase {
        Phase::Failed => true,
        Phase::Running => {
            let reason = copy.available.reason;
            let awaited = reason.is_starting() || reason == Reason::DeadlineExceeded;
            aim.is_applied(copy) && (copy.available.truth == Truth::True || !awaited)
        }
        _ => false,
    };
    if known.subject != subject || ended {
        return fresh;
    }
    let passed = known.seen.map_or(Duration::ZERO, |seen| now.saturating_duration_since(seen));
    Attempt { subject, elapsed: known.elapsed.saturating_add(passed), seen }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::plan::Answer;

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
                attempts.look(&"app".into(), copy, Aim::Generation(*generation), 0, *answers).as_secs(),
            );
        }
        lasted
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_another_process_led_does_not_count() {
        let attempts = Attempts::default();
        let look = || attempts.look(&"app".into(), &copy(Phase::Applying, 1), Aim::Generation(1), 0, true);
        look();
        tokio::time::advance(Duration::from_secs(7)).await;
        look();
        attempts.interrupt();
        tokio::time::advance(Duration::from_secs(5000)).await;
        assert_eq!(look().as_secs(), 7);
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
}
