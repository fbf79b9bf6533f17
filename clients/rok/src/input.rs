//! Reading files and stdin: bounded, whatever their names lead to.

use std::io;
use std::path::Path;

use krake_client::{read_at_most, read_file_at_most};

/// Maximum size of what is read: as much as the API takes in one message.
const MAX_INPUT_MIB: u64 = 4;

/// The content of a file, or of a pipe with a writer, such as `<(…)`.
pub(crate) fn file(path: &Path) -> io::Result<Vec<u8>> {
    read_file_at_most(MAX_INPUT_MIB, path)
}

/// The text of a file.
pub(crate) fn text_file(path: &Path) -> io::Result<String> {
    text(file(path)?)
}

/// The text on stdin.
pub(crate) fn stdin() -> io::Result<String> {
    text(read_at_most(MAX_INPUT_MIB, io::stdin().lock())?)
}

fn text(content: Vec<u8>) -> io::Result<String> {
    String::from_utf8(content)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text in UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_or_is_no_text_is_refused() {
        let error = file(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.to_string(), "it is a device");
        assert_eq!(text(vec![0xff]).unwrap_err().to_string(), "it is not text in UTF-8");
    }
}
