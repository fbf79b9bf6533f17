//! Transactions: guards, operations, their limits, and the conflict that a failed guard gives.

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;

use super::{Entry, Key, Revision, StoreError};

/// The most guards and the most operations of one transaction (etcd's default `--max-txn-ops`).
pub const MAX_TXN_OPS: usize = 128;

/// The most bytes of one transaction as [`Txn::size`] counts them: etcd's default `--max-request-bytes` (1.5 MiB)
/// less the frame around the transaction.
pub const MAX_TXN_BYTES: usize = 1536 * 1024 - 1024;

/// What an operation is counted for beside its key and value: its frame and the key prefix of the backend.
const OP_FRAME: usize = 128;

/// Changes to several keys that happen together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    /// What must hold before; all of them.
    pub guards: Vec<Guard>,
    /// What to do then; at least one, each on another key.
    pub ops: Vec<Op>,
}

/// A condition on one key at the moment of the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// The key does not exist.
    Absent(Key),
    /// The key exists.
    Exists(Key),
    /// The key exists and its last put was at this revision.
    At(Key, Revision),
    /// The key exists since this revision, whatever was put since: the fence of a leader.
    CreatedAt(Key, Revision),
}

/// One change to one key. Its `Debug` form tells the length of the value only.
#[derive(Clone, PartialEq, Eq)]
pub enum Op {
    /// Creates the key or replaces its value.
    Put(Key, Bytes),
    /// Removes the key if it exists.
    Delete(Key),
}

/// The answer to a transaction whose guard failed: nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The key of the first guard that failed.
    pub key: Key,
    /// What that key holds, so that nobody has to read it again; `None` if it does not exist.
    pub current: Option<Entry>,
    /// The revision at which the guards were checked.
    pub revision: Revision,
}

impl Txn {
    /// An empty transaction, to be filled by [`Txn::guard`], [`Txn::put`] and [`Txn::delete`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a guard.
    #[must_use]
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guards.push(guard);
        self
    }

    /// Adds a put.
    #[must_use]
    pub fn put(mut self, key: impl Into<Key>, value: impl Into<Bytes>) -> Self {
        self.ops.push(Op::Put(key.into(), value.into()));
        self
    }

    /// Adds a delete.
    #[must_use]
    pub fn delete(mut self, key: impl Into<Key>) -> Self {
        self.ops.push(Op::Delete(key.into()));
        self
    }

    /// The bytes that count against [`MAX_TXN_BYTES`]: keys and values, the keys of guards twice (they are sent once
    /// to be compared and once to be read), and a fixed amount for each guard and operation.
    #[must_use]
    pub fn size(&self) -> usize {
        let guards: usize =
            self.guards.iter().map(|guard| 2 * (guard.key().as_bytes().len() + OP_FRAME)).sum();
        let ops: usize =
            self.ops.iter().map(|op| op.key().as_bytes().len() + op.value_len() + OP_FRAME).sum();
        guards + ops
    }

    /// Refuses what no backend may accept, so that all of them accept the same.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let invalid = |reason: String| Err(StoreError::Invalid { reason });
        if self.ops.is_empty() {
            return invalid("a transaction needs at least one operation".to_owned());
        }
        for (what, count) in [("guards", self.guards.len()), ("operations", self.ops.len())] {
            if count > MAX_TXN_OPS {
                let reason = format!("{count} {what}, at most {MAX_TXN_OPS} are allowed");
                return Err(StoreError::TooLarge { reason });
            }
        }
        for guard in &self.guards {
            guard.key().check()?;
            if let Guard::At(key, revision) | Guard::CreatedAt(key, revision) = guard
                && *revision < Revision(1)
            {
                return invalid(format!(
                    "the guard on {key} names revision {revision}, which no entry can have"
                ));
            }
        }
        let mut seen = HashSet::with_capacity(self.ops.len());
        for op in &self.ops {
            op.key().check()?;
            if !seen.insert(op.key()) {
                return invalid(format!("key {} occurs in more than one operation", op.key()));
            }
        }
        let size = self.size();
        if size > MAX_TXN_BYTES {
            return Err(StoreError::TooLarge {
                reason: format!("{size} bytes, at most {MAX_TXN_BYTES} are allowed"),
            });
        }
        Ok(())
    }
}

impl Guard {
    /// The key that the guard is about.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Absent(key) | Self::Exists(key) | Self::At(key, _) | Self::CreatedAt(key, _) => key,
        }
    }

    /// Whether the guard holds while its key has this entry.
    pub(super) fn holds(&self, current: Option<&Entry>) -> bool {
        match (self, current) {
            (Self::Absent(_), current) => current.is_none(),
            (_, None) => false,
            (Self::Exists(_), Some(_)) => true,
            (Self::At(_, revision), Some(entry)) => entry.modified == *revision,
            (Self::CreatedAt(_, revision), Some(entry)) => entry.created == *revision,
        }
    }
}

impl Op {
    /// The key that is changed.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }

    fn value_len(&self) -> usize {
        match self {
            Self::Put(_, value) => value.len(),
            Self::Delete(_) => 0,
        }
    }
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(key, value) => write!(f, "Put({key:?}, {} bytes)", value.len()),
            Self::Delete(key) => write!(f, "Delete({key:?})"),
        }
    }
}
