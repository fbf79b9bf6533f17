//! Reading files and stdin: bounded, whatever their names lead to.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Maximum size of what is read, in bytes: as much as the API takes in one message. A path may lead to a device that
/// never ends.
const MAX_INPUT: u64 = 4 * 1024 * 1024;

/// The content of a file. A pipe is read to its end.
pub(crate) fn file(path: &Path) -> io::Result<Vec<u8>> {
    bounded(File::open(path)?)
}

/// The text of a file.
pub(crate) fn text_file(path: &Path) -> io::Result<String> {
    text(file(path)?)
}

/// The text on stdin.
pub(crate) fn stdin() -> io::Result<String> {
    text(bounded(io::stdin().lock())?)
}

fn bounded(source: impl Read) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    source.take(MAX_INPUT + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_INPUT {
        let text = format!("it is larger than {} MiB", MAX_INPUT >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(content)
}

fn text(content: Vec<u8>) -> io::Result<String> {
    String::from_utf8(content)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text in UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_refused_and_what_fits_is_whole() {
        let error = bounded(io::repeat(b'a')).unwrap_err();
        assert_eq!(error.to_string(), "it is larger than 4 MiB");
        assert_eq!(bounded(io::repeat(b'a').take(MAX_INPUT)).unwrap().len() as u64, MAX_INPUT);
        assert_eq!(text(vec![0xff]).unwrap_err().to_string(), "it is not text in UTF-8");
    }
}
