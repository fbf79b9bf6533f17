//! Files that another program writes over while the writer is at work: the log is not put into them.

use std::fs::{self, File};
use std::path::PathBuf;

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
    writer.files.begin_change().unwrap();
    assert!(checkpoint::put_in(&writer.connection, Checkpoint::Passive).unwrap());
    fs::write(&path, &copy).unwrap();
    assert_noticed(writer.files.end_change(Some(writer.extent.revision)));
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
