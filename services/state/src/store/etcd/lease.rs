//! Leases on etcd: the key is created, if it is absent, by a transaction of its own.

use std::time::Duration;

use bytes::Bytes;
use etcd_client::{
    Compare, CompareOp, Error, KvClient, LeaseClient, PutOptions, Txn as EtcdTxn, TxnOp, TxnResponse,
};
use tokio::time::timeout;

use super::super::{Bid, Entry, Key, Revision, Standing, StoreError};
use super::answer::{Refusal, Root, header_revision, refusal};
use super::calls::Calls;

/// Attempts to make a bid while the key comes or goes: each takes another bidder that wins or leaves in that moment.
const BID_ATTEMPTS: usize = 5;

/// Campaigns on one etcd cluster.
#[derive(Clone)]
pub(super) struct EtcdLeases {
    pub(super) kv: KvClient,
    pub(super) leases: LeaseClient,
    pub(super) root: Root,
    pub(super) calls: Calls,
}

/// What the key holds, by which lease, read at a revision.
struct Present {
    entry: Option<(Entry, i64)>,
    revision: Revision,
}

impl EtcdLeases {
    /// As [`super::super::Store::campaign`].
    pub(super) async fn campaign(&self, bid: Bid) -> Result<Standing, StoreError> {
        bid.check()?;
        timeout(self.calls.deadline(), self.bid(&bid)).await.unwrap_or_else(|_| Err(self.calls.late()))
    }

    /// As [`super::super::Store::resign`].
    pub(super) async fn resign(&self, key: Key, holder: Bytes) -> Result<(), StoreError> {
        key.check()?;
        let resign = async {
            let found = self.read(&key).await?.entry.filter(|(entry, _)| entry.value == holder);
            let Some((entry, lease)) = found else { return Ok(()) };
            let outer = self.root.outer(&key);
            let same = Compare::create_revision(outer.clone(), CompareOp::Equal, entry.created.0);
            let txn = EtcdTxn::new().when([same]).and_then([TxnOp::delete(outer, None)]);
            self.commit(txn).await?;
            self.revoke(lease).await;
            Ok(())
        };
        timeout(self.calls.deadline(), resign).await.unwrap_or_else(|_| Err(self.calls.late()))
    }

    async fn bid(&self, bid: &Bid) -> Result<Standing, StoreError> {
        for _ in 0..BID_ATTEMPTS {
            let Present { entry, revision } = self.read(&bid.key).await?;
            match entry {
                Some((entry, lease)) if entry.value == bid.holder && lease != 0 => {
                    // Over by now: so is the key, or it will be in a moment.
                    let Some(ttl) = self.keep_alive(lease).await? else { continue };
                    return Ok(Standing { entry, kept: Some(ttl), revision });
                }
                Some((entry, _)) => return Ok(Standing { entry, kept: None, revision }),
                None => {
                    if let Some(standing) = self.create(bid).await? {
                        return Ok(standing);
                    }
                }
            }
        }
        Err(StoreError::Unavailable { reason: format!("{} comes and goes", bid.key) })
    }

    async fn read(&self, key: &Key) -> Result<Present, StoreError> {
        let get = |mut kv: KvClient| {
            let key = self.root.outer(key);
            async move { kv.get(key, None).await }
        };
        let answer = self.calls.send(&self.kv, get).await.map_err(failure)?.0;
        let revision = header_revision(answer.header.as_ref())?;
        let pair = answer.kvs.into_iter().next();
        let entry = pair.map(|pair| {
            let lease = pair.lease;
            (self.root.entry(pair), lease)
        });
        Ok(Present { entry, revision })
    }

    /// Creates the key on a new lease; `None` if somebody else was faster.
    async fn create(&self, bid: &Bid) -> Result<Option<Standing>, StoreError> {
        let seconds = i64::try_from(bid.ttl.as_secs()).unwrap_or(i64::MAX);
        // If the answers below are lost, the lease ends by itself, and the key with it unless it is found by the next bid.
        let grant = |mut leases: LeaseClient| async move { leases.grant(seconds, None).await };
        let granted = self.calls.send(&self.leases, grant).await.map_err(failure)?;
        let key = self.root.outer(&bid.key);
        let absent = Compare::create_revision(key.clone(), CompareOp::Equal, 0);
        let options = PutOptions::new().with_lease(granted.id());
        let put = TxnOp::put(key, bid.holder.clone(), Some(options));
        let answer = self.commit(EtcdTxn::new().when([absent]).and_then([put])).await?.0;
        if !answer.succeeded {
            self.revoke(granted.id()).await;
            return Ok(None);
        }
        let created = header_revision(answer.header.as_ref())?;
        let entry = Entry { key: bid.key.clone(), value: bid.holder.clone(), created, modified: created };
        Ok(Some(Standing { entry, kept: Some(bid.ttl), revision: created }))
    }

    /// The ttl of the lease, which begins anew; `None` if it is over.
    async fn keep_alive(&self, lease: i64) -> Result<Option<Duration>, StoreError> {
        let keep_alive = |mut leases: LeaseClient| async move { leases.keep_alive(lease).await };
        match self.calls.send(&self.leases, keep_alive).await {
            Ok(_) => {}
            Err(Error::LeaseKeepAliveError(_)) => return Ok(None),
            Err(error) => return Err(failure(error)),
        }
        // The answer to the question itself is not told by the library.
        let query = |mut leases: LeaseClient| async move { leases.time_to_live(lease, None).await };
        let ttl = self.calls.send(&self.leases, query).await.map_err(failure)?.granted_ttl();
        Ok(u64::try_from(ttl).ok().filter(|ttl| *ttl > 0).map(Duration::from_secs))
    }

    /// Ends a lease that nobody needs; if that fails, it ends by itself.
    async fn revoke(&self, lease: i64) {
        let revoke = |mut leases: LeaseClient| async move { leases.revoke(lease).await };
        if let Err(error) = self.calls.send(&self.leases, revoke).await {
            tracing::debug!(%error, "the lease is left to expire");
        }
    }

    async fn commit(&self, txn: EtcdTxn) -> Result<TxnResponse, StoreError> {
        let commit = |mut kv: KvClient| {
            let txn = txn.clone();
            async move { kv.txn(txn).await }
        };
        self.calls.send(&self.kv, commit).await.map_err(failure)
    }
}

fn failure(error: Error) -> StoreError {
    match refusal(&error) {
        Refusal::Other(error) => error,
        other => StoreError::Unavailable { reason: format!("etcd refused a lease: {other:?}") },
    }
}
