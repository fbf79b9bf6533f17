//! The laws of a store in a file: of opening it, of its size, and of what is left of it after a crash.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helping functions too")]

mod backed_up;
mod child;
mod crash;
mod full;
mod opening;
mod process;
mod replaced;
mod size;
mod starts;
mod torn;

use std::path::{Path, PathBuf};
use std::time::Duration;

use krake_state::store::{Key, OpenError, Page, Revision, SqliteOptions, SqliteStore, Store, Txn};
use tempfile::TempDir;

/// Longest time that a test waits for something that must come. A machine that is busy with other work may be many times
/// slower than an idle one, so only a hang takes as long.
const PATIENCE: Duration = Duration::from_secs(120);

/// A folder of its own, and a file in it that is not there yet.
fn place() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("krake.db");
    (folder, file)
}

/// The path of a file beside the store's.
fn beside(file: &Path, suffix: &str) -> PathBuf {
    format!("{}{suffix}", file.display()).into()
}

async fn try_open(file: &Path) -> Result<SqliteStore, OpenError> {
    // The disk of a busy machine may stall.
    SqliteStore::open(SqliteOptions { request_timeout: PATIENCE, ..SqliteOptions::new(file) }).await
}

async fn open(file: &Path) -> SqliteStore {
    try_open(file).await.unwrap()
}

async fn put(store: &SqliteStore, key: &str, value: impl Into<bytes::Bytes>) -> Revision {
    store.commit(Txn::new().put(key, value.into())).await.unwrap().unwrap()
}

/// All keys with the revisions of their last puts.
async fn contents(store: &SqliteStore) -> Vec<(String, Revision)> {
    let (mut found, mut page) = (Vec::new(), Some(Page::first(500)));
    while let Some(asked) = page {
        let listing = store.list(&Key::from(""), asked).await.unwrap();
        found.extend(listing.entries.iter().map(|entry| (entry.key.to_string(), entry.modified)));
        page = listing.next_page(500);
    }
    found
}
