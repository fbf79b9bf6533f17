//! What a binding leaves in the status: the bindings themselves, the decision, the history, the condition Scheduled.

use std::time::SystemTime;

use krake_proto::condition::{reason_of, reasons, types};
use krake_proto::krake::kubernetes::v1::{
    ApplicationStatus, BindApplicationRequest, Binding, Copy, FailedAttempt, Phase, PlacementRecord,
};
use krake_proto::krake::meta::v1::{Condition, ConditionStatus, ResourceRef};
use krake_proto::numbers::kubernetes::v1::{
    application_status as field, bind_application_request as requested, binding,
};
use prost::Message;

use super::super::derive::complaint;
use crate::object::metadata::timestamp;
use crate::object::wire::{self, Malformed};
use crate::registry::{Error, merge_conditions};

/// How many past placements, and how many failed attempts, are kept.
const HISTORY: usize = 10;
/// Maximum length of the message of a failed attempt, in bytes: ten of them must stay small beside the copies.
const MAX_FAILURE: usize = 300;

/// The fields of a binding that state fills; all others go in as the scheduler sent them.
const FILLED: [u32; 3] = [binding::CLUSTER, binding::BOUND, binding::REPLICAS];

/// How a request changes what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    /// Other clusters are bound.
    pub(super) moved: bool,
    /// The bindings differ, in their clusters or in anything else.
    pub(super) rebound: bool,
    /// The explanation differs.
    pub(super) decided: bool,
}

/// The binding to `cluster`. One that stays keeps the time at which it began.
pub(super) fn binding_to(
    cluster: &ResourceRef,
    request: &BindApplicationRequest,
    status: &ApplicationStatus,
    now: SystemTime,
) -> Binding {
    let same = |binding: &&Binding| binding.cluster.as_ref().is_some_and(|bound| bound.uid == cluster.uid);
    let old = status.bindings.iter().find(same);
    Binding {
        cluster: Some(cluster.clone()),
        bound: old.and_then(|binding| binding.bound).or(Some(timestamp(now))),
        replicas: request.bindings.first().and_then(|binding| binding.replicas),
    }
}

/// The encoded status after the binding. What a newer scheduler says in fields unknown here is kept.
pub(super) fn status(
    old: &[u8],
    before: &ApplicationStatus,
    request: (&BindApplicationRequest, &[u8]),
    bindings: &[Binding],
    change: Change,
    (generation, now): (i64, SystemTime),
) -> Result<Vec<u8>, Error> {
    let (request, encoded_request) = request;
    let mut numbers = vec![field::KUBE_CONTROLLER_TRIGGERED, field::SCHEDULED_GENERATION];
    let mut written = ApplicationStatus {
        kube_controller_triggered: Some(timestamp(now)),
        scheduled_generation: generation,
        ..Default::default()
    };
    let mut raw = Vec::new();
    if change.rebound {
        numbers.push(field::BINDINGS);
        raw.extend(encoded_bindings(bindings, encoded_request)?);
    }
    if change.decided {
        numbers.push(field::DECISION);
        let decision = wire::singular(encoded_request, requested::DECISION)?.unwrap_or_default();
        raw.extend(wire::delimited(field::DECISION, &decision));
    }
    if change.moved {
        numbers.extend([field::SCHEDULED, field::HISTORY]);
        written.scheduled = Some(timestamp(now));
        written.history = vec![placement(before, bindings, request, now)];
        let past = wire::elements(old, field::HISTORY)?;
        raw.extend(past.iter().take(HISTORY - 1).flat_map(|item| wire::delimited(field::HISTORY, item)));
    }
    let failed = failed_attempts(before, bindings, generation, now);
    if change.moved && !failed.is_empty() {
        numbers.push(field::FAILED_ATTEMPTS);
        let mut kept = Vec::new();
        for attempt in wire::elements(old, field::FAILED_ATTEMPTS)? {
            kept.extend(
                (FailedAttempt::decode(attempt.clone())?.generation == generation).then_some(attempt),
            );
        }
        let surplus = (kept.len() + failed.len()).saturating_sub(HISTORY);
        let kept = kept.iter().skip(surplus).map(|attempt| attempt.to_vec());
        let attempts = kept.chain(failed.iter().map(FailedAttempt::encode_to_vec));
        raw.extend(attempts.flat_map(|attempt| wire::delimited(field::FAILED_ATTEMPTS, &attempt)));
    }
    let mut encoded = written.encode_to_vec();
    encoded.extend(raw);
    let new = wire::overwrite(old, &numbers, &encoded)?;
    if bindings.is_empty() { Ok(new) } else { scheduled(&new, generation, now) }
}

/// The failed attempts at this generation on clusters that are bound no more.
fn failed_attempts(
    before: &ApplicationStatus,
    bindings: &[Binding],
    generation: i64,
    now: SystemTime,
) -> Vec<FailedAttempt> {
    let is_in = |bindings: &[Binding], copy: &Copy| {
        let uid = copy.cluster.as_ref().map(|cluster| cluster.uid.as_str());
        bindings.iter().any(|binding| binding.cluster.as_ref().map(|cluster| cluster.uid.as_str()) == uid)
    };
    let given_up = before.copies.iter().filter(|copy| {
        copy.phase() == Phase::Failed
            && copy.observed_generation == generation
            && is_in(&before.bindings, copy)
            && !is_in(bindings, copy)
    });
    let attempt = |copy: &Copy| FailedAttempt {
        cluster: copy.cluster.clone(),
        generation,
        failure: copy.failure,
        time: Some(timestamp(now)),
        message: complaint(copy).map(|condition| shortened(&condition.message)).unwrap_or_default(),
        reason: complaint(copy).map(|condition| reason_of(condition).to_owned()).unwrap_or_default(),
    };
    given_up.map(attempt).collect()
}

/// The beginning and the end of a text that is too long to be kept whole.
fn shortened(text: &str) -> String {
    const CUT: &str = " … ";
    if text.len() <= MAX_FAILURE {
        return text.to_owned();
    }
    let half = (MAX_FAILURE - CUT.len()) / 2;
    let head = text.floor_char_boundary(half);
    let tail = text.ceil_char_boundary(text.len() - half);
    format!("{}{CUT}{}", &text[..head], &text[tail..])
}

/// The new bindings as they are stored.
fn encoded_bindings(bindings: &[Binding], request: &[u8]) -> Result<Vec<u8>, Malformed> {
    let requested = wire::elements(request, requested::BINDINGS)?;
    let mut encoded = Vec::new();
    for (index, binding) in bindings.iter().enumerate() {
        let requested = requested.get(index).map_or(&[][..], |requested| requested);
        let whole = wire::overwrite(requested, &FILLED, &binding.encode_to_vec())?;
        encoded.extend(wire::delimited(field::BINDINGS, &whole));
    }
    Ok(encoded)
}

/// The record of the move that is being made.
fn placement(
    before: &ApplicationStatus,
    bindings: &[Binding],
    request: &BindApplicationRequest,
    now: SystemTime,
) -> PlacementRecord {
    let decision = request.decision.clone().unwrap_or_default();
    let cluster = |bindings: &[Binding]| bindings.first().and_then(|binding| binding.cluster.clone());
    PlacementRecord {
        from: cluster(&before.bindings),
        to: cluster(bindings),
        time: Some(timestamp(now)),
        reason: decision.reason,
        world_revision: decision.world_revision,
    }
}

/// `status` with the condition Scheduled true.
fn scheduled(status: &[u8], generation: i64, now: SystemTime) -> Result<Vec<u8>, Error> {
    let condition = Condition {
        r#type: types::SCHEDULED.into(),
        status: ConditionStatus::True.into(),
        reason: reasons::BOUND.into(),
        observed_generation: generation,
        ..Default::default()
    };
    let present = wire::elements(status, field::CONDITIONS)?;
    let new = vec![condition.encode_to_vec().into()];
    let merged = merge_conditions("status.conditions", super::super::RULES.conditions, present, new, now)?;
    let encoded: Vec<u8> = merged.iter().flat_map(|item| wire::delimited(field::CONDITIONS, item)).collect();
    Ok(wire::overwrite(status, &[field::CONDITIONS], &encoded)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_scheduler_says_about_a_binding_is_kept() {
        let cluster = |name: &str| Some(ResourceRef { name: name.into(), ..Default::default() });
        let sent = Binding { cluster: cluster("sent"), replicas: Some(1), ..Default::default() };
        let newer = wire::delimited(4000, b"from a newer peer");
        let sent = [sent.encode_to_vec(), newer.clone()].concat();
        let request = wire::delimited(requested::BINDINGS, &sent);
        let known = Binding { cluster: cluster("known"), replicas: Some(2), ..Default::default() };
        let stored = encoded_bindings(std::slice::from_ref(&known), &request).unwrap();
        let stored = wire::elements(&stored, field::BINDINGS).unwrap();
        assert_eq!(Binding::decode(stored[0].clone()).unwrap(), known);
        assert_eq!(krake_proto::wire::occurrences(&stored[0], 4000).unwrap(), newer);
    }

    #[test]
    fn state_fills_every_field_of_a_binding_that_it_knows() {
        let binding = krake_proto::POOL.get_message_by_name("krake.kubernetes.v1.Binding").unwrap();
        assert!(binding.fields().map(|field| field.number()).eq(FILLED));
    }
}
