//! The one thread that writes. Calls that arrive while it writes share the next transaction, and so the wait for the
//! disk; a call never waits for others to come.

use std::sync::Arc;

use krake_runtime::log_limit::LogLimit;
use prometheus_client::metrics::histogram::Histogram;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::super::lease_ends::Leases;
use super::super::{Batch, StoreError};
use super::checkpoint::{self, Checkpoint, LogPages};
use super::failure::{describe, failure};
use super::file::keep_log_on_close;
use super::identity::OpenFiles;
use super::lock::Lock;
use super::log::Extent;
use super::opening::Opening;
use super::recent::Recent;
use super::sweep::{self, Progress};
use super::turn::{Answer, Call, Turn};

/// Maximum number of calls that share a transaction: the last one waits for the work of all, some milliseconds.
const CALLS_PER_TRANSACTION: usize = 256;
/// Maximum size of their commits together, without the last one: some ten milliseconds of a slow disk.
const BYTES_PER_TRANSACTION: usize = 4 * 1024 * 1024;

/// What arrives.
pub(super) enum Request {
    /// A call whose caller waits for the answer, or has gone.
    Make(Call, oneshot::Sender<Result<Answer, StoreError>>),
    /// Close the file; answered when that is done.
    Close(oneshot::Sender<()>),
}

/// The writer's side of a store.
pub(super) struct Writer {
    pub(super) files: OpenFiles,
    /// Limits the log lines of transactions that fail.
    pub(super) failures: LogLimit,
    pub(super) connection: Connection,
    pub(super) leases: Leases,
    pub(super) extent: Extent,
    pub(super) recent: Arc<Recent>,
    /// Commits in each transaction.
    pub(super) sizes: Histogram,
    /// When the next lease ends.
    pub(super) next_end: watch::Sender<Option<Instant>>,
    /// Whether the file is to be made smaller.
    pub(super) make_smaller: bool,
    /// The number of this process, until it is in the file.
    pub(super) opening: Opening,
    /// Released after the connection is closed, as the fields are dropped in this order.
    pub(super) lock: Lock,
}

impl Drop for Writer {
    fn drop(&mut self) {
        // So that SQLite has nothing left to put into the file when it is closed.
        self.make_smaller = true;
        // Whatever it answers, the file is closed; SQLite itself keeps the log of a file that was moved.
        if let Err(error) = self.put_log_in(checkpoint::pages(&self.connection)) {
            tracing::warn!(%error, "the write-ahead log is not put into the file when it is closed");
            self.save_log();
        }
        self.lock.record(self.extent.revision);
    }
}

/// A call and who waits for it.
type Waiting = (Call, oneshot::Sender<Result<Answer, StoreError>>);

impl Writer {
    /// Works until it is told to close, or until nobody can call any more.
    pub(super) fn run(mut self, mut arriving: mpsc::Receiver<Request>) {
        let mut sweeping = true;
        loop {
            let first = match arriving.try_recv() {
                Ok(request) => Some(request),
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) if sweeping => None,
                Err(TryRecvError::Empty) => match arriving.blocking_recv() {
                    Some(request) => Some(request),
                    None => return,
                },
            };
            let (batch, close) = fill(first, &mut arriving);
            let compacted = self.extent.compacted;
            self.serve(batch);
            if let Some(answer) = close {
                drop((self, arriving));
                // Whoever asked may have gone.
                let _ = answer.send(());
                return;
            }
            if self.extent.compacted > compacted {
                sweeping = true;
            }
            // A piece after each transaction, so that a busy store is swept too.
            if sweeping {
                sweeping = self.sweep();
            }
        }
    }

    /// Makes the calls in one transaction and answers them.
    fn serve(&mut self, mut batch: Vec<Waiting>) {
        batch.retain(|(_, answer)| !answer.is_closed());
        if batch.is_empty() {
            return;
        }
        let commits = batch.iter().filter(|(call, _)| matches!(call, Call::Commit(_))).count();
        if commits > 0 {
            self.sizes.observe(f64::from(u32::try_from(commits).unwrap_or(u32::MAX)));
        }
        let make = |turn: &mut Turn<'_>| batch.iter().map(|(call, _)| turn.make(call)).collect();
        let checked: Result<Vec<Answer>, StoreError> = self.in_place(|writer| {
            writer.transaction(make).map_err(|error| failure(&error, writer.files.path()))
        });
        match checked {
            Ok(answers) => {
                for ((_, waiting), answer) in batch.into_iter().zip(answers) {
                    let answer = if let Answer::Refused(error) = answer { Err(error) } else { Ok(answer) };
                    // A caller that has gone needs no answer.
                    let _ = waiting.send(answer);
                }
            }
            Err(error) => {
                if self.failures.admit(Instant::now()).is_some() {
                    tracing::warn!(%error, commits = batch.len(), "a transaction failed");
                }
                for (_, waiting) in batch {
                    let _ = waiting.send(Err(error.clone()));
                }
            }
        }
    }

    /// Does something that writes, between two checks: what is written to a file that has no name any more, or that
    /// another program wrote over, is lost, and nobody is told of a commit that went there meanwhile.
    fn in_place<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let begun = self.files.begin_commit(checkpoint::pages(&self.connection));
        let checked = begun.and_then(|()| {
            let made = work(self);
            let pages = checkpoint::pages(&self.connection);
            // It went to the log alone, so the file must be as it was.
            self.files.end_commit(pages).and_then(|()| self.put_log_in(pages)).and(made)
        });
        if checked.is_err() && self.files.check().is_err() {
            self.save_log();
        }
        checked
    }

    /// Puts the log into the file if it is long, if the file is to be made smaller, if the number of this process is not in
    /// the file yet, or if that stopped half-way before. Does not wait for readers. `pages` is what SQLite knows of the log.
    ///
    /// # Errors
    /// When a file was written over before, or meanwhile. If the log cannot be put in, that is tried again later.
    fn put_log_in(&mut self, pages: Option<LogPages>) -> Result<(), StoreError> {
        let is_due = pages.is_some_and(LogPages::are_due) || self.files.is_in_part();
        if !is_due && !self.make_smaller && self.opening.is_done() {
            return Ok(());
        }
        self.files.begin_change(pages)?;
        let put_in = checkpoint::put_in(&self.connection, Checkpoint::Passive);
        self.make_smaller = false;
        let hindrance = match &put_in {
            Err(error) => Some(describe(error, self.files.path())),
            Ok(false) if pages.is_some_and(LogPages::are_held) => Some(
                "another program reads the file and does not end; end it, since the log grows".to_owned(),
            ),
            Ok(_) => None,
        };
        if let Some(reason) = hindrance
            && self.failures.admit(Instant::now()).is_some()
        {
            tracing::warn!(
                reason,
                "cannot put the write-ahead log into the file; nothing is lost, trying again"
            );
        }
        let is_whole = matches!(put_in, Ok(true)) && self.go_on_opening();
        self.files.end_change(is_whole.then_some(self.extent.revision), checkpoint::pages(&self.connection))
    }

    /// Puts the number of this process into the file, if something kept it from that before: another program that read, or
    /// a full disk. Returns whether all of the log is in the file then.
    fn go_on_opening(&mut self) -> bool {
        if self.opening.is_done() {
            return true;
        }
        if let Err(error) = self.opening.advance(&self.connection, &self.lock, Checkpoint::Passive) {
            tracing::debug!(%error, "cannot note in the store that it was opened");
        }
        self.files.accept(self.lock.openings());
        self.opening.left_all_in_file()
    }

    /// Puts what the write-ahead log holds into a file that was moved, wherever it is now: a log that stayed would be read
    /// into the file that took its place when that is opened. Files that were written over are left as they are.
    fn save_log(&self) {
        if self.files.is_overwritten() {
            // What took their place may be older, with a `.lock` file that says so.
            self.lock.record(self.extent.revision);
            if let Err(error) = keep_log_on_close(&self.connection, true) {
                tracing::warn!(%error, "cannot leave alone the write-ahead log of a file that was written over");
            }
            return;
        }
        let saved = checkpoint::put_in(&self.connection, Checkpoint::Truncate);
        self.files.changed_elsewhere(!matches!(saved, Ok(true)));
        if let Err(error) = saved {
            tracing::warn!(%error, "cannot save the write-ahead log of a file that was moved or replaced");
        }
    }

    /// Makes a transaction and commits it to the disk; all of it, or nothing.
    pub(super) fn transaction<T>(
        &mut self,
        make: impl FnOnce(&mut Turn<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let before = self.leases.clone();
        match commit(&mut self.connection, &mut self.leases, self.extent, make) {
            Ok((answers, extent, batches)) => {
                self.extent = extent;
                if extent != self.recent.extent() {
                    self.recent.add(extent, batches);
                    // In each transaction, for a process that is killed.
                    self.lock.record(extent.revision);
                }
                let end = self.leases.next_end();
                self.next_end.send_if_modified(|known| std::mem::replace(known, end) != end);
                Ok(answers)
            }
            Err(error) => {
                self.leases = before;
                Err(error)
            }
        }
    }

    /// Removes a piece of what is compacted; false if there is nothing left, or if that fails: then it goes on after
    /// the next compaction.
    fn sweep(&mut self) -> bool {
        let step = self.in_place(|writer| {
            let step = sweep::step(&mut writer.connection);
            writer.make_smaller |= matches!(step, Ok(Progress::Smaller));
            step.map_err(|error| failure(&error, writer.files.path()))
        });
        match step {
            Ok(progress) => progress == Progress::More,
            Err(error) => {
                tracing::warn!(%error, "cannot remove what is compacted; trying again after the next compaction");
                false
            }
        }
    }
}

/// The calls that share the next transaction: what waits already, within limits, up to a request to close.
fn fill(
    first: Option<Request>,
    arriving: &mut mpsc::Receiver<Request>,
) -> (Vec<Waiting>, Option<oneshot::Sender<()>>) {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    let mut next = first;
    while let Some(request) = next {
        match request {
            Request::Close(answer) => return (batch, Some(answer)),
            Request::Make(call, answer) => {
                bytes += if let Call::Commit(txn) = &call { txn.size() } else { 0 };
                batch.push((call, answer));
            }
        }
        let room = batch.len() < CALLS_PER_TRANSACTION && bytes < BYTES_PER_TRANSACTION;
        next = if room { arriving.try_recv().ok() } else { None };
    }
    (batch, None)
}

fn commit<T>(
    connection: &mut Connection,
    leases: &mut Leases,
    extent: Extent,
    make: impl FnOnce(&mut Turn<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<(T, Extent, Vec<Batch>)> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut turn = Turn::new(&transaction, leases, extent);
    let answers = make(&mut turn)?;
    let (extent, batches) = turn.end()?;
    transaction.commit()?;
    Ok((answers, extent, batches))
}

#[cfg(test)]
mod tests;
