//! Where the write-ahead log ends, by what the log itself holds, so that a log which another program wrote over is noticed.
//!
//! Its header holds two numbers, the salts, and each frame repeats them. SQLite begins the log anew, with other salts, only
//! when all of it is in the file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::checkpoint::LogPages;

/// Bytes before the first frame.
const HEADER_BYTES: usize = 32;
/// Bytes of a frame before its page.
const FRAME_HEADER_BYTES: usize = 24;

/// The end of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogEnd {
    /// Frames up to the last commit; 0 of a log that is empty.
    frames: u64,
    /// Of the header.
    salts: [u8; 8],
    /// The header of the last of these frames: its salts, and a checksum over all frames up to it.
    last: [u8; FRAME_HEADER_BYTES],
    /// Whether all of it is in the file, so that SQLite may begin it anew.
    is_in_file: bool,
}

impl LogEnd {
    /// The end after the writer was at work, and at `former` before; `None` if the log cannot have come from that one by
    /// the writer alone. `pages` is what SQLite knows of the log. With `renewable`, the writer may have put it into the file
    /// meanwhile.
    pub(super) fn after(
        former: Option<Self>,
        path: &Path,
        pages: LogPages,
        renewable: bool,
    ) -> io::Result<Option<Self>> {
        let read = || -> io::Result<Option<Self>> {
            let log = File::open(path)?;
            let end = Self::read(&log, pages)?;
            let at_former = match former {
                Some(former) if former.frames > 0 && former.frames <= end.frames => {
                    Some(frame_header(&log, former.frames)?)
                }
                _ => None,
            };
            Ok(former.is_none_or(|former| former.leads_to(&end, at_former, renewable)).then_some(end))
        };
        match read() {
            // It is shorter than SQLite knows.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            read => read,
        }
    }

    /// The same end before the writer goes on; `None` if SQLite knows another one.
    pub(super) fn still(self, pages: LogPages) -> Option<Self> {
        (pages.all == self.frames).then_some(Self { is_in_file: pages.are_in_file(), ..self })
    }

    fn read(log: &File, pages: LogPages) -> io::Result<Self> {
        let (frames, is_in_file) = (pages.all, pages.are_in_file());
        let (mut salts, mut last) = ([0; 8], [0; FRAME_HEADER_BYTES]);
        if frames > 0 {
            log.read_exact_at(&mut salts, 16)?;
            last = frame_header(log, frames)?;
        }
        Ok(Self { frames, salts, last, is_in_file })
    }

    /// Whether the writer may have come from here to `end`. `at_former` is what the log holds now where this end was.
    fn leads_to(&self, end: &Self, at_former: Option<[u8; FRAME_HEADER_BYTES]>, renewable: bool) -> bool {
        let may_be_new = self.frames == 0 || self.is_in_file || renewable;
        if end.frames == 0 {
            return may_be_new;
        }
        let is_one_log = end.last[8..16] == end.salts;
        let goes_on = end.salts == self.salts && at_former == Some(self.last);
        // SQLite counts the first salt up. What it was is not known of a log that was empty.
        let is_next = self.frames == 0 || first_salt(&end.salts) == first_salt(&self.salts).wrapping_add(1);
        is_one_log && (goes_on || (may_be_new && (renewable || is_next)))
    }
}

fn first_salt(salts: &[u8; 8]) -> u32 {
    let [a, b, c, d, ..] = *salts;
    u32::from_be_bytes([a, b, c, d])
}

/// The header of a frame; the first one is 1.
fn frame_header(log: &File, frame: u64) -> io::Result<[u8; FRAME_HEADER_BYTES]> {
    let mut page_bytes = [0; 4];
    log.read_exact_at(&mut page_bytes, 8)?;
    let frame_bytes = u64::from(u32::from_be_bytes(page_bytes)) + FRAME_HEADER_BYTES as u64;
    let mut header = [0; FRAME_HEADER_BYTES];
    log.read_exact_at(
        &mut header,
        HEADER_BYTES as u64 + frame.saturating_sub(1).saturating_mul(frame_bytes),
    )?;
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The end of a log whose first salt is `salt`, with a checksum that names the frame.
    fn end(salt: u32, frames: u64, is_in_file: bool) -> LogEnd {
        let (mut salts, mut last) = ([0; 8], [0; FRAME_HEADER_BYTES]);
        if frames > 0 {
            salts[..4].copy_from_slice(&salt.to_be_bytes());
            last[8..16].copy_from_slice(&salts);
            last[16..].copy_from_slice(&frames.to_be_bytes());
        }
        LogEnd { frames, salts, last, is_in_file }
    }

    #[test]
    fn a_log_goes_on_or_is_begun_anew_once_it_is_in_the_file() {
        let in_file = true;
        for (former, now, at_former, allowed, why) in [
            (end(7, 5, false), end(7, 6, false), Some(5), true, "a commit"),
            (end(7, 5, false), end(7, 5, false), Some(5), true, "nothing"),
            (end(7, 5, in_file), end(7, 9, false), Some(5), true, "a reader keeps it from being begun anew"),
            (end(7, 5, in_file), end(8, 2, false), None, true, "begun anew"),
            (end(7, 5, in_file), end(8, 9, false), Some(0), true, "begun anew, and longer at once"),
            (end(7, 5, in_file), end(9, 2, false), None, false, "the salt of another log"),
            (end(7, 5, in_file), end(8, 0, false), None, true, "begun anew by a commit that failed"),
            (end(7, 0, false), end(3, 2, false), None, true, "the first commit"),
            (end(7, 5, false), end(8, 2, false), None, false, "begun anew before it is in the file"),
            (end(7, 5, false), end(7, 4, false), None, false, "shorter"),
            (end(7, 5, false), end(7, 8, false), Some(0), false, "a hole where its end was"),
            (end(7, 5, false), end(7, 0, false), None, false, "empty"),
        ] {
            let at_former = at_former.map(|frames| end(7, frames, false).last);
            assert_eq!(former.leads_to(&now, at_former, false), allowed, "{why}");
        }
        let mixed = LogEnd { salts: end(6, 1, false).salts, ..end(7, 6, false) };
        assert!(!end(7, 5, in_file).leads_to(&mixed, Some(end(7, 5, false).last), false), "another header");
        assert!(end(7, 5, false).leads_to(&end(9, 1, false), None, true), "put into the file meanwhile");
    }

    #[test]
    fn what_sqlite_knows_before_a_commit_is_what_was_left() {
        let pages = |all, put_in| LogPages { all, put_in };
        assert_eq!(end(7, 5, false).still(pages(5, 5)), Some(end(7, 5, true)), "put in by another reader");
        assert_eq!(end(7, 5, false).still(pages(4, 0)), None, "the index beside it was written over");
    }
}
