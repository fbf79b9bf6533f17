//! The data folder: made for its owner alone, with the store in it, which one process at a time may have open.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use krake_state::store::{OpenError, SqliteOptions, SqliteStore, make_folder};

/// Kubeconfigs are stored as they are.
const OWNER_ONLY: u32 = 0o700;
/// The file with everything that is stored.
const DATABASE: &str = "krake.db";

/// A folder that is there and can be used.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
}

impl DataFolder {
    /// Makes the folder if it is not there.
    pub(crate) fn make(path: &Path) -> anyhow::Result<Self> {
        let cannot_use = || format!("cannot use the data folder {} (--data-dir)", path.display());
        let path = make_folder(path).with_context(cannot_use)?;
        let mode = path.metadata().with_context(cannot_use)?.mode();
        if mode & !OWNER_ONLY & 0o777 != 0 {
            let folder = path.display();
            tracing::warn!(%folder, "others may look into the data folder, which holds kubeconfigs: chmod 700 it");
        }
        Ok(DataFolder { path })
    }

    /// Opens the store. The operating system takes back the right to it however this process ends.
    pub(crate) async fn open_store(&self) -> anyhow::Result<SqliteStore> {
        // No lease of a process that was killed may hold up the controllers of this one.
        let options = SqliteOptions { forget_leases: true, ..SqliteOptions::new(self.path.join(DATABASE)) };
        SqliteStore::open(options).await.map_err(|error| match error {
            OpenError::InUse { .. } => anyhow!(
                "the data folder {} is in use by another krake: stop that one, or name another folder by --data-dir",
                self.path.display()
            ),
            error => error.into(),
        })
    }

    /// Where it is, as an absolute path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_new_folder_is_its_owners_alone_and_serves_one_process_at_a_time() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("a/b");
        let folder = DataFolder::make(&path).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700);
        let store = folder.open_store().await.unwrap();
        let error = DataFolder::make(&path).unwrap().open_store().await.map(drop).unwrap_err().to_string();
        assert!(error.contains("in use") && error.contains("--data-dir"), "{error}");
        store.close().await;
        folder.open_store().await.unwrap();
    }

    #[test]
    fn what_cannot_be_a_folder_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for path in [file.path().to_owned(), file.path().join("x")] {
            let error = format!("{:#}", DataFolder::make(&path).unwrap_err());
            assert!(error.contains(file.path().to_str().unwrap()) && error.contains("--data-dir"), "{error}");
            assert!(error.contains("it is not a folder; name another one"), "{error}");
        }
        let outer = tempfile::tempdir().unwrap();
        let link = outer.path().join("link");
        std::os::unix::fs::symlink("/nowhere/data", &link).unwrap();
        let error = format!("{:#}", DataFolder::make(&link).unwrap_err());
        assert!(error.contains("it is a symbolic link to /nowhere/data, which cannot be reached"), "{error}");
    }
}
