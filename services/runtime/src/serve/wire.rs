//! A listener without a network, for tests whose time is virtual.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use super::Listener;

/// The clients' end.
#[derive(Clone, Debug)]
pub(super) struct Wire(mpsc::Sender<(DuplexStream, SocketAddr)>);

/// The server's end.
#[derive(Debug)]
pub(super) struct WireListener(Mutex<mpsc::Receiver<(DuplexStream, SocketAddr)>>);

impl Wire {
    /// Both ends. The server's has an address of the network, not of the loopback interface.
    pub(super) fn new() -> (Self, WireListener) {
        let (sender, receiver) = mpsc::channel(1024);
        (Wire(sender), WireListener(Mutex::new(receiver)))
    }

    /// A connection from this address; it may still wait to be accepted.
    pub(super) async fn connect(&self, from: &str) -> DuplexStream {
        let (client, server) = tokio::io::duplex(64 * 1024);
        self.0.send((server, from.parse().unwrap())).await.unwrap();
        client
    }
}

impl Listener for WireListener {
    type Stream = DuplexStream;

    async fn accept(&self) -> io::Result<(DuplexStream, SocketAddr)> {
        match self.0.lock().await.recv().await {
            Some(accepted) => Ok(accepted),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(([10, 0, 0, 254], 7700)))
    }
}

/// How long it takes until the server closes a connection on which nothing more is sent.
pub(super) async fn closed_after(mut client: DuplexStream) -> Duration {
    let started = Instant::now();
    let mut rest = Vec::new();
    // Closed or reset, whichever: it ends.
    let _ = client.read_to_end(&mut rest).await;
    started.elapsed()
}
