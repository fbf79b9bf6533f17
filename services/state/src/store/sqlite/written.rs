//! Notices when another program writes over the file of an open store, as `cp` does: it stays the same file, so its name
//! and inode tell nothing. Only the writer changes the file, when it puts the log into it; so a changed time or size at
//! any other moment is looked into.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::super::Revision;
use super::opening::{FileAlone, file_alone, is_about_the_contents};

/// Size of a file, and the time of its last change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    bytes: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl From<&Metadata> for Stamp {
    fn from(file: &Metadata) -> Self {
        Self { bytes: file.len(), seconds: file.mtime(), nanoseconds: file.mtime_nsec() }
    }
}

/// What is known of the file. To be held while the file is looked at.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// The file as it was when it was last looked into; `None` before that.
    stamp: Option<Stamp>,
    /// The revision that the file alone has at least: it never falls.
    revision: i64,
    /// The numbers that the file may hold; `None` if they are not known.
    openings: Option<[i64; 2]>,
    /// Whether the writer may be changing it.
    writing: bool,
    /// Whether it was written over. That cannot be undone.
    overwritten: bool,
}

impl Written {
    /// Sets the numbers that the file may hold, and has it looked into.
    pub(super) fn accept(&mut self, openings: Option<[i64; 2]>) {
        (self.openings, self.stamp) = (openings, None);
    }

    /// Has the file looked into at the next check.
    pub(super) fn forget_stamp(&mut self) {
        self.stamp = None;
    }

    /// Sets the revision that the file alone has at least, if the writer knows it.
    pub(super) fn expect(&mut self, revision: Option<Revision>) {
        self.revision = self.revision.max(revision.unwrap_or_default().0);
    }

    /// Tells when the writer begins and ends.
    pub(super) fn set_writing(&mut self, writing: bool) {
        self.writing = writing;
    }

    /// Whether the file was written over.
    pub(super) fn is_overwritten(&self) -> bool {
        self.overwritten
    }

    /// Looks at the file; whether it is still what the writer left.
    pub(super) fn is_ours(&mut self, path: &Path, stamp: Stamp) -> bool {
        if !self.overwritten && !self.writing && self.stamp != Some(stamp) {
            match file_alone(path) {
                Ok(alone) if self.continues(alone) => self.revision = alone.revision,
                Err(error) if !is_about_the_contents(&error) => return true,
                _ => self.overwritten = true,
            }
            self.stamp = Some(stamp);
        }
        !self.overwritten
    }

    /// Whether a file that holds this may be the one that was looked into before.
    fn continues(&self, alone: FileAlone) -> bool {
        let known = self.openings.is_none_or(|openings| openings.contains(&alone.opening));
        known && alone.revision >= self.revision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_goes_on_has_a_known_number_and_no_lower_revision() {
        let written = Written { revision: 7, openings: Some([3, 4]), ..Written::default() };
        for (opening, revision, continues) in [(3, 7, true), (4, 8, true), (4, 6, false), (5, 8, false)] {
            assert_eq!(
                written.continues(FileAlone { opening, revision }),
                continues,
                "{opening} at {revision}"
            );
        }
        assert!(Written::default().continues(FileAlone { opening: 9, revision: 1 }), "nothing is known");
    }
}
