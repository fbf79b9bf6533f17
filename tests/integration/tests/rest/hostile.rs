//! Callers that behave badly on the connection itself cost themselves, and nobody else.

use krake_integration::wait::HANG_GUARD;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::behaviour::metric;
use crate::world::World;

const METRICS: &str = "/core/namespaces/demo/metrics";

#[tokio::test]
async fn huge_headers_are_refused() {
    let mut world = World::start().await;
    let request =
        format!("GET {METRICS} HTTP/1.1\r\nhost: localhost\r\nx-long: {}\r\n\r\n", "x".repeat(2 << 20));
    let answer = world.raw(request.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    world.get(METRICS).await.ok();
    world.unharmed().await;
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let mut world = World::start().await;
    let answer = world.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    world.get(METRICS).await.ok();
    world.unharmed().await;
}

/// Opens a connection, sends the beginning of a request, then a byte now and then; true if the server ends it.
async fn ends(world: &World, beginning: &str) -> bool {
    let mut stream = TcpStream::connect(&world.gateway).await.unwrap();
    stream.write_all(beginning.as_bytes()).await.unwrap();
    let drip = async {
        let mut buffer = [0; 1024];
        loop {
            match tokio::time::timeout(Duration::from_secs(1), stream.read(&mut buffer)).await {
                Ok(Ok(0) | Err(_)) => return,
                Ok(Ok(_)) => {}
                Err(_) => {
                    if stream.write_all(b"x").await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(180), drip).await.is_ok()
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_is_given_up() {
    let mut world = World::start().await;
    let head = format!("POST {METRICS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
    assert!(ends(&world, &format!("{head}content-length: 1000000\r\n\r\n{{")).await, "it goes on for ever");
    assert_eq!(world.stored().await, 0);
    world.post(METRICS, &metric("m", 1.0)).await.ok();
    world.unharmed().await;
}

#[tokio::test]
async fn watches_that_are_cut_leave_nothing_behind() {
    let mut world = World::start().await;
    for _ in 0..3 {
        let open = (0..50).map(async |_| {
            let mut stream = TcpStream::connect(&world.gateway).await.unwrap();
            let request = format!("GET {METRICS}?watch HTTP/1.1\r\nhost: localhost\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut head = [0; 12];
            let read = tokio::time::timeout(HANG_GUARD, stream.read_exact(&mut head)).await;
            read.expect("the watch begins").unwrap();
            assert_eq!(&head, b"HTTP/1.1 200");
            stream
        });
        let streams = futures::future::join_all(open).await;
        world.post(METRICS, &metric("m", 1.0)).await.ok();
        drop(streams);
        world.delete(&format!("{METRICS}/m?force=True")).await.ok();
        assert_eq!(world.stored().await, 0);
    }
    world.unharmed().await;
}

#[tokio::test]
async fn a_caller_that_leaves_early_leaves_no_half_write() {
    let mut world = World::start().await;
    let body = metric("m", 1.0).to_string();
    let head =
        format!("POST {METRICS} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut stream = TcpStream::connect(&world.gateway).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body.as_bytes()[..body.len() / 2]).await.unwrap();
    drop(stream);
    world.get(METRICS).await.ok();
    assert_eq!(world.stored().await, 0);
    world.unharmed().await;
}
