//! Copies between the planner's form and the API's.

use jiff::Timestamp;
use std::time::Duration;

use krake_proto::condition::{find, reason_of, reasons, types};
use krake_proto::krake::kubernetes::v1::{self as api, Copy};
use krake_proto::krake::meta::v1::{Condition, ConditionStatus, ResourceRef};

use crate::failure::Class;
use crate::object::health::ContainerHealth;
use crate::object::rendering::{DocumentHash, DocumentSet};
use crate::object::{InventoryEntry, ObjectKey};
use crate::plan::{Aim, Answer, CopyRecord, Phase, Reason, RecordedAttempt, Truth, Work};

/// The API's form. Version and transition time are filled by the state service.
pub(super) fn to_api(cluster: &ResourceRef, record: &CopyRecord) -> Copy {
    let count = |pods: i64| i32::try_from(pods).unwrap_or(i32::MAX);
    Copy {
        cluster: Some(cluster.clone()),
        phase: phase_to_api(record.phase).into(),
        observed_generation: record.observed_generation,
        conditions: conditions(record),
        health: Some(api::ContainerHealth {
            desired_pods: count(record.containers.desired),
            running_pods: count(record.containers.running),
            completed_pods: count(record.containers.completed),
            failed_pods: count(record.containers.failed),
        }),
        services: record.services.clone(),
        inventory: record.inventory.iter().map(object_to_api).collect(),
        version: 0,
        last_transition_time: None,
        failure: failure_to_api(record.failure).into(),
        retry_request: record.retry_request,
        applied_work: record.applied_work.map(work_to_api),
        intended_work: record.intended_work.map(work_to_api),
        completed_jobs: record.completed.iter().map(completed_to_api).collect(),
        attempt: record.attempt.map(attempt_to_api),
    }
}

/// The conditions of a copy. Whether its manifest was validated is not told before it was written once.
fn conditions(record: &CopyRecord) -> Vec<Condition> {
    let mut conditions = vec![
        condition(types::APPLIED, record, &record.applied),
        condition(types::AVAILABLE, record, &record.available),
    ];
    if record.validated != Answer::unknown(Reason::Unspecified, "") {
        conditions.push(condition(types::VALIDATED, record, &record.validated));
    }
    conditions
}

/// The planner's form.
pub(super) fn from_api(cluster: &ResourceRef, copy: &Copy) -> CopyRecord {
    let health = copy.health.unwrap_or_default();
    let since = copy.last_transition_time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
    CopyRecord {
        cluster: cluster.uid.as_str().into(),
        phase: phase_from_api(copy.phase(), copy.observed_generation != 0),
        since: since.unwrap_or(Timestamp::UNIX_EPOCH),
        observed_generation: copy.observed_generation,
        version: copy.version,
        inventory: copy.inventory.iter().map(object_from_api).collect(),
        applied: answer(copy, types::APPLIED),
        available: match copy.phase() {
            api::Phase::Unreachable => Answer::unknown(Reason::ClusterNotReachable, ""),
            _ => answer(copy, types::AVAILABLE),
        },
        validated: answer(copy, types::VALIDATED),
        containers: ContainerHealth {
            desired: health.desired_pods.into(),
            running: health.running_pods.into(),
            completed: health.completed_pods.into(),
            failed: health.failed_pods.into(),
        },
        services: copy.services.clone(),
        failure: failure_from_api(copy.failure()),
        retry_request: copy.retry_request,
        applied_work: copy.applied_work.as_ref().and_then(work_from_api),
        intended_work: copy.intended_work.as_ref().and_then(work_from_api),
        completed: copy.completed_jobs.iter().filter_map(completed_from_api).collect(),
        attempt: copy.attempt.as_ref().map(attempt_from_api),
    }
}

fn work_to_api(work: Work) -> api::Work {
    let Work { set: DocumentSet { hash, hash_version, size }, generation, pieces } = work;
    api::Work { sha256: hash.as_bytes().to_vec().into(), hash_version, generation, pieces, size }
}

/// A Work; one whose hash is none is not known.
fn work_from_api(work: &api::Work) -> Option<Work> {
    let hash = DocumentHash::from_bytes(&work.sha256)?;
    let set = DocumentSet { hash, hash_version: work.hash_version, size: work.size };
    Some(Work { set, generation: work.generation, pieces: work.pieces })
}

fn attempt_to_api(attempt: RecordedAttempt) -> api::CopyAttempt {
    let (sha256, generation) = match attempt.aim {
        Aim::Set(hash) => (hash.as_bytes().to_vec().into(), 0),
        Aim::Generation(generation) => (bytes::Bytes::new(), generation),
    };
    let elapsed_seconds = u32::try_from(attempt.elapsed.as_secs()).unwrap_or(u32::MAX);
    api::CopyAttempt { sha256, generation, retry_request: attempt.retry, elapsed_seconds }
}

fn attempt_from_api(attempt: &api::CopyAttempt) -> RecordedAttempt {
    let set = DocumentHash::from_bytes(&attempt.sha256).map(Aim::Set);
    RecordedAttempt {
        aim: set.unwrap_or(Aim::Generation(attempt.generation)),
        retry: attempt.retry_request,
        elapsed: Duration::from_secs(attempt.elapsed_seconds.into()),
    }
}

fn completed_to_api((key, set): (&ObjectKey, &DocumentHash)) -> api::CompletedJob {
    let job = object_to_api(&InventoryEntry { key: key.clone(), uid: None });
    api::CompletedJob { job: Some(job), sha256: set.as_bytes().to_vec().into() }
}

pub(super) fn completed_from_api(completed: &api::CompletedJob) -> Option<(ObjectKey, DocumentHash)> {
    let key = object_from_api(completed.job.as_ref()?).key;
    Some((key, DocumentHash::from_bytes(&completed.sha256)?))
}

fn failure_to_api(failure: Option<Class>) -> api::FailureClass {
    match failure {
        None | Some(Class::Passing) => api::FailureClass::Unspecified,
        Some(Class::OfCluster) => api::FailureClass::OfCluster,
        Some(Class::OfSpec) => api::FailureClass::OfSpec,
    }
}

fn failure_from_api(failure: api::FailureClass) -> Option<Class> {
    match failure {
        api::FailureClass::Unspecified => None,
        api::FailureClass::OfCluster => Some(Class::OfCluster),
        api::FailureClass::OfSpec => Some(Class::OfSpec),
    }
}

fn phase_to_api(phase: Phase) -> api::Phase {
    match phase {
        Phase::Intended => api::Phase::Intended,
        Phase::Applying => api::Phase::Applying,
        Phase::Running => api::Phase::Running,
        Phase::Failed => api::Phase::Failed,
        Phase::Removing => api::Phase::Removing,
    }
}

/// The phase of a copy. Older versions stored UNREACHABLE in place of another one: what was applied is taken to run, since
/// nothing that runs is given up, and the next look at it is recorded.
fn phase_from_api(phase: api::Phase, was_applied: bool) -> Phase {
    match phase {
        // A phase of a newer peer: nothing may be believed of the copy.
        api::Phase::Intended | api::Phase::Unspecified => Phase::Intended,
        api::Phase::Applying => Phase::Applying,
        api::Phase::Running => Phase::Running,
        api::Phase::Failed => Phase::Failed,
        api::Phase::Removing => Phase::Removing,
        api::Phase::Unreachable if was_applied => Phase::Running,
        api::Phase::Unreachable => Phase::Intended,
    }
}

pub(super) fn object_to_api(entry: &InventoryEntry) -> api::ObjectRef {
    let ObjectKey { api_version, kind, namespace, name } = entry.key.clone();
    let uid = entry.uid.clone().unwrap_or_default();
    api::ObjectRef { api_version, kind, namespace: namespace.unwrap_or_default(), name, uid }
}

fn object_from_api(object: &api::ObjectRef) -> InventoryEntry {
    let api::ObjectRef { api_version, kind, namespace, name, uid } = object.clone();
    let present = |text: String| Some(text).filter(|text| !text.is_empty());
    let key = ObjectKey { api_version, kind, namespace: present(namespace), name };
    InventoryEntry { key, uid: present(uid) }
}

fn condition(r#type: &str, record: &CopyRecord, answer: &Answer) -> Condition {
    let status = match answer.truth {
        Truth::True => ConditionStatus::True,
        Truth::False => ConditionStatus::False,
        Truth::Unknown => ConditionStatus::Unknown,
    };
    Condition {
        r#type: r#type.into(),
        status: status.into(),
        reason: reason_to_api(answer.reason).into(),
        message: answer.message.clone(),
        observed_generation: record.observed_generation,
        ..Condition::default()
    }
}

fn answer(copy: &Copy, r#type: &str) -> Answer {
    let Some(condition) = find(&copy.conditions, r#type) else {
        return Answer::unknown(Reason::Unspecified, "");
    };
    let truth = match condition.status() {
        ConditionStatus::True => Truth::True,
        ConditionStatus::False => Truth::False,
        ConditionStatus::Unknown | ConditionStatus::Unspecified => Truth::Unknown,
    };
    Answer { truth, reason: reason_from_api(reason_of(condition)), message: condition.message.clone() }
}

/// The planner's reasons and the API's, by the same names.
const REASONS: [(Reason, &str); 15] = [
    (Reason::Unspecified, ""),
    (Reason::ObjectOwnedByOther, reasons::OBJECT_OWNED_BY_OTHER),
    (Reason::KubernetesError, reasons::KUBERNETES_ERROR),
    (Reason::UnsupportedResource, reasons::UNSUPPORTED_RESOURCE),
    (Reason::InvalidResource, reasons::INVALID_RESOURCE),
    (Reason::Progressing, reasons::PROGRESSING),
    (Reason::NotStarting, reasons::NOT_STARTING),
    (Reason::DeadlineExceeded, reasons::DEADLINE_EXCEEDED),
    (Reason::ClusterNotReachable, reasons::CLUSTER_NOT_REACHABLE),
    (Reason::Unhealthy, reasons::UNHEALTHY),
    (Reason::WaitingForRemoval, reasons::WAITING_FOR_REMOVAL),
    (Reason::Released, reasons::RELEASED),
    (Reason::Used, reasons::USED),
    (Reason::Warnings, reasons::WARNINGS),
    (Reason::NotValidated, reasons::NOT_VALIDATED),
];

fn reason_to_api(reason: Reason) -> &'static str {
    REASONS.iter().find(|(ours, _)| *ours == reason).map_or("", |(_, api)| *api)
}

fn reason_from_api(reason: &str) -> Reason {
    REASONS.iter().find(|(_, api)| *api == reason).map_or(Reason::Unspecified, |(ours, _)| *ours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use krake_proto::condition::MAX_MESSAGE;

    #[test]
    fn a_copy_that_an_older_version_recorded_as_unreachable_is_looked_at_anew() {
        let stored = |observed_generation| Copy {
            phase: api::Phase::Unreachable.into(),
            observed_generation,
            ..Copy::default()
        };
        let applied = from_api(&ResourceRef::default(), &stored(3));
        assert_eq!((applied.phase, applied.observed_generation), (Phase::Running, 3));
        // What is seen of it differs from this, so that it is recorded whatever is seen.
        assert_eq!(applied.available, Answer::unknown(Reason::ClusterNotReachable, ""));
        assert_eq!(from_api(&ResourceRef::default(), &stored(0)).phase, Phase::Intended);
    }

    #[test]
    fn a_copy_survives_the_way_to_the_api_and_back() {
        let cluster = ResourceRef { name: "one".into(), uid: "u1".into(), ..Default::default() };
        let entry = |namespace: Option<&str>, uid: Option<&str>| InventoryEntry {
            key: ObjectKey {
                api_version: "v1".into(),
                kind: "Service".into(),
                namespace: namespace.map(Into::into),
                name: "web".into(),
            },
            uid: uid.map(Into::into),
        };
        let work = |text: &str, generation| {
            let hash = DocumentHash::of(text.as_bytes());
            Work { set: DocumentSet { hash, hash_version: 1, size: 7 }, generation, pieces: 2 }
        };
        let long = "a conflict; ".repeat(1000);
        for (reason, why) in
            REASONS.iter().flat_map(|(reason, _)| [(*reason, "why"), (*reason, long.as_str())])
        {
            let record = CopyRecord {
                phase: Phase::Applying,
                observed_generation: 3,
                inventory: vec![entry(Some("demo"), Some("o1")), entry(None, None)],
                applied: Answer::no(reason, why),
                available: Answer::yes(),
                validated: Answer::unknown(reason, "why"),
                containers: ContainerHealth { desired: 3, running: 1, completed: 0, failed: 2 },
                services: [("web".to_owned(), "h:80".to_owned())].into(),
                failure: Some(Class::OfSpec),
                retry_request: 4,
                applied_work: Some(work("old", 2)),
                intended_work: Some(work("new", 3)),
                completed: [(entry(Some("demo"), None).key, work("old", 2).set.hash)].into(),
                attempt: Some(RecordedAttempt {
                    aim: if why == "why" { Aim::Generation(3) } else { Aim::Set(work("new", 3).set.hash) },
                    retry: 4,
                    elapsed: Duration::from_secs(70),
                }),
                ..CopyRecord::intended(&"u1".into(), Timestamp::UNIX_EPOCH)
            };
            let copy = to_api(&cluster, &record);
            assert!(copy.conditions.iter().all(|condition| condition.message.len() <= MAX_MESSAGE));
            assert_eq!(from_api(&cluster, &copy), record);
        }
    }
}
