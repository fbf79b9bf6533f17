//! Fences: what a leader sends along with its writes, so that they fail once another holder leads.

use crate::error::Error;
use crate::object::key;
use crate::store::{Guard, Key, Revision};

/// Maximum number of parts of an election's name.
pub(super) const MAX_NAME_PARTS: usize = 4;
/// Maximum length of each part of an election's name, in bytes.
pub(super) const MAX_NAME_PART_BYTES: usize = 63;

/// The name of an election, checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Election(String);

impl Election {
    /// Reads a name: parts between slashes, each of lower-case letters, digits and hyphens.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let part = |part: &str| {
            let allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
            (1..=MAX_NAME_PART_BYTES).contains(&part.len()) && part.bytes().all(allowed)
        };
        let parts = name.split('/').take(MAX_NAME_PARTS + 1);
        (parts.clone().count() <= MAX_NAME_PARTS && parts.into_iter().all(part))
            .then(|| Election(name.to_owned()))
    }

    /// The key whose creation is the leader's fence.
    pub(super) fn key(&self) -> Key {
        key::election(&self.0)
    }
}

impl std::fmt::Display for Election {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A term of leadership: an election and the revision at which its leader won.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fence {
    pub(super) election: Election,
    pub(super) revision: Revision,
}

impl Fence {
    /// Reads `<election>=<revision>`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (election, revision) = text.split_once('=')?;
        let revision = revision.parse().ok().filter(|revision| *revision > 0).map(Revision)?;
        Some(Fence { election: Election::parse(election)?, revision })
    }

    /// What must hold for the leader of this term to write.
    pub(crate) fn guard(&self) -> Guard {
        Guard::CreatedAt(self.election.key(), self.revision)
    }

    /// Whether a conflict on this key means that the term is over.
    pub(crate) fn is_on(&self, key: &Key) -> bool {
        *key == self.election.key()
    }

    /// The error of a write after the term is over.
    pub(crate) fn over(&self) -> Error {
        Error::Fenced { election: self.election.to_string(), fence: self.revision.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parts_between_slashes() {
        for name in ["scheduler", "kubernetes/0", "a/b/c/d", &"a".repeat(63)] {
            assert!(Election::parse(name).is_some(), "{name}");
        }
        for name in ["", "/", "a/", "/a", "a//b", "A", "a b", "a=b", "a/b/c/d/e", "ä", &"a".repeat(64)] {
            assert!(Election::parse(name).is_none(), "{name}");
        }
    }

    #[test]
    fn a_fence_names_its_election_and_a_revision() {
        let fence = Fence::parse("kubernetes/0=17").unwrap();
        assert_eq!((fence.election.to_string().as_str(), fence.revision), ("kubernetes/0", Revision(17)));
        for text in
            ["", "scheduler", "scheduler=", "scheduler=0", "scheduler=-1", "scheduler=x", "=17", "A=1"]
        {
            assert_eq!(Fence::parse(text), None, "{text}");
        }
    }
}
