//! What writers of conditions may say, and what their writes leave.

use std::time::Duration;

use krake_proto::condition::types;
use krake_proto::error::Violation;
use prost::Message;

use super::*;
use crate::object::wire;

const OWN: &[OwnCondition] = &[OwnCondition { r#type: types::REACHABLE, writer: "krake-kubernetes" }];

fn condition(r#type: &str, reason: &str) -> Condition {
    Condition {
        r#type: r#type.into(),
        status: ConditionStatus::False.into(),
        reason: reason.into(),
        ..Condition::default()
    }
}

fn merge(stored: &[Condition], new: &[Condition]) -> Result<Vec<Condition>, Error> {
    let encode = |conditions: &[Condition]| {
        conditions.iter().map(|condition| Bytes::from(condition.encode_to_vec())).collect()
    };
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(7);
    let merged = merge_conditions("p", OWN, encode(stored), encode(new), now)?;
    Ok(merged.iter().map(|bytes| Condition::decode(bytes.as_ref()).unwrap()).collect())
}

fn violations(result: Result<Vec<Condition>, Error>) -> Vec<Violation> {
    match result {
        Err(Error::Invalid(violations)) => violations,
        other => panic!("{other:?}"),
    }
}

fn field(new: Condition) -> String {
    violations(merge(&[], &[new])).remove(0).field
}

#[test]
fn what_no_rule_allows_is_refused_with_its_field() {
    assert_eq!(field(condition("", "")), "p[0].type");
    assert_eq!(field(condition("Other", "")), "p[0].type");
    assert_eq!(field(condition("a/b/c", "")), "p[0].type");
    assert_eq!(field(condition(types::SCHEDULED, "")), "p[0].type");
    assert_eq!(field(condition(types::REACHABLE, "not a reason")), "p[0].reason");
    assert_eq!(field(Condition { status: 0, ..condition(types::REACHABLE, "") }), "p[0].status");
    let message = "m".repeat(MAX_MESSAGE + 1);
    assert_eq!(field(Condition { message, ..condition(types::REACHABLE, "") }), "p[0].message");
}

#[test]
fn the_writer_of_another_place_learns_what_has_its_place_here() {
    let text = violations(merge(&[], &[condition(types::SCHEDULED, "")])).remove(0).description;
    assert_eq!(text, "\"Scheduled\" has no place here; Krake's own are Reachable (krake-kubernetes)");
}

#[test]
fn a_write_replaces_its_type_alone_and_keeps_the_time_while_the_status_stays() {
    let foreign = condition("example.org/BackedUp", "A");
    let stored = merge(&[], &[foreign.clone(), condition(types::REACHABLE, "B")]).unwrap();
    let since = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
    let stored: Vec<_> =
        stored.into_iter().map(|stored| Condition { last_transition_time: since, ..stored }).collect();
    let same = merge(&stored, &[condition(types::REACHABLE, "C")]).unwrap();
    assert_eq!(same[0], stored[0]);
    assert_eq!((same[1].reason.as_str(), same[1].last_transition_time), ("C", since));
    let other = Condition { status: ConditionStatus::True.into(), ..condition(types::REACHABLE, "C") };
    assert_eq!(merge(&stored, &[other]).unwrap()[1].last_transition_time.unwrap().seconds, 7);
}

#[test]
fn other_programs_cannot_take_the_places_of_own_types_nor_grow_without_bound() {
    let foreign = |range: std::ops::Range<usize>| -> Vec<Condition> {
        range.map(|index| condition(&format!("a.b/C{index}"), "")).collect()
    };
    let full = merge(&[], &foreign(0..MAX_CONDITIONS - 1)).unwrap();
    assert_eq!(merge(&full, &[condition(types::REACHABLE, "")]).unwrap().len(), MAX_CONDITIONS);
    assert_eq!(violations(merge(&full, &foreign(40..41)))[0].field, "p");
    assert_eq!(violations(merge(&[], &foreign(0..MAX_CONDITIONS + 1)))[0].field, "p");
    // An object that has more, from before the limit, can still be written.
    let beyond = foreign(0..40);
    assert_eq!(merge(&beyond, &foreign(3..4)).unwrap().len(), 40);
    assert_eq!(merge(&beyond, &[condition(types::REACHABLE, "")]).unwrap().len(), 41);
}

/// As the version before this one encoded it: type 4 (Reachable), status 2 (FALSE), reason 9 (ClusterNotReachable).
const LEGACY: &[u8] = b"\x08\x04\x10\x02\x18\x09";

#[test]
fn what_an_older_version_writes_is_stored_in_the_present_form() {
    let stored = vec![Bytes::from(condition(types::REACHABLE, "B").encode_to_vec())];
    let newer = [LEGACY, &wire::delimited(4000, b"new")].concat();
    let merged = merge_conditions("p", OWN, stored, vec![newer.into()], SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(merged.len(), 1);
    let read = Condition::decode(merged[0].as_ref()).unwrap();
    assert_eq!((read.r#type.as_str(), read.reason.as_str()), ("Reachable", "ClusterNotReachable"));
    assert_eq!(wire::occurrences(&merged[0], 4000).unwrap(), wire::delimited(4000, b"new"));
}

#[test]
fn a_write_replaces_what_an_older_version_stored() {
    let new = condition(types::REACHABLE, "B").encode_to_vec();
    let now = SystemTime::UNIX_EPOCH;
    let merged = merge_conditions("p", OWN, vec![Bytes::from_static(LEGACY)], vec![new.into()], now).unwrap();
    assert_eq!(merged.len(), 1);
    assert_eq!(Condition::decode(merged[0].as_ref()).unwrap().reason, "B");
}

#[test]
fn a_number_that_no_version_had_is_no_type() {
    let new = vec![Bytes::from_static(b"\x08\x63\x10\x01")];
    let error = merge_conditions("p", OWN, Vec::new(), new, SystemTime::UNIX_EPOCH);
    assert!(matches!(error, Err(Error::Invalid(violations)) if violations[0].field == "p[0].type"));
}
