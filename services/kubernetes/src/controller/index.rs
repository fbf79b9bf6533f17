//! Who is meant by a uid: applications and clusters by what clusters and records call them.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use krake_client::NamespacedName;

use crate::object::{ApplicationUid, ClusterUid};

#[derive(Debug, Default)]
struct Names {
    applications: HashMap<ApplicationUid, NamespacedName>,
    /// Applications that were seen to be erased.
    erased_applications: HashSet<ApplicationUid>,
    /// The applications that are bound to a cluster or have a copy there.
    placed: HashMap<ClusterUid, HashSet<NamespacedName>>,
    clusters: HashMap<ClusterUid, NamespacedName>,
    /// Clusters that are being deleted.
    leaving: HashSet<ClusterUid>,
    erased: HashSet<ClusterUid>,
    /// Clusters that a person declared lost.
    lost: HashSet<ClusterUid>,
}

/// Maximum number of erased applications that are remembered: of the others it is not known whether they exist.
const MAX_ERASED: usize = 4096;

/// Names by uid, and the clusters and applications that are known to be erased.
#[derive(Debug, Default)]
pub(crate) struct Index {
    names: Mutex<Names>,
}

impl Index {
    /// An application is there.
    pub(crate) fn application(&self, uid: &ApplicationUid, key: &NamespacedName) {
        let mut names = self.lock();
        names.erased_applications.remove(uid);
        names.applications.insert(uid.clone(), key.clone());
    }

    /// An application is not there any more; `erased` if that is positively known.
    pub(crate) fn forget_application(&self, uid: &ApplicationUid, erased: bool) {
        let mut names = self.lock();
        names.applications.remove(uid);
        if erased {
            if names.erased_applications.len() >= MAX_ERASED {
                names.erased_applications.clear();
            }
            names.erased_applications.insert(uid.clone());
        }
    }

    /// Whether an application is known to be erased.
    pub(crate) fn is_erased_application(&self, uid: &ApplicationUid) -> bool {
        self.lock().erased_applications.contains(uid)
    }

    /// An application that mattered on the clusters `before` matters on the clusters `now`.
    pub(crate) fn placed(&self, key: &NamespacedName, before: &[ClusterUid], now: &[ClusterUid]) {
        let mut names = self.lock();
        for left in before.iter().filter(|cluster| !now.contains(cluster)) {
            if let Some(placed) = names.placed.get_mut(left) {
                placed.remove(key);
                if placed.is_empty() {
                    names.placed.remove(left);
                }
            }
        }
        for cluster in now {
            let placed = names.placed.entry(cluster.clone()).or_default();
            if !placed.contains(key) {
                placed.insert(key.clone());
            }
        }
    }

    /// The applications that a cluster concerns.
    pub(crate) fn concerned(&self, cluster: &ClusterUid) -> Vec<NamespacedName> {
        self.lock().placed.get(cluster).into_iter().flatten().cloned().collect()
    }

    /// The application with this uid.
    pub(crate) fn application_key(&self, uid: &ApplicationUid) -> Option<NamespacedName> {
        self.lock().applications.get(uid).cloned()
    }

    /// A cluster is there; `leaving` while it is being deleted. Tells whether that is news.
    pub(crate) fn cluster(&self, uid: &ClusterUid, key: &NamespacedName, leaving: bool) -> bool {
        let mut names = self.lock();
        let news = leaving && names.leaving.insert(uid.clone());
        names.clusters.insert(uid.clone(), key.clone());
        // A restored store may know a cluster that was erased since.
        names.erased.remove(uid);
        news
    }

    /// A person declared a cluster lost. Returns whether that is news.
    pub(crate) fn lose_cluster(&self, uid: &ClusterUid) -> bool {
        self.lock().lost.insert(uid.clone())
    }

    /// A cluster is not there any more; `erased` if that is positively known.
    pub(crate) fn forget_cluster(&self, uid: &ClusterUid, erased: bool) {
        let mut names = self.lock();
        names.clusters.remove(uid);
        names.leaving.remove(uid);
        names.lost.remove(uid);
        if erased {
            names.erased.insert(uid.clone());
        }
    }

    /// The cluster with this uid.
    pub(crate) fn cluster_key(&self, uid: &ClusterUid) -> Option<NamespacedName> {
        self.lock().clusters.get(uid).cloned()
    }

    /// Whether a cluster is being deleted.
    pub(crate) fn is_leaving(&self, uid: &ClusterUid) -> bool {
        self.lock().leaving.contains(uid)
    }

    /// Whether a cluster is known to be erased, or was declared lost: nothing there matters any more.
    pub(crate) fn is_erased(&self, uid: &ClusterUid) -> bool {
        let names = self.lock();
        names.erased.contains(uid) || names.lost.contains(uid)
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        // Nothing that holds the lock panics halfway through a change.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_concerns_the_applications_that_are_placed_there_now() {
        let index = Index::default();
        let key = |name: &str| NamespacedName::new("demo", name);
        let (one, two): ([ClusterUid; 1], [ClusterUid; 1]) = (["one".into()], ["two".into()]);
        let both = [one.clone(), two.clone()].concat();
        index.placed(&key("a"), &[], &one);
        index.placed(&key("b"), &[], &both);
        index.placed(&key("a"), &one, &both);
        index.placed(&key("a"), &both, &two);
        assert_eq!(index.concerned(&one[0]), [key("b")]);
        assert_eq!(index.concerned(&two[0]).len(), 2);
        index.placed(&key("b"), &both, &[]);
        assert!(index.concerned(&one[0]).is_empty() && !index.lock().placed.contains_key(&one[0]));
    }
}
