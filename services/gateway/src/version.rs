//! A place in the history of the store as REST clients carry it: in entity tags and in the ids of Server-Sent Events.
//!
//! A restore gives revisions new numbers, so a revision alone may belong to another state of an object by chance. The epoch
//! names the history that it belongs to.

use std::fmt;

use crate::parameters::revision;

/// A revision and its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) revision: i64,
    /// Empty if it is not known.
    pub(crate) epoch: String,
}

impl Version {
    /// Reads what [`Display`](fmt::Display) writes; a revision alone is read too.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (number, epoch) = text.trim().split_once('/').unwrap_or((text, ""));
        let is_epoch = epoch.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let revision = revision(number)?;
        is_epoch.then(|| Version { revision, epoch: epoch.to_owned() })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.epoch.as_str() {
            "" => write!(f, "{}", self.revision),
            epoch => write!(f, "{}/{epoch}", self.revision),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (revision, epoch) in [(7, "e-1"), (0, ""), (i64::MAX, "E")] {
            let version = Version { revision, epoch: epoch.to_owned() };
            assert_eq!(Version::parse(&version.to_string()), Some(version));
        }
        for wrong in ["", "x", "-7", "/e", "7/e\"", "7/e/f", "7/\u{e4}"] {
            assert_eq!(Version::parse(wrong), None, "{wrong:?}");
        }
    }
}
