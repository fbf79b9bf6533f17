//! Whoever is killed has lost nothing that was answered.

use std::collections::{BTreeMap, BTreeSet};

use krake_state::store::{Guard, Revision, SqliteStore, Store, Txn};
use tokio::task::JoinSet;

use super::child::{Player, part, say};
use super::{contents, open, place};

/// Writers of one process.
const WRITERS: usize = 8;
/// Processes that are killed on one file.
const ROUNDS: u64 = 30;

/// What a writer does as its `number`th call: creates keys, and deletes the one before every third of them.
fn call(number: usize) -> (bool, usize) {
    let (triple, step) = (number / 4, number % 4);
    if step == 3 { (false, 3 * triple + 1) } else { (true, 3 * triple + step) }
}

/// The keys of a writer after so many calls.
fn keys(calls: usize) -> BTreeSet<usize> {
    let mut keys = BTreeSet::new();
    for (create, key) in (0..calls).map(call) {
        if create {
            keys.insert(key)
        } else {
            keys.remove(&key)
        };
    }
    keys
}

async fn write(store: SqliteStore, round: String, writer: usize) {
    for number in 0.. {
        let (create, key) = call(number);
        let name = format!("{round}/{writer}/{key}");
        let txn = match create {
            true => {
                Txn::new().guard(Guard::Absent(name.as_str().into())).put(name, vec![7; 50 * (number % 60)])
            }
            false => Txn::new().guard(Guard::Exists(name.as_str().into())).delete(name),
        };
        let revision = store.commit(txn).await.unwrap().unwrap();
        say(&format!("{writer} {} {revision}", number + 1));
        // So that it is killed while it removes the past, too.
        if number % 64 == 63 {
            store.compact(Revision(revision.0 - 10)).await.unwrap();
        }
    }
}

/// Not a test by itself: the process that is killed.
#[tokio::test]
async fn writer() {
    let Some((round, file)) = part() else { return };
    let store = open(&file).await;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(store.clone(), round.clone(), writer));
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test]
async fn a_killed_process_has_lost_nothing_that_was_answered() {
    let (_folder, file) = place();
    let mut before: Vec<(String, Revision)> = Vec::new();
    let mut highest = Revision(0);
    for round in 0..ROUNDS {
        let mut player = Player::start("crash::writer", &format!("{round:02}"), &file, "");
        let lines = rand::random_range(1..400);
        let mut heard: BTreeMap<usize, usize> = BTreeMap::new();
        let mut hear = |line: String| {
            let numbers: Vec<usize> = line.split(' ').map(|number| number.parse().unwrap()).collect();
            let [writer, calls, revision] = numbers[..] else { panic!("{line}") };
            heard.insert(writer, calls);
            highest = highest.max(Revision(i64::try_from(revision).unwrap()));
        };
        for _ in 0..lines {
            hear(player.hear().expect("it writes until it is killed"));
        }
        player.kill();
        while let Some(line) = player.hear() {
            hear(line);
        }
        assert!(!player.ended_well());

        let store = open(&file).await;
        let revision = store.revision().await.unwrap();
        assert!(revision >= highest, "{revision} after {highest}");
        let found = contents(&store).await;
        let prefix = format!("{round:02}/");
        let (now, past): (Vec<_>, Vec<_>) =
            found.iter().cloned().partition(|(key, _)| key.starts_with(&prefix));
        assert_eq!(past, before, "what earlier processes left");
        for writer in 0..WRITERS {
            let prefix = format!("{prefix}{writer}/");
            let there = now.iter().filter_map(|(key, _)| key.strip_prefix(&prefix)?.parse().ok());
            let there: BTreeSet<usize> = there.collect();
            // At most the one call that was under way happened beyond those that were answered.
            let answered = heard.get(&writer).copied().unwrap_or(0);
            assert!(
                there == keys(answered) || there == keys(answered + 1),
                "round {round}, writer {writer}: {there:?} after {answered} calls"
            );
        }
        let next = store.commit(Txn::new().put("probe", "")).await.unwrap().unwrap();
        assert!(next > revision, "the revision rises on");
        highest = next;
        before = contents(&store).await;
        store.close().await;
    }
}
