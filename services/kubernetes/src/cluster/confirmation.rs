//! Confirms which cluster answers, shortly before something is done there: a probe may be some seconds old.

use std::time::Duration;

use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::cluster::connection::Connection;
use crate::cluster::identity::ClusterIdentity;
use crate::error::ClusterError;

/// Maximum age of a confirmation: many applications that are applied at the same time share one request.
const MAX_AGE: Duration = Duration::from_secs(2);

/// The last confirmation of one cluster.
pub(crate) struct Confirmation {
    connection: Connection,
    last: Mutex<Option<Instant>>,
}

impl Confirmation {
    /// Nothing confirmed yet.
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection, last: Mutex::default() }
    }

    /// Confirms that the cluster is the `known` one. Without the uid of its `kube-system` there is nothing to ask: its
    /// certificate authority was compared when its kubeconfig was read.
    ///
    /// # Errors
    /// When another cluster answers, or none.
    pub(crate) async fn confirm(&self, known: &ClusterIdentity) -> Result<(), ClusterError> {
        if !known.is_verified() {
            return Ok(());
        }
        // Who comes meanwhile waits for this answer.
        let mut last = self.last.lock().await;
        if last.is_some_and(|last| last.elapsed() < MAX_AGE) {
            return Ok(());
        }
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Namespace"));
        let namespaces: Api<DynamicObject> = Api::all_with(self.connection.client().clone(), &kind);
        let kube_system_uid = match self.connection.call(namespaces.get_metadata("kube-system")).await {
            Ok(namespace) => namespace.metadata.uid.unwrap_or_default(),
            // It may not be read any more, which says nothing about the cluster.
            Err(ClusterError::Forbidden(_) | ClusterError::NotFound(_)) => String::new(),
            Err(error) => return Err(error),
        };
        let ca_sha256 = self.connection.ca_sha256().to_owned();
        let seen = ClusterIdentity { kube_system_uid, ca_sha256 };
        known.verify(&seen).map_err(ClusterError::Unreachable)?;
        *last = Some(Instant::now());
        Ok(())
    }
}
