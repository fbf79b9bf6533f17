//! A fake API server for the controllers' tests: a few kinds in memory, over a connection in memory.
//!
//! It is not the real one. It keeps the preconditions of the writes that the scheduler makes, their effect on status,
//! and the watch; it checks nothing else and derives nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use futures::stream::BoxStream;
use hyper_util::rt::TokioIo;
use krake_client::Client;
use krake_proto::Resource;
use krake_proto::envelope::{Event, UpdateStatusRequest, WatchRequest, WatchResponse};
use krake_proto::krake::kubernetes::v1::{Application, BindApplicationRequest, Cluster};
use krake_proto::krake::meta::v1::{CheckTombstonesRequest, CheckTombstonesResponse, EventType, View};
use tokio::sync::mpsc;
use tonic::Status;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::transport::{Endpoint, Server};
use tonic_prost::ProstCodec;

use crate::controller::Clock;

mod state;

pub(super) use state::{Behaviour, Write};
use state::{State, Watcher, conflict};

/// The fake. Clones share everything.
#[derive(Clone)]
pub(super) struct FakeApi {
    state: Arc<Mutex<State>>,
    clock: Clock,
}

impl FakeApi {
    /// An empty one. It needs a Tokio runtime.
    pub(super) fn new(clock: Clock) -> Self {
        FakeApi { state: Arc::default(), clock }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A client of this server.
    pub(super) fn client(&self) -> Client {
        let (connections, accepted) = mpsc::unbounded_channel();
        let accepted = futures::stream::unfold(accepted, |mut accepted| async move {
            Some((Ok::<_, std::io::Error>(accepted.recv().await?), accepted))
        });
        let api = self.clone();
        let router = axum::Router::new().fallback(move |request: Request| {
            let api = api.clone();
            async move { api.serve(request).await }
        });
        let routes = tonic::service::Routes::from(router);
        tokio::spawn(Server::builder().add_routes(routes).serve_with_incoming(accepted));
        let connector = tower::service_fn(move |_| {
            let (ours, theirs) = tokio::io::duplex(1 << 20);
            let sent = connections.send(theirs).map_err(std::io::Error::other);
            async move { sent.map(|()| TokioIo::new(ours)) }
        });
        let channel = Endpoint::from_static("http://fake").connect_with_connector_lazy(connector);
        Client::from_channel(channel, "the fake API", Duration::from_secs(30))
    }

    /// Changes the behaviour from now on.
    pub(super) fn behave(&self, behaviour: Behaviour) {
        self.lock().settings = behaviour;
    }

    /// What was written since the last question.
    pub(super) fn writes(&self) -> Vec<Write> {
        std::mem::take(&mut self.lock().writes)
    }

    /// The services whose objects were watched, and in which views.
    pub(super) fn views(&self) -> BTreeSet<(&'static str, View)> {
        self.lock().views.clone()
    }

    /// The most writes that were under way at the same time.
    pub(super) fn peak(&self) -> usize {
        self.lock().peak
    }

    /// Creates or replaces an object, as a user or another controller would.
    pub(super) fn put<K: Resource>(&self, object: K) -> K {
        self.lock().put(object, EventType::Modified)
    }

    /// Changes an object, as a user or another controller would.
    pub(super) fn change<K: Resource>(&self, name: &str, change: impl FnOnce(&mut K)) -> K {
        let mut object: K = self.get(name);
        change(&mut object);
        self.put(object)
    }

    /// Erases a cluster, with a tombstone.
    pub(super) fn erase(&self, name: &str) {
        let mut state = self.lock();
        let cluster: Cluster = state.get("ns", name).unwrap();
        state.erased.insert(cluster.metadata.clone().unwrap_or_default().uid);
        let service = Cluster::KIND.service;
        state.put(cluster, EventType::Deleted);
        state.objects.remove(&(service, "ns".to_owned(), name.to_owned()));
    }

    /// An object of the namespace "ns".
    pub(super) fn get<K: Resource>(&self, name: &str) -> K {
        self.lock().get("ns", name).unwrap()
    }

    /// All objects of a kind.
    pub(super) fn all<K: Resource>(&self) -> Vec<K> {
        let state = self.lock();
        let objects = state.objects.iter().filter(|((service, ..), _)| *service == K::KIND.service);
        objects.map(|(_, encoded)| K::decode(encoded.as_slice()).unwrap()).collect()
    }

    async fn serve(self, request: Request) -> Response {
        let path = request.uri().path().to_owned();
        let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
        let service: &'static str = service.to_owned().leak();
        let request = request.map(Body::new);
        match method {
            watch if watch.starts_with("Watch") => {
                let handler = tower::service_fn(move |request: tonic::Request<WatchRequest>| {
                    let stream = self.watch(service, request.into_inner());
                    async move { Ok::<_, Status>(tonic::Response::new(stream)) }
                });
                let mut grpc = Grpc::new(ProstCodec::<WatchResponse, WatchRequest>::default());
                grpc.server_streaming(handler, request).await.into_response()
            }
            "CheckTombstones" => {
                let handler = tower::service_fn(move |request: tonic::Request<CheckTombstonesRequest>| {
                    let asked = request.into_inner().uids;
                    let erased = asked.into_iter().filter(|uid| self.lock().erased.contains(uid)).collect();
                    let answer = CheckTombstonesResponse { erased };
                    async move { Ok::<_, Status>(tonic::Response::new(answer)) }
                });
                let mut grpc =
                    Grpc::new(ProstCodec::<CheckTombstonesResponse, CheckTombstonesRequest>::default());
                grpc.unary(handler, request).await.into_response()
            }
            "BindApplication" => {
                let handler = tower::service_fn(move |request: tonic::Request<BindApplicationRequest>| {
                    let (api, request) = (self.clone(), request.into_inner());
                    async move {
                        let what = format!("Bind {}", request.name);
                        api.write(what, |state, now| state.bind(request, now)).await
                    }
                });
                let mut grpc = Grpc::new(ProstCodec::<Application, BindApplicationRequest>::default());
                grpc.unary(handler, request).await.into_response()
            }
            "UpdateApplicationStatus" => {
                let handler = tower::service_fn(move |request: tonic::Request<UpdateStatusRequest>| {
                    let (api, request) = (self.clone(), request.into_inner());
                    async move {
                        let what = format!("Status {}", request.name);
                        api.write(what, |state, now| state.application_status(&request, now)).await
                    }
                });
                let mut grpc = Grpc::new(ProstCodec::<Application, UpdateStatusRequest>::default());
                grpc.unary(handler, request).await.into_response()
            }
            "UpdateClusterStatus" => {
                let handler = tower::service_fn(move |request: tonic::Request<UpdateStatusRequest>| {
                    let (api, request) = (self.clone(), request.into_inner());
                    async move {
                        let what = format!("Status {}", request.name);
                        api.write(what, |state, now| state.cluster_status(&request, now)).await
                    }
                });
                let mut grpc = Grpc::new(ProstCodec::<Cluster, UpdateStatusRequest>::default());
                grpc.unary(handler, request).await.into_response()
            }
            _ => Status::unimplemented(path).into_http::<Body>().into_response(),
        }
    }

    async fn write<A>(
        &self,
        what: String,
        write: impl FnOnce(&mut State, prost_types::Timestamp) -> Result<A, Status>,
    ) -> Result<tonic::Response<A>, Status> {
        let takes = {
            let mut state = self.lock();
            state.in_flight += 1;
            state.peak = state.peak.max(state.in_flight);
            state.settings.write_takes
        };
        tokio::time::sleep(takes).await;
        let now = (self.clock)();
        let mut state = self.lock();
        state.in_flight -= 1;
        state.writes.push(Write { second: now.as_second(), what });
        if state.settings.conflicts > 0 {
            state.settings.conflicts -= 1;
            return Err(conflict("as the test wants"));
        }
        let now = prost_types::Timestamp { seconds: now.as_second(), nanos: now.subsec_nanosecond() };
        write(&mut state, now).map(tonic::Response::new)
    }

    fn watch(
        &self,
        service: &'static str,
        request: WatchRequest,
    ) -> BoxStream<'static, Result<WatchResponse, Status>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut state = self.lock();
        state.views.insert((service, request.view()));
        let watcher = Watcher { service, namespace: request.namespace, sender };
        let objects = state.objects.iter().filter(|((of, namespace, _), _)| watcher.sees(of, namespace));
        let added =
            |object: &Vec<u8>| Event { r#type: EventType::Added.into(), object: object.clone().into() };
        let initial = WatchResponse {
            events: objects.map(|(_, object)| added(object)).collect(),
            resource_version: state.revision,
            epoch: "epoch".to_owned(),
            synced: true,
            partial: false,
        };
        state.watchers.push(watcher);
        let changes = futures::stream::unfold(receiver, |mut receiver| async move {
            let (time, change) = receiver.recv().await?;
            tokio::time::sleep_until(time).await;
            Some((Ok(change), receiver))
        });
        futures::stream::iter([Ok(initial)]).chain(changes).boxed()
    }
}
