//! Confirms which cluster answers, shortly before something is done there: a probe may be some seconds old.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::cluster::connection::Connection;
use crate::cluster::identity::ClusterIdentity;
use crate::error::ClusterError;

/// Maximum age of a confirmation: many applications that are applied at the same time share one request.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(2);

/// The last confirmation of one cluster.
pub(crate) struct Confirmation {
    connection: Connection,
    /// When the last request was sent that confirmed it.
    last: Mutex<Option<Instant>>,
    /// The last request found another cluster.
    is_another: AtomicBool,
}

impl Confirmation {
    /// Nothing confirmed yet.
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection, last: Mutex::default(), is_another: AtomicBool::new(false) }
    }

    /// Whether another cluster answered when it was last asked.
    pub(crate) fn is_another(&self) -> bool {
        self.is_another.load(Ordering::Relaxed)
    }

    /// Confirms that the cluster was the `known` one at some moment since `earliest`. Without the uid of its `kube-system`
    /// there is nothing to ask: its certificate authority was compared when its kubeconfig was read.
    ///
    /// # Errors
    /// When another cluster answers, or none.
    pub(crate) async fn confirm(
        &self,
        known: &ClusterIdentity,
        earliest: Instant,
    ) -> Result<(), ClusterError> {
        if !known.is_verified() {
            return Ok(());
        }
        // Who comes meanwhile waits for this answer.
        let mut last = self.last.lock().await;
        if last.is_some_and(|last| last >= earliest) {
            return Ok(());
        }
        let now = Instant::now();
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Namespace"));
        let namespaces: Api<DynamicObject> = Api::all_with(self.connection.client().clone(), &kind);
        let kube_system_uid = match self.connection.call(namespaces.get_metadata("kube-system")).await {
            Ok(namespace) => namespace.metadata.uid.unwrap_or_default(),
            // It may not be read any more, which says nothing about the cluster.
            Err(ClusterError::Forbidden(_)) => String::new(),
            Err(ClusterError::NotFound(_)) => {
                // No Kubernetes lets anybody delete it.
                self.is_another.store(true, Ordering::Relaxed);
                let message = "it may be another cluster: it has no namespace kube-system any more";
                return Err(ClusterError::Unreachable(message.to_owned()));
            }
            Err(error) => return Err(error),
        };
        let ca_sha256 = self.connection.ca_sha256().to_owned();
        let verified = known.verify(&ClusterIdentity { kube_system_uid, ca_sha256 }, false);
        self.is_another.store(verified.is_err(), Ordering::Relaxed);
        verified.map_err(ClusterError::Unreachable)?;
        *last = Some(now);
        Ok(())
    }
}
