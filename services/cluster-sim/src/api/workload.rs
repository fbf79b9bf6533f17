//! What controllers and nodes make of workloads, in fast motion: their status as time passes. They create no pods.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::api::kinds::Kind;

/// The status that a workload gets, and how long from now until it gets the next one.
#[derive(Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) status: Value,
    pub(crate) next: Option<Duration>,
}

/// Whether objects of the kind are worked on.
pub(crate) fn is_worked_on(kind: &Kind) -> bool {
    !kind.custom
        && matches!(
            (kind.group.as_str(), kind.kind.as_str()),
            ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
                | ("batch", "Job")
                | ("", "Pod")
        )
}

/// The status of an object whose present spec is `age` old, where pods take `ready_after` to become ready.
pub(crate) fn step(
    kind: &Kind,
    object: &Value,
    age: Duration,
    ready_after: Duration,
    nodes: usize,
    now: &str,
) -> Step {
    let ready = age >= ready_after;
    let next = (!ready).then(|| ready_after - age);
    let wanted = object["spec"]["replicas"].as_u64().unwrap_or(1);
    let generation = object["metadata"]["generation"].as_u64().unwrap_or(0);
    let before = &object["status"];
    // Those of the spec before serve until the new ones are ready.
    let serving = if ready { wanted } else { before["readyReplicas"].as_u64().unwrap_or(0).min(wanted) };
    let status = match kind.kind.as_str() {
        "Deployment" => deployment(before, wanted, serving, now),
        "StatefulSet" => {
            let mut status = counts(&[
                ("currentReplicas", wanted),
                ("updatedReplicas", wanted),
                ("readyReplicas", serving),
                ("availableReplicas", serving),
            ]);
            let revision =
                json!(format!("{}-{generation}", object["metadata"]["name"].as_str().unwrap_or_default()));
            status.insert("replicas".into(), json!(wanted));
            status.insert("currentRevision".into(), revision.clone());
            status.insert("updateRevision".into(), revision);
            status
        }
        "ReplicaSet" => {
            let mut status = counts(&[("readyReplicas", serving), ("availableReplicas", serving)]);
            status.insert("replicas".into(), json!(wanted));
            status
        }
        "DaemonSet" => {
            let wanted = nodes as u64;
            let serving = if ready { wanted } else { before["numberReady"].as_u64().unwrap_or(0) };
            let mut status = counts(&[("numberAvailable", serving), ("updatedNumberScheduled", wanted)]);
            for (name, value) in [
                ("desiredNumberScheduled", wanted),
                ("currentNumberScheduled", wanted),
                ("numberReady", serving),
                ("numberMisscheduled", 0),
            ] {
                status.insert(name.into(), json!(value));
            }
            status
        }
        "Job" => return job(object, age, ready_after, now),
        _ => return pod(object, ready, next, now),
    };
    let mut status = Value::Object(status);
    status["observedGeneration"] = json!(generation);
    Step { status, next }
}

fn deployment(before: &Value, wanted: u64, serving: u64, now: &str) -> Map<String, Value> {
    let mut status = counts(&[
        ("replicas", wanted),
        ("updatedReplicas", wanted),
        ("readyReplicas", serving),
        ("availableReplicas", serving),
        ("unavailableReplicas", wanted - serving),
    ]);
    let available = ("Available", serving == wanted, "MinimumReplicas");
    let progressing = ("Progressing", true, "NewReplicaSet");
    status.insert("conditions".into(), conditions(before, &[available, progressing], now));
    status
}

/// Numbers as servers write them: zero is left out.
fn counts(counts: &[(&str, u64)]) -> Map<String, Value> {
    counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| ((*name).to_owned(), json!(count)))
        .collect()
}

fn conditions(before: &Value, wanted: &[(&str, bool, &str)], now: &str) -> Value {
    let old = |kind: &str| {
        let all = before["conditions"].as_array().into_iter().flatten();
        all.into_iter().find(|condition| condition["type"] == kind)
    };
    let made = wanted.iter().map(|(kind, holds, reason)| {
        let status = if *holds { "True" } else { "False" };
        let same = old(kind).filter(|condition| condition["status"] == status);
        let since = same.map_or_else(|| json!(now), |condition| condition["lastTransitionTime"].clone());
        let reason = match (*kind, *holds) {
            ("Available", true) => "MinimumReplicasAvailable",
            ("Available", false) => "MinimumReplicasUnavailable",
            ("Progressing", _) => "NewReplicaSetAvailable",
            _ => reason,
        };
        json!({"type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": since,
            "lastUpdateTime": since})
    });
    Value::Array(made.collect())
}

/// A job's pods start at once, run for as long as pods take to become ready, and succeed. A suspended one has none.
fn job(object: &Value, age: Duration, ready_after: Duration, now: &str) -> Step {
    if object["spec"]["suspend"] == true {
        let condition = json!({"type": "Suspended", "status": "True", "reason": "JobSuspended",
            "message": "Job suspended", "lastProbeTime": now, "lastTransitionTime": now});
        return Step { status: json!({"conditions": [condition]}), next: None };
    }
    let wanted = object["spec"]["completions"].as_u64().unwrap_or(1);
    let started = object["status"]["startTime"].as_str().unwrap_or(now);
    let mut status = json!({"startTime": started});
    if age < ready_after {
        let active = object["spec"]["parallelism"].as_u64().unwrap_or(1).min(wanted);
        status["active"] = json!(active);
        return Step { status, next: Some(ready_after - age) };
    }
    status["succeeded"] = json!(wanted);
    status["completionTime"] = json!(object["status"]["completionTime"].as_str().unwrap_or(now));
    let before = &object["status"];
    status["conditions"] = conditions(before, &[("Complete", true, "Completed")], now);
    Step { status, next: None }
}

fn pod(object: &Value, ready: bool, next: Option<Duration>, now: &str) -> Step {
    let containers = object["spec"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let state = |container: &Value| {
        let state = if ready {
            json!({"running": {"startedAt": now}})
        } else {
            json!({"waiting": {"reason": "ContainerCreating"}})
        };
        json!({"name": container["name"], "image": container["image"], "imageID": "", "ready": ready,
            "restartCount": 0, "started": ready, "state": state})
    };
    let wanted = [
        ("Initialized", true, "Initialized"),
        ("Ready", ready, "Containers"),
        ("ContainersReady", ready, "Containers"),
        ("PodScheduled", true, "Scheduled"),
    ];
    let status = json!({
        "phase": if ready { "Running" } else { "Pending" },
        "conditions": conditions(&object["status"], &wanted, now),
        "containerStatuses": containers.iter().map(state).collect::<Vec<_>>(),
        "startTime": object["status"]["startTime"].as_str().unwrap_or(now),
    });
    Step { status, next }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::kinds;

    fn status(kind: &str, object: &Value, age: u64) -> (Value, Option<u64>) {
        let kind = kinds::built_in().iter().find(|known| known.kind == kind).unwrap();
        let seconds = Duration::from_secs;
        let Step { status, next } = step(kind, object, seconds(age), seconds(5), 2, "now");
        (status, next.map(|next| next.as_secs()))
    }

    #[test]
    fn a_deployment_is_seen_at_once_and_ready_after_its_time() {
        let object = json!({"metadata": {"generation": 3}, "spec": {"replicas": 2}});
        let (begun, next) = status("Deployment", &object, 0);
        assert_eq!((&begun["observedGeneration"], &begun["updatedReplicas"]), (&json!(3), &json!(2)));
        assert_eq!((&begun["availableReplicas"], next), (&Value::Null, Some(5)));
        let (done, next) = status("Deployment", &object, 5);
        assert_eq!((&done["availableReplicas"], &done["readyReplicas"], next), (&json!(2), &json!(2), None));
        assert_eq!(done["conditions"][0]["status"], "True");
        let (none, _) = status("Deployment", &json!({"spec": {"replicas": 0}}), 5);
        assert_eq!(none["conditions"][0]["status"], "True", "nothing is as much as was wanted");
    }

    #[test]
    fn other_workloads_come_to_their_end_too() {
        let object =
            json!({"metadata": {"generation": 1}, "spec": {"replicas": 3, "containers": [{"name": "c"}]}});
        assert_eq!(status("StatefulSet", &object, 5).0["readyReplicas"], 3);
        assert_eq!(status("DaemonSet", &object, 5).0["numberAvailable"], 2, "one on each node");
        assert_eq!(status("ReplicaSet", &object, 5).0["availableReplicas"], 3);
        assert_eq!(status("Job", &object, 0).0["active"], 1);
        assert_eq!(status("Job", &object, 5).0["succeeded"], 1);
        let (suspended, next) = status("Job", &json!({"spec": {"suspend": true}}), 5);
        assert_eq!((&suspended["succeeded"], next), (&Value::Null, None));
        assert_eq!(suspended["conditions"][0]["type"], "Suspended");
        assert_eq!(status("Pod", &object, 0).0["phase"], "Pending");
        let (pod, _) = status("Pod", &object, 5);
        assert_eq!((&pod["phase"], &pod["conditions"][1]["status"]), (&json!("Running"), &json!("True")));
    }
}
