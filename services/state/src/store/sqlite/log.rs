//! What the file of a store holds, and how it is read: SQL and nothing else.
//!
//! Every change is a row of `log`; a deletion is one without a value. The rows of a key form a chain by `prev`.

use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::super::keyspace::is_watched;
use super::super::{Batch, Change, ChangeKind, Entry, Key, Listing, Page, Revision};

/// The tables of an empty store. `meta` holds revisions, how far the log is swept (the last `id`), and two numbers that are
/// absent at first: [`HISTORY`] and [`OPENING`].
pub(super) const SCHEMA: &str = "
    CREATE TABLE log (
        id      INTEGER PRIMARY KEY AUTOINCREMENT,
        rev     INTEGER NOT NULL,
        key     BLOB NOT NULL,
        created INTEGER NOT NULL,
        prev    INTEGER,
        value   BLOB
    );
    CREATE UNIQUE INDEX log_key ON log (key, rev);
    CREATE INDEX log_rev ON log (rev);
    CREATE TABLE lease (key BLOB PRIMARY KEY, ttl INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO meta VALUES ('revision', 1), ('compacted', 0), ('swept', 0);
";

/// Name of the number that identifies the history of the store. Replaced when the file was replaced by an older copy.
pub(super) const HISTORY: &str = "history";
/// Name of the number that identifies who opened the file last. Replaced at each start.
pub(super) const OPENING: &str = "opening";

/// Bytes of values after which a page or a piece of history ends: a watch and a list hold one in memory.
const PIECE_BYTES: usize = 4 * 1024 * 1024;
/// Rows after which a piece of history ends: small changes are read in some milliseconds.
const PIECE_ROWS: usize = 2000;

/// The present row of a key.
pub(super) struct Current {
    /// The row.
    pub(super) id: i64,
    /// What the key holds; `None` if the row is its deletion.
    pub(super) entry: Option<Entry>,
}

/// How far the store is, and how much of its past is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// The newest revision.
    pub(super) revision: Revision,
    /// The oldest revision that can be read at or watched after; 0 if that is all of them.
    pub(super) compacted: Revision,
}

/// One of the numbers of `meta`.
pub(super) fn meta(connection: &Connection, name: &str) -> Result<i64> {
    connection.prepare_cached("SELECT value FROM meta WHERE name = ?")?.query_row([name], |row| row.get(0))
}

/// Returns a number that identifies something; 0 if it was never set.
pub(super) fn id(connection: &Connection, name: &str) -> Result<i64> {
    let found = connection.query_row("SELECT value FROM meta WHERE name = ?", [name], |row| row.get(0));
    Ok(found.optional()?.unwrap_or_default())
}

/// Sets a number that identifies something.
pub(super) fn set_id(connection: &Connection, name: &str, id: i64) -> Result<()> {
    let sql = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    connection.execute(sql, params![name, id]).map(drop)
}

/// Changes one of the numbers of `meta`.
pub(super) fn set_meta(connection: &Connection, name: &str, value: i64) -> Result<()> {
    connection
        .prepare_cached("UPDATE meta SET value = ?2 WHERE name = ?1")?
        .execute(params![name, value])
        .map(drop)
}

/// As the store is at this moment, or at that of the transaction.
pub(super) fn extent(connection: &Connection) -> Result<Extent> {
    let number = |name| meta(connection, name).map(Revision);
    Ok(Extent { revision: number("revision")?, compacted: number("compacted")? })
}

/// Whether the store may have come to where it is now from an earlier revision: no revision is missing in between but those
/// that may be forgotten. If some are, the changes of a log were read into an older copy of its file.
pub(super) fn goes_on_from(connection: &Connection, earlier: i64) -> Result<bool> {
    let next = "SELECT (SELECT min(rev) FROM log WHERE rev > ?1),
                       (SELECT value FROM meta WHERE name = 'revision'),
                       (SELECT value FROM meta WHERE name = 'compacted')";
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let (next, now, compacted): (Option<i64>, i64, i64) = connection.query_row(next, [earlier], row)?;
    // The first commit is at 2.
    let wanted = earlier.max(1) + 1;
    Ok(now == earlier.max(1) || (now > earlier && (next == Some(wanted) || compacted >= wanted)))
}

/// The last row of a key; `None` if it has none.
pub(super) fn current(connection: &Connection, key: &Key) -> Result<Option<Current>> {
    let mut newest = connection
        .prepare_cached("SELECT id, rev, created, value FROM log WHERE key = ? ORDER BY rev DESC LIMIT 1")?;
    let row = |row: &Row<'_>| Ok(Current { id: row.get(0)?, entry: entry(row, key, 1)? });
    newest.query_row([key.as_bytes()], row).optional()
}

/// The entry whose revision, creation and value are in the columns from `first` on; `None` without a value.
fn entry(row: &Row<'_>, key: &Key, first: usize) -> Result<Option<Entry>> {
    let value: Option<Vec<u8>> = row.get(first + 2)?;
    let Some(value) = value else { return Ok(None) };
    let (modified, created) = (Revision(row.get(first)?), Revision(row.get(first + 1)?));
    Ok(Some(Entry { key: key.clone(), value: value.into(), created, modified }))
}

/// Adds a row. A deletion has no value.
pub(super) fn append(
    connection: &Connection,
    revision: Revision,
    key: &Key,
    created: Revision,
    previous: Option<i64>,
    value: Option<&[u8]>,
) -> Result<()> {
    connection
        .prepare_cached("INSERT INTO log (rev, key, created, prev, value) VALUES (?, ?, ?, ?, ?)")?
        .execute(params![revision.0, key.as_bytes(), created.0, previous, value])
        .map(drop)
}

/// One page of a list at a revision that is kept. Goes from key to key, however many rows each has.
pub(super) fn list(connection: &Connection, prefix: &Key, page: &Page, at: Revision) -> Result<Listing> {
    page_of("value", connection, prefix, page, at)
}

/// The same with empty values.
pub(super) fn keys(connection: &Connection, prefix: &Key, page: &Page, at: Revision) -> Result<Listing> {
    page_of("iif(value IS NULL, NULL, x'')", connection, prefix, page, at)
}

/// A page whose values are what `value` computes.
fn page_of(value: &str, connection: &Connection, prefix: &Key, page: &Page, at: Revision) -> Result<Listing> {
    let mut following =
        connection.prepare_cached("SELECT key FROM log WHERE key > ? ORDER BY key LIMIT 1")?;
    let mut this_or_following =
        connection.prepare_cached("SELECT key FROM log WHERE key >= ? ORDER BY key LIMIT 1")?;
    let mut newest = connection.prepare_cached(&format!(
        "SELECT rev, created, {value} FROM log WHERE key = ? AND rev <= ? ORDER BY rev DESC LIMIT 1"
    ))?;
    let key = |row: &Row<'_>| row.get::<_, Vec<u8>>(0).map(Key::from);
    let mut next = match &page.after {
        Some(after) if after >= prefix => following.query_row([after.as_bytes()], key).optional()?,
        _ => this_or_following.query_row([prefix.as_bytes()], key).optional()?,
    };
    let (mut entries, mut bytes, mut more) = (Vec::new(), 0, false);
    while let Some(found) = next.filter(|found| found.starts_with(prefix)) {
        let shown =
            newest.query_row(params![found.as_bytes(), at.0], |row| entry(row, &found, 0)).optional()?;
        if let Some(shown) = shown.flatten() {
            if entries.len() == page.limit || bytes >= PIECE_BYTES {
                more = true;
                break;
            }
            bytes += shown.value.len();
            entries.push(shown);
        }
        next = following.query_row([found.as_bytes()], key).optional()?;
    }
    Ok(Listing { entries, revision: at, more })
}

/// A piece of the history after `after`: the batches below a prefix, and how far it goes. Cut between revisions.
pub(super) fn history(
    connection: &Connection,
    prefix: &Key,
    after: Revision,
    newest: Revision,
) -> Result<(Vec<Batch>, Revision)> {
    let mut later = connection.prepare_cached(
        "SELECT l.key, l.rev, l.created, l.value, p.rev, p.created, p.value
         FROM log AS l INDEXED BY log_rev LEFT JOIN log AS p ON p.id = l.prev
         WHERE l.rev > ? ORDER BY l.rev, l.id",
    )?;
    let mut rows = later.query([after.0])?;
    let (mut batches, mut bytes, mut seen) = (Vec::<Batch>::new(), 0, 0);
    let mut reached = after;
    while let Some(row) = rows.next()? {
        let revision = Revision(row.get(1)?);
        if revision > reached && (bytes >= PIECE_BYTES || seen >= PIECE_ROWS) {
            return Ok((batches, reached));
        }
        (reached, seen) = (revision, seen + 1);
        let name = row.get_ref(0)?.as_blob()?;
        if !is_watched(name, prefix) {
            continue;
        }
        let key = Key::from(name.to_vec());
        let (put, previous) = (entry(row, &key, 1)?, entry(row, &key, 4)?);
        bytes += [&put, &previous].into_iter().flatten().map(|entry| entry.value.len()).sum::<usize>();
        let change = Change { key, kind: put.map_or(ChangeKind::Delete, ChangeKind::Put), previous };
        match batches.last_mut().filter(|batch| batch.revision == revision) {
            Some(batch) => batch.changes.push(change),
            None => batches.push(Batch { revision, changes: vec![change] }),
        }
    }
    Ok((batches, newest.max(after)))
}
