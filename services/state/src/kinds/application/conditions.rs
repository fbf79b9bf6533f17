//! Rewrites conditions that an older version stored with numbers for types and reasons, those of copies included.

use krake_proto::numbers::kubernetes::v1::{application_status as field, copy};

use crate::cache::Stored;
use crate::kinds::{Find, Rewritten, Upgrade, condition};
use crate::object::conditions::modernised;
use crate::object::wire::{self, Malformed};

/// The rewrite.
pub(super) const UPGRADE: Upgrade = Upgrade { name: "application-condition-names", rewrite };

fn rewrite(application: &Stored, _: &Find<'_>) -> Result<Option<Rewritten>, Malformed> {
    condition::rewritten(application, modernised_status)
}

fn modernised_status(status: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
    let mut copies = Vec::new();
    let mut changed = false;
    for stored in wire::elements(status, field::COPIES)? {
        let modern = modernised(&stored, copy::CONDITIONS)?;
        changed |= modern.is_some();
        copies.extend(wire::delimited(field::COPIES, modern.as_deref().unwrap_or(&stored)));
    }
    let with_copies = if changed { Some(wire::overwrite(status, &[field::COPIES], &copies)?) } else { None };
    let modern = modernised(with_copies.as_deref().unwrap_or(status), field::CONDITIONS)?;
    Ok(modern.or(with_copies))
}
