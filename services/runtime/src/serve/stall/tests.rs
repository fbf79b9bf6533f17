//! Answers that are not read, over HTTP/2. Time is virtual and there is no network.

use std::convert::Infallible;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tonic::body::Body as TonicBody;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tower::{Service, ServiceExt};

use super::super::answers::AnswerBudget;
use super::super::limits::ConnectionLimits;
use super::super::wire::Wire;
use super::super::{ServeOptions, Services, serve};
use crate::shutdown::Shutdown;

use super::*;

/// Size of an answer in bytes.
const SIZE: usize = 1 << 20;

/// Answers with much.
async fn big(request: axum::extract::Request) -> axum::response::Response {
    let memory = AnswerBudget::of(request.extensions()).try_reserve(SIZE).unwrap();
    let mut answer = axum::response::Response::new(axum::body::Body::from(vec![7; SIZE]));
    answer.extensions_mut().insert(memory);
    answer
}

/// The bytes that the caller's answers hold.
async fn held(request: axum::extract::Request) -> String {
    AnswerBudget::of(request.extensions()).held().to_string()
}

/// A connection to a server of these answers; its streams have a window of `window` bytes.
fn start(window: u32) -> Channel {
    let (network, listener) = Wire::new();
    let router =
        axum::Router::new().route("/big", axum::routing::any(big)).route("/held", axum::routing::any(held));
    let services = Services::new(Routes::from(router), &[]).unwrap();
    tokio::spawn(serve(listener, services, ServeOptions::default(), Shutdown::new()));
    let connector = tower::service_fn(move |_| {
        let network = network.clone();
        async move { Ok::<_, Infallible>(TokioIo::new(network.connect("10.0.0.1:1").await)) }
    });
    let endpoint = Endpoint::from_static("http://state").initial_stream_window_size(window);
    endpoint.connect_with_connector_lazy(connector)
}

async fn call(channel: &Channel, path: &str) -> Response<TonicBody> {
    let mut channel = channel.clone();
    let request = Request::post(path).body(TonicBody::empty()).unwrap();
    channel.ready().await.unwrap().call(request).await.unwrap()
}

async fn held_by(channel: &Channel) -> usize {
    let answer = call(channel, "/held").await.into_body().collect().await.unwrap().to_bytes();
    std::str::from_utf8(&answer).unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_read_is_dropped_and_its_memory_given_back() {
    let limit = ConnectionLimits::default().stall_timeout;
    // A window that takes a single byte, and one that takes nearly all: the rest waits in the connection.
    for window in [1, SIZE as u32 - 1] {
        let channel = start(window);
        let (begin, mut unread) = (Instant::now(), Vec::new());
        for _ in 0..3 {
            unread.push(call(&channel, "/big").await);
        }
        while window == 1 && begin.elapsed() < limit / 2 {
            assert_eq!(held_by(&channel).await, 3 * SIZE);
            tokio::time::advance(limit / 8).await;
        }
        while held_by(&channel).await > 0 {
            tokio::time::advance(Duration::from_secs(1)).await;
            assert!(begin.elapsed() < limit * 2, "window {window}: {}", held_by(&channel).await);
        }
        assert!(begin.elapsed() >= limit, "window {window}: {:?}", begin.elapsed());
        for answer in unread {
            assert!(answer.into_body().collect().await.is_err(), "it was cut off");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_read_slowly_comes_whole() {
    let limit = ConnectionLimits::default().stall_timeout;
    let channel = start(64 * 1024);
    let (begin, mut read) = (Instant::now(), 0);
    let mut body = call(&channel, "/big").await.into_body();
    let mut pause = 0;
    while let Some(frame) = body.frame().await {
        read += frame.unwrap().data_ref().map_or(0, Bytes::len);
        pause += 1;
        if pause % 8 == 0 {
            tokio::time::sleep(limit / 2).await;
        }
    }
    assert_eq!(read, SIZE);
    assert!(begin.elapsed() > limit * 2, "{:?}", begin.elapsed());
    while held_by(&channel).await > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_its_maker_keeps_waiting_is_not_dropped() {
    let limit = Duration::from_secs(60);
    let progress = Progress::new();
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let slow = async {
        let progress = PROGRESS.scope(progress.clone(), async { Progress::follow().unwrap() }).await;
        let mut parts = Parts::new(progress);
        let stream = futures::stream::once(async {
            receiver.await.unwrap();
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"late")))
        });
        let mut body = std::pin::pin!(http_body_util::StreamBody::new(stream));
        std::future::poll_fn(|context| parts.poll_frame(body.as_mut(), None, context)).await
    };
    let later = async {
        tokio::time::sleep(limit * 5).await;
        sender.send(()).unwrap();
    };
    tokio::select! {
        (frame, ()) = async { tokio::join!(slow, later) } => assert!(frame.is_some()),
        () = progress.stalled(limit) => panic!("nobody kept it waiting"),
    }
}
