//! A disk without room: writes fail in words, reads go on, nothing that was answered is lost, and it goes on by itself.

use std::process::Command;

use krake_state::store::{Key, Store, Txn};

use super::child::{Player, part, say};
use super::{contents, open, place};

/// The largest size of a file, in blocks of the shell. The signal that tells it is ignored, so that writes fail.
const LIMIT: &str = "trap '' XFSZ; ulimit -S -f 1500;";

/// Not a test by itself: the process that has no room.
#[tokio::test]
async fn writer() {
    let Some((_, file)) = part() else { return };
    let store = open(&file).await;
    let put = |number: usize| store.commit(Txn::new().put(format!("k{number:05}"), vec![7; 3000]));
    let mut number = 0;
    let failed = loop {
        match put(number).await {
            Ok(answer) => say(&format!("{number} {}", answer.unwrap())),
            Err(error) => break error,
        }
        number += 1;
    };
    assert!(failed.retryable(), "{failed}");
    let text = failed.to_string();
    assert!(text.contains("krake.db") && text.contains("disk"), "{text}");
    // Reads go on, and the failed write is not there.
    let before = store.revision().await.unwrap();
    assert_eq!(contents(&store).await.len(), number);
    assert!(store.get(&Key::from("k00000")).await.unwrap().is_some());
    assert_eq!(store.get(&Key::from(format!("k{number:05}"))).await.unwrap(), None);
    assert!(put(number).await.is_err());
    say("full");
    loop {
        match put(number).await {
            Ok(answer) => {
                assert!(answer.unwrap() > before);
                break;
            }
            Err(error) => assert!(error.retryable(), "{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    say(&format!("{number} again"));
    store.close().await;
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_is_forgiven() {
    let (_folder, file) = place();
    let mut player = Player::start("full::writer", "full", &file, LIMIT);
    let mut answered = Vec::new();
    loop {
        let line = player.hear().expect("it says when there is no room");
        if line == "full" {
            break;
        }
        let (number, revision) = line.split_once(' ').unwrap();
        answered.push((format!("k{number:0>5}"), revision.parse::<i64>().unwrap()));
    }
    assert!(answered.len() > 10, "there was some room");
    let room = ["--pid", &player.id().to_string(), "--fsize=unlimited"];
    assert!(Command::new("prlimit").args(room).status().unwrap().success());
    assert_eq!(player.hear(), Some(format!("{} again", answered.len())));
    assert!(player.ended_well());
    let store = open(&file).await;
    let found: Vec<(String, i64)> =
        contents(&store).await.into_iter().map(|(key, revision)| (key, revision.0)).collect();
    assert_eq!(found[..answered.len()], answered);
    assert_eq!(found.len(), answered.len() + 1);
}

/// Keys of the store that a start finds, with values of 3000 bytes: some hundred in its file, and some more in its log.
const IN_THE_FILE: usize = 300;
const IN_THE_LOG: usize = 100;

/// Not a test by itself: a process that is killed before it puts its log into the file.
#[tokio::test]
async fn filler() {
    let Some((_, file)) = part() else { return };
    let store = open(&file).await;
    // In one transaction, so that the log is shorter than the file.
    let keys = (IN_THE_FILE..IN_THE_FILE + IN_THE_LOG).map(|number| format!("k{number:05}"));
    store.commit(keys.fold(Txn::new(), |txn, key| txn.put(key, vec![7; 3000]))).await.unwrap().unwrap();
    say("filled");
    std::future::pending::<()>().await;
}

/// Not a test by itself: a process that finds no room for the log in the file when it starts.
#[tokio::test]
async fn starter() {
    let Some((_, file)) = part() else { return };
    let store = open(&file).await;
    let all = IN_THE_FILE + IN_THE_LOG;
    assert_eq!(contents(&store).await.len(), all, "reads are served");
    // The limit is on each file, so the log has room.
    let put = |number: usize| store.commit(Txn::new().put(format!("k{number:05}"), vec![7; 3000]));
    for number in all..all + 3 {
        put(number).await.unwrap().unwrap();
        assert_eq!(contents(&store).await.len(), number + 1);
    }
    say("full");
    while std::fs::metadata(&file).unwrap().len() < 3000 * all as u64 {
        assert_eq!(store.contact().await, krake_runtime::reachable::Contact::Answered);
        put(0).await.unwrap().unwrap();
    }
    say("whole");
    assert_eq!(contents(&store).await.len(), all + 3);
    store.close().await;
}

#[tokio::test]
async fn a_disk_that_is_full_at_the_start_is_not_taken_for_another_program_that_writes() {
    let (_folder, file) = place();
    let store = open(&file).await;
    for number in 0..IN_THE_FILE {
        store.commit(Txn::new().put(format!("k{number:05}"), vec![7; 3000])).await.unwrap().unwrap();
    }
    store.close().await;
    let mut filler = Player::start("full::filler", "fill", &file, "");
    assert_eq!(filler.hear().as_deref(), Some("filled"));
    filler.kill();
    assert!(!filler.ended_well());
    let bytes = std::fs::metadata(&file).unwrap().len();
    // Room for half of what the log adds to the file.
    let blocks = (bytes + (IN_THE_LOG as u64 * 3000) / 2) / 512;
    let limit = format!("trap '' XFSZ; ulimit -S -f {blocks};");
    let mut starter = Player::start("full::starter", "start", &file, &limit);
    assert_eq!(starter.hear().as_deref(), Some("full"));
    let room = ["--pid", &starter.id().to_string(), "--fsize=unlimited"];
    assert!(Command::new("prlimit").args(room).status().unwrap().success());
    assert_eq!(starter.hear().as_deref(), Some("whole"), "it goes on without a restart");
    assert!(starter.ended_well());
    assert_eq!(contents(&open(&file).await).await.len(), IN_THE_FILE + IN_THE_LOG + 3);
}
