//! The peer: the least that a server over etcd can be. Bare tonic, one guarded transaction, and nothing else.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use anyhow::Result;
use bytes::Bytes;
use etcd_client::{Client, Compare, CompareOp, KvClient, Txn, TxnOp, WatchOptions};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use krake_proto::codec::RawCodec;
use krake_proto::envelope::CreateRequest;
use prost::Message;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::{Code, Status};

/// Answers nothing to anything.
pub(crate) const EMPTY: &str = "/peer.Peer/Empty";
/// Stores the object of a [`CreateRequest`] if its name is free, and answers it.
pub(crate) const CREATE: &str = "/peer.Peer/Create";

/// Below this the peer keeps what it is given.
const PREFIX: &str = "/peer/";

/// Options of the process.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to serve.
    #[arg(long)]
    listen: SocketAddr,
    /// Address of etcd.
    #[arg(long)]
    etcd: String,
    /// Follow all that is stored, as an API server with a cache must.
    #[arg(long)]
    watch: bool,
}

/// Serves until the process is killed.
pub(crate) async fn run(args: Args) -> Result<()> {
    let kv = Client::connect([&args.etcd], None).await?.kv_client();
    let server = Server::builder().add_service(Peer { kv }).serve(args.listen);
    if !args.watch {
        return Ok(server.await?);
    }
    // On a connection of its own, as Krake's: a watch that lags holds up everything beside it.
    let options = WatchOptions::new().with_prefix().with_prev_key();
    let mut changes = Client::connect([&args.etcd], None).await?.watch(PREFIX, Some(options)).await?;
    let follow = async move {
        while changes.message().await?.is_some() {}
        Ok(())
    };
    tokio::select! {
        ended = server => Ok(ended?),
        ended = follow => ended,
    }
}

#[derive(Clone)]
struct Peer {
    kv: KvClient,
}

impl NamedService for Peer {
    const NAME: &'static str = "peer.Peer";
}

impl tower::Service<Request<Body>> for Peer {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let kv = self.kv.clone();
        let mut grpc = Grpc::new(RawCodec);
        async move {
            Ok(match request.uri().path() {
                EMPTY => grpc.unary(Empty, request).await,
                CREATE => grpc.unary(Create { kv }, request).await,
                _ => Status::new(Code::Unimplemented, "").into_http(),
            })
        }
        .boxed()
    }
}

struct Empty;

impl UnaryService<Bytes> for Empty {
    type Response = Bytes;
    type Future = std::future::Ready<Result<tonic::Response<Bytes>, Status>>;

    fn call(&mut self, _: tonic::Request<Bytes>) -> Self::Future {
        std::future::ready(Ok(tonic::Response::new(Bytes::new())))
    }
}

struct Create {
    kv: KvClient,
}

impl UnaryService<Bytes> for Create {
    type Response = Bytes;
    type Future = BoxFuture<'static, Result<tonic::Response<Bytes>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        create(self.kv.clone(), request.into_inner()).boxed()
    }
}

async fn create(mut kv: KvClient, request: Bytes) -> Result<tonic::Response<Bytes>, Status> {
    let refused = |error: &dyn std::fmt::Display| Status::unavailable(error.to_string());
    let request = CreateRequest::decode(request).map_err(|error| refused(&error))?;
    let key = format!("{PREFIX}{}/{}", request.namespace, request.name);
    let answer = kv.txn(guarded_put(&key, &request.object)).await.map_err(|error| refused(&error))?;
    match answer.succeeded() {
        true => Ok(tonic::Response::new(request.object)),
        false => Err(Status::already_exists(request.name)),
    }
}

/// A put that is refused, with what is there, if the key exists.
pub(crate) fn guarded_put(key: &str, value: &[u8]) -> Txn {
    Txn::new()
        .when([Compare::create_revision(key, CompareOp::Equal, 0)])
        .and_then([TxnOp::put(key, value, None)])
        .or_else([TxnOp::get(key, None)])
}
