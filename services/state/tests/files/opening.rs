//! Opening a file: what is believed, what is refused and in which words.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use krake_runtime::reachable::Contact;
use krake_state::store::{
    Bid, Guard, Key, OpenError, Page, Revision, SqliteOptions, SqliteStore, Store, Txn,
};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::time::timeout;

use super::{PATIENCE, contents, open, place, put, try_open};

async fn refusal(file: &Path) -> OpenError {
    match try_open(file).await {
        Ok(_) => panic!("{} was opened", file.display()),
        Err(error) => error,
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn what_is_made_is_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("deep/er/krake.db");
    let store = open(&file).await;
    put(&store, "a", "secret").await;
    assert_eq!((mode(&folder.path().join("deep")), mode(file.parent().unwrap())), (0o700, 0o700));
    let beside = fs::read_dir(file.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let modes: Vec<u32> = beside.map(|path| mode(&path)).collect();
    assert!(modes.len() >= 3 && modes.iter().all(|mode| *mode == 0o600), "{modes:?}");
}

#[tokio::test]
async fn a_file_that_was_replaced_or_removed_is_neither_written_nor_read() {
    for put_back in [true, false] {
        let (folder, file) = place();
        let moved = folder.path().join("moved.db");
        let store = open(&file).await;
        put(&store, "a", "1").await;
        assert_eq!(store.contact().await, Contact::Answered);
        fs::rename(&file, &moved).unwrap();
        if put_back {
            fs::copy(&moved, &file).unwrap();
        }
        let write = store.commit(Txn::new().put("a", "2")).await.unwrap_err().to_string();
        // No connection was made for reads before.
        let read = store.get(&Key::from("a")).await.unwrap_err().to_string();
        assert!(write.contains("moved or replaced") && write.contains("krake.db"), "{write}");
        assert!(read.contains("krake.db"), "{read}");
        assert_eq!(store.contact().await, Contact::Unreachable);
        // Another name of the same file is no reason.
        fs::rename(&moved, &file).unwrap();
        put(&store, "a", "3").await;
        assert_eq!(store.contact().await, Contact::Answered);
    }
}

/// Without this SQLite would read the log of the moved file into the other one.
#[tokio::test]
async fn a_file_that_takes_the_place_of_an_open_one_is_what_the_next_start_finds() {
    for notice in [true, false] {
        let (folder, file) = place();
        let store = open(&file).await;
        put(&store, "a", "copied").await;
        store.close().await;
        let copy = folder.path().join("copy.db");
        fs::copy(&file, &copy).unwrap();

        let store = open(&file).await;
        for round in 0..50 {
            put(&store, "a", format!("{round}")).await;
        }
        let moved = folder.path().join("moved.db");
        fs::rename(&file, &moved).unwrap();
        fs::copy(&copy, &file).unwrap();
        if notice {
            store.commit(Txn::new().put("a", "2")).await.unwrap_err();
        }
        store.close().await;

        for (file, value) in [(file, "copied"), (moved, "49")] {
            let store = open(&file).await;
            assert_eq!(store.get(&Key::from("a")).await.unwrap().unwrap().value, value);
            store.close().await;
        }
    }
}

/// The files of a store as a process that is killed leaves them, with a log, and a copy of the file that was made before
/// that process began.
async fn killed() -> (TempDir, PathBuf, PathBuf) {
    let (folder, file) = place();
    let store = open(&file).await;
    put(&store, "a", "copied").await;
    store.close().await;
    let older = folder.path().join("older.db");
    fs::copy(&file, &older).unwrap();
    let store = open(&file).await;
    put(&store, "a", "later").await;
    let left = folder.path().join("left.db");
    for suffix in ["", "-wal", ".lock"] {
        fs::copy(format!("{}{suffix}", file.display()), format!("{}{suffix}", left.display())).unwrap();
    }
    (folder, left, older)
}

#[tokio::test]
async fn a_log_is_read_into_the_file_that_it_belongs_to_alone() {
    let (_folder, left, _) = killed().await;
    assert_eq!(open(&left).await.get(&Key::from("a")).await.unwrap().unwrap().value, "later");

    let (_folder, left, older) = killed().await;
    let whole = fs::read(&left).unwrap();
    fs::copy(&older, &left).unwrap();
    let replaced = refusal(&left).await;
    assert!(matches!(replaced, OpenError::LogOfAnother { .. }), "{replaced}");
    fs::remove_file(&left).unwrap();
    assert!(matches!(refusal(&left).await, OpenError::LogOfAnother { .. }), "nothing is in its place");
    fs::write(&left, whole).unwrap();
    let store = open(&left).await;
    assert_eq!(store.get(&Key::from("a")).await.unwrap().unwrap().value, "later", "it was put back");
    store.close().await;
}

#[tokio::test]
async fn an_older_file_without_a_log_after_a_kill_is_another_history() {
    let (_folder, left, older) = killed().await;
    fs::remove_file(format!("{}-wal", left.display())).unwrap();
    let history = async |file: &Path| open(file).await.lineage().await.unwrap().unwrap().store;
    let before = history(&older).await;
    fs::copy(&older, &left).unwrap();
    assert_ne!(history(&left).await, before);
}

#[tokio::test]
async fn what_stands_in_a_log_that_was_removed_is_not_lost() {
    let (_folder, file) = place();
    let store = open(&file).await;
    put(&store, "a", "1").await;
    fs::remove_file(format!("{}-wal", file.display())).unwrap();
    let refused = store.commit(Txn::new().put("a", "2")).await.unwrap_err().to_string();
    assert!(refused.contains("krake.db-wal"), "{refused}");
    store.close().await;
    assert_eq!(open(&file).await.get(&Key::from("a")).await.unwrap().unwrap().value, "1");
}

#[tokio::test]
async fn a_file_with_two_names_is_refused() {
    let (folder, file) = place();
    open(&file).await.close().await;
    fs::hard_link(&file, folder.path().join("second.db")).unwrap();
    let refused = refusal(&file).await.to_string();
    assert!(refused.contains("hard link"), "{refused}");
}

#[tokio::test]
async fn what_is_no_regular_file_is_refused_at_once() {
    let (_folder, file) = place();
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    for special in [file.as_path(), Path::new("/dev/null")] {
        let refused = refusal(special).await;
        assert!(matches!(refused, OpenError::Misplaced { .. }), "{refused}");
        assert!(refused.to_string().contains("not a regular file"), "{refused}");
    }
}

#[tokio::test]
async fn a_reopened_store_is_the_same_with_its_past() {
    let (_folder, file) = place();
    let store = open(&file).await;
    assert_eq!(store.revision().await.unwrap(), Revision(1), "as that of an empty etcd");
    let first = put(&store, "a", "1").await;
    put(&store, "b", "1").await;
    let third = store.commit(Txn::new().put("a", "2").delete("b")).await.unwrap().unwrap();
    let before = contents(&store).await;
    store.close().await;
    assert!(!file.with_extension("db-wal").exists(), "it is closed in order");

    let store = open(&file).await;
    assert_eq!(store.revision().await.unwrap(), third);
    assert_eq!(contents(&store).await, before);
    let page = Page { at: Some(Revision(third.0 - 1)), ..Page::first(10) };
    assert_eq!(store.list(&Key::from(""), page).await.unwrap().entries.len(), 2, "the past can be read");
    let batches: Vec<_> = store.watch(&Key::from(""), first).take(2).collect().await;
    let last = batches[1].as_ref().unwrap();
    assert_eq!((last.revision, last.changes.len()), (third, 2), "and followed");
    assert_eq!(last.changes[0].previous.as_ref().unwrap().value, "1");
    assert!(put(&store, "a", "3").await > third);
    store.compact(third).await.unwrap();
    store.close().await;

    let store = open(&file).await;
    assert!(store.watch(&Key::from(""), first).next().await.unwrap().is_err(), "what is forgotten stays so");
}

#[tokio::test]
async fn one_process_has_it_open_and_the_next_one_waits_a_moment() {
    let (_folder, file) = place();
    let store = open(&file).await;
    let refused = refusal(&file).await;
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
    assert!(refused.to_string().contains(file.to_str().unwrap()), "{refused}");
    let link = file.with_file_name("link.db");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert!(matches!(refusal(&link).await, OpenError::InUse { .. }), "by whatever name");
    put(&store, "a", "1").await;
    // Closed some time after it was dropped, which is waited for; for longer than usual if the machine is busy.
    drop(store);
    let reopened = async {
        loop {
            match try_open(&file).await {
                Err(OpenError::InUse { .. }) => {}
                other => return other.unwrap(),
            }
        }
    };
    let store = timeout(PATIENCE, reopened).await.unwrap();
    assert_eq!(contents(&store).await.len(), 1);
}

#[tokio::test]
async fn a_closed_store_refuses_calls_on_its_clones() {
    let (_folder, file) = place();
    let store = open(&file).await;
    let clone = store.clone();
    store.close().await;
    assert!(clone.revision().await.unwrap_err().retryable());
    assert!(clone.get(&Key::from("a")).await.unwrap_err().retryable());
    assert!(clone.commit(Txn::new().put("a", "1")).await.unwrap_err().retryable());
    clone.close().await;
}

fn change(file: &Path, sql: &str) {
    Connection::open(file).unwrap().execute_batch(sql).unwrap();
}

#[tokio::test]
async fn other_files_are_not_touched() {
    let (_folder, file) = place();
    fs::write(&file, "a letter to somebody, of some length, which is no database at all").unwrap();
    let before = fs::read(&file).unwrap();
    let refused = refusal(&file).await;
    assert!(matches!(refused, OpenError::Foreign { .. }), "{refused}");
    assert_eq!(fs::read(&file).unwrap(), before);

    let (_folder, file) = place();
    change(&file, "CREATE TABLE theirs (x)");
    let before = fs::read(&file).unwrap();
    let refused = refusal(&file).await;
    assert!(matches!(refused, OpenError::Foreign { .. }), "{refused}");
    assert!(refused.to_string().contains("not a Krake store"), "{refused}");
    assert_eq!(fs::read(&file).unwrap(), before);

    let (_folder, file) = place();
    fs::create_dir(&file).unwrap();
    assert!(refusal(&file).await.to_string().contains(file.to_str().unwrap()));
}

#[tokio::test]
async fn what_stands_in_the_way_is_named() {
    let (folder, file) = place();
    let named = async |file: &Path, thing: &Path, found: &str| {
        let refused = refusal(file).await;
        assert!(matches!(refused, OpenError::Misplaced { .. }), "{refused}");
        let expected = format!("cannot use {}: {found}; name another one", thing.display());
        assert_eq!(refused.to_string(), expected);
    };
    fs::write(&file, "").unwrap();
    named(&file.join("deep/krake.db"), &file, "it is not a folder").await;
    named(folder.path(), folder.path(), "it is a folder").await;
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("/nowhere/data", &link).unwrap();
    let leads = "it is a symbolic link to /nowhere/data, which cannot be reached";
    named(&link, &link, leads).await;
    named(&link.join("krake.db"), &link, leads).await;
}

#[tokio::test]
async fn an_empty_file_becomes_a_store() {
    let (_folder, file) = place();
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let store = open(&file).await;
    put(&store, "a", "1").await;
    assert_eq!((mode(&file), mode(&file.with_extension("db-wal"))), (0o600, 0o600), "for its owner alone");
}

#[tokio::test]
async fn a_newer_form_is_left_alone() {
    let (_folder, file) = place();
    open(&file).await.close().await;
    change(&file, "PRAGMA user_version = 2");
    let refused = refusal(&file).await;
    assert!(matches!(refused, OpenError::Newer { found: 2, .. }), "{refused}");
    assert!(refused.to_string().contains("newer Krake"), "{refused}");
}

#[tokio::test]
async fn damage_is_found_before_anything_is_served() {
    let (_folder, file) = place();
    let store = open(&file).await;
    for number in 0..200 {
        put(&store, &format!("k{number:03}"), vec![7; 1000]).await;
    }
    store.close().await;
    let mut bytes = fs::read(&file).unwrap();
    // Pages in the middle, the first one of each being its kind.
    for page in (8..bytes.len() / 4096).step_by(3) {
        bytes[page * 4096..page * 4096 + 100].fill(0xEE);
    }
    fs::write(&file, bytes).unwrap();
    let refused = refusal(&file).await;
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
    let text = refused.to_string();
    assert!(text.contains(file.to_str().unwrap()) && text.contains("krake-state restore"), "{text}");
    // Whole pages, but not a whole store.
    let (_folder, file) = place();
    let store = open(&file).await;
    put(&store, "a", "1").await;
    store.close().await;
    change(&file, "UPDATE meta SET value = 1 WHERE name = 'revision'");
    assert!(matches!(refusal(&file).await, OpenError::Damaged { .. }));
}

fn bid(holder: &'static str, seconds: u64) -> Bid {
    Bid { key: "place".into(), holder: holder.into(), ttl: Duration::from_secs(seconds) }
}

#[tokio::test]
async fn leases_outlive_a_restart_while_their_holders_live() {
    let (_folder, file) = place();
    let store = open(&file).await;
    let first = store.campaign(bid("a", 60)).await.unwrap();
    store.close().await;
    let store = open(&file).await;
    assert_eq!(store.campaign(bid("b", 60)).await.unwrap().kept, None, "it is still taken");
    let again = store.campaign(bid("a", 2)).await.unwrap();
    assert_eq!((again.entry.clone(), again.kept), (first.entry, Some(Duration::from_secs(60))));
    let fenced = Txn::new().guard(Guard::CreatedAt("place".into(), again.entry.created)).put("work", "done");
    store.commit(fenced).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_lease_whose_holder_died_with_the_process_ends_after_its_ttl() {
    let (_folder, file) = place();
    let store = open(&file).await;
    store.campaign(bid("a", 2)).await.unwrap();
    store.close().await;
    let store = open(&file).await;
    let at = store.revision().await.unwrap();
    let gone = timeout(PATIENCE, store.watch(&Key::from("place"), at).next()).await.unwrap();
    assert_eq!(gone.unwrap().unwrap().changes.len(), 1);
}

#[tokio::test]
async fn leases_are_forgotten_where_that_is_asked_for() {
    let (_folder, file) = place();
    let store = open(&file).await;
    let first = store.campaign(bid("a", 60)).await.unwrap();
    put(&store, "other", "stays").await;
    let at = store.revision().await.unwrap();
    store.close().await;
    let options =
        SqliteOptions { forget_leases: true, request_timeout: PATIENCE, ..SqliteOptions::new(&file) };
    let store = SqliteStore::open(options).await.unwrap();
    assert_eq!(contents(&store).await.len(), 1);
    let told = timeout(PATIENCE, store.watch(&Key::from("place"), at).next()).await.unwrap();
    assert_eq!(told.unwrap().unwrap().changes[0].previous, Some(first.entry.clone()), "watches are told");
    let fenced = Txn::new().guard(Guard::CreatedAt("place".into(), first.entry.created)).put("work", "late");
    store.commit(fenced).await.unwrap().unwrap_err();
    let second = store.campaign(bid("b", 60)).await.unwrap();
    assert!(second.kept.is_some() && second.entry.created > first.entry.created);
}
