//! The transitions of the watch, as tables.

use krake_proto::error::status;
use rstest::rstest;
use tonic::{Code, Status};

use super::*;

fn object(uid: &str, version: i64) -> Metadata {
    Metadata { uid: uid.into(), resource_version: version, ..Default::default() }
}

fn message(changes: &[(EventType, &str, i64)], resource_version: i64) -> Message<Metadata> {
    let changes = changes.iter().map(|(r#type, uid, version)| (*r#type, object(uid, *version))).collect();
    Message { changes, resource_version, epoch: "e1".into(), synced: false, partial: false }
}

fn synced(changes: &[(EventType, &str, i64)], resource_version: i64) -> Message<Metadata> {
    Message { synced: true, ..message(changes, resource_version) }
}

fn partial(changes: &[(EventType, &str, i64)], resource_version: i64) -> Message<Metadata> {
    Message { partial: true, ..message(changes, resource_version) }
}

fn machine(start: Start) -> Machine<Metadata> {
    Machine::new(start, |metadata| Some(metadata))
}

fn after(resource_version: i64) -> Start {
    Start::After { resource_version, epoch: "e1".into() }
}

/// A machine that has delivered everything up to revision 10.
fn following() -> Machine<Metadata> {
    let mut machine = machine(Start::InitialState);
    machine.message(synced(&[(EventType::Added, "a", 7)], 10));
    machine
}

/// Events in short: `+a7` applied, `-a7` deleted, `~a7` left the filter, `i` before those of an initial state.
fn told(step: &Step<Metadata>) -> String {
    let short = |event: &WatchEvent<Metadata>| match event {
        WatchEvent::Restarted => "restarted".to_owned(),
        WatchEvent::Applied { object, initial } => {
            format!("{}+{}{}", if *initial { "i" } else { "" }, object.uid, object.resource_version)
        }
        WatchEvent::LeftFilter(object) => format!("~{}{}", object.uid, object.resource_version),
        WatchEvent::Deleted(object) => format!("-{}{}", object.uid, object.resource_version),
        WatchEvent::Synced { resource_version } => format!("synced@{resource_version}"),
        WatchEvent::Bookmark { resource_version } => format!("@{resource_version}"),
    };
    step.events.iter().map(short).collect::<Vec<_>>().join(" ")
}

fn lost() -> Error {
    Error::from(Status::unavailable("connection reset"))
}

fn refused(reason: ErrorReason) -> Error {
    Error::from(status(Code::Unknown, reason, "text"))
}

use EventType::{Added, Deleted, LeftFilter, Modified, Repeated};

#[test]
fn an_initial_state_is_announced_once_and_ends_with_synced() {
    let mut machine = machine(Start::InitialState);
    assert_eq!(machine.start(), Start::InitialState);
    assert_eq!(told(&machine.message(partial(&[(Added, "a", 3)], 9))), "restarted i+a3");
    assert_eq!(machine.start(), Start::InitialState, "a partial message is no resume point");
    assert_eq!(told(&machine.message(synced(&[(Added, "b", 9)], 9))), "i+b9 synced@9");
    assert_eq!(machine.start(), after(9));
}

#[test]
fn a_repeated_object_is_shown_although_its_version_was_seen() {
    let mut machine = following();
    assert_eq!(told(&machine.message(message(&[(Modified, "a", 7)], 10))), "@10", "it was delivered before");
    assert_eq!(told(&machine.message(message(&[(Repeated, "a", 7)], 10))), "+a7 @10");
    assert_eq!(told(&machine.message(message(&[(Repeated, "a", 7)], 10))), "+a7 @10", "as often as it comes");
    assert_eq!(machine.start(), after(10));
}

#[test]
fn objects_may_change_while_an_initial_state_arrives() {
    let mut machine = machine(Start::InitialState);
    machine.message(partial(&[(Added, "a", 3), (Added, "b", 4)], 9));
    let changes = partial(&[(Modified, "a", 10), (Deleted, "b", 4)], 10);
    assert_eq!(told(&machine.message(changes)), "i+a10 -b4");
    assert_eq!(machine.start(), Start::InitialState);
    assert_eq!(told(&machine.message(synced(&[(Added, "c", 11)], 11))), "i+c11 synced@11");
    assert_eq!(machine.start(), after(11));
}

#[test]
fn an_initial_state_that_is_cut_begins_anew() {
    let mut machine = machine(Start::InitialState);
    machine.message(partial(&[(Added, "a", 3)], 9));
    assert_eq!(machine.ended(&lost()), Next::Resume);
    assert_eq!(machine.start(), Start::InitialState);
    assert_eq!(told(&machine.message(synced(&[(Added, "b", 4)], 12))), "restarted i+b4 synced@12");
}

#[rstest]
#[case::change(message(&[(Modified, "a", 11)], 11), "+a11 @11", 11)]
#[case::several_revisions(message(&[(Added, "b", 11), (Modified, "a", 12)], 12), "+b11 +a12 @12", 12)]
#[case::bookmark(message(&[], 40), "@40", 40)]
#[case::seen_before(message(&[(Modified, "a", 7), (Modified, "b", 10), (Added, "c", 11)], 11), "+c11 @11", 11)]
#[case::erased_with_the_version_of_its_last_write(message(&[(Deleted, "a", 7)], 11), "-a7 @11", 11)]
#[case::left(message(&[(LeftFilter, "a", 11)], 11), "~a11 @11", 11)]
#[case::first_part_of_a_revision(partial(&[(Added, "b", 11)], 11), "+b11", 10)]
#[case::replica_that_lags(message(&[], 8), "@10", 10)]
#[case::synced_again(synced(&[(Modified, "a", 11)], 11), "+a11 @11", 11)]
fn following_delivers_what_is_new(
    #[case] message: Message<Metadata>,
    #[case] expected: &str,
    #[case] resumes_after: i64,
) {
    let mut machine = following();
    let step = machine.message(message);
    assert_eq!(told(&step), expected);
    assert!(!step.start_over);
    assert_eq!(machine.start(), after(resumes_after));
}

#[test]
fn what_a_lost_stream_had_delivered_of_a_revision_is_not_delivered_again() {
    let mut machine = following();
    assert_eq!(told(&machine.message(partial(&[(Modified, "a", 11), (Deleted, "b", 5)], 11))), "+a11 -b5");
    assert_eq!(machine.ended(&lost()), Next::Resume);
    assert_eq!(machine.start(), after(10));
    let again = message(&[(Modified, "a", 11), (Deleted, "b", 5), (Added, "c", 11)], 11);
    assert_eq!(told(&machine.message(again)), "+c11 @11");
    // The window is over: a later erasure of the same object counts.
    assert_eq!(told(&machine.message(message(&[(Deleted, "a", 11)], 12))), "-a11 @12");
}

#[rstest]
#[case::lost_connection(lost(), Next::Resume)]
#[case::out_of_range_of_somebody_else(Error::from(Status::out_of_range("too large")), Next::Resume)]
#[case::unauthenticated_proxy(Error::from(Status::unauthenticated("proxy")), Next::Resume)]
#[case::too_slow(refused(ErrorReason::WatcherTooSlow), Next::Resume)]
#[case::shutting_down(refused(ErrorReason::ShuttingDown), Next::Resume)]
#[case::store(refused(ErrorReason::StoreUnavailable), Next::Resume)]
#[case::internal(refused(ErrorReason::Internal), Next::Resume)]
#[case::compacted(refused(ErrorReason::RevisionCompacted), Next::StartOver)]
#[case::grants(refused(ErrorReason::PermissionsChanged), Next::StartOver)]
#[case::unauthenticated(refused(ErrorReason::Unauthenticated), Next::Fail)]
#[case::forbidden(refused(ErrorReason::Forbidden), Next::Fail)]
#[case::invalid(refused(ErrorReason::InvalidField), Next::Fail)]
#[case::not_built(refused(ErrorReason::NotBuilt), Next::Fail)]
fn an_interruption_is_judged_by_its_reason_alone(#[case] error: Error, #[case] expected: Next) {
    let mut machine = following();
    assert_eq!(machine.ended(&error), expected);
    let begins = if expected == Next::StartOver { Start::InitialState } else { after(10) };
    assert_eq!(machine.start(), begins);
}

#[test]
fn another_epoch_starts_over_and_delivers_nothing_of_it() {
    let mut machine = following();
    let step = machine.message(Message { epoch: "e2".into(), ..message(&[(Added, "b", 3)], 3) });
    assert_eq!((told(&step).as_str(), step.start_over), ("", true));
    assert_eq!(machine.start(), Start::InitialState);
    let restored = Message { epoch: "e2".into(), ..synced(&[(Added, "b", 3)], 3) };
    assert_eq!(told(&machine.message(restored)), "restarted i+b3 synced@3");
    // Lower revisions than before are new ones in this history.
    let next = Message { epoch: "e2".into(), ..message(&[(Modified, "b", 4)], 4) };
    assert_eq!(told(&machine.message(next)), "+b4 @4");
}

#[test]
fn an_unknown_epoch_is_learnt_from_the_first_message() {
    let mut machine = machine(Start::After { resource_version: 10, epoch: String::new() });
    assert_eq!(told(&machine.message(message(&[(Added, "a", 11)], 11))), "+a11 @11");
    assert_eq!(machine.start(), after(11));
}

#[test]
fn from_now_on_resumes_only_once_a_revision_is_known() {
    let mut machine = machine(Start::Now);
    assert_eq!(machine.start(), Start::Now);
    assert_eq!(told(&machine.message(partial(&[(Added, "a", 5)], 5))), "+a5");
    assert_eq!(machine.ended(&lost()), Next::Resume);
    assert_eq!(machine.start(), Start::Now);
    assert_eq!(told(&machine.message(message(&[(Added, "a", 6)], 6))), "+a6 @6");
    assert_eq!(machine.start(), after(6));
}

#[test]
fn an_object_without_version_is_never_taken_for_seen() {
    let mut machine = following();
    assert_eq!(told(&machine.message(message(&[(Modified, "a", 0)], 11))), "+a0 @11");
}

#[test]
fn event_types_of_the_future_are_left_out() {
    let read = changes([(1, "a"), (0, "b"), (99, "c"), (3, "d")].into_iter(), Ok).unwrap();
    assert_eq!(read, [(Added, "a"), (Deleted, "d")]);
}
