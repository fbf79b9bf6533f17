//! Back-up and restore: all that a store holds in one file, whatever kind of store it is.

mod format;
mod partial;
mod restore;

use std::fs::File;
use std::io::{BufWriter, Seek};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};

use crate::object::key;
use crate::store::{ASIDE_MARK, Entry, Key, Listing, Page, Store, StoreError, sqlite_snapshot};
use format::{Header, Record, Writer};
use partial::Partial;

pub use restore::{Restored, Verified, restore, verify};

/// Entries read at a time: some megabytes at most in most installations.
const ENTRIES_PER_PAGE: usize = 500;
/// Attempts to read the whole store at one revision before that is compacted. One takes seconds, and a revision is kept
/// for minutes, so a third that fails shows a store that is compacted all the time.
const READ_ATTEMPTS: usize = 3;

/// The context of errors of the file.
const WRITING: &str = "cannot write the back-up";

/// The result of a back-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackedUp {
    /// The revision that it shows.
    pub revision: i64,
    /// Number of entries in it.
    pub entries: u64,
}

/// Where a back-up comes from.
pub enum Source<'a> {
    /// A store that is open: all entries at one revision.
    Store(&'a dyn Store),
    /// The file of an SQLite store, which another process may have open and go on writing.
    SqliteFile(&'a Path),
}

/// Writes what a store holds now into the new file `to`, which appears when it is whole and on the disk. Only its owner
/// can read it: it holds what the store holds, credentials included.
///
/// What belongs to the present only is left out: who leads, and marks of replicas.
pub async fn back_up(source: Source<'_>, to: &Path) -> anyhow::Result<BackedUp> {
    ensure!(!to.exists(), "{} exists: name a new file", to.display());
    let partial = Partial::create(to)?;
    let done = match source {
        Source::Store(store) => from_store(store, partial.file()).await,
        Source::SqliteFile(file) => {
            let mut target = None;
            sqlite_snapshot(file, &key::ROOT, ENTRIES_PER_PAGE, |page| {
                write_page(&mut target, partial.file(), page)
            })
            .and_then(|()| finish(target))
        }
    };
    let done = done?;
    partial.publish(to).with_context(|| format!("cannot make {}", to.display()))?;
    Ok(done)
}

async fn from_store(store: &dyn Store, mut file: &File) -> anyhow::Result<BackedUp> {
    for _ in 0..READ_ATTEMPTS {
        file.set_len(0).and_then(|()| file.rewind()).context(WRITING)?;
        let mut target = None;
        let mut page = Page::first(ENTRIES_PER_PAGE);
        loop {
            match store.list(&key::ROOT, page).await {
                Ok(listing) => {
                    write_page(&mut target, file, &listing)?;
                    match listing.next_page(ENTRIES_PER_PAGE) {
                        Some(next) => page = next,
                        None => return finish(target),
                    }
                }
                Err(StoreError::Compacted { .. }) => break,
                Err(error) => return Err(error).context("cannot read the store"),
            }
        }
        tracing::warn!("the store was compacted while it was read; beginning again");
    }
    bail!("the store is compacted faster than it can be read")
}

/// The file under way, with the revision that it shows.
type Target<'a> = Option<(Writer<BufWriter<&'a File>>, i64)>;

fn write_page<'a>(target: &mut Target<'a>, file: &'a File, page: &Listing) -> anyhow::Result<()> {
    let (writer, _) = match target {
        Some(target) => target,
        None => {
            let header = Header {
                made: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64),
                revision: page.revision.0,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            };
            let writer = Writer::begin(BufWriter::new(file), &header).context(WRITING)?;
            target.insert((writer, page.revision.0))
        }
    };
    for entry in &page.entries {
        ensure!(
            entry.key != key::RESTORING,
            "a restore into this store was cut off, so it is not whole: there is nothing to back up"
        );
        if is_kept(&entry.key) {
            writer.add(&record(entry)).context(WRITING)?;
        }
    }
    Ok(())
}

/// Writes the end.
fn finish(target: Target<'_>) -> anyhow::Result<BackedUp> {
    let Some((writer, revision)) = target else { bail!("the store could not be read") };
    let (out, entries) = writer.end().context(WRITING)?;
    ensure!(entries > 0, "there is no Krake in this store: check its address, prefix or file");
    out.into_inner().map_err(|error| error.into_error()).context(WRITING)?;
    Ok(BackedUp { revision, entries })
}

/// Whether a key is part of a back-up.
fn is_kept(name: &Key) -> bool {
    let present = [key::COMPACT, key::TICK, key::RESTORING, key::LINEAGE, ASIDE_MARK];
    !present.contains(name) && !name.starts_with(&key::ELECTIONS)
}

fn record(entry: &Entry) -> Record {
    let key = bytes::Bytes::copy_from_slice(entry.key.as_bytes());
    Record { key, value: entry.value.clone() }
}
