//! Follows whether a dependency answers, for `/readyz`: a replica that cannot reach it should receive no more work.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::readiness::Condition;

/// Pause between questions while they are answered. A refused connection shows after this and [`RETRY_PAUSE`]: within
/// two seconds.
const QUESTION_INTERVAL: Duration = Duration::from_secs(1);
/// Pause after a question that was not answered.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Time limit of one question: less than the 5 s that connecting may take, so that a peer which drops packets is silent
/// and not unreachable.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(3);
/// Refused questions in succession that fail the condition. One alone may be a connection that was closed while idle.
const REFUSALS_UNTIL_FAILED: u32 = 2;

/// Result of one question to a dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contact {
    /// It answered, if only with an error of its own.
    Answered,
    /// It cannot be reached: the connection was refused, reset or closed.
    Unreachable,
    /// It did not answer in time, or answered that it cannot work at the moment, as etcd does without a leader.
    Silent,
}

/// A dependency that is asked regularly whether it answers.
#[derive(Debug, Clone, Copy)]
pub struct Reachable {
    /// Name in logs.
    pub name: &'static str,
    /// Maximum silence, counted from the last answer, before the condition fails. A refused connection fails it within
    /// two seconds; an answer restores it at once.
    pub max_silence: Duration,
}

impl Reachable {
    /// Sets `condition` to whether the dependency answers. Runs until it is dropped.
    pub async fn follow<F: Future<Output = Contact>>(self, ask: impl Fn() -> F, condition: Condition) {
        let mut answered = Instant::now();
        let mut refusals = 0;
        loop {
            let limit = match condition.holds() {
                true => QUESTION_TIMEOUT.min(self.max_silence.saturating_sub(answered.elapsed())),
                false => QUESTION_TIMEOUT,
            };
            let contact = tokio::time::timeout(limit, ask()).await.unwrap_or(Contact::Silent);
            match contact {
                Contact::Answered => (answered, refusals) = (Instant::now(), 0),
                Contact::Unreachable => refusals += 1,
                // A connection is given up once in a while, and the next one is silent too.
                Contact::Silent => refusals = 0,
            }
            let is_patient = refusals < REFUSALS_UNTIL_FAILED && answered.elapsed() < self.max_silence;
            let holds = contact == Contact::Answered || (condition.holds() && is_patient);
            if condition.holds() != holds {
                tracing::info!(name = self.name, reachable = holds, "readiness changed");
                condition.set(holds);
            }
            let pause = if contact == Contact::Answered { QUESTION_INTERVAL } else { RETRY_PAUSE };
            tokio::time::sleep(pause).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::readiness::Readiness;

    const MAX_SILENCE: Duration = Duration::from_secs(15);
    /// The promise of the documentation.
    const REFUSAL_SHOWS: Duration = Duration::from_secs(2);

    /// Follows a dependency whose contact the test sets; `None` never returns.
    fn follow() -> (Condition, Arc<Mutex<Option<Contact>>>) {
        let condition = Readiness::new().condition("store");
        let contact = Arc::new(Mutex::new(None));
        let asked = contact.clone();
        let ask = move || {
            let contact = *asked.lock().unwrap();
            async move {
                match contact {
                    Some(contact) => contact,
                    None => std::future::pending().await,
                }
            }
        };
        // Ends with the test's runtime.
        tokio::spawn(Reachable { name: "store", max_silence: MAX_SILENCE }.follow(ask, condition.clone()));
        (condition, contact)
    }

    /// Waits until the condition is `holds`; returns how long that took.
    async fn until(condition: &Condition, holds: bool) -> Duration {
        let begin = Instant::now();
        while condition.holds() != holds {
            assert!(begin.elapsed() < Duration::from_secs(600), "it never becomes {holds}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn silence_fails_it_after_its_limit_and_an_answer_restores_it() {
        let (condition, contact) = follow();
        tokio::time::sleep(MAX_SILENCE * 2).await;
        assert!(!condition.holds(), "it never answered");
        *contact.lock().unwrap() = Some(Contact::Answered);
        until(&condition, true).await;
        for silent in [None, Some(Contact::Silent)] {
            *contact.lock().unwrap() = silent;
            let silence = until(&condition, false).await;
            assert!(silence > MAX_SILENCE - QUESTION_INTERVAL * 2, "{silent:?}: {silence:?}");
            assert!(silence <= MAX_SILENCE + QUESTION_INTERVAL, "{silent:?}: {silence:?}");
            *contact.lock().unwrap() = Some(Contact::Answered);
            until(&condition, true).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_are_given_up_between_are_silence() {
        let (condition, contact) = follow();
        *contact.lock().unwrap() = Some(Contact::Answered);
        until(&condition, true).await;
        let gives_up = contact.clone();
        tokio::spawn(async move {
            for _ in 0..20 {
                *gives_up.lock().unwrap() = Some(Contact::Unreachable);
                // One question, then silent ones.
                tokio::time::sleep(RETRY_PAUSE).await;
                *gives_up.lock().unwrap() = None;
                tokio::time::sleep(QUESTION_TIMEOUT * 2).await;
            }
        });
        let shown = until(&condition, false).await;
        assert!(shown > MAX_SILENCE - QUESTION_INTERVAL * 2, "{shown:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn refused_connections_show_within_two_seconds_and_one_alone_does_not() {
        let (condition, contact) = follow();
        *contact.lock().unwrap() = Some(Contact::Answered);
        until(&condition, true).await;
        *contact.lock().unwrap() = Some(Contact::Unreachable);
        let shown = until(&condition, false).await;
        assert!(shown <= REFUSAL_SHOWS, "{shown:?}");

        let (condition, contact) = follow();
        *contact.lock().unwrap() = Some(Contact::Answered);
        until(&condition, true).await;
        *contact.lock().unwrap() = Some(Contact::Unreachable);
        // One question, not two.
        tokio::time::sleep(QUESTION_INTERVAL).await;
        *contact.lock().unwrap() = Some(Contact::Answered);
        for _ in 0..100 {
            assert!(condition.holds(), "one refusal");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
