//! Objects that are asked for are asked for at once, and what does not answer holds nothing up.

use tokio::time::Instant;

use super::*;

/// Questions that are answered after so many seconds.
fn asked(seconds: impl Iterator<Item = u64>) -> Vec<BoxFuture<'static, (usize, u64)>> {
    let answer = |(index, seconds)| {
        let answers = async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            (index, seconds)
        };
        answers.boxed()
    };
    seconds.enumerate().map(answer).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_not_answered_in_time_holds_nothing_up() {
    let begun = Instant::now();
    let answers = within(LOOK, asked([1, 14, 600, 2].into_iter())).await;
    assert_eq!(begun.elapsed().as_secs(), LOOK.as_secs());
    assert_eq!(answers, HashMap::from([(0, 1), (1, 14), (3, 2)]), "what came in time counts");
}

#[tokio::test(start_paused = true)]
async fn many_are_asked_for_at_once() {
    let begun = Instant::now();
    let answers = within(LOOK, asked(std::iter::repeat_n(1, 80))).await;
    assert_eq!((answers.len(), begun.elapsed().as_secs()), (80, 10));
}
