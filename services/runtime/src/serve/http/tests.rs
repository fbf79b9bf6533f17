//! What the HTTP listener promises, over real sockets.

use std::convert::Infallible;

use axum::body::Body;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::super::wire::{self, Wire};
use super::*;

/// Longest time that a test waits for something that must come. A machine that is busy with other work may be many
/// times slower than an idle one, so only a hang takes as long.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

pub(super) struct Served {
    pub(super) address: std::net::SocketAddr,
    pub(super) shutdown: Shutdown,
    task: JoinHandle<io::Result<()>>,
}

fn router() -> Router {
    let endless =
        || async { Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, Infallible>>()) };
    Router::new().route("/", get(|| async { "hello" })).route("/endless", get(endless))
}

/// The defaults with other limits.
fn limited(change: impl FnOnce(&mut ConnectionLimits)) -> HttpOptions {
    let mut options = HttpOptions::default();
    change(&mut options.limits);
    options
}

pub(super) async fn serve(options: HttpOptions) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = Shutdown::new();
    let task = tokio::spawn(serve_http(listener, router(), options, shutdown.clone()));
    Served { address, shutdown, task }
}

async fn ask(address: std::net::SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Reads until `part` has come.
async fn read_until(stream: &mut TcpStream, part: &str) {
    let read = async {
        let mut text = Vec::new();
        while !String::from_utf8_lossy(&text).contains(part) {
            text.push(stream.read_u8().await.unwrap());
        }
    };
    timeout(PATIENCE, read).await.unwrap();
}

#[tokio::test]
async fn answers_and_ends_in_order() {
    let served = serve(HttpOptions::default()).await;
    let mut idle = ask(served.address, "/").await;
    read_until(&mut idle, "hello").await;
    served.shutdown.request();
    timeout(PATIENCE, served.task).await.unwrap().unwrap().unwrap();
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0, "an idle connection is closed");
}

#[tokio::test]
async fn what_does_not_end_is_cut_after_the_drain() {
    let served = serve(limited(|limits| limits.drain = Duration::from_millis(50))).await;
    let mut watcher = ask(served.address, "/endless").await;
    read_until(&mut watcher, "\r\n\r\n").await;
    served.shutdown.request();
    timeout(PATIENCE, served.task).await.unwrap().unwrap().unwrap();
    let mut rest = Vec::new();
    let ended = timeout(PATIENCE, watcher.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection is closed");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let served = serve(limited(|limits| limits.max_connections = 1)).await;
    let mut first = ask(served.address, "/").await;
    read_until(&mut first, "hello").await;
    let mut second = ask(served.address, "/").await;
    drop(first);
    read_until(&mut second, "hello").await;
    served.shutdown.request();
    timeout(PATIENCE, served.task).await.unwrap().unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_never_finishes_a_head_is_cut_off() {
    let (network, listener) = Wire::new();
    let options = HttpOptions::default();
    tokio::spawn(serve_http(listener, router(), options.clone(), Shutdown::new()));
    let (opening, head) = (options.limits.opening_timeout, options.head_timeout);
    assert!((10..=30).contains(&head.as_secs()), "slow heads hold places no longer than that");
    for (begun, limit) in [("", opening), ("PRI", opening), ("GET / HTTP/1.1\r\nhost:", head)] {
        let mut slow = network.connect("10.0.0.1:1").await;
        slow.write_all(begun.as_bytes()).await.unwrap();
        assert_eq!(wire::closed_after(slow).await, limit, "{begun:?}");
    }
    let (mut reader, mut writer) = tokio::io::split(network.connect("10.0.0.1:1").await);
    let started = Instant::now();
    let drip = async {
        writer.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        while writer.write_all(b"a: b\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    };
    let mut rest = Vec::new();
    tokio::select! {
        // Closed or reset, whichever: it ends.
        _ = reader.read_to_end(&mut rest) => {}
        () = drip => {}
    }
    assert!(started.elapsed() <= head + Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_name_of_a_web_page_is_not_served_on_loopback() {
    let served = serve(HttpOptions::default()).await;
    for (headers, expected) in [
        ("host: localhost\r\n", "200"),
        ("host: 127.0.0.1:8080\r\n", "200"),
        ("host: evil.example\r\norigin: http://evil.example\r\n", "421"),
        ("host: evil.example\r\n", "421"),
        ("host: localhost\r\nx-forwarded-host: evil.example\r\n", "200"),
        ("host: evil.example\r\nx-forwarded-host: localhost\r\n", "421"),
        ("host: localhost\r\norigin: http://evil.example\r\n", "403"),
    ] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let request = format!("GET / HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{headers:?}: {answer}");
        assert_eq!(answer.ends_with("hello"), expected == "200", "{answer}");
    }
    served.shutdown.request();
}
