//! gRPC calls with encoded messages, so that a client costs the same whatever it calls.

use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::uri::PathAndQuery;
use krake_proto::codec::RawCodec;
use prost::Message;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};

const CONNECT: Duration = Duration::from_secs(5);
/// Pages of a list are larger than tonic's own limit.
const MESSAGE_LIMIT: usize = 16 << 20;
/// Bytes that HTTP/2 lets be sent before anything is read, unless the reader says otherwise.
const WINDOW: u32 = 65_535;

/// Some connections to one server.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    channels: Vec<Channel>,
}

impl Connections {
    /// Makes them.
    pub(crate) async fn open(url: &str, count: usize) -> Result<Self> {
        Self::open_with(url, count, |endpoint| endpoint).await
    }

    /// Makes connections on which the server may send only 64 KiB that are not read, as HTTP/2 has it where the client
    /// says nothing. Ours otherwise take some megabytes.
    pub(crate) async fn open_narrow(url: &str, count: usize) -> Result<Self> {
        let narrow = |endpoint: Endpoint| {
            endpoint.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW)
        };
        Self::open_with(url, count, narrow).await
    }

    async fn open_with(url: &str, count: usize, settings: impl Fn(Endpoint) -> Endpoint) -> Result<Self> {
        let mut channels = Vec::with_capacity(count);
        for _ in 0..count {
            let endpoint = settings(Endpoint::from_shared(url.to_owned())?.connect_timeout(CONNECT));
            channels.push(endpoint.connect().await.with_context(|| format!("connecting to {url}"))?);
        }
        Ok(Self { channels })
    }

    /// Calls a method on the connection that the client `number` uses.
    pub(crate) async fn unary(
        &self,
        number: usize,
        path: &'static str,
        request: &impl Message,
    ) -> Result<Bytes> {
        let mut grpc = self.ready(number).await?;
        let request = Request::new(Bytes::from(request.encode_to_vec()));
        let answer = grpc.unary(request, PathAndQuery::from_static(path), RawCodec).await;
        Ok(answer.context(path)?.into_inner())
    }

    /// Opens a stream on the connection that the client `number` uses.
    pub(crate) async fn stream(
        &self,
        number: usize,
        path: &'static str,
        request: &impl Message,
    ) -> Result<Streaming<Bytes>> {
        let mut grpc = self.ready(number).await?;
        let request = Request::new(Bytes::from(request.encode_to_vec()));
        let answer = grpc.server_streaming(request, PathAndQuery::from_static(path), RawCodec).await;
        Ok(answer.context(path)?.into_inner())
    }

    async fn ready(&self, number: usize) -> Result<Grpc<Channel>> {
        let channel = self.channels[number % self.channels.len()].clone();
        let mut grpc = Grpc::new(channel).max_decoding_message_size(MESSAGE_LIMIT);
        grpc.ready().await.context("the connection is lost")?;
        Ok(grpc)
    }
}
