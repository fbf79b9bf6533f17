//! Values as text in cells.

use std::collections::BTreeMap;
use std::fmt::Display;

use jiff::Timestamp;
use krake_proto::krake::core::v1::MetricRef;
use krake_proto::krake::kubernetes::v1::ContainerHealth;
use krake_proto::krake::meta::v1::{Reason, ResourceRef};

/// What stands for nothing, as in upstream's client.
pub(crate) const NONE: &str = "None";

/// A time in UTC.
pub(crate) fn time(time: Option<&prost_types::Timestamp>) -> String {
    let time = time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
    time.map_or_else(|| NONE.to_owned(), |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// A line per item.
pub(crate) fn lines<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let lines: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if lines.is_empty() { NONE.to_owned() } else { lines.join("\n") }
}

/// A line `key: value` per entry.
pub(crate) fn entries<V: Display>(map: &BTreeMap<String, V>) -> String {
    lines(map.iter().map(|(key, value)| format!("{key}: {value}")))
}

/// A value that may be absent.
pub(crate) fn optional<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| value.to_string())
}

/// The name of the referred object, with its namespace if that is another one.
pub(crate) fn reference(reference: &ResourceRef, namespace: &str) -> String {
    if reference.namespace == namespace || reference.namespace.is_empty() {
        reference.name.clone()
    } else {
        format!("{}/{}", reference.namespace, reference.name)
    }
}

pub(crate) fn reason(reason: Option<&Reason>) -> String {
    reason.map_or_else(
        || NONE.to_owned(),
        |reason| {
            let code = name(reason.code().as_str_name(), "REASON_CODE_");
            if reason.message.is_empty() { code.to_owned() } else { format!("{code}: {}", reason.message) }
        },
    )
}

/// The name of an enum value without its prefix.
pub(crate) fn name<'a>(name: &'a str, prefix: &str) -> &'a str {
    name.strip_prefix(prefix).unwrap_or(name)
}

pub(crate) fn pods(health: Option<&ContainerHealth>) -> String {
    health.map_or_else(
        || NONE.to_owned(),
        |health| {
            format!(
                "{} active / {} failed / {} succeeded / {} desired",
                health.running_pods, health.failed_pods, health.completed_pods, health.desired_pods
            )
        },
    )
}

pub(crate) fn metrics(metrics: &[MetricRef]) -> String {
    lines(metrics.iter().map(|metric| {
        let scope = if metric.namespaced { "" } else { " (global)" };
        format!("{}: {}{scope}", metric.name, metric.weight)
    }))
}
