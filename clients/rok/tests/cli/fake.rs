//! A fake state service with one global metric, and `rok` run against it as a program.

use std::pin::Pin;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use krake_proto::error::{ErrorReason, status};
use krake_proto::krake::core::v1::metric_service_server::{MetricService, MetricServiceServer};
use krake_proto::krake::core::v1::*;
use krake_proto::krake::meta::v1::{EventType, Metadata};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Code, Request, Response, Status};

/// Longest time that a test waits for something that must come. A machine that is busy with other work may be many times
/// slower than an idle one, so only a hang takes as long.
pub(crate) const HANG_GUARD: Duration = Duration::from_secs(120);

/// What the server holds and has seen.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) metric: Metric,
    /// How many of the next updates meet somebody else's write.
    pub(crate) conflicts: u32,
    pub(crate) updates: Vec<UpdateMetricRequest>,
    pub(crate) deletes: Vec<DeleteMetricRequest>,
    pub(crate) trace_parents: Vec<String>,
    pub(crate) watches: Vec<WatchMetricsRequest>,
    /// Where the open watch listens.
    watch: Option<mpsc::Sender<Result<WatchMetricsResponse, Status>>>,
}

/// The server; it stops with the runtime of the test.
pub(crate) struct Fake {
    url: String,
    state: Arc<Mutex<State>>,
}

impl Fake {
    /// Starts one that holds this metric.
    pub(crate) async fn start(metric: Metric) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State { metric, ..State::default() }));
        let service = MetricServiceServer::new(Service(state.clone()));
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Fake { url, state }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// `rok` with these words, ready to run against the server.
    pub(crate) fn rok(&self, line: &str) -> Command {
        rok(&format!("{line} --api-url {}", self.url))
    }

    /// Ends the watch, once there is one, as a server that goes away does.
    pub(crate) async fn hang_up(&self) {
        drop(self.open_watch().await);
        self.state().watch = None;
    }

    /// Tells the watch of a change, once there is one.
    pub(crate) async fn tell(&self, kind: EventType, metric: Metric) {
        let resource_version = metric.metadata.clone().unwrap().resource_version;
        let events = vec![MetricEvent { r#type: kind.into(), object: Some(metric) }];
        let message =
            WatchMetricsResponse { events, resource_version, epoch: "e".into(), ..Default::default() };
        self.open_watch().await.send(Ok(message)).await.unwrap();
    }

    async fn open_watch(&self) -> mpsc::Sender<Result<WatchMetricsResponse, Status>> {
        let open = async {
            loop {
                let watch = self.state().watch.clone();
                match watch {
                    Some(watch) => return watch,
                    None => tokio::task::yield_now().await,
                }
            }
        };
        tokio::time::timeout(HANG_GUARD, open).await.expect("rok opens a watch")
    }
}

/// `rok` with these words, in a clean environment.
pub(crate) fn rok(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rok"));
    command.args(line.split_whitespace()).env_clear().current_dir(env!("CARGO_TARGET_TMPDIR"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end.
pub(crate) async fn run(mut command: Command) -> Output {
    let ended = tokio::task::spawn_blocking(move || command.output().unwrap());
    tokio::time::timeout(HANG_GUARD, ended).await.expect("rok ends").unwrap()
}

/// What was printed on one of the streams.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A metric with a version.
pub(crate) fn metric(version: i64, max: f64) -> Metric {
    let metadata = Metadata {
        name: "m".into(),
        uid: "u".into(),
        resource_version: version,
        finalizers: vec!["cascade_deletion".into()],
        ..Default::default()
    };
    let provider = MetricSource { name: "prom".into(), metric: "up".into() };
    let spec = MetricSpec { min: Some(0.0), max: Some(max), provider: Some(provider), ..Default::default() };
    Metric { metadata: Some(metadata), spec: Some(spec) }
}

struct Service(Arc<Mutex<State>>);

impl Service {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

#[tonic::async_trait]
impl MetricService for Service {
    type WatchMetricsStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<WatchMetricsResponse, Status>> + Send>>;

    async fn watch_metrics(
        &self,
        request: Request<WatchMetricsRequest>,
    ) -> Result<Response<Self::WatchMetricsStream>, Status> {
        let (sender, stream) = mpsc::channel(4);
        let mut state = self.state();
        state.watches.push(request.into_inner());
        state.watch = Some(sender);
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn get_metric(&self, request: Request<GetMetricRequest>) -> Result<Response<Metric>, Status> {
        let header = request.metadata().get("traceparent").map(|value| value.to_str().unwrap().to_owned());
        let mut state = self.state();
        state.trace_parents.extend(header);
        if request.get_ref().name != "m" {
            return Err(status(Code::NotFound, ErrorReason::NotFound, "GlobalMetric x does not exist"));
        }
        Ok(Response::new(state.metric.clone()))
    }

    async fn list_metrics(
        &self,
        _: Request<ListMetricsRequest>,
    ) -> Result<Response<ListMetricsResponse>, Status> {
        let metrics = vec![self.state().metric.clone()];
        let epoch = "e".to_owned();
        Ok(Response::new(ListMetricsResponse { metrics, resource_version: 7, epoch, ..Default::default() }))
    }

    async fn create_metric(&self, request: Request<CreateMetricRequest>) -> Result<Response<Metric>, Status> {
        Ok(Response::new(request.into_inner().metric.unwrap_or_default()))
    }

    async fn update_metric(&self, request: Request<UpdateMetricRequest>) -> Result<Response<Metric>, Status> {
        let mut state = self.state();
        let request = request.into_inner();
        state.updates.push(request.clone());
        if state.conflicts > 0 {
            state.conflicts -= 1;
            state.metric.metadata.get_or_insert_default().resource_version += 1;
            return Err(status(Code::Aborted, ErrorReason::Conflict, "somebody else was faster"));
        }
        Ok(Response::new(request.metric.unwrap_or_default()))
    }

    async fn delete_metric(&self, request: Request<DeleteMetricRequest>) -> Result<Response<Metric>, Status> {
        let mut state = self.state();
        state.deletes.push(request.into_inner());
        let mut metric = state.metric.clone();
        metric.metadata.get_or_insert_default().deleted = Some(prost_types::Timestamp::default());
        Ok(Response::new(metric))
    }
}
