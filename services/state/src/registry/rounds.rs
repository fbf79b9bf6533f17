//! Calls to the store that callers share: a caller that comes while enough are under way shares the next one with all others
//! that wait for it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OnceCell, Semaphore};

/// Maximum number of calls under way. With a second one a caller need not wait until the answer has come that it may not
/// share; more of them save no time, and each costs the store some.
const UNDER_WAY: usize = 2;

/// Makes few calls for any number of callers. A caller may join a call that is not yet sent, and no other: so no answer is
/// older than the request that gets it, and however many come at once, three calls serve them.
#[derive(Debug)]
pub(super) struct Rounds<A> {
    /// The call that is not yet sent; callers join it.
    next: Mutex<Arc<OnceCell<A>>>,
    /// One is held by each call under way.
    turns: Semaphore,
}

impl<A> Default for Rounds<A> {
    fn default() -> Self {
        Rounds { next: Mutex::default(), turns: Semaphore::new(UNDER_WAY) }
    }
}

impl<A: Clone> Rounds<A> {
    /// The answer to a call that is sent after this began. If the caller that sends it goes away, another one of those
    /// that wait sends it again.
    pub(super) async fn ask<F: Future<Output = A>>(&self, call: impl FnOnce() -> F) -> A {
        let round = self.next.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let send = async || {
            // Never closed, so it cannot fail.
            let _turn = self.turns.acquire().await;
            self.close(&round);
            call().await
        };
        round.get_or_init(send).await.clone()
    }

    /// From here on nobody joins `round`. It is closed already if its first sender went away.
    fn close(&self, round: &Arc<OnceCell<A>>) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&next, round) {
            *next = Arc::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;
    use tokio::time::sleep;

    /// A store whose answers are as old as they may be: of the moment at which the question was sent.
    #[derive(Default)]
    struct Fake {
        revision: AtomicI64,
        questions: AtomicUsize,
        under_way: AtomicUsize,
    }

    impl Fake {
        async fn question(&self, took: u64) -> i64 {
            let revision = self.revision.load(SeqCst);
            self.questions.fetch_add(1, SeqCst);
            assert!(self.under_way.fetch_add(1, SeqCst) < UNDER_WAY);
            sleep(Duration::from_millis(took)).await;
            self.under_way.fetch_sub(1, SeqCst);
            revision
        }
    }

    #[tokio::test(start_paused = true)]
    async fn any_number_of_callers_at_once_ask_three_times() {
        let (rounds, fake) = (Rounds::default(), Fake::default());
        let callers = (0..1_000).map(|_| rounds.ask(|| fake.question(10)));
        futures::future::join_all(callers).await;
        assert!(fake.questions.load(SeqCst) <= UNDER_WAY + 1, "{:?}", fake.questions);
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer_is_older_than_the_call() {
        let (rounds, fake) = (Rounds::default(), Fake::default());
        let callers = (0..2_000_u64).map(|index| {
            let (rounds, fake) = (&rounds, &fake);
            async move {
                sleep(Duration::from_millis(index * 7 % 500)).await;
                let written = fake.revision.fetch_add(1, SeqCst) + 1;
                let answer = rounds.ask(|| fake.question(index % 13)).await;
                assert!(answer >= written, "{answer} is older than {written}");
            }
        });
        futures::future::join_all(callers).await;
        assert!(fake.questions.load(SeqCst) < 600, "they are shared: {:?}", fake.questions);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_goes_away_takes_nobodys_answer() {
        let rounds = Rounds::default();
        let answered = Fake::default();
        let left = tokio::time::timeout(Duration::from_millis(5), rounds.ask(std::future::pending::<i64>));
        let stays = async {
            sleep(Duration::from_millis(1)).await;
            rounds.ask(|| answered.question(1)).await
        };
        let (left, stays) = tokio::join!(left, stays);
        assert!(left.is_err());
        assert_eq!(stays, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_with_a_sender_that_goes_away_asks_again_and_fresh() {
        let (rounds, fake) = (Rounds::default(), Fake::default());
        let before = futures::future::join_all((0..UNDER_WAY).map(|_| rounds.ask(|| fake.question(3))));
        // Both wait for those before and share a question, which the first sends and leaves.
        let first = tokio::time::timeout(Duration::from_millis(5), rounds.ask(std::future::pending::<i64>));
        let second = rounds.ask(|| fake.question(1));
        let late = async {
            sleep(Duration::from_millis(4)).await;
            fake.revision.store(7, SeqCst);
            rounds.ask(|| fake.question(1)).await
        };
        let (_, first, second, late) = tokio::join!(before, first, second, late);
        assert!(first.is_err());
        assert_eq!((second, late), (7, 7));
    }
}
