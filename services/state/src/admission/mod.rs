//! Admission: what may be stored, and what is filled in before it is. A kind adds its rules here and nothing elsewhere.

mod application;
mod cluster;
mod documents;
mod kubeconfig;
pub(crate) mod metadata;
mod metric;
mod metrics_provider;
mod outline;

use krake_proto::error::Violation;
use krake_proto::krake::core::v1::{Metric, MetricsProvider};
use krake_proto::krake::kubernetes::v1::{Application, Cluster};
use krake_proto::{Kind, Resource};
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor, Value};

use documents::Documents;

/// The largest encoded spec, in bytes.
pub(crate) const MAX_SPEC: usize = 256 * 1024;
/// The largest stored object, in bytes.
pub(crate) const MAX_OBJECT: usize = 1024 * 1024;

/// The violations found so far.
#[derive(Debug, Default)]
pub(crate) struct Findings(pub Vec<Violation>);

impl Findings {
    /// Adds one.
    fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.0.push(Violation::new(field, description));
    }

    /// Adds one if `result` is an error.
    fn check<T, E: std::fmt::Display>(
        &mut self,
        field: impl Into<String>,
        result: Result<T, E>,
    ) -> Option<T> {
        result.map_err(|error| self.add(field, error.to_string())).ok()
    }

    /// Refuses a part of the API that is not built yet, if it is used.
    fn not_built(&mut self, field: &str, used: bool) {
        if used {
            self.add(field, "is not supported yet; leave it out");
        }
    }
}

/// The rules of one kind.
struct Rules {
    /// An encoded spec with the defaults of fields that the caller left out.
    defaults: fn() -> Vec<u8>,
    /// Fills output fields inside the spec.
    complete: fn(&mut DynamicMessage, &Documents),
    /// Checks the whole spec; the object's namespace decides what it may refer to.
    validate: fn(namespace: &str, spec: &[u8], &Documents, &mut Findings),
}

fn rules(kind: &Kind) -> Option<Rules> {
    let none: fn(&mut DynamicMessage, &Documents) = |_, _| {};
    let message = kind.message;
    if message == Application::KIND.message {
        Some(Rules {
            defaults: || application::defaults().encode_to_vec(),
            complete: application::complete,
            validate: |_, spec, documents, findings| {
                typed(spec, findings, |spec, findings| application::validate(spec, documents, findings));
            },
        })
    } else if message == Cluster::KIND.message {
        Some(Rules {
            defaults: || cluster::defaults().encode_to_vec(),
            complete: none,
            validate: |_, spec, _, findings| typed(spec, findings, cluster::validate),
        })
    } else if message == Metric::KIND.message {
        Some(Rules {
            defaults: Vec::new,
            complete: none,
            validate: |_, spec, _, f| typed(spec, f, metric::validate),
        })
    } else if message == MetricsProvider::KIND.message {
        Some(Rules {
            defaults: Vec::new,
            complete: none,
            validate: |_, spec, _, findings| typed(spec, findings, metrics_provider::validate),
        })
    } else {
        None
    }
}

fn typed<S: Message + Default>(
    spec: &[u8],
    findings: &mut Findings,
    validate: impl FnOnce(&S, &mut Findings),
) {
    if let Some(spec) = findings.check("spec", S::decode(spec)) {
        validate(&spec, findings);
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
    let Some(rules) = rules(kind) else {
        return Err(vec![Violation::new("kind", format!("{} is not supported yet", kind.kind))]);
    };
    spec_size(spec)?;
    let mut findings = Findings::default();
    let mut message = DynamicMessage::decode(descriptor.clone(), spec)
        .map_err(|error| vec![Violation::new("spec", error.to_string())])?;
    let mut documents = Documents::default();
    documents.normalise(&mut message, "spec", &mut findings);
    let defaults = DynamicMessage::decode(descriptor.clone(), (rules.defaults)().as_slice())
        .map_err(|error| vec![Violation::new("spec", error.to_string())])?;
    fill(&mut message, &defaults);
    (rules.complete)(&mut message, &documents);
    let admitted = message.encode_to_vec();
    spec_size(&admitted)?;
    (rules.validate)(namespace, &admitted, &documents, &mut findings);
    if findings.0.is_empty() { Ok(admitted) } else { Err(findings.0) }
}

/// Refuses specs that are too large, whatever is in them.
pub(crate) fn spec_size(spec: &[u8]) -> Result<(), Vec<Violation>> {
    if spec.len() <= MAX_SPEC {
        return Ok(());
    }
    let text = format!("is {} bytes; at most {MAX_SPEC} are allowed", spec.len());
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
