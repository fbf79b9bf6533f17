//! Leases: keys that are there only as long as somebody keeps them alive.

use std::time::Duration;

use bytes::Bytes;

use super::{Entry, Key, Revision, StoreError};

/// The shortest ttl: what etcd grants at least.
pub const MIN_TTL: Duration = Duration::from_secs(2);

/// A bid for a key: to have it, or to keep it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bid {
    /// What is bid for. Only [`super::Store::campaign`] and [`super::Store::resign`] may write it.
    pub key: Key,
    /// Who bids, in whatever form: whoever bids with the value that the key has, is its holder.
    pub holder: Bytes,
    /// How long the key stays without a further bid of its holder; whole seconds, at least [`MIN_TTL`].
    pub ttl: Duration,
}

/// How a bid went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What the key holds now. Its creation is the holder's fence, for [`super::Guard::CreatedAt`]: later holders have
    /// greater ones.
    pub entry: Entry,
    /// If the bidder is the holder: how long the key stays at least, counted from when the bid was made. It is the ttl
    /// that the key was created with.
    pub kept: Option<Duration>,
    /// A revision at which it was so: watch the key after it to see the holder go.
    pub revision: Revision,
}

impl Bid {
    /// Refuses what no backend may accept, so that all of them accept the same.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.key.check()?;
        if self.ttl < MIN_TTL || self.ttl.subsec_nanos() != 0 {
            let reason = format!("the ttl {:?} is not a number of whole seconds from 2 on", self.ttl);
            return Err(StoreError::Invalid { reason });
        }
        Ok(())
    }
}
