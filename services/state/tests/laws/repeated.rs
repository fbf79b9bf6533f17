//! A Create that is repeated after a lost answer is answered as the first one was.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, SystemTime};

use krake_client::{Api, CreateOptions};
use krake_proto::krake::kubernetes::v1::Application;
use krake_state::Authentication;

use crate::support::memory;
use crate::support::server::{Server, application};

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
