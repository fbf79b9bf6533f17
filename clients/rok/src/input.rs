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

/// The text that a file holds: in UTF-8 or, if it begins with its mark, in UTF-16, which Windows' shells write.
fn text(content: Vec<u8>) -> io::Result<String> {
    let invalid = |why| io::Error::new(io::ErrorKind::InvalidData, why);
    let read_unit: fn([u8; 2]) -> u16 = match content.first_chunk() {
        Some([0xff, 0xfe]) => u16::from_le_bytes,
        Some([0xfe, 0xff]) => u16::from_be_bytes,
        _ => return String::from_utf8(content).map_err(|_| invalid("it is not text in UTF-8")),
    };
    let (units, rest) = content[2..].as_chunks();
    let text = char::decode_utf16(units.iter().map(|unit| read_unit(*unit))).collect::<Result<_, _>>();
    text.ok().filter(|_| rest.is_empty()).ok_or_else(|| invalid("it begins as text in UTF-16, and is none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_or_is_no_text_is_refused() {
        let error = file(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.to_string(), "it is a device");
        assert_eq!(text(vec![0xff]).unwrap_err().to_string(), "it is not text in UTF-8");
        for broken in [vec![0xff, 0xfe, 0x61], vec![0xfe, 0xff, 0xd8, 0x00]] {
            let error = text(broken).unwrap_err().to_string();
            assert_eq!(error, "it begins as text in UTF-16, and is none");
        }
    }

    #[test]
    fn utf_16_is_read() {
        let units = "kind: Config # ü 🌊".encode_utf16();
        let little: Vec<u8> =
            [0xff, 0xfe].into_iter().chain(units.clone().flat_map(u16::to_le_bytes)).collect();
        let big: Vec<u8> = [0xfe, 0xff].into_iter().chain(units.flat_map(u16::to_be_bytes)).collect();
        for content in [little, big] {
            assert_eq!(text(content).unwrap(), "kind: Config # ü 🌊");
        }
    }
}
