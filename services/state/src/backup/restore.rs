//! Restores: a back-up becomes the contents of a store, as a new epoch of its installation.
//!
//! From its first write to its last one a mark stands in the store, so that one that was cut off never looks whole.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use krake_proto::POOL;
use prost_reflect::DynamicMessage;
use uuid::Uuid;

use super::format::{Header, Reader, Record};
use super::is_kept;
use crate::cache::Stored;
use crate::object::key;
use crate::object::keyring::Keyring;
use crate::store::{Entry, Guard, Key, MAX_TXN_OPS, Page, Revision, Store, Txn};

/// Operations of one write: half of the limit, which leaves room for its guard.
const OPS_PER_WRITE: usize = MAX_TXN_OPS / 2;
/// Bytes after which a write is full: a third of etcd's limit for a request.
const BYTES_PER_WRITE: usize = 512 * 1024;
/// Attempts to send a write that gets no answer, and the pause between two: together longer than etcd takes to elect a
/// leader.
const WRITE_ATTEMPTS: usize = 10;
const WRITE_RETRY_DELAY: Duration = Duration::from_secs(1);
/// Unreadable entries that are named one by one: enough to see what is wrong, few enough to read.
const NAMED_UNREADABLE: u64 = 20;

/// A back-up that was read to its end, and is as it was written.
#[derive(Debug, Clone)]
pub struct Verified {
    file: PathBuf,
    header: Header,
    entries: u64,
    unreadable: u64,
}

/// The result of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Number of entries in the back-up.
    pub entries: u64,
    /// Entries that this version cannot read, which are restored as they are.
    pub unreadable: u64,
    /// The revision of the store that it was taken from.
    pub revision: i64,
    /// When it was taken, in seconds since 1970.
    pub made: i64,
    /// UUID of the store's history from now on.
    pub epoch: String,
}

/// Reads a back-up to its end, before any store is opened for it. The log names objects that this version cannot read:
/// they are restored, since a later version may, and the service leaves them out.
pub fn verify(file: &Path) -> anyhow::Result<Verified> {
    let mut reader = open(file)?;
    let (mut entries, mut unreadable, mut identity) = (0, 0, false);
    while let Some(record) = reader.next().with_context(|| format!("cannot use {}", file.display()))? {
        ensure!(
            record.key.starts_with(key::ROOT.as_bytes()),
            "{} holds keys that are not Krake's",
            file.display()
        );
        identity |= record.key == key::INSTALLATION.as_bytes();
        entries += 1;
        if let Some(reason) = why_unreadable(record) {
            unreadable += 1;
            if unreadable <= NAMED_UNREADABLE {
                tracing::warn!(%reason, "an object of the back-up cannot be read by this version");
            }
        }
    }
    ensure!(identity, "{} does not say which installation it is of", file.display());
    Ok(Verified { file: file.to_owned(), header: reader.header().clone(), entries, unreadable })
}

/// Why the service and its clients could not read an object; `None` if they can, or if it is none.
fn why_unreadable(record: Record) -> Option<String> {
    let key = Key::from(record.key.to_vec());
    let entry = Entry { key, value: record.value, created: Revision(0), modified: Revision(0) };
    let stored = match Stored::read(&Keyring::default(), &entry) {
        Ok(stored) => stored?,
        Err(error) => return Some(error.to_string()),
    };
    let descriptor = POOL.get_message_by_name(stored.kind.message)?;
    let decoded = DynamicMessage::decode(descriptor, stored.sections.encode());
    decoded.err().map(|error| format!("cannot decode {}: {error}", entry.key))
}

/// Puts a back-up into a store that no service uses. If there is something in it already, it is refused, or
/// removed first where `replace` says so.
pub async fn restore(store: &dyn Store, from: &Verified, replace: bool) -> anyhow::Result<Restored> {
    if !replace {
        refuse_contents(store).await?;
    }
    let session = Session::begin(store, &from.file, replace).await?;
    let epoch = session.run(&from.file, replace).await.with_context(|| {
        "the restore was cut off, so the store is not whole and no service will use it: repeat it with --replace"
    })?;
    let Verified { header, entries, unreadable, .. } = from;
    let (entries, unreadable) = (*entries, *unreadable);
    Ok(Restored { entries, unreadable, revision: header.revision, made: header.made, epoch })
}

fn open(from: &Path) -> anyhow::Result<Reader<BufReader<File>>> {
    let name = || format!("cannot use {}", from.display());
    // A pipe without a writer would keep the process from ending.
    if !from.metadata().with_context(name)?.is_file() {
        bail!("cannot use {}: it is not a regular file", from.display());
    }
    let file = File::open(from).with_context(name)?;
    Reader::begin(BufReader::new(file)).with_context(name)
}

/// Fails if the store holds more than leases and the marks of replicas.
async fn refuse_contents(store: &dyn Store) -> anyhow::Result<()> {
    let mut page = Some(Page::first(OPS_PER_WRITE));
    while let Some(asked) = page {
        let listing = store.list(&key::ROOT, asked).await.context("cannot read the store")?;
        for Entry { key: name, .. } in &listing.entries {
            if *name == key::RESTORING {
                bail!(
                    "another restore into this store is under way or was cut off: repeat it with --replace"
                );
            }
            if is_kept(name) {
                bail!(
                    "the store is not empty: restore into a new one, or give --replace, which removes all that \
                     Krake has in it"
                );
            }
        }
        page = listing.next_page(OPS_PER_WRITE);
    }
    Ok(())
}

/// A restore under way: the revision of its mark guards all of its writes.
struct Session<'a> {
    store: &'a dyn Store,
    mark: Revision,
}

impl<'a> Session<'a> {
    async fn begin(store: &'a dyn Store, from: &Path, replace: bool) -> anyhow::Result<Self> {
        let put = Txn::new().put(key::RESTORING, from.display().to_string());
        let txn = if replace {
            put.delete(key::EPOCH)
        } else {
            put.guard(Guard::Absent(key::RESTORING)).guard(Guard::Absent(key::INSTALLATION))
        };
        match store.commit(txn).await.context("cannot write the store")? {
            Ok(mark) => Ok(Self { store, mark }),
            Err(_) => bail!("a service or another restore began to use the store: stop it first"),
        }
    }

    /// Does the rest. Returns the new epoch.
    async fn run(&self, from: &Path, replace: bool) -> anyhow::Result<String> {
        if replace {
            self.clear().await?;
        }
        self.fill(from).await
    }

    /// Removes everything but the mark.
    async fn clear(&self) -> anyhow::Result<()> {
        loop {
            let listing = self
                .store
                .list(&key::ROOT, Page::first(OPS_PER_WRITE))
                .await
                .context("cannot read the store")?;
            let txn = listing.entries.iter().filter(|entry| entry.key != key::RESTORING);
            let txn = txn.fold(Txn::new(), |txn, entry| txn.delete(entry.key.clone()));
            if txn.ops.is_empty() {
                return Ok(());
            }
            self.write(txn).await?;
        }
    }

    /// Writes what the back-up holds and, at last, removes the mark. Returns the new epoch.
    async fn fill(&self, from: &Path) -> anyhow::Result<String> {
        let mut reader = open(from)?;
        let (mut txn, mut installation) = (Txn::new(), Bytes::new());
        while let Some(Record { key: name, value }) = reader.next()? {
            let name = Key::from(name.to_vec());
            if name == key::INSTALLATION {
                installation = value;
                continue;
            }
            if name == key::EPOCH || !is_kept(&name) {
                continue;
            }
            if txn.ops.len() == OPS_PER_WRITE
                || (!txn.ops.is_empty() && txn.size() + value.len() > BYTES_PER_WRITE)
            {
                self.write(std::mem::take(&mut txn)).await?;
            }
            txn = txn.put(name, value);
        }
        if !txn.ops.is_empty() {
            self.write(txn).await?;
        }
        let epoch = Uuid::new_v4().to_string();
        let whole = Txn::new().put(key::INSTALLATION, installation).put(key::EPOCH, epoch.clone());
        let end = whole.clone().delete(key::RESTORING);
        match self.attempt(end).await? {
            Ok(()) => Ok(epoch),
            // Sent twice because the first answer was lost.
            Err(_) if self.holds(&key::EPOCH, epoch.as_bytes()).await? => Ok(epoch),
            Err(error) => Err(error),
        }
    }

    async fn holds(&self, key: &Key, value: &[u8]) -> anyhow::Result<bool> {
        Ok(self.store.get(key).await?.is_some_and(|entry| entry.value == value))
    }

    async fn write(&self, txn: Txn) -> anyhow::Result<()> {
        self.attempt(txn).await?
    }

    /// Sends a write until it is answered: doing it twice is the same as once. The inner error says that the mark is
    /// not this restore's.
    async fn attempt(&self, txn: Txn) -> anyhow::Result<anyhow::Result<()>> {
        let txn = txn.guard(Guard::At(key::RESTORING, self.mark));
        for attempt in 1.. {
            match self.store.commit(txn.clone()).await {
                Ok(Ok(_)) => break,
                Ok(Err(_)) => return Ok(Err(anyhow::anyhow!("another restore has begun"))),
                Err(error) if error.retryable() && attempt < WRITE_ATTEMPTS => {
                    tracing::warn!(%error, "cannot write the store; trying again");
                    tokio::time::sleep(WRITE_RETRY_DELAY).await;
                }
                Err(error) => return Err(error).context("cannot write the store"),
            }
        }
        Ok(Ok(()))
    }
}
