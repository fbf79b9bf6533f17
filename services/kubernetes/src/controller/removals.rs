//! How long the present wave of each removal has been waited for, by the monotonic clock of this process.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::object::waves::Wave;
use crate::object::{ApplicationUid, ClusterUid};

type Key = (ApplicationUid, ClusterUid);

/// The waves that are waited for.
#[derive(Debug, Default)]
pub(crate) struct Removals(Mutex<HashMap<Key, (Wave, Instant)>>);

impl Removals {
    /// Takes in that the removal of a copy waits for a wave, or for none, and returns for how long it has done so.
    pub(crate) fn waits(
        &self,
        application: &ApplicationUid,
        cluster: &ClusterUid,
        wave: Option<Wave>,
    ) -> Duration {
        let key = (application.clone(), cluster.clone());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(wave) = wave else {
            all.remove(&key);
            return Duration::ZERO;
        };
        let now = Instant::now();
        let (waited_for, since) = all.entry(key).or_insert((wave, now));
        if *waited_for != wave {
            (*waited_for, *since) = (wave, now);
        }
        now.saturating_duration_since(*since)
    }

    /// Forgets a copy.
    pub(crate) fn forget(&self, application: &ApplicationUid, cluster: &ClusterUid) {
        self.waits(application, cluster, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_wave_has_its_own_time() {
        let removals = Removals::default();
        let waits = |wave| removals.waits(&"app".into(), &"c".into(), wave).as_secs();
        assert_eq!(waits(Some(Wave::Custom)), 0);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(waits(Some(Wave::Custom)), 60);
        assert_eq!(waits(Some(Wave::Workload)), 0);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(waits(Some(Wave::Workload)), 5);
        assert_eq!(waits(None), 0);
        assert_eq!(waits(Some(Wave::Workload)), 0, "it begins anew");
    }
}
