//! A Create that is repeated after a lost answer is answered as the first one was.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::uri::PathAndQuery;
use krake_client::{Api, CreateOptions};
use krake_proto::codec::RawCodec;
use krake_proto::krake::kubernetes::v1::{
    Application, GetApplicationRequest, ListApplicationsRequest, UpdateApplicationRequest,
    WatchApplicationsRequest, watch_applications_request,
};
use krake_proto::krake::meta::v1::ListObjectsRequest;
use krake_state::Authentication;
use prost::Message;
use tokio::time::timeout;
use tonic::client::Grpc;

use crate::support::server::{Server, application};
use crate::support::{PATIENCE, memory};

fn id(request_id: &str) -> CreateOptions {
    CreateOptions { request_id: request_id.into(), ..Default::default() }
}

async fn is_taken(api: &Api<Application>, object: &Application, options: &CreateOptions) -> bool {
    api.create_with(object, options).await.is_err_and(|error| error.is_already_exists())
}

#[tokio::test]
async fn a_repeated_create_returns_the_present_object_to_the_same_caller_for_the_same_body() {
    let store = memory();
    let server = Server::start(store.clone()).await;
    let api = server.client.api::<Application>();
    let first = api.create_with(&application("a"), &id("4b1d")).await.unwrap();
    assert_eq!(api.create_with(&application("a"), &id("4b1d")).await.unwrap(), first);
    assert_eq!(first.metadata.as_ref().unwrap().request_id, "4b1d");

    assert!(is_taken(&api, &application("a"), &id("other")).await);
    assert!(is_taken(&api, &application("a"), &id("")).await);
    let mut other = application("a");
    other.spec.as_mut().unwrap().backoff = Some(3);
    assert!(is_taken(&api, &other, &id("4b1d")).await, "another body");
    let alice = Authentication { static_user: Some("alice".into()), allow_anonymous: false };
    let alice = Server::start_for(store, alice).await;
    assert!(is_taken(&alice.client.api(), &application("a"), &id("4b1d")).await, "another caller");
}

#[tokio::test]
async fn objects_without_a_request_id_are_never_taken_for_a_repetition() {
    let server = Server::start(memory()).await;
    let api = server.client.api::<Application>();
    api.create(&application("a")).await.unwrap();
    assert!(is_taken(&api, &application("a"), &id("")).await);
    assert!(is_taken(&api, &application("a"), &id("4b1d")).await);
    for wrong in ["a b", &"x".repeat(65), "ä"] {
        let refused = api.create_with(&application("b"), &id(wrong)).await.unwrap_err();
        assert_eq!(refused.violations()[0].field, "request_id", "{wrong:?}");
    }
}

#[tokio::test]
async fn a_request_id_is_good_for_ten_minutes() {
    let seconds = Arc::new(AtomicU64::new(1_000_000));
    let clock = {
        let seconds = seconds.clone();
        Arc::new(move || SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.load(SeqCst)))
    };
    let server = Server::start_at(clock, memory()).await;
    let api = server.client.api::<Application>();
    api.create_with(&application("a"), &id("4b1d")).await.unwrap();
    seconds.fetch_add(600, SeqCst);
    api.create_with(&application("a"), &id("4b1d")).await.unwrap();
    seconds.fetch_add(1, SeqCst);
    assert!(is_taken(&api, &application("a"), &id("4b1d")).await);
}

/// How a digest is encoded: its number, its length, and hexadecimal digits.
fn holds_digest(bytes: &[u8]) -> bool {
    let is_digest = |window: &[u8]| {
        window.starts_with(&[0x8a, 0x01, 0x40]) && window[3..].iter().all(u8::is_ascii_hexdigit)
    };
    bytes.windows(67).any(is_digest)
}

#[tokio::test]
async fn the_digest_by_which_a_repetition_is_recognised_is_in_no_answer() {
    let store = memory();
    let server = Server::start(store.clone()).await;
    server.client.api::<Application>().create_with(&application("a"), &id("4b1d")).await.unwrap();
    let raw = store.get(&"/krake/kubernetes/applications/demo/a".into()).await.unwrap().unwrap();
    assert!(holds_digest(&raw.value));

    let get = GetApplicationRequest { namespace: "demo".into(), name: "a".into(), ..Default::default() };
    let list = ListApplicationsRequest { namespace: "demo".into(), ..Default::default() };
    let start = Some(watch_applications_request::Start::InitialState(true));
    let watch = WatchApplicationsRequest { namespace: "demo".into(), start, ..Default::default() };
    let again = UpdateApplicationRequest { application: Some(application("a")), ..Default::default() };
    let dry_run = UpdateApplicationRequest { validate_only: true, ..again.clone() };
    let objects = ListObjectsRequest::default();
    for (method, request) in [
        ("kubernetes.v1.ApplicationService/GetApplication", get.encode_to_vec()),
        ("kubernetes.v1.ApplicationService/ListApplications", list.encode_to_vec()),
        ("kubernetes.v1.ApplicationService/WatchApplications", watch.encode_to_vec()),
        ("kubernetes.v1.ApplicationService/UpdateApplication", again.encode_to_vec()),
        ("kubernetes.v1.ApplicationService/UpdateApplication", dry_run.encode_to_vec()),
        ("meta.v1.ObjectService/ListObjects", objects.encode_to_vec()),
    ] {
        let mut grpc = Grpc::new(server.client.transport());
        grpc.ready().await.unwrap();
        let path = format!("/krake.{method}").parse::<PathAndQuery>().unwrap();
        let request = tonic::Request::new(futures::stream::iter([Bytes::from(request)]));
        let mut answers = grpc.streaming(request, path, RawCodec).await.unwrap().into_inner();
        let answer = timeout(PATIENCE, answers.message()).await.unwrap().unwrap().unwrap();
        assert!(answer.windows(4).any(|window| window == b"4b1d"), "{method} shows the object");
        assert!(!holds_digest(&answer), "{method}");
    }
    server.client.api::<Application>().create_with(&application("a"), &id("4b1d")).await.unwrap();
}
