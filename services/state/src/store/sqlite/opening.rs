//! The number of the process that opened a file last. It is kept in the file and, with the one before, in the `.lock` file,
//! so that a write-ahead log which belongs to another file is noticed: SQLite would read it into this one.
//!
//! The number changes only when the whole log is in the file, and after both numbers are on the disk in the `.lock` file.
//! So the file and its log never hold other numbers than those two, whatever a crash or a power loss leaves, and however
//! long other programs that read keep the log from being emptied.

use std::io;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::checkpoint::{Checkpoint, put_in};
use super::identity::{beside, random};
use super::lock::Lock;
use super::log;

/// How far a process has come with its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The whole log must be in the file first.
    LogGoesIn,
    /// The number is to be recorded beside the file.
    Record,
    /// The number is to be written.
    Write,
    /// The log with the number is to be put into the file.
    NumberGoesIn,
    /// The number before is to be forgotten.
    Forget,
    /// The file alone holds the number.
    Done,
}

/// The number of this process, which comes into the file step by step.
#[derive(Debug)]
pub(super) struct Opening {
    number: i64,
    stage: Stage,
    /// Whether the last checkpoint put all of the log into the file.
    all_in_file: bool,
}

/// Why a step failed. It may be tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    /// The `.lock` file cannot be written.
    #[error("the .lock file cannot be written: {0}")]
    Record(#[from] io::Error),
    /// The file cannot be written.
    #[error("{0}")]
    File(#[from] rusqlite::Error),
}

impl Opening {
    /// A new number.
    pub(super) fn new() -> Self {
        Self { number: random(), stage: Stage::LogGoesIn, all_in_file: false }
    }

    /// Whether nothing is left to do.
    pub(super) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Whether the last step that put the log into the file put all of it there. If not, the file without its log may be
    /// neither what it was before nor what the log makes of it.
    pub(super) fn left_all_in_file(&self) -> bool {
        self.all_in_file
    }

    /// Goes on as far as possible: not beyond a log that others still read.
    pub(super) fn advance(
        &mut self,
        connection: &Connection,
        lock: &Lock,
        checkpoint: Checkpoint,
    ) -> Result<(), StepError> {
        while self.step(connection, lock, checkpoint)? {}
        Ok(())
    }

    /// Takes one step; false if there is none, or if the log is read by others.
    fn step(
        &mut self,
        connection: &Connection,
        lock: &Lock,
        checkpoint: Checkpoint,
    ) -> Result<bool, StepError> {
        if matches!(self.stage, Stage::LogGoesIn | Stage::NumberGoesIn) {
            self.all_in_file = false;
            self.all_in_file = put_in(connection, checkpoint)?;
        }
        let next = match self.stage {
            Stage::LogGoesIn if self.all_in_file => Stage::Record,
            Stage::NumberGoesIn if self.all_in_file => Stage::Forget,
            Stage::LogGoesIn | Stage::NumberGoesIn | Stage::Done => return Ok(false),
            Stage::Record => {
                lock.record_openings([log::id(connection, log::OPENING)?, self.number])?;
                Stage::Write
            }
            Stage::Write => {
                log::set_id(connection, log::OPENING, self.number)?;
                Stage::NumberGoesIn
            }
            Stage::Forget => {
                lock.record_openings([self.number; 2])?;
                Stage::Done
            }
        };
        self.stage = next;
        Ok(true)
    }
}

/// What a file holds without its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileAlone {
    /// The number of the process that opened it last; 0 if it has none.
    pub(super) opening: i64,
    /// Its revision; 0 if it is empty.
    pub(super) revision: i64,
}

/// Reads what a file holds without its log. The file may be open: SQLite knows of it, and keeps its locks.
pub(super) fn file_alone(path: &Path) -> rusqlite::Result<FileAlone> {
    let connection = connect_alone(path)?;
    if is_empty(&connection)? {
        return Ok(FileAlone { opening: 0, revision: 0 });
    }
    let opening = log::id(&connection, log::OPENING)?;
    Ok(FileAlone { opening, revision: log::meta(&connection, "revision")? })
}

/// Whether SQLite finds nothing wrong with a file without its log. Reads all of it.
pub(super) fn is_whole_alone(path: &Path) -> bool {
    let verdict = connect_alone(path).and_then(|connection| {
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
    });
    verdict.is_ok_and(|verdict| verdict == "ok")
}

fn connect_alone(path: &Path) -> rusqlite::Result<Connection> {
    let escape = |text: &str| text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let Some(path) = path.to_str() else { return Err(rusqlite::Error::InvalidPath(path.to_owned())) };
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(format!("file:{}?immutable=1", escape(path)), flags)
}

/// Whether a failure to read a file says something about what it holds.
pub(super) fn is_about_the_contents(error: &rusqlite::Error) -> bool {
    let passing = [ErrorCode::CannotOpen, ErrorCode::SystemIoFailure, ErrorCode::OutOfMemory];
    let is_passing = error.sqlite_error_code().is_some_and(|code| passing.contains(&code));
    // A path that is no text cannot be looked at in this way at all.
    !is_passing && !matches!(error, rusqlite::Error::InvalidPath(_))
}

/// Whether there are no tables.
fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
}

/// Whether a log stands beside a file.
pub(super) fn has_log(path: &Path) -> bool {
    beside(path, "-wal").metadata().is_ok_and(|log| log.len() > 0)
}

/// Whether the log beside a file belongs to that file. `connection` reads both, and must not change the file when it is
/// closed. `recorded` are the numbers in the `.lock` file.
pub(super) fn log_belongs(path: &Path, connection: &Connection, recorded: Option<[i64; 2]>) -> bool {
    // The file first: where it is open, what is seen later is newer. What is damaged by itself is found when the store is
    // checked.
    let Ok(alone) = file_alone(path) else { return true };
    match through_log(connection, alone) {
        Ok((seen, goes_on)) => goes_on && belongs(alone.opening, seen, recorded),
        Err(_) => is_known(alone.opening, recorded),
    }
}

/// The number that is seen through the log, and whether the log goes on where the file ends.
fn through_log(connection: &Connection, alone: FileAlone) -> rusqlite::Result<(i64, bool)> {
    if is_empty(connection)? {
        return Ok((0, true));
    }
    Ok((log::id(connection, log::OPENING)?, log::goes_on_from(connection, alone.revision)?))
}

/// The same by the number in the file alone, and the number that is seen through the log.
fn belongs(alone: i64, seen: i64, recorded: Option<[i64; 2]>) -> bool {
    // A process wrote both.
    let same = alone == seen && alone != 0;
    same || (is_known(alone, recorded) && is_known(seen, recorded))
}

fn is_known(number: i64, recorded: Option<[i64; 2]>) -> bool {
    // Older versions have no numbers.
    recorded.map_or(number == 0, |recorded| recorded.contains(&number))
}

#[cfg(test)]
mod tests;
