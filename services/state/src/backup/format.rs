//! The form of a back-up: a magic line, then frames of a kind, a length and a message: one header, the entries by
//! ascending key, one end with their number and the SHA-256 of all that stands before it.
//!
//! It is the same for all stores, and readers skip fields that they do not know.

use std::io::{self, Read, Write};

use bytes::Bytes;
use prost::Message;
use ring::digest::{Context as Digest, SHA256};

/// Begins every back-up, and says which form it has.
const MAGIC: &[u8] = b"krake-backup 1\n";
/// The largest frame; far above the largest value.
const MAX_FRAME: usize = 32 * 1024 * 1024;

const HEADER: u8 = 1;
const ENTRY: u8 = 2;
const END: u8 = 3;

/// Where and when a back-up was made.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Header {
    /// Seconds since 1970.
    #[prost(int64, tag = "1")]
    pub(crate) made: i64,
    /// The revision of the store that it shows.
    #[prost(int64, tag = "2")]
    pub(crate) revision: i64,
    /// Version of Krake.
    #[prost(string, tag = "3")]
    pub(crate) version: String,
}

/// One key with its value, without revisions: they belong to one store.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Record {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct End {
    #[prost(uint64, tag = "1")]
    entries: u64,
    #[prost(bytes = "bytes", tag = "2")]
    sha256: Bytes,
}

/// Why a file cannot be read as a back-up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormatError {
    /// It is something else.
    #[error("it is not a back-up of Krake")]
    Foreign,
    /// It ends before its end.
    #[error("it is cut off: take another back-up")]
    CutOff,
    /// It is not what was written.
    #[error("it is damaged ({0}): take another back-up")]
    Damaged(&'static str),
    /// It cannot be read at all.
    #[error("cannot read it")]
    Read(#[source] io::Error),
}

/// Writes a back-up.
pub(crate) struct Writer<W> {
    out: W,
    digest: Digest,
    entries: u64,
}

impl<W: Write> Writer<W> {
    /// Begins with the header.
    pub(crate) fn begin(out: W, header: &Header) -> io::Result<Self> {
        let mut writer = Self { out, digest: Digest::new(&SHA256), entries: 0 };
        writer.write(MAGIC)?;
        writer.frame(HEADER, &header.encode_to_vec())?;
        Ok(writer)
    }

    /// Adds an entry.
    pub(crate) fn add(&mut self, record: &Record) -> io::Result<()> {
        self.entries += 1;
        self.frame(ENTRY, &record.encode_to_vec())
    }

    /// Ends it. Tells how many entries it has.
    pub(crate) fn end(mut self) -> io::Result<(W, u64)> {
        let sha256 = Bytes::copy_from_slice(self.digest.clone().finish().as_ref());
        let end = End { entries: self.entries, sha256 };
        self.frame(END, &end.encode_to_vec())?;
        Ok((self.out, self.entries))
    }

    fn frame(&mut self, kind: u8, message: &[u8]) -> io::Result<()> {
        let length =
            u32::try_from(message.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        self.write(&[kind])?;
        self.write(&length.to_le_bytes())?;
        self.write(message)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.out.write_all(bytes)
    }
}

/// Reads a back-up from its beginning to its end. What it told is to be believed when the end was reached.
pub(crate) struct Reader<R> {
    input: R,
    digest: Digest,
    entries: u64,
    header: Header,
}

impl<R: Read> Reader<R> {
    /// Reads up to the first entry.
    pub(crate) fn begin(mut input: R) -> Result<Self, FormatError> {
        let mut magic = Vec::new();
        input.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic).map_err(FormatError::Read)?;
        if magic != MAGIC {
            // An empty file is one that was cut off.
            return Err(if magic.is_empty() { FormatError::CutOff } else { FormatError::Foreign });
        }
        let mut digest = Digest::new(&SHA256);
        digest.update(&magic);
        let mut reader = Self { input, digest, entries: 0, header: Header::default() };
        let (kind, message) = reader.frame()?;
        if kind != HEADER {
            return Err(FormatError::Damaged("it has no header"));
        }
        reader.header = decode(message)?;
        Ok(reader)
    }

    /// Where and when it was made.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// The next entry; `None` at the end, if everything was as it was written.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, FormatError> {
        let before = self.digest.clone();
        match self.frame()? {
            (ENTRY, message) => {
                self.entries += 1;
                decode(message).map(Some)
            }
            (END, message) => {
                let end: End = decode(message)?;
                if end.sha256 != before.finish().as_ref() || end.entries != self.entries {
                    return Err(FormatError::Damaged("its checksum is wrong"));
                }
                let more = self.input.read(&mut [0]).map_err(FormatError::Read)?;
                if more > 0 { Err(FormatError::Damaged("it goes on after its end")) } else { Ok(None) }
            }
            _ => Err(FormatError::Damaged("it has a part of an unknown kind")),
        }
    }

    fn frame(&mut self) -> Result<(u8, Bytes), FormatError> {
        let mut head = [0; 5];
        self.read(&mut head)?;
        let [kind, length @ ..] = head;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_FRAME {
            return Err(FormatError::Damaged("a part of it is too long"));
        }
        let mut message = vec![0; length];
        self.read(&mut message)?;
        Ok((kind, message.into()))
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), FormatError> {
        self.input.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => FormatError::CutOff,
            _ => FormatError::Read(error),
        })?;
        self.digest.update(buffer);
        Ok(())
    }
}

fn decode<M: Message + Default>(message: Bytes) -> Result<M, FormatError> {
    M::decode(message).map_err(|_| FormatError::Damaged("a part of it cannot be read"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

    fn written(records: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let header = Header { made: 7, revision: 9, version: "1".into() };
        let mut writer = Writer::begin(Vec::new(), &header).unwrap();
        for (key, value) in records {
            writer.add(&Record { key: key.clone().into(), value: value.clone().into() }).unwrap();
        }
        writer.end().unwrap().0
    }

    fn read(bytes: &[u8]) -> Result<Pairs, FormatError> {
        let mut reader = Reader::begin(bytes)?;
        let mut records = Vec::new();
        while let Some(record) = reader.next()? {
            records.push((record.key.to_vec(), record.value.to_vec()));
        }
        Ok(records)
    }

    fn records() -> impl Strategy<Value = Pairs> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..40);
        prop::collection::vec((bytes(), bytes()), 0..8)
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(records in records()) {
            prop_assert_eq!(read(&written(&records)).unwrap(), records);
        }

        #[test]
        fn a_back_up_that_is_cut_off_is_refused(records in records(), at: prop::sample::Index) {
            let whole = written(&records);
            let error = read(&whole[..at.index(whole.len())]).unwrap_err();
            prop_assert!(matches!(error, FormatError::CutOff | FormatError::Foreign), "{}", error);
        }

        #[test]
        fn a_back_up_with_another_byte_is_refused(
            records in records(),
            at: prop::sample::Index,
            change in 1..=255_u8,
        ) {
            let mut bytes = written(&records);
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            prop_assert!(read(&bytes).is_err());
        }
    }

    #[test]
    fn what_is_no_back_up_is_called_so() {
        assert!(matches!(read(b"SQLite format 3\0 and so on"), Err(FormatError::Foreign)));
        let longer = [&written(&[])[..], b"x"].concat();
        assert!(matches!(read(&longer), Err(FormatError::Damaged(_))));
    }
}
