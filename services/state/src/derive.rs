//! Status fields that follow from others: computed at every write, so that they can never disagree.

use bytes::Bytes;
use krake_proto::Kind;

use crate::cache::{Absences, Stored};
use crate::kinds::rules;
use crate::object::sections::Sections;
use crate::object::wire::{self, Malformed};

/// The numbers of the derived status fields of `kind`.
pub(crate) fn fields(kind: &Kind) -> &'static [u32] {
    rules(kind).map_or(&[], |rules| rules.derived)
}

/// The status section with its derived fields brought up to date; `None` for kinds without status.
pub(crate) fn status(kind: &Kind, sections: &Sections) -> Result<Option<Bytes>, Malformed> {
    if !kind.has_status {
        return Ok(None);
    }
    let old = sections.status.clone().unwrap_or_default();
    let Some(rules) = rules(kind).filter(|rules| !rules.derived.is_empty()) else { return Ok(Some(old)) };
    let derived = (rules.derive)(&sections.decode_metadata()?, &old)?;
    Ok(Some(wire::overwrite(&old, rules.derived, &derived)?.into()))
}

/// The status section as reads show it while these clusters are unreachable.
pub(crate) fn read(stored: &Stored, absences: &Absences) -> Result<Option<Bytes>, Malformed> {
    let (Some(rules), Some(old)) = (rules(stored.kind), &stored.sections.status) else {
        return Ok(stored.sections.status.clone());
    };
    let derived = (rules.derive_on_read)(&stored.metadata, old, absences)?;
    Ok(Some(wire::overwrite(old, rules.derived_on_read, &derived)?.into()))
}
