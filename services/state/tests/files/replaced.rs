//! Files that are moved, removed, copied over or put back from a copy: nothing is read or written that does not belong
//! together.

use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use krake_runtime::reachable::Contact;
use krake_state::store::{Key, OpenError, Page, SqliteStore, Store, Txn};
use tempfile::TempDir;

use super::{beside, contents, open, place, put, try_open};

/// Fails unless all kinds of calls are refused for a reason that holds `text`.
async fn assert_refused(store: &SqliteStore, text: &str) {
    let key = Key::from("a");
    let refusals = [
        store.revision().await.map(drop),
        store.get(&key).await.map(drop),
        store.list(&key, Page::first(1)).await.map(drop),
        store.commit(Txn::new().put("a", "2")).await.map(drop),
        store.lineage().await.map(drop),
    ];
    for (call, refused) in refusals.into_iter().enumerate() {
        let error = refused.expect_err(&format!("call {call} was answered")).to_string();
        assert!(error.contains(text), "call {call}: {error}");
    }
    assert_eq!(store.contact().await, Contact::Unreachable);
}

#[tokio::test]
async fn a_store_whose_files_are_gone_answers_no_read_either() {
    for suffix in ["", ".lock", "-wal"] {
        let (folder, file) = place();
        let store = open(&file).await;
        put(&store, "a", "1").await;
        // So that a connection is open for reads.
        assert_eq!(store.get(&Key::from("a")).await.unwrap().unwrap().value, "1");
        let moved = folder.path().join("moved");
        fs::rename(beside(&file, suffix), &moved).unwrap();
        assert_refused(&store, "moved or replaced").await;
        if suffix != "-wal" {
            fs::rename(&moved, beside(&file, suffix)).unwrap();
            assert_eq!(store.get(&Key::from("a")).await.unwrap().unwrap().value, "1", "it is back");
            put(&store, "a", "3").await;
        }
    }
}

/// The files of a store, and a copy of them that was made when it was closed some starts ago.
async fn with_copy() -> (TempDir, PathBuf, PathBuf) {
    let (folder, file) = place();
    let store = open(&file).await;
    for number in 0..8 {
        put(&store, &format!("o{number}"), vec![7; 3000]).await;
    }
    store.close().await;
    let copy = folder.path().join("copy.db");
    for suffix in ["", ".lock"] {
        fs::copy(beside(&file, suffix), beside(&copy, suffix)).unwrap();
    }
    let store = open(&file).await;
    for number in 0..20 {
        put(&store, &format!("p{number}"), vec![8; 3000]).await;
    }
    store.close().await;
    (folder, file, copy)
}

#[tokio::test]
async fn a_copy_that_is_put_back_beside_a_foreign_log_is_left_as_it_is() {
    for with_lock in [true, false] {
        let (folder, file, copy) = with_copy().await;
        let store = open(&file).await;
        put(&store, "q", "1").await;
        // As a process that is killed leaves them.
        let left = folder.path().join("left.db");
        for suffix in ["", "-wal", ".lock"] {
            fs::copy(beside(&file, suffix), beside(&left, suffix)).unwrap();
        }
        fs::copy(&copy, &left).unwrap();
        if with_lock {
            fs::copy(beside(&copy, ".lock"), beside(&left, ".lock")).unwrap();
        }
        let log = fs::read(beside(&left, "-wal")).unwrap();
        for _ in 0..2 {
            let refused = try_open(&left).await.map(drop).unwrap_err();
            assert!(matches!(refused, OpenError::LogOfAnother { .. }), "{refused}");
            assert!(refused.to_string().contains("left.db-wal and"), "{refused}");
            assert_eq!(fs::read(&left).unwrap(), fs::read(&copy).unwrap(), "the copy is whole");
            assert_eq!(fs::read(beside(&left, "-wal")).unwrap(), log, "and so is the log");
        }
        fs::remove_file(beside(&left, "-wal")).unwrap();
        fs::remove_file(beside(&left, "-shm")).unwrap();
        let names: Vec<_> = contents(&open(&left).await).await.into_iter().map(|(key, _)| key).collect();
        assert_eq!(names, (0..8).map(|number| format!("o{number}")).collect::<Vec<_>>());
    }
}

/// Waits until a file that is written now has a later time than `file`: clocks of file systems tick some hundred times a
/// second.
fn pass_a_tick(file: &Path, folder: &Path) {
    let time = |path: &Path| path.metadata().map(|file| (file.mtime(), file.mtime_nsec())).unwrap();
    let probe = folder.join("probe");
    loop {
        fs::write(&probe, "").unwrap();
        if time(&probe) > time(file) {
            return;
        }
    }
}

#[tokio::test]
async fn a_file_that_is_written_over_is_neither_read_nor_written() {
    let (folder, file, copy) = with_copy().await;
    let store = open(&file).await;
    put(&store, "q", "1").await;
    let inode = file.metadata().unwrap().ino();
    pass_a_tick(&file, folder.path());
    fs::copy(&copy, &file).unwrap();
    assert_eq!(file.metadata().unwrap().ino(), inode, "no other file");
    assert_refused(&store, "wrote over the file").await;
    store.close().await;
    assert_eq!(fs::read(&file).unwrap(), fs::read(&copy).unwrap(), "the log was not put into it");

    let refused = try_open(&file).await.map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::LogOfAnother { .. }), "{refused}");
    fs::rename(beside(&file, "-wal"), folder.path().join("log")).unwrap();
    assert_eq!(contents(&open(&file).await).await.len(), 8);
}

#[tokio::test]
async fn a_copy_from_the_same_process_is_noticed_and_a_touch_is_no_reason() {
    let (folder, file) = place();
    let store = open(&file).await;
    put(&store, "a", "1").await;
    pass_a_tick(&file, folder.path());
    let older = fs::read(&file).unwrap();
    // The same bytes again, without a moment in which the file is empty: then the store would be right to refuse.
    fs::File::options().write(true).open(&file).unwrap().write_all(&older).unwrap();
    put(&store, "a", "2").await;
    // More than the log holds before it is put into the file.
    for number in 0..20 {
        put(&store, &format!("large{number}"), vec![7; 1 << 20]).await;
    }
    let moved = fs::read(&file).unwrap().len();
    assert!(moved > older.len(), "the log was put into the file");
    pass_a_tick(&file, folder.path());
    fs::write(&file, &older).unwrap();
    assert_refused(&store, "wrote over the file").await;
}

/// Copies the files of a store that is open, beside one another.
fn copy_hot(from: &Path, to: &Path, suffixes: &[&str]) {
    for suffix in suffixes {
        fs::copy(beside(from, suffix), beside(to, suffix)).unwrap();
    }
}

#[tokio::test]
async fn a_copy_of_an_open_store_that_is_put_back_over_it_is_noticed_whatever_is_copied() {
    for suffixes in [&["", "-wal", ".lock"][..], &["", "-wal"], &["-wal"]] {
        let (folder, file) = place();
        let copy = folder.path().join("copy.db");
        let store = open(&file).await;
        put(&store, "a", "1").await;
        copy_hot(&file, &copy, &["", "-wal", ".lock"]);
        put(&store, "b", "1").await;
        copy_hot(&copy, &file, suffixes);
        assert_refused(&store, "wrote over the file").await;
        let before = store.lineage().await;
        assert!(before.is_err(), "for good: {before:?}");
        store.close().await;
        assert_eq!(fs::read(&file).unwrap(), fs::read(&copy).unwrap(), "nothing was put into it");
        let store = open(&file).await;
        assert_eq!(contents(&store).await.len(), 1, "the next start uses what is there");
    }
}

#[tokio::test]
async fn an_older_copy_of_the_file_alone_is_not_read_through_a_newer_log_of_the_same_process() {
    let (folder, file) = place();
    let (copy, left) = (folder.path().join("copy.db"), folder.path().join("left.db"));
    let store = open(&file).await;
    put(&store, "a", "1").await;
    store.close().await;
    let store = open(&file).await;
    copy_hot(&file, &copy, &[""]);
    put(&store, "b", "1").await;
    // The changes up to here go into the file, and the log begins anew.
    for number in 0..120 {
        put(&store, &format!("c{number}"), vec![7; 200_000]).await;
    }
    put(&store, "d", "1").await;
    copy_hot(&file, &left, &["", "-wal", ".lock"]);
    fs::copy(&copy, &left).unwrap();
    let refused = try_open(&left).await.map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::LogOfAnother { .. }), "{refused}");
    fs::copy(&file, &left).unwrap();
    let store = try_open(&left).await.unwrap();
    assert_eq!(contents(&store).await.len(), 123, "with its own file");
}

#[tokio::test]
async fn a_log_that_is_cut_is_noticed() {
    for bytes in [0, 5000] {
        let (_folder, file) = place();
        let store = open(&file).await;
        put(&store, "a", "1").await;
        put(&store, "b", "1").await;
        fs::File::options().write(true).open(beside(&file, "-wal")).unwrap().set_len(bytes).unwrap();
        assert_refused(&store, "wrote over the file").await;
    }
}

#[tokio::test]
async fn a_program_that_only_reads_disturbs_nothing_and_one_that_writes_is_noticed() {
    let (_folder, file) = place();
    let store = open(&file).await;
    for number in 0..3 {
        put(&store, &format!("k{number}"), "1").await;
        let shell = rusqlite::Connection::open(&file).unwrap();
        let rows: i64 = shell.query_row("SELECT count(*) FROM log", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, number + 1);
        drop(shell);
        assert_eq!(store.contact().await, Contact::Answered);
    }
    let shell = rusqlite::Connection::open(&file).unwrap();
    shell.execute("UPDATE meta SET value = value + 1 WHERE name = 'swept'", []).unwrap();
    assert_refused(&store, "wrote over the file").await;
}

#[tokio::test]
async fn a_copy_that_went_on_by_itself_begins_another_history_though_it_is_newer() {
    let (folder, file, copy) = with_copy().await;
    let history = async |file: &Path, number: usize| {
        let store = open(file).await;
        for number in 0..number {
            put(&store, &format!("q{number}"), "1").await;
        }
        let lineage = store.lineage().await.unwrap().unwrap();
        store.close().await;
        lineage
    };
    let before = history(&file, 1).await;
    assert_eq!(history(&file, 1).await.store, before.store, "nothing was put back");
    let copied = history(&copy, 100).await;
    assert!(copied.at > before.at, "it is newer");
    fs::copy(&copy, &file).unwrap();
    let after = history(&file, 1).await;
    assert_ne!(after.store, before.store);
    assert_eq!(history(&file, 1).await.store, after.store, "once");
    drop(folder);
}

#[tokio::test]
async fn a_path_that_is_no_text_is_served() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join(std::ffi::OsStr::from_bytes(b"kr\xffke.db"));
    for number in 0..2 {
        let store = open(&file).await;
        assert_eq!(contents(&store).await.len(), number);
        put(&store, &format!("k{number}"), "1").await;
        assert_eq!(store.contact().await, Contact::Answered);
        store.close().await;
    }
}
