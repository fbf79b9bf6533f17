//! The one write loop: decide on the present object, commit if it is still the present one, or decide again.

use std::sync::Arc;

use bytes::Bytes;
use krake_proto::Kind;

use super::create::check_stored_size;
use super::owners::erased_owner;
use super::{Call, Error, Registry, checked_key, decodable, what};
use crate::cache::Stored;
use crate::elections::Fence;
use crate::object::key;
use crate::object::keyring::Keyring;
use crate::object::sections::Sections;
use crate::store::{Conflict, Entry, Guard, Key, Revision, Txn};

/// Maximum number of times that one write is decided. Each but the last means that another write came first, so only an
/// object that is written without a pause gets there.
pub(super) const MAX_WRITE_DECISIONS: usize = 100;

/// What a write does to an object.
pub(crate) enum Effect {
    /// Stores these sections.
    Put(Sections),
    /// Removes the object; these sections were its last state.
    Erase(Sections),
    /// Nothing to do.
    Keep,
}

/// A decided write: its effect on the object, and guards and operations on other keys that belong to it.
pub(crate) struct Write {
    pub(crate) effect: Effect,
    pub(crate) also: Txn,
}

impl From<Effect> for Write {
    fn from(effect: Effect) -> Self {
        Write { effect, also: Txn::new() }
    }
}

impl Registry {
    /// Changes an existing object. `decide` sees the present state and may be called several times; what it decides on a
    /// cached state is final only if it leads to a commit, so a stale cache can neither refuse nor skip a write.
    /// `resource_version` is the caller's precondition; 0 = none.
    pub(crate) async fn transact(
        &self,
        call: &Call,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
        resource_version: i64,
        decide: impl Fn(&Stored) -> Result<Write, Error> + Send + Sync,
    ) -> Result<Arc<Stored>, Error> {
        let key = checked_key(kind, namespace, name)?;
        let mut current = self.cache.get(&key);
        let mut fresh = false;
        for _ in 0..MAX_WRITE_DECISIONS {
            let verdict = match &current {
                None => Err(Error::NotFound { what: what(kind, namespace, name) }),
                Some(stored) => check_version(stored, resource_version)
                    .and_then(|()| decide(stored))
                    .map(|write| (stored.clone(), write)),
            };
            let (before, write) = match verdict {
                Ok((before, write)) if fresh || !matches!(write.effect, Effect::Keep) => (before, write),
                Err(error) if fresh => return Err(error),
                _ => {
                    current = self.fetch(&key).await?;
                    fresh = true;
                    continue;
                }
            };
            if matches!(write.effect, Effect::Keep) {
                return Ok(before);
            }
            let conflict = match self.commit(call, &key, &before, write).await? {
                Ok(after) => return Ok(Arc::new(after)),
                Err(conflict) => conflict,
            };
            if let Some(over) = fenced(call, &conflict) {
                return Err(over);
            }
            current = if conflict.key == key {
                let entry = conflict.current.as_ref();
                entry.map(|entry| read(self.cache.keyring(), entry)).transpose()?
            } else {
                self.catch_up(&conflict).await?;
                self.fetch(&key).await?
            };
            fresh = true;
        }
        Err(written_without_pause(&what(kind, namespace, name)))
    }

    /// Waits until the cache shows the change of another key than the written one that a decision read from the cache.
    ///
    /// # Errors
    /// Where deciding again cannot help: documents or an owner were erased, or the cache will never show what it cannot
    /// read.
    pub(super) async fn catch_up(&self, conflict: &Conflict) -> Result<(), Error> {
        if let Some(error) = erased_owner(conflict) {
            return Err(error);
        }
        if conflict.key.is_aside() {
            return Err(erased());
        }
        if let Some(entry) = &conflict.current {
            read(self.cache.keyring(), entry)?;
        }
        self.refresh().await
    }

    async fn commit(
        &self,
        call: &Call,
        key: &Key,
        before: &Stored,
        write: Write,
    ) -> Result<Result<Stored, Conflict>, Error> {
        let mut txn = write.also.guard(Guard::At(key.clone(), before.revision));
        // First, so that a conflict names it before all others.
        txn.guards.splice(0..0, call.fence.as_ref().map(Fence::guard));
        let (sections, erased) = match write.effect {
            Effect::Put(sections) => {
                let value = self.sealed(before.kind, key, &sections)?;
                txn = txn.put(key.clone(), value);
                (sections, false)
            }
            Effect::Erase(sections) => {
                // The record that tells "gone" from "never there".
                txn = txn.delete(key.clone()).put(key::tombstone(&before.metadata.uid), self.tombstone());
                (sections, true)
            }
            Effect::Keep => (before.sections.clone(), false),
        };
        let metadata = sections.decode_metadata().map_err(|error| Error::Internal(error.to_string()))?;
        Ok(self.store.commit(txn).await?.map(|revision| {
            let revision = if erased { before.revision } else { revision };
            Stored::new(before.kind, sections, metadata, revision)
        }))
    }

    /// [`sealed`] with the keys of this registry.
    pub(crate) fn sealed(&self, kind: &'static Kind, key: &Key, sections: &Sections) -> Result<Bytes, Error> {
        sealed(self.cache.keyring(), kind, key, sections)
    }

    /// Content of a tombstone: seconds since 1970, as text.
    pub(crate) fn tombstone(&self) -> String {
        let since = (self.clock)().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        since.as_secs().to_string()
    }

    /// Writes a new object if the `guards` hold.
    pub(super) async fn insert(
        &self,
        call: &Call,
        kind: &'static Kind,
        key: &Key,
        sections: Sections,
        guards: Vec<Guard>,
    ) -> Result<Result<Stored, Conflict>, Error> {
        let value = self.sealed(kind, key, &sections)?;
        let metadata = sections.decode_metadata().map_err(|error| Error::Internal(error.to_string()))?;
        let mut txn = Txn::new().guard(Guard::Absent(key.clone())).put(key.clone(), value);
        txn.guards.extend(guards);
        txn.guards.splice(0..0, call.fence.as_ref().map(Fence::guard));
        let committed = self.store.commit(txn).await?;
        if let Some(over) = committed.as_ref().err().and_then(|conflict| fenced(call, conflict)) {
            return Err(over);
        }
        Ok(committed.map(|revision: Revision| Stored::new(kind, sections, metadata, revision)))
    }
}

/// The value to store for an object. Every put of an object passes here, so none is too large or unreadable; only a
/// restore stores what a back-up holds as it was.
///
/// # Errors
/// [`Error::Invalid`] for an object that is too large, or whose status its readers could not decode.
pub(crate) fn sealed(
    keyring: &Keyring,
    kind: &'static Kind,
    key: &Key,
    sections: &Sections,
) -> Result<Bytes, Error> {
    check_stored_size(kind, sections)?;
    decodable::status(kind, sections)?;
    Ok(keyring.seal(key, kind.message, &sections.encode()))
}

/// The error of a write that other writes of `what` came before each time.
pub(super) fn written_without_pause(what: &str) -> Error {
    let message =
        format!("{what} was changed by other writes {MAX_WRITE_DECISIONS} times in a row; try again");
    Error::Conflict { message, resource_version: 0 }
}

/// The error of a write that names documents which are not stored.
fn erased() -> Error {
    let message = "documents that it names were erased meanwhile; store them again".to_owned();
    Error::Conflict { message, resource_version: 0 }
}

/// The error if a conflict means that the caller's term of leadership is over.
pub(super) fn fenced(call: &Call, conflict: &Conflict) -> Option<Error> {
    call.fence.as_ref().filter(|fence| fence.is_on(&conflict.key)).map(Fence::over)
}

/// Refuses a write that was decided on another version; 0 stands for any.
pub(super) fn check_version(stored: &Stored, resource_version: i64) -> Result<(), Error> {
    if resource_version < 0 {
        return Err(Error::invalid(
            "metadata.resource_version",
            "must not be negative; 0 stands for any version",
        ));
    }
    if resource_version == 0 || stored.revision.0 == resource_version {
        return Ok(());
    }
    let object = what(stored.kind, &stored.metadata.namespace, &stored.metadata.name);
    Err(Error::Conflict {
        message: format!(
            "metadata.resource_version: {object} has version {}, the request is for {resource_version}; \
             read it again",
            stored.revision
        ),
        resource_version: stored.revision.0,
    })
}

/// Refuses a write that is for another object than the one that has the name now; empty stands for any.
pub(super) fn check_uid(stored: &Stored, uid: &str) -> Result<(), Error> {
    if uid.is_empty() || stored.metadata.uid == uid {
        return Ok(());
    }
    Err(Error::Conflict {
        message: format!(
            "metadata.uid: is {:?}, the request is for {uid:?}; the name was reused",
            stored.metadata.uid
        ),
        resource_version: stored.revision.0,
    })
}

pub(super) fn read(keyring: &Keyring, entry: &Entry) -> Result<Arc<Stored>, Error> {
    match Stored::read(keyring, entry) {
        Ok(Some(stored)) => Ok(Arc::new(stored)),
        Ok(None) => Err(Error::Internal(format!("{} is not a resource's key", entry.key))),
        Err(error) => Err(Error::Internal(error.to_string())),
    }
}
