//! The clusters that are looked after: one handle each, made anew when the kubeconfig changes.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cluster::address::AddressPolicy;
use crate::cluster::connection::{Connection, Deadlines};
use crate::cluster::handle::Contact;
use crate::cluster::identity::Known;
use crate::cluster::kubeconfig::KubeconfigError;
use crate::cluster::wake::Wakes;
use crate::cluster::{ClusterHandle, ProbeTimes};
use crate::object::{ApplicationUid, ClusterUid};

/// Makes the connection to a cluster from its stored kubeconfig: [`Connection::open`], or one over a simulated network.
/// Called inside a Tokio runtime.
#[derive(Clone)]
pub struct Opener(Arc<Open>);

type Open = dyn Fn(&Value, Deadlines) -> Result<Connection, KubeconfigError> + Send + Sync;

impl Opener {
    /// An opener of one's own.
    pub fn new(
        open: impl Fn(&Value, Deadlines) -> Result<Connection, KubeconfigError> + Send + Sync + 'static,
    ) -> Self {
        Opener(Arc::new(open))
    }

    /// Connects over the network, to addresses that `policy` allows.
    pub fn over_network(policy: AddressPolicy) -> Self {
        Opener::new(move |kubeconfig, deadlines| Connection::open(kubeconfig, deadlines, &policy))
    }

    /// Makes a connection.
    pub(crate) fn open(
        &self,
        kubeconfig: &Value,
        deadlines: Deadlines,
    ) -> Result<Connection, KubeconfigError> {
        (self.0)(kubeconfig, deadlines)
    }
}

impl Default for Opener {
    fn default() -> Self {
        Opener::over_network(AddressPolicy::default())
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opener")
    }
}

struct Entry {
    /// Fingerprint of the kubeconfig that the handle was made from.
    kubeconfig: u64,
    handle: Result<Arc<ClusterHandle>, KubeconfigError>,
}

#[derive(Default)]
struct Held {
    entries: HashMap<ClusterUid, Entry>,
    /// Clusters that were deregistered or declared lost. A task that read them before starts nothing there any more.
    given_up: HashSet<ClusterUid>,
}

/// All clusters of this adapter. Each has its own tasks and its own connections, so that one that does not answer holds
/// nobody else back.
pub struct Clusters {
    installation: String,
    deadlines: Deadlines,
    times: ProbeTimes,
    wakes: Arc<Wakes>,
    opener: Opener,
    held: Mutex<Held>,
    fingerprints: RandomState,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Clusters {
    /// No clusters yet. `installation` is the uuid of this Krake; what changes on clusters goes to `wakes`.
    pub fn new(installation: &str, deadlines: Deadlines, times: ProbeTimes, wakes: Arc<Wakes>) -> Self {
        Self {
            installation: installation.to_owned(),
            deadlines,
            times,
            wakes,
            opener: Opener::default(),
            held: Mutex::default(),
            fingerprints: RandomState::new(),
            tasks: TaskTracker::new(),
            cancel: CancellationToken::new(),
        }
    }

    /// The same, with connections made by `opener`.
    #[must_use]
    pub fn opened_by(self, opener: Opener) -> Self {
        Self { opener, ..self }
    }

    /// Looks after a cluster from now on, which is `known` by this identity. With the kubeconfig that it has already,
    /// nothing happens; with another one what is under way by the former one stops. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// When its kubeconfig cannot be used, or the cluster was given up.
    pub fn set(
        &self,
        cluster: &ClusterUid,
        kubeconfig: &Value,
        known: &Known,
    ) -> Result<Arc<ClusterHandle>, KubeconfigError> {
        let fingerprint = self.fingerprints.hash_one(kubeconfig.to_string());
        let Held { entries, given_up } = &mut *self.lock();
        if given_up.contains(cluster) {
            return Err(KubeconfigError::Unusable("the cluster is not looked after any more".to_owned()));
        }
        if let Some(entry) = entries.get(cluster).filter(|entry| entry.kubeconfig == fingerprint) {
            return entry.handle.clone();
        }
        let opened = self.opener.open(kubeconfig, self.deadlines);
        let handle = opened.map(|connection| Arc::new(self.start(cluster, connection, known.clone())));
        let entry = Entry { kubeconfig: fingerprint, handle: handle.clone() };
        end(entries.insert(cluster.clone(), entry));
        handle
    }

    /// Whether a cluster was given up.
    pub fn is_given_up(&self, cluster: &ClusterUid) -> bool {
        self.lock().given_up.contains(cluster)
    }

    /// Looks after a cluster over a ready-made connection.
    pub fn set_connection(&self, cluster: &ClusterUid, connection: Connection) -> Arc<ClusterHandle> {
        let handle = Arc::new(self.start(cluster, connection, Known::default()));
        let entry = Entry { kubeconfig: 0, handle: Ok(Arc::clone(&handle)) };
        end(self.lock().entries.insert(cluster.clone(), entry));
        handle
    }

    /// The cluster, if it is looked after; else why its kubeconfig cannot be used.
    pub fn get(&self, cluster: &ClusterUid) -> Option<Result<Arc<ClusterHandle>, KubeconfigError>> {
        self.lock().entries.get(cluster).map(|entry| entry.handle.clone())
    }

    /// Whether a cluster is looked after and answers.
    pub fn answers(&self, cluster: &ClusterUid) -> bool {
        matches!(self.get(cluster), Some(Ok(handle)) if handle.answers() == Some(Ok(())))
    }

    /// An application has no copy on a cluster any more, or (absent) on any: watches that only it needed end.
    pub fn release(&self, application: &ApplicationUid, cluster: Option<&ClusterUid>) {
        let entries = &self.lock().entries;
        let meant = |uid: &ClusterUid| cluster.is_none_or(|cluster| cluster == uid);
        let handles =
            entries.iter().filter(|(uid, _)| meant(uid)).filter_map(|(_, entry)| entry.handle.as_ref().ok());
        handles.for_each(|handle| handle.release(application));
    }

    /// Ends looking after a cluster, and what is under way there: from now on it gets no handle, unless it is known again.
    pub fn drop_cluster(&self, cluster: &ClusterUid) {
        let mut held = self.lock();
        held.given_up.insert(cluster.clone());
        end(held.entries.remove(cluster));
    }

    /// A cluster is registered, and not lost. A store that was restored may know one again that was given up.
    pub fn admit(&self, cluster: &ClusterUid) {
        self.lock().given_up.remove(cluster);
    }

    /// Ends everything and waits for it.
    pub async fn shutdown(&self) {
        self.cancel.cancel();
        self.lock().entries.clear();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn start(&self, cluster: &ClusterUid, connection: Connection, known: Known) -> ClusterHandle {
        ClusterHandle::start(
            Contact { cluster: cluster.clone(), connection, known },
            self.installation.clone(),
            self.times,
            Arc::clone(&self.wakes),
            &self.tasks,
            self.cancel.child_token(),
        )
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends what is under way by a handle that was replaced or removed: whoever uses it keeps it alive.
fn end(entry: Option<Entry>) {
    if let Some(Entry { handle: Ok(handle), .. }) = entry {
        handle.end();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_cluster_that_was_given_up_gets_no_handle_by_what_was_read_before() {
        let wakes = Arc::new(Wakes::default());
        let opener = Opener::new(|_, deadlines| {
            let nobody = tower::service_fn(|_: http::Request<kube::client::Body>| async {
                Err::<http::Response<kube::client::Body>, tower::BoxError>("nobody answers".into())
            });
            Ok(Connection::over(kube::Client::new(nobody, "demo"), "demo", "host", deadlines))
        });
        let clusters =
            Clusters::new("inst", Deadlines::default(), ProbeTimes::default(), wakes).opened_by(opener);
        let uid = ClusterUid::from("c");
        let set = || clusters.set(&uid, &json!({}), &Known::default());
        let handle = set().unwrap();
        clusters.drop_cluster(&uid);
        assert!(handle.is_fenced() && clusters.get(&uid).is_none());
        assert!(set().is_err() && clusters.get(&uid).is_none(), "it was read before");
        clusters.admit(&uid);
        assert!(set().is_ok() && !clusters.is_given_up(&uid), "a restored store knows it again");
        clusters.shutdown().await;
    }
}
