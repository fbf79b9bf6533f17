//! Update: write masked fields of metadata and spec; a change of spec makes a new generation.

use bytes::Bytes;
use krake_proto::envelope::UpdateRequest;
use krake_proto::krake::meta::v1::Metadata;
use krake_proto::{Kind, POOL};
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor};

use super::create::{admit, one, size};
use super::transact::{Outcome, Write};
use super::{Call, Error, Registry, section_descriptor, what};
use crate::admission;
use crate::cache::Stored;
use crate::derive;
use crate::object::mask;
use crate::object::metadata::{Edit, WRITABLE};
use crate::object::sections::Sections;

impl Registry {
    /// Serves `Update<Kind>`.
    pub(crate) async fn update(
        &self,
        call: &Call,
        kind: &'static Kind,
        request: UpdateRequest,
    ) -> Result<Bytes, Error> {
        let submitted = Sections::parse(&request.object)?;
        let metadata = submitted.decode_metadata()?;
        let name = one("name", &request.name, &metadata.name)?;
        let namespace = one("namespace", &request.namespace, &metadata.namespace)?;
        let paths = request.update_mask.as_ref().map(|mask| mask.paths.clone());
        let paths = paths.filter(|paths| !paths.is_empty());
        let version = metadata.resource_version;
        let decide = |stored: &Stored| self.decide_update(call, stored, &submitted, paths.as_deref());
        if request.validate_only {
            let key = super::checked_key(kind, &namespace, &name)?;
            let stored = self.fetch(&key).await?;
            let stored = stored.ok_or_else(|| Error::NotFound { what: what(kind, &namespace, &name) })?;
            return match decide(&stored)?.outcome {
                Outcome::Put(sections) | Outcome::Erase(sections) => {
                    Ok(sections.encode_at(stored.revision.0))
                }
                Outcome::Keep => Ok(stored.encode()),
            };
        }
        let after = self
            .transact(kind, &namespace, &name, version, |stored| {
                let write = decide(stored)?;
                if request.reject_unchanged && matches!(write.outcome, Outcome::Keep) {
                    return Err(Error::NothingToUpdate);
                }
                Ok(write)
            })
            .await?;
        Ok(after.encode())
    }

    fn decide_update(
        &self,
        call: &Call,
        stored: &Stored,
        submitted: &Sections,
        paths: Option<&[String]>,
    ) -> Result<Write, Error> {
        let kind = stored.kind;
        let (metadata, spec) = masked(kind, &stored.sections, submitted, paths)?;
        let decoded = Metadata::decode(metadata.as_slice())?;
        check_finalizers(stored, &decoded)?;
        let mut violations = admission::metadata::validate(&decoded);
        let spec = admit(kind, &stored.metadata.namespace, &spec).unwrap_or_else(|mut more| {
            violations.append(&mut more);
            Vec::new()
        });
        if !violations.is_empty() {
            return Err(Error::Invalid(violations));
        }
        let old_spec = stored.sections.spec.as_deref().unwrap_or_default();
        let same_spec =
            section_descriptor(kind, "spec").is_none_or(|descriptor| same(&descriptor, old_spec, &spec));
        let same_metadata = same(&metadata_descriptor(), &stored.sections.metadata, &metadata);
        if same_spec && same_metadata {
            return Ok(Outcome::Keep.into());
        }
        let mut edit = Edit::new(&metadata).modified((self.clock)())?.trace_parent(&call.trace_parent)?;
        if !same_spec {
            edit = edit.generation(stored.metadata.generation + 1)?;
        }
        let mut sections =
            Sections { metadata: edit.finish(), spec: Some(spec.into()), ..stored.sections.clone() };
        sections.status = derive::status(kind, &sections)?;
        size(&sections)?;
        if stored.metadata.deleted.is_some() && decoded.finalizers.is_empty() {
            return Ok(Outcome::Erase(sections).into());
        }
        Ok(Outcome::Put(sections).into())
    }
}

/// Metadata and spec after the masked fields of `submitted` are written over `stored`.
fn masked(
    kind: &Kind,
    stored: &Sections,
    submitted: &Sections,
    paths: Option<&[String]>,
) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let mut metadata = stored.metadata.to_vec();
    let mut spec = stored.spec.as_deref().unwrap_or_default().to_vec();
    let new_spec = submitted.spec.as_deref().unwrap_or_default();
    let metadata_fields = metadata_descriptor();
    let spec_fields = section_descriptor(kind, "spec")
        .ok_or_else(|| Error::Internal(format!("{} has no spec", kind.message)))?;
    let Some(paths) = paths else {
        // Without a mask, output-only fields are ignored, so that what was read can be sent back.
        let writable = Edit::new(&submitted.metadata).clear_output()?.finish();
        metadata = mask::merge(&metadata, &writable, &metadata_fields)?;
        return Ok((metadata, mask::merge(&spec, new_spec, &spec_fields)?));
    };
    for path in paths {
        let parts: Vec<&str> = path.split('.').collect();
        match parts.as_slice() {
            ["*"] => {
                for field in WRITABLE {
                    metadata = mask::copy(&metadata, &submitted.metadata, &metadata_fields, &[field])?;
                }
                spec = new_spec.to_vec();
            }
            ["metadata"] => {
                for field in WRITABLE {
                    metadata = mask::copy(&metadata, &submitted.metadata, &metadata_fields, &[field])?;
                }
            }
            ["metadata", field] if WRITABLE.contains(field) => {
                metadata = mask::copy(&metadata, &submitted.metadata, &metadata_fields, &[field])?;
            }
            // Output only: ignored (AIP-203). Name and namespace were compared before.
            ["metadata", field] if metadata_fields.get_field_by_name(field).is_some() => {}
            ["spec"] => spec = new_spec.to_vec(),
            ["spec", deeper @ ..] => spec = mask::copy(&spec, new_spec, &spec_fields, deeper)?,
            ["status", ..] => {
                let text = format!("{path:?}: status is written with Update{}Status", kind.kind);
                return Err(Error::invalid("update_mask", text));
            }
            _ => {
                let text =
                    format!("{path:?} is no field of {}; paths begin with metadata or spec", kind.kind);
                return Err(Error::invalid("update_mask", text));
            }
        }
    }
    Ok((metadata, spec))
}

/// Finalizers are promises: while the object lives they may only be added, while it is deleted only removed.
fn check_finalizers(stored: &Stored, new: &Metadata) -> Result<(), Error> {
    let old = &stored.metadata.finalizers;
    let missing = old.iter().find(|finalizer| !new.finalizers.contains(finalizer));
    let added = new.finalizers.iter().find(|finalizer| !old.contains(finalizer));
    match (stored.metadata.deleted.is_some(), missing, added) {
        (false, Some(missing), _) => Err(Error::FinalizersInUse(format!(
            "metadata.finalizers: {missing:?} can only be removed while a deletion is in progress"
        ))),
        (true, _, Some(added)) => Err(Error::FinalizersInUse(format!(
            "metadata.finalizers: {added:?} cannot be added while a deletion is in progress"
        ))),
        _ => Ok(()),
    }
}

fn metadata_descriptor() -> MessageDescriptor {
    POOL.get_message_by_name("krake.meta.v1.Metadata").expect("part of the contract")
}

/// Whether two encodings mean the same. Bytes alone do not tell: maps have no order.
pub(super) fn same(descriptor: &MessageDescriptor, one: &[u8], other: &[u8]) -> bool {
    if one == other {
        return true;
    }
    let decode = |bytes: &[u8]| DynamicMessage::decode(descriptor.clone(), bytes).ok();
    matches!((decode(one), decode(other)), (Some(one), Some(other)) if one == other)
}
