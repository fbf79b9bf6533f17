//! Which files are open: SQLite goes on with files that have no name any more, and what it writes there is lost.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::{Revision, StoreError};
use super::checkpoint::LogPages;
use super::failure::unavailable;
use super::written::{Stamp, Written};

/// The files of a store that is open, by their paths and by what the file system calls them. Clones share what is known of
/// the store's own file and of its log.
#[derive(Debug, Clone)]
pub(super) struct OpenFiles {
    path: Arc<Path>,
    /// Device and inode of each.
    files: Arc<[(PathBuf, (u64, u64))]>,
    /// The write-ahead log, which is one of them.
    log: Arc<Path>,
    written: Arc<Mutex<Written>>,
}

impl OpenFiles {
    /// The files that have these paths now, the store's own first. To be called before that is opened, so that a file
    /// which takes its place later is noticed.
    pub(super) fn at(path: &Path, others: &[PathBuf]) -> io::Result<Self> {
        let paths = [path.to_owned()].into_iter().chain(others.iter().cloned());
        let files = paths.map(|path| path.metadata().map(|file| (path, identity(&file))));
        let (files, log) = (files.collect::<io::Result<_>>()?, beside(path, "-wal").into());
        Ok(Self { path: path.into(), files, log, written: Arc::default() })
    }

    /// With the write-ahead log, which is there as long as the file is open.
    pub(super) fn and_log(self) -> io::Result<Self> {
        let identity = identity(&self.log.metadata()?);
        let files = self.files.iter().cloned().chain([(self.log.to_path_buf(), identity)]).collect();
        Ok(Self { files, ..self })
    }

    /// The path of the store's file, without symbolic links.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Fails if another file has one of the paths, or none, or if one that only the writer writes was written over. While the
    /// writer changes it, it checks this itself.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.check_with(&mut self.written())
    }

    /// Checks before the writer changes the log, of which SQLite knows `pages`.
    pub(super) fn begin_commit(&self, pages: Option<LogPages>) -> Result<(), StoreError> {
        let mut written = self.written();
        self.begin(&mut written, pages)
    }

    /// Checks after the writer has changed the log.
    pub(super) fn end_commit(&self, pages: Option<LogPages>) -> Result<(), StoreError> {
        let mut written = self.written();
        self.end_log(&mut written, pages, false)?;
        self.check_with(&mut written)
    }

    /// Checks before the writer changes the store's file and the log, and looks into the file whatever its time says.
    pub(super) fn begin_change(&self, pages: Option<LogPages>) -> Result<(), StoreError> {
        let mut written = self.written();
        written.forget_stamp();
        self.begin(&mut written, pages)?;
        written.set_writing(true);
        Ok(())
    }

    /// Checks before and after the log is compared with what SQLite knows of it.
    fn begin(&self, written: &mut Written, pages: Option<LogPages>) -> Result<(), StoreError> {
        self.check_with(written)?;
        written.begin_log(pages);
        self.check_with(written).inspect_err(|_| written.forget_log())
    }

    /// Checks after the writer has changed the store's file, which holds all up to this revision then; `None` if not all of
    /// the log is in it.
    pub(super) fn end_change(
        &self,
        revision: Option<Revision>,
        pages: Option<LogPages>,
    ) -> Result<(), StoreError> {
        let mut written = self.written();
        written.set_writing(false);
        written.set_in_part(revision.is_none());
        written.expect(revision);
        self.end_log(&mut written, pages, true)?;
        self.check_with(&mut written)
    }

    fn end_log(
        &self,
        written: &mut Written,
        pages: Option<LogPages>,
        put_in: bool,
    ) -> Result<(), StoreError> {
        for (path, opened) in self.files.iter().filter(|(path, _)| **path == *self.log) {
            match look(path, *opened) {
                // The time is taken before the log is read: what changes later is noticed at the next check.
                Ok(found) => written.end_log(path, Stamp::from(&found), pages, put_in),
                Err(error) => {
                    written.forget_log();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Sets the numbers of processes that the store's file may hold.
    pub(super) fn accept(&self, openings: Option<[i64; 2]>) {
        self.written().accept(openings);
    }

    /// Tells that the writer changed the store's file and the log while one of them was moved, and whether the log went in
    /// only in part.
    pub(super) fn changed_elsewhere(&self, in_part: bool) {
        let mut written = self.written();
        written.set_in_part(in_part);
        written.forget_log();
    }

    /// Tells whether the log went into the store's file only in part when that was opened.
    pub(super) fn set_in_part(&self, in_part: bool) {
        self.written().set_in_part(in_part);
    }

    /// Whether the log went into the store's file only in part: the disk was full, or others read.
    pub(super) fn is_in_part(&self) -> bool {
        self.written().is_in_part()
    }

    /// Whether one of the files was written over.
    pub(super) fn is_overwritten(&self) -> bool {
        self.written().is_overwritten()
    }

    fn check_with(&self, written: &mut Written) -> Result<(), StoreError> {
        let (mut own, mut log) = (None, None);
        for (path, opened) in &*self.files {
            let found = Some(Stamp::from(&look(path, *opened)?));
            if **path == *self.log {
                log = found;
            }
            own = own.or(found);
        }
        let is_ours = own.is_none_or(|stamp| written.is_ours(&self.path, stamp))
            && log.is_none_or(|stamp| written.is_our_log(stamp));
        if is_ours { Ok(()) } else { Err(overwritten(&self.path)) }
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
        "{path}: another program wrote over the file or over {path}-wal while this process has them open, so this process \
         refuses all calls; stop this process, copy {path}, {path}-wal and {path}.lock to another folder before anything \
         else, as each of them may hold what the others have lost, and start it again: it uses what is there then, or says \
         what does not belong together"
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
