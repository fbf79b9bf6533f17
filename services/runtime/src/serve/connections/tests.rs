//! What peers that are slow, silent or many can do to a gRPC listener. Time is virtual and there is no network.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use krake_proto::error::{self, ErrorReason};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::super::wire::{self, Wire};
use super::super::{ServeOptions, Services, serve};
use super::*;
use crate::metrics::Metrics;
use crate::tls::TlsArgs;
use crate::tls::tests::Pki;

/// HTTP/2's opening and an empty SETTINGS frame.
const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const HERE: &str = "10.0.0.1:1";
const THERE: &str = "10.0.0.2:1";

/// A running listener, which ends with the test's runtime.
fn start(options: ServeOptions) -> Wire {
    let (network, listener) = Wire::new();
    let services = Services::new(Routes::default(), &[]).unwrap();
    tokio::spawn(serve(listener, services, options, Shutdown::new()));
    network
}

/// The value of this metric of the gRPC listener.
fn measured(metrics: &Metrics, name: &str) -> u64 {
    let text = metrics.encode().unwrap();
    let start = format!("krake_{name}{{listener=\"grpc\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&start));
    value.unwrap_or_else(|| panic!("{name} is missing in {text}")).parse().unwrap()
}

fn limited(change: impl FnOnce(&mut ConnectionLimits)) -> ServeOptions {
    let mut options = ServeOptions::default();
    change(&mut options.limits);
    options
}

/// A client as the SDK makes it, and how many connections it has opened.
fn channel(network: &Wire, from: &'static str) -> (Channel, Arc<AtomicUsize>) {
    let (network, opened) = (network.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = opened.clone();
    let connector = tower::service_fn(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        let network = network.clone();
        async move { Ok::<_, Infallible>(TokioIo::new(network.connect(from).await)) }
    });
    let endpoint = Endpoint::from_static("http://state")
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true);
    (endpoint.connect_with_connector_lazy(connector), opened)
}

async fn is_served(channel: &Channel) -> bool {
    let call = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await;
    call.map_err(|status| eprintln!("{status}")).is_ok()
}

#[tokio::test(start_paused = true)]
async fn silent_connections_are_closed_all_of_them() {
    let network = start(ServeOptions::default());
    let limit = ConnectionLimits::default().opening_timeout;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(network.connect(HERE).await);
    }
    for closed in futures::future::join_all(silent.into_iter().map(wire::closed_after)).await {
        assert_eq!(closed, limit);
    }
}

#[tokio::test(start_paused = true)]
async fn half_an_opening_is_as_good_as_none() {
    let network = start(ServeOptions::default());
    let limit = ConnectionLimits::default().opening_timeout;
    for length in [1, 10, 23] {
        let mut client = network.connect(HERE).await;
        client.write_all(&OPENING[..length]).await.unwrap();
        assert_eq!(wire::closed_after(client).await, limit, "{length} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_takes_too_long_is_given_up() {
    let pki = Pki::new();
    let tls = pki.server_args().resolve(TlsArgs::default()).unwrap();
    let network = start(ServeOptions { tls, ..Default::default() });
    let limit = ConnectionLimits::default().opening_timeout;
    // Nothing, and the begin of a record of 512 bytes.
    for begun in [&[][..], &[0x16, 3, 1, 2, 0, 1]] {
        let mut client = network.connect(HERE).await;
        client.write_all(begun).await.unwrap();
        assert_eq!(wire::closed_after(client).await, limit, "{begun:?}");
    }
}

/// Writes `bytes` again and again, one each second, until the connection is closed; how long that took.
async fn drip(client: DuplexStream, bytes: &[u8]) -> Duration {
    let started = Instant::now();
    let (mut reader, mut writer) = tokio::io::split(client);
    let write = async {
        for byte in bytes.iter().cycle() {
            if writer.write_u8(*byte).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let mut rest = Vec::new();
    tokio::select! {
        _ = reader.read_to_end(&mut rest) => {}
        () = write => {}
    }
    started.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_ends_its_headers_is_disconnected() {
    let network = start(ServeOptions::default());
    let limits = ConnectionLimits::default();
    let mut client = network.connect(HERE).await;
    client.write_all(OPENING).await.unwrap();
    // A HEADERS frame of 16,384 bytes on stream 1 that is not the last of its headers.
    client.write_all(&[0, 0x40, 0, 1, 0, 0, 0, 0, 1]).await.unwrap();
    let closed = drip(client, &[0]).await;
    assert!(closed <= limits.keep_alive_interval + limits.keep_alive_timeout * 2, "{closed:?}");
}

#[tokio::test(start_paused = true)]
async fn headers_beyond_the_limit_are_refused_and_the_connection_goes_on() {
    let network = start(ServeOptions::default());
    let (channel, opened) = channel(&network, HERE);
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    request.metadata_mut().insert("x-long", "x".repeat(20_000).parse().unwrap());
    HealthClient::new(channel.clone()).check(request).await.unwrap_err();
    assert!(is_served(&channel).await);
    assert_eq!(opened.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_and_its_client_notices_nothing() {
    let network = start(ServeOptions::default());
    let limit = ConnectionLimits::default().idle_timeout;
    let (channel, opened) = channel(&network, HERE);
    for connections in 1..4 {
        assert!(is_served(&channel).await);
        tokio::time::sleep(limit - Duration::from_secs(30)).await;
        assert!(is_served(&channel).await);
        assert_eq!(opened.load(Ordering::SeqCst), connections, "still open");
        tokio::time::sleep(limit + Duration::from_secs(30)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_an_open_stream_is_not_idle() {
    let network = start(ServeOptions::default());
    let limit = ConnectionLimits::default().idle_timeout;
    let (channel, opened) = channel(&network, HERE);
    let watch = HealthClient::new(channel.clone()).watch(HealthCheckRequest::default()).await;
    let mut watch = watch.unwrap().into_inner();
    watch.next().await.unwrap().unwrap();
    tokio::select! {
        ended = watch.next() => panic!("{ended:?}"),
        () = tokio::time::sleep(limit * 4) => {}
    }
    assert!(is_served(&channel).await);
    assert_eq!(opened.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_flood_from_one_peer_leaves_places_for_others() {
    let options = limited(|limits| {
        (limits.max_connections, limits.max_connections_per_peer) = (16, 4);
    });
    let metrics = options.metrics.clone();
    let network = start(options);
    let mut flood = Vec::new();
    for _ in 0..200 {
        flood.push(network.connect(HERE).await);
    }
    let started = Instant::now();
    assert!(is_served(&channel(&network, THERE).0).await);
    assert_eq!(started.elapsed(), Duration::ZERO, "without waiting for any time-out");
    let shown = ["connections_limit", "connections_refused_total", "connections_accepted_total"];
    assert_eq!(shown.map(|name| measured(&metrics, name)), [16, 196, 5]);
    assert!((4..=5).contains(&measured(&metrics, "connections")));
    let closed = futures::future::join_all(flood.into_iter().map(wire::closed_after)).await;
    assert_eq!(closed.iter().filter(|closed| closed.is_zero()).count(), 196, "those beyond the limit");
    assert!(is_served(&channel(&network, HERE).0).await, "the flood is over");
    let none_left = async {
        while measured(&metrics, "connections") > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(Duration::from_secs(60), none_left).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn when_every_place_is_taken_the_silent_make_room() {
    let network = start(limited(|limits| limits.max_connections = 4));
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(network.connect(THERE).await);
    }
    assert!(is_served(&channel(&network, HERE).0).await);
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_a_peers_limit_are_refused_whatever_the_connection() {
    let options = limited(|limits| limits.max_calls_per_peer = 2);
    let metrics = options.metrics.clone();
    let network = start(options);
    let mut open = Vec::new();
    for _ in 0..2 {
        let (channel, _) = channel(&network, HERE);
        let watch = HealthClient::new(channel).watch(HealthCheckRequest::default()).await;
        open.push(watch.unwrap().into_inner());
    }
    let (channel_here, _) = channel(&network, HERE);
    let refused = HealthClient::new(channel_here.clone()).check(HealthCheckRequest::default()).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    assert_eq!(error::reason(&refused), Some(ErrorReason::TooManyCalls));
    assert_eq!(measured(&metrics, "calls_refused_total"), 1);
    assert!(is_served(&channel(&network, THERE).0).await, "others are not concerned");
    open.pop();
    // The server learns of the end of the watch a little later.
    timeout(Duration::from_secs(60), async { while !is_served(&channel_here).await {} }).await.unwrap();
}
