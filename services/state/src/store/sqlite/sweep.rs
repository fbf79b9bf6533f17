//! Removes what a compaction has made unreachable, a piece at a time, so that commits need not wait for it.

use rusqlite::{Connection, OptionalExtension, Result, Transaction, TransactionBehavior, params};

use super::log;

/// Maximum rows read in one piece: a few milliseconds, for which commits wait.
const ROWS_PER_PIECE: i64 = 500;
/// Bytes of removed values after which a piece ends: SQLite goes through all pages of a large value to free them.
const REMOVED_BYTES_PER_PIECE: i64 = 4 * 1024 * 1024;
/// Maximum pages (4 KiB) returned to the file system in one piece: each is moved, so a megabyte takes milliseconds.
const FREED_PAGES_PER_PIECE: i64 = 250;
/// Free pages that the file keeps for new values, so that it does not shrink and grow in turns: at least this many, and
/// one in this many.
const MIN_SPARE_PAGES: i64 = 1000;
const SPARE_FRACTION: i64 = 8;

/// What a piece of work came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is more to do.
    More,
    /// Nothing is left to do.
    Done,
    /// The same, and the file is to be made smaller: it is cut when the write-ahead log is put into it.
    Smaller,
}

/// Does one piece.
pub(super) fn step(connection: &mut Connection) -> Result<Progress> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let swept = rows(&transaction)?;
    transaction.commit()?;
    if swept { Ok(Progress::More) } else { give_back(connection) }
}

/// Removes the predecessors of some rows up to the compacted revision, and deletions among these rows. A deletion goes
/// in one transaction with its predecessor or later, so no key comes back. False if there were none.
fn rows(transaction: &Transaction<'_>) -> Result<bool> {
    let (swept, compacted) = (log::meta(transaction, "swept")?, log::meta(transaction, "compacted")?);
    let mut select = transaction.prepare_cached(
        "SELECT id, prev, value IS NULL FROM log WHERE id > ? AND rev <= ? ORDER BY id LIMIT ?",
    )?;
    let mut delete = transaction.prepare_cached("DELETE FROM log WHERE id = ?")?;
    let rows = select
        .query_map(params![swept, compacted, ROWS_PER_PIECE], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<Result<Vec<(i64, Option<i64>, bool)>>>()?;
    let mut length = transaction.prepare_cached("SELECT coalesce(length(value), 0) FROM log WHERE id = ?")?;
    let (mut last, mut bytes) = (None, 0);
    for (id, previous, deletion) in &rows {
        if let Some(previous) = previous {
            bytes += length.query_row([previous], |row| row.get::<_, i64>(0)).optional()?.unwrap_or_default();
            delete.execute([previous])?;
        }
        if *deletion {
            delete.execute([id])?;
        }
        last = Some(*id);
        if bytes >= REMOVED_BYTES_PER_PIECE {
            break;
        }
    }
    let Some(last) = last else { return Ok(false) };
    log::set_meta(transaction, "swept", last)?;
    Ok(true)
}

/// Makes the file smaller if much of it is free.
fn give_back(connection: &Connection) -> Result<Progress> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let (free, all) = (number("freelist_count")?, number("page_count")?);
    let excess = free - MIN_SPARE_PAGES.max(all / SPARE_FRACTION);
    if excess <= 0 {
        return Ok(Progress::Done);
    }
    // Each row that is asked for gives one page back.
    let mut vacuum =
        connection.prepare(&format!("PRAGMA incremental_vacuum({})", FREED_PAGES_PER_PIECE.min(excess)))?;
    let mut rows = vacuum.query([])?;
    while rows.next()?.is_some() {}
    drop(rows);
    if excess > FREED_PAGES_PER_PIECE {
        return Ok(Progress::More);
    }
    Ok(Progress::Smaller)
}
