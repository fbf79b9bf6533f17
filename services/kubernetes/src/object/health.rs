//! How well an object on a cluster does: counts of pods, and whether it is available. Pure, one rule per kind.
//!
//! The rules are those by which `kubectl rollout status` waits; kinds without a rule are well when they exist.

use std::ops::AddAssign;

use serde_json::Value;

use crate::error::shortened;
use crate::object::{ObjectKey, field, number, pods, text};

/// Counts of pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContainerHealth {
    /// Wanted.
    pub desired: i64,
    /// Ready.
    pub running: i64,
    /// Ended well.
    pub completed: i64,
    /// Ended badly.
    pub failed: i64,
}

impl AddAssign for ContainerHealth {
    fn add_assign(&mut self, other: Self) {
        self.desired += other.desired;
        self.running += other.running;
        self.completed += other.completed;
        self.failed += other.failed;
    }
}

/// Whether an object, or all of a copy's objects, do what they are there for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Available,
    /// Not yet, or not at the moment.
    Progressing(String),
    /// No, and it will not by itself.
    Failed(String),
}

/// Health of a copy: the sum of its pods and its worst verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Sum over all workloads.
    pub containers: ContainerHealth,
    /// The worst one; its message names the object.
    pub verdict: Verdict,
}

/// Health of a copy from that of each of its live objects.
pub fn of_copy<'a>(objects: impl IntoIterator<Item = (&'a ObjectKey, Health)>) -> Health {
    let mut sum = Health { containers: ContainerHealth::default(), verdict: Verdict::Available };
    for (key, Health { containers, verdict }) in objects {
        sum.containers += containers;
        sum.verdict = match (sum.verdict, verdict) {
            (worst @ Verdict::Failed(_), _) => worst,
            (_, Verdict::Failed(message)) => Verdict::Failed(format!("{key}: {message}")),
            (Verdict::Available, Verdict::Progressing(message)) => {
                Verdict::Progressing(format!("{key}: {message}"))
            }
            (worst, _) => worst,
        };
    }
    sum
}

/// Health of one live object.
pub fn of_object(object: &Value) -> Health {
    let group =
        text(object, &["apiVersion"]).and_then(|version| version.split_once('/')).map_or("", |(g, _)| g);
    let health = match (group, text(object, &["kind"]).unwrap_or_default()) {
        ("apps", "Deployment") => deployment(object),
        ("apps", "StatefulSet") => stateful_set(object),
        ("apps", "DaemonSet") => daemon_set(object),
        ("apps", "ReplicaSet") | ("", "ReplicationController") => replica_set(object),
        ("batch", "Job") => job(object),
        ("", "Pod") => pod(object),
        ("", "PersistentVolumeClaim") if text(object, &["status", "phase"]) == Some("Lost") => {
            none(Verdict::Failed("its volume is lost".to_owned()))
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => none(definition(object)),
        _ => none(by_conditions(object)),
    };
    if field(object, &["metadata", "deletionTimestamp"]).is_some_and(|time| !time.is_null()) {
        return Health { verdict: Verdict::Progressing("is being deleted".to_owned()), ..health };
    }
    health
}

fn none(verdict: Verdict) -> Health {
    Health { containers: ContainerHealth::default(), verdict }
}

fn status(object: &Value, name: &str) -> i64 {
    number(object, &["status", name]).unwrap_or(0)
}

fn replicas(object: &Value) -> i64 {
    number(object, &["spec", "replicas"]).unwrap_or(1)
}

/// The condition of a type: its status, reason and message.
fn condition<'a>(object: &'a Value, kind: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let conditions = field(object, &["status", "conditions"])?.as_array()?;
    let condition = conditions.iter().find(|condition| text(condition, &["type"]) == Some(kind))?;
    let get = |name| text(condition, &[name]).unwrap_or_default();
    Some((get("status"), get("reason"), get("message")))
}

/// A definition is available when its kind is served.
fn definition(object: &Value) -> Verdict {
    match (condition(object, "NamesAccepted"), condition(object, "Established")) {
        (Some(("False", reason, message)), _) => Verdict::Failed(told(reason, message)),
        (_, Some(("True", ..))) => Verdict::Available,
        _ => Verdict::Progressing("its kind is not served yet".to_owned()),
    }
}

/// Kinds without a rule of their own, custom resources above all: by the conditions that most controllers agree on. Without
/// them an object is well when it exists.
fn by_conditions(object: &Value) -> Verdict {
    let observed = number(object, &["status", "observedGeneration"]);
    if observed.is_some() && not_seen_yet(object) {
        return Verdict::Progressing("its controller has not seen it yet".to_owned());
    }
    if let Some(("True", reason, message)) = condition(object, "Stalled") {
        return Verdict::Failed(told(reason, message));
    }
    if let Some(("True", reason, message)) = condition(object, "Reconciling") {
        return Verdict::Progressing(told(reason, message));
    }
    match condition(object, "Ready") {
        Some((status, reason, message)) if status != "True" => {
            Verdict::Progressing(format!("is not ready: {}", told(reason, message)))
        }
        _ => Verdict::Available,
    }
}

fn told(reason: &str, message: &str) -> String {
    let texts: Vec<_> = [reason, message].into_iter().filter(|text| !text.is_empty()).collect();
    texts.join(": ")
}

/// The status is about an older spec.
fn not_seen_yet(object: &Value) -> bool {
    status(object, "observedGeneration") < number(object, &["metadata", "generation"]).unwrap_or(0)
}

fn waiting(done: i64, wanted: i64, what: &str) -> Option<Verdict> {
    (done < wanted).then(|| Verdict::Progressing(format!("{done} of {wanted} replicas {what}")))
}

fn not_seen(object: &Value) -> Option<Verdict> {
    not_seen_yet(object).then(|| Verdict::Progressing("its controller has not seen it yet".to_owned()))
}

fn deployment(object: &Value) -> Health {
    let wanted = replicas(object);
    let updated = status(object, "updatedReplicas");
    let old = status(object, "replicas") - updated;
    let stuck = || match condition(object, "Progressing") {
        Some(("False", "ProgressDeadlineExceeded", message)) => Some(Verdict::Failed(message.to_owned())),
        _ => None,
    };
    let verdict = not_seen(object)
        .or_else(stuck)
        .or_else(|| waiting(updated, wanted, "updated"))
        .or_else(|| (old > 0).then(|| Verdict::Progressing(format!("{old} old replicas still run"))))
        .or_else(|| waiting(status(object, "availableReplicas"), wanted, "available"))
        .map_or(Verdict::Available, |verdict| refused(object, verdict));
    let verdict = match (verdict, field(object, &["spec", "paused"])) {
        (Verdict::Progressing(why), Some(Value::Bool(true))) => {
            Verdict::Progressing(format!("its rollout is paused (spec.paused), so it does not go on: {why}"))
        }
        (verdict, _) => verdict,
    };
    let running = status(object, "readyReplicas");
    Health { containers: ContainerHealth { desired: wanted, running, ..ContainerHealth::default() }, verdict }
}

/// The verdict with why the cluster refuses to make Pods, where the workload says so.
fn refused(object: &Value, verdict: Verdict) -> Verdict {
    match (verdict, condition(object, "ReplicaFailure")) {
        (Verdict::Progressing(why), Some(("True", reason, message))) => {
            Verdict::Progressing(format!("{why}: {}", shortened(&told(reason, message))))
        }
        (verdict, _) => verdict,
    }
}

fn stateful_set(object: &Value) -> Health {
    let wanted = replicas(object);
    let ready = status(object, "readyReplicas");
    let strategy = text(object, &["spec", "updateStrategy", "type"]).unwrap_or("RollingUpdate");
    let partition = number(object, &["spec", "updateStrategy", "rollingUpdate", "partition"]).unwrap_or(0);
    let revision = |name| text(object, &["status", name]).unwrap_or_default();
    let updating = || {
        if strategy == "OnDelete" || revision("updateRevision") == revision("currentRevision") {
            return None;
        }
        waiting(status(object, "updatedReplicas"), wanted - partition, "updated")
    };
    let verdict = not_seen(object)
        .or_else(updating)
        .or_else(|| waiting(ready, wanted, "ready"))
        .unwrap_or(Verdict::Available);
    Health {
        containers: ContainerHealth { desired: wanted, running: ready, ..ContainerHealth::default() },
        verdict,
    }
}

fn daemon_set(object: &Value) -> Health {
    let wanted = status(object, "desiredNumberScheduled");
    let on_delete = text(object, &["spec", "updateStrategy", "type"]) == Some("OnDelete");
    let verdict = not_seen(object)
        .or_else(|| match on_delete {
            true => None,
            false => waiting(status(object, "updatedNumberScheduled"), wanted, "updated"),
        })
        .or_else(|| waiting(status(object, "numberAvailable"), wanted, "available"))
        .unwrap_or(Verdict::Available);
    let running = status(object, "numberReady");
    Health { containers: ContainerHealth { desired: wanted, running, ..ContainerHealth::default() }, verdict }
}

fn replica_set(object: &Value) -> Health {
    let wanted = replicas(object);
    let verdict = not_seen(object)
        .or_else(|| waiting(status(object, "availableReplicas"), wanted, "available"))
        .map_or(Verdict::Available, |verdict| refused(object, verdict));
    let running = status(object, "readyReplicas");
    Health { containers: ContainerHealth { desired: wanted, running, ..ContainerHealth::default() }, verdict }
}

/// A job is available once it has begun: it is there to end. Servers before 1.24 do not say how many of its pods are ready.
fn job(object: &Value) -> Health {
    let containers = ContainerHealth {
        desired: number(object, &["spec", "completions"]).unwrap_or(1),
        running: status(object, "active"),
        completed: status(object, "succeeded"),
        failed: status(object, "failed"),
    };
    let suspended = field(object, &["spec", "suspend"]).and_then(Value::as_bool).unwrap_or(false);
    let verdict = match (condition(object, "Failed"), condition(object, "Complete")) {
        (Some(("True", reason, message)), _) => Verdict::Failed(format!("{reason}: {message}")),
        (_, Some(("True", ..))) => Verdict::Available,
        _ if suspended || containers.completed > 0 => Verdict::Available,
        _ if containers.running > 0 && number(object, &["status", "ready"]) == Some(0) => {
            Verdict::Progressing("none of its pods is ready".to_owned())
        }
        _ if containers.running > 0 => Verdict::Available,
        _ if containers.desired == 0 => Verdict::Available,
        _ => Verdict::Progressing("no pod was started yet".to_owned()),
    };
    Health { containers, verdict }
}

/// Whether an object is one that runs to its end: a job.
pub(crate) fn runs_to_an_end(key: &ObjectKey) -> bool {
    is_job(&key.api_version, &key.kind)
}

/// Whether this is the kind of objects that run to their end.
pub(crate) fn is_job(api_version: &str, kind: &str) -> bool {
    kind == "Job" && api_version.starts_with("batch/")
}

/// Whether a live object is a job that ran to its end.
pub(crate) fn is_done(object: &Value) -> bool {
    let named = text(object, &["apiVersion"]).zip(text(object, &["kind"]));
    named.is_some_and(|(api_version, kind)| is_job(api_version, kind))
        && matches!(condition(object, "Complete"), Some(("True", ..)))
}

fn pod(object: &Value) -> Health {
    let one = |running, completed, failed| ContainerHealth { desired: 1, running, completed, failed };
    let ready = condition(object, "Ready").is_some_and(|(status, ..)| status == "True");
    match text(object, &["status", "phase"]).unwrap_or("Pending") {
        "Succeeded" => Health { containers: one(0, 1, 0), verdict: Verdict::Available },
        "Failed" => {
            let why = text(object, &["status", "message"]).or_else(|| text(object, &["status", "reason"]));
            let why = why.unwrap_or("its containers ended with an error").to_owned();
            Health { containers: one(0, 0, 1), verdict: Verdict::Failed(why) }
        }
        "Running" if ready => Health { containers: one(1, 0, 0), verdict: Verdict::Available },
        phase => {
            let why = container_waits(object).unwrap_or_else(|| format!("is {phase} and not ready"));
            Health { containers: one(0, 0, 0), verdict: Verdict::Progressing(why) }
        }
    }
}

/// What the first container that waits, waits for; or why the pod finds no node.
fn container_waits(pod: &Value) -> Option<String> {
    if let Some(cause) = pods::trouble(pod) {
        return Some(cause.text);
    }
    let statuses = ["initContainerStatuses", "containerStatuses"]
        .into_iter()
        .filter_map(|name| field(pod, &["status", name])?.as_array())
        .flatten();
    let mut waiting = statuses.filter_map(|container| {
        let reason = text(container, &["state", "waiting", "reason"])?;
        let name = text(container, &["name"]).unwrap_or_default();
        Some(format!("container {name} waits: {reason}"))
    });
    waiting.next()
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
