//! Handovers that failed: what is known of an application's copies, and which clusters are to be let alone for a while.

use std::time::Duration;

use jiff::Timestamp;
use krake_client::ClusterUid;

use crate::retry::later;

/// How the record of a move begins that was made because the copy on the bound cluster failed. The record of past
/// placements is the only place where this is kept once the failed copy is gone.
pub(crate) const RECORD: &str = "the handover failed";

/// What runs of an application on one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// uid of the cluster.
    pub cluster_uid: ClusterUid,
    /// How it is.
    pub phase: CopyPhase,
    /// `metadata.generation` that was last applied.
    pub generation: i64,
    /// Since when it is so.
    pub since: Timestamp,
    /// Where the reason lies if it failed, as far as that is recorded.
    pub failure: Option<CopyFailure>,
    /// The retry request that it was last tried for.
    pub retry_request: i64,
}

/// Where the reason of a failure lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyFailure {
    /// In the cluster.
    OfCluster,
    /// In the spec.
    OfSpec,
}

/// An attempt at the present spec that failed and was given up for another cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedAttempt {
    /// uid of the cluster.
    pub cluster_uid: ClusterUid,
    /// Where the reason lay, as far as that is recorded.
    pub failure: Option<CopyFailure>,
}

/// How a copy is, as far as placement is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyPhase {
    /// It is, or was, available. Whether it can be seen at present follows from the state of its cluster.
    Running,
    /// It could not be applied, or did not become available in time.
    Failed,
    /// Anything else: coming or going. Older versions stored of copies on unreachable clusters nothing but that.
    Other,
}

/// A past handover that failed, for the present spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedHandover {
    /// uid of the cluster where the copy failed.
    pub cluster_uid: ClusterUid,
    /// When the application was bound elsewhere because of that.
    pub time: Timestamp,
}

/// Until when a cluster is to be let alone; `None`: nothing failed there. The cool-down doubles with every failure
/// that is on record.
pub(crate) fn cool_down(
    cluster_uid: &ClusterUid,
    failures: &[FailedHandover],
    copies: &[Copy],
    generation: i64,
    period: Duration,
) -> Option<Timestamp> {
    let past =
        failures.iter().filter(|failure| failure.cluster_uid == *cluster_uid).map(|failure| failure.time);
    let (count, last) = past.fold((0, None), |(count, last), time| (count + 1, last.max(Some(time))));
    let recorded = last.map(|last| later(last, period.saturating_mul(1 << (count - 1).min(10))));
    let failed = copies.iter().find(|copy| {
        copy.cluster_uid == *cluster_uid && copy.phase == CopyPhase::Failed && copy.generation == generation
    });
    recorded.max(failed.map(|copy| later(copy.since, period)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_cluster_is_let_alone_for_longer_with_every_failure() {
        let failure =
            |cluster: &str, second| FailedHandover { cluster_uid: cluster.into(), time: at(second) };
        let cool = |failures: &[FailedHandover], copies: &[Copy]| {
            cool_down(&"x".into(), failures, copies, 2, Duration::from_secs(10))
        };
        assert_eq!(cool(&[failure("y", 5)], &[]), None);
        assert_eq!(cool(&[failure("y", 5), failure("x", 3)], &[]), Some(at(13)));
        assert_eq!(cool(&[failure("x", 90), failure("x", 3), failure("x", 50)], &[]), Some(at(130)));
        let copy = |phase, generation| Copy {
            cluster_uid: "x".into(),
            phase,
            generation,
            since: at(200),
            failure: None,
            retry_request: 0,
        };
        assert_eq!(cool(&[], &[copy(CopyPhase::Failed, 2)]), Some(at(210)));
        assert_eq!(cool(&[failure("x", 3)], &[copy(CopyPhase::Failed, 2)]), Some(at(210)));
        assert_eq!(cool(&[], &[copy(CopyPhase::Failed, 1)]), None, "another spec");
        assert_eq!(cool(&[], &[copy(CopyPhase::Running, 2)]), None);
        let endless = cool_down(&"x".into(), &[failure("x", 3)], &[], 2, Duration::MAX);
        assert_eq!(endless, Some(Timestamp::MAX));
    }
}
