//! What happens in the simulated world.

use proptest::prelude::*;

use super::handover::Health;
use super::view::Sight;
use super::{CLUSTERS, World};
use crate::object::ClusterUid;
use crate::plan::Phase;

#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Update,
    /// The spec changes, and its documents do not.
    Touch,
    /// The spec says again what it said before.
    Revert,
    /// What is stored cannot be read, or can again.
    Readable(bool),
    /// The copies are as an older version of Krake recorded them.
    Older,
    /// The scheduler decides for the present generation.
    Bind(usize),
    /// The scheduler releases the application: it fits nowhere.
    Release,
    /// A cluster is being deleted.
    Leave(usize),
    Delete,
    Reachable(usize, bool),
    /// Watches of the cluster show what is there, or not yet.
    Showing(usize, Sight),
    Health(usize, Health),
    /// Somebody else has an object that the application wants, or has not.
    Theirs(usize, bool),
    /// The cluster refuses manifests.
    Accepting(usize, bool),
    /// The kind of an object cannot be resolved.
    Resolving(usize, bool),
    /// Objects have finalizers that nobody removes.
    Lingering(usize, bool),
    /// Somebody deletes an object by hand.
    Vandal(usize),
    /// The Job that is there runs to its end.
    Ends(usize),
    /// A Job that ran to its end is deleted, as by its time to live.
    Collected(usize),
    Pass(u32),
    /// A user asks for a retry.
    Retry,
    /// The adapter begins anew, without what it remembered.
    Restart,
    /// The adapter plans once; a step on a cluster may fail, or succeed without being recorded.
    Adapter {
        fail: u8,
    },
}

pub(super) fn events() -> impl Strategy<Value = Vec<Event>> {
    let cluster = 0..CLUSTERS.len();
    let sights = prop_oneof![2 => Just(Sight::Whole), 1 => Just(Sight::Pending), 1 => Just(Sight::Blind)];
    let health = prop_oneof![Just(Health::Well), Just(Health::Limps), Just(Health::Dead)];
    let event = prop_oneof![
        2 => Just(Event::Update),
        1 => Just(Event::Touch),
        1 => Just(Event::Revert),
        1 => any::<bool>().prop_map(Event::Readable),
        1 => Just(Event::Older),
        4 => cluster.clone().prop_map(Event::Bind),
        1 => Just(Event::Release),
        1 => cluster.clone().prop_map(Event::Leave),
        1 => Just(Event::Delete),
        3 => (cluster.clone(), any::<bool>()).prop_map(|(c, up)| Event::Reachable(c, up)),
        3 => (cluster.clone(), sights).prop_map(|(c, sight)| Event::Showing(c, sight)),
        3 => (cluster.clone(), health).prop_map(|(c, health)| Event::Health(c, health)),
        1 => (cluster.clone(), any::<bool>()).prop_map(|(c, theirs)| Event::Theirs(c, theirs)),
        1 => (cluster.clone(), any::<bool>()).prop_map(|(c, accepts)| Event::Accepting(c, accepts)),
        1 => (cluster.clone(), any::<bool>()).prop_map(|(c, resolves)| Event::Resolving(c, resolves)),
        1 => (cluster.clone(), any::<bool>()).prop_map(|(c, lingers)| Event::Lingering(c, lingers)),
        2 => cluster.clone().prop_map(Event::Ends),
        2 => cluster.clone().prop_map(Event::Collected),
        1 => cluster.prop_map(Event::Vandal),
        2 => (1u32..400).prop_map(Event::Pass),
        1 => Just(Event::Restart),
        1 => Just(Event::Retry),
        20 => (0u8..12).prop_map(|fail| Event::Adapter { fail }),
    ];
    prop::collection::vec(event, 1..60)
}

/// What happens to clusters while nobody changes the application.
pub(super) fn events_of_clusters() -> impl Strategy<Value = Vec<Event>> {
    let is_of_clusters = |event: &Event| {
        !matches!(
            event,
            Event::Update | Event::Touch | Event::Revert | Event::Older | Event::Bind(_) | Event::Release
        ) && !matches!(event, Event::Delete | Event::Readable(_) | Event::Pass(_) | Event::Accepting(..))
    };
    events().prop_map(move |events| events.into_iter().filter(is_of_clusters).collect())
}

impl World {
    pub(super) fn happens(&mut self, event: Event) {
        let uid = |index: usize| ClusterUid::from(CLUSTERS[index]);
        match event {
            Event::Update if self.deleted => {}
            Event::Update => {
                self.generation += 1;
                self.newest += 1;
                self.former = std::mem::replace(&mut self.documents, self.newest);
            }
            Event::Touch if self.deleted => {}
            Event::Touch => self.generation += 1,
            Event::Revert if self.deleted => {}
            Event::Revert => {
                self.generation += 1;
                std::mem::swap(&mut self.former, &mut self.documents);
            }
            Event::Readable(readable) => self.unreadable = !readable,
            Event::Older => {
                for copy in self.copies.values_mut() {
                    (copy.applied_work, copy.intended_work) = (None, None);
                }
                self.memory.clear();
            }
            Event::Resolving(index, resolves) => {
                self.clusters.get_mut(&uid(index)).unwrap().hides = !resolves;
            }
            Event::Bind(index) => {
                let left = self.bindings.iter().filter(|bound| **bound != uid(index));
                let failed = left
                    .filter(|bound| self.copies.get(bound).is_some_and(|copy| copy.phase == Phase::Failed));
                self.given_up.extend(failed.cloned().collect::<Vec<_>>());
                self.bindings = vec![uid(index)];
                self.scheduled_generation = self.generation;
            }
            Event::Release => {
                self.bindings.clear();
                self.scheduled_generation = self.generation;
            }
            Event::Leave(index) => drop(self.leaving.insert(uid(index))),
            Event::Delete => self.deleted = true,
            Event::Reachable(index, up) => self.clusters.get_mut(&uid(index)).unwrap().unreachable = !up,
            Event::Showing(index, sight) => self.clusters.get_mut(&uid(index)).unwrap().sight = sight,
            Event::Health(index, health) => self.clusters.get_mut(&uid(index)).unwrap().health = health,
            Event::Theirs(index, theirs) => self.clusters.get_mut(&uid(index)).unwrap().theirs = theirs,
            Event::Accepting(index, accepts) => {
                self.clusters.get_mut(&uid(index)).unwrap().refuses = !accepts;
            }
            Event::Lingering(index, lingers) => self.clusters.get_mut(&uid(index)).unwrap().lingers = lingers,
            Event::Vandal(index) => self.clusters.get_mut(&uid(index)).unwrap().vandalise(),
            Event::Ends(index) => self.clusters.get_mut(&uid(index)).unwrap().end_job(),
            Event::Collected(index) => self.clusters.get_mut(&uid(index)).unwrap().collect_job(),
            Event::Restart => self.memory.clear(),
            Event::Retry => self.retry_requests += 1,
            Event::Pass(seconds) => self.seconds += i64::from(seconds),
            Event::Adapter { fail } => self.adapter(fail),
        }
    }
}
