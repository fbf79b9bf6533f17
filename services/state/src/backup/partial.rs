//! The file of a back-up while it is written: nobody else can read it, and it appears under its name when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
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
    /// Makes a new file in the folder of `to`, which only its owner can read. Its name cannot be foreseen, and a file or
    /// link that exists is never opened. Removes unfinished back-ups of processes that were killed.
    pub(super) fn create(to: &Path) -> anyhow::Result<Self> {
        let name = to.file_name().with_context(|| format!("{} names no file", to.display()))?;
        let folder = to.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        remove_leftovers(folder);
        loop {
            let name = format!(".{}.{}{SUFFIX}", name.to_string_lossy(), Uuid::new_v4().simple());
            let path = folder.join(name);
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            let file = file.with_context(|| format!("cannot write {}", path.display()))?;
            if let Some(file) = claim(file).with_context(|| format!("cannot lock {}", path.display()))? {
                return Ok(Self { file, path, folder: folder.to_owned() });
            }
        }
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

/// Locks a new file, which tells other processes that it is in use, until this process ends. `None` if another process
/// took it for a leftover and removed it before it was locked.
fn claim(file: File) -> io::Result<Option<File>> {
    file.lock()?;
    Ok((file.metadata()?.nlink() > 0).then_some(file))
}

/// Removes unfinished back-ups that no process writes any more. The log names those that cannot be removed: they hold
/// credentials.
fn remove_leftovers(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if name.starts_with('.') && name.ends_with(SUFFIX) && is_file {
            remove_leftover(&entry.path());
        }
    }
}

fn remove_leftover(path: &Path) {
    // Held until it is removed, so that its maker, who may be about to lock it, finds out.
    let opened = File::open(path);
    if opened.as_ref().is_ok_and(|file| file.try_lock().is_err()) {
        return;
    }
    match fs::remove_file(path) {
        Ok(()) => {
            tracing::info!(file = %path.display(), "removed an unfinished back-up of a process that ended")
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(
            file = %path.display(), %error,
            "cannot remove an unfinished back-up, which holds credentials: remove it"
        ),
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

    #[test]
    fn a_new_file_that_another_process_took_for_a_leftover_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".new.krake-partial");
        let new = || OpenOptions::new().write(true).create_new(true).open(&path).unwrap();
        let made = new();
        remove_leftovers(folder.path());
        assert!(claim(made).unwrap().is_none(), "it is removed");
        let claimed = claim(new()).unwrap();
        remove_leftovers(folder.path());
        assert!(claimed.is_some() && path.exists());
    }

    #[test]
    fn back_ups_that_begin_together_keep_their_files() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for number in 0..4 {
                let to = folder.path().join(number.to_string());
                scope.spawn(move || {
                    for _ in 0..500 {
                        let partial = Partial::create(&to).unwrap();
                        assert!(partial.path.exists());
                    }
                });
            }
        });
    }
}
