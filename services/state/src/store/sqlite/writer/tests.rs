//! Files that another program writes over while the writer is at work: the log is not put into them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::super::{SqliteOptions, Txn};
use super::*;

/// More than the log holds before it is put into the file.
const LARGE_PUTS: usize = 20;
const LARGE_BYTES: usize = 1 << 20;

fn writer() -> (TempDir, PathBuf, Writer) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("krake.db");
    let lock = Lock::take(&path).unwrap().unwrap();
    fs::write(&path, "").unwrap();
    let (writer, _) = Writer::open(SqliteOptions::new(&path), lock).unwrap();
    (folder, path, writer)
}

/// Commits some puts of values of so many bytes, and does something else before the end of the transaction.
fn put(writer: &mut Writer, count: usize, bytes: usize, meanwhile: impl FnOnce()) -> Result<(), StoreError> {
    writer.in_place(|writer| {
        let made = writer.transaction(|turn| {
            for number in 0..count {
                let txn = Txn::new().put(format!("k{number}"), vec![7; bytes]);
                assert!(matches!(turn.make(&Call::Commit(txn))?, Answer::Committed(Ok(_))));
            }
            meanwhile();
            Ok(())
        });
        made.map_err(|error| failure(&error, writer.files.path()))
    })
}

/// Commits a small value and has all of the log put into the file.
fn put_into_the_file(writer: &mut Writer) {
    writer.make_smaller = true;
    put(writer, 1, 1, || ()).unwrap();
}

fn assert_noticed(noticed: Result<(), StoreError>) {
    let error = noticed.unwrap_err().to_string();
    assert!(error.contains("wrote over the file"), "{error}");
}

#[test]
fn a_file_that_is_written_over_within_a_transaction_is_left_as_it_is() {
    let (_folder, path, mut writer) = writer();
    let small = fs::read(&path).unwrap().len();
    put(&mut writer, LARGE_PUTS, LARGE_BYTES, || ()).unwrap();
    put_into_the_file(&mut writer);
    let copy = fs::read(&path).unwrap();
    assert!(copy.len() > small + LARGE_PUTS * LARGE_BYTES, "the log was put into the file");
    // A later revision, in a file that is as large: SQLite itself refuses one that is much too short.
    put_into_the_file(&mut writer);
    assert_noticed(put(&mut writer, LARGE_PUTS, LARGE_BYTES, || fs::write(&path, &copy).unwrap()));
    drop(writer);
    assert!(fs::read(&path).unwrap() == copy, "byte for byte");
}

#[test]
fn a_file_that_is_written_over_without_a_trace_is_looked_into_before_the_log_is_put_into_it() {
    let (_folder, path, mut writer) = writer();
    put_into_the_file(&mut writer);
    let copy = fs::read(&path).unwrap();
    put_into_the_file(&mut writer);
    let before = path.metadata().unwrap();
    fs::write(&path, &copy).unwrap();
    File::options().write(true).open(&path).unwrap().set_modified(before.modified().unwrap()).unwrap();
    assert_eq!(path.metadata().unwrap().len(), before.len(), "neither size nor time tell");
    assert_noticed(put(&mut writer, LARGE_PUTS, LARGE_BYTES, || ()));
    drop(writer);
    assert!(fs::read(&path).unwrap() == copy, "byte for byte");
}

#[test]
fn a_file_that_is_written_over_by_what_it_just_was_while_the_log_is_put_into_it_is_noticed() {
    let (_folder, path, mut writer) = writer();
    put_into_the_file(&mut writer);
    put(&mut writer, 1, 1, || ()).unwrap();
    let copy = fs::read(&path).unwrap();
    writer.files.begin_change(None).unwrap();
    assert!(checkpoint::put_in(&writer.connection, Checkpoint::Passive).unwrap());
    fs::write(&path, &copy).unwrap();
    assert_noticed(writer.files.end_change(Some(writer.extent.revision), None));
}

#[test]
fn a_log_that_sqlite_knows_otherwise_is_not_put_into_the_file() {
    let (_folder, _path, mut writer) = writer();
    put(&mut writer, 1, 1, || ()).unwrap();
    // As after `-shm` was written over.
    let pages = checkpoint::pages(&writer.connection).map(|pages| LogPages { all: pages.all + 1, ..pages });
    assert!(pages.is_some());
    assert_noticed(writer.files.begin_change(pages));
}

/// The log beside a store.
fn log_of(path: &Path) -> PathBuf {
    super::super::identity::beside(path, "-wal")
}

#[test]
fn a_log_that_an_older_one_is_written_over_within_a_commit_is_noticed_at_the_end_of_the_commit() {
    let (_folder, path, mut writer) = writer();
    let log = log_of(&path);
    put(&mut writer, 1, 1, || ()).unwrap();
    let older = fs::read(&log).unwrap();
    put(&mut writer, 1, 1, || ()).unwrap();
    assert!(fs::read(&log).unwrap().len() > older.len());
    assert_noticed(put(&mut writer, 1, 1, || fs::write(&log, &older).unwrap()));
    assert_noticed(put(&mut writer, 1, 1, || ()));
}

#[test]
fn a_log_of_another_store_or_a_shorter_one_is_noticed_whenever_it_comes() {
    let (_other_folder, other, mut of_other) = self::writer();
    put(&mut of_other, LARGE_PUTS / 4, LARGE_BYTES, || ()).unwrap();
    let foreign = fs::read(log_of(&other)).unwrap();
    for within in [false, true] {
        for content in [foreign.as_slice(), &[]] {
            let (_folder, path, mut writer) = self::writer();
            put(&mut writer, 1, 1, || ()).unwrap();
            put(&mut writer, 1, 1, || ()).unwrap();
            let write = || fs::write(log_of(&path), content).unwrap();
            if within {
                assert_noticed(put(&mut writer, 1, 1, write));
            } else {
                write();
                assert_noticed(writer.files.check());
            }
            drop(writer);
            assert!(log_of(&path).exists(), "it is left as it is");
        }
    }
}

#[test]
fn a_log_goes_on_over_commits_that_fail_and_checkpoints_and_beside_programs_that_read() {
    let (_folder, path, mut writer) = writer();
    let reader = Connection::open(&path).unwrap();
    let count = || reader.query_row("SELECT count(*) FROM log", [], |row| row.get::<_, i64>(0)).unwrap();
    for round in 1..=3 {
        put(&mut writer, LARGE_PUTS, LARGE_BYTES, || ()).unwrap();
        let failed = writer.in_place(|writer| {
            let failed = writer.transaction(|turn| {
                for number in 0..LARGE_PUTS {
                    turn.make(&Call::Commit(Txn::new().put(format!("f{number}"), vec![7; LARGE_BYTES])))?;
                }
                Err::<(), _>(rusqlite::Error::InvalidQuery)
            });
            failed.map_err(|error| failure(&error, writer.files.path()))
        });
        assert!(!failed.unwrap_err().to_string().contains("wrote over"));
        put_into_the_file(&mut writer);
        put(&mut writer, 1, 1, || ()).unwrap();
        assert_eq!(count(), round * (LARGE_PUTS as i64 + 2));
        writer.files.check().unwrap();
    }
}

#[test]
fn a_file_that_holds_the_log_in_part_says_nothing_of_another_program() {
    let (_folder, path, mut writer) = writer();
    put_into_the_file(&mut writer);
    put(&mut writer, LARGE_PUTS / 4, LARGE_BYTES, || ()).unwrap();
    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM log").unwrap();
    // The pages that the reader still needs are written again later, so they stay in the log.
    put(&mut writer, LARGE_PUTS, LARGE_BYTES, || ()).unwrap();
    put_into_the_file(&mut writer);
    assert!(writer.files.is_in_part());
    put(&mut writer, 1, 1, || ()).unwrap();
    writer.files.check().unwrap();
    reader.execute_batch("COMMIT").unwrap();
    put(&mut writer, 1, 1, || ()).unwrap();
    assert!(!writer.files.is_in_part(), "it goes on by itself");
    writer.files.check().unwrap();
}

#[test]
fn a_store_that_is_closed_leaves_nothing_to_put_into_the_file() {
    let (_folder, path, mut writer) = writer();
    put(&mut writer, 1, 1, || ()).unwrap();
    let revision = writer.extent.revision;
    drop(writer);
    assert_eq!(super::super::opening::file_alone(&path).unwrap().revision, revision.0);
    assert!(!super::super::identity::beside(&path, "-wal").exists());
}
