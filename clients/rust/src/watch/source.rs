//! Where messages come from: one stream of a kind's Watch RPC.

use std::marker::PhantomData;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use krake_proto::krake::meta::v1::Metadata;
use krake_proto::{Resource, envelope};
use tonic::Request;
use tonic_prost::ProstCodec;

use super::machine::{Message, changes};
use crate::api::{decode, grpc, rpc_path};
use crate::error::Error;
use crate::options::{Start, WatchOptions};
use crate::transport::Transport;

/// Something that can be watched.
pub(crate) trait Source: Send + Sync + 'static {
    /// What is watched.
    type Object: Send + 'static;

    /// Its name in logs.
    fn what(&self) -> &'static str;

    /// Opens a stream that begins at `start`.
    fn open(&self, start: Start) -> BoxFuture<'static, Result<MessageStream<Self::Object>, Error>>;

    /// An object's metadata.
    fn metadata(object: &Self::Object) -> Option<&Metadata>;
}

pub(crate) type MessageStream<T> = BoxStream<'static, Result<Message<T>, Error>>;

/// The Watch RPC of a kind.
pub(crate) struct KindSource<K> {
    transport: Transport,
    options: WatchOptions,
    kind: PhantomData<fn() -> K>,
}

impl<K: Resource> KindSource<K> {
    pub(crate) fn new(transport: Transport, options: WatchOptions) -> Self {
        KindSource { transport, options, kind: PhantomData }
    }

    fn request(&self, start: Start) -> envelope::WatchRequest {
        let (start, epoch) = match start {
            Start::InitialState => (envelope::WatchStart::InitialState(true), String::new()),
            Start::Now => (envelope::WatchStart::Now(true), String::new()),
            Start::After { resource_version, epoch } => {
                (envelope::WatchStart::After(resource_version), epoch)
            }
        };
        envelope::WatchRequest {
            namespace: self.options.namespace.clone(),
            label_selector: self.options.label_selector.clone(),
            view: self.options.view.into(),
            start: Some(start),
            epoch,
            cluster: self.options.cluster.clone(),
            name: self.options.name.clone(),
            live_state: self.options.live_state,
        }
    }
}

impl<K: Resource> Source for KindSource<K> {
    type Object = K;

    fn what(&self) -> &'static str {
        K::KIND.kind
    }

    fn open(&self, start: Start) -> BoxFuture<'static, Result<MessageStream<K>, Error>> {
        let request = Request::new(self.request(start));
        let mut grpc = grpc(&self.transport);
        async move {
            grpc.ready().await?;
            let path = rpc_path(K::KIND.service, "Watch", K::KIND.plural_rpc);
            let codec: ProstCodec<envelope::WatchRequest, envelope::WatchResponse> = ProstCodec::default();
            let stream = grpc.server_streaming(request, path, codec).await?.into_inner();
            Ok(stream.map(|response| message::<K>(response?)).boxed())
        }
        .boxed()
    }

    fn metadata(object: &K) -> Option<&Metadata> {
        object.metadata()
    }
}

fn message<K: Resource>(response: envelope::WatchResponse) -> Result<Message<K>, Error> {
    let envelope::WatchResponse { events, resource_version, epoch, synced, partial } = response;
    let changes = changes(events.into_iter().map(|event| (event.r#type, event.object)), decode)?;
    Ok(Message { changes, resource_version, epoch, synced, partial })
}
