//! Who is meant by a uid: applications and clusters by what clusters and records call them.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use krake_client::NamespacedName;

use crate::object::{ApplicationUid, ClusterUid};

#[derive(Debug, Default)]
struct Names {
    applications: HashMap<ApplicationUid, NamespacedName>,
    clusters: HashMap<ClusterUid, NamespacedName>,
    /// Clusters that are being deleted.
    leaving: HashSet<ClusterUid>,
    erased: HashSet<ClusterUid>,
    /// Clusters that a person declared lost.
    lost: HashSet<ClusterUid>,
}

/// Names by uid, and the clusters that are known to be erased.
#[derive(Debug, Default)]
pub(crate) struct Index {
    names: Mutex<Names>,
}

impl Index {
    /// An application is there.
    pub(crate) fn application(&self, uid: &ApplicationUid, key: &NamespacedName) {
        self.lock().applications.insert(uid.clone(), key.clone());
    }

    /// An application is not there any more.
    pub(crate) fn forget_application(&self, uid: &ApplicationUid) {
        self.lock().applications.remove(uid);
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
