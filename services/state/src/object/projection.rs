//! Views: encoded resources without their documents and secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use bytes::Bytes;
use krake_proto::POOL;
use krake_proto::krake::meta::v1::View;
use prost_reflect::{ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor};

use super::wire::{self, Malformed};

const DOCUMENT: &str = "krake.meta.v1.Document";
const SENSITIVE: &str = "krake.meta.v1.sensitive";

/// What the basic view does with the fields of each message; messages that it shows whole are not here.
static HIDING: LazyLock<BTreeMap<String, BTreeMap<u32, Action>>> = LazyLock::new(hiding);

/// What the basic view does with a field.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    /// Leaves it out.
    Drop,
    /// Leaves out fields of the message of this name that it holds.
    Enter(String),
}

/// `message` as `view` shows it.
pub(crate) fn project(
    message: Bytes,
    descriptor: &MessageDescriptor,
    view: View,
) -> Result<Bytes, Malformed> {
    match view {
        View::Basic => match HIDING.get(descriptor.full_name()) {
            Some(actions) => Ok(without(&message, actions)?.into()),
            None => Ok(message),
        },
        View::Full | View::Unspecified => Ok(message),
    }
}

fn without(message: &[u8], actions: &BTreeMap<u32, Action>) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(message.len());
    for field in wire::fields(message) {
        let field = field?;
        match (actions.get(&field.number), field.content()) {
            (Some(Action::Drop), _) => {}
            (Some(Action::Enter(child)), Some(content)) => match HIDING.get(child) {
                Some(actions) => out.extend(wire::delimited(field.number, &without(content, actions)?)),
                None => out.extend_from_slice(field.raw),
            },
            _ => out.extend_from_slice(field.raw),
        }
    }
    Ok(out)
}

/// Whether the basic view leaves this field out: a secret, or documents.
fn is_hidden(field: &FieldDescriptor, sensitive: Option<&ExtensionDescriptor>) -> bool {
    let is_secret =
        sensitive.is_some_and(|sensitive| field.options().get_extension(sensitive).as_bool() == Some(true));
    is_secret || held(field).is_some_and(|child| child.full_name() == DOCUMENT)
}

/// The message that a field holds, as a value if it is a map.
fn held(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(entry) if field.is_map() => match entry.map_entry_value_field().kind() {
            Kind::Message(value) => Some(value),
            _ => None,
        },
        Kind::Message(child) => Some(child),
        _ => None,
    }
}

fn hiding() -> BTreeMap<String, BTreeMap<u32, Action>> {
    let sensitive = POOL.get_extension_by_name(SENSITIVE);
    let ours = || POOL.all_messages().filter(|message| message.package_name().starts_with("krake."));
    // Grows until nothing is added: a message hides something if a message that it holds does. Entries of maps are
    // messages with the fields key and value.
    let mut hiding = BTreeSet::new();
    loop {
        let hides = |message: &MessageDescriptor| {
            message.fields().any(|field| {
                let child = match field.kind() {
                    Kind::Message(child) => Some(child),
                    _ => None,
                };
                is_hidden(&field, sensitive.as_ref())
                    || child.is_some_and(|child| hiding.contains(child.full_name()))
            })
        };
        let found: BTreeSet<String> =
            ours().filter(hides).map(|message| message.full_name().to_owned()).collect();
        if found == hiding {
            break;
        }
        hiding = found;
    }
    let action = |field: FieldDescriptor| {
        if is_hidden(&field, sensitive.as_ref()) {
            return Some((field.number(), Action::Drop));
        }
        match field.kind() {
            Kind::Message(child) if hiding.contains(child.full_name()) => {
                Some((field.number(), Action::Enter(child.full_name().to_owned())))
            }
            _ => None,
        }
    };
    let messages = ours().filter(|message| hiding.contains(message.full_name()));
    messages
        .map(|message| (message.full_name().to_owned(), message.fields().filter_map(action).collect()))
        .collect()
}

#[cfg(test)]
mod tests;
