//! Which file is open: SQLite goes on with a file that has no name any more, and what it writes there is lost.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::super::StoreError;
use super::failure::unavailable;

/// A file that is open, by its path and by what the file system calls it.
#[derive(Debug, Clone)]
pub(super) struct OpenFile {
    path: Arc<Path>,
    /// Device and inode.
    identity: (u64, u64),
}

impl OpenFile {
    /// The file that has this path now. To be called before it is opened: a file that takes its place later is noticed.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.into(), identity: identity(path)? })
    }

    /// The path that it had when it was opened, without symbolic links.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Fails if another file has the path, or none.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match identity(&self.path) {
            Ok(identity) if identity == self.identity => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(unavailable(format!("{}: cannot look at the file: {error}", self.path.display())))
            }
            _ => Err(unavailable(format!(
                "{}: the file was moved or replaced while this process has it open, so this process refuses all calls \
                 until it is back; to use what is there now, restart this process",
                self.path.display()
            ))),
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    path.metadata().map(|file| (file.dev(), file.ino()))
}
