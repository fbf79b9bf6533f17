//! Laws of views.

use krake_proto::KINDS;
use krake_proto::krake::kubernetes::v1::{Application, ApplicationSpec, Manifest};
use krake_proto::krake::meta::v1::{Document, document::Content};
use krake_proto::{POOL, Resource};
use prost::Message;
use prost_reflect::{DynamicMessage, MapKey, ReflectMessage, Value};

use super::*;

#[test]
fn the_basic_view_keeps_everything_but_documents() {
    let document = Document { content: Some(Content::Json("{}".into())) };
    let manifest = Manifest { document: Some(document.clone()), name: "web".into(), ..Default::default() };
    let spec = ApplicationSpec { manifest: vec![manifest], backoff: Some(2), ..Default::default() };
    let full = Application { spec: Some(spec), ..Default::default() };
    let descriptor = POOL.get_message_by_name(Application::KIND.message).unwrap();
    let encoded = Bytes::from(full.encode_to_vec());
    let basic = project(encoded.clone(), &descriptor, View::Basic).unwrap();
    let spec = Application::decode(basic).unwrap().spec.unwrap();
    assert_eq!(spec.manifest, [Manifest { name: "web".into(), ..Default::default() }]);
    assert_eq!(spec.backoff, Some(2));
    assert_eq!(project(encoded.clone(), &descriptor, View::Full).unwrap(), encoded);
}

/// Messages in which every field is set, at least in one of them: one for each choice of every oneof. A message that
/// occurs in itself is left empty.
fn populated(message: &MessageDescriptor, within: &mut Vec<String>) -> Vec<DynamicMessage> {
    if within.contains(&message.full_name().to_owned()) {
        return vec![DynamicMessage::new(message.clone())];
    }
    within.push(message.full_name().to_owned());
    let choices = message.oneofs().map(|oneof| oneof.fields().len()).max().unwrap_or(1).max(1);
    let mut made: Vec<DynamicMessage> = Vec::new();
    for choice in 0..choices {
        let is_chosen = |field: &FieldDescriptor| {
            field.containing_oneof().is_none_or(|oneof| {
                let place = oneof.fields().position(|other| other == *field).unwrap_or_default();
                place == choice % oneof.fields().len()
            })
        };
        let fields: Vec<_> = message.fields().filter(is_chosen).collect();
        let values: Vec<_> = fields.iter().map(|field| values(field, within)).collect();
        let count = values.iter().map(Vec::len).max().unwrap_or(1);
        for number in 0..count {
            let mut one = DynamicMessage::new(message.clone());
            for (field, values) in fields.iter().zip(&values) {
                one.set_field(field, values[number % values.len()].clone());
            }
            made.push(one);
        }
    }
    within.pop();
    made
}

fn values(field: &FieldDescriptor, within: &mut Vec<String>) -> Vec<Value> {
    if field.is_map() {
        let Kind::Message(entry) = field.kind() else { unreachable!("a map has entries") };
        let values = values(&entry.map_entry_value_field(), within).into_iter().enumerate();
        let entries = values.map(|(number, value)| (MapKey::String(format!("key{number}")), value));
        return vec![Value::Map(entries.collect())];
    }
    let single = match field.kind() {
        Kind::Message(message) => populated(&message, within).into_iter().map(Value::Message).collect(),
        Kind::String => vec![Value::String("text".into())],
        Kind::Bytes => vec![Value::Bytes(Bytes::from_static(b"bytes"))],
        Kind::Bool => vec![Value::Bool(true)],
        Kind::Double => vec![Value::F64(1.5)],
        Kind::Float => vec![Value::F32(1.5)],
        Kind::Enum(values) => vec![Value::EnumNumber(values.values().last().unwrap().number())],
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => vec![Value::I64(7)],
        Kind::Uint64 | Kind::Fixed64 => vec![Value::U64(7)],
        Kind::Uint32 | Kind::Fixed32 => vec![Value::U32(7)],
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => vec![Value::I32(7)],
    };
    if field.is_list() { vec![Value::List(single)] } else { single }
}

/// Clears documents and secrets by reflection. Returns how many.
fn clear(message: &mut DynamicMessage) -> usize {
    let sensitive = POOL.get_extension_by_name(SENSITIVE).expect("the option is part of the contract");
    let mut cleared = 0;
    for field in message.descriptor().fields() {
        if !message.has_field(&field) {
            continue;
        }
        if is_hidden(&field, Some(&sensitive)) {
            message.clear_field(&field);
            cleared += 1;
            continue;
        }
        match message.get_field_mut(&field) {
            Value::Message(child) => cleared += clear(child),
            Value::List(list) => cleared += list.iter_mut().map(clear_value).sum::<usize>(),
            Value::Map(map) => cleared += map.values_mut().map(clear_value).sum::<usize>(),
            _ => {}
        }
    }
    cleared
}

fn clear_value(value: &mut Value) -> usize {
    value.as_message_mut().map_or(0, clear)
}

#[test]
fn the_basic_view_of_every_kind_is_without_documents_and_secrets_and_keeps_the_rest() {
    let mut hidden = BTreeSet::new();
    for kind in KINDS {
        let descriptor = POOL.get_message_by_name(kind.message).unwrap();
        for mut message in populated(&descriptor, &mut vec![]) {
            let encoded = Bytes::from(message.encode_to_vec());
            let basic = project(encoded, &descriptor, View::Basic).unwrap();
            let shown = DynamicMessage::decode(descriptor.clone(), basic).unwrap();
            if clear(&mut message) > 0 {
                hidden.insert(kind.kind);
            }
            assert_eq!(shown, message, "{}", kind.kind);
        }
    }
    assert!(hidden.is_superset(&BTreeSet::from(["Application", "Cluster", "MetricsProvider"])), "{hidden:?}");
}

#[test]
fn secrets_are_left_out_whatever_they_are_encoded_as() {
    let descriptor = POOL.get_message_by_name("krake.kubernetes.v1.ClusterSpec").unwrap();
    let kubeconfig = descriptor.get_field_by_name("kubeconfig").unwrap().number();
    let mut encoded = wire::delimited(kubeconfig, b"one part");
    encoded.extend([(kubeconfig as u8) << 3, 7]);
    encoded.extend(wire::delimited(4000, b"of a newer peer"));
    let shown = project(encoded.into(), &descriptor, View::Basic).unwrap();
    assert_eq!(shown, wire::delimited(4000, b"of a newer peer"));
}
