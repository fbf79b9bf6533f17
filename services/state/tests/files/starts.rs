//! Processes that are killed while they start, several in a row, also while another program reads: nothing is lost, and
//! the log is not taken for that of another file.

use std::path::Path;
use std::time::SystemTime;

use krake_state::store::Key;
use krake_state::store::Store;
use rusqlite::Connection;

use super::child::{Player, part};
use super::{contents, open, place, put};

/// Processes that are killed one after the other, before one may go on.
const KILLS: usize = 3;
const ROUNDS: usize = 10;

/// Not a test by itself: the process that is killed.
#[tokio::test]
async fn starter() {
    let Some((_, file)) = part() else { return };
    let _store = open(&file).await;
    std::fs::write(file.with_extension("opened"), "").unwrap();
    std::future::pending().await
}

/// The last changes of the files that a start writes.
fn changed(file: &Path) -> Vec<Option<(SystemTime, u64)>> {
    let look = |suffix: &str| {
        let found = std::fs::metadata(format!("{}{suffix}", file.display())).ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    vec![look(""), look("-wal"), look(".lock")]
}

/// Kills a process that starts, after so many changes of the files, or when it has opened them.
fn kill_after(file: &Path, changes: usize) {
    let mut player = Player::start("starts::starter", "start", file, "");
    let (mut before, opened) = (changed(file), file.with_extension("opened"));
    for _ in 0..changes {
        loop {
            let now = changed(file);
            if now != before || opened.exists() {
                before = now;
                break;
            }
            std::thread::yield_now();
        }
    }
    player.kill();
    assert!(!player.ended_well());
    // It may have been killed before.
    let _ = std::fs::remove_file(opened);
}

#[tokio::test]
async fn starts_that_are_killed_lose_nothing() {
    let (_folder, file) = place();
    for round in 0..ROUNDS {
        let store = open(&file).await;
        let before = contents(&store).await;
        assert_eq!(before.len(), round, "round {round}");
        put(&store, &format!("k{round}"), vec![7; 100_000]).await;
        let expected = contents(&store).await;
        // The files as a process leaves them that is killed.
        let left = file.with_file_name(format!("left{round}.db"));
        for suffix in ["", "-wal", ".lock"] {
            let name = |path: &Path| format!("{}{suffix}", path.display());
            std::fs::copy(name(&file), name(&left)).unwrap();
        }
        let reader = (round % 2 == 1).then(|| {
            let reader = Connection::open(&left).unwrap();
            reader.execute_batch("BEGIN").unwrap();
            reader.query_row("SELECT count(*) FROM log", [], |_| Ok(())).unwrap();
            reader
        });
        for kill in 0..KILLS {
            kill_after(&left, 1 + (round + kill) % 3);
        }
        drop(reader);
        let after = open(&left).await;
        assert_eq!(contents(&after).await, expected, "round {round}");
        assert!(after.get(&Key::from(format!("k{round}").as_str())).await.unwrap().is_some());
        after.close().await;
        store.close().await;
    }
}
