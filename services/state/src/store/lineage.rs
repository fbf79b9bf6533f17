//! Evidence of which history a store is in, so that a store replaced by an older copy is noticed after a restart too.

use std::fmt;
use std::str::FromStr;

use super::Revision;

/// Tolerance in raft entries when two drifts are compared. etcd reads its revision before its raft index, so a drift is
/// too large by the entries that it applies in between: a few, unless it is interrupted there. A drift falls by more when a
/// snapshot is restored: by about the snapshot's revision, which is some 18 after the first start and rises with each write.
const DRIFT_TOLERANCE: i64 = 16;

/// A measurement of a store's history. Measurements of the same history at later revisions never have a smaller drift.
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
    /// an earlier revision proves nothing, since a member of the store may lag behind; nor does one at the same
    /// revision, since refused transactions add raft entries without revisions, which that member may not have yet.
    #[must_use]
    pub fn replaces(&self, former: &Self) -> bool {
        let fell = self.at > former.at && self.drift < former.drift.saturating_sub(DRIFT_TOLERANCE);
        self.store != former.store || fell
    }
}

/// What a series of measurements proves. One measurement that is wrong proves nothing: neither a drift that is too large
/// because etcd was interrupted, nor one that seems to fall.
#[derive(Debug)]
pub(super) struct Evidence {
    known: Option<Lineage>,
    /// The last one that did not contradict it, which bounds how far `known` may rise.
    before: Option<Lineage>,
    /// Whether the measurement before contradicted `known`.
    suspected: bool,
}

impl Evidence {
    /// Begins with what is known from earlier runs.
    pub(super) fn new(known: Option<Lineage>) -> Self {
        Self { known, before: known, suspected: false }
    }

    /// Takes the next measurement. Returns what was known if two in a row prove that the store lost that history.
    pub(super) fn contradicts(&mut self, now: Lineage) -> Option<Lineage> {
        if let Some(former) = self.known.filter(|former| now.replaces(former)) {
            return std::mem::replace(&mut self.suspected, true).then_some(former);
        }
        self.suspected = false;
        let before = self.before.replace(now).unwrap_or(now);
        if self.known.is_none_or(|former| now.at > former.at) {
            self.known = Some(Lineage { drift: now.drift.min(before.drift), ..now });
        }
        None
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
            (measured(7, 5 - DRIFT_TOLERANCE, 1001), false, "the two reads are not one"),
            (measured(7, 4 - 900, 1000), false, "a member that has not applied refused transactions yet"),
            (measured(7, 4 - 900, 1001), true, "a snapshot of revision 900, and writes since"),
            (measured(7, 4 - 900, 901), false, "a member that lags behind looks the same"),
            (measured(8, 5, 1001), true, "another cluster"),
        ] {
            assert_eq!(later.replaces(&former), replaces, "{why}");
        }
    }

    #[test]
    fn one_wrong_measurement_ends_nothing() {
        let mut evidence = Evidence::new(Some(measured(7, 5, 1000)));
        // etcd was interrupted in the middle of the second measurement.
        for (drift, at) in [(5, 1001), (900, 1002), (5, 1003), (6, 1004)] {
            assert_eq!(evidence.contradicts(measured(7, drift, at)), None, "{at}");
        }
        assert_eq!(evidence.contradicts(measured(7, -800, 1005)), None, "it seems to fall");
        assert_eq!(evidence.contradicts(measured(7, 6, 1006)), None, "and did not");
        assert_eq!(evidence.contradicts(measured(7, -800, 1007)), None, "a finding of its own");
        assert_eq!(evidence.contradicts(measured(7, -799, 1008)).map(|known| known.at), Some(Revision(1006)));
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
