//! Admission: what may be stored, and what is filled in before it is. The rules of a kind are in `kinds/<kind>.rs`.

mod documents;
pub(crate) mod metadata;
mod outline;

use std::fmt::Display;

use krake_proto::Kind;
use krake_proto::error::{Violation, Violations};
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor, Value};

pub(crate) use documents::{Documents, MAX_DEPTH as MAX_DOCUMENT_DEPTH, value as document_value};
pub(crate) use outline::{Outline, Shape, Text};

use crate::kinds::rules;

/// The largest encoded spec, in bytes.
pub(crate) const MAX_SPEC: usize = 256 * 1024;
/// Maximum size of an object that a caller writes, in bytes.
pub(crate) const MAX_OBJECT: usize = 1024 * 1024;
/// Maximum that the state service itself adds to an object, in bytes: finalizers, the record of a deletion with its
/// reason (at most 4 KB), owner references. So an object of the maximum size can still take copies and be deleted. Both
/// together are below the limit of a transaction, 1.5 MiB.
pub(crate) const MAX_ADDITIONS: usize = 64 * 1024;

/// The violations found so far.
#[derive(Debug, Default)]
pub(crate) struct Findings(pub Violations);

impl Findings {
    /// Adds one.
    pub(crate) fn add(&mut self, field: impl Display, description: impl Display) {
        self.0.add(field, description);
    }

    /// Adds one if `result` is an error.
    pub(crate) fn check<T, E: Display>(&mut self, field: impl Display, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(field, error)).ok()
    }

    /// Refuses a part of the API that is not built yet, if it is used.
    pub(crate) fn not_built(&mut self, field: &str, used: bool) {
        if used {
            self.add(field, "is not supported yet; leave it out");
        }
    }
}

/// Admits a spec of `kind`: documents in their stored form, defaults and outputs filled, everything checked.
/// Fields of a newer peer stay.
pub(crate) fn spec(
    kind: &Kind,
    descriptor: &MessageDescriptor,
    namespace: &str,
    spec: &[u8],
) -> Result<Vec<u8>, Vec<Violation>> {
    spec_within(MAX_SPEC, kind, descriptor, namespace, spec)
}

/// The same with another maximum size of the spec.
pub(crate) fn spec_within(
    limit: usize,
    kind: &Kind,
    descriptor: &MessageDescriptor,
    namespace: &str,
    spec: &[u8],
) -> Result<Vec<u8>, Vec<Violation>> {
    let Some(rules) = rules(kind) else {
        return Err(vec![Violation::new("kind", format!("{} is not supported yet", kind.kind))]);
    };
    size_within(limit, spec)?;
    let mut findings = Findings::default();
    let mut message = DynamicMessage::decode(descriptor.clone(), spec)
        .map_err(|error| vec![Violation::new("spec", error.to_string())])?;
    (rules.unfold)(&mut message);
    let mut documents = Documents::default();
    documents.normalise(&mut message, "spec", &mut findings);
    let defaults = DynamicMessage::decode(descriptor.clone(), (rules.defaults)().as_slice())
        .map_err(|error| vec![Violation::new("spec", error.to_string())])?;
    fill(&mut message, &defaults);
    (rules.complete)(&mut message, &documents);
    let admitted = message.encode_to_vec();
    size_within(limit, &admitted)?;
    (rules.admit)(namespace, &admitted, &documents, &mut findings);
    if findings.0.is_empty() { Ok(admitted) } else { Err(findings.0.into_vec()) }
}

/// Refuses specs that are too large, whatever is in them.
pub(crate) fn spec_size(spec: &[u8]) -> Result<(), Vec<Violation>> {
    size_within(MAX_SPEC, spec)
}

fn size_within(limit: usize, spec: &[u8]) -> Result<(), Vec<Violation>> {
    if spec.len() <= limit {
        return Ok(());
    }
    let text = format!("is {} bytes; at most {limit} are allowed", spec.len());
    Err(vec![Violation::new("spec", text)])
}

/// Gives `message` the populated fields of `defaults` that it lacks, at every level.
fn fill(message: &mut DynamicMessage, defaults: &DynamicMessage) {
    for (field, default) in defaults.fields() {
        match default {
            Value::Message(default) => {
                if let Value::Message(inner) = message.get_field_mut(&field) {
                    fill(inner, default);
                }
            }
            _ if message.has_field(&field) => {}
            _ => message.set_field(&field, default.clone()),
        }
    }
}

#[cfg(test)]
mod tests;
