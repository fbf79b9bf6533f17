//! What is remembered between two looks at a copy. A new process begins with nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::applies::Applies;
use super::attempts::{Attempts, Elapsed};
use super::documents::Documents;
use super::observations::Observations;
use super::pauses::Pauses;
use super::project::Application;
use super::renderings::Renderings;
use super::renewals::Renewals;
use super::replicas::SeenReplicas;
use crate::object::drift::Baseline;
use crate::object::rendering::{DocumentHash, DocumentSet};
use crate::object::{ApplicationUid, ClusterUid, ObjectKey};
use crate::plan::{Aim, Attempt, Phase};

/// For each object the set of documents of which it was accepted last, and what the server made of it.
pub(super) type Accepted = HashMap<ObjectKey, (DocumentHash, Baseline)>;

/// What was last accepted where, how often that was tried, and for how long.
#[derive(Default)]
pub(crate) struct Memory {
    accepted: Mutex<HashMap<(ApplicationUid, ClusterUid), Arc<Accepted>>>,
    /// Copies on clusters that answer which are not seen.
    pub(super) unseen: Lasting,
    /// Copies of which an object is hidden.
    pub(super) hidden: Lasting,
    pub(super) replicas: SeenReplicas,
    pub(super) pauses: Pauses,
    pub(super) applies: Applies,
    pub(super) documents: Documents,
    pub(super) renewals: Renewals,
    pub(super) observations: Observations,
    pub(super) renderings: Renderings,
    attempts: Attempts,
}

/// Since when something holds of a copy.
#[derive(Debug, Default)]
pub(super) struct Lasting(Mutex<HashMap<(ApplicationUid, ClusterUid), Instant>>);

impl Lasting {
    /// Takes in whether it holds at a look. Returns for how long it has.
    pub(super) fn lasts(&self, application: &ApplicationUid, cluster: &ClusterUid, holds: bool) -> Duration {
        let copy = (application.clone(), cluster.clone());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if holds {
            return all.entry(copy).or_insert_with(Instant::now).elapsed();
        }
        all.remove(&copy);
        Duration::ZERO
    }
}

impl Memory {
    /// Nothing remembered, with these pauses, this time for a part of an apply, and this time between two reports of what is seen of a
    /// copy.
    pub(crate) fn new(pauses: Pauses, longest_part: Duration, observation_interval: Duration) -> Self {
        let (applies, observations) = (Applies::new(longest_part), Observations::new(observation_interval));
        Self { pauses, applies, observations, ..Self::default() }
    }

    /// Remembers that an object was accepted as one of a set of documents.
    pub(super) fn accept(
        &self,
        application: &ApplicationUid,
        cluster: &ClusterUid,
        object: ObjectKey,
        set: DocumentHash,
        baseline: Baseline,
    ) {
        let mut all = self.lock();
        let of_copy = all.entry((application.clone(), cluster.clone())).or_default();
        Arc::make_mut(of_copy).insert(object, (set, baseline));
    }

    /// What is known of the objects of a copy.
    pub(super) fn accepted(&self, application: &ApplicationUid, cluster: &ClusterUid) -> Arc<Accepted> {
        self.lock().get(&(application.clone(), cluster.clone())).cloned().unwrap_or_default()
    }

    /// What was accepted for a copy may have been accepted by another cluster.
    pub(super) fn distrust(&self, application: &ApplicationUid, cluster: &ClusterUid) {
        self.applies.forget(application, cluster);
        self.lock().remove(&(application.clone(), cluster.clone()));
    }

    /// The time in which a cluster accepted all that it got does not count.
    pub(super) fn got_on(&self, application: &ApplicationUid, cluster: &ClusterUid) {
        self.attempts.skip(application, cluster);
    }

    /// Forgets an application that is not there any more; not what is known of its copies.
    pub(crate) fn forget_application(&self, application: &ApplicationUid) {
        self.replicas.forget(application);
    }

    /// A term of leadership begins: what happened before it, another process has seen.
    pub(crate) fn begin_term(&self) {
        self.attempts.interrupt();
        self.observations.begin_term();
    }

    /// Forgets a copy.
    pub(crate) fn forget(&self, application: &ApplicationUid, cluster: &ClusterUid) {
        self.lock().remove(&(application.clone(), cluster.clone()));
        self.pauses.forget(application, cluster);
        self.applies.forget(application, cluster);
        self.renewals.forget(application, cluster);
        self.observations.forget(application, cluster);
        self.renderings.forget(application, cluster);
        self.attempts.forget(application, cluster);
        self.unseen.lasts(application, cluster, false);
        self.hidden.lasts(application, cluster, false);
    }

    /// Takes in a look at a copy: what is attempted there, how long that has lasted, and how long to wait before it is applied.
    pub(super) fn attempt(
        &self,
        application: &Application,
        cluster: &ClusterUid,
        answers: bool,
        wanted: Option<&DocumentSet>,
    ) -> (Aim, Attempt) {
        let uid = &application.uid;
        let copy = application.copy(cluster);
        let aim = aim(application, cluster, wanted);
        let elapsed = match copy {
            Some(copy) => self.attempts.look(uid, copy, aim, application.retry_requests, answers),
            None => Elapsed::default(),
        };
        let is_bound = is_decided_for(application, cluster);
        if let Some(copy) = copy {
            let is_of_another = copy.observed_generation != application.generation;
            if copy.retry_request != application.retry_requests
                || (copy.phase == Phase::Failed && is_bound && is_of_another)
            {
                // A user asks for an attempt at once, or changed the spec.
                self.pauses.forget(uid, cluster);
                self.applies.forget(uid, cluster);
            } else if copy.phase == Phase::Failed
                && is_bound
                && !self.applies.interruption(uid, cluster).goes_on
            {
                self.pauses.failed(uid, cluster, aim);
            }
        }
        let pause = |aim| self.pauses.remaining(uid, cluster, aim).unwrap_or_default();
        let (applied, _) = copy.map_or((None, None), |copy| copy.works(application.generation, wanted));
        let repair = applied.map(|applied| Aim::Set(applied.set.hash));
        let attempt = Attempt {
            elapsed: elapsed.time,
            pause: pause(aim),
            repair_pause: repair.map(pause).unwrap_or_default(),
            record: elapsed.record,
            record_in: elapsed.record_in,
        };
        (aim, attempt)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(ApplicationUid, ClusterUid), Arc<Accepted>>> {
        // Nothing that holds the lock panics halfway through a change.
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the application is bound to a cluster, for its present spec.
pub(super) fn is_decided_for(application: &Application, cluster: &ClusterUid) -> bool {
    application.scheduled_generation == application.generation
        && application.bindings.iter().any(|binding| binding.uid == cluster.as_str())
}

/// What is attempted at a copy: what is wanted where that is decided, and what was begun there otherwise.
fn aim(application: &Application, cluster: &ClusterUid, wanted: Option<&DocumentSet>) -> Aim {
    let copy = application.copy(cluster);
    if is_decided_for(application, cluster) {
        return Aim::of(copy, application.generation, wanted);
    }
    let begun = copy.and_then(|copy| copy.intended_work).map(|intended| intended.generation);
    Aim::of(copy, begun.unwrap_or(application.scheduled_generation), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_known_for_how_long_a_copy_is_not_seen() {
        let memory = Memory::default();
        let unseen = |is_unseen| memory.unseen.lasts(&"app".into(), &"c".into(), is_unseen).as_secs();
        assert_eq!(unseen(true), 0);
        tokio::time::advance(Duration::from_secs(40)).await;
        assert_eq!((unseen(true), unseen(false)), (40, 0));
        assert_eq!(unseen(true), 0, "it begins anew");
        memory.forget(&"app".into(), &"c".into());
        assert!(memory.unseen.0.lock().unwrap().is_empty());
    }
}
