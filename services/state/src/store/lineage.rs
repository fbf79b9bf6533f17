//! Evidence of which history a store is in, so that a store replaced by an older copy is noticed after a restart too.

use std::fmt;
use std::str::FromStr;

use super::Revision;

/// Tolerance when two drifts are compared. A drift is read from a server that goes on writing between its two reads.
const SLACK: i64 = 16;

/// A measurement of a store's history. Later measurements of the same history never have a smaller drift.
///
/// On etcd `store` is the id of the cluster and `drift` the applied raft index minus the revision. Every revision costs
/// one raft entry at least, so the drift never falls; `etcdctl snapshot restore` keeps the revision and begins a new raft
/// log, so it falls by the number of revisions. (It keeps the cluster id where the members have the same addresses.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lineage {
    /// Identifies the store; changes only if the history does.
    pub store: u64,
    /// Never falls within one history.
    pub drift: i64,
    /// The revision at which this was measured.
    pub at: Revision,
}

impl Lineage {
    /// Whether this measurement proves that the store lost the history in which `former` was measured. A measurement at
    /// an earlier revision proves nothing: a member of the store may lag behind.
    #[must_use]
    pub fn replaces(&self, former: &Self) -> bool {
        let fell = self.at >= former.at && self.drift < former.drift.saturating_sub(SLACK);
        self.store != former.store || fell
    }
}

impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x} {} {}", self.store, self.drift, self.at)
    }
}

impl FromStr for Lineage {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split(' ');
        let mut part = || parts.next().ok_or(());
        let store = u64::from_str_radix(part()?, 16).map_err(drop)?;
        let drift = part()?.parse().map_err(drop)?;
        let at = Revision(part()?.parse().map_err(drop)?);
        // Later versions may add parts.
        Ok(Self { store, drift, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(store: u64, drift: i64, at: i64) -> Lineage {
        Lineage { store, drift, at: Revision(at) }
    }

    #[test]
    fn a_history_that_goes_on_is_the_same_and_one_with_a_new_log_is_another() {
        let former = measured(7, 5, 1000);
        for (later, replaces, why) in [
            (measured(7, 5, 1000), false, "nothing happened"),
            (measured(7, 90, 5000), false, "leases and elections add raft entries"),
            (measured(7, 5 - SLACK, 1001), false, "the two reads are not one"),
            (measured(7, 4 - 900, 1001), true, "a snapshot of revision 900, and writes since"),
            (measured(7, 4 - 900, 901), false, "a member that lags behind looks the same"),
            (measured(8, 5, 1001), true, "another cluster"),
        ] {
            assert_eq!(later.replaces(&former), replaces, "{why}");
        }
    }

    #[test]
    fn what_is_stored_is_read_back() {
        let lineage = measured(u64::MAX, -12, 34);
        assert_eq!(lineage.to_string().parse(), Ok(lineage));
        assert_eq!(format!("{lineage} later").parse(), Ok(lineage));
        for wrong in ["", "7", "7 8", "x 1 2", "7 y 2", "7 1 z"] {
            assert_eq!(wrong.parse::<Lineage>(), Err(()), "{wrong:?}");
        }
    }
}
