//! A component's own temporary folder: data, configuration and log.

use std::path::{Path, PathBuf};
use std::sync::Once;

use anyhow::{Context, Result};
use tempfile::TempDir;

const PREFIX: &str = "krake-test-";

/// Makes an empty folder whose name begins with `name`; it is removed on drop. Those of test processes that ended
/// without dropping (killed, or shared by a `static`) are removed by the next test process.
/// `KRAKE_TEST_KEEP` keeps all.
pub fn create(name: &str) -> Result<TempDir> {
    static SWEPT: Once = Once::new();
    let keep = std::env::var_os("KRAKE_TEST_KEEP").is_some();
    if !keep {
        SWEPT.call_once(|| {
            remove_leftovers(&std::env::temp_dir(), |pid| Path::new("/proc").join(pid).exists())
        });
    }
    let parent = std::env::temp_dir().join(format!("{PREFIX}{}", std::process::id()));
    std::fs::create_dir_all(&parent).with_context(|| format!("making {}", parent.display()))?;
    tempfile::Builder::new()
        .prefix(&format!("{name}-"))
        .disable_cleanup(keep)
        .tempdir_in(&parent)
        .with_context(|| format!("making a folder in {}", parent.display()))
}

/// Removes what processes left in `parent` that do not run any more.
fn remove_leftovers(parent: &Path, runs: impl Fn(&str) -> bool) {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let left = |path: &PathBuf| {
        let pid = path.file_name().and_then(|name| name.to_str()?.strip_prefix(PREFIX));
        pid.is_some_and(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()) && !runs(pid))
    };
    for path in entries.map(|entry| entry.path()).filter(left) {
        // Another test process may be removing it too; what is left is only rubbish.
        let _ = std::fs::remove_dir_all(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_dead_processes_are_removed() {
        let parent = create("parent").unwrap();
        let folders = ["krake-test-1", "krake-test-2", "krake-test-notes", "other-2"]
            .map(|name| parent.path().join(name));
        folders.iter().for_each(|folder| std::fs::create_dir_all(folder.join("data")).unwrap());
        remove_leftovers(parent.path(), |pid| pid == "1");
        assert_eq!(folders.map(|folder| folder.exists()), [true, false, true, true]);
    }
}
