//! Laws of answers that are not read: they hold bounded memory, and concern no other caller.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Body as Bytes;
use http::{Request, Response, header};
use krake_client::ListOptions;
use krake_proto::Resource;
use krake_proto::envelope::ListRequest;
use krake_proto::error::{self, ErrorReason};
use krake_proto::krake::kubernetes::v1::Application;
use krake_runtime::serve::{ConnectionLimits, ServeOptions};
use krake_state::Authentication;
use prost::Message;
use serde_json::json;
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower::{Service, ServiceExt};

use crate::support::server::{Server, application, document};
use crate::support::{PATIENCE, memory};

/// Room for answers to a peer, in bytes.
const ROOM: usize = 8 << 20;
/// Minimum size of the list, which fills a page, in bytes.
const PAGE: usize = 2 << 20;
/// Lists that the peer does not read, over some connections.
const LISTS: usize = 40;
const CONNECTIONS: usize = 4;
/// Objects of 60 kB in the list: larger manifests are not in lists.
const OBJECTS: usize = 40;

/// A server with a list that fills a page, and little room for answers.
async fn start() -> Server {
    let limits = ConnectionLimits {
        max_unread_bytes_per_peer: ROOM,
        room_timeout: Duration::from_millis(100),
        ..Default::default()
    };
    let anonymous = Authentication { allow_anonymous: true, static_user: None };
    let options = ServeOptions { limits, ..Default::default() };
    let server = Server::start_by(Arc::new(SystemTime::now), memory(), anonymous, options).await;
    let text = "x".repeat(60_000);
    let config_map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"text": text}});
    for index in 0..OBJECTS {
        let mut large = application(&format!("a{index}"));
        large.spec.as_mut().unwrap().manifest[0].document = document(config_map.clone());
        server.client.api::<Application>().create(&large).await.unwrap();
    }
    server
}

/// A connection of another peer, whose streams take a single byte that is not read.
async fn connect(server: &Server) -> Channel {
    let endpoint = Endpoint::from_shared(server.url.clone()).unwrap();
    let endpoint = endpoint.local_address(Some([127, 0, 0, 2].into())).initial_stream_window_size(1);
    endpoint.connect().await.unwrap()
}

/// The head of the answer to a list; its body is not read.
async fn list(mut channel: Channel) -> Result<Response<Body>, Status> {
    let message = ListRequest { namespace: "demo".into(), ..Default::default() }.encode_to_vec();
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend(message);
    let path = format!("/{}/ListApplications", Application::KIND.service);
    let request = Request::post(path)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Body::new(Bytes::from(framed)))
        .unwrap();
    let answer = channel.ready().await.unwrap().call(request).await.unwrap();
    match Status::from_header_map(answer.headers()) {
        Some(status) => Err(status),
        None => Ok(answer),
    }
}

#[tokio::test]
async fn unread_lists_hold_bounded_memory_and_hold_up_no_other_peer() {
    let server = start().await;
    let mut unread = Vec::new();
    for _ in 0..CONNECTIONS {
        let channel = connect(&server).await;
        let lists = (0..LISTS / CONNECTIONS).map(|_| list(channel.clone()));
        unread.extend(futures::future::join_all(lists).await);
    }
    let answered = unread.iter().filter(|answer| answer.is_ok()).count();
    assert!((1..=ROOM / PAGE).contains(&answered), "{answered}");
    for refused in unread.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(error::reason(refused), Some(ErrorReason::TooManyCalls), "{refused}");
    }
    let other = server.client.api::<Application>().list("demo", &ListOptions::default()).await;
    assert_eq!(other.unwrap().items.len(), OBJECTS, "another peer reads all pages");
    // A peer that ends its calls has room again, as soon as the server learns of it.
    drop(unread);
    let channel = connect(&server).await;
    timeout(PATIENCE, async { while list(channel.clone()).await.is_err() {} }).await.unwrap();
}
