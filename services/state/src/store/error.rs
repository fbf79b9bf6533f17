//! Errors of the store, by what the caller can do.

use super::Revision;

/// Why a call to the store failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached, is overloaded or did not answer in time: try again later.
    /// A commit may have been applied or not.
    #[error("the store is unavailable: {reason}")]
    Unavailable {
        /// What was seen, for operators.
        reason: String,
    },
    /// The state asked for is older than the history that is kept: start over from the present.
    #[error("the revision asked for is compacted; the oldest one kept is {oldest}")]
    Compacted {
        /// The oldest revision that can still be listed or watched from.
        oldest: Revision,
    },
    /// The revision asked for does not exist yet: it comes from another store, or from an epoch that a restore ended.
    #[error("revision {asked} does not exist yet")]
    Future {
        /// The revision asked for.
        asked: Revision,
    },
    /// The store was replaced by an older copy of itself or by another store: what this process knows of it is no longer
    /// so.
    #[error("{}", went_back(*known, *found))]
    WentBack {
        /// The highest revision that was seen.
        known: Revision,
        /// The revision that the store returned now. It may be higher, if the other store was written to since.
        found: Revision,
    },
    /// The store is in another history than this process knows: it was restored, or replaced by a copy. What this process
    /// knows of it is no longer so.
    #[error(
        "the store was restored or replaced by a copy of itself: it has another epoch than this process knows"
    )]
    Replaced,
    /// The transaction exceeds a limit: make it smaller.
    #[error("the transaction is too large: {reason}")]
    TooLarge {
        /// Which limit.
        reason: String,
    },
    /// The call makes no sense and never will: a defect of the caller or of the configuration.
    #[error("invalid call to the store: {reason}")]
    Invalid {
        /// What is wrong.
        reason: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

fn went_back(known: Revision, found: Revision) -> String {
    if found < known {
        return format!(
            "the store went back from revision {known} to {found}: it was replaced by an older copy of itself, or by \
             another store"
        );
    }
    format!(
        "the store at revision {found} does not continue the one that was seen at revision {known}: it was replaced by \
         an older copy of itself that was written to since, or by another store"
    )
}

/// Why a watch ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// Changes after the place that the watch had reached are forgotten: list again and watch from there.
    #[error("the watch fell behind the history that is kept; the oldest revision kept is {oldest}")]
    Compacted {
        /// The oldest revision that can still be listed or watched from.
        oldest: Revision,
    },
}
