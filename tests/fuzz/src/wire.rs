//! Encoded objects: what passes the check of requests is split, joined, merged, copied, admitted and shown.
//!
//! An input is one byte for the kind, two for the length of the first object, and two encoded objects.

use bytes::Bytes;
use krake_proto::wire::check::check;
use krake_proto::{KINDS, Kind, POOL, json, wire};
use krake_state::fuzz::{self, Sections};
use prost::Message;
use prost_reflect::{DynamicMessage, Kind as FieldKind, MessageDescriptor};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::Value;

use crate::{message, pick, shown};

/// Specs that are admitted, by kind.
const SPECS: [(&str, &str); 9] = [
    (
        "Role",
        r#"{"rules": [{"api": "kubernetes", "resources": ["applications"], "namespaces": ["n"], "verbs": ["get", "list"]}]}"#,
    ),
    ("RoleBinding", r#"{"users": ["alice"], "roles": ["r"]}"#),
    (
        "Application",
        r#"{"manifest": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}]}"#,
    ),
    (
        "Application",
        r#"{"manifest": [{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "n"}, "spec": {"replicas": 1}}],
            "constraints": {"cluster": {"labels": ["zone is a", "tier in (x, y)"], "metrics": ["load < 5"]}, "migration": true}}"#,
    ),
    (
        "Cluster",
        r#"{"kubeconfig": {"clusters": [{"name": "c", "cluster": {"server": "https://c:6443"}}], "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]}, "metrics": [{"name": "load", "weight": 1.5}]}"#,
    ),
    ("Metric", r#"{"min": 0, "max": 5, "provider": {"name": "p", "metric": "m"}}"#),
    ("Metric", r#"{"min": -1e300, "max": 1e300, "provider": {"name": "p", "metric": "m"}}"#),
    ("MetricsProvider", r#"{"type": "static", "static": {"metrics": {"load": 1.5, "": -0.0}}}"#),
    ("MetricsProvider", r#"{"type": "prometheus", "prometheus": {"url": "http://p:9090"}}"#),
];

/// See the module.
pub fn target(data: &[u8]) {
    let Some((&[kind, high, low], objects)) = data.split_first_chunk() else { return };
    let kind = KINDS[usize::from(kind) % KINDS.len()];
    let descriptor = POOL.get_message_by_name(kind.message).unwrap();
    let length = usize::from(u16::from_be_bytes([high, low])).min(objects.len());
    let (first, second) = objects.split_at(length);
    for object in [first, second] {
        any_bytes(&descriptor, object);
    }
    let is_checked = |object: &[u8]| check(&descriptor, object).is_ok();
    for object in [first, second].into_iter().filter(|object| is_checked(object)) {
        whole(kind, &descriptor, object);
    }
    if is_checked(first) && is_checked(second) {
        both(&descriptor, first, second);
    }
}

/// Laws of bytes that may be anything.
fn any_bytes(descriptor: &MessageDescriptor, object: &[u8]) {
    let found: Result<Vec<_>, _> = wire::fields(object).collect();
    if let Ok(found) = &found {
        assert_eq!(found.iter().map(|field| field.raw).collect::<Vec<_>>().concat(), object);
    }
    let bytes = Bytes::copy_from_slice(object);
    if let Ok(sections) = Sections::parse(&bytes) {
        let (joined, length) = sections.encode();
        assert_eq!(joined.len(), length);
        assert_eq!(Sections::parse(&joined).as_ref(), Ok(&sections));
    }
    let name = descriptor.full_name();
    assert_eq!(fuzz::stored(name, &fuzz::store(name, object)).as_ref(), Some(&bytes));
    // Whatever it is, it is a value of ours or not.
    let _ = fuzz::stored(name, &bytes);
}

/// Laws of one object that passed the check.
fn whole(kind: &Kind, descriptor: &MessageDescriptor, object: &[u8]) {
    let before = shown(descriptor, object);
    DynamicMessage::decode(descriptor.clone(), object).unwrap();
    let bytes = Bytes::copy_from_slice(object);
    let sections = match Sections::parse(&bytes) {
        Ok(sections) => sections,
        // The number of the status is kept free in kinds without one: what is no message there is refused.
        Err(error) => {
            assert!(descriptor.get_field_by_name("status").is_none(), "{error}");
            return;
        }
    };
    let mut joined = shown(descriptor, &sections.encode().0);
    let mut expected = before.clone();
    if before["metadata"].is_null() {
        // The stored form always has metadata.
        joined["metadata"].take();
        expected["metadata"].take();
    }
    assert_eq!(joined, expected);
    let at = shown(descriptor, &sections.encode_at(42));
    assert_eq!(at["metadata"]["resource_version"], 42);
    let basic = fuzz::basic_view(bytes, descriptor).unwrap();
    assert_eq!(check(descriptor, &basic), Ok(()), "the basic view");
    shown(descriptor, &basic);
    assert_eq!(
        shown(descriptor, &fuzz::merge(object, object, descriptor).unwrap()),
        before,
        "merged with itself"
    );
    assert_eq!(fuzz::merge(object, &[], descriptor).unwrap(), object);
    if let (Some(spec), Some(FieldKind::Message(of_spec))) =
        (sections.spec(), descriptor.get_field_by_name("spec").map(|field| field.kind()))
    {
        admission(kind, &of_spec, spec);
    }
}

/// What is admitted can be shown, and is admitted again as it is.
fn admission(kind: &Kind, descriptor: &MessageDescriptor, spec: &[u8]) {
    match fuzz::admit(kind, descriptor, spec) {
        Ok(admitted) => {
            let before = shown(descriptor, &admitted);
            let again = fuzz::admit(kind, descriptor, &admitted);
            assert_eq!(again.map(|again| shown(descriptor, &again)), Ok(before));
        }
        Err(violations) => assert!(!violations.is_empty()),
    }
}

/// Laws of updates of the first object by the second.
fn both(descriptor: &MessageDescriptor, target: &[u8], source: &[u8]) {
    let merged = fuzz::merge(target, source, descriptor).unwrap();
    assert_eq!(check(descriptor, &merged), Ok(()), "merged");
    let again = fuzz::merge(&merged, source, descriptor).unwrap();
    assert_eq!(shown(descriptor, &again), shown(descriptor, &merged), "merging twice is merging once");
    let (before, wanted) = (shown(descriptor, target), shown(descriptor, source));
    // A flat kind shows the fields of its spec beside the metadata.
    let is_flat = KINDS.iter().any(|kind| kind.flat && kind.message == descriptor.full_name());
    let section_of = |shown: &str| match shown {
        "api" | "kind" | "metadata" | "status" => shown.to_owned(),
        _ if is_flat => "spec".to_owned(),
        _ => shown.to_owned(),
    };
    for path in paths(descriptor) {
        let names: Vec<&str> = path.split('.').collect();
        let written = fuzz::copy(target, source, descriptor, &names).unwrap();
        assert_eq!(check(descriptor, &written), Ok(()), "{path}");
        let written = shown(descriptor, &written);
        for (section, value) in written.as_object().unwrap() {
            // The name of a kind depends on the namespace.
            if section_of(section) != names[0] && section != "kind" {
                assert_eq!(value, &before[section], "{path} changed {section}");
            }
        }
        let at = format!("/{}", names.join("/"));
        // A section that neither has is not made for a field.
        if names.len() == 1 || !written[names[0]].is_null() {
            let absent = Value::Null;
            let (written, wanted) = (written.pointer(&at), wanted.pointer(&at));
            if wanted.is_some() {
                assert_eq!(written.unwrap_or(&absent), wanted.unwrap_or(&absent), "{path}");
            }
        }
    }
}

/// The paths of the sections and of their fields.
fn paths(descriptor: &MessageDescriptor) -> Vec<String> {
    let mut paths = Vec::new();
    for section in descriptor.fields() {
        paths.push(section.name().to_owned());
        if let FieldKind::Message(inner) = section.kind() {
            paths.extend(inner.fields().map(|field| format!("{}.{}", section.name(), field.name())));
        }
    }
    paths
}

/// See [`crate::Target::case`].
pub fn case(random: &mut StdRng) -> Vec<u8> {
    let kind = random.random_range(0..KINDS.len());
    let descriptor = POOL.get_message_by_name(KINDS[kind].message).unwrap();
    let mut one = || match random.random() {
        true => message::message(&descriptor, random),
        false => admissible(&descriptor, random),
    };
    let (first, second) = (one(), one());
    let mut case = vec![u8::try_from(kind).unwrap()];
    case.extend(u16::try_from(first.len()).unwrap_or(u16::MAX).to_be_bytes());
    [case, first, second].concat()
}

/// An object that may be admitted, perhaps with a field of its spec changed.
fn admissible(descriptor: &MessageDescriptor, random: &mut StdRng) -> Vec<u8> {
    let Some(FieldKind::Message(of_spec)) = descriptor.get_field_by_name("spec").map(|field| field.kind())
    else {
        return Vec::new();
    };
    let specs = SPECS.iter().filter(|(kind, _)| descriptor.name() == *kind);
    let specs: Vec<&str> = specs.map(|(_, spec)| *spec).collect();
    let mut spec = match specs.as_slice() {
        [] => Vec::new(),
        specs => {
            let value = json::parse(&of_spec, pick(random, specs).as_bytes()).unwrap();
            json::read_parsed(&of_spec, &value, json::Unknown::Refuse).unwrap().encode_to_vec()
        }
    };
    if random.random() {
        spec.extend(message::message(&of_spec, random));
    }
    wire::delimited(2, &spec)
}

/// The JSON form of a random object of a kind.
pub(crate) fn json_case(descriptor: &MessageDescriptor, random: &mut StdRng) -> Value {
    let encoded = message::message(descriptor, random);
    shown(descriptor, &encoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn most_generated_messages_pass_the_check_and_specs_of_each_kind_are_admitted() {
        let mut random = StdRng::seed_from_u64(0);
        for kind in KINDS {
            let descriptor = POOL.get_message_by_name(kind.message).unwrap();
            let Some(FieldKind::Message(spec)) =
                descriptor.get_field_by_name("spec").map(|field| field.kind())
            else {
                panic!("{} has no spec", kind.kind)
            };
            let (mut checked, mut admitted) = (0, 0);
            for _ in 0..1_000 {
                checked += i32::from(check(&descriptor, &message::message(&descriptor, &mut random)).is_ok());
                let object = Bytes::from(admissible(&descriptor, &mut random));
                let sections = Sections::parse(&object).unwrap();
                admitted += i32::from(fuzz::admit(kind, &spec, sections.spec().unwrap()).is_ok());
            }
            assert!(checked > 500 && admitted > 100, "{}: {checked} checked, {admitted} admitted", kind.kind);
        }
    }
}
