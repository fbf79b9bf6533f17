//! Update: write masked fields of metadata and spec; a change of spec makes a new generation.

use bytes::Bytes;
use krake_proto::envelope::UpdateRequest;
use krake_proto::error::Violation;
use krake_proto::krake::meta::v1::Metadata;
use krake_proto::{Kind, POOL};
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use prost_types::FieldMask;

use super::create::{admit, check_growth, one};
use super::finalizers;
use super::transact::{Effect, Write, check_uid, check_version};
use super::{Call, Error, Registry, large, section_descriptor, what};
use crate::admission;
use crate::cache::Stored;
use crate::derive;
use crate::object::mask;
use crate::object::metadata::{Edit, WRITABLE};
use crate::object::sections::Sections;

/// Maximum number of paths of a mask: several times the fields of any kind.
const MAX_PATHS: usize = 100;

impl Registry {
    /// Serves `Update<Kind>`.
    pub(crate) async fn update(
        &self,
        call: &Call,
        kind: &'static Kind,
        request: UpdateRequest,
    ) -> Result<Bytes, Error> {
        let mut submitted = Sections::parse(&request.object)?;
        let metadata = submitted.decode_metadata()?;
        let name = one("name", &request.name, &metadata.name)?;
        let namespace = one("namespace", &request.namespace, &metadata.namespace)?;
        let paths = paths(request.update_mask)?;
        // Before any work is done with it.
        let extracted = large::extract(kind, &namespace, &mut submitted).map_err(Error::Invalid)?;
        admission::spec_size(submitted.spec.as_deref().unwrap_or_default()).map_err(Error::Invalid)?;
        let version = metadata.resource_version;
        let staged = extracted.as_ref().map(|extracted| extracted.spec.as_ref());
        let decide = |stored: &Stored| {
            check_uid(stored, &metadata.uid)?;
            let write = self.decide_update(call, stored, &submitted, paths.as_deref(), staged)?;
            if request.reject_unchanged && matches!(write.effect, Effect::Keep) {
                return Err(Error::NothingToUpdate);
            }
            Ok(write)
        };
        if request.validate_only {
            let key = super::checked_key(kind, &namespace, &name)?;
            let stored = self.fetch(&key).await?;
            let stored = stored.ok_or_else(|| Error::NotFound { what: what(kind, &namespace, &name) })?;
            check_version(&stored, version)?;
            let sections = match decide(&stored)?.effect {
                Effect::Put(sections) | Effect::Erase(sections) => sections,
                Effect::Keep => return Ok(stored.encode()),
            };
            let owners = sections.decode_metadata()?.owners;
            self.check_owners(call, &stored.metadata.owners, &owners).await?;
            return Ok(sections.encode_at(stored.revision.0));
        }
        if let Some(extracted) = &extracted {
            self.stage(call, kind, &namespace, &name, extracted).await?;
        }
        let written = self.transact(call, kind, &namespace, &name, version, decide).await?;
        Ok(self.whole_written(&written).await)
    }

    fn decide_update(
        &self,
        call: &Call,
        stored: &Stored,
        submitted: &Sections,
        paths: Option<&[String]>,
        staged: Option<&[u8]>,
    ) -> Result<Write, Error> {
        let kind = stored.kind;
        let (metadata, spec) = masked(kind, &stored.sections, submitted, paths)?;
        let wanted = Metadata::decode(metadata.as_slice())?;
        let finalizers = finalizers::updated(stored, &wanted.finalizers)?;
        let metadata = Edit::new(&metadata).finalizers(finalizers)?.finish();
        let decoded = Metadata::decode(metadata.clone())?;
        // Only what changes is admitted: a rule made since then must not stand in the way of a new label.
        let same_metadata = same(&metadata_descriptor(), &stored.sections.metadata, &metadata);
        let mut violations = if same_metadata {
            Vec::new()
        } else {
            admission::metadata::validate(&decoded, &stored.metadata.owners)
        };
        let known: Vec<&[u8]> = staged.into_iter().chain(stored.sections.spec.as_deref()).collect();
        let spec = large::settled(kind, spec, &known).and_then(|spec| changed_spec(stored, spec));
        let spec = spec.unwrap_or_else(|mut more| {
            violations.append(&mut more);
            None
        });
        if !violations.is_empty() {
            return Err(Error::Invalid(violations));
        }
        if spec.is_none() && same_metadata {
            return Ok(Effect::Keep.into());
        }
        let mut edit = Edit::new(&metadata).modified((self.clock)())?.trace_parent(&call.trace_parent)?;
        let mut sections = stored.sections.clone();
        if let Some(spec) = spec {
            edit = edit.generation(stored.metadata.generation + 1)?;
            sections.spec = Some(spec.into());
        }
        sections.metadata = edit.finish();
        sections.status = derive::status(kind, &sections)?;
        check_growth(stored, &sections)?;
        if stored.metadata.deleted.is_some() && decoded.finalizers.is_empty() {
            return Ok(Effect::Erase(sections).into());
        }
        let (before, after) = (large::named(kind, &stored.sections)?, large::named(kind, &sections)?);
        let new = after.filter(|after| before != Some(*after));
        let mut write = Write::from(Effect::Put(sections));
        write.also.guards.extend(new.map(|set| large::guard(&stored.metadata.uid, &set)));
        write.also.guards.extend(self.guard_owners(&stored.metadata.owners, &decoded.owners)?);
        Ok(write)
    }
}

/// The paths of a mask; `None` where there are none, which means the populated fields.
pub(super) fn paths(mask: Option<FieldMask>) -> Result<Option<Vec<String>>, Error> {
    let paths = mask.map(|mask| mask.paths).unwrap_or_default();
    if paths.len() > MAX_PATHS {
        let text = format!("has {} paths; at most {MAX_PATHS} are allowed", paths.len());
        return Err(Error::invalid("update_mask", text));
    }
    Ok(Some(paths).filter(|paths| !paths.is_empty()))
}

/// The admitted form of `spec`; `None` if it means what is stored already.
fn changed_spec(stored: &Stored, spec: Vec<u8>) -> Result<Option<Vec<u8>>, Vec<Violation>> {
    let old = stored.sections.spec.as_deref().unwrap_or_default();
    let Some(descriptor) = section_descriptor(stored.kind, "spec") else { return Ok(None) };
    if same(&descriptor, old, &spec) {
        return Ok(None);
    }
    let admitted = admit(stored.kind, &stored.metadata.namespace, &spec)?;
    Ok(Some(admitted).filter(|admitted| !same(&descriptor, old, admitted)))
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
            ["spec", deeper @ ..] => {
                spec = mask::copy(&spec, new_spec, &spec_fields, deeper)?;
                if let Some(set) = large::set_field(kind, deeper[0]) {
                    spec = mask::copy(&spec, new_spec, &spec_fields, &[set])?;
                }
            }
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

fn metadata_descriptor() -> MessageDescriptor {
    POOL.get_message_by_name("krake.meta.v1.Metadata").expect("part of the contract")
}

/// Whether two encodings mean the same. Their bytes may differ, since maps have no order.
pub(super) fn same(descriptor: &MessageDescriptor, one: &[u8], other: &[u8]) -> bool {
    if one == other {
        return true;
    }
    let decode = |bytes: &[u8]| DynamicMessage::decode(descriptor.clone(), bytes).ok();
    matches!((decode(one), decode(other)), (Some(one), Some(other)) if one == other)
}
