//! The end of the write-ahead log is torn: whatever was answered before its bytes is there, and nothing is there in part.
//!
//! The law: let a commit be answered when the log had L bytes. If the log is the same up to L, the commit is whole, no
//! matter what follows; and the store is as it was after the last commit for which that is so.

use std::path::Path;

use krake_state::store::{Revision, SqliteStore, Store, Txn};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{contents, open, place};

/// Commits that are made.
const COMMITS: usize = 40;

/// A store's files after some commits, and how long the log was when each was answered.
struct Recording {
    database: Vec<u8>,
    log: Vec<u8>,
    /// The first is that of the empty store.
    lengths: Vec<usize>,
    /// What it held then.
    states: Vec<Vec<(String, Revision)>>,
}

fn log_of(file: &Path) -> std::path::PathBuf {
    file.with_extension("db-wal")
}

/// The commit `number`: several keys of several sizes, among them some that are replaced or deleted.
fn commit(number: usize) -> Txn {
    let name = |offset: usize| format!("k{:02}", (number * 7 + offset * 3) % 50);
    let txn = Txn::new().put("count", number.to_string()).put(name(0), vec![1; 300 * (number % 20)]);
    let txn = if number.is_multiple_of(3) { txn.put(name(1), vec![2; 9000]) } else { txn };
    if number.is_multiple_of(4) { txn.delete(name(2)) } else { txn }
}

async fn record() -> Recording {
    let (_folder, file) = place();
    let store = open(&file).await;
    let length = || usize::try_from(std::fs::metadata(log_of(&file)).unwrap().len()).unwrap();
    let (mut lengths, mut states) = (vec![length()], vec![contents(&store).await]);
    for number in 1..=COMMITS {
        store.commit(commit(number)).await.unwrap().unwrap();
        lengths.push(length());
        states.push(contents(&store).await);
    }
    // It is still open: nothing is tidied up.
    let (database, log) = (std::fs::read(&file).unwrap(), std::fs::read(log_of(&file)).unwrap());
    assert!(lengths.is_sorted_by(|one, next| one < next), "every commit made the log longer: {lengths:?}");
    assert_eq!(lengths.last(), Some(&log.len()));
    Recording { database, log, lengths, states }
}

#[derive(Debug, Clone)]
enum Tear {
    /// The rest is missing.
    Cut,
    /// The rest is something else.
    Noise(u64),
    /// The rest is zeros, as some file systems leave it.
    Zeros,
    /// One bit is another one.
    Flip(u8),
}

fn tear(log: &[u8], at: usize, tear: &Tear) -> Vec<u8> {
    let mut log = log.to_vec();
    match tear {
        Tear::Cut => log.truncate(at),
        Tear::Zeros => log[at..].fill(0),
        Tear::Flip(bit) => {
            if let Some(byte) = log.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        Tear::Noise(seed) => {
            let mut state = *seed | 1;
            for byte in &mut log[at..] {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                // Always another byte than it was.
                *byte ^= u8::try_from(state >> 56).unwrap() | 1;
            }
        }
    }
    log
}

async fn reopened(recording: &Recording, log: &[u8]) -> SqliteStore {
    let (folder, file) = place();
    std::fs::write(&file, &recording.database).unwrap();
    std::fs::write(log_of(&file), log).unwrap();
    let store = open(&file).await;
    std::mem::forget(folder);
    store
}

#[test]
fn a_torn_log_keeps_exactly_what_was_whole_before_the_tear() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let recording = runtime.block_on(record());
    let (first, last) = (recording.lengths[0], recording.log.len());
    // Also right at the ends of commits, where an arbitrary place would hardly ever be.
    let place = prop_oneof![
        2 => first..=last,
        1 => prop::sample::select(recording.lengths.clone()),
        1 => prop::sample::select(recording.lengths[1..].to_vec()).prop_map(|length| length - 1),
    ];
    let kind = prop_oneof![
        3 => Just(Tear::Cut),
        1 => any::<u64>().prop_map(Tear::Noise),
        1 => Just(Tear::Zeros),
        2 => (0..8_u8).prop_map(Tear::Flip),
    ];
    let config = Config { cases: 100, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&(place, kind), |(at, kind)| {
            runtime.block_on(async {
                let torn = tear(&recording.log, at, &kind);
                // Zeros may be what was there.
                let same = recording.log.iter().zip(&torn).take_while(|(one, other)| one == other);
                let at = same.count();
                let store = reopened(&recording, &torn).await;
                let whole = recording.lengths.iter().rposition(|length| *length <= at).unwrap();
                let found = contents(&store).await;
                assert_eq!(found, recording.states[whole], "{whole} commits were whole");
                let revision = store.revision().await.unwrap();
                let next = store.commit(Txn::new().put("next", "")).await.unwrap().unwrap();
                assert!(next > revision && found.iter().all(|(_, modified)| *modified <= revision));
                store.close().await;
            });
            Ok(())
        })
        .unwrap();
}
