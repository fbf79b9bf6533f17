//! The replicas that workloads of each copy had when they were last seen to run, beyond what its documents say: a copy
//! elsewhere begins with them. They outlive their copy, since a move may end the old copy first.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::object::autoscaler::Replicas;
use crate::object::observation::Observation;
use crate::object::{ApplicationUid, ClusterUid, keys};
use crate::plan::CopyRecord;

/// What is remembered, by application and cluster.
#[derive(Debug, Default)]
pub(super) struct SeenReplicas(Mutex<HashMap<ApplicationUid, BTreeMap<ClusterUid, Replicas>>>);

impl SeenReplicas {
    /// Takes in what is seen of a copy that runs. A workload that is not seen at the moment keeps its number. `copies`: all
    /// clusters on which there is a copy; those of former copies are forgotten as soon as this one is seen whole.
    pub(super) fn seen(
        &self,
        application: &ApplicationUid,
        copy: &CopyRecord,
        seen: &Observation,
        copies: &[ClusterUid],
    ) {
        let mut all = self.lock();
        let of_application = all.entry(application.clone()).or_default();
        if seen.missing.is_empty() && seen.hidden.is_empty() {
            of_application.retain(|cluster, _| copies.contains(cluster));
        }
        let of_copy = of_application.entry(copy.cluster.clone()).or_default();
        let (recorded, present) = (keys(&copy.inventory), keys(&seen.present));
        of_copy.retain(|workload, _| recorded.contains(workload) && !present.contains(workload));
        of_copy.extend(seen.replicas.iter().map(|(workload, replicas)| (workload.clone(), *replicas)));
        if of_copy.is_empty() {
            of_application.remove(&copy.cluster);
        }
        if of_application.is_empty() {
            all.remove(application);
        }
    }

    /// With how many replicas the workloads of a new copy begin: as many as the copy with the most had.
    pub(super) fn starts(&self, application: &ApplicationUid) -> Replicas {
        let mut starts = Replicas::new();
        for (workload, replicas) in
            self.lock().get(application).into_iter().flat_map(|all| all.values()).flatten()
        {
            let start = starts.entry(workload.clone()).or_insert(*replicas);
            *start = (*start).max(*replicas);
        }
        starts
    }

    /// Forgets an application that is not there any more.
    pub(super) fn forget(&self, application: &ApplicationUid) {
        self.lock().remove(application);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ApplicationUid, BTreeMap<ClusterUid, Replicas>>> {
        // Nothing that holds the lock panics halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
