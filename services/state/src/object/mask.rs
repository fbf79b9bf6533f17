//! Field masks (AIP-134, AIP-161) on encoded messages: which fields of a request go into the stored message.

use std::collections::{BTreeMap, BTreeSet};

use krake_proto::error::Violation;
use prost_reflect::{Kind, MessageDescriptor};

use super::wire::{self, Malformed};

/// Messages that are written as a whole: their fields are not settings of their own.
const ATOMIC: [&str; 5] = [
    "krake.meta.v1.Document",
    "google.protobuf.Struct",
    "google.protobuf.Value",
    "google.protobuf.Timestamp",
    "google.protobuf.Duration",
];

/// Why a mask could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    /// A path names no field.
    #[error("{0}")]
    Path(Violation),
    /// The request is not a valid message.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// The child message that `field` holds, if a path may go into it.
fn child(descriptor: &MessageDescriptor, number: u32) -> Option<MessageDescriptor> {
    let field = descriptor.get_field(number)?;
    match field.kind() {
        Kind::Message(message)
            if !field.is_list() && !field.is_map() && !ATOMIC.contains(&message.full_name()) =>
        {
            Some(message)
        }
        _ => None,
    }
}

/// `field` and the other members of its oneof: writing one clears the others.
fn group(descriptor: &MessageDescriptor, number: u32) -> Vec<u32> {
    let oneof = descriptor.get_field(number).and_then(|field| field.containing_oneof());
    match oneof {
        Some(oneof) => oneof.fields().map(|field| field.number()).collect(),
        None => vec![number],
    }
}

/// The occurrences of a field, without those that a later member of its oneof replaces.
fn effective(message: &[u8], descriptor: &MessageDescriptor, number: u32) -> Result<Vec<u8>, Malformed> {
    let group = group(descriptor, number);
    let mut found = Vec::new();
    for field in wire::fields(message) {
        let field = field?;
        if field.number == number {
            found.extend_from_slice(field.raw);
        } else if group.contains(&field.number) {
            found.clear();
        }
    }
    Ok(found)
}

/// `target` with the field at `path` taken from `source`; a field that `source` lacks is cleared.
pub(crate) fn copy(
    target: &[u8],
    source: &[u8],
    descriptor: &MessageDescriptor,
    path: &[&str],
) -> Result<Vec<u8>, MaskError> {
    let unknown = |name: &str| {
        MaskError::Path(Violation::new(
            "update_mask",
            format!("{} has no field {name:?}", descriptor.full_name()),
        ))
    };
    let (&name, deeper) = path
        .split_first()
        .ok_or_else(|| MaskError::Path(Violation::new("update_mask", "a path is empty")))?;
    let field = descriptor.get_field_by_name(name).ok_or_else(|| unknown(name))?;
    let number = field.number();
    if deeper.is_empty() {
        let with = effective(source, descriptor, number)?;
        let is_written = !with.is_empty() || !effective(target, descriptor, number)?.is_empty();
        // With the member in force goes what it replaced, or that would be in force again.
        let cleared = if is_written { group(descriptor, number) } else { vec![number] };
        return Ok(wire::overwrite(target, &cleared, &with)?);
    }
    let message = child(descriptor, number).ok_or_else(|| {
        let text = format!("{name:?} is written as a whole; name it without {:?}", deeper.join("."));
        MaskError::Path(Violation::new("update_mask", text))
    })?;
    let content = |message| wire::singular(&effective(message, descriptor, number)?, number);
    let (before, after) = (content(target)?, content(source)?);
    let nowhere = before.is_none() && after.is_none();
    let inner = copy(&before.unwrap_or_default(), &after.unwrap_or_default(), &message, deeper)?;
    if nowhere {
        // Clearing what is not there makes no empty message around it.
        return Ok(target.to_vec());
    }
    Ok(wire::overwrite(target, &group(descriptor, number), &wire::delimited(number, &inner))?)
}

/// `target` with every populated field of `source`: what an update without a mask means. Messages are merged, lists and
/// maps replaced.
pub(crate) fn merge(
    target: &[u8],
    source: &[u8],
    descriptor: &MessageDescriptor,
) -> Result<Vec<u8>, Malformed> {
    // One pass over each side: the number of fields is the caller's choice.
    let mut written: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    for field in wire::fields(source) {
        let field = field?;
        for other in group(descriptor, field.number).into_iter().filter(|other| *other != field.number) {
            written.remove(&other);
        }
        let part = written.entry(field.number).or_default();
        match (child(descriptor, field.number), field.content()) {
            (None, _) => part.extend_from_slice(field.raw),
            (Some(_), Some(content)) => part.extend_from_slice(content),
            (Some(_), None) => {
                return Err(Malformed::new(format!("field {} is not a message", field.number)));
            }
        }
    }
    let replaced: BTreeSet<u32> = written.keys().flat_map(|number| group(descriptor, *number)).collect();
    let mut before: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut merged = Vec::with_capacity(target.len() + source.len());
    for field in wire::fields(target) {
        let field = field?;
        if !replaced.contains(&field.number) {
            merged.extend_from_slice(field.raw);
            continue;
        }
        for other in group(descriptor, field.number).into_iter().filter(|other| *other != field.number) {
            before.remove(&other);
        }
        if let Some(content) = field.content() {
            before.entry(field.number).or_default().extend_from_slice(content);
        }
    }
    for (number, part) in written {
        match child(descriptor, number) {
            Some(message) => {
                let before = before.remove(&number).unwrap_or_default();
                merged.extend(wire::delimited(number, &merge(&before, &part, &message)?));
            }
            None => merged.extend(part),
        }
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use krake_proto::POOL;
    use krake_proto::krake::core::v1::{
        KafkaProvider, MetricsProviderSpec, StaticProvider, metrics_provider_spec::Type,
    };
    use krake_proto::krake::kubernetes::v1::{ApplicationSpec, ClusterConstraints, Constraints};
    use prost::{Message, Name};

    fn spec(labels: &[&str], migration: Option<bool>, backoff: Option<i32>) -> ApplicationSpec {
        let cluster = ClusterConstraints {
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            ..Default::default()
        };
        ApplicationSpec {
            constraints: Some(Constraints { cluster: Some(cluster), migration }),
            backoff,
            ..Default::default()
        }
    }

    fn application_spec() -> MessageDescriptor {
        POOL.get_message_by_name(&ApplicationSpec::full_name()).unwrap()
    }

    fn copied(target: &ApplicationSpec, source: &ApplicationSpec, path: &str) -> ApplicationSpec {
        let path: Vec<&str> = path.split('.').collect();
        let bytes =
            copy(&target.encode_to_vec(), &source.encode_to_vec(), &application_spec(), &path).unwrap();
        ApplicationSpec::decode(bytes.as_slice()).unwrap()
    }

    #[test]
    fn a_path_writes_its_field_alone() {
        let old = spec(&["a is b"], Some(true), Some(1));
        let new = spec(&["c is d"], Some(false), None);
        assert_eq!(copied(&old, &new, "constraints.migration"), spec(&["a is b"], Some(false), Some(1)));
        assert_eq!(copied(&old, &new, "constraints.cluster.labels"), spec(&["c is d"], Some(true), Some(1)));
        assert_eq!(copied(&old, &new, "constraints"), spec(&["c is d"], Some(false), Some(1)));
        assert_eq!(copied(&old, &new, "backoff"), spec(&["a is b"], Some(true), None), "absent clears");
    }

    #[test]
    fn a_wrong_path_is_named() {
        let message = |path: &[&str]| copy(&[], &[], &application_spec(), path).unwrap_err().to_string();
        assert!(message(&["constraint"]).contains("no field \"constraint\""));
        assert!(message(&["tosca", "json"]).contains("as a whole"));
        assert!(message(&[]).contains("empty"));
    }

    #[test]
    fn without_a_mask_populated_fields_are_written_and_lists_replaced() {
        let old = spec(&["a is b", "e is f"], Some(true), Some(1));
        let new = spec(&["c is d"], None, Some(2));
        let bytes = merge(&old.encode_to_vec(), &new.encode_to_vec(), &application_spec()).unwrap();
        let merged = ApplicationSpec::decode(bytes.as_slice()).unwrap();
        assert_eq!(merged, spec(&["c is d"], Some(true), Some(2)));
    }

    #[test]
    fn clearing_what_is_not_there_changes_nothing() {
        let empty = ApplicationSpec::default();
        assert_eq!(copied(&empty, &empty, "placement.min_clusters"), empty, "no empty placement");
        let fixed = Type::Static(StaticProvider { metrics: [("m".to_owned(), 1.0)].into() });
        let spec = MetricsProviderSpec { r#type: Some(fixed) }.encode_to_vec();
        let descriptor = POOL.get_message_by_name(&MetricsProviderSpec::full_name()).unwrap();
        for path in [&["kafka"][..], &["kafka", "url"][..]] {
            assert_eq!(copy(&spec, &[], &descriptor, path).unwrap(), spec, "{path:?}");
        }
    }

    #[test]
    fn what_a_later_member_of_a_oneof_replaced_is_not_there() {
        let descriptor = POOL.get_message_by_name(&MetricsProviderSpec::full_name()).unwrap();
        let kafka = |url: &str| {
            let kafka = KafkaProvider { url: url.into(), table: url.into(), ..Default::default() };
            MetricsProviderSpec { r#type: Some(Type::Kafka(kafka)) }.encode_to_vec()
        };
        let fixed =
            MetricsProviderSpec { r#type: Some(Type::Static(StaticProvider::default())) }.encode_to_vec();
        let decoded = |bytes: Vec<u8>| MetricsProviderSpec::decode(bytes.as_slice()).unwrap();
        // Kafka, then static in its place, then Kafka again with an empty message.
        let again = [kafka("old"), fixed.clone(), kafka("")].concat();
        assert_eq!(decoded(merge(&again, &again, &descriptor).unwrap()), decoded(again.clone()));
        let written = copy(&again, &kafka("new"), &descriptor, &["kafka", "url"]).unwrap();
        let Some(Type::Kafka(written)) = decoded(written).r#type else { panic!("not Kafka") };
        assert_eq!((written.url.as_str(), written.table.as_str()), ("new", ""));
        // Cleared, and taken from a source that has it no longer: nothing comes back.
        let replaced = [kafka("old"), fixed].concat();
        assert_eq!(decoded(copy(&replaced, &[], &descriptor, &["static"]).unwrap()).r#type, None);
        assert_eq!(decoded(copy(&[], &replaced, &descriptor, &["kafka"]).unwrap()).r#type, None);
    }

    #[test]
    fn any_number_of_unknown_fields_is_merged_in_one_pass() {
        let unknown = |number| wire::delimited(number, &[]);
        let source: Vec<u8> = (1_000..60_000).flat_map(unknown).collect();
        let merged = merge(&source, &source, &application_spec()).unwrap();
        assert_eq!(merged, source);
    }

    #[test]
    fn writing_one_member_of_a_oneof_clears_the_others() {
        let kafka = Type::Kafka(KafkaProvider { url: "http://k".into(), ..Default::default() });
        let fixed = Type::Static(StaticProvider { metrics: [("m".to_owned(), 1.0)].into() });
        let old = MetricsProviderSpec { r#type: Some(kafka) }.encode_to_vec();
        let new = MetricsProviderSpec { r#type: Some(fixed.clone()) }.encode_to_vec();
        let descriptor = POOL.get_message_by_name(&MetricsProviderSpec::full_name()).unwrap();
        for bytes in
            [merge(&old, &new, &descriptor).unwrap(), copy(&old, &new, &descriptor, &["static"]).unwrap()]
        {
            let written = MetricsProviderSpec::decode(bytes.as_slice()).unwrap();
            assert_eq!(written.r#type, Some(fixed.clone()));
            assert!(krake_proto::wire::occurrences(&bytes, 2).unwrap().is_empty());
        }
    }
}
