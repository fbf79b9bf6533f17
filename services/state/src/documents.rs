//! Document sets as they are stored: immutable, named by the hash of their text, cut into pieces. Pure.
//!
//! A set is cut first and each piece compressed by itself, so that a piece depends on the set and its number alone: pieces
//! written by replicas whose compressors differ still belong together. The last piece is written last, and so a set
//! is whole if that one is there.

use std::io;
use std::marker::PhantomData;

use bytes::Bytes;
use prost::Message;
use ring::digest;

use crate::object::key;
use crate::store::{Entry, Key, Revision};

/// Maximum size of a set in bytes.
pub(crate) const MAX_SET_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of a set in one piece: with the frame of the compression and that of the value, at most 512 KiB are stored, a third
/// of what one commit may hold. Part of the stored form, as pieces of different replicas belong together.
const PIECE_BYTES: usize = 508 * 1024;
/// Maximum number of pieces of a set.
pub(crate) const MAX_PIECES: u32 = 9;
/// Compression level: the default, some hundred megabytes a second.
const COMPRESSION_LEVEL: i32 = 3;

/// Name of the stored message, by which a value says what it is.
pub(crate) const MESSAGE: &str = "krake.state.v1.DocumentPiece";

/// SHA-256 of a set.
pub(crate) type Hash = [u8; 32];

/// One piece, as it is stored.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Piece {
    /// The piece, compressed by zstd.
    #[prost(bytes = "bytes", tag = "1")]
    compressed: Bytes,
    /// Bytes of the whole set.
    #[prost(uint64, tag = "2")]
    pub(crate) size: u64,
    /// When it was written, in seconds since 1970.
    #[prost(int64, tag = "3")]
    pub(crate) written: i64,
}

/// Which set: what is returned for it, and what a record must name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Set {
    /// SHA-256 of its text.
    pub(crate) sha256: Hash,
    /// Bytes of its text.
    pub(crate) size: u64,
}

/// A stored set that is not what its key says.
#[derive(Debug, thiserror::Error)]
#[error("the stored documents are damaged: {0}")]
pub(crate) struct Damaged(String);

impl Set {
    /// The set of this text.
    pub(crate) fn of(documents: &[u8]) -> Self {
        Set { sha256: hash(documents), size: documents.len() as u64 }
    }

    /// Number of its pieces; at least 1.
    pub(crate) fn pieces(&self) -> u32 {
        pieces(self.size)
    }
}

/// SHA-256 of a text.
fn hash(documents: &[u8]) -> Hash {
    let mut found = [0; 32];
    found.copy_from_slice(digest::digest(&digest::SHA256, documents).as_ref());
    found
}

/// Number of pieces of a set of this size.
pub(crate) fn pieces(size: u64) -> u32 {
    u32::try_from(size.div_ceil(PIECE_BYTES as u64)).unwrap_or(u32::MAX).max(1)
}

/// The piece of this number.
pub(crate) fn cut(documents: &[u8], number: u32, written: i64) -> io::Result<Piece> {
    let start = (number as usize * PIECE_BYTES).min(documents.len());
    let end = (start + PIECE_BYTES).min(documents.len());
    let compressed = zstd::bulk::compress(&documents[start..end], COMPRESSION_LEVEL)?.into();
    Ok(Piece { compressed, size: documents.len() as u64, written })
}

impl Piece {
    /// Whether it is the last one of its set, as the piece of this number.
    pub(crate) fn is_last(&self, number: u32) -> bool {
        number + 1 >= pieces(self.size)
    }

    /// Adds the text of the piece of this number to that of the pieces before it. Never more than the size that the piece
    /// states, nor more than a set may have.
    pub(crate) fn append_to(&self, documents: &mut Vec<u8>, number: u32) -> Result<(), Damaged> {
        let damaged = |text: String| Err(Damaged(format!("piece {number} {text}")));
        if self.size > MAX_SET_BYTES as u64 {
            return damaged(format!("belongs to a set of {} bytes", self.size));
        }
        let (size, start) = (self.size as usize, number as usize * PIECE_BYTES);
        if documents.len() != start || start > size {
            return damaged("does not belong to the pieces before it".to_owned());
        }
        let expected = (size - start).min(PIECE_BYTES);
        match zstd::bulk::decompress(&self.compressed, expected) {
            Ok(text) if text.len() == expected => {
                documents.extend(text);
                Ok(())
            }
            Ok(text) => damaged(format!("holds {} bytes instead of {expected}", text.len())),
            Err(error) => damaged(format!("cannot be decompressed: {error}")),
        }
    }
}

/// Hands each document of a set to `take`, in order, one at a time.
pub(crate) fn each<T: serde::de::DeserializeOwned>(
    text: &[u8],
    take: impl FnMut(T),
) -> serde_json::Result<()> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    serde::Deserializer::deserialize_seq(&mut deserializer, Each(take, PhantomData))?;
    deserializer.end()
}

/// Visits the elements of an array.
struct Each<T, F>(F, PhantomData<T>);

impl<'de, T: serde::de::DeserializeOwned, F: FnMut(T)> serde::de::Visitor<'de> for Each<T, F> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an array of documents")
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(mut self, mut documents: A) -> Result<(), A::Error> {
        while let Some(document) = documents.next_element()? {
            (self.0)(document);
        }
        Ok(())
    }
}

/// The text of all pieces, if it is the one that the hash names.
pub(crate) fn verified(documents: Vec<u8>, sha256: &Hash) -> Result<Bytes, Damaged> {
    match hash(&documents) == *sha256 {
        true => Ok(documents.into()),
        false => Err(Damaged("their hash is another one".to_owned())),
    }
}

/// A stored set as its keys show it, or what is there of one that is not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredSet {
    /// uid of the object that it belongs to.
    pub(crate) uid: String,
    /// The hash that its keys name.
    pub(crate) sha256: Hash,
    /// The keys of its pieces, each with the revision of its last put; at least one.
    pub(crate) pieces: Vec<(Key, Revision)>,
}

impl StoredSet {
    /// The last piece that is there, which was written last.
    pub(crate) fn last(&self) -> Option<&(Key, Revision)> {
        self.pieces.last()
    }
}

/// The sets of a listing of keys, in its order. Keys that are no pieces are left out.
pub(crate) fn group(entries: &[Entry]) -> Vec<StoredSet> {
    let mut sets = Vec::<StoredSet>::new();
    for entry in entries {
        let Some((uid, sha256, _)) = key::parse_document_piece(&entry.key) else { continue };
        let piece = (entry.key.clone(), entry.modified);
        match sets.last_mut().filter(|set| set.uid == uid && set.sha256 == sha256) {
            Some(set) => set.pieces.push(piece),
            None => sets.push(StoredSet { uid: uid.to_owned(), sha256, pieces: vec![piece] }),
        }
    }
    sets
}

#[cfg(test)]
mod tests;
