//! The file of a store: made, locked, and looked at before anything is believed of it.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::checkpoint::{self, Checkpoint};
use super::failure::describe;
use super::history;
use super::identity::OpenFiles;
use super::lock::Lock;
use super::log;
use super::opening::{self, Opening};

/// Says in the header of the file whose it is: "Krak".
const APPLICATION: i64 = 0x4B72_616B;
/// The form of the tables.
const VERSION: i64 = 1;

/// Wait for a lock that another program holds, such as the sqlite3 shell.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// Attempts to read the file, its log and the `.lock` file between two steps of a process that starts: it has a handful.
const LOG_CHECKS: usize = 8;
/// Size to which the write-ahead log is cut back: above what it grows to while a slow read holds it.
const LOG_BYTES: i64 = 64 * 1024 * 1024;

/// Why a store cannot be opened. The message names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "{} is in use by another process: only one can have it open; stop that one, or name another file",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be made or read.
    #[error("cannot use {}: check that this process may write there", path.display())]
    File {
        /// The file or its folder.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Something that cannot be a file or a folder of a store is in its place.
    #[error("cannot use {}: {found}; name another one", path.display())]
    Misplaced {
        /// The file or its folder.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// It is something else.
    #[error("{} is not a Krake store: {found}; name another file", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        found: String,
    },
    /// It was written by a later version.
    #[error(
        "{} was made by a newer Krake (its form is {found}, this one knows {VERSION}): use that version, or restore a \
         back-up of this one",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The form of its tables.
        found: i64,
    },
    /// What it holds cannot be right.
    #[error(
        "{} is damaged ({found}): move it and the files beside it away and restore a back-up with `krake-state \
         restore --from FILE`",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        found: String,
    },
    /// The write-ahead log beside it is that of another file.
    #[error(
        "{file}-wal holds changes of another file that was {file} before, and would damage this one, so nothing was \
         changed: put that file back; or, to use the one that is here now, such as a copy that was put back, move \
         {file}-wal and {file}-shm away, beside the file that they belong to if that is kept",
        file = path.display()
    )]
    LogOfAnother {
        /// The file.
        path: PathBuf,
    },
    /// SQLite cannot work with it.
    #[error("cannot open the store: {reason}")]
    Sqlite {
        /// The file, and what to do.
        reason: String,
    },
}

/// Makes a folder for its owner alone, if it is not there. Returns its path without symbolic links.
pub fn make_folder(folder: &Path) -> Result<PathBuf, OpenError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.and_then(|()| folder.canonicalize()).map_err(|source| match obstacle(folder) {
        Some((path, found)) => OpenError::Misplaced { path, found },
        None => OpenError::File { path: folder.to_owned(), source },
    })
}

/// Makes the folder of a store's file. Returns the file's path without symbolic links: whatever it is called, it has one
/// lock.
pub(super) fn make_place(file: &Path) -> Result<PathBuf, OpenError> {
    let misplaced = |found: String| OpenError::Misplaced { path: file.to_owned(), found };
    let folder = make_folder(folder(file))?;
    match (file.canonicalize(), file.file_name()) {
        (Ok(real), _) if real.is_dir() => Err(misplaced("it is a folder".to_owned())),
        (Ok(real), _) if real.metadata().is_ok_and(|file| !file.is_file()) => {
            // A pipe would be waited for.
            Err(misplaced("it is not a regular file".to_owned()))
        }
        (Ok(real), _) if real.metadata().is_ok_and(|file| file.nlink() > 1) => {
            // Each name would have a lock and a log of its own.
            Err(misplaced(
                "it has a second name (a hard link), by which another process could open it".to_owned(),
            ))
        }
        (Ok(real), _) => Ok(real),
        (Err(_), Some(name)) => match dangling(file) {
            Some(found) => Err(misplaced(found)),
            None => Ok(folder.join(name)),
        },
        (Err(source), None) => Err(OpenError::File { path: file.to_owned(), source }),
    }
}

/// The first part of the path of a folder that is no folder, and what it is.
fn obstacle(folder: &Path) -> Option<(PathBuf, String)> {
    let mut parts: Vec<&Path> = folder.ancestors().collect();
    parts.reverse();
    parts.into_iter().find_map(|part| {
        let found = match part.metadata() {
            Ok(found) => (!found.is_dir()).then(|| "it is not a folder".to_owned()),
            Err(_) => dangling(part),
        };
        found.map(|found| (part.to_owned(), found))
    })
}

/// Describes a symbolic link that leads nowhere; `None` for anything else.
fn dangling(path: &Path) -> Option<String> {
    let target = path.read_link().ok().filter(|_| path.metadata().is_err())?;
    Some(format!("it is a symbolic link to {}, which cannot be reached", target.display()))
}

/// Opens a file for writing and makes it a store if it is new. Its [`Lock`] must be held. A file that is refused stays as
/// it is, and so does its log.
pub(super) fn open(path: &Path, lock: &Lock) -> Result<(Connection, OpenFiles, Opening), OpenError> {
    let failed_file = |source| OpenError::File { path: path.to_owned(), source };
    let files =
        create(path).and_then(|()| OpenFiles::at(path, &[lock.path().to_owned()])).map_err(failed_file)?;
    let connection = connect_with_own_log(path, || lock.openings(), connect)?;
    if is_new(&connection).map_err(|error| failed(&error, path))? {
        // What a former file of this name was is of no account.
        lock.record_openings([0, 0])
            .map_err(|source| OpenError::File { path: lock.path().to_owned(), source })?;
        lay_out(&connection).map_err(|error| failed(&error, path))?;
    }
    check(&connection, path).map_err(|error| match error {
        // The log made it so: it goes on from a later state of the file than this.
        OpenError::Damaged { path, .. } if opening::has_log(&path) && opening::is_whole_alone(&path) => {
            OpenError::LogOfAnother { path }
        }
        error => error,
    })?;
    let mode = settings(&connection).map_err(|error| failed(&error, path))?;
    if mode != "wal" {
        let reason = format!(
            "{}: its file system has no shared memory, as many network file systems; use a local one",
            path.display()
        );
        return Err(OpenError::Sqlite { reason });
    }
    keep_log_on_close(&connection, false).map_err(|error| failed(&error, path))?;
    // Before the file gets the number of this process, by which it would be known at the next start.
    history::renew_if_replaced(&connection, lock, path).map_err(|error| failed(&error, path))?;
    let mut opening = Opening::new();
    if let Err(error) = opening.advance(&connection, lock, Checkpoint::Truncate) {
        // Perhaps the disk is full. Reads can still be served, and the writer retries.
        tracing::warn!(%error, file = %path.display(), "cannot note in the store that it was opened");
    }
    files.accept(lock.openings());
    files.set_in_part(!opening.left_all_in_file());
    let files = files.and_log().map_err(failed_file)?;
    Ok((connection, files, opening))
}

/// Connects to a file by `connect`, unless the log beside it is that of another file. `recorded` reads the numbers in the
/// `.lock` file. The connection must not change the file when it is closed.
pub(super) fn connect_with_own_log(
    path: &Path,
    recorded: impl Fn() -> Option<[i64; 2]>,
    connect: fn(&Path) -> rusqlite::Result<Connection>,
) -> Result<Connection, OpenError> {
    let metadata = path.metadata().map_err(|source| OpenError::File { path: path.to_owned(), source })?;
    if metadata.len() == 0 && opening::has_log(path) {
        // SQLite would remove the log.
        return Err(OpenError::LogOfAnother { path: path.to_owned() });
    }
    let connection = connect(path).map_err(|error| failed(&error, path))?;
    check_log(path, recorded, &connection)?;
    Ok(connection)
}

/// Refuses a file whose log is that of another file, as `connection` reads both. Where another process has the file open,
/// the numbers may change meanwhile, at its start; then it is looked at again.
pub(super) fn check_log(
    path: &Path,
    recorded: impl Fn() -> Option<[i64; 2]>,
    connection: &Connection,
) -> Result<(), OpenError> {
    let mut numbers = recorded();
    for _ in 0..LOG_CHECKS {
        if !opening::has_log(path) || opening::log_belongs(path, connection, numbers) {
            return Ok(());
        }
        let later = recorded();
        if later == numbers {
            break;
        }
        numbers = later;
    }
    Err(OpenError::LogOfAnother { path: path.to_owned() })
}

/// A connection that may write, and leaves the log alone when it is closed.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(LOCK_WAIT)?;
    keep_log_on_close(&connection, true)?;
    Ok(connection)
}

/// Sets whether the log is left alone when the connection is closed, instead of being put into the file.
pub(super) fn keep_log_on_close(connection: &Connection, keep: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep).map(drop)
}

/// Refuses what is not a whole store of this version.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let number = |pragma| {
        let value = connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        value.map_err(|error| failed(&error, path))
    };
    if number("application_id")? != APPLICATION {
        let found = "it is an SQLite database of another program".to_owned();
        return Err(OpenError::Foreign { path: path.to_owned(), found });
    }
    let version = number("user_version")?;
    if version > VERSION {
        return Err(OpenError::Newer { path: path.to_owned(), found: version });
    }
    let damaged = |found: String| OpenError::Damaged { path: path.to_owned(), found };
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| failed(&error, path))?;
    if verdict != "ok" {
        return Err(damaged(verdict));
    }
    let newest = "SELECT coalesce(max(rev), 0) FROM log";
    let newest: i64 =
        connection.query_row(newest, [], |row| row.get(0)).map_err(|error| damaged(error.to_string()))?;
    let known = log::extent(connection).map_err(|error| damaged(error.to_string()))?.revision;
    if newest > known.0 {
        return Err(damaged(format!("its revision is {known}, and it holds revision {newest}")));
    }
    Ok(())
}

/// The error of a file that SQLite cannot work with.
pub(super) fn failed(error: &rusqlite::Error, path: &Path) -> OpenError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            OpenError::Foreign { path, found: "it is no SQLite database".to_owned() }
        }
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged { path, found: error.to_string() },
        _ => OpenError::Sqlite { reason: describe(error, &path) },
    }
}

/// Makes an empty file that only its owner can read, if there is none. An empty one that others can read, which anybody
/// may have put there, is closed to them before secrets come into it.
fn create(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            file.sync_all()?;
            File::open(folder(path))?.sync_all()
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = std::fs::metadata(path)?;
            let is_open = found.is_file() && found.len() == 0 && found.permissions().mode() & 0o077 != 0;
            if is_open { std::fs::set_permissions(path, Permissions::from_mode(0o600)) } else { Ok(()) }
        }
        Err(error) => Err(error),
    }
}

/// The folder of a file.
pub(super) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Whether nothing was ever stored: a crash may have come between making the file and laying it out.
fn is_new(connection: &Connection) -> rusqlite::Result<bool> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(tables == 0 && number("application_id")? == 0 && number("user_version")? == 0)
}

/// Makes the tables of a new store.
pub(super) fn lay_out(connection: &Connection) -> rusqlite::Result<()> {
    // Must be set before anything is written.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    settings(connection)?;
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; {} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;",
        log::SCHEMA
    ))
}

/// What holds as long as the connection is open. Tells the mode of the journal.
fn settings(connection: &Connection) -> rusqlite::Result<String> {
    // An answered commit is on the disk.
    connection.pragma_update(None, "synchronous", "FULL")?;
    checkpoint::leave_to_us(connection)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answered_commit_is_on_the_disk_and_room_can_be_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("krake.db");
        // As it is made, and as it is opened again.
        for _ in 0..2 {
            let lock = Lock::take(&path).unwrap().unwrap();
            let (connection, ..) = open(&path, &lock).unwrap();
            let number =
                |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).unwrap();
            assert_eq!(number("synchronous"), 2, "FULL");
            assert_eq!(number("auto_vacuum"), 2, "INCREMENTAL");
            let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
            assert_eq!(mode, "wal");
        }
    }
}
