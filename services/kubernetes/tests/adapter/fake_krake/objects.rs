//! The service of objects of all kinds, as far as the adapter calls it.

use std::collections::HashSet;

use krake_proto::krake::kubernetes::v1::Cluster;
use krake_proto::krake::meta::v1::object_service_server::ObjectService;
use krake_proto::krake::meta::v1::*;
use tonic::{Request, Response};

use super::{Answer, Messages, Service, missing, not_served};

#[tonic::async_trait]
impl ObjectService for Service {
    type WatchObjectsStream = Messages<WatchObjectsResponse>;

    async fn get_installation(&self, _: Request<GetInstallationRequest>) -> Answer<Installation> {
        let store = self.0.store();
        let (installation, epoch) = (store.installation.clone(), store.epoch.clone());
        Ok(Response::new(Installation { installation, epoch }))
    }

    async fn check_tombstones(
        &self,
        request: Request<CheckTombstonesRequest>,
    ) -> Answer<CheckTombstonesResponse> {
        let asked: HashSet<String> = request.into_inner().uids.into_iter().collect();
        let erased = self.0.store().tombstones.intersection(&asked).cloned().collect();
        Ok(Response::new(CheckTombstonesResponse { erased }))
    }

    async fn remove_finalizer(&self, request: Request<RemoveFinalizerRequest>) -> Answer<Object> {
        let request = request.into_inner();
        self.0.journal.lock().unwrap().push(format!("let go {}", request.name));
        let metadata = {
            let mut store = self.0.store();
            let mut cluster =
                store.clusters.get(&request.name).cloned().ok_or_else(|| missing(&request.name))?;
            let metadata = cluster.metadata.get_or_insert_default();
            metadata.finalizers.retain(|finalizer| *finalizer != request.finalizer);
            let metadata = metadata.clone();
            if metadata.deleted.is_some() && metadata.finalizers.is_empty() {
                store.erase::<Cluster>(&request.name);
            } else {
                store.put(cluster);
            }
            metadata
        };
        self.0.tell();
        Ok(Response::new(Object { metadata: Some(metadata), ..Default::default() }))
    }

    async fn list_objects(&self, _: Request<ListObjectsRequest>) -> Answer<ListObjectsResponse> {
        Err(not_served())
    }

    async fn watch_objects(&self, _: Request<WatchObjectsRequest>) -> Answer<Self::WatchObjectsStream> {
        Err(not_served())
    }

    async fn delete_object(&self, _: Request<DeleteObjectRequest>) -> Answer<Object> {
        Err(not_served())
    }

    async fn report_deletion(&self, request: Request<ReportDeletionRequest>) -> Answer<Object> {
        let ReportDeletionRequest { name, waits_for, .. } = request.into_inner();
        {
            let mut store = self.0.store();
            let mut cluster = store.clusters.get(&name).cloned().ok_or_else(|| missing(&name))?;
            let metadata = cluster.metadata.get_or_insert_default();
            metadata.deletion = Some(Deletion { waits_for, ..Default::default() });
            store.put(cluster);
        }
        self.0.tell();
        Ok(Response::new(Object::default()))
    }
}
