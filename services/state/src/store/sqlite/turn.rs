//! What one SQLite transaction does to the store: any number of calls, one after the other, each as if it were alone.

use bytes::Bytes;
use rusqlite::{Connection, Result, params};
use tokio::time::Instant;

use super::super::lease_ends::Leases;
use super::super::{
    Batch, Bid, Change, ChangeKind, Conflict, Entry, Key, Op, Revision, Standing, StoreError, Txn,
};
use super::log::{self, Current, Extent};

/// A call that may write.
#[derive(Debug)]
pub(super) enum Call {
    /// [`super::super::Store::commit`], checked.
    Commit(Txn),
    /// [`super::super::Store::campaign`], checked, and when it was called.
    Campaign(Bid, Instant),
    /// [`super::super::Store::resign`].
    Resign(Key, Bytes),
    /// [`super::super::Store::compact`].
    Compact(Revision),
    /// Ends the leases that are over at that moment.
    Expire(Instant),
}

/// What a call is answered when the transaction is committed.
#[derive(Debug)]
pub(super) enum Answer {
    /// To a commit.
    Committed(std::result::Result<Revision, Conflict>),
    /// To a bid.
    Standing(Standing),
    /// It is done.
    Done,
    /// It cannot be; nothing was changed.
    Refused(StoreError),
}

/// A transaction under way. Nothing of it counts until it is committed.
pub(super) struct Turn<'a> {
    connection: &'a Connection,
    leases: &'a mut Leases,
    begin: Extent,
    now: Extent,
    batches: Vec<Batch>,
}

impl<'a> Turn<'a> {
    /// Begins at `extent`. If the transaction fails, the caller takes the leases back too.
    pub(super) fn new(connection: &'a Connection, leases: &'a mut Leases, extent: Extent) -> Self {
        Self { connection, leases, begin: extent, now: extent, batches: Vec::new() }
    }

    /// Makes one call. An error means that nothing of the whole transaction happens.
    pub(super) fn make(&mut self, call: &Call) -> Result<Answer> {
        Ok(match call {
            Call::Commit(txn) => Answer::Committed(self.commit(txn)?),
            Call::Campaign(bid, now) => Answer::Standing(self.campaign(bid, *now)?),
            Call::Resign(key, holder) => self.resign(key, holder)?,
            Call::Compact(to) => self.compact(*to)?,
            Call::Expire(now) => self.expire(*now)?,
        })
    }

    /// Writes what the transaction came to; the caller commits it. Tells where the store is then, and what changed.
    pub(super) fn end(self) -> Result<(Extent, Vec<Batch>)> {
        if self.now.revision > self.begin.revision {
            log::set_meta(self.connection, "revision", self.now.revision.0)?;
        }
        if self.now.compacted > self.begin.compacted {
            log::set_meta(self.connection, "compacted", self.now.compacted.0)?;
        }
        Ok((self.now, self.batches))
    }

    fn current(&self, key: &Key) -> Result<Option<Entry>> {
        Ok(log::current(self.connection, key)?.and_then(|current| current.entry))
    }

    fn commit(&mut self, txn: &Txn) -> Result<std::result::Result<Revision, Conflict>> {
        for guard in &txn.guards {
            let current = self.current(guard.key())?;
            if !guard.holds(current.as_ref()) {
                let (key, revision) = (guard.key().clone(), self.now.revision);
                return Ok(Err(Conflict { key, current, revision }));
            }
        }
        let revision = Revision(self.now.revision.0 + 1);
        let mut changes = Vec::with_capacity(txn.ops.len());
        for op in &txn.ops {
            changes.extend(self.change(op, revision)?);
        }
        if !changes.is_empty() {
            self.batches.push(Batch { revision, changes });
            self.now.revision = revision;
        }
        Ok(Ok(self.now.revision))
    }

    /// Applies one operation; `None` if it changes nothing.
    fn change(&mut self, op: &Op, revision: Revision) -> Result<Option<Change>> {
        let (row, previous) = match log::current(self.connection, op.key())? {
            Some(Current { id, entry }) => (Some(id), entry),
            None => (None, None),
        };
        let key = op.key().clone();
        let kind = match op {
            Op::Put(_, value) => {
                let created = previous.as_ref().map_or(revision, |entry| entry.created);
                log::append(self.connection, revision, &key, created, row, Some(value))?;
                let entry = Entry { key: key.clone(), value: value.clone(), created, modified: revision };
                ChangeKind::Put(entry)
            }
            Op::Delete(_) => {
                let Some(entry) = &previous else { return Ok(None) };
                log::append(self.connection, revision, &key, entry.created, row, None)?;
                ChangeKind::Delete
            }
        };
        // A put by others than the holder unbinds the key from its lease, as in etcd.
        if self.leases.forget(&key) {
            self.connection
                .prepare_cached("DELETE FROM lease WHERE key = ?")?
                .execute([op.key().as_bytes()])?;
        }
        Ok(Some(Change { key, kind, previous }))
    }

    fn campaign(&mut self, bid: &Bid, now: Instant) -> Result<Standing> {
        self.expire(now)?;
        if let Some(entry) = self.current(&bid.key)? {
            let held = entry.value == bid.holder;
            let kept = if held { self.leases.keep_alive(&bid.key, now) } else { None };
            return Ok(Standing { entry, kept, revision: self.now.revision });
        }
        let (key, value) = (bid.key.clone(), bid.holder.clone());
        let created = self.apply(Txn::new().put(key.clone(), value.clone()))?;
        self.leases.grant(key.clone(), bid.ttl, now);
        let seconds = i64::try_from(bid.ttl.as_secs()).unwrap_or(i64::MAX);
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO lease (key, ttl) VALUES (?, ?)")?
            .execute(params![key.as_bytes(), seconds])?;
        let entry = Entry { key, value, created, modified: created };
        Ok(Standing { entry, kept: Some(bid.ttl), revision: created })
    }

    fn resign(&mut self, key: &Key, holder: &Bytes) -> Result<Answer> {
        if self.current(key)?.is_some_and(|entry| entry.value == *holder) {
            self.apply(Txn::new().delete(key.clone()))?;
        }
        Ok(Answer::Done)
    }

    /// Deletes the keys whose lease is over, each at a revision of its own.
    fn expire(&mut self, now: Instant) -> Result<Answer> {
        for key in self.leases.over(now) {
            self.apply(Txn::new().delete(key.clone()))?;
            self.leases.forget(&key);
        }
        Ok(Answer::Done)
    }

    /// Deletes all keys that are bound to a lease, whatever is left of it.
    pub(super) fn end_all_leases(&mut self) -> Result<()> {
        for key in self.leases.keys() {
            self.apply(Txn::new().delete(key))?;
        }
        Ok(())
    }

    /// Commits a transaction without guards, which cannot conflict.
    fn apply(&mut self, txn: Txn) -> Result<Revision> {
        Ok(self.commit(&txn)?.unwrap_or_else(|conflict| conflict.revision))
    }

    fn compact(&mut self, to: Revision) -> Result<Answer> {
        if to > self.now.revision {
            return Ok(Answer::Refused(StoreError::Future { asked: to }));
        }
        // Before 2, the revision of the first commit, there is nothing to forget.
        if to >= Revision(2) {
            self.now.compacted = self.now.compacted.max(to);
        }
        Ok(Answer::Done)
    }
}
