//! The store in one SQLite file, for one process: a log of all changes, written by one thread, read by several.
//!
//! A commit is answered when it is on the disk.

mod checkpoint;
mod failure;
mod file;
mod history;
mod identity;
mod lock;
mod log;
mod log_end;
mod opening;
mod readers;
mod recent;
mod snapshot;
mod sweep;
mod turn;
mod watch;
mod writer;
mod written;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use krake_runtime::log_limit::LogLimit;
use krake_runtime::reachable::Contact;
use prometheus_client::metrics::histogram::Histogram;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::cursor::Cursor;
use super::lease_ends::Leases;
use super::measured::batch_sizes;
use super::{
    Backend, Batch, Bid, Conflict, Entry, Key, Lineage, Listing, Page, Revision, Standing, Store, StoreError,
    Txn, WatchError,
};
use failure::unavailable;
pub use file::{OpenError, make_folder};
use identity::OpenFiles;
use lock::Lock;
use readers::{ReadError, Readers};
use recent::Recent;
pub(crate) use snapshot::snapshot;
use turn::{Answer, Call};
use writer::{Request, Writer};

/// Calls that may wait for the writer, a few transactions' worth; further ones wait to be queued.
const WAITING_CALLS: usize = 1024;

/// Wait for a file that is in use: a process that was just stopped may still be closing it.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// Pause between two attempts to lock it.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Pause before a lease that could not be ended is tried again: the shortest ttl is two seconds.
const EXPIRY_RETRY: Duration = Duration::from_secs(1);

/// Which file, and how to open it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteOptions {
    /// The file. It and its folder are made if they are missing, for their owner alone; `-wal`, `-shm` and `.lock` lie
    /// beside it.
    pub file: PathBuf,
    /// Ends all leases when the file is opened: right where every holder lived in the process that had it open before,
    /// so that none is left. Otherwise they go on for their ttl.
    pub forget_leases: bool,
    /// The deadline of every call.
    pub request_timeout: Duration,
    /// How many bytes of the newest changes are kept in memory, for watches that keep up; others read the file.
    pub watch_memory: usize,
}

impl SqliteOptions {
    /// The defaults: leases go on, 5 s for a call, 8 MiB of changes.
    #[must_use]
    pub fn new(file: impl Into<PathBuf>) -> Self {
        let (request_timeout, watch_memory) = (Duration::from_secs(5), 8 * 1024 * 1024);
        Self { file: file.into(), forget_leases: false, request_timeout, watch_memory }
    }
}

/// A store in one file, open in one process at a time.
#[derive(Clone)]
pub struct SqliteStore {
    shared: Arc<Shared>,
}

struct Shared {
    writer: mpsc::Sender<Request>,
    recent: Arc<Recent>,
    readers: Readers,
    files: OpenFiles,
    /// Identifies the history of the file.
    history: u64,
    deadline: Duration,
    /// Commits in each transaction.
    sizes: Histogram,
    _expiry: AbortOnDropHandle<()>,
}

impl SqliteStore {
    /// Opens the file, or makes it. Must be called on the runtime that the store is used on.
    pub async fn open(options: SqliteOptions) -> Result<Self, OpenError> {
        let (file, deadline) = (file::make_place(&options.file)?, options.request_timeout);
        let lock = lock(&file).await?;
        let options = SqliteOptions { file: file.clone(), ..options };
        let opening = tokio::task::spawn_blocking(move || Writer::open(options, lock));
        let (writer, history) = opening.await.unwrap_or_else(|error| {
            Err(OpenError::Sqlite { reason: format!("{}: {error}", file.display()) })
        })?;
        let (recent, sizes) = (Arc::clone(&writer.recent), writer.sizes.clone());
        let files = writer.files.clone();
        let readers = Readers::new(files.clone(), deadline);
        let next_end = writer.next_end.subscribe();
        let (sender, arriving) = mpsc::channel(WAITING_CALLS);
        // Ends when the last sender is dropped, after what was let in is on the disk.
        std::thread::Builder::new()
            .name("krake-sqlite".to_owned())
            .spawn(move || writer.run(arriving))
            .map_err(|source| OpenError::File { path: file, source })?;
        let expiry = tokio::spawn(end_leases(sender.downgrade(), next_end));
        let shared = Shared {
            writer: sender,
            recent,
            readers,
            files,
            history,
            deadline,
            sizes,
            _expiry: AbortOnDropHandle::new(expiry),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Closes the file, so that it can be opened again at once. Later calls, on clones too, fail. Without this it is
    /// closed some time after the last clone was dropped; nothing is lost in either case.
    pub async fn close(self) {
        self.shared.readers.close().await;
        let (answer, closed) = oneshot::channel();
        if self.shared.writer.send(Request::Close(answer)).await.is_ok() {
            // The writer ended before by itself, or it does so now.
            let _ = closed.await;
        }
    }

    /// Has the writer make a call.
    async fn make(&self, call: Call) -> Result<Answer, StoreError> {
        let answered = async {
            let (answer, answered) = oneshot::channel();
            self.shared.writer.send(Request::Make(call, answer)).await.ok()?;
            answered.await.ok()
        };
        match timeout(self.shared.deadline, answered).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(unavailable("the store is closed")),
            Err(_) => Err(unavailable(format!("no answer from the disk within {:?}", self.shared.deadline))),
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn backend(&self) -> Backend {
        Backend { name: "sqlite", batches: Some(self.shared.sizes.clone()) }
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        if self.shared.writer.is_closed() {
            return Err(unavailable("the store is closed"));
        }
        // Nobody else writes to the file as long as it is this one. Checked afterwards: it was so before, too.
        let revision = self.shared.recent.extent().revision;
        self.shared.files.check().map(|()| revision)
    }

    async fn contact(&self) -> Contact {
        let in_place = !self.shared.writer.is_closed() && self.shared.files.check().is_ok();
        if in_place { Contact::Answered } else { Contact::Unreachable }
    }

    async fn lineage(&self) -> Result<Option<Lineage>, StoreError> {
        Ok(Some(Lineage { store: self.shared.history, drift: 0, at: self.revision().await? }))
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        key.check()?;
        let key = key.clone();
        let read = move |connection: &Connection| {
            Ok(log::current(connection, &key)?.and_then(|current| current.entry))
        };
        self.shared.readers.read(read).await
    }

    async fn list(&self, prefix: &Key, page: Page) -> Result<Listing, StoreError> {
        page.check()?;
        let prefix = prefix.clone();
        self.shared.readers.read(move |connection| list(connection, &prefix, &page, log::list)).await
    }

    async fn keys(&self, prefix: &Key, page: Page) -> Result<Listing, StoreError> {
        page.check()?;
        let prefix = prefix.clone();
        self.shared.readers.read(move |connection| list(connection, &prefix, &page, log::keys)).await
    }

    async fn commit(&self, txn: Txn) -> Result<Result<Revision, Conflict>, StoreError> {
        txn.check()?;
        match self.make(Call::Commit(txn)).await? {
            Answer::Committed(outcome) => Ok(outcome),
            other => Err(unexpected(&other)),
        }
    }

    fn watch(&self, prefix: &Key, after: Revision) -> BoxStream<'static, Result<Batch, WatchError>> {
        watch::Place::new(Arc::clone(&self.shared), prefix.clone(), after, false).into_stream()
    }

    fn watch_progress(&self, prefix: &Key, after: Revision) -> BoxStream<'static, Result<Batch, WatchError>> {
        watch::Place::new(Arc::clone(&self.shared), prefix.clone(), after, true).into_stream()
    }

    async fn compact(&self, to: Revision) -> Result<(), StoreError> {
        self.make(Call::Compact(to)).await.map(drop)
    }

    async fn campaign(&self, bid: Bid) -> Result<Standing, StoreError> {
        bid.check()?;
        match self.make(Call::Campaign(bid, Instant::now())).await? {
            Answer::Standing(standing) => Ok(standing),
            other => Err(unexpected(&other)),
        }
    }

    async fn resign(&self, key: Key, holder: Bytes) -> Result<(), StoreError> {
        key.check()?;
        self.make(Call::Resign(key, holder)).await.map(drop)
    }
}

impl Writer {
    /// The writer of a file, and what identifies the history of it.
    fn open(options: SqliteOptions, lock: Lock) -> Result<(Self, u64), OpenError> {
        let path = options.file;
        let (connection, files, opening) = file::open(&path, &lock)?;
        let history = history::of(&connection).map_err(|error| file::failed(&error, &path))?;
        let read = || {
            let mut leases = Leases::default();
            let mut rows = connection.prepare("SELECT key, ttl FROM lease")?;
            let now = Instant::now();
            for row in rows.query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, u32>(1)?)))? {
                let (key, seconds) = row?;
                leases.grant(key.into(), Duration::from_secs(seconds.into()), now);
            }
            Ok((leases, log::extent(&connection)?))
        };
        let (leases, extent) = read().map_err(|error| file::failed(&error, &path))?;
        let (recent, next_end) = (Arc::new(Recent::new(extent, options.watch_memory)), leases.next_end());
        let next_end = tokio::sync::watch::Sender::new(next_end);
        lock.record(extent.revision);
        let sizes = batch_sizes();
        let failures = LogLimit::default();
        let make_smaller = false;
        let mut writer = Self {
            files,
            failures,
            connection,
            leases,
            extent,
            recent,
            sizes,
            next_end,
            make_smaller,
            opening,
            lock,
        };
        if options.forget_leases {
            let ended = writer.transaction(|turn| turn.end_all_leases());
            ended.map_err(|error| file::failed(&error, &path))?;
        }
        let opened = writer.files.end_commit(checkpoint::pages(&writer.connection));
        opened.map_err(|error| OpenError::Sqlite { reason: error.to_string() })?;
        tracing::info!(file = %path.display(), revision = %writer.extent.revision, "store opened");
        Ok((writer, history))
    }
}

/// Takes the lock of a file, and waits a moment for it.
async fn lock(file: &Path) -> Result<Lock, OpenError> {
    let end = Instant::now() + LOCK_PATIENCE;
    loop {
        match Lock::take(file)? {
            Some(lock) => return Ok(lock),
            None if Instant::now() >= end => return Err(OpenError::InUse { path: file.to_owned() }),
            None => sleep(LOCK_PAUSE).await,
        }
    }
}

/// One page, in a transaction.
fn list(
    connection: &Connection,
    prefix: &Key,
    page: &Page,
    read: fn(&Connection, &Key, &Page, Revision) -> rusqlite::Result<Listing>,
) -> Result<Listing, ReadError> {
    let extent = log::extent(connection)?;
    let at = page.at.unwrap_or(extent.revision);
    if at < extent.compacted {
        return Err(ReadError::Store(StoreError::Compacted { oldest: extent.compacted }));
    }
    if at > extent.revision {
        return Err(ReadError::Store(StoreError::Future { asked: at }));
    }
    Ok(read(connection, prefix, page, at)?)
}

/// Has the writer end the leases that are over, when they are. Runs until it is dropped, or the store is closed.
async fn end_leases(
    writer: mpsc::WeakSender<Request>,
    mut next_end: tokio::sync::watch::Receiver<Option<Instant>>,
) {
    loop {
        let end = *next_end.borrow_and_update();
        let over = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = next_end.changed() => if changed.is_err() { return },
            () = over => {
                let (answer, answered) = oneshot::channel();
                let Some(writer) = writer.upgrade() else { return };
                if writer.send(Request::Make(Call::Expire(Instant::now()), answer)).await.is_err() {
                    return;
                }
                drop(writer);
                if !matches!(answered.await, Ok(Ok(_))) {
                    sleep(EXPIRY_RETRY).await;
                }
            }
        }
    }
}

fn unexpected(answer: &Answer) -> StoreError {
    unavailable(format!("the writer answered something else: {answer:?}"))
}
