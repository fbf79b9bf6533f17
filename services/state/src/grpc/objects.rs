//! `ObjectService`: objects of all kinds by their metadata.

use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use krake_proto::Kind;
use krake_proto::envelope::WatchStart;
use krake_proto::krake::meta::v1::object_service_server::ObjectService;
use krake_proto::krake::meta::v1::watch_objects_request::Start as WireStart;
use krake_proto::krake::meta::v1::{
    self, CheckTombstonesRequest, CheckTombstonesResponse, DeleteObjectRequest, GetInstallationRequest,
    ListObjectsRequest, ListObjectsResponse, Metadata, Object, ObjectEvent, RemoveFinalizerRequest,
    ReportDeletionRequest, WatchObjectsRequest, WatchObjectsResponse,
};
use krake_runtime::serve::AnswerBudget;
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::answers;
use super::pipeline::Authorizer;
use crate::cache::Stored;
use crate::installation::Installation;
use crate::registry::{Call, Deletion, Error, Filter, Message, Registry, Start, kinds};

/// Maximum number of uids in one CheckTombstones; each is a read of the store.
const MAX_UIDS: usize = 1_000;

/// The service.
pub(super) struct Objects {
    pub(super) registry: Arc<Registry>,
    pub(super) installation: Installation,
    pub(super) shutdown: CancellationToken,
}

fn object(stored: &Stored) -> Object {
    let metadata = Metadata { resource_version: stored.revision.0, ..(*stored.metadata).clone() };
    Object { api: stored.kind.api.into(), kind: stored.kind.kind.into(), metadata: Some(metadata) }
}

/// The kind that a request names, once its caller is authorized for an object of it.
async fn object_of(
    authorizer: &Authorizer,
    api: &str,
    kind: &str,
    namespace: &str,
    name: &str,
) -> Result<(Call, &'static Kind), Status> {
    match krake_proto::kind(api, kind) {
        Some(known) => Ok(authorizer.of_kind(known, namespace, name, known).await?.into_parts()),
        // A caller who may do nothing does not learn which kinds there are.
        None => {
            authorizer.named(namespace, name, ()).await?;
            Err(Error::invalid("kind", format!("there is no kind {kind:?} in API group {api:?}")).into())
        }
    }
}

fn response(message: Message, epoch: &str) -> WatchObjectsResponse {
    let events = message.events.iter();
    let events =
        events.map(|(r#type, stored)| ObjectEvent { r#type: (*r#type).into(), object: Some(object(stored)) });
    WatchObjectsResponse {
        events: events.collect(),
        resource_version: message.revision.0,
        epoch: epoch.to_owned(),
        synced: message.synced,
        partial: message.partial,
    }
}

#[tonic::async_trait]
impl ObjectService for Objects {
    type WatchObjectsStream = BoxStream<'static, Result<WatchObjectsResponse, Status>>;

    async fn list_objects(
        &self,
        request: Request<ListObjectsRequest>,
    ) -> Result<Response<ListObjectsResponse>, Status> {
        let budget = AnswerBudget::of(request.extensions());
        let (call, request) = Authorizer::decoded(request).await?.into_parts();
        let page = async {
            let (found, revision, next_page_token) = self.registry.list_objects(&call, &request).await?;
            Ok(ListObjectsResponse {
                objects: found.iter().map(|stored| object(stored)).collect(),
                resource_version: revision.0,
                epoch: self.installation.epoch.to_string(),
                next_page_token,
            })
        };
        answers::decoded_page(&budget, page, ListObjectsResponse::encoded_len).await
    }

    async fn watch_objects(
        &self,
        request: Request<WatchObjectsRequest>,
    ) -> Result<Response<Self::WatchObjectsStream>, Status> {
        let (call, request) = Authorizer::decoded(request).await?.into_parts();
        let start = request.start.map(|start| match start {
            WireStart::InitialState(wanted) => WatchStart::InitialState(wanted),
            WireStart::Now(wanted) => WatchStart::Now(wanted),
            WireStart::After(revision) => WatchStart::After(revision),
        });
        let start = Start::read(start, &request.epoch, &self.installation.epoch)?;
        let filter = Filter::kinds(kinds(&request.kinds)?);
        let messages = self.registry.watch(&call, filter, start, false, self.shutdown.clone()).await?;
        let epoch = self.installation.epoch.clone();
        Ok(Response::new(
            messages.map_ok(move |message| response(message, &epoch)).map_err(Status::from).boxed(),
        ))
    }

    async fn delete_object(&self, request: Request<DeleteObjectRequest>) -> Result<Response<Object>, Status> {
        let authorizer = Authorizer::of(request.extensions())?;
        let DeleteObjectRequest { api, kind, namespace, name, uid, cascade, force } = request.into_inner();
        let (call, kind) = object_of(&authorizer, &api, &kind, &namespace, &name).await?;
        let deletion = Deletion { namespace, name, uid, cascade, force, ..Default::default() };
        let stored = self.registry.mark_deleted(&call, kind, deletion).await?;
        Ok(Response::new(object(&stored)))
    }

    async fn remove_finalizer(
        &self,
        request: Request<RemoveFinalizerRequest>,
    ) -> Result<Response<Object>, Status> {
        let authorizer = Authorizer::of(request.extensions())?;
        let RemoveFinalizerRequest { api, kind, namespace, name, uid, finalizer, resource_version } =
            request.into_inner();
        let (call, kind) = object_of(&authorizer, &api, &kind, &namespace, &name).await?;
        let stored = self
            .registry
            .remove_finalizer(&call, kind, (&namespace, &name, &uid), resource_version, &finalizer)
            .await?;
        Ok(Response::new(object(&stored)))
    }

    async fn report_deletion(
        &self,
        request: Request<ReportDeletionRequest>,
    ) -> Result<Response<Object>, Status> {
        let authorizer = Authorizer::of(request.extensions())?;
        let ReportDeletionRequest { api, kind, namespace, name, uid, waits_for } = request.into_inner();
        let (call, kind) = object_of(&authorizer, &api, &kind, &namespace, &name).await?;
        let stored =
            self.registry.report_deletion(&call, kind, (&namespace, &name, &uid), &waits_for).await?;
        Ok(Response::new(object(&stored)))
    }

    async fn get_installation(
        &self,
        request: Request<GetInstallationRequest>,
    ) -> Result<Response<v1::Installation>, Status> {
        Authorizer::decoded(request).await?;
        let Installation { installation, epoch, .. } = &self.installation;
        let answer = v1::Installation { installation: installation.to_string(), epoch: epoch.to_string() };
        Ok(Response::new(answer))
    }

    async fn check_tombstones(
        &self,
        request: Request<CheckTombstonesRequest>,
    ) -> Result<Response<CheckTombstonesResponse>, Status> {
        let (call, CheckTombstonesRequest { uids }) = Authorizer::decoded(request).await?.into_parts();
        if uids.len() > MAX_UIDS {
            let text = format!("has {} entries; at most {MAX_UIDS} are allowed", uids.len());
            return Err(Error::invalid("uids", text).into());
        }
        let erased = self.registry.erased(&call, uids).await?;
        Ok(Response::new(CheckTombstonesResponse { erased }))
    }
}
