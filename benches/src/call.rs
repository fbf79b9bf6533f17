//! gRPC calls with encoded messages, so that a client costs the same whatever it calls.

use std::time::Duration;

use anyhow::{Context, Result};
use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use prost::Message;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

const CONNECT: Duration = Duration::from_secs(5);
/// Pages of a list are larger than tonic's own limit.
const MESSAGE_LIMIT: usize = 16 << 20;

/// Passes messages through as they are.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        // No bytes are a message too: an empty one.
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// Some connections to one server.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    channels: Vec<Channel>,
}

impl Connections {
    /// Makes them.
    pub(crate) async fn open(url: &str, count: usize) -> Result<Self> {
        let mut channels = Vec::with_capacity(count);
        for _ in 0..count {
            let endpoint = Endpoint::from_shared(url.to_owned())?.connect_timeout(CONNECT);
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
