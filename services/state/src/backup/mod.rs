//! Back-up and restore: all that a store holds in one file, whatever kind of store it is.

mod format;
mod restore;

use std::fs::{File, OpenOptions};
use std::io::BufWriter;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};

use crate::object::key;
use crate::store::{Entry, Key, Listing, Page, Store, StoreError, sqlite_snapshot};
use format::{Header, Record, Writer};

pub use restore::{Restored, restore};

/// How many entries are read at a time.
const PAGE: usize = 500;
/// How often a back-up begins anew because its revision was compacted meanwhile.
const ATTEMPTS: usize = 3;

/// What a back-up came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackedUp {
    /// The revision that it shows.
    pub revision: i64,
    /// How many entries it has.
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
    let partial = Partial::new(to)?;
    let (file, done) = match source {
        Source::Store(store) => from_store(store, &partial.path).await?,
        Source::SqliteFile(file) => {
            let mut target = None;
            sqlite_snapshot(file, &key::ROOT, PAGE, |page| write_page(&mut target, &partial.path, page))?;
            finish(target)?
        }
    };
    file.sync_all().with_context(|| format!("cannot write {}", partial.path.display()))?;
    partial.publish(to)?;
    Ok(done)
}

async fn from_store(store: &dyn Store, path: &Path) -> anyhow::Result<(File, BackedUp)> {
    for _ in 0..ATTEMPTS {
        let mut target = None;
        let mut page = Page::first(PAGE);
        loop {
            match store.list(&key::ROOT, page).await {
                Ok(listing) => {
                    write_page(&mut target, path, &listing)?;
                    match listing.next_page(PAGE) {
                        Some(next) => page = next,
                        None => return finish(target),
                    }
                }
                Err(StoreError::Compacted { .. }) => break,
                Err(error) => return Err(error).context("cannot read the store"),
            }
        }
        tracing::warn!("the store was compacted while it was read; beginning anew");
    }
    bail!("the store is compacted faster than it can be read")
}

/// The file under way, with the revision that it shows.
type Target = Option<(Writer<BufWriter<File>>, i64)>;

fn write_page(target: &mut Target, path: &Path, page: &Listing) -> anyhow::Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let (writer, _) = match target {
        Some(target) => target,
        None => {
            let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
            let header = Header {
                made: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64),
                revision: page.revision.0,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            };
            let out = BufWriter::new(file.with_context(failed)?);
            target.insert((Writer::begin(out, &header).with_context(failed)?, page.revision.0))
        }
    };
    for entry in &page.entries {
        ensure!(
            entry.key != key::RESTORING,
            "a restore into this store was cut off, so it is not whole: there is nothing to back up"
        );
        if is_kept(&entry.key) {
            writer.add(&record(entry)).with_context(failed)?;
        }
    }
    Ok(())
}

fn finish(target: Target) -> anyhow::Result<(File, BackedUp)> {
    let Some((writer, revision)) = target else { bail!("the store could not be read") };
    let (out, entries) = writer.end()?;
    ensure!(entries > 0, "there is no Krake in this store: check its address, prefix or file");
    Ok((out.into_inner()?, BackedUp { revision, entries }))
}

/// Whether a key is part of a back-up.
fn is_kept(name: &Key) -> bool {
    let present = [key::COMPACT, key::TICK, key::RESTORING];
    !present.contains(name) && !name.starts_with(&key::ELECTIONS)
}

fn record(entry: &Entry) -> Record {
    let key = bytes::Bytes::copy_from_slice(entry.key.as_bytes());
    Record { key, value: entry.value.clone() }
}

/// A file that becomes the back-up when it is whole, and goes away otherwise.
struct Partial {
    path: PathBuf,
    folder: PathBuf,
}

impl Partial {
    fn new(to: &Path) -> anyhow::Result<Self> {
        let name = to.file_name().with_context(|| format!("{} names no file", to.display()))?;
        let folder = to.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        let name = format!(".{}.{}.partial", name.to_string_lossy(), std::process::id());
        Ok(Self { path: folder.join(name), folder: folder.to_owned() })
    }

    fn publish(self, to: &Path) -> anyhow::Result<()> {
        // Unlike a rename, a link never replaces what somebody else put there meanwhile.
        std::fs::hard_link(&self.path, to).with_context(|| format!("cannot make {}", to.display()))?;
        drop(std::fs::remove_file(&self.path));
        File::open(&self.folder)?
            .sync_all()
            .with_context(|| format!("cannot write {}", self.folder.display()))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // It may never have been made, or have been published.
        let _ = std::fs::remove_file(&self.path);
    }
}
