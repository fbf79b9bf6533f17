//! Notices when another program writes over the files of an open store, as `cp` does: they stay the same files, so their
//! names and inodes tell nothing. Only the writer changes the file, when it puts the log into it; so a changed time or size
//! at any other moment is looked into. Only the writer changes the log, too; that one is refused if it changed otherwise.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::super::Revision;
use super::checkpoint::LogPages;
use super::log_end::LogEnd;
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

/// What is known of the files. To be held while they are looked at.
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
    /// Whether the log went into the file only in part, so that what the file holds alone tells nothing.
    in_part: bool,
    /// The log as the writer left it; `None` if that is not known.
    log: Option<KnownLog>,
    /// Whether the writer may be changing the log.
    writing_log: bool,
    /// Whether one of them was written over. That cannot be undone.
    overwritten: bool,
}

/// The log as the writer left it.
#[derive(Debug, Clone, Copy)]
struct KnownLog {
    stamp: Stamp,
    /// `None` if it could not be read.
    end: Option<LogEnd>,
}

impl Written {
    /// Sets the numbers that the file may hold, and has it looked into.
    pub(super) fn accept(&mut self, openings: Option<[i64; 2]>) {
        (self.openings, self.stamp) = (openings, None);
    }

    /// Has the file looked into at the next check, if that tells anything.
    pub(super) fn forget_stamp(&mut self) {
        if !self.in_part {
            self.stamp = None;
        }
    }

    /// Tells whether the writer put the log into the file only in part.
    pub(super) fn set_in_part(&mut self, in_part: bool) {
        (self.in_part, self.stamp) = (in_part, None);
    }

    /// Whether the log went into the file only in part when the writer put it in last.
    pub(super) fn is_in_part(&self) -> bool {
        self.in_part
    }

    /// Sets the revision that the file alone has at least, if the writer knows it.
    pub(super) fn expect(&mut self, revision: Option<Revision>) {
        self.revision = self.revision.max(revision.unwrap_or_default().0);
    }

    /// Tells when the writer begins and ends.
    pub(super) fn set_writing(&mut self, writing: bool) {
        self.writing = writing;
    }

    /// Tells that the writer begins to change the log, of which SQLite knows `pages`.
    pub(super) fn begin_log(&mut self, pages: Option<LogPages>) {
        if let (Some(KnownLog { end: Some(end), .. }), Some(pages)) = (&mut self.log, pages) {
            match end.still(pages) {
                Some(still) => *end = still,
                None => self.overwritten = true,
            }
        }
        self.writing_log = true;
    }

    /// Tells that the writer has changed the log, and looks at it. With `put_in`, it put it into the file meanwhile, too.
    pub(super) fn end_log(&mut self, path: &Path, stamp: Stamp, pages: Option<LogPages>, put_in: bool) {
        self.writing_log = false;
        let former = self.log.and_then(|known| known.end);
        let end = match pages.map(|pages| LogEnd::after(former, path, pages, put_in)) {
            Some(Ok(None)) => {
                self.overwritten = true;
                return;
            }
            Some(Ok(end)) => end,
            Some(Err(_)) | None => None,
        };
        self.log = Some(KnownLog { stamp, end });
    }

    /// Tells that the writer changed the log, and that it is not known how.
    pub(super) fn forget_log(&mut self) {
        (self.log, self.writing_log) = (None, false);
    }

    /// Whether the log is still what the writer left.
    pub(super) fn is_our_log(&mut self, stamp: Stamp) -> bool {
        let changed = self.log.is_some_and(|known| known.stamp != stamp);
        self.overwritten |= changed && !self.writing_log;
        !self.overwritten
    }

    /// Whether one of the files was written over.
    pub(super) fn is_overwritten(&self) -> bool {
        self.overwritten
    }

    /// Looks at the file; whether it is still what the writer left.
    pub(super) fn is_ours(&mut self, path: &Path, stamp: Stamp) -> bool {
        if !self.overwritten && !self.writing && self.stamp != Some(stamp) {
            if self.in_part {
                self.overwritten = self.stamp.is_some();
            } else {
                match file_alone(path) {
                    Ok(alone) if self.continues(alone) => self.revision = alone.revision,
                    Err(error) if !is_about_the_contents(&error) => return true,
                    _ => self.overwritten = true,
                }
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
