//! Answers that never end, stop, or are none of Kubernetes' own.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body as AnyBody;
use futures::{StreamExt, stream};
use http::StatusCode;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, WatchParams};

use super::*;
use crate::cluster::connection::Connection;
use crate::error::ClusterError;

/// A connection to a server that gives every request this answer.
fn answering(answer: impl Fn() -> Response<AnyBody> + Clone + Send + 'static) -> Connection {
    let service =
        tower::service_fn(move |_: Request<Body>| std::future::ready(Ok::<_, Infallible>(answer())));
    Connection::over(Client::new(service, "default"), "", "fake", Deadlines::default())
}

fn with(code: StatusCode, body: impl Into<AnyBody>) -> Response<AnyBody> {
    Response::builder().status(code).body(body.into()).unwrap()
}

/// A body without end, in frames of 64 KiB, which are counted.
fn endless(frames: Arc<AtomicUsize>) -> AnyBody {
    AnyBody::from_stream(stream::repeat_with(move || {
        frames.fetch_add(1, Ordering::Relaxed);
        Ok::<_, Infallible>(vec![b'x'; 1 << 16])
    }))
}

fn config_maps(connection: &Connection) -> Api<DynamicObject> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
    Api::all_with(connection.client().clone(), &kind)
}

async fn list(connection: &Connection) -> Result<(), ClusterError> {
    connection.call(config_maps(connection).list(&ListParams::default())).await.map(drop)
}

#[tokio::test]
async fn an_answer_without_end_costs_its_bound_and_ends_its_call() {
    let frames = Arc::new(AtomicUsize::new(0));
    let sent = frames.clone();
    let connection = answering(move || with(StatusCode::OK, endless(sent.clone())));
    let error = list(&connection).await.unwrap_err();
    assert!(error.to_string().ends_with("its answer is larger than 16 MiB"), "{error}");
    assert_eq!(frames.load(Ordering::Relaxed), 16 * 16 + 1);
}

#[tokio::test]
async fn of_large_answers_one_is_held_at_a_time() {
    let frames = Arc::new(AtomicUsize::new(0));
    let sent = frames.clone();
    // The body yields between its frames, so that all answers arrive side by side.
    let slow = move || {
        let frames = endless(sent.clone()).into_data_stream().then(|frame| async {
            tokio::task::yield_now().await;
            frame
        });
        with(StatusCode::OK, AnyBody::from_stream(frames))
    };
    let connection = answering(slow);
    let lists = futures::future::join_all((0..8).map(|_| list(&connection)));
    let mut lists = std::pin::pin!(lists);
    while frames.load(Ordering::Relaxed) < 16 * 16 {
        tokio::select! {
            biased;
            done = &mut lists => panic!("{} ended", done.len()),
            () = tokio::task::yield_now() => {}
        }
    }
    // Each of the other seven stopped one frame after it had become large.
    assert!(frames.load(Ordering::Relaxed) <= 16 * 16 + 7 * 17, "{}", frames.load(Ordering::Relaxed));
    assert!(lists.await.iter().all(Result::is_err));
}

#[tokio::test]
async fn a_line_of_a_watch_without_end_ends_the_watch() {
    let frames = Arc::new(AtomicUsize::new(0));
    let sent = frames.clone();
    let connection = answering(move || with(StatusCode::OK, endless(sent.clone())));
    let events = config_maps(&connection).watch(&WatchParams::default(), "0").await.unwrap();
    let error: ClusterError = std::pin::pin!(events).next().await.unwrap().unwrap_err().into();
    assert!(error.to_string().ends_with("one event of its watch is larger than 4 MiB"), "{error}");
    assert!(frames.load(Ordering::Relaxed) <= 4 * 16 + 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stops_is_given_up() {
    let begins = || stream::iter([Ok::<_, Infallible>("{")]).chain(stream::pending());
    let connection = answering(move || with(StatusCode::OK, AnyBody::from_stream(begins())));
    let error = list(&connection).await.unwrap_err();
    assert!(error.to_string().ends_with("its answer stopped for 10 s before it was complete"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_drips_is_given_up() {
    let drips = || {
        stream::repeat(()).then(|()| async {
            tokio::time::sleep(std::time::Duration::from_secs(5)).await;
            Ok::<_, Infallible>(" ")
        })
    };
    let connection = answering(move || with(StatusCode::OK, AnyBody::from_stream(drips())));
    // As a watch's first list, which no other deadline ends.
    let error: ClusterError = config_maps(&connection).list(&ListParams::default()).await.unwrap_err().into();
    assert!(error.to_string().ends_with("its answer was not complete within 60 s"), "{error}");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let connection = answering(|| {
        let mut answer = with(StatusCode::FOUND, "elsewhere");
        answer.headers_mut().insert("location", "http://169.254.169.254/".parse().unwrap());
        answer
    });
    let error = list(&connection).await.unwrap_err();
    assert!(error.to_string().contains("a redirect (HTTP 302), which Krake does not follow"), "{error}");
}

#[tokio::test]
async fn the_text_of_another_server_reaches_no_error() {
    for code in [400, 401, 403, 404, 409, 422, 429, 500, 502, 503] {
        let code = StatusCode::from_u16(code).unwrap();
        let connection = answering(move || with(code, "s3cret of another server"));
        let error = list(&connection).await.unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert!(error.to_string().contains(&format!("HTTP {} without a Kubernetes Status", code.as_u16())));
    }
    let connection = answering(|| with(StatusCode::OK, "s3cret of another server"));
    assert!(!list(&connection).await.unwrap_err().to_string().contains("s3cret"));
}

#[tokio::test]
async fn a_large_body_of_an_error_is_not_read_whole() {
    let frames = Arc::new(AtomicUsize::new(0));
    let sent = frames.clone();
    let connection = answering(move || with(StatusCode::INTERNAL_SERVER_ERROR, endless(sent.clone())));
    let error = list(&connection).await.unwrap_err();
    assert!(error.to_string().contains("HTTP 500 without a Kubernetes Status"), "{error}");
    assert!(frames.load(Ordering::Relaxed) <= 2);
}
