//! Why the pods of a workload do not start, by what the pods say, or the events of the workload if it has none. Pure.

use serde_json::Value;

use crate::error::shortened;
use crate::failure::Class;
use crate::object::{ObjectKey, field, number, text};

/// Why a container waits, if the reason lies in the manifest: no cluster helps.
const OF_SPEC: [&str; 9] = [
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
];

/// A workload whose pods are not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unready {
    /// The workload.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: String,
    /// Selects its pods, in the form of a query.
    pub selector: String,
}

impl Unready {
    /// The workload, if a live object is one.
    pub(crate) fn of(key: &ObjectKey, object: &Value) -> Option<Self> {
        let is_workload = match key.group() {
            "apps" => matches!(key.kind.as_str(), "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet"),
            "batch" => key.kind == "Job",
            group => group.is_empty() && key.kind == "ReplicationController",
        };
        let selector = selector(field(object, &["spec", "selector"]).filter(|_| is_workload)?)?;
        let uid = text(object, &["metadata", "uid"])?.to_owned();
        Some(Self { key: key.clone(), uid, selector })
    }

    /// Whether a pod is the workload's: it may have a ReplicaSet between.
    fn owns(&self, pod: &Value) -> bool {
        let owners = field(pod, &["metadata", "ownerReferences"]).and_then(Value::as_array);
        owners.into_iter().flatten().any(|owner| {
            let between =
                |name: &str| name.strip_prefix(&self.key.name).is_some_and(|rest| rest.starts_with('-'));
            text(owner, &["uid"]) == Some(&self.uid)
                || self.key.kind == "Deployment"
                    && text(owner, &["kind"]) == Some("ReplicaSet")
                    && text(owner, &["name"]).is_some_and(between)
        })
    }
}

/// The query for a selector; nothing for one that selects everything, or that is not understood.
fn selector(selector: &Value) -> Option<String> {
    let is_plain = selector.get("matchLabels").is_none() && selector.get("matchExpressions").is_none();
    let labels =
        if is_plain { selector.as_object() } else { selector.get("matchLabels").and_then(Value::as_object) };
    let mut terms = Vec::new();
    for (name, value) in labels.into_iter().flatten() {
        terms.push(format!("{name}={}", value.as_str()?));
    }
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    for expression in expressions.into_iter().flatten() {
        let key = text(expression, &["key"])?;
        let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
        let values = values.map(Value::as_str).collect::<Option<Vec<_>>>()?.join(",");
        terms.push(match text(expression, &["operator"])? {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return None,
        });
    }
    (!terms.is_empty()).then(|| terms.join(","))
}

/// Why pods do not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// For people.
    pub text: String,
    /// Where the reason lies, if that is known.
    pub class: Option<Class>,
}

impl Cause {
    /// A cause in words that come from a cluster, names included: cut in the middle if they are long.
    fn of(text: &str, class: Class) -> Self {
        Self { text: shortened(text), class: Some(class) }
    }
}

/// What pods say, of which some may be another workload's: the cause that no other cluster removes comes first.
pub(crate) fn cause<'a>(workload: &Unready, pods: impl IntoIterator<Item = &'a Value>) -> Option<Cause> {
    let own = pods.into_iter().filter(|pod| workload.owns(pod));
    let causes = own.filter_map(|pod| {
        let Cause { text: why, class } = trouble(pod)?;
        let name = text(pod, &["metadata", "name"]).unwrap_or_default();
        Some(Cause { text: shortened(&format!("Pod {name}: {why}")), class })
    });
    let mut causes: Vec<_> = causes.collect();
    causes.sort_by(|one, other| {
        let rank = |cause: &Cause| cause.class != Some(Class::OfSpec);
        (rank(one), &one.text).cmp(&(rank(other), &other.text))
    });
    causes.into_iter().next()
}

/// Whether one of the pods is the workload's.
pub(crate) fn has_pods<'a>(workload: &Unready, pods: impl IntoIterator<Item = &'a Value>) -> bool {
    pods.into_iter().any(|pod| workload.owns(pod))
}

/// What the latest of a workload's warnings says: why no pod could be made.
pub(crate) fn warning<'a>(events: impl IntoIterator<Item = &'a Value>) -> Option<Cause> {
    let time = |event: &Value| {
        let times = [["series", "lastObservedTime"].as_slice(), &["lastTimestamp"], &["eventTime"]];
        times.into_iter().find_map(|path| text(event, path)).unwrap_or_default().to_owned()
    };
    let latest = events.into_iter().max_by_key(|event| time(event))?;
    let (reason, message) = (text(latest, &["reason"])?, text(latest, &["message"]).unwrap_or_default());
    Some(Cause::of(&format!("{reason}: {message}"), Class::OfCluster))
}

/// Why a pod does not become ready, if it says so.
pub(crate) fn trouble(pod: &Value) -> Option<Cause> {
    let containers = ["initContainerStatuses", "containerStatuses"]
        .into_iter()
        .filter_map(|name| field(pod, &["status", name])?.as_array())
        .flatten();
    let mut waiting = containers.filter_map(|container| {
        let reason = text(container, &["state", "waiting", "reason"])?;
        OF_SPEC.contains(&reason).then(|| waits(container, reason))
    });
    if let Some(text) = waiting.next() {
        return Some(Cause::of(&text, Class::OfSpec));
    }
    let conditions = field(pod, &["status", "conditions"]).and_then(Value::as_array);
    let mut unscheduled = conditions.into_iter().flatten().filter(|condition| {
        text(condition, &["type"]) == Some("PodScheduled") && text(condition, &["status"]) == Some("False")
    });
    let condition = unscheduled.next()?;
    let part = |name| text(condition, &[name]).unwrap_or_default();
    Some(Cause::of(&format!("{}: {}", part("reason"), part("message")), Class::OfCluster))
}

/// What a container waits for. That of a crash counts the seconds until its next start, and says nothing else.
fn waits(container: &Value, reason: &str) -> String {
    let name = text(container, &["name"]).unwrap_or_default();
    if reason != "CrashLoopBackOff" {
        let message = text(container, &["state", "waiting", "message"]).unwrap_or_default();
        let text = format!("container {name} waits: {reason}: {message}");
        return text.trim_end_matches([' ', ':']).to_owned();
    }
    let ended = ["lastState", "terminated"];
    let why = field(container, &ended).and_then(|ended| text(ended, &["reason"])).unwrap_or("Error");
    match field(container, &ended).and_then(|ended| number(ended, &["exitCode"])) {
        Some(code) => format!("container {name} crashes: {reason}: it ended with {why}, exit code {code}"),
        None => format!("container {name} crashes: {reason}"),
    }
}

#[cfg(test)]
mod tests;
