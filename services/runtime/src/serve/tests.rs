//! Laws of a listener, over real sockets.

use std::convert::Infallible;

use ::http::Request;
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus as Answer;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1, v1alpha};

use super::*;

/// Longest time that a test waits for something that must come. A machine that is busy with other work may be many times
/// slower than an idle one, so only a hang takes as long.
const PATIENCE: Duration = Duration::from_secs(120);

struct Running {
    address: SocketAddr,
    health: Health,
    shutdown: Shutdown,
    server: JoinHandle<Result<(), ServeError>>,
}

async fn start(options: ServeOptions) -> Running {
    let listener = bind("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
    let address = listener.local_addr().unwrap();
    let services = Services::new(Routes::default(), &[]).unwrap();
    let (health, shutdown) = (services.health(), Shutdown::new());
    let server = tokio::spawn(serve(listener, services, options, shutdown.clone()));
    Running { address, health, shutdown, server }
}

impl Running {
    async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    /// Requests the end and says how long it took.
    async fn stop(self) -> Duration {
        let asked = Instant::now();
        self.shutdown.request();
        timeout(PATIENCE, self.server).await.expect("ends").unwrap().unwrap();
        asked.elapsed()
    }
}

async fn status(channel: &Channel) -> Answer {
    let answer = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
    answer.into_inner().status()
}

#[tokio::test]
async fn health_follows_its_handle() {
    // Longer than the guard: the end of a server that has nothing to do does not wait for it.
    let running = start(ServeOptions {
        limits: ConnectionLimits { drain: PATIENCE * 2, ..Default::default() },
        ..Default::default()
    })
    .await;
    let channel = running.channel().await;
    assert_eq!(status(&channel).await, Answer::Serving);
    running.health.set_serving(false).await;
    assert_eq!(status(&channel).await, Answer::NotServing);
    drop(channel);
    running.stop().await;
}

#[tokio::test]
async fn reflection_lists_the_services_in_both_versions() {
    let running = start(ServeOptions::default()).await;
    let channel = running.channel().await;

    use v1::server_reflection_request::MessageRequest;
    use v1::server_reflection_response::MessageResponse;
    let ask = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let mut answers = client.server_reflection_info(futures::stream::iter([ask])).await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
    assert!(list.service.iter().any(|service| service.name == "grpc.health.v1.Health"), "{list:?}");

    use v1alpha::server_reflection_request::MessageRequest as OldRequest;
    use v1alpha::server_reflection_response::MessageResponse as OldResponse;
    let ask = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(OldRequest::FileContainingSymbol("grpc.health.v1.Health".into())),
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let mut answers = client.server_reflection_info(futures::stream::iter([ask])).await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response;
    assert!(matches!(answer, Some(OldResponse::FileDescriptorResponse(_))), "{answer:?}");
    running.server.abort();
}

#[test]
fn bytes_that_are_no_descriptor_set_are_refused() {
    let error = Services::new(Routes::default(), &[&[0xff; 8]]).unwrap_err();
    assert!(matches!(error, ServeError::Descriptors(_)), "{error:?}");
}

#[tokio::test]
async fn shutdown_ends_within_its_limit_and_cuts_a_stream_that_stays_open() {
    let drain = Duration::from_millis(300);
    let limits = ConnectionLimits { drain, ..Default::default() };
    let running = start(ServeOptions { limits, ..Default::default() }).await;
    let channel = running.channel().await;
    let mut watch =
        HealthClient::new(channel).watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.next().await.unwrap().unwrap().status(), Answer::Serving);
    // A peer that connected and never said a word must not hold up the end either.
    let _silent = TcpStream::connect(running.address).await.unwrap();

    let took = running.stop().await;
    assert!(took >= drain, "{took:?}");
    assert_eq!(watch.next().await.unwrap().unwrap().status(), Answer::NotServing, "told before it was cut");
    let end = timeout(PATIENCE, watch.next()).await.expect("cut");
    assert!(end.is_none_or(|answer| answer.is_err()));
}

#[tokio::test]
async fn a_call_under_way_has_its_span_and_is_answered_before_the_end() {
    let _default = tracing::subscriber::set_default(tracing_subscriber::registry());
    let (entered, mut waiting) = tokio::sync::mpsc::channel(1);
    let shutdown = Shutdown::new();
    let asked = shutdown.clone();
    let slow = tower::service_fn(move |_: Request<axum::body::Body>| {
        let (entered, asked) = (entered.clone(), asked.clone());
        async move {
            let span = tracing::Span::current().metadata().map(|span| span.name());
            entered.send(span).await.unwrap();
            asked.requested().await;
            Ok::<_, Infallible>(tonic::Status::already_exists("late, but told").into_http::<Body>())
        }
    });
    let mut routes = Routes::default();
    let router = std::mem::take(routes.axum_router_mut());
    *routes.axum_router_mut() = router.route_service("/demo.Slow/{*rest}", slow);
    let listener = bind("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let services = Services::new(routes, &[]).unwrap();
    let server = tokio::spawn(serve(listener, services, ServeOptions::default(), shutdown.clone()));

    let mut channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
    let call = tokio::spawn(async move {
        let request = Request::post("/demo.Slow/Call").body(Body::empty()).unwrap();
        tower::ServiceExt::ready(&mut channel).await.unwrap();
        tower::Service::call(&mut channel, request).await.unwrap()
    });
    assert_eq!(waiting.recv().await.unwrap(), Some("rpc"));
    shutdown.request();
    assert_eq!(call.await.unwrap().headers()["grpc-status"], "6");
    timeout(PATIENCE, server).await.expect("ends").unwrap().unwrap();
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_disconnected() {
    let quick = Duration::from_millis(100);
    let limits =
        ConnectionLimits { keep_alive_interval: quick, keep_alive_timeout: quick, ..Default::default() };
    let running = start(ServeOptions { limits, ..Default::default() }).await;
    let mut peer = TcpStream::connect(running.address).await.unwrap();
    // HTTP/2's opening and an empty SETTINGS frame, then silence.
    peer.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut received = Vec::new();
    let read = timeout(PATIENCE, peer.read_to_end(&mut received)).await.expect("disconnected");
    assert!(read.is_ok() || !received.is_empty());
    running.server.abort();
}

#[test]
fn only_loopback_or_tls_is_not_exposed() {
    for (address, tls, exposed) in [
        ("127.0.0.1:1", false, false),
        ("[::1]:1", false, false),
        ("[::ffff:127.0.0.1]:1", false, false),
        ("0.0.0.0:1", false, true),
        ("[::]:1", false, true),
        ("10.0.0.7:1", false, true),
        ("0.0.0.0:1", true, false),
    ] {
        assert_eq!(is_exposed(address.parse().unwrap(), tls), exposed, "{address}");
    }
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let first = bind("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
    let address = first.local_addr().unwrap();
    let error = bind(address, false).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {address}"));
}

#[tokio::test]
async fn a_name_of_a_web_page_is_not_served_on_loopback() {
    let running = start(ServeOptions::default()).await;
    let ask = async |name: &str| {
        let origin = format!("http://{name}").parse().unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", running.address)).unwrap().origin(origin);
        let channel = endpoint.connect().await.unwrap();
        HealthClient::new(channel).check(HealthCheckRequest::default()).await
    };
    for name in ["localhost:7700", "127.0.0.1", "krake.localhost"] {
        ask(name).await.unwrap();
    }
    let refused = ask("evil.example").await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused}");
    assert!(refused.message().contains("--allowed-host"), "{refused}");
    running.server.abort();
}

#[tokio::test]
async fn requests_know_their_peer() {
    let (told, mut heard) = tokio::sync::mpsc::channel(1);
    let service = tower::service_fn(move |request: Request<axum::body::Body>| {
        let told = told.clone();
        async move {
            told.send(request.extensions().get::<Arc<Peer>>().cloned()).await.unwrap();
            Ok::<_, Infallible>(tonic::Status::ok("").into_http::<Body>())
        }
    });
    let routes = Routes::from(axum::Router::new().route_service("/demo.Peer/Tell", service));
    let listener = bind("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (services, shutdown) = (Services::new(routes, &[]).unwrap(), Shutdown::new());
    tokio::spawn(serve(listener, services, ServeOptions::default(), shutdown.clone()));
    let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
    let request = Request::post("/demo.Peer/Tell").body(Body::empty()).unwrap();
    tower::ServiceExt::oneshot(channel, request).await.unwrap();
    let peer = heard.recv().await.unwrap().expect("there is a peer");
    assert!(peer.address.ip().is_loopback() && peer.certificate.is_none(), "{peer:?}");
    shutdown.request();
}

#[tokio::test]
async fn the_kernel_holds_little_of_what_a_peer_has_not_read() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = bind(address.parse().unwrap(), false).await.unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let accepted = TcpSocket::from_std_stream(accepted.into_std().unwrap());
        // Linux sets twice the size, for what it keeps beside the bytes, and no more than the machine allows.
        assert!(accepted.send_buffer_size().unwrap() <= 2 * SEND_BUFFER, "{address}");
    }
}
