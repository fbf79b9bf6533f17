//! Reading files whole, with a limit and without waiting: a path may lead to a device that never ends, or to a pipe that
//! nothing writes to.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Reads `source` to its end.
///
/// # Errors
/// When reading fails, or the source holds more than this many whole MiB ([`io::ErrorKind::FileTooLarge`]).
pub fn read_at_most(mebibytes: u64, source: impl Read) -> io::Result<Vec<u8>> {
    let limit = mebibytes << 20;
    let mut content = Vec::new();
    source.take(limit + 1).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        let text = format!("it is larger than {mebibytes} MiB");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(content)
}

/// Reads a file: a regular one, or what a shell passes by a name: a pipe with a writer, a terminal, `/dev/null`.
///
/// # Errors
/// As [`read_at_most`]; also when it is anything else, or a pipe without a writer, which would be waited for for ever.
pub fn read_file_at_most(mebibytes: u64, path: &Path) -> io::Result<Vec<u8>> {
    let (file, source) = open(path)?;
    let content = read_at_most(mebibytes, file).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => refused("it has nothing to read now"),
        _ => error,
    })?;
    if source == Source::Pipe && content.is_empty() {
        return Err(refused("it is a pipe without a writer, or nothing was written to it"));
    }
    Ok(content)
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    File,
    /// Empty without a writer, not waited for.
    Pipe,
}

fn refused(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<(File, Source)> {
    Ok((File::open(path)?, Source::File))
}

#[cfg(unix)]
fn open(path: &Path) -> io::Result<(File, Source)> {
    use std::fs::OpenOptions;
    use std::io::IsTerminal;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};

    use rustix::fs::{OFlags, fcntl_setfl};

    let found = path.metadata().map_err(|error| match path.symlink_metadata() {
        Ok(_) if error.kind() == io::ErrorKind::NotFound => refused("it is a link that leads nowhere"),
        _ => error,
    })?;
    let is_null = || Path::new("/dev/null").metadata().is_ok_and(|null| null.rdev() == found.rdev());
    let kind = found.file_type();
    if kind.is_dir() {
        return Err(refused("it is a directory"));
    }
    if kind.is_socket() {
        return Err(refused("it is a socket"));
    }
    if kind.is_block_device() {
        return Err(refused("it is a device"));
    }
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    // It may be another one by now.
    let kind = file.metadata()?.file_type();
    let is_terminal = file.is_terminal();
    if kind.is_char_device() && !is_terminal && !is_null() {
        return Err(refused("it is a device"));
    }
    if kind.is_fifo() || is_terminal {
        // Those who write to it may take their time.
        fcntl_setfl(&file, OFlags::empty())?;
    }
    Ok((file, if kind.is_fifo() { Source::Pipe } else { Source::File }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_without_end_is_refused_and_one_that_fits_is_whole() {
        let error = read_at_most(1, io::repeat(b'a')).unwrap_err();
        assert_eq!(error.to_string(), "it is larger than 1 MiB");
        assert_eq!(read_at_most(1, io::repeat(b'a').take(1 << 20)).unwrap().len(), 1 << 20);
    }

    #[cfg(target_os = "linux")]
    mod special {
        use std::io::Write;
        use std::os::fd::AsRawFd;
        use std::os::unix::fs::symlink;
        use std::os::unix::net::UnixListener;
        use std::path::PathBuf;

        use rustix::fs::{CWD, FileType, Mode, mknodat};

        use super::super::*;

        fn error(path: &Path) -> String {
            read_file_at_most(1, path).unwrap_err().to_string()
        }

        #[test]
        fn what_cannot_be_read_at_once_is_refused_by_what_it_is() {
            let folder = tempfile::tempdir().unwrap();
            let place = |name: &str| folder.path().join(name);
            mknodat(CWD, place("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
            symlink(place("fifo"), place("to_fifo")).unwrap();
            symlink(place("nothing"), place("dangling")).unwrap();
            let _socket = UnixListener::bind(place("socket")).unwrap();
            let pipe = "it is a pipe without a writer, or nothing was written to it";
            for (path, text) in [
                (place("fifo"), pipe),
                (place("to_fifo"), pipe),
                (place("dangling"), "it is a link that leads nowhere"),
                (place("socket"), "it is a socket"),
                (folder.path().to_owned(), "it is a directory"),
                (PathBuf::from("/dev/zero"), "it is a device"),
            ] {
                assert_eq!(error(&path), text, "{}", path.display());
            }
            assert_eq!(read_file_at_most(1, &place("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
            assert_eq!(read_file_at_most(1, Path::new("/dev/null")).unwrap(), b"");
        }

        #[test]
        fn a_pipe_with_a_slow_writer_is_read_to_its_end() {
            let (reader, mut writer) = io::pipe().unwrap();
            // As a shell names the pipe of `<(…)`.
            let path = PathBuf::from(format!("/proc/self/fd/{}", reader.as_raw_fd()));
            let reading = std::thread::spawn(move || read_file_at_most(1, &path));
            for part in ["one ", "two"] {
                std::thread::yield_now();
                writer.write_all(part.as_bytes()).unwrap();
            }
            drop(writer);
            assert_eq!(reading.join().unwrap().unwrap(), b"one two");
        }
    }
}
