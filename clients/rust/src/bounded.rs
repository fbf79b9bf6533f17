//! Reading with a limit: a path may lead to a device that never ends.

use std::io::{self, Read};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_without_end_is_refused_and_one_that_fits_is_whole() {
        let error = read_at_most(1, io::repeat(b'a')).unwrap_err();
        assert_eq!(error.to_string(), "it is larger than 1 MiB");
        assert_eq!(read_at_most(1, io::repeat(b'a').take(1 << 20)).unwrap().len(), 1 << 20);
    }
}
