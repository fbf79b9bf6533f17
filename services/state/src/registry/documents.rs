//! Document sets in the store: written piece by piece, the last one last, and read back whole or not at all.

mod shown;
mod sweep;

use bytes::Bytes;
use prost::Message;

pub(super) use shown::{Form, ShownSets};
pub(crate) use sweep::sweep;

use super::transact::fenced;
use super::{Call, Error, Registry};
use crate::documents::{self, Hash, MAX_PIECES, Piece, Set};
use crate::elections::Fence;
use crate::object::key;
use crate::store::{Entry, Guard, Key, Revision, Txn};

/// Age from which a set that is stored already is made young again: half of the time after which housekeeping erases one
/// that nothing names.
const RENEWAL_AGE_SECONDS: i64 = 30 * 60;
/// Attempts to write a set beside housekeeping that erases the same one.
const WRITE_ATTEMPTS: usize = 5;

impl Registry {
    /// Stores a set for the object with this uid, which must be there under the key `holder`, or is not there yet. Does
    /// nothing if it is stored already. A caller that goes away leaves pieces that nobody sees, or the whole.
    pub(crate) async fn put_documents(
        &self,
        call: &Call,
        holder: Option<&Key>,
        uid: &str,
        text: &[u8],
    ) -> Result<Set, Error> {
        let set = Set::of(text);
        let last = set.pieces() - 1;
        for _ in 0..WRITE_ATTEMPTS {
            let present = self.piece(uid, &set.sha256, last).await?;
            let renewed = match present {
                Some((piece, _)) if self.seconds() - piece.written < RENEWAL_AGE_SECONDS => return Ok(set),
                Some((_, revision)) => Some(revision),
                None => None,
            };
            // The pieces before it are there as long as the last one is as it was read.
            let first = if renewed.is_some() { last } else { 0 };
            let mut done = true;
            for number in first..=last {
                let name = key::document_piece(uid, &set.sha256, number);
                let as_read = renewed.map(|revision| Guard::At(name.clone(), revision));
                let value = self.cut(&name, text, number)?;
                let mut txn = Txn::new().put(name, value);
                txn.guards.extend(holder.cloned().map(Guard::Exists));
                txn.guards.splice(0..0, call.fence.as_ref().map(Fence::guard));
                txn.guards.extend(as_read);
                let Err(conflict) = self.store.commit(txn).await? else { continue };
                if let Some(over) = fenced(call, &conflict) {
                    return Err(over);
                }
                if holder == Some(&conflict.key) {
                    return Err(Error::NotFound { what: format!("the object with the uid {uid:?}") });
                }
                done = false;
                break;
            }
            if done {
                if let Some(holder) = holder {
                    self.limit_unnamed(holder, uid, &set.sha256).await?;
                }
                return Ok(set);
            }
        }
        let message = "the documents are being erased at the same time; try again".to_owned();
        Err(Error::Conflict { message, resource_version: 0 })
    }

    /// The text of a set; `None` if it is not stored, or not whole.
    ///
    /// # Errors
    /// When it is not the text that the hash names.
    pub(crate) async fn read_documents(&self, uid: &str, sha256: &Hash) -> Result<Option<Bytes>, Error> {
        let mut text = Vec::new();
        for number in 0..MAX_PIECES {
            let Some((piece, _)) = self.piece(uid, sha256, number).await? else { return Ok(None) };
            piece.append_to(&mut text, number).map_err(internal)?;
            if piece.is_last(number) {
                return documents::verified(text, sha256).map(Some).map_err(internal);
            }
        }
        Ok(None)
    }

    /// Whether a set is stored whole.
    pub(crate) async fn has_documents(&self, uid: &str, set: &Set) -> Result<bool, Error> {
        let last = set.pieces() - 1;
        let piece = self.piece(uid, &set.sha256, last).await?;
        Ok(piece.is_some_and(|(piece, _)| piece.size == set.size))
    }

    /// A stored piece, and the revision that wrote it.
    async fn piece(&self, uid: &str, sha256: &Hash, number: u32) -> Result<Option<(Piece, Revision)>, Error> {
        let entry = self.store.get(&key::document_piece(uid, sha256, number)).await?;
        entry.map(|entry| Ok((self.read_piece(&entry)?, entry.modified))).transpose()
    }

    fn read_piece(&self, entry: &Entry) -> Result<Piece, Error> {
        let message = self.cache.keyring().open(&entry.key, documents::MESSAGE, &entry.value);
        Piece::decode(message.map_err(internal)?).map_err(internal)
    }

    /// The stored form of a piece.
    fn cut(&self, name: &Key, text: &[u8], number: u32) -> Result<Bytes, Error> {
        let piece = documents::cut(text, number, self.seconds()).map_err(internal)?;
        Ok(self.cache.keyring().seal(name, documents::MESSAGE, &piece.encode_to_vec()))
    }

    /// Seconds since 1970.
    fn seconds(&self) -> i64 {
        let since = (self.clock)().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    }
}

fn internal(error: impl std::fmt::Display) -> Error {
    Error::Internal(error.to_string())
}
