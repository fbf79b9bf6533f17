//! What the HTTP listener promises, over real sockets.

use std::convert::Infallible;

use axum::body::Body;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;

/// Longest time that a test waits for something that must come. A machine that is busy with other work may be many times
/// slower than an idle one, so only a hang takes as long.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

pub(super) struct Served {
    pub(super) address: std::net::SocketAddr,
    pub(super) shutdown: Shutdown,
    task: JoinHandle<()>,
}

pub(super) async fn serve(options: HttpOptions) -> Served {
    let endless =
        || async { Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, Infallible>>()) };
    let router = Router::new().route("/", get(|| async { "hello" })).route("/endless", get(endless));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = Shutdown::new();
    let task = tokio::spawn(serve_http(listener, router, options, shutdown.clone()));
    Served { address, shutdown, task }
}

async fn ask(address: std::net::SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
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
    timeout(PATIENCE, served.task).await.unwrap().unwrap();
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0, "an idle connection is closed");
}

#[tokio::test]
async fn what_does_not_end_is_cut_after_the_drain() {
    let served = serve(HttpOptions { drain: Duration::from_millis(50), ..Default::default() }).await;
    let mut watcher = ask(served.address, "/endless").await;
    read_until(&mut watcher, "\r\n\r\n").await;
    served.shutdown.request();
    timeout(PATIENCE, served.task).await.unwrap().unwrap();
    let mut rest = Vec::new();
    let ended = timeout(PATIENCE, watcher.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection is closed");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let served = serve(HttpOptions { max_connections: 1, ..Default::default() }).await;
    let mut first = ask(served.address, "/").await;
    read_until(&mut first, "hello").await;
    let mut second = ask(served.address, "/").await;
    drop(first);
    read_until(&mut second, "hello").await;
    served.shutdown.request();
    timeout(PATIENCE, served.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn who_never_finishes_a_request_is_cut_off() {
    let served = serve(HttpOptions { head_timeout: Duration::from_millis(50), ..Default::default() }).await;
    for begun in ["", "GET / HTTP/1.1\r\nhost:"] {
        let mut slow = TcpStream::connect(served.address).await.unwrap();
        slow.write_all(begun.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        // Closed or reset, whichever: it ends.
        drop(timeout(PATIENCE, slow.read_to_end(&mut rest)).await.expect("the connection is closed"));
    }
    served.shutdown.request();
    timeout(PATIENCE, served.task).await.unwrap().unwrap();
}
