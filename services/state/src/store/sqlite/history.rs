//! The number that identifies the history of a store, and when a file gets a new one: it is not the file that was here
//! before, but a copy that was put back.

use std::path::Path;

use rusqlite::{Connection, Result};

use super::identity::random;
use super::lock::Lock;
use super::log;

/// The number of a file that was opened.
pub(super) fn of(connection: &Connection) -> Result<u64> {
    Ok(u64::try_from(log::id(connection, log::HISTORY)?).unwrap_or_default())
}

/// Replaces the number of a file if what is recorded beside it says that another one was here before: a later one, or one
/// that another process opened last.
pub(super) fn renew_if_replaced(connection: &Connection, lock: &Lock, path: &Path) -> Result<()> {
    let (found, opened_by) = (log::extent(connection)?.revision, log::id(connection, log::OPENING)?);
    let is_older = lock.recorded().is_some_and(|recorded| found < recorded);
    let is_another = lock.openings().is_some_and(|known| !known.contains(&opened_by));
    if is_older || is_another {
        tracing::warn!(
            file = %path.display(),
            recorded = lock.recorded().unwrap_or_default().0,
            %found,
            "the file is not the one that was here before: {} was put back",
            if is_older { "an older copy" } else { "another copy" }
        );
        log::set_id(connection, log::HISTORY, random())?;
    }
    Ok(())
}
