//! What crashes and power losses leave of a start, and of a log that others read meanwhile.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::super::super::{Key, Revision};
use super::super::file;
use super::*;

/// More steps than a start has.
const STEPS: usize = 6;

/// The files that a process leaves which is killed, and of its `.lock` file what a power loss leaves.
#[derive(Clone)]
struct Left {
    file: Vec<u8>,
    log: Vec<u8>,
    lock: Vec<u8>,
}

fn place() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("krake.db");
    (folder, path)
}

impl Left {
    fn by(path: &Path, lock: &Lock) -> Self {
        let log = fs::read(beside(path, "-wal")).unwrap_or_default();
        Self { file: fs::read(path).unwrap(), log, lock: lock.synced() }
    }

    fn put(&self) -> (TempDir, PathBuf) {
        let (folder, path) = place();
        fs::write(&path, &self.file).unwrap();
        fs::write(beside(&path, "-wal"), &self.log).unwrap();
        fs::write(beside(&path, ".lock"), &self.lock).unwrap();
        (folder, path)
    }
}

/// Begins a start on what another process left, with a log that is not refused.
fn begin(path: &Path) -> (Lock, Connection, Opening) {
    let lock = Lock::take(path).unwrap().unwrap();
    let connection = file::connect(path).unwrap();
    connection.busy_timeout(std::time::Duration::ZERO).unwrap();
    let belongs = !has_log(path) || log_belongs(path, &connection, lock.openings());
    assert!(belongs, "{:?}, recorded {:?}", file_alone(path), lock.openings());
    (lock, connection, Opening::new())
}

/// Commits something; the revision then.
fn commit(connection: &Connection) -> i64 {
    let revision = Revision(log::meta(connection, "revision").unwrap() + 1);
    log::append(connection, revision, &Key::from("a"), revision, None, Some(b"1")).unwrap();
    log::set_meta(connection, "revision", revision.0).unwrap();
    revision.0
}

/// A store that was opened, and written to before it was killed.
fn killed() -> (Left, i64) {
    let (_folder, path) = place();
    let lock = Lock::take(&path).unwrap().unwrap();
    let (connection, _files, opening) = file::open(&path, &lock).unwrap();
    assert!(opening.is_done());
    let revision = commit(&connection);
    (Left::by(&path, &lock), revision)
}

#[test]
fn a_log_belongs_to_a_file_if_both_numbers_are_of_one_process_or_recorded() {
    for (alone, seen, recorded, expected) in [
        (3, 3, Some([3, 3]), true),
        (2, 3, Some([2, 3]), true),
        (2, 2, Some([2, 3]), true),
        (3, 3, Some([1, 2]), true),
        (2, 3, Some([3, 3]), false),
        (2, 3, Some([2, 2]), false),
        (0, 0, Some([3, 3]), false),
        (0, 0, Some([0, 0]), true),
        (0, 0, None, true),
        (2, 3, None, false),
        (0, 3, None, false),
    ] {
        assert_eq!(belongs(alone, seen, recorded), expected, "{alone} {seen} {recorded:?}");
    }
}

#[test]
fn a_log_goes_on_where_its_file_ends() {
    let (_folder, path) = place();
    let lock = Lock::take(&path).unwrap().unwrap();
    let (connection, _files, _opening) = file::open(&path, &lock).unwrap();
    for _ in 0..4 {
        commit(&connection);
    }
    connection.execute("DELETE FROM log WHERE rev = 3", []).unwrap();
    for (earlier, compacted, expected, why) in [
        (5, 0, true, "nothing was added"),
        (4, 0, true, "5 is there"),
        (1, 0, true, "2 is there"),
        (0, 0, true, "of a file without tables"),
        (2, 0, false, "3 is missing"),
        (2, 3, true, "3 is forgotten"),
        (6, 0, false, "it is older than the file"),
    ] {
        log::set_meta(&connection, "compacted", compacted).unwrap();
        assert_eq!(log::goes_on_from(&connection, earlier).unwrap(), expected, "{why}");
    }
}

/// Kills a process after each step of its start, and the next one, too, and looks at what is left then.
fn kill_at_each_step(left: &Left, revision: i64, kills: usize, seen: &mut usize) {
    for steps in 0..=STEPS {
        let (_folder, path) = left.put();
        let (lock, connection, mut opening) = begin(&path);
        assert_eq!(log::meta(&connection, "revision").unwrap(), revision, "nothing is lost");
        for _ in 0..steps {
            opening.step(&connection, &lock, Checkpoint::Truncate).unwrap();
        }
        *seen += 1;
        let next = Left::by(&path, &lock);
        assert_eq!(fs::read(lock.path()).unwrap(), next.lock, "what is recorded is on the disk");
        if kills > 1 {
            kill_at_each_step(&next, revision, kills - 1, seen);
        }
        let (_folder, path) = next.put();
        let lock = Lock::take(&path).unwrap().unwrap();
        let (connection, _files, opening) = file::open(&path, &lock).unwrap();
        assert_eq!(log::meta(&connection, "revision").unwrap(), revision, "after {steps} steps");
        assert!(opening.is_done());
    }
}

#[test]
fn a_store_is_whole_after_two_processes_were_killed_while_they_started() {
    let (left, revision) = killed();
    let mut seen = 0;
    kill_at_each_step(&left, revision, 2, &mut seen);
    assert_eq!(seen, (STEPS + 1) * (STEPS + 2));
}

#[test]
fn a_new_store_is_whole_after_its_first_process_was_killed_beside_an_old_lock_file() {
    let (_folder, path) = place();
    let lock = Lock::take(&path).unwrap().unwrap();
    lock.record_openings([7, 8]).unwrap();
    lock.record_openings([0, 0]).unwrap();
    fs::write(&path, "").unwrap();
    let connection = file::connect(&path).unwrap();
    file::lay_out(&connection).unwrap();
    let left = Left::by(&path, &lock);
    assert!(!left.log.is_empty());
    kill_at_each_step(&left, 1, 1, &mut 0);
}

#[test]
fn a_reader_that_holds_the_log_open_over_several_starts_makes_it_no_other_log() {
    let (left, mut revision) = killed();
    let (_folder, path) = left.put();
    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    log::meta(&reader, "revision").unwrap();
    for _ in 0..4 {
        let (lock, connection, mut opening) = begin(&path);
        assert_eq!(log::meta(&connection, "revision").unwrap(), revision);
        commit(&connection);
        opening.advance(&connection, &lock, Checkpoint::Truncate).unwrap();
        assert!(!opening.is_done(), "the reader holds the log");
        revision = commit(&connection);
        opening.advance(&connection, &lock, Checkpoint::Passive).unwrap();
        let copied = Left::by(&path, &lock).put();
        begin(&copied.1);
    }
    reader.execute_batch("COMMIT").unwrap();
    let (lock, connection, mut opening) = begin(&path);
    assert_eq!(log::meta(&connection, "revision").unwrap(), revision);
    opening.advance(&connection, &lock, Checkpoint::Passive).unwrap();
    assert!(opening.is_done(), "nobody holds the log any more");
    assert_eq!(file_alone(&path).unwrap(), FileAlone { opening: opening.number, revision });
}
