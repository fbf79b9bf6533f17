//! When each cluster is surveyed for orphans, and the surveys that are not complete.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::survey::Survey;
use crate::object::ClusterUid;

/// Intervals of the surveys of clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepTimes {
    /// Pause between two surveys of a cluster.
    pub interval: Duration,
    /// Shortest pause, when a cluster comes and goes or a survey failed.
    pub pause: Duration,
}

impl Default for SweepTimes {
    fn default() -> Self {
        Self { interval: Duration::from_secs(600), pause: Duration::from_secs(30) }
    }
}

/// When a cluster is surveyed next.
#[derive(Clone, Copy, Debug)]
struct Due {
    at: Instant,
    /// Something happened there since the last survey began, so that it may have missed that.
    is_outdated: bool,
}

/// The surveys of all clusters.
#[derive(Debug)]
pub(crate) struct Surveys {
    times: SweepTimes,
    /// When each cluster is surveyed next; those that are not here: at once.
    due: Mutex<HashMap<ClusterUid, Due>>,
    /// Surveys that are not complete. What they found may be outdated at their end: a sweep names the version that it is
    /// for.
    under_way: Mutex<HashMap<ClusterUid, Survey>>,
}

impl Surveys {
    /// No survey was made yet.
    pub(crate) fn new(times: SweepTimes) -> Self {
        Self { times, due: Mutex::default(), under_way: Mutex::default() }
    }

    /// Shortest time between two surveys of a cluster.
    pub(super) fn pause(&self) -> Duration {
        self.times.pause
    }

    /// How long it is until a cluster is surveyed next; nothing if it is due.
    pub(super) fn rest(&self, cluster: &ClusterUid) -> Option<Duration> {
        let due = self.due().get(cluster)?.at;
        Some(due.saturating_duration_since(Instant::now())).filter(|rest| !rest.is_zero())
    }

    /// The survey of a cluster that is not complete, or a new one. Until it is complete, an error, or an end of this
    /// process's turn to lead, begins it anew after the pause.
    pub(super) fn take_up(&self, cluster: &ClusterUid) -> Survey {
        let under_way = self.under_way().remove(cluster);
        let is_new = under_way.is_none();
        let mut due = self.due();
        let is_outdated = !is_new && due.get(cluster).is_some_and(|due| due.is_outdated);
        due.insert(cluster.clone(), Due { at: Instant::now() + self.times.pause, is_outdated });
        under_way.unwrap_or_default()
    }

    /// Keeps a survey that is not complete for its next turn, which it gets after those that wait now.
    pub(super) fn put_by(&self, cluster: &ClusterUid, survey: Survey) {
        self.under_way().insert(cluster.clone(), survey);
        if let Some(due) = self.due().get_mut(cluster) {
            due.at = Instant::now();
        }
    }

    /// A survey is complete. Returns when the next one is due: soon, if what it found may be outdated already.
    pub(super) fn complete(&self, cluster: &ClusterUid) -> Duration {
        let mut due = self.due();
        let is_outdated = due.get(cluster).is_some_and(|due| due.is_outdated);
        let after = if is_outdated { self.times.pause } else { self.times.interval };
        due.insert(cluster.clone(), Due { at: Instant::now() + after, is_outdated: false });
        after
    }

    /// A cluster is surveyed soon: it is back, or something else is to be found there now.
    pub(crate) fn sooner(&self, cluster: &ClusterUid) {
        if let Some(due) = self.due().get_mut(cluster) {
            let soon = Instant::now() + self.times.pause;
            *due = Due { at: soon.min(due.at), is_outdated: true };
        }
    }

    /// Forgets a cluster that is not there any more.
    pub(crate) fn forget(&self, cluster: &ClusterUid) {
        self.due().remove(cluster);
        self.under_way().remove(cluster);
    }

    fn due(&self) -> MutexGuard<'_, HashMap<ClusterUid, Due>> {
        // Nothing that holds one of these locks panics halfway through a change.
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<ClusterUid, Survey>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(30);
    const INTERVAL: Duration = Duration::from_secs(600);

    fn surveys() -> Surveys {
        Surveys::new(SweepTimes { interval: INTERVAL, pause: PAUSE })
    }

    #[tokio::test(start_paused = true)]
    async fn what_happens_during_a_survey_begins_another_one_soon() {
        let (surveys, cluster) = (surveys(), ClusterUid::from("c"));
        surveys.sooner(&cluster);
        assert_eq!(surveys.rest(&cluster), None, "it was never surveyed");
        for turns in 0..2 {
            let mut survey = surveys.take_up(&cluster);
            surveys.sooner(&cluster);
            for _ in 0..turns {
                surveys.put_by(&cluster, survey);
                assert_eq!(surveys.rest(&cluster), None, "it goes on");
                survey = surveys.take_up(&cluster);
            }
            assert_eq!(surveys.complete(&cluster), PAUSE);
            drop(surveys.take_up(&cluster));
            assert_eq!(surveys.complete(&cluster), INTERVAL, "nothing happened since");
        }
        tokio::time::advance(INTERVAL - Duration::from_secs(1)).await;
        assert_eq!(surveys.rest(&cluster), Some(Duration::from_secs(1)));
        surveys.sooner(&cluster);
        assert_eq!(surveys.rest(&cluster), Some(Duration::from_secs(1)), "it is due before that");
    }

    #[tokio::test(start_paused = true)]
    async fn a_survey_that_does_not_end_begins_anew_after_the_pause() {
        let (surveys, cluster) = (surveys(), ClusterUid::from("c"));
        drop(surveys.take_up(&cluster));
        assert_eq!(surveys.rest(&cluster), Some(PAUSE));
        surveys.forget(&cluster);
        assert_eq!(surveys.rest(&cluster), None);
    }
}
