//! A FAKE Krake API: real gRPC over a real socket, and of the state service only what the adapter needs: watches, reports of
//! copies by compare-and-set, status of clusters, tombstones, finalizers. It validates little and derives nothing.

mod objects;

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::{Stream, StreamExt};
use krake_client::ConnectOptions;
use krake_proto::error::{ErrorReason, status};
use krake_proto::krake::kubernetes::v1::application_service_server::{
    ApplicationService, ApplicationServiceServer,
};
use krake_proto::krake::kubernetes::v1::cluster_service_server::{ClusterService, ClusterServiceServer};
use krake_proto::krake::kubernetes::v1::*;
use krake_proto::krake::meta::v1::object_service_server::ObjectServiceServer;
use krake_proto::krake::meta::v1::*;
use tokio::sync::watch;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};

use crate::api_server::Journal;
use crate::fake_store::Store;

type Answer<T> = Result<Response<T>, Status>;
type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The API. Its socket is closed with the test's runtime.
#[derive(Clone)]
pub(crate) struct FakeKrake {
    pub(crate) options: ConnectOptions,
    shared: Arc<Shared>,
}

/// The services over what all of them share.
struct Service(Arc<Shared>);

type Change = Box<dyn FnOnce(&mut Store) + Send>;

struct Shared {
    store: Mutex<Store>,
    revision: watch::Sender<i64>,
    journal: Journal,
    /// What makes the next report outdated, which is refused.
    outdating: Mutex<Option<Change>>,
}

impl FakeKrake {
    pub(crate) async fn start(journal: Journal) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = ConnectOptions::new(format!("http://{}", listener.local_addr().unwrap()));
        let (store, revision) = (Mutex::new(Store::new()), watch::Sender::new(1));
        let shared = Arc::new(Shared { store, revision, journal, outdating: Mutex::default() });
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(ApplicationServiceServer::new(Service(shared.clone())))
                .add_service(ClusterServiceServer::new(Service(shared.clone())))
                .add_service(ObjectServiceServer::new(Service(shared.clone())))
                .serve_with_incoming(TcpIncoming::from(listener)),
        );
        Self { options, shared }
    }

    /// Changes the store; everybody who watches sees it.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        let (changed, revision) = {
            let mut store = self.shared.store();
            (change(&mut store), store.revision)
        };
        self.shared.revision.send_replace(revision);
        changed
    }

    /// Waits until something is so.
    pub(crate) async fn until<T>(&self, what: &str, mut condition: impl FnMut(&Store) -> Option<T>) -> T {
        let mut revision = self.shared.revision.subscribe();
        let waiting = async {
            loop {
                if let Some(found) = condition(&self.shared.store()) {
                    return found;
                }
                revision.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(crate::world::HANG_GUARD, waiting).await;
        waited.unwrap_or_else(|_| panic!("never: {what}\n{:#?}", self.shared.journal.lock().unwrap()))
    }

    /// Just before the next report arrives, somebody else writes this, which makes it outdated.
    pub(crate) fn outdate_next_report(&self, change: impl FnOnce(&mut Store) + Send + 'static) {
        *self.shared.outdating.lock().unwrap() = Some(Box::new(change));
    }
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    fn tell(&self) {
        let revision = self.store().revision;
        self.revision.send_replace(revision);
    }

    /// The events of one kind since `after`, each time there are more.
    fn follow<T: Send + 'static>(
        self: &Arc<Self>,
        initial: impl FnOnce(&Store) -> T,
        later: impl Fn(&Store, i64) -> Option<T> + Send + 'static,
    ) -> Messages<T> {
        let store = self.store();
        let (first, after) = (initial(&store), store.revision);
        drop(store);
        let changes = self.revision.subscribe();
        let rest = futures::stream::unfold(
            (self.clone(), changes, after, later),
            |(shared, mut changes, after, later)| async move {
                loop {
                    let (message, revision) = {
                        let store = shared.store();
                        (later(&store, after), store.revision)
                    };
                    if let Some(message) = message {
                        return Some((Ok(message), (shared, changes, revision, later)));
                    }
                    changes.changed().await.ok()?;
                }
            },
        );
        Box::pin(futures::stream::once(async { Ok(first) }).chain(rest))
    }
}

fn missing(name: &str) -> Status {
    status(Code::NotFound, ErrorReason::NotFound, format!("no {name}"))
}

fn not_served() -> Status {
    Status::unimplemented("the adapter does not need it")
}

fn conflict(why: &str) -> Status {
    status(Code::Aborted, ErrorReason::Conflict, why)
}

#[tonic::async_trait]
impl ApplicationService for Service {
    type WatchApplicationsStream = Messages<WatchApplicationsResponse>;

    async fn get_application(&self, request: Request<GetApplicationRequest>) -> Answer<Application> {
        let name = request.into_inner().name;
        let found = self.0.store().applications.get(&name).cloned();
        found.map(Response::new).ok_or_else(|| missing(&name))
    }

    async fn watch_applications(
        &self,
        _: Request<WatchApplicationsRequest>,
    ) -> Answer<Self::WatchApplicationsStream> {
        let message = |store: &Store, events: Vec<(EventType, Application)>, synced| {
            let event = |(kind, object): (EventType, Application)| ApplicationEvent {
                r#type: kind.into(),
                object: Some(object),
            };
            let events = events.into_iter().map(event).collect();
            let (resource_version, epoch) = (store.revision, store.epoch.clone());
            WatchApplicationsResponse { events, resource_version, epoch, synced, partial: false }
        };
        let initial = move |store: &Store| message(store, store.all(), true);
        Ok(Response::new(self.0.follow(initial, move |store, after| {
            let events = store.since(after);
            (store.revision > after).then(|| message(store, events, false))
        })))
    }

    async fn report_copy(&self, request: Request<ReportCopyRequest>) -> Answer<Application> {
        let request = request.into_inner();
        let copy = request.copy.clone().unwrap_or_default();
        let cluster = copy.cluster.clone().unwrap_or_default();
        let outdating = self.0.outdating.lock().unwrap().take();
        if let Some(change) = outdating {
            change(&mut self.0.store());
            self.0.tell();
            self.0.journal.lock().unwrap().push("refused".to_owned());
            return Err(conflict("somebody was faster"));
        }
        // How busy the machine is makes no difference to the journal.
        let counts_time = self.0.store().only_counts_time(&request);
        let after = self.0.store().report_copy(&request).map_err(|why| conflict(&why))?;
        let what = if request.forget { "forget".to_owned() } else { format!("report {:?}", copy.phase()) };
        if !counts_time {
            self.0.journal.lock().unwrap().push(format!("{what} {}/{}", request.name, cluster.name));
        }
        self.0.tell();
        Ok(Response::new(after))
    }

    async fn report_observation(
        &self,
        request: Request<ReportObservationRequest>,
    ) -> Answer<ReportObservationResponse> {
        let request = request.into_inner();
        let stored = self.0.store().report_observation(&request);
        self.0.tell();
        stored.map(|()| Response::new(ReportObservationResponse {})).ok_or_else(|| conflict("no copy"))
    }

    async fn put_documents(&self, request: Request<PutDocumentsRequest>) -> Answer<PutDocumentsResponse> {
        let request = request.into_inner();
        let stored = self.0.store().put_documents(&request);
        stored.map(Response::new).ok_or_else(|| missing(&request.name))
    }

    async fn get_application_documents(
        &self,
        request: Request<GetApplicationDocumentsRequest>,
    ) -> Answer<GetApplicationDocumentsResponse> {
        let request = request.into_inner();
        self.0.journal.lock().unwrap().push(format!("read documents {}", request.name));
        let documents = self.0.store().documents.get(&(request.uid, request.sha256)).cloned();
        let documents = documents.ok_or_else(|| missing("documents"))?;
        Ok(Response::new(GetApplicationDocumentsResponse { documents }))
    }

    async fn retry_application(&self, _: Request<RetryApplicationRequest>) -> Answer<Application> {
        Err(not_served())
    }

    async fn create_application(&self, _: Request<CreateApplicationRequest>) -> Answer<Application> {
        Err(not_served())
    }

    async fn list_applications(
        &self,
        _: Request<ListApplicationsRequest>,
    ) -> Answer<ListApplicationsResponse> {
        Err(not_served())
    }

    async fn update_application(&self, _: Request<UpdateApplicationRequest>) -> Answer<Application> {
        Err(not_served())
    }

    async fn update_application_status(
        &self,
        _: Request<UpdateApplicationStatusRequest>,
    ) -> Answer<Application> {
        Err(not_served())
    }

    async fn delete_application(&self, _: Request<DeleteApplicationRequest>) -> Answer<Application> {
        Err(not_served())
    }

    async fn bind_application(&self, _: Request<BindApplicationRequest>) -> Answer<Application> {
        Err(not_served())
    }
}

#[tonic::async_trait]
impl ClusterService for Service {
    type WatchClustersStream = Messages<WatchClustersResponse>;

    async fn get_cluster(&self, request: Request<GetClusterRequest>) -> Answer<Cluster> {
        let name = request.into_inner().name;
        let found = self.0.store().clusters.get(&name).cloned();
        found.map(Response::new).ok_or_else(|| missing(&name))
    }

    async fn watch_clusters(&self, _: Request<WatchClustersRequest>) -> Answer<Self::WatchClustersStream> {
        let message = |store: &Store, events: Vec<(EventType, Cluster)>, synced| {
            let event = |(kind, object): (EventType, Cluster)| ClusterEvent {
                r#type: kind.into(),
                object: Some(object),
            };
            let events = events.into_iter().map(event).collect();
            let (resource_version, epoch) = (store.revision, store.epoch.clone());
            WatchClustersResponse { events, resource_version, epoch, synced, partial: false }
        };
        let initial = move |store: &Store| message(store, store.all(), true);
        Ok(Response::new(self.0.follow(initial, move |store, after| {
            let events = store.since(after);
            (store.revision > after).then(|| message(store, events, false))
        })))
    }

    async fn update_cluster_status(&self, request: Request<UpdateClusterStatusRequest>) -> Answer<Cluster> {
        let UpdateClusterStatusRequest { name, cluster, update_mask, .. } = request.into_inner();
        let (sent, paths) = (cluster.unwrap_or_default(), update_mask.unwrap_or_default().paths);
        let version = sent.metadata.unwrap_or_default().resource_version;
        let new = sent.status.unwrap_or_default();
        let after = {
            let mut store = self.0.store();
            let mut cluster = store.clusters.get(&name).cloned().ok_or_else(|| missing(&name))?;
            let present = cluster.metadata.clone().unwrap_or_default().resource_version;
            if version != 0 && version != present {
                return Err(conflict("the cluster changed"));
            }
            let status = cluster.status.get_or_insert_default();
            for path in paths {
                match path.as_str() {
                    "status.conditions" => {
                        status
                            .conditions
                            .retain(|old| new.conditions.iter().all(|new| new.r#type != old.r#type));
                        status.conditions.extend(new.conditions.iter().cloned());
                    }
                    "status.identity" => status.identity.clone_from(&new.identity),
                    "status.node_counts" => status.node_counts = new.node_counts,
                    "status.unreachable_since" => status.unreachable_since = new.unreachable_since,
                    "status.nodes" => status.nodes.clone_from(&new.nodes),
                    "status.kubernetes_version" => {
                        status.kubernetes_version.clone_from(&new.kubernetes_version)
                    }
                    "status.orphans" => status.orphans.clone_from(&new.orphans),
                    path => return Err(Status::invalid_argument(path.to_owned())),
                }
            }
            store.put(cluster)
        };
        self.0.tell();
        Ok(Response::new(after))
    }

    async fn create_cluster(&self, _: Request<CreateClusterRequest>) -> Answer<Cluster> {
        Err(not_served())
    }

    async fn list_clusters(&self, _: Request<ListClustersRequest>) -> Answer<ListClustersResponse> {
        Err(not_served())
    }

    async fn accept_cluster_identity(&self, _: Request<AcceptClusterIdentityRequest>) -> Answer<Cluster> {
        Err(not_served())
    }

    async fn declare_cluster_lost(&self, _: Request<DeclareClusterLostRequest>) -> Answer<Cluster> {
        Err(not_served())
    }

    async fn update_cluster(&self, _: Request<UpdateClusterRequest>) -> Answer<Cluster> {
        Err(not_served())
    }

    async fn delete_cluster(&self, _: Request<DeleteClusterRequest>) -> Answer<Cluster> {
        Err(not_served())
    }
}
