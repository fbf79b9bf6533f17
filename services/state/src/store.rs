//! The store: one totally ordered, revisioned key space behind the [`Store`] trait, with its backends.

mod cursor;
mod error;
mod etcd;
mod forward;
mod keyspace;
mod lease;
mod lease_ends;
mod lineage;
mod measured;
mod memory;
mod sqlite;
mod txn;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use krake_runtime::reachable::Contact;

pub use error::{StoreError, WatchError};
pub use etcd::{EtcdAccess, EtcdOptions, EtcdStore, Secret};
pub(crate) use forward::Forward;
pub(crate) use keyspace::{ASIDE, ASIDE_MARK, ROOT};
pub use keyspace::{Batch, Change, ChangeKind, Entry, Key, Listing, Page, Revision};
pub use lease::{Bid, MIN_TTL, Standing};
use lineage::Evidence;
pub use lineage::Lineage;
pub use measured::Backend;
pub(crate) use measured::Measured;
pub use memory::MemoryStore;
pub(crate) use sqlite::snapshot as sqlite_snapshot;
pub use sqlite::{OpenError, SqliteOptions, SqliteStore, make_folder};
pub use txn::{Conflict, Guard, MAX_TXN_BYTES, MAX_TXN_OPS, Op, Txn};

/// A totally ordered, revisioned key space, shared by any number of writers.
///
/// All backends keep the same laws; `tests/laws/store_matrix.rs` states them and runs them against each.
/// Every call ends within the backend's deadline.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// What the backend shows of itself in metrics. A store around another one passes it on.
    fn backend(&self) -> Backend {
        Backend::named("other")
    }

    /// The revision of the newest commit that had ended when this was called, or of a newer one (linearizable).
    async fn revision(&self) -> Result<Revision, StoreError>;

    /// Names the entry that the store holds as long as it is in one history. From then on [`Store::revision`] fails with
    /// [`StoreError::Replaced`] where it has another value, and a watch that had to be opened again goes on only where it is
    /// the same. The first call counts. A store that cannot be replaced while it is open need not look.
    fn expect_history(&self, key: Key, value: Bytes) {
        let _ = (key, value);
    }

    /// Whether the store can be reached, for `/readyz`. Without a connection to lose it either answers or is silent.
    async fn contact(&self) -> Contact {
        self.revision().await.map_or(Contact::Silent, |_| Contact::Answered)
    }

    /// Evidence of which history the store is in, to be compared with evidence that was recorded in the store earlier:
    /// so a store that was replaced by an older copy is noticed even if nothing ran meanwhile. `None` where there is no
    /// such evidence, which says nothing.
    async fn lineage(&self) -> Result<Option<Lineage>, StoreError> {
        Ok(None)
    }

    /// The present entry of `key`, or `None` where there is none (linearizable).
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError>;

    /// One page of the entries whose key starts with `prefix`, in the byte order of their keys.
    ///
    /// The first page (`at` unset) is read at the present revision and tells it; later pages pass it on and see
    /// the same state. An empty prefix means every key. Fails with [`StoreError::Compacted`] when that state is
    /// gone and with [`StoreError::Future`] when it does not exist yet.
    async fn list(&self, prefix: &Key, page: Page) -> Result<Listing, StoreError>;

    /// The same page with empty values: for work on many keys whose values are large.
    async fn keys(&self, prefix: &Key, page: Page) -> Result<Listing, StoreError> {
        let mut listing = self.list(prefix, page).await?;
        listing.entries.iter_mut().for_each(|entry| entry.value = Bytes::new());
        Ok(listing)
    }

    /// Applies all operations at one new revision if all guards hold, and none otherwise.
    ///
    /// Answers that revision, or the first guard that failed together with what its key holds. A transaction that
    /// changes nothing (it only deletes absent keys) answers the present revision and makes no new one.
    /// Concurrent commits may share a revision if none writes a key that another one writes or has a guard on:
    /// revisions rise strictly per key.
    /// After [`StoreError::Unavailable`] the outcome is unknown: a guarded transaction may be sent again, and
    /// fails with a conflict if the first attempt was applied.
    async fn commit(&self, txn: Txn) -> Result<Result<Revision, Conflict>, StoreError>;

    /// All changes to keys that start with `prefix`, from the first revision after `after` on: every revision
    /// once, whole and in order, as long as the caller takes them.
    ///
    /// It survives the loss of the connection by itself and ends only with [`WatchError::Compacted`], when `after`
    /// or the place that it had reached is older than the oldest revision kept. A revision that does not exist yet
    /// is waited for. Revisions without a change below `prefix` are left out, and so are keys aside (`/krake/~…`) unless
    /// the prefix is aside.
    fn watch(&self, prefix: &Key, after: Revision) -> BoxStream<'static, Result<Batch, WatchError>>;

    /// The changes of [`Store::watch`], with reports of progress among them: after [`Store::request_progress`] a batch
    /// without changes follows, whose revision is later than those before it. All changes up to it were delivered.
    ///
    /// A commit that changes only keys aside is reported so without a request: who waits for the newest revision waits no
    /// longer for such a commit than for any other.
    fn watch_progress(&self, prefix: &Key, after: Revision) -> BoxStream<'static, Result<Batch, WatchError>> {
        self.watch(prefix, after)
    }

    /// Asks the streams of [`Store::watch_progress`] to report how far they are, which costs less than a write. Returns
    /// false where the store cannot, or does not know yet whether it can: then only changes show how far they are.
    async fn request_progress(&self) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Forgets the history before `to`: afterwards lists at, and watches after, `to` or later still work, older
    /// ones fail with `Compacted`. Does nothing if that much is forgotten already; fails with
    /// [`StoreError::Future`] if `to` does not exist yet.
    async fn compact(&self, to: Revision) -> Result<(), StoreError>;

    /// Bids for a key that is there only as long as its holder goes on bidding: creates it if it is absent, keeps it
    /// alive if the bidder holds it, and tells who holds it otherwise.
    ///
    /// There is one holder at a time. The key is deleted, at a revision of its own, when its holder's last bid is older
    /// than its ttl; not before, but maybe somewhat later. A commit guarded by [`Guard::CreatedAt`] with the revision
    /// that created it fails from then on. After [`StoreError::Unavailable`] the bid may have been won.
    /// Never shares a transaction with commits: in one transaction guards are read before anything is written.
    async fn campaign(&self, bid: Bid) -> Result<Standing, StoreError>;

    /// Deletes `key` at once if it is held by `holder`, and does nothing otherwise.
    async fn resign(&self, key: Key, holder: Bytes) -> Result<(), StoreError>;
}
