//! One service per kind over the raw codec: the method's name chooses the handler, the kind is data.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use http::{Request, Response};
use krake_proto::Kind;
use krake_proto::POOL;
use krake_proto::codec::RawCodec;
use krake_proto::envelope::{
    CreateRequest, DeleteRequest, GetRequest, ListRequest, UpdateRequest, UpdateStatusRequest, WatchRequest,
};
use krake_proto::error::{self, ErrorReason, Violation};
use krake_runtime::serve::AnswerBudget;
use prost::Message as _;
use prost_reflect::{MessageDescriptor, MethodDescriptor};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::{Grpc, ServerStreamingService, UnaryService};
use tonic::{Code, Status};

use super::large::{LargeRequests, MAX_LARGE_REQUEST};
use super::pipeline::Authorizer;
use super::{MAX_REQUEST, answers, encoding::Encoding};
use crate::access::Authorized;
use crate::kinds::{CustomMethod, rules};
use crate::registry::{Call, Error, Filter, Registry, Start, view};

/// The methods of a kind's service.
#[derive(Clone, Copy)]
enum Method {
    Create,
    Get,
    List,
    Watch,
    Update,
    UpdateStatus,
    Delete,
    Custom(&'static CustomMethod),
}

impl Method {
    fn find(kind: &Kind, name: &str) -> Option<Self> {
        let rest = |verb: &str, noun: &str| name.strip_prefix(verb)?.strip_prefix(noun);
        let singular = |method: Method, verb: &str, suffix: &str| {
            (rest(verb, kind.kind) == Some(suffix)).then_some(method)
        };
        let plural = |method: Method, verb: &str| (rest(verb, kind.plural_rpc) == Some("")).then_some(method);
        let custom = || rules(kind)?.custom_method(name).map(Method::Custom);
        singular(Method::Create, "Create", "")
            .or_else(|| singular(Method::Get, "Get", ""))
            .or_else(|| plural(Method::List, "List"))
            .or_else(|| plural(Method::Watch, "Watch"))
            .or_else(|| singular(Method::Update, "Update", ""))
            .or_else(|| singular(Method::UpdateStatus, "Update", "Status").filter(|_| kind.has_status))
            .or_else(|| singular(Method::Delete, "Delete", ""))
            .or_else(custom)
    }
}

/// Maximum size of the requests of a kind's RPC, in bytes.
pub(super) fn max_request(kind: &Kind, rpc: &str) -> usize {
    let is_large = rules(kind).is_some_and(|rules| rules.large_requests.contains(&rpc));
    if is_large { MAX_LARGE_REQUEST } else { MAX_REQUEST }
}

/// The service of one kind.
#[derive(Clone)]
pub(super) struct KindService(Arc<Service>);

struct Service {
    kind: &'static Kind,
    registry: Arc<Registry>,
    epoch: Arc<str>,
    encoding: Arc<Encoding>,
    large: LargeRequests,
    /// What serves the RPCs of the service, by their names.
    handlers: HashMap<String, Handler>,
    shutdown: CancellationToken,
}

impl KindService {
    pub(super) fn new(
        kind: &'static Kind,
        shared: (Arc<Registry>, Arc<str>, LargeRequests),
        shutdown: CancellationToken,
    ) -> Self {
        let (registry, epoch, large) = shared;
        let descriptor = POOL.get_message_by_name(kind.message);
        let encoding = Arc::new(Encoding::new(epoch.clone(), descriptor));
        let service = POOL.get_service_by_name(kind.service);
        let methods: Vec<_> = service.iter().flat_map(|service| service.methods()).collect();
        let handler = |rpc: &MethodDescriptor| {
            let method = Method::find(kind, rpc.name())?;
            Some((rpc.name().to_owned(), Handler { method, request: rpc.input() }))
        };
        let handlers = methods.iter().filter_map(handler).collect();
        KindService(Arc::new(Service { kind, registry, epoch, encoding, large, handlers, shutdown }))
    }
}

impl Service {
    /// Answers within the room that the caller's peer has for answers.
    async fn answer(
        &self,
        handler: &Handler,
        authorized: Authorized<Bytes>,
        budget: &AnswerBudget,
    ) -> Result<tonic::Response<Bytes>, Status> {
        let (call, request) = authorized.into_parts();
        handler.check(&request).map_err(Error::from)?;
        let answer = async || Ok(self.unary(handler, &call, request.clone()).await?);
        match handler.method {
            Method::List => answers::page(budget, answer()).await,
            Method::Get => answers::object(budget, answer).await,
            Method::Custom(method) if method.reads => answers::object(budget, answer).await,
            _ => answers::written(budget, answer().await?),
        }
    }

    async fn unary(&self, handler: &Handler, call: &Call, request: Bytes) -> Result<Bytes, Error> {
        let (registry, kind) = (&self.registry, self.kind);
        match handler.method {
            Method::Create => registry.create(call, kind, CreateRequest::decode(request)?).await,
            Method::Get => registry.get(call, kind, GetRequest::decode(request)?).await,
            Method::List => {
                let mut response = registry.list(call, kind, ListRequest::decode(request)?).await?;
                response.epoch = self.epoch.to_string();
                Ok(response.encode_to_vec().into())
            }
            Method::Update => registry.update(call, kind, UpdateRequest::decode(request)?).await,
            Method::UpdateStatus => {
                registry.update_status(call, kind, UpdateStatusRequest::decode(request)?).await
            }
            Method::Delete => registry.delete(call, kind, DeleteRequest::decode(request)?).await,
            Method::Custom(method) => (method.serve)(registry, call, request).await,
            Method::Watch => Err(Error::Internal("a watch is not a unary call".to_owned())),
        }
    }

    async fn watch(
        &self,
        handler: &Handler,
        authorized: Authorized<Bytes>,
    ) -> Result<BoxStream<'static, Result<Bytes, Status>>, Error> {
        let (call, request) = authorized.into_parts();
        handler.check(&request)?;
        let request = WatchRequest::decode(request)?;
        let filter = Filter::watch(self.kind, &request)?;
        let start = Start::read(request.start, &request.epoch, &self.epoch)?;
        let view = view(request.view)?;
        let encoding = self.encoding.clone();
        let messages =
            self.registry.watch(&call, filter, start, request.live_state, self.shutdown.clone()).await?;
        Ok(messages.map(move |message| Ok(encoding.message(message?, view))).boxed())
    }
}

/// What serves an RPC of a kind.
#[derive(Clone)]
struct Handler {
    method: Method,
    request: MessageDescriptor,
}

impl Handler {
    /// Refuses a request that cannot be decoded in memory of about its size, or whose objects could not be shown.
    fn check(&self, request: &[u8]) -> Result<(), Violation> {
        krake_proto::wire::check::check(&self.request, request)
    }
}

/// A unary RPC.
struct Unary {
    service: Arc<Service>,
    handler: Handler,
}

impl UnaryService<Bytes> for Unary {
    type Response = Bytes;
    type Future = BoxFuture<'static, Result<tonic::Response<Bytes>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let (service, handler) = (self.service.clone(), self.handler.clone());
        Box::pin(async move {
            let budget = AnswerBudget::of(request.extensions());
            let authorized = authorized(request).await?;
            service.answer(&handler, authorized, &budget).await
        })
    }
}

/// The watch.
struct Watch {
    service: Arc<Service>,
    handler: Handler,
}

async fn authorized(request: tonic::Request<Bytes>) -> Result<Authorized<Bytes>, Status> {
    let authorizer = Authorizer::of(request.extensions())?;
    authorizer.encoded(request.into_inner()).await
}

impl ServerStreamingService<Bytes> for Watch {
    type Response = Bytes;
    type ResponseStream = BoxStream<'static, Result<Bytes, Status>>;
    type Future = BoxFuture<'static, Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let (service, handler) = (self.service.clone(), self.handler.clone());
        Box::pin(async move {
            let authorized = authorized(request).await?;
            Ok(tonic::Response::new(service.watch(&handler, authorized).await?))
        })
    }
}

impl tower::Service<Request<axum::body::Body>> for KindService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<axum::body::Body>) -> Self::Future {
        let service = self.0.clone();
        Box::pin(async move {
            let name = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            let Some(handler) = service.handlers.get(&name).cloned() else {
                let text = format!("{} has no method {name:?}", service.kind.service);
                return Ok(error::status(Code::Unimplemented, ErrorReason::NotBuilt, text).into_http());
            };
            let limit = max_request(service.kind, &name);
            let (request, _room) = match limit > MAX_REQUEST {
                true => match service.large.admit(request).await {
                    Ok(admitted) => admitted,
                    Err(status) => return Ok(status.into_http()),
                },
                false => (request, None),
            };
            let mut grpc = Grpc::new(RawCodec).max_decoding_message_size(limit);
            Ok(match handler.method {
                Method::Watch => grpc.server_streaming(Watch { service, handler }, request).await,
                _ => grpc.unary(Unary { service, handler }, request).await,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use krake_proto::KINDS;

    #[test]
    fn every_method_of_the_contract_has_a_handler() {
        for kind in KINDS {
            let service =
                POOL.get_service_by_name(kind.service).unwrap_or_else(|| panic!("{}", kind.service));
            for method in service.methods() {
                let found = Method::find(kind, method.name());
                assert!(found.is_some(), "{}", method.full_name());
                let streams = matches!(found, Some(Method::Watch));
                assert_eq!(streams, method.is_server_streaming(), "{}", method.full_name());
            }
        }
    }
}
