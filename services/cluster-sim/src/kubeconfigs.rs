//! Kubeconfig files: only their owner can read them, and they appear under their names when they are whole.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use uuid::Uuid;

/// Makes the folder if it is not there, closed to others.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Writes one file into the folder, in place of one of the same name. A file or link that is there is never written
/// through: the new file has a name that cannot be foreseen until it is whole.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write(folder: &Path, name: &str, content: &str) -> io::Result<()> {
    let partial = folder.join(format!(".{name}.{}.partial", Uuid::new_v4().simple()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
    let written = file.write_all(content.as_bytes()).and_then(|()| fs::rename(&partial, folder.join(name)));
    if written.is_err() {
        // The error that is returned matters more.
        let _ = fs::remove_file(&partial);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_kubeconfig_is_its_owners_alone_and_replaces_links_instead_of_what_they_lead_to() {
        let folder = std::env::temp_dir().join(Uuid::new_v4().to_string());
        make_folder(&folder).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        let (open, linked, victim) = (folder.join("a.yaml"), folder.join("b.yaml"), folder.join("victim"));
        fs::write(&open, "earlier").unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o666)).unwrap();
        fs::write(&victim, "theirs").unwrap();
        symlink(&victim, &linked).unwrap();
        for name in ["a.yaml", "b.yaml"] {
            write(&folder, name, "secret").unwrap();
            assert_eq!(fs::read_to_string(folder.join(name)).unwrap(), "secret");
            assert_eq!(mode(&folder.join(name)), 0o600);
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "theirs");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 3, "nothing else is left");
        assert!(write(&folder.join("missing"), "a.yaml", "secret").is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
