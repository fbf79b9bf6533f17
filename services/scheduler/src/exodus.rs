//! How many applications may leave a cluster because their copies failed there: if many fail for the same reason, the
//! cluster is to be mended, for example its webhook, and not emptied.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use krake_client::{ClusterUid, NamespacedName};

use crate::decide::{BindReason, Choice};
use crate::handover::{CopyFailure, CopyPhase};
use crate::project::Placed;
use crate::retry::later;

/// Time within which moves count together.
const WINDOW: Duration = Duration::from_secs(600);
/// Of so many failures one may lead to a move: 5 %.
const FAILURES_PER_MOVE: usize = 20;
/// Moves that are allowed however few failures there are: a handful of applications that one cluster refuses, as is usual
/// in fleets of mixed versions, go on at once.
const FREE_MOVES: usize = 10;
/// Longest time until an application that has to wait is looked at again: more failures allow more moves.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Failures that count together: those on one cluster, whose reason lies at the same place and has the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// uid of the cluster.
    pub(crate) cluster_uid: ClusterUid,
    /// Where the reason lies.
    pub(crate) of: CopyFailure,
    /// The reason of the copy's condition Applied or, if that holds, Available.
    pub(crate) reason: String,
}

/// What one application adds to the count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    /// The failure of the present spec on its bound cluster.
    pub(crate) failing: Option<Group>,
    /// Failures of the present spec that led to a move, and when.
    pub(crate) left: Vec<(Group, Timestamp)>,
}

impl Share {
    fn is_nothing(&self) -> bool {
        self.failing.is_none() && self.left.is_empty()
    }
}

/// Whether one more of `failures` may lead to a move, after `moves` of them did. Both are counted within ten minutes;
/// `failures` includes those that led to a move.
pub(crate) fn allows(failures: usize, moves: usize) -> bool {
    moves < FREE_MOVES.max(failures / FAILURES_PER_MOVE)
}

/// The failures of all applications.
#[derive(Debug, Default)]
pub(crate) struct Exodus(Mutex<HashMap<NamespacedName, Entry>>);

#[derive(Debug, Default)]
struct Entry {
    share: Share,
    /// When it was allowed to move, until the mirror shows what became of it.
    leaves: Option<Timestamp>,
}

impl Exodus {
    /// Takes in what the mirror shows of an application, or that it is gone.
    pub(crate) fn shown(&self, key: &NamespacedName, placed: Option<&Placed>) {
        let share = placed.map(|placed| placed.share.clone()).unwrap_or_default();
        if share.is_nothing() {
            self.lock().remove(key);
        } else {
            self.lock().insert(key.clone(), Entry { share, leaves: None });
        }
    }

    /// Begins the move that a decision asks for.
    ///
    /// # Errors
    /// When too many have left that cluster for that reason: after which time to look again.
    pub(crate) fn begin(&self, placed: &Placed, choice: &Choice, now: Timestamp) -> Result<(), Duration> {
        let Some(group) = placed.share.failing.as_ref().filter(|_| leaves(placed, choice)) else {
            return Ok(());
        };
        let mut entries = self.lock();
        let key = &placed.application.key;
        let Counted { failures, moves, first } = count(&entries, key, group, now);
        if !allows(failures, moves) {
            let end = first.map_or(now, |time| later(time, WINDOW));
            let wait = Duration::try_from(end.duration_since(now)).unwrap_or_default();
            return Err(wait.clamp(Duration::from_secs(1), LOOK_AGAIN));
        }
        entries.insert(key.clone(), Entry { share: placed.share.clone(), leaves: Some(now) });
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NamespacedName, Entry>> {
        // Nothing that holds the lock panics halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Failures of one group within ten minutes.
struct Counted {
    failures: usize,
    /// Those that led to a move, or are about to.
    moves: usize,
    /// When the first of these moves was.
    first: Option<Timestamp>,
}

/// Counts the failures of a group. `key` has failed, and wants to move.
fn count(
    entries: &HashMap<NamespacedName, Entry>,
    key: &NamespacedName,
    group: &Group,
    now: Timestamp,
) -> Counted {
    let (mut moves, mut failures) = (Vec::new(), 1);
    for (other, entry) in entries {
        let times = entry.share.left.iter().filter(|(of, _)| of == group).map(|(_, time)| *time.min(&now));
        let recent = times.filter(|time| later(*time, WINDOW) > now);
        moves.extend(recent);
        if other != key && entry.share.failing.as_ref() == Some(group) {
            match entry.leaves {
                Some(time) => moves.push(time),
                None => failures += 1,
            }
        }
    }
    Counted { failures: failures + moves.len(), first: moves.iter().min().copied(), moves: moves.len() }
}

/// Whether a binding leads away from a cluster because of a failure there, and not back to what runs.
fn leaves(placed: &Placed, choice: &Choice) -> bool {
    let runs = |copy: &crate::handover::Copy| {
        copy.cluster_uid == choice.cluster.uid && copy.phase == CopyPhase::Running
    };
    match choice.reason {
        BindReason::NextCandidate(_) | BindReason::AllCandidatesFailed => true,
        BindReason::HandoverFailed => !placed.application.copies.iter().any(runs),
        BindReason::ClusterOffline
        | BindReason::FirstPlacement
        | BindReason::BetterCluster
        | BindReason::NoLongerMatches(_)
        | BindReason::ClusterDraining
        | BindReason::ClusterDeleted => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::{application, bound, choice, placed};

    const START: i64 = 1_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(START + seconds).unwrap()
    }

    fn group(reason: &str) -> Group {
        Group { cluster_uid: "uid-a".into(), of: CopyFailure::OfCluster, reason: reason.into() }
    }

    /// An application that failed on "a".
    fn failing(number: usize, reason: &str) -> Placed {
        let mut application = bound(&application(), "a", 1);
        application.key.name = format!("app-{number}");
        Placed { share: Share { failing: Some(group(reason)), left: vec![] }, ..placed(application) }
    }

    /// The same after it has moved.
    fn moved(number: usize, reason: &str, when: Timestamp) -> Placed {
        let share = Share { failing: None, left: vec![(group(reason), when)] };
        Placed { share, ..failing(number, reason) }
    }

    fn show(exodus: &Exodus, placed: &Placed) {
        exodus.shown(&placed.application.key, Some(placed));
    }

    #[test]
    fn one_broken_webhook_does_not_empty_a_cluster() {
        let exodus = Exodus::default();
        let next = choice("b", BindReason::NextCandidate(2));
        (0..1000).for_each(|number| show(&exodus, &failing(number, "KubernetesError")));
        let mut waits = Vec::new();
        let mut left = 0;
        for number in 0..1000 {
            match exodus.begin(&failing(number, "KubernetesError"), &next, at(0)) {
                Ok(()) => {
                    left += 1;
                    show(&exodus, &moved(number, "KubernetesError", at(0)));
                }
                Err(wait) => waits.push(wait),
            }
        }
        assert_eq!(left, 50, "5 % of 1,000");
        assert!(waits.iter().all(|wait| *wait == LOOK_AGAIN));
        let other = failing(2000, "UnsupportedResource");
        assert_eq!(exodus.begin(&other, &next, at(0)), Ok(()), "another reason");
        let last = failing(999, "KubernetesError");
        assert!(exodus.begin(&last, &next, at(599)).is_err());
        assert_eq!(exodus.begin(&last, &next, at(600)), Ok(()), "ten minutes are over");
    }

    #[test]
    fn a_handful_moves_at_once_and_other_moves_are_not_counted() {
        let exodus = Exodus::default();
        let next = choice("b", BindReason::NextCandidate(2));
        for number in 0..FREE_MOVES {
            assert_eq!(exodus.begin(&failing(number, "KubernetesError"), &next, at(0)), Ok(()));
        }
        let one_more = failing(100, "KubernetesError");
        assert!(exodus.begin(&one_more, &next, at(0)).is_err(), "those on their way count");
        assert_eq!(exodus.begin(&failing(3, "KubernetesError"), &next, at(1)), Ok(()), "it has its place");
        assert_eq!(exodus.begin(&one_more, &choice("b", BindReason::ClusterDraining), at(0)), Ok(()));
        // A write that failed gives its place back, and so does an application that is deleted.
        show(&exodus, &failing(4, "KubernetesError"));
        assert_eq!(exodus.begin(&one_more, &next, at(0)), Ok(()));
        assert!(exodus.begin(&failing(101, "KubernetesError"), &next, at(0)).is_err());
        exodus.shown(&failing(5, "").application.key, None);
        assert_eq!(exodus.begin(&failing(101, "KubernetesError"), &next, at(0)), Ok(()));
    }

    #[test]
    fn the_way_back_to_what_runs_is_free() {
        let exodus = Exodus::default();
        let back = choice("b", BindReason::HandoverFailed);
        for number in 0..3 * FREE_MOVES {
            let mut runs = failing(number, "KubernetesError");
            runs.application.copies = vec![crate::handover::Copy {
                cluster_uid: "uid-b".into(),
                phase: CopyPhase::Running,
                generation: 1,
                since: Timestamp::UNIX_EPOCH,
                failure: None,
                retry_request: 0,
            }];
            assert_eq!(exodus.begin(&runs, &back, at(0)), Ok(()));
        }
    }

    proptest! {
        /// Whatever the order: of the failures within any ten minutes at most 5 % lead to moves, or ten.
        #[test]
        fn the_bound_holds(events in prop::collection::vec((0..60usize, 0..90i64), 1..400)) {
            let exodus = Exodus::default();
            let next = choice("b", BindReason::NextCandidate(2));
            let (mut now, mut moves, mut seen) = (0, Vec::new(), 0);
            for (number, (_, pause)) in events.iter().enumerate() {
                now += pause;
                let one = failing(number, "KubernetesError");
                show(&exodus, &one);
                seen += 1;
                if exodus.begin(&one, &next, at(now)).is_ok() {
                    show(&exodus, &moved(number, "KubernetesError", at(now)));
                    moves.push(now);
                    let recent = moves.iter().filter(|time| *time + 600 > now).count();
                    prop_assert!(recent <= FREE_MOVES.max(seen / FAILURES_PER_MOVE));
                }
            }
        }
    }
}
