//! How long an attempt has lasted is recorded with its copy.

use super::*;

fn record(seconds: u64) -> RecordedAttempt {
    RecordedAttempt { aim: Aim::Set(set(1).hash), retry: 0, elapsed: Duration::from_secs(seconds) }
}

/// A copy that is awaited, with an attempt that has lasted for 70 s and is to be recorded after `due`.
fn awaited(due: Duration) -> Snapshot {
    let mut s = snapshot(&["a"], vec![copy("a", Phase::Applying)], vec![("a", starting())]);
    let view = seen_on(&mut s, "a");
    let elapsed = Duration::from_secs(70);
    view.attempt = Attempt { elapsed, record: Some(record(70)), record_in: Some(due), ..Attempt::default() };
    s
}

fn waits(steps: &[Step]) -> Vec<Duration> {
    let wait = |step: &Step| match step {
        Step::Wait(time) => Some(*time),
        _ => None,
    };
    steps.iter().filter_map(wait).collect()
}

#[test]
fn it_is_recorded_when_it_is_due_and_waited_for_before() {
    let steps = plan(&awaited(Duration::ZERO));
    let Step::Report(told) = &steps[0] else { panic!("{steps:?}") };
    assert_eq!(*told, CopyRecord { attempt: Some(record(70)), ..copy("a", Phase::Applying) }, "nothing else");
    let soon = Duration::from_secs(7);
    let steps = plan(&awaited(soon));
    assert_eq!((steps.len(), waits(&steps)), (1, vec![soon]));
}

#[test]
fn it_is_recorded_alone_only_if_nothing_else_is() {
    let mut s = awaited(Duration::ZERO);
    seen_on(&mut s, "a").presence = available();
    assert_eq!(short(&s), ["report a Running"]);
    // And with every other record while the attempt goes on.
    let attempt = s.clusters[&ClusterUid::from("a")].attempt;
    let kept = |phase| attempt.kept_in(copy("a", phase)).attempt;
    assert_eq!(kept(Phase::Applying), Some(record(70)));
    assert_eq!([kept(Phase::Running), kept(Phase::Failed), kept(Phase::Removing)], [None; 3], "it is over");
}

#[test]
fn past_the_deadline_it_is_not_recorded_again() {
    // An update that does not become available: the copy runs on, and may do so for weeks.
    let mut s = awaited(Duration::ZERO);
    let overdue = |retry| RecordedAttempt { retry, ..record(DEADLINE.as_secs() + 600) };
    seen_on(&mut s, "a").attempt.record = Some(overdue(0));
    seen_on(&mut s, "a").attempt.elapsed = overdue(0).elapsed;
    let available = Answer::no(Reason::DeadlineExceeded, "0 of 1");
    let mut running = CopyRecord { available, ..copy("a", Phase::Running) };
    let mut steps = |attempt| {
        running.attempt = Some(attempt);
        s.copies = vec![running.clone()];
        short(&s)
    };
    assert_eq!(steps(record(DEADLINE.as_secs())), [""; 0], "neither written nor waited for");
    assert_eq!(steps(record(DEADLINE.as_secs() - 1)), ["report a Running"], "once more");
    assert_eq!(steps(RecordedAttempt { retry: 1, ..overdue(0) }), ["report a Running"], "of another attempt");
}

#[test]
fn nothing_is_recorded_while_the_cluster_does_not_answer() {
    let mut s = awaited(Duration::ZERO);
    seen_on(&mut s, "a").presence = Presence::Unreachable("down".into());
    let steps = plan(&s);
    assert_eq!(steps.len(), waits(&steps).len(), "{steps:?}");
}
