//! The right to open a file, and what is noted beside it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::super::Revision;
use super::file::{OpenError, folder};
use super::identity::beside;

/// The length of a number as text with its line end: 64 bits have 19 digits.
const NUMBER_TEXT: usize = 21;

/// The right to open a file, held by one process; ends with it. SQLite's own locks are per transaction.
///
/// Its own file beside the store holds, as text, a revision that the store had, so that a store which was replaced by an
/// older copy is noticed; and the numbers of [`super::opening`], so that a log which belongs to another file is noticed.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    file: File,
    /// What the disk holds at least: as the file was when it was last synchronized.
    #[cfg(test)]
    synced: std::sync::Mutex<Vec<u8>>,
}

impl Lock {
    /// Takes it; `None` if another process has it.
    pub(super) fn take(file: &Path) -> Result<Option<Self>, OpenError> {
        let path = beside(file, ".lock");
        let mut options = OpenOptions::new();
        let lock = options.create(true).truncate(false).read(true).write(true).mode(0o600).open(&path);
        let lock = lock.map_err(|source| OpenError::File { path: path.clone(), source })?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self {
                #[cfg(test)]
                synced: std::sync::Mutex::new(std::fs::read(&path).unwrap_or_default()),
                path,
                file: lock,
            })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(OpenError::File { path, source }),
        }
    }

    /// The path of its file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The revision recorded last; `None` if there is none.
    pub(super) fn recorded(&self) -> Option<Revision> {
        number(&self.file, 0).map(Revision)
    }

    /// Records a revision that the store has on the disk. Without it an older copy is noticed later or not at all, so a
    /// failure is no reason to stop, and the disk is not waited for.
    pub(super) fn record(&self, revision: Revision) {
        if let Err(error) = self.file.write_all_at(line(revision.0).as_bytes(), 0) {
            tracing::debug!(%error, "cannot record what the store is beside it");
        }
    }

    /// The numbers of the processes that may have opened the file last; `None` from an older version.
    pub(super) fn openings(&self) -> Option<[i64; 2]> {
        openings_in(&self.file)
    }

    /// Records the numbers of the processes that may have opened the file last. Returns when they are on the disk. Both
    /// are in one sector, so a power loss leaves the former two or these.
    pub(super) fn record_openings(&self, [before, now]: [i64; 2]) -> io::Result<()> {
        let text = line(before) + &line(now);
        self.file.write_all_at(text.as_bytes(), NUMBER_TEXT as u64)?;
        self.file.sync_all()?;
        File::open(folder(&self.path))?.sync_all()?;
        #[cfg(test)]
        self.note_synced();
        Ok(())
    }
}

/// [`Lock::openings`] of a file that this process does not open for writing. Takes no lock and makes no file.
pub(super) fn openings_beside(file: &Path) -> Option<[i64; 2]> {
    openings_in(&File::open(beside(file, ".lock")).ok()?)
}

fn openings_in(lock: &File) -> Option<[i64; 2]> {
    Some([number(lock, 1)?, number(lock, 2)?])
}

/// The number in a line.
fn number(lock: &File, line: u64) -> Option<i64> {
    let mut text = [0; NUMBER_TEXT];
    lock.read_exact_at(&mut text, line * NUMBER_TEXT as u64).ok()?;
    std::str::from_utf8(&text).ok()?.trim().parse().ok()
}

#[cfg(test)]
impl Lock {
    fn note_synced(&self) {
        *self.synced.lock().unwrap() = std::fs::read(&self.path).unwrap();
    }

    /// What a power loss now may leave of the file.
    pub(super) fn synced(&self) -> Vec<u8> {
        self.synced.lock().unwrap().clone()
    }
}

/// A number as a line of the file.
fn line(number: i64) -> String {
    format!("{number:>width$}\n", width = NUMBER_TEXT - 1)
}
