//! A FAKE state service: real gRPC over a real socket, whose calls each test answers by hand.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::serve::ListenerExt;
use bytes::{BufMut, Bytes, BytesMut};
use futures::channel::mpsc;
use futures::stream;
use http::{HeaderMap, Response, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use krake_client::{Client, ConnectOptions};
use krake_proto::envelope::{Event, WatchResponse};
use krake_proto::krake::core::v1::Metric;
use krake_proto::krake::meta::v1::{EventType, Metadata};
use krake_runtime::serve::AnswerBudget;
use krake_runtime::shutdown::Shutdown;
use prost::Message;
use serde_json::Value;
use tokio::sync::{mpsc as calls, oneshot};
use tokio::task::JoinHandle;
use tonic::Status;
use tower::ServiceExt;

use crate::Options;
use crate::gateway::Gateway;

/// Maximum wait for what must come.
const HANG_GUARD: Duration = Duration::from_secs(180);
/// History of the fake store.
pub(crate) const EPOCH: &str = "e";

/// The state service with a gateway in front of it. Both end with the test's runtime.
pub(crate) struct FakeState {
    router: Router,
    connections: Arc<AtomicUsize>,
    incoming: calls::UnboundedReceiver<Call>,
    /// Calls that came before the test waited for them.
    waiting: Vec<Call>,
    pub(crate) shutdown: Shutdown,
}

/// A call of the gateway that waits for its answer.
pub(crate) struct Call {
    method: String,
    pub(crate) metadata: HeaderMap,
    request: Bytes,
    answer: oneshot::Sender<Response<Body>>,
}

/// The open answer of a watch.
pub(crate) struct Messages(mpsc::UnboundedSender<io::Result<Frame<Bytes>>>);

/// What the gateway answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// The lines of a watch over REST, which are read whether or not the test waits for one.
pub(crate) struct Lines(calls::UnboundedReceiver<String>);

impl FakeState {
    pub(crate) async fn start() -> Self {
        Self::behind(Options::default()).await
    }

    /// Behind a gateway with these options.
    pub(crate) async fn behind(options: Options) -> Self {
        Self::connected(options, |_| {}).await
    }

    /// Behind a gateway that gives a connection up for an answer with far more bytes of headers than this.
    pub(crate) async fn with_max_header_bytes(bytes: u32) -> Self {
        Self::connected(Options::default(), |client| client.max_header_bytes = bytes).await
    }

    async fn connected(options: Options, change: impl FnOnce(&mut ConnectOptions)) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = ConnectOptions::new(format!("http://{}", listener.local_addr().unwrap()));
        // Both ends share a thread, so a busy machine delays the answers to pings too.
        client.keep_alive_timeout = HANG_GUARD;
        change(&mut client);
        let client = Client::new(&client).unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        let listener = listener.tap_io(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let (sender, incoming) = calls::unbounded_channel();
        let handler = move |request: Request| answered_by_test(request, sender.clone());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await });
        let shutdown = Shutdown::new();
        let router = Gateway::router(&client, options, shutdown.clone());
        FakeState { router, connections, incoming, waiting: Vec::new(), shutdown }
    }

    /// Number of connections that the gateway has opened so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Begins a `GET` at the gateway; it goes on while the test does other things.
    pub(crate) fn get(&self, uri: &str) -> JoinHandle<Answer> {
        self.send(request(uri))
    }

    /// Begins a `GET` of a peer with this room for answers; the test reads the body, if at all.
    pub(crate) fn get_within(&self, budget: &AnswerBudget, uri: &str) -> JoinHandle<Response<Body>> {
        let mut request = request(uri);
        request.extensions_mut().insert(budget.clone());
        let response = self.router.clone().oneshot(request);
        tokio::spawn(async move { within(response).await.unwrap() })
    }

    /// Begins a request at the gateway; it goes on while the test does other things.
    pub(crate) fn send(&self, request: Request) -> JoinHandle<Answer> {
        let response = self.router.clone().oneshot(request);
        tokio::spawn(async move {
            let (parts, body) = within(response).await.unwrap().into_parts();
            let body = within(body.collect()).await.unwrap().to_bytes();
            let (status, headers) = (parts.status.as_u16(), parts.headers);
            Answer { status, headers, body: serde_json::from_slice(&body).unwrap_or_default() }
        })
    }

    /// The answer to a request whose calls `answer` gets one after the other.
    pub(crate) async fn answered_by(
        &mut self,
        mut request: JoinHandle<Answer>,
        mut answer: impl FnMut(Call),
    ) -> Answer {
        loop {
            tokio::select! {
                answered = &mut request => return answered.unwrap(),
                Some(call) = self.incoming.recv() => answer(call),
            }
        }
    }

    /// Whether a call of the method has come that the test has not waited for.
    pub(crate) fn was_called(&mut self, method: &str) -> bool {
        while let Ok(call) = self.incoming.try_recv() {
            self.waiting.push(call);
        }
        self.waiting.iter().any(|call| call.method == method)
    }

    /// Opens a watch over REST at `revision`.
    pub(crate) async fn watch(&mut self, uri: &str, revision: i64) -> (Lines, Messages) {
        let (response, messages) = self.unread_watch(uri, revision).await;
        let (sender, lines) = calls::unbounded_channel();
        tokio::spawn(read_lines(response.into_body(), sender));
        (Lines(lines), messages)
    }

    /// Opens a watch over REST at `revision`, whose lines are read by the test, if at all.
    pub(crate) async fn unread_watch(&mut self, uri: &str, revision: i64) -> (Response<Body>, Messages) {
        let response = tokio::spawn(self.router.clone().oneshot(request(uri)));
        let messages = self.call("WatchMetrics").await.stream();
        messages.send(&changes(&[], revision));
        let response = within(response).await.unwrap().unwrap();
        assert_eq!(response.status(), 200);
        (response, messages)
    }

    /// The next call of a method.
    pub(crate) async fn call(&mut self, method: &str) -> Call {
        loop {
            if let Some(place) = self.waiting.iter().position(|call| call.method == method) {
                return self.waiting.remove(place);
            }
            let call = within(self.incoming.recv()).await.unwrap();
            self.waiting.push(call);
        }
    }
}

impl Call {
    pub(crate) fn method(&self) -> &str {
        &self.method
    }

    pub(crate) fn request<M: Message + Default>(&self) -> M {
        M::decode(self.request.clone()).unwrap()
    }

    pub(crate) fn answer(self, message: &impl Message) {
        self.answer_with(message, HeaderMap::new(), HeaderMap::new());
    }

    /// Answers with more headers before and after the message.
    pub(crate) fn answer_with(self, message: &impl Message, headers: HeaderMap, trailers: HeaderMap) {
        let mut last = headers_of(&Status::new(tonic::Code::Ok, ""));
        last.extend(trailers);
        let frames = [Frame::data(framed(message)), Frame::trailers(last)];
        let mut response = grpc(StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>))));
        response.headers_mut().extend(headers);
        // The caller may have left.
        let _ = self.answer.send(response);
    }

    pub(crate) fn refuse(self, status: &Status) {
        self.refuse_with(status, HeaderMap::new());
    }

    /// Refuses with more headers beside the status.
    pub(crate) fn refuse_with(self, status: &Status, headers: HeaderMap) {
        let mut response = grpc(Body::empty());
        response.headers_mut().extend(headers_of(status));
        response.headers_mut().extend(headers);
        let _ = self.answer.send(response);
    }

    /// Answers with messages that come later.
    pub(crate) fn stream(self) -> Messages {
        let (sender, frames) = mpsc::unbounded();
        let _ = self.answer.send(grpc(StreamBody::new(frames)));
        Messages(sender)
    }
}

impl Messages {
    pub(crate) fn send(&self, message: &WatchResponse) {
        self.0.unbounded_send(Ok(Frame::data(framed(message)))).unwrap();
    }

    /// Ends the stream without a status, as a connection that breaks.
    pub(crate) fn break_off(self) {
        self.0.unbounded_send(Err(io::Error::other("broken"))).unwrap();
    }

    pub(crate) fn refuse(self, status: &Status) {
        self.0.unbounded_send(Ok(Frame::trailers(headers_of(status)))).unwrap();
    }
}

impl Lines {
    /// The next line; `None` at the end of the answer.
    pub(crate) async fn line(&mut self) -> Option<String> {
        within(self.0.recv()).await
    }

    /// The next line that is no heartbeat.
    pub(crate) async fn event(&mut self) -> Option<Value> {
        loop {
            match self.line().await {
                Some(line) if line.is_empty() => {}
                line => return line.map(|line| serde_json::from_str(&line).unwrap()),
            }
        }
    }

    /// The names in the next events.
    pub(crate) async fn names<const N: usize>(&mut self) -> [String; N] {
        let mut names = [const { String::new() }; N];
        for name in &mut names {
            let event = self.event().await.expect("the watch goes on");
            *name = event["object"]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        }
        names
    }

    /// The status in the last line, see [`Lines::last`].
    pub(crate) async fn error(self) -> u64 {
        self.last().await["object"]["status"].as_u64().unwrap()
    }

    /// The last line, which must be of the type ERROR; the answer ends after it.
    pub(crate) async fn last(mut self) -> Value {
        let last = self.event().await.expect("a last line");
        assert_eq!(last["type"], "ERROR", "{last}");
        assert!(last["object"]["type"].is_string() && last["object"]["detail"].is_string(), "{last}");
        assert_eq!(self.line().await, None, "nothing follows");
        last
    }
}

/// A stored metric.
pub(crate) fn metric(name: &str, revision: i64) -> Metric {
    let metadata = Metadata {
        name: name.to_owned(),
        namespace: "demo".to_owned(),
        uid: name.to_owned(),
        resource_version: revision,
        ..Default::default()
    };
    Metric { metadata: Some(metadata), spec: None }
}

/// A message of a watch that adds metrics at a revision.
pub(crate) fn changes(names: &[&str], revision: i64) -> WatchResponse {
    let event = |name: &&str| {
        let object = metric(name, revision).encode_to_vec().into();
        Event { r#type: EventType::Added.into(), object }
    };
    let events = names.iter().map(event).collect();
    WatchResponse { events, resource_version: revision, epoch: EPOCH.to_owned(), ..Default::default() }
}

/// Fails the test instead of waiting for ever.
async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(HANG_GUARD, future).await.expect("it comes")
}

fn request(uri: &str) -> Request {
    Request::get(uri).body(Body::empty()).unwrap()
}

async fn read_lines(mut body: Body, lines: calls::UnboundedSender<String>) {
    let mut buffer = String::new();
    while let Some(frame) = body.frame().await {
        let data = frame.expect("the answer is not cut off").into_data().expect("no trailers");
        buffer.push_str(std::str::from_utf8(&data).unwrap());
        while let Some((line, rest)) = buffer.split_once('\n') {
            // The test may not care for the rest.
            let _ = lines.send(line.to_owned());
            buffer = rest.to_owned();
        }
    }
}

async fn answered_by_test(request: Request, tests: calls::UnboundedSender<Call>) -> Response<Body> {
    let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let metadata = request.headers().clone();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let (answer, answered) = oneshot::channel();
    // Without the prefix of the message: a flag and the length.
    tests.send(Call { method, metadata, request: body.slice(5..), answer }).unwrap_or_default();
    answered.await.unwrap_or_else(|_| grpc(Body::empty()))
}

fn headers_of(status: &Status) -> HeaderMap {
    let mut headers = HeaderMap::new();
    status.add_header(&mut headers).unwrap();
    headers
}

fn framed(message: &impl Message) -> Bytes {
    let encoded = message.encode_to_vec();
    let mut out = BytesMut::new();
    out.put_u8(0);
    out.put_u32(u32::try_from(encoded.len()).unwrap());
    out.put_slice(&encoded);
    out.freeze()
}

fn grpc<B>(body: B) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    Response::builder().header(header::CONTENT_TYPE, "application/grpc").body(Body::new(body)).unwrap()
}
