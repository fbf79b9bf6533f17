//! The file of a back-up while it is written: nobody else can read it, and it appears under its name when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use uuid::Uuid;

/// Ends the names of unfinished back-ups, by which those of processes that were killed are found.
const SUFFIX: &str = ".krake-partial";

/// An unfinished back-up. It is removed on drop.
pub(super) struct Partial {
    file: File,
    path: PathBuf,
    folder: PathBuf,
}

impl Partial {
    /// Makes a new file in the folder of `to`, that only its owner can read. Its name cannot be foreseen, and a file or
    /// link that is there already is never opened. Removes what back-ups left there that were killed.
    pub(super) fn create(to: &Path) -> anyhow::Result<Self> {
        let name = to.file_name().with_context(|| format!("{} names no file", to.display()))?;
        let folder = to.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        remove_leftovers(folder);
        let path = folder.join(format!(".{}.{}{SUFFIX}", name.to_string_lossy(), Uuid::new_v4().simple()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        // Tells other processes that it is in use; ends with this one.
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(Self { file, path, folder: folder.to_owned() })
    }

    /// Where to write.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Puts the file on the disk and under its name.
    pub(super) fn publish(self, to: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        // Unlike a rename, a link never replaces what somebody else put there meanwhile.
        fs::hard_link(&self.path, to)?;
        drop(fs::remove_file(&self.path));
        File::open(&self.folder)?.sync_all()
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // It may have been published.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes the unfinished back-ups that no process writes any more. What cannot be removed is named in the log: it holds
/// credentials.
fn remove_leftovers(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if !(name.starts_with('.') && name.ends_with(SUFFIX) && is_file) {
            continue;
        }
        let path = entry.path();
        let in_use = File::open(&path).is_ok_and(|file| file.try_lock().is_err());
        if in_use {
            continue;
        }
        match fs::remove_file(&path) {
            Ok(()) => {
                tracing::info!(file = %path.display(), "removed an unfinished back-up of a process that ended")
            }
            Err(error) => tracing::warn!(
                file = %path.display(), %error,
                "cannot remove an unfinished back-up, which holds credentials: remove it"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        entries.map(|name| name.into_string().unwrap()).collect()
    }

    #[test]
    fn it_is_a_new_file_of_its_owner_alone_and_gone_if_it_is_not_published() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("backup");
        // What an earlier version would have opened.
        let foreseen = folder.path().join(format!(".backup.{}.partial", std::process::id()));
        fs::write(&foreseen, "theirs").unwrap();
        fs::set_permissions(&foreseen, fs::Permissions::from_mode(0o666)).unwrap();
        let (one, two) = (Partial::create(&to).unwrap(), Partial::create(&to).unwrap());
        assert_ne!(one.path, two.path);
        drop(two);
        let mode = fs::metadata(&one.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        one.publish(&to).unwrap();
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&foreseen).unwrap(), "theirs");
        assert_eq!(names(folder.path()).len(), 2, "the other one is gone");
    }

    #[test]
    fn what_is_there_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (to, victim) = (folder.path().join("backup"), folder.path().join("victim"));
        fs::write(&victim, "theirs").unwrap();
        let partial = Partial::create(&to).unwrap();
        symlink(&victim, &to).unwrap();
        assert_eq!(partial.publish(&to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "theirs");
        assert_eq!(names(folder.path()).len(), 2);
    }

    #[test]
    fn what_killed_processes_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (left, victim) = (folder.path().join(".old.1234.krake-partial"), folder.path().join("victim"));
        fs::write(&left, "secrets").unwrap();
        fs::write(&victim, "theirs").unwrap();
        symlink(&victim, folder.path().join(".link.krake-partial")).unwrap();
        let in_use = Partial::create(&folder.path().join("one")).unwrap();
        assert!(!left.exists());
        let other = Partial::create(&folder.path().join("two")).unwrap();
        assert!(in_use.path.exists() && other.path.exists() && victim.exists());
    }
}
