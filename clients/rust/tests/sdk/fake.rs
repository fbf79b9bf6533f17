//! A fake state service: real gRPC over a real socket, but every answer comes from the test. It stores nothing.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::Stream;
use krake_client::{Client, ConnectOptions};
use krake_proto::error::{ErrorReason, status};
use krake_proto::krake::core::v1::metric_service_server::{MetricService, MetricServiceServer};
use krake_proto::krake::core::v1::*;
use krake_proto::krake::meta::v1::{EventType, Metadata};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};

/// Longest time that a test waits for something that must come. A machine that is busy with other work may be many times
/// slower than an idle one, so only a hang takes as long.
pub(crate) const HANG_GUARD: Duration = Duration::from_secs(120);

/// One Watch call, as the server sees it. Dropping it ends the stream without an error.
pub(crate) struct WatchCall {
    pub(crate) request: WatchMetricsRequest,
    answers: mpsc::Sender<Result<WatchMetricsResponse, Status>>,
}

impl WatchCall {
    pub(crate) async fn send(&self, message: WatchMetricsResponse) {
        tokio::time::timeout(HANG_GUARD, self.answers.send(Ok(message))).await.unwrap().unwrap();
    }

    pub(crate) async fn fail(self, status: Status) {
        tokio::time::timeout(HANG_GUARD, self.answers.send(Err(status))).await.unwrap().unwrap();
    }

    /// Whether the message fits into what the network and the buffers still take.
    pub(crate) async fn takes(&self, message: WatchMetricsResponse, within: Duration) -> bool {
        tokio::time::timeout(within, self.answers.send(Ok(message))).await.is_ok()
    }
}

/// The server; it stops when dropped.
pub(crate) struct Fake {
    pub(crate) client: Client,
    /// Where it listens.
    pub(crate) address: std::net::SocketAddr,
    watches: mpsc::Receiver<WatchCall>,
    seen: Arc<Mutex<Option<MetadataMap>>>,
    /// One permit per answer to GetMetric.
    pub(crate) answers: Arc<Semaphore>,
    _stop: DropGuard,
}

impl Fake {
    pub(crate) async fn start() -> Fake {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut ConnectOptions)) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut options = ConnectOptions::new(format!("http://{address}"));
        change(&mut options);
        let (calls, watches) = mpsc::channel(8);
        let seen = Arc::new(Mutex::new(None));
        let answers = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let service = Service { calls, seen: seen.clone(), answers: answers.clone() };
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(MetricServiceServer::new(service))
                .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopped),
        );
        Fake {
            client: Client::new(&options).unwrap(),
            address,
            watches,
            seen,
            answers,
            _stop: stop.drop_guard(),
        }
    }

    /// The next Watch call that arrives.
    pub(crate) async fn watch(&mut self) -> WatchCall {
        tokio::time::timeout(HANG_GUARD, self.watches.recv()).await.unwrap().unwrap()
    }

    /// A header of the last GetMetric call.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let seen = self.seen.lock().unwrap();
        seen.as_ref().and_then(|seen| seen.get(name)).map(|value| value.to_str().unwrap().to_owned())
    }
}

/// A metric with a version; its uid follows from its name.
pub(crate) fn metric(name: &str, version: i64) -> Metric {
    let metadata = Metadata {
        name: name.into(),
        uid: format!("uid-{name}"),
        resource_version: version,
        ..Default::default()
    };
    Metric { metadata: Some(metadata), ..Default::default() }
}

pub(crate) fn message(changes: &[(EventType, &str, i64)], resource_version: i64) -> WatchMetricsResponse {
    let event = |(r#type, name, version): &(EventType, &str, i64)| MetricEvent {
        r#type: (*r#type).into(),
        object: Some(metric(name, *version)),
    };
    WatchMetricsResponse {
        events: changes.iter().map(event).collect(),
        resource_version,
        epoch: "e1".into(),
        ..Default::default()
    }
}

pub(crate) fn synced(objects: &[(&str, i64)], resource_version: i64) -> WatchMetricsResponse {
    let changes: Vec<_> = objects.iter().map(|(name, version)| (EventType::Added, *name, *version)).collect();
    WatchMetricsResponse { synced: true, ..message(&changes, resource_version) }
}

pub(crate) fn compacted() -> Status {
    status(Code::OutOfRange, ErrorReason::RevisionCompacted, "revision 1 is compacted")
}

struct Service {
    calls: mpsc::Sender<WatchCall>,
    seen: Arc<Mutex<Option<MetadataMap>>>,
    answers: Arc<Semaphore>,
}

#[tonic::async_trait]
impl MetricService for Service {
    type WatchMetricsStream = Pin<Box<dyn Stream<Item = Result<WatchMetricsResponse, Status>> + Send>>;

    async fn watch_metrics(
        &self,
        request: Request<WatchMetricsRequest>,
    ) -> Result<Response<Self::WatchMetricsStream>, Status> {
        let (answers, stream) = mpsc::channel(1);
        let call = WatchCall { request: request.into_inner(), answers };
        self.calls.send(call).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn get_metric(&self, request: Request<GetMetricRequest>) -> Result<Response<Metric>, Status> {
        *self.seen.lock().unwrap() = Some(request.metadata().clone());
        self.answers.acquire().await.unwrap().forget();
        let request = request.into_inner();
        if request.name == "missing" {
            return Err(status(Code::NotFound, ErrorReason::NotFound, "metric \"missing\" does not exist"));
        }
        Ok(Response::new(metric(&request.name, 7)))
    }

    /// Two pages; the second is compacted away when asked for with the label selector `compacted`.
    async fn list_metrics(
        &self,
        request: Request<ListMetricsRequest>,
    ) -> Result<Response<ListMetricsResponse>, Status> {
        let request = request.into_inner();
        let (metrics, next_page_token) = match request.page_token.as_str() {
            "" => (vec![metric("a", 3), metric("b", 4)], "two".to_owned()),
            _ if request.label_selector == "compacted" => return Err(compacted()),
            _ => (vec![metric("c", 5)], String::new()),
        };
        let response =
            ListMetricsResponse { metrics, next_page_token, resource_version: 9, epoch: "e1".into() };
        Ok(Response::new(response))
    }

    /// Answers with the object, and the request's other fields as labels.
    async fn create_metric(&self, request: Request<CreateMetricRequest>) -> Result<Response<Metric>, Status> {
        let request = request.into_inner();
        let mut metric = request.metric.unwrap_or_default();
        let labels = &mut metric.metadata.get_or_insert_default().labels;
        labels.insert("address".into(), format!("{}/{}", request.namespace, request.name));
        Ok(Response::new(metric))
    }

    /// Answers with the object, and the mask as a label.
    async fn update_metric(&self, request: Request<UpdateMetricRequest>) -> Result<Response<Metric>, Status> {
        let request = request.into_inner();
        let mut metric = request.metric.unwrap_or_default();
        let labels = &mut metric.metadata.get_or_insert_default().labels;
        let mask = request.update_mask.map_or("none".to_owned(), |mask| mask.paths.join(","));
        labels.insert("mask".into(), mask);
        labels.insert("address".into(), format!("{}/{}", request.namespace, request.name));
        Ok(Response::new(metric))
    }

    async fn delete_metric(&self, request: Request<DeleteMetricRequest>) -> Result<Response<Metric>, Status> {
        let request = request.into_inner();
        let mut deleted = metric(&request.name, request.resource_version);
        let labels = &mut deleted.metadata.get_or_insert_default().labels;
        labels.insert("flags".into(), format!("{} {}", request.cascade, request.force));
        Ok(Response::new(deleted))
    }
}
