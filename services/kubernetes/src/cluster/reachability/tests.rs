//! Tables of outcomes and what follows from them.

use rstest::rstest;

use super::*;

/// Outcomes by one letter each: `.` an answer, `t` a 429, `s` silence, `b` broken, `u` unauthorized, `i` its TLS
/// identity, `w` another cluster. One every five seconds, beginning at 0.
pub(super) fn outcome(letter: char) -> Outcome {
    let cause = match letter {
        '.' => return Outcome::Answer,
        't' => return Outcome::Throttled,
        's' => Cause::Silent,
        'b' => Cause::Broken,
        'u' => Cause::Unauthorized,
        'i' => Cause::Untrusted,
        'w' => Cause::WrongCluster,
        _ => panic!("{letter}"),
    };
    Outcome::Failure(cause, letter.to_string())
}

fn after(outcomes: &str) -> Record {
    let mut reachability = Reachability::new(Thresholds::default());
    for (index, letter) in outcomes.chars().enumerate() {
        reachability.observe(Duration::from_secs(5 * index as u64), outcome(letter));
    }
    reachability.record().clone()
}

use Cause::{Broken, Silent, Unauthorized, Untrusted, WrongCluster};
use Reachable::{No, Unknown, Yes};

#[rstest]
#[case::nothing("", Unknown, None, 0)]
#[case::first_answer(".", Yes, None, 0)]
#[case::first_contact_throttled("t", Yes, None, 0)]
#[case::first_contact_fails("s", Unknown, Some(Silent), 0)]
#[case::first_contact_keeps_failing("ssss", No, Some(Silent), 0)]
#[case::first_contact_after_failures("ss.", Yes, None, 10)]
#[case::blip(".s.", Yes, None, 0)]
#[case::two_failures(".ss", Yes, None, 0)]
#[case::three_failures_over_ten_seconds(".sss", Yes, None, 0)]
#[case::four_failures_over_fifteen_seconds(".ssss", No, Some(Silent), 5)]
#[case::an_answer_begins_anew(".sss.sss", Yes, None, 0)]
#[case::throttled_is_an_answer(".ssstsss", Yes, None, 0)]
#[case::throttled_for_long(".tttttttttttttttt", Yes, None, 0)]
#[case::back_once(".ssss.", No, Some(Silent), 5)]
#[case::one_answer_a_minute(".ssss.sssssssssss.sssssssssss.", No, Some(Silent), 5)]
#[case::back_twice(".ssss..", Yes, None, 30)]
#[case::back_by_throttled_answers(".sssstt", Yes, None, 30)]
#[case::back_not_in_a_row(".ssss.s.", No, Some(Silent), 5)]
#[case::back_and_silent_again(".ssss.ssss", No, Some(Silent), 5)]
#[case::reachable_and_silent_again(".ssss..ssss", No, Some(Silent), 35)]
#[case::unauthorized(".uuuu", No, Some(Unauthorized), 5)]
#[case::untrusted(".iiii", No, Some(Untrusted), 5)]
#[case::broken(".bbbb", No, Some(Broken), 5)]
#[case::mixed_counts_as_the_milder(".sbsb", No, Some(Broken), 5)]
#[case::unauthorized_then_silent_for_a_moment(".uuuus", No, Some(Unauthorized), 5)]
#[case::unauthorized_then_silent_for_long(".uuuussss", No, Some(Silent), 25)]
#[case::silent_then_unauthorized_once(".ssssu", No, Some(Unauthorized), 5)]
#[case::another_cluster_at_once(".w", No, Some(WrongCluster), 5)]
#[case::another_cluster_that_is_silent(".wssss", No, Some(WrongCluster), 5)]
#[case::the_right_cluster_again(".w..", Yes, None, 15)]
fn records(
    #[case] outcomes: &str,
    #[case] reachable: Reachable,
    #[case] cause: Option<Cause>,
    #[case] since: u64,
) {
    let record = after(outcomes);
    assert_eq!((record.reachable, record.cause), (reachable, cause));
    assert_eq!(record.since, Duration::from_secs(since));
}

#[test]
fn the_text_is_one_of_the_cause() {
    assert_eq!(after(".bsss").message, "b", "the cause is the one that all failures justify");
    assert_eq!(after(".uuuussss").message, "s");
    assert_eq!(after(".ssss..").message, "");
}

#[test]
fn it_throttles_while_several_answers_in_a_row_say_so() {
    assert!(!after(".tt").throttled, "one 429 is nothing to report");
    assert!(after(".ttt").throttled);
    assert!(!after(".ttt.").throttled);
}
