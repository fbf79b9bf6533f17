//! Which objects of a manifest claim volumes; also for what an older version stored without saying so.

use krake_proto::krake::kubernetes::v1::Manifest;
use krake_proto::krake::meta::v1::document::Content;
use krake_proto::numbers::kubernetes::v1::application_spec::MANIFEST;
use prost::Message;

use crate::admission::Outline;
use crate::cache::Stored;
use crate::kinds::{Find, Rewritten, Upgrade};
use crate::object::sections::Sections;
use crate::object::wire::{self, Malformed};

/// The rewrite.
pub(super) const UPGRADE: Upgrade = Upgrade { name: "application-claims-volumes", rewrite };

/// Whether an object claims volumes: a PersistentVolumeClaim, or a workload with templates of them.
pub(super) fn claims_volumes(object: &Outline) -> bool {
    object.has_claim_templates || object.kind.as_str() == "PersistentVolumeClaim"
}

fn rewrite(application: &Stored, _: &Find<'_>) -> Result<Option<Rewritten>, Malformed> {
    let Some(spec) = &application.sections.spec else { return Ok(None) };
    let mut entries = Vec::new();
    let mut changed = false;
    for stored in wire::elements(spec, MANIFEST)? {
        let entry = Manifest::decode(stored.as_ref())?;
        let claims = match entry.document.as_ref().and_then(|document| document.content.as_ref()) {
            // What was admitted is JSON text.
            Some(Content::Json(text)) => Outline::read(text).is_ok_and(|object| claims_volumes(&object)),
            _ => false,
        };
        changed |= claims && !entry.claims_volumes;
        // A field that follows replaces an earlier one, and fields of a newer version stay.
        let flag = Manifest { claims_volumes: claims, ..Default::default() }.encode_to_vec();
        entries.extend(wire::delimited(MANIFEST, &[stored.as_ref(), &flag].concat()));
    }
    if !changed {
        return Ok(None);
    }
    let spec = wire::overwrite(spec, &[MANIFEST], &entries)?;
    let sections = Sections { spec: Some(spec.into()), ..application.sections.clone() };
    Ok(Some(Rewritten { sections, report: None }))
}
