//! Puts the write-ahead log into the file. Nothing else changes the file of an open store, and SQLite does it at no other
//! time by itself, so the file can be looked into just before and just after.

use rusqlite::{Connection, Result, Row};

/// Pages (4 KiB) of the write-ahead log after which they are put into the file: 16 MiB, so that this is rare and short.
const DUE_PAGES: u64 = 4000;

/// Pages from which a log is worth a warning that it cannot be put into the file: 256 MiB, which no load but a reader that
/// does not end leads to.
const HELD_PAGES: u64 = 16 * DUE_PAGES;

/// How a log is put into the file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Checkpoint {
    /// As much as is possible at once.
    Passive,
    /// Waits for readers, and empties the log.
    Truncate,
}

/// The pages of the log up to the last commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogPages {
    /// All of them.
    pub(super) all: u64,
    /// Those that are in the file.
    pub(super) put_in: u64,
}

impl LogPages {
    /// Whether the log is so long that it should be put into the file.
    pub(super) fn are_due(self) -> bool {
        self.all >= DUE_PAGES && !self.are_in_file()
    }

    /// Whether the log is so long that something must keep it from the file.
    pub(super) fn are_held(self) -> bool {
        self.all >= HELD_PAGES && !self.are_in_file()
    }

    /// Whether all of them are in the file.
    pub(super) fn are_in_file(self) -> bool {
        self.put_in == self.all
    }
}

/// Puts the log into the file; whether all of it is there, and on the disk. If not, the file without its log may be neither
/// what it was before nor what the log makes of it: this stops at what others read, and where the disk is full.
pub(super) fn put_in(connection: &Connection, checkpoint: Checkpoint) -> Result<bool> {
    let pragma = match checkpoint {
        Checkpoint::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
        Checkpoint::Truncate => "PRAGMA wal_checkpoint(TRUNCATE)",
    };
    let pages = connection.query_row(pragma, [], log_pages)?;
    Ok(pages.is_some_and(LogPages::are_in_file))
}

/// What SQLite knows of the log; `None` if that cannot be told.
pub(super) fn pages(connection: &Connection) -> Option<LogPages> {
    let pages = |connection: &Connection| {
        connection.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?.query_row([], log_pages)
    };
    pages(connection).unwrap_or_default()
}

/// Has SQLite leave the log alone when it commits.
pub(super) fn leave_to_us(connection: &Connection) -> Result<()> {
    connection.pragma_update(None, "wal_autocheckpoint", 0)
}

/// The pages that a checkpoint tells; `None` if it tells none, as there is no log.
fn log_pages(row: &Row<'_>) -> Result<Option<LogPages>> {
    let number = |column| row.get::<_, i64>(column).map(|number| u64::try_from(number).ok());
    Ok(number(1)?.zip(number(2)?).map(|(all, put_in)| LogPages { all, put_in }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_grows_for_sixteen_times_as_long_as_usual_is_held() {
        let pages = |all, put_in| LogPages { all, put_in };
        for (pages, due, held) in [
            (pages(3_999, 0), false, false),
            (pages(4_000, 0), true, false),
            (pages(63_999, 4_000), true, false),
            (pages(64_000, 4_000), true, true),
            (pages(64_000, 64_000), false, false),
        ] {
            assert_eq!((pages.are_due(), pages.are_held()), (due, held), "{pages:?}");
        }
    }
}
