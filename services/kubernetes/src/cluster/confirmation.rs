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
                *last = None;
                let message = "it may be another cluster: it has no namespace kube-system any more";
                return Err(ClusterError::Unreachable(message.to_owned()));
            }
            Err(error) => return Err(error),
        };
        let ca_sha256 = self.connection.ca_sha256().to_owned();
        let verified = known.verify(&ClusterIdentity { kube_system_uid, ca_sha256 }, false);
        self.is_another.store(verified.is_err(), Ordering::Relaxed);
        // What was confirmed before does not hold any more where another cluster answers.
        *last = verified.is_ok().then_some(now);
        verified.map(drop).map_err(ClusterError::Unreachable)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;
    use tower::BoxError;

    use super::*;
    use crate::cluster::connection::Deadlines;

    /// A confirmation over a server that answers with these uids of kube-system, one after the other. No uid: there is none.
    fn over(uids: &'static [&'static str]) -> (Confirmation, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let service = tower::service_fn({
            let asked = asked.clone();
            move |_: Request<Body>| {
                let uid = uids[asked.fetch_add(1, Ordering::SeqCst)];
                let metadata = json!({"name": "kube-system", "uid": uid});
                let (code, body) = match uid {
                    "" => (
                        404,
                        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
                        "reason": "NotFound", "message": "namespaces \"kube-system\" not found"}),
                    ),
                    _ => (
                        200,
                        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                        "metadata": metadata}),
                    ),
                };
                let response =
                    Response::builder().status(code).body(Body::from(body.to_string().into_bytes()));
                async move { response.map_err(BoxError::from) }
            }
        });
        let client = kube::Client::new(service, "demo");
        (Confirmation::new(Connection::over(client, "demo", "host", Deadlines::default())), asked)
    }

    #[tokio::test(start_paused = true)]
    async fn where_another_cluster_answers_nothing_that_was_confirmed_before_holds() {
        let known = ClusterIdentity { kube_system_uid: "one".into(), ca_sha256: String::new() };
        for answers in [&["one", "two", "two"], &["one", "", ""]] {
            let (confirmation, asked) = over(answers);
            let before = Instant::now();
            confirmation.confirm(&known, before).await.unwrap();
            confirmation.confirm(&known, before).await.unwrap();
            assert_eq!(asked.load(Ordering::SeqCst), 1, "it holds");
            tokio::time::advance(Duration::from_secs(1)).await;
            confirmation.confirm(&known, Instant::now()).await.unwrap_err();
            assert!(confirmation.is_another());
            confirmation.confirm(&known, before).await.unwrap_err();
            assert_eq!(asked.load(Ordering::SeqCst), 3, "it is asked anew");
        }
    }
}
