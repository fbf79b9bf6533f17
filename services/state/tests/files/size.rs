//! A store does not keep what it has forgotten.

use std::path::Path;

use krake_state::store::{Key, Page, Revision, Store, Txn};
use tokio::time::{Instant, sleep};

use super::{PATIENCE, contents, open, place, put};

fn size(file: &Path) -> u64 {
    std::fs::metadata(file).unwrap().len()
}

#[tokio::test]
async fn compaction_gives_the_room_back_while_the_store_is_used() {
    let (_folder, file) = place();
    let store = open(&file).await;
    let mut last = Revision(0);
    for number in 0..800 {
        let value = vec![u8::try_from(number % 251).unwrap(); 50_000];
        last = store.commit(Txn::new().put(format!("k{}", number % 4), value)).await.unwrap().unwrap();
    }
    put(&store, "gone", "soon").await;
    let to = store.commit(Txn::new().delete("gone")).await.unwrap().unwrap();
    let before = contents(&store).await;
    let largest = size(&file).max(40_000_000);
    store.compact(to).await.unwrap();
    assert_eq!(contents(&store).await, before, "the present does not change");
    // A store that is asked for more at the same time is swept too.
    let mut revision = last;
    let start = Instant::now();
    while size(&file) > largest / 4 {
        assert!(start.elapsed() < PATIENCE, "{} bytes are left of {largest}", size(&file));
        revision = put(&store, "meanwhile", "x").await;
        sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(&contents(&store).await[..4], &before[..4]);
    let page = Page { at: Some(to), ..Page::first(10) };
    assert_eq!(
        store.list(&Key::from(""), page).await.unwrap().entries.len(),
        4,
        "the oldest revision is kept"
    );
    store.close().await;
    let store = open(&file).await;
    assert!(store.revision().await.unwrap() >= revision);
    assert_eq!(store.get(&Key::from("gone")).await.unwrap(), None, "what is deleted stays so");
}

#[tokio::test]
async fn a_sweep_that_was_cut_off_goes_on() {
    let (_folder, file) = place();
    let store = open(&file).await;
    for number in 0..3000 {
        put(&store, &format!("k{}", number % 3), vec![7; 4000]).await;
    }
    let to = store.commit(Txn::new().delete("k0").delete("k1")).await.unwrap().unwrap();
    store.compact(to).await.unwrap();
    store.close().await;
    let store = open(&file).await;
    let expected = [("k2".to_owned(), Revision(to.0 - 1))];
    let start = Instant::now();
    while size(&file) > 6_000_000 {
        assert!(start.elapsed() < PATIENCE, "{} bytes are left", size(&file));
        assert_eq!(contents(&store).await, expected, "no key comes back on the way");
        sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(contents(&store).await, expected);
}
