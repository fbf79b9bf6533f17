//! Back-ups of the file of a store: of what it and its own log hold, or none.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use krake_state::backup::{self, BackedUp, Source};
use krake_state::store::{OpenError, SqliteStore};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::{beside, open, place, put};

async fn back_up(file: &Path, to: &Path) -> anyhow::Result<BackedUp> {
    backup::back_up(Source::SqliteFile(file), to).await
}

async fn put_some(store: &SqliteStore, count: usize) {
    for number in 0..count {
        put(store, &format!("/krake/x/{number:03}"), vec![7; 3000]).await;
    }
}

/// The files as a process that was killed leaves them, whose log holds 20 entries more than its file; and a copy of the
/// file from before.
async fn killed() -> (TempDir, PathBuf, PathBuf) {
    let (folder, file) = place();
    let store = open(&file).await;
    put_some(&store, 8).await;
    store.close().await;
    let copy = folder.path().join("copy.db");
    fs::copy(&file, &copy).unwrap();
    let store = open(&file).await;
    put_some(&store, 28).await;
    let left = folder.path().join("left.db");
    for suffix in ["", "-wal", ".lock"] {
        fs::copy(beside(&file, suffix), beside(&left, suffix)).unwrap();
    }
    (folder, left, copy)
}

/// The contents of the file, of its log and of its `.lock` file.
fn bytes(file: &Path) -> [Option<Vec<u8>>; 3] {
    ["", "-wal", ".lock"].map(|suffix| fs::read(beside(file, suffix)).ok())
}

#[tokio::test]
async fn a_back_up_of_a_store_that_was_killed_holds_what_its_log_holds() {
    let (folder, left, _) = killed().await;
    let before = bytes(&left);
    for (number, lock) in [true, false].into_iter().enumerate() {
        if !lock {
            fs::remove_file(beside(&left, ".lock")).unwrap();
        }
        let done = back_up(&left, &folder.path().join(format!("backup{number}"))).await.unwrap();
        assert_eq!(
            done.entries, 28,
            "the file and the log are of one process, which is seen without .lock too"
        );
    }
    let [file, log, lock] = bytes(&left);
    assert_eq!([file, log], [before[0].clone(), before[1].clone()]);
    assert_eq!(lock, None, "no file is made");
}

/// What is in the place of the file that a log belongs to.
#[derive(Debug, Clone, Copy)]
enum Instead {
    /// An older copy.
    Copy,
    /// An empty file.
    Nothing,
}

#[rstest::rstest]
#[tokio::test]
async fn a_file_beside_the_log_of_another_is_not_backed_up_and_stays_as_it_is(
    #[values(Instead::Copy, Instead::Nothing)] instead: Instead,
    #[values(true, false)] with_lock: bool,
    #[values(true, false)] by_link: bool,
) {
    let (folder, left, copy) = killed().await;
    match instead {
        Instead::Copy => drop(fs::copy(&copy, &left).unwrap()),
        Instead::Nothing => fs::write(&left, "").unwrap(),
    }
    if !with_lock {
        fs::remove_file(beside(&left, ".lock")).unwrap();
    }
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&left, &link).unwrap();
    let before = bytes(&left);
    let to = folder.path().join("backup");
    let refused = back_up(if by_link { &link } else { &left }, &to).await.unwrap_err();
    let refusal = refused.downcast_ref::<OpenError>();
    assert!(matches!(refusal, Some(OpenError::LogOfAnother { .. })), "{refused:#}");
    assert!(!to.exists(), "no back-up was made");
    assert_eq!(bytes(&left), before, "byte for byte");
}

/// Closes and opens a store again and again until it is told to stop.
fn restart_again_and_again(file: PathBuf, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    tokio::spawn(async move {
        for number in 0.. {
            let store = open(&file).await;
            put(&store, "/krake/y", format!("{number}")).await;
            if stop.load(Ordering::Relaxed) {
                return;
            }
            store.close().await;
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_starts_meanwhile_is_backed_up() {
    let (folder, file) = place();
    let store = open(&file).await;
    put_some(&store, 8).await;
    store.close().await;
    let stop = Arc::new(AtomicBool::new(false));
    let restarts = restart_again_and_again(file.clone(), stop.clone());
    for number in 0..30 {
        let done = back_up(&file, &folder.path().join(format!("backup{number}"))).await.unwrap();
        assert!((8..=9).contains(&done.entries), "{done:?}");
    }
    stop.store(true, Ordering::Relaxed);
    restarts.await.unwrap();
}
