//! UpdateStatus: write masked fields of the status; conditions are added or replaced by type.

use std::collections::BTreeSet;
use std::time::SystemTime;

use bytes::Bytes;
use krake_proto::Kind;
use krake_proto::envelope::UpdateStatusRequest;
use prost_reflect::MessageDescriptor;

use super::conditions::merge_conditions;
use super::create::{check_growth, one};
use super::transact::{Effect, check_uid};
use super::update::{paths, same};
use super::{Call, Error, Registry, section_descriptor};
use crate::admission::Findings;
use crate::derive;
use crate::kinds::rules;
use crate::object::metadata::Edit;
use crate::object::sections::Sections;
use crate::object::{mask, wire};

const CONDITIONS: &str = "conditions";

impl Registry {
    /// Serves `Update<Kind>Status`.
    pub(crate) async fn update_status(
        &self,
        call: &Call,
        kind: &'static Kind,
        request: UpdateStatusRequest,
    ) -> Result<Bytes, Error> {
        let submitted = Sections::parse(&request.object)?;
        let metadata = submitted.decode_metadata()?;
        let name = one("name", &request.name, &metadata.name)?;
        let namespace = one("namespace", &request.namespace, &metadata.namespace)?;
        let descriptor = section_descriptor(kind, "status")
            .ok_or_else(|| Error::invalid("status", format!("{} has no status", kind.kind)))?;
        let new = submitted.status.unwrap_or_default();
        let fields = fields(kind, &descriptor, &new, paths(request.update_mask)?)?;
        admit(kind, &new)?;
        let after = self
            .transact(call, kind, &namespace, &name, metadata.resource_version, |stored| {
                check_uid(stored, &metadata.uid)?;
                let old = stored.sections.status.as_deref().unwrap_or_default();
                let mut status = old.to_vec();
                for field in &fields {
                    status = if field == CONDITIONS {
                        upsert_conditions(kind, &status, &new, &descriptor, (self.clock)())?
                    } else {
                        mask::copy(&status, &new, &descriptor, &field.split('.').collect::<Vec<_>>())?
                    };
                }
                let mut sections = Sections { status: Some(status.into()), ..stored.sections.clone() };
                sections.status = derive::status(kind, &sections)?;
                if same(&descriptor, old, sections.status.as_deref().unwrap_or_default()) {
                    return Ok(Effect::Keep.into());
                }
                let edit = Edit::new(&stored.sections.metadata).trace_parent(&call.trace_parent)?;
                sections.metadata = edit.finish();
                check_growth(stored, &sections)?;
                Ok(Effect::Put(sections).into())
            })
            .await?;
        Ok(after.encode())
    }
}

/// The status fields to write: the mask's, or every populated one.
fn fields(
    kind: &Kind,
    descriptor: &MessageDescriptor,
    status: &[u8],
    paths: Option<Vec<String>>,
) -> Result<Vec<String>, Error> {
    let reserved = rules(kind).map_or(&[][..], |rules| rules.reserved);
    let derived = derive::fields(kind);
    let Some(paths) = paths else {
        let populated = wire::fields(status).map(|field| Ok(field?.number));
        let populated: BTreeSet<u32> = populated.collect::<Result<_, Error>>()?;
        let writable =
            populated.iter().filter(|number| !reserved.contains(number) && !derived.contains(number));
        return Ok(writable
            .filter_map(|number| Some(descriptor.get_field(*number)?.name().to_owned()))
            .collect());
    };
    let mut fields = Vec::new();
    for path in paths {
        let Some(field) = path.strip_prefix("status.") else {
            return Err(Error::invalid("update_mask", format!("{path:?} does not begin with \"status.\"")));
        };
        let top = field.split('.').next().unwrap_or(field);
        // A name that is unknown is reported where it is copied.
        let number = descriptor.get_field_by_name(top).map_or(0, |top| top.number());
        if reserved.contains(&number) {
            let text = format!("{path:?} is not written with Update{}Status", kind.kind);
            return Err(Error::invalid("update_mask", text));
        }
        if !derived.contains(&number) {
            fields.push(field.to_owned());
        }
    }
    Ok(fields)
}

/// Checks a submitted status by the rules of its kind.
fn admit(kind: &Kind, status: &[u8]) -> Result<(), Error> {
    let mut findings = Findings::default();
    if let Some(rules) = rules(kind) {
        (rules.admit_status)(status, &mut findings);
    }
    if findings.0.is_empty() { Ok(()) } else { Err(Error::Invalid(findings.0.into_vec())) }
}

/// `status` with the conditions of `new` added, or in place of those of the same type.
fn upsert_conditions(
    kind: &Kind,
    status: &[u8],
    new: &[u8],
    descriptor: &MessageDescriptor,
    now: SystemTime,
) -> Result<Vec<u8>, Error> {
    let number = descriptor
        .get_field_by_name(CONDITIONS)
        .ok_or_else(|| {
            Error::invalid("update_mask", format!("{} has no conditions", descriptor.full_name()))
        })?
        .number();
    let (present, new) = (wire::elements(status, number)?, wire::elements(new, number)?);
    let own = rules(kind).map_or(&[][..], |rules| rules.conditions);
    let merged = merge_conditions("status.conditions", own, present, new, now)?;
    let encoded: Vec<u8> = merged.iter().flat_map(|condition| wire::delimited(number, condition)).collect();
    Ok(wire::overwrite(status, &[number], &encoded)?)
}
