//! What holds whatever the outcomes and their times.

use proptest::prelude::*;

use super::tests::outcome;
use super::*;

/// Outcomes with the seconds since the one before.
fn outcomes() -> impl Strategy<Value = Vec<(char, u64)>> {
    let letter = prop::sample::select(vec!['.', '.', 't', 's', 's', 'b', 'u', 'i', 'w']);
    prop::collection::vec((letter, 0..30u64), 0..60)
}

/// The failures, and their times, at the end of `seen`.
fn failing(seen: &[(char, Duration)]) -> &[(char, Duration)] {
    let answers = |(letter, _): &(char, Duration)| matches!(letter, '.' | 't');
    &seen[seen.iter().rposition(answers).map_or(0, |last| last + 1)..]
}

fn severity(letter: char) -> Cause {
    match outcome(letter) {
        Outcome::Failure(cause, _) => cause,
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn records_follow_their_laws(outcomes in outcomes()) {
        let thresholds = Thresholds::default();
        let mut reachability = Reachability::new(thresholds);
        let mut seen: Vec<(char, Duration)> = Vec::new();
        let mut at = Duration::ZERO;
        for (letter, pause) in outcomes {
            at += Duration::from_secs(pause);
            seen.push((letter, at));
            let before = reachability.record().clone();
            reachability.observe(at, outcome(letter));
            let after = reachability.record();
            let run = failing(&seen);

            if after.reachable == Reachable::No && before.reachable != Reachable::No && letter != 'w' {
                prop_assert!(run.len() >= 3 && at - run[0].1 >= Duration::from_secs(15), "{seen:?}");
            }
            let answers = seen.iter().rev().take_while(|(letter, _)| matches!(letter, '.' | 't')).count();
            if before.reachable == Reachable::No {
                prop_assert_eq!(after.reachable == Reachable::Yes, answers >= 2, "{:?}", seen);
                prop_assert!(answers != 1 || (after.cause, after.since) == (before.cause, before.since), "{seen:?}");
            }
            if letter == 't' && before.reachable != Reachable::No {
                prop_assert_ne!(after.reachable, Reachable::No);
            }
            if letter == 'w' {
                prop_assert_eq!(after.cause, Some(Cause::WrongCluster));
            }
            if let (Reachable::No, Some(cause)) = (after.reachable, after.cause) {
                prop_assert!(after.since <= at);
                let since = run.iter().filter(|(_, time)| *time > after.since);
                prop_assert!(cause == Cause::WrongCluster || since.clone().all(|(letter, _)| severity(*letter) >= cause),
                    "{cause:?} since {:?}: {seen:?}", after.since);
                prop_assert!(!run.is_empty() || answers == 1, "one answer is not enough");
            }
        }
    }
}
