//! The queues of the controllers, and how urgent what wakes them is: what users change never waits for looks that are made
//! because something else changed.

use krake_client::NamespacedName;
use krake_runtime::controller::{Priority, Queue};

use crate::cluster::wake::Wake;
use crate::controller::index::Index;

/// One queue for each controller.
#[derive(Clone, Debug, Default)]
pub(super) struct Queues {
    pub(super) applications: Queue<NamespacedName>,
    pub(super) clusters: Queue<NamespacedName>,
    pub(super) orphans: Queue<NamespacedName>,
}

impl Queues {
    /// Queues what something on a cluster concerns.
    pub(super) fn woken(&self, index: &Index, wake: &Wake) {
        match wake {
            Wake::Cluster(cluster) => {
                // Behind what users change: it may be hundreds of applications.
                for key in index.concerned(cluster) {
                    self.applications.add(key, Priority::Resync);
                }
                if let Some(key) = index.cluster_key(cluster) {
                    self.orphans.add(key.clone(), Priority::Resync);
                    self.clusters.add(key, Priority::Change);
                }
            }
            Wake::Application(application, _) => {
                if let Some(key) = index.application_key(application) {
                    self.applications.add(key, Priority::Change);
                }
            }
        }
    }

    /// Queues everything that there is, at the beginning of a term.
    pub(super) fn all(
        &self,
        applications: impl IntoIterator<Item = NamespacedName>,
        clusters: impl IntoIterator<Item = NamespacedName>,
    ) {
        for key in applications {
            self.applications.add(key, Priority::Resync);
        }
        for key in clusters {
            self.clusters.add(key.clone(), Priority::Resync);
            self.orphans.add(key, Priority::Resync);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use krake_runtime::controller::Depth;

    use super::*;
    use crate::object::ClusterUid;

    const MANY: usize = 500;

    fn key(name: impl Into<String>) -> NamespacedName {
        NamespacedName::new("demo", name.into())
    }

    fn copies() -> Vec<NamespacedName> {
        (0..MANY).map(|number| key(format!("app-{number}"))).collect()
    }

    /// The next key, and how urgent it is.
    fn next(queue: &Queue<NamespacedName>) -> Option<(NamespacedName, Priority)> {
        queue.next().now_or_never().map(|claim| (claim.key().clone(), claim.priority()))
    }

    /// What a user changes and what of a copy changes are worked on first, though all copies were queued before.
    fn changes_come_first(queues: &Queues, index: &Index) {
        let ready = |count| Depth { ready: count, ..Depth::default() };
        assert_eq!(queues.applications.depth(), ready(MANY));
        index.application(&"uid-7".into(), &key("app-7"));
        queues.applications.add(key("changed"), Priority::Change);
        queues.woken(index, &Wake::Application("uid-7".into(), "one".into()));
        // Again, which takes its urgency from nothing.
        queues.all(copies(), []);
        // Among changes, what waits already keeps its turn.
        assert_eq!(next(&queues.applications), Some((key("app-7"), Priority::Change)));
        assert_eq!(next(&queues.applications), Some((key("changed"), Priority::Change)));
        for _ in 1..MANY {
            assert_eq!(next(&queues.applications).map(|(_, priority)| priority), Some(Priority::Resync));
        }
        assert_eq!(next(&queues.applications), None);
    }

    #[test]
    fn a_cluster_that_wakes_all_its_copies_delays_no_change() {
        let (queues, index) = (Queues::default(), Index::default());
        let one: [ClusterUid; 1] = ["one".into()];
        index.cluster(&one[0], &key("one"), false);
        copies().iter().for_each(|copy| index.placed(copy, &[], &one));
        queues.woken(&index, &Wake::Cluster(one[0].clone()));
        // The cluster itself is news, and the survey of its orphans is not.
        assert_eq!(next(&queues.clusters), Some((key("one"), Priority::Change)));
        assert_eq!(next(&queues.orphans), Some((key("one"), Priority::Resync)));
        changes_come_first(&queues, &index);
    }

    #[test]
    fn a_term_that_begins_with_a_look_at_everything_delays_no_change() {
        let queues = Queues::default();
        queues.all(copies(), [key("one")]);
        assert_eq!(next(&queues.clusters), Some((key("one"), Priority::Resync)));
        assert_eq!(next(&queues.orphans), Some((key("one"), Priority::Resync)));
        changes_come_first(&queues, &Index::default());
    }
}
