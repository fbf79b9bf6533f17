//! Reads a file that another process may have open and write to: all of it as it is at one moment.

use std::path::Path;

use anyhow::{Context, ensure};

use super::super::{Key, Listing, Page};
use super::{failure, file, lock, log, readers};

/// Hands all entries below `prefix` to `take`, by ascending key, as they are when this is called; in pages, at least
/// one. Writes to neither the file nor its log.
///
/// # Errors
/// Also when the log beside the file is that of another file, as where the file is opened, or if that is so at the end.
pub(crate) fn snapshot(
    path: &Path,
    prefix: &Key,
    limit: usize,
    mut take: impl FnMut(&Listing) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    ensure!(path.is_file(), "there is no file {}", path.display());
    // SQLite's files lie beside the file itself, not beside a symbolic link to it.
    let path = &path.canonicalize().with_context(|| format!("cannot reach {}", path.display()))?;
    let recorded = || lock::openings_beside(path);
    let connection = file::connect_with_own_log(path, recorded, readers::open)?;
    let transaction = connection.unchecked_transaction().map_err(|error| file::failed(&error, path))?;
    file::check(&transaction, path)?;
    let failed = |error: rusqlite::Error| anyhow::Error::msg(failure::describe(&error, path));
    let revision = log::extent(&transaction).map_err(failed)?.revision;
    let mut page = Some(Page::first(limit));
    while let Some(asked) = page {
        let listing = log::list(&transaction, prefix, &asked, revision).map_err(failed)?;
        take(&listing)?;
        page = listing.next_page(limit);
    }
    // What belonged together then did so while it was read.
    file::check_log(path, recorded, &transaction)?;
    transaction.rollback().context("ending the read")
}
