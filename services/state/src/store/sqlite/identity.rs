//! Which files are open: SQLite goes on with files that have no name any more, and what it writes there is lost; and it
//! reads whatever log it finds beside a file.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};

use super::super::StoreError;
use super::failure::unavailable;
use super::log;

/// The files of a store that is open, by their paths and by what the file system calls them.
#[derive(Debug, Clone)]
pub(super) struct OpenFiles {
    path: Arc<Path>,
    /// Device and inode of each.
    files: Arc<[(PathBuf, (u64, u64))]>,
}

impl OpenFiles {
    /// The files that have these paths now, the store's own first. To be called before that is opened, so that a file
    /// which takes its place later is noticed.
    pub(super) fn at(path: &Path, others: &[PathBuf]) -> io::Result<Self> {
        let paths = [path.to_owned()].into_iter().chain(others.iter().cloned());
        let files = paths.map(|path| identity(&path).map(|identity| (path, identity)));
        Ok(Self { path: path.into(), files: files.collect::<io::Result<_>>()? })
    }

    /// With one more file.
    pub(super) fn and(self, path: PathBuf) -> io::Result<Self> {
        let identity = identity(&path)?;
        let files = self.files.iter().cloned().chain([(path, identity)]).collect();
        Ok(Self { files, ..self })
    }

    /// The path of the store's file, without symbolic links.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Fails if another file has one of the paths, or none.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.files.iter().try_for_each(|(path, opened)| check(path, *opened))
    }
}

fn check(path: &Path, opened: (u64, u64)) -> Result<(), StoreError> {
    match identity(path) {
        Ok(identity) if identity == opened => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(unavailable(format!("{}: cannot look at the file: {error}", path.display())))
        }
        _ => Err(unavailable(format!(
            "{}: the file was moved or replaced while this process has it open, so this process refuses all calls until \
             it is back; to use what is there now, restart this process",
            path.display()
        ))),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    path.metadata().map(|file| (file.dev(), file.ino()))
}

/// The path of a file beside the store's, by what is added to its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Whether a log that stands beside a file belongs to another one, which was here before: SQLite would read it into this
/// one. `recorded` are the numbers of those who opened the former file last.
pub(super) fn has_log_of_another(path: &Path, recorded: Option<[i64; 2]>) -> bool {
    let bytes = |path: &Path| path.metadata().map_or(0, |file| file.len());
    if bytes(&beside(path, "-wal")) == 0 {
        return false;
    }
    let Some(recorded) = recorded else { return bytes(path) == 0 };
    // What is damaged is found when it is opened.
    opening_without_log(path).is_ok_and(|opening| !recorded.contains(&opening))
}

/// Who opened a file last, by the file alone.
fn opening_without_log(path: &Path) -> rusqlite::Result<i64> {
    let escape = |text: &str| text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let Some(path) = path.to_str() else { return Err(rusqlite::Error::InvalidPath(path.to_owned())) };
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(format!("file:{}?immutable=1", escape(path)), flags)?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 { Ok(0) } else { log::id(&connection, log::OPENING) }
}

/// A number that nothing else has: not negative, and not 0.
pub(super) fn random() -> i64 {
    let (random, _) = uuid::Uuid::new_v4().as_u64_pair();
    i64::try_from(random >> 1).unwrap_or_default().max(1)
}
