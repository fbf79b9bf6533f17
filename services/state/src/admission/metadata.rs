//! Rules for what callers may write into metadata.

use krake_proto::error::{MAX_FIELD, Violation, shortened};
use krake_proto::krake::meta::v1::{Metadata, OwnerReference};
use krake_proto::name;

use super::Findings;

/// The most entries of labels, annotations, finalizers and owners, each.
const MAX_ENTRIES: usize = 256;
/// The most bytes of all annotations together (Kubernetes' limit).
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// Checks labels, annotations, finalizers and owners. Names are checked with the object's key. Owners that are
/// `present` already may stay in other namespaces: bindings write such references, and callers send back what they read.
pub(crate) fn validate(metadata: &Metadata, present: &[OwnerReference]) -> Vec<Violation> {
    let mut findings = Findings::default();
    for (key, value) in &metadata.labels {
        let shown = shortened(key, MAX_FIELD);
        let field = format!("metadata.labels[{shown:?}]");
        findings.check(field.as_str(), name::label_key(key));
        findings.check(field.as_str(), name::label_value(value));
    }
    let counts = [
        ("labels", metadata.labels.len()),
        ("annotations", metadata.annotations.len()),
        ("finalizers", metadata.finalizers.len()),
        ("owners", metadata.owners.len()),
    ];
    for (field, count) in counts {
        if count > MAX_ENTRIES {
            findings.add(
                format!("metadata.{field}"),
                format!("has {count} entries; at most {MAX_ENTRIES} are allowed"),
            );
        }
    }
    let annotations: usize = metadata.annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if annotations > MAX_ANNOTATIONS {
        let text = format!("hold {annotations} bytes; at most {MAX_ANNOTATIONS} are allowed");
        findings.add("metadata.annotations", text);
    }
    for (index, finalizer) in metadata.finalizers.iter().enumerate() {
        findings.check(format!("metadata.finalizers[{index}]"), name::resource_name(finalizer));
    }
    for (index, owner) in metadata.owners.iter().enumerate() {
        let field = format!("metadata.owners[{index}]");
        if krake_proto::kind(&owner.api, &owner.kind).is_none() {
            findings.add(
                format!("{field}.kind"),
                format!("there is no kind {:?} in API group {:?}", owner.kind, owner.api),
            );
        }
        findings.check(format!("{field}.name"), name::resource_name(&owner.name));
        if !owner.namespace.is_empty() {
            findings.check(format!("{field}.namespace"), name::resource_name(&owner.namespace));
        }
        let reaches_over = !owner.namespace.is_empty() && owner.namespace != metadata.namespace;
        if reaches_over && !present.contains(owner) {
            // Such a dependent would hold up the deletion of an object that its own users may not touch.
            let text =
                "is another namespace than the resource's; an owner is global or has the same namespace";
            findings.add(format!("{field}.namespace"), text);
        }
    }
    findings.0.into_vec()
}
