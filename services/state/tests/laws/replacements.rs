//! Documents that are replaced again and again do not fill the store.
//!
//! By default so many replacements that what is kept of them would be too much without an end to it, which takes seconds.
//! With `KRAKE_REPLACEMENTS=10000` it is the size that Krake is made for; the figures are printed.
#![allow(clippy::print_stdout, reason = "the figures are the result, beside the verdict")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use krake_client::Mask;
use krake_proto::krake::kubernetes::v1::{Application, Manifest};
use krake_state::store::{Key, Page, Store};
use serde_json::json;
use tokio::time::Instant;

use crate::documents::documents;
use crate::support::server::{Server, application, document};
use crate::support::{ETCD_3_5, Etcd, have_etcd_3_5, sqlite_with};

/// Size of a set in bytes. Compression makes it half as large at best.
const SET: usize = 1024 * 1024;
/// Replacements unless `KRAKE_REPLACEMENTS` says how many.
const REPLACEMENTS: u64 = 150;
/// Maximum number of pieces that are kept of the sets of one object: 256 that nothing names, and those of the set that is
/// named, and of one that is being stored.
const PIECES: usize = 256 + 2 * PIECES_OF_SET;
/// Pieces of one set.
const PIECES_OF_SET: usize = 3;
/// Maximum size of a store, in bytes.
const SIZE: u64 = 500 * 1000 * 1000;

fn replacements() -> u64 {
    let chosen = std::env::var("KRAKE_REPLACEMENTS").ok();
    chosen.map_or(REPLACEMENTS, |number| number.parse().expect("KRAKE_REPLACEMENTS is a number"))
}

/// An application with a set of its own.
fn with_set(seed: u64) -> Application {
    let text = String::from_utf8(documents(SET, seed)).unwrap();
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large"}, "data": {"text": text}});
    let mut application = application("a");
    let manifest = vec![Manifest { document: document(map), ..Default::default() }];
    application.spec.as_mut().unwrap().manifest = manifest;
    application
}

/// Replaces the documents of an application again and again, and looks at what that leaves in the store.
async fn replace(name: &str, store: Arc<dyn Store>, size: impl Fn() -> u64) {
    let server = Server::start(store.clone()).await;
    let api = server.client.api::<Application>();
    let (replacements, begun) = (replacements(), Instant::now());
    api.create(&with_set(0)).await.unwrap();
    let mut largest = (0, 0);
    for number in 1..=replacements {
        api.update(&with_set(number), Mask::fields(["spec.manifest"])).await.unwrap();
        if number % 50 == 0 || number == replacements {
            let sets = store.keys(&Key::from("/krake/~documents/"), Page::first(10_000)).await.unwrap();
            let (pieces, size) = (sets.entries.len(), size());
            assert!((1..=PIECES).contains(&pieces), "{pieces} pieces are kept after {number} replacements");
            assert!(size <= SIZE, "{name} has {size} bytes after {number} replacements");
            largest = (largest.0.max(size), largest.1.max(pieces));
            if number % 1000 == 0 {
                println!("{name}: {} MB and {pieces} pieces after {number} replacements", size / 1_000_000);
            }
        }
    }
    println!(
        "{name}: {replacements} replacements of {SET} bytes in {:.0?}; at most {} MB and {} pieces",
        begun.elapsed(),
        largest.0 / 1_000_000,
        largest.1,
    );
}

/// The sizes of a file and of those beside it whose names begin alike, such as its write-ahead log.
fn size_with_log(file: &Path) -> u64 {
    let name = file.file_name().unwrap().to_str().unwrap();
    let beside = std::fs::read_dir(file.parent().unwrap()).unwrap().map(Result::unwrap);
    let of_store = beside.filter(|entry| entry.file_name().to_str().unwrap().starts_with(name));
    of_store.map(|entry| entry.metadata().map_or(0, |data| data.len())).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_documents_do_not_fill_a_file() {
    let mut file = PathBuf::new();
    let store = sqlite_with(|options| file.clone_from(&options.file)).await;
    replace("SQLite", store, || size_with_log(&file)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_documents_do_not_fill_etcd() {
    if !have_etcd_3_5() {
        return;
    }
    let etcd = Etcd::start_release(ETCD_3_5).await;
    let store = etcd.store("/replaced/").await;
    replace("etcd 3.5", store, || etcd.database_size()).await;
}
