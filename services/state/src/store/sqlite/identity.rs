//! Which files are open: SQLite goes on with files that have no name any more, and what it writes there is lost.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::{Revision, StoreError};
use super::failure::unavailable;
use super::written::{Stamp, Written};

/// The files of a store that is open, by their paths and by what the file system calls them. Clones share what is known of
/// the store's own file.
#[derive(Debug, Clone)]
pub(super) struct OpenFiles {
    path: Arc<Path>,
    /// Device and inode of each.
    files: Arc<[(PathBuf, (u64, u64))]>,
    written: Arc<Mutex<Written>>,
}

impl OpenFiles {
    /// The files that have these paths now, the store's own first. To be called before that is opened, so that a file
    /// which takes its place later is noticed.
    pub(super) fn at(path: &Path, others: &[PathBuf]) -> io::Result<Self> {
        let paths = [path.to_owned()].into_iter().chain(others.iter().cloned());
        let files = paths.map(|path| path.metadata().map(|file| (path, identity(&file))));
        Ok(Self { path: path.into(), files: files.collect::<io::Result<_>>()?, written: Arc::default() })
    }

    /// With one more file.
    pub(super) fn and(self, path: PathBuf) -> io::Result<Self> {
        let identity = identity(&path.metadata()?);
        let files = self.files.iter().cloned().chain([(path, identity)]).collect();
        Ok(Self { files, ..self })
    }

    /// The path of the store's file, without symbolic links.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Fails if another file has one of the paths, or none, or if the store's file was written over. While the writer
    /// changes that, it checks this itself.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.check_with(&mut self.written())
    }

    /// Checks before the writer changes the store's file, and looks into it whatever its time says.
    pub(super) fn begin_change(&self) -> Result<(), StoreError> {
        let mut written = self.written();
        written.forget_stamp();
        self.check_with(&mut written)?;
        written.set_writing(true);
        Ok(())
    }

    /// Checks after the writer has changed the store's file, which holds all up to this revision then; `None` if the
    /// writer does not know.
    pub(super) fn end_change(&self, revision: Option<Revision>) -> Result<(), StoreError> {
        let mut written = self.written();
        written.set_writing(false);
        written.forget_stamp();
        written.expect(revision);
        self.check_with(&mut written)
    }

    /// Sets the numbers of processes that the store's file may hold.
    pub(super) fn accept(&self, openings: Option<[i64; 2]>) {
        self.written().accept(openings);
    }

    /// Tells that the writer changed the store's file while it was moved.
    pub(super) fn changed_elsewhere(&self) {
        self.written().forget_stamp();
    }

    /// Whether the store's file was written over.
    pub(super) fn is_overwritten(&self) -> bool {
        self.written().is_overwritten()
    }

    fn check_with(&self, written: &mut Written) -> Result<(), StoreError> {
        let mut stamp = None;
        for (path, opened) in &*self.files {
            let found = look(path, *opened)?;
            stamp.get_or_insert_with(|| Stamp::from(&found));
        }
        match stamp {
            Some(stamp) if !written.is_ours(&self.path, stamp) => Err(overwritten(&self.path)),
            _ => Ok(()),
        }
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at a file that was opened.
fn look(path: &Path, opened: (u64, u64)) -> Result<Metadata, StoreError> {
    match path.metadata() {
        Ok(found) if identity(&found) == opened => Ok(found),
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

fn overwritten(path: &Path) -> StoreError {
    let path = path.display();
    unavailable(format!(
        "{path}: another program wrote over the file while this process has it open, so this process refuses all calls; \
         to use what is there now, stop this process, move {path}-wal and {path}-shm away, and start it again"
    ))
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// The path of a file beside the store's, by what is added to its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// A number that nothing else has: not negative, and not 0.
pub(super) fn random() -> i64 {
    let (random, _) = uuid::Uuid::new_v4().as_u64_pair();
    i64::try_from(random >> 1).unwrap_or_default().max(1)
}
