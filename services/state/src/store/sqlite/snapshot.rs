//! Reads a file that another process may have open and write to: all of it as it is at one moment.

use std::path::Path;

use anyhow::{Context, ensure};

use super::super::{Key, Listing, Page};
use super::{failure, file, log, readers};

/// Hands all entries below `prefix` to `take`, by ascending key, as they are when this is called; in pages, at least
/// one. Does not write to the file.
pub(crate) fn snapshot(
    path: &Path,
    prefix: &Key,
    limit: usize,
    mut take: impl FnMut(&Listing) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    ensure!(path.is_file(), "there is no file {}", path.display());
    let connection = readers::open(path).map_err(|error| file::failed(&error, path))?;
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
    transaction.rollback().context("ending the read")
}
