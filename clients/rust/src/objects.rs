//! Objects of all kinds by their metadata: the same resumable watch over `ObjectService`.

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use krake_proto::Kind;
use krake_proto::krake::meta::v1::{
    DeleteObjectRequest, Deletion, KindRef, ListObjectsRequest, ListObjectsResponse, Metadata, Object,
    OwnerReference, RemoveFinalizerRequest, ReportDeletionRequest, ResourceRef, WatchObjectsRequest,
    WatchObjectsResponse, watch_objects_request,
};

use crate::api::Listing;
use crate::connect::Client;
use crate::error::Error;
use crate::options::Start;
use crate::watch::{Message, MessageStream, Source, Watch, changes};

/// Names one object among those of all kinds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// API group.
    pub api: String,
    /// Kind, never the global name.
    pub kind: String,
    /// Empty for global objects.
    pub namespace: String,
    /// Name within kind and namespace.
    pub name: String,
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ObjectKey { api, kind, namespace, name } = self;
        let slash = if namespace.is_empty() { "" } else { "/" };
        write!(f, "{api}/{kind} {namespace}{slash}{name}")
    }
}

impl From<&Object> for ObjectKey {
    fn from(object: &Object) -> Self {
        let metadata = object.metadata.as_ref();
        ObjectKey {
            api: object.api.clone(),
            kind: object.kind.clone(),
            namespace: metadata.map(|metadata| metadata.namespace.clone()).unwrap_or_default(),
            name: metadata.map(|metadata| metadata.name.clone()).unwrap_or_default(),
        }
    }
}

impl From<&OwnerReference> for ObjectKey {
    fn from(owner: &OwnerReference) -> Self {
        ObjectKey {
            api: owner.api.clone(),
            kind: owner.kind.clone(),
            namespace: owner.namespace.clone(),
            name: owner.name.clone(),
        }
    }
}

impl From<&ResourceRef> for ObjectKey {
    fn from(reference: &ResourceRef) -> Self {
        ObjectKey {
            api: reference.api.clone(),
            kind: reference.kind.clone(),
            namespace: reference.namespace.clone(),
            name: reference.name.clone(),
        }
    }
}

impl Client {
    /// Follows objects of some kinds, or of all if none is given, by their metadata; see [`Watch`].
    pub fn watch_objects(&self, kinds: &[&Kind]) -> Watch<Object> {
        Watch::new(ObjectSource { client: self.clone(), kinds: kind_refs(kinds) }, Start::InitialState)
    }

    /// Reads the metadata of all objects of some kinds, or of all if none is given, page by page.
    ///
    /// # Errors
    /// As any call may fail; reason `REVISION_COMPACTED` if it takes so long that the store has forgotten the moment
    /// that the first page shows.
    pub async fn list_objects(&self, kinds: &[&Kind]) -> Result<Listing<Object>, Error> {
        let mut request = ListObjectsRequest { kinds: kind_refs(kinds), ..Default::default() };
        let mut items = Vec::new();
        loop {
            let response = self.objects().list_objects(request.clone()).await?.into_inner();
            let ListObjectsResponse { objects, resource_version, epoch, next_page_token } = response;
            items.extend(objects);
            if next_page_token.is_empty() {
                return Ok(Listing { items, resource_version, epoch });
            }
            request.page_token = next_page_token;
        }
    }

    /// Deletes an object of any kind, if it has this uid; empty = whatever has the name. `includes` is what the deletion
    /// includes; its `waits_for` is not sent. Returns the object as it is then.
    ///
    /// # Errors
    /// [`Error::is_not_found`], [`Error::is_conflict`] if the uid differs, and whatever any call may fail with.
    pub async fn delete_object(
        &self,
        key: &ObjectKey,
        uid: &str,
        includes: &Deletion,
    ) -> Result<Object, Error> {
        let ObjectKey { api, kind, namespace, name } = key.clone();
        let (uid, cascade, force) = (uid.to_owned(), includes.cascade, includes.force);
        let request = DeleteObjectRequest { api, kind, namespace, name, uid, cascade, force };
        Ok(self.objects().delete_object(request).await?.into_inner())
    }

    /// Records what the deletion of the object with this uid is waiting for, for people to read.
    ///
    /// # Errors
    /// [`Error::is_not_found`], [`Error::is_conflict`] if the uid differs, reason `FINALIZERS_IN_USE` while no deletion
    /// is in progress, and whatever any call may fail with.
    pub async fn report_deletion(
        &self,
        key: &ObjectKey,
        uid: &str,
        waits_for: &str,
    ) -> Result<Object, Error> {
        let ObjectKey { api, kind, namespace, name } = key.clone();
        let (uid, waits_for) = (uid.to_owned(), waits_for.to_owned());
        let request = ReportDeletionRequest { api, kind, namespace, name, uid, waits_for };
        Ok(self.objects().report_deletion(request).await?.into_inner())
    }

    /// Removes a finalizer of an object that is being deleted, if it has this uid; empty = whatever has the name. One
    /// that is not there is no error. Returns the object as it is then; with its last finalizer it is erased.
    ///
    /// # Errors
    /// [`Error::is_not_found`], [`Error::is_conflict`] if the uid differs, reason `FINALIZERS_IN_USE` while no deletion
    /// is in progress, and whatever any call may fail with.
    pub async fn remove_finalizer(
        &self,
        key: &ObjectKey,
        uid: &str,
        finalizer: &str,
    ) -> Result<Object, Error> {
        self.remove_finalizer_at(key, uid, 0, finalizer).await
    }

    /// [`Client::remove_finalizer`] if the object has this version; 0 = whatever it has. For callers whose decision
    /// rests on what the object said: that a deletion does not include dependents, for example.
    ///
    /// # Errors
    /// As [`Client::remove_finalizer`], and [`Error::is_conflict`] if the version differs.
    pub async fn remove_finalizer_at(
        &self,
        key: &ObjectKey,
        uid: &str,
        resource_version: i64,
        finalizer: &str,
    ) -> Result<Object, Error> {
        let ObjectKey { api, kind, namespace, name } = key.clone();
        let (uid, finalizer) = (uid.to_owned(), finalizer.to_owned());
        let request = RemoveFinalizerRequest { api, kind, namespace, name, uid, finalizer, resource_version };
        Ok(self.objects().remove_finalizer(request).await?.into_inner())
    }
}

fn kind_refs(kinds: &[&Kind]) -> Vec<KindRef> {
    kinds.iter().map(|kind| KindRef { api: kind.api.to_owned(), kind: kind.kind.to_owned() }).collect()
}

struct ObjectSource {
    client: Client,
    kinds: Vec<KindRef>,
}

impl Source for ObjectSource {
    type Object = Object;

    fn what(&self) -> &'static str {
        "Object"
    }

    fn open(&self, start: Start) -> BoxFuture<'static, Result<MessageStream<Object>, Error>> {
        let (start, epoch) = match start {
            Start::InitialState => (watch_objects_request::Start::InitialState(true), String::new()),
            Start::Now => (watch_objects_request::Start::Now(true), String::new()),
            Start::After { resource_version, epoch } => {
                (watch_objects_request::Start::After(resource_version), epoch)
            }
        };
        let request = WatchObjectsRequest { kinds: self.kinds.clone(), start: Some(start), epoch };
        let mut objects = self.client.objects();
        async move {
            let stream = objects.watch_objects(request).await?.into_inner();
            Ok(stream.map(|response| message(response?)).boxed())
        }
        .boxed()
    }

    fn metadata(object: &Object) -> Option<&Metadata> {
        object.metadata.as_ref()
    }
}

fn message(response: WatchObjectsResponse) -> Result<Message<Object>, Error> {
    let WatchObjectsResponse { events, resource_version, epoch, synced, partial } = response;
    let events = events.into_iter().map(|event| (event.r#type, event.object.unwrap_or_default()));
    Ok(Message { changes: changes(events, Ok)?, resource_version, epoch, synced, partial })
}
