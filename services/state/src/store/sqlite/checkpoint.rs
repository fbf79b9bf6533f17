//! Puts the write-ahead log into the file. Nothing else changes the file of an open store, and SQLite does it at no other
//! time by itself, so the file can be looked into just before and just after.

use rusqlite::{Connection, Result, Row};

/// Pages (4 KiB) of the write-ahead log after which they are put into the file: 16 MiB, so that this is rare and short.
const DUE_PAGES: i64 = 4000;

/// How a log is put into the file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Checkpoint {
    /// As much as is possible at once.
    Passive,
    /// Waits for readers, and empties the log.
    Truncate,
}

/// Puts the log into the file; whether all of it is there, and on the disk.
pub(super) fn put_in(connection: &Connection, checkpoint: Checkpoint) -> Result<bool> {
    let pragma = match checkpoint {
        Checkpoint::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
        Checkpoint::Truncate => "PRAGMA wal_checkpoint(TRUNCATE)",
    };
    let (all, put_in) = connection.query_row(pragma, [], pages)?;
    Ok(all >= 0 && all == put_in)
}

/// Whether the log is so long that it should be put into the file.
pub(super) fn is_due(connection: &Connection) -> Result<bool> {
    let (all, put_in) = connection.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?.query_row([], pages)?;
    Ok(all >= DUE_PAGES && put_in < all)
}

/// Has SQLite leave the log alone when it commits.
pub(super) fn leave_to_us(connection: &Connection) -> Result<()> {
    connection.pragma_update(None, "wal_autocheckpoint", 0)
}

/// The pages of the log, and how many of them are in the file.
fn pages(row: &Row<'_>) -> Result<(i64, i64)> {
    Ok((row.get(1)?, row.get(2)?))
}
