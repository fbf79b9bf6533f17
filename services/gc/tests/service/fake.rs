//! A fake state service: `ObjectService` alone, over objects in memory, with the rules of deletion and finalizers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use krake_proto::error::{ErrorReason, status};
use krake_proto::krake::meta::v1::object_service_server::{ObjectService, ObjectServiceServer};
use krake_proto::krake::meta::v1::*;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::{TcpListenerStream, WatchStream};
use tonic::{Code, Request, Response, Status};

const CASCADE: &str = "cascade_deletion";

/// Longest time that a test waits for something that must come. A machine that is busy with other work may be many times
/// slower than an idle one, so only a hang takes as long.
const HANG_GUARD: Duration = Duration::from_secs(120);

#[derive(Default)]
struct Store {
    objects: BTreeMap<String, Object>,
    /// Every change so far; the message at index i has revision i + 1.
    history: Vec<WatchObjectsResponse>,
    erased: Vec<String>,
    /// Writes that are still to be refused.
    refused: usize,
    /// Objects that cannot be let go, and what the refusal says.
    held: BTreeMap<String, (ErrorReason, String)>,
}

impl Store {
    fn write(&mut self, r#type: EventType, mut object: Object) -> Object {
        let revision = self.history.len() as i64 + 1;
        let metadata = object.metadata.get_or_insert_default();
        if r#type == EventType::Deleted {
            self.objects.remove(&metadata.name);
            self.erased.push(metadata.name.clone());
        } else {
            metadata.resource_version = revision;
            self.objects.insert(metadata.name.clone(), object.clone());
        }
        let event = ObjectEvent { r#type: r#type.into(), object: Some(object.clone()) };
        self.history.push(message(vec![event], revision));
        object
    }

    /// Refuses a write if writes are to be refused: with a conflict that tells no version.
    fn check_refused(&mut self) -> Result<(), Status> {
        match self.refused.checked_sub(1) {
            None => Ok(()),
            Some(left) => {
                self.refused = left;
                Err(status(Code::Aborted, ErrorReason::Conflict, "written by too many at once"))
            }
        }
    }

    /// Refuses a write that lets an object go, if it is held.
    fn check_held(&self, name: &str) -> Result<(), Status> {
        match self.held.get(name) {
            None => Ok(()),
            Some((reason, text)) => Err(status(Code::FailedPrecondition, *reason, text.clone())),
        }
    }

    fn find(&self, name: &str, uid: &str) -> Result<(Object, Metadata), Status> {
        let missing = || status(Code::NotFound, ErrorReason::NotFound, "no such object");
        let object = self.objects.get(name).cloned().ok_or_else(missing)?;
        let metadata = object.metadata.clone().unwrap_or_default();
        if !uid.is_empty() && metadata.uid != uid {
            return Err(status(Code::Aborted, ErrorReason::Conflict, "another uid"));
        }
        Ok((object, metadata))
    }

    fn delete(&mut self, name: &str, uid: &str, cascade: bool, force: bool) -> Result<Object, Status> {
        let (object, mut metadata) = self.find(name, uid)?;
        let recorded = metadata.deletion.clone().unwrap_or_default();
        let (cascade, force) = (recorded.cascade || cascade, recorded.force || force);
        let includes = Deletion { cascade, force, ..recorded.clone() };
        if metadata.deleted.is_some() && includes == recorded {
            return Ok(object);
        }
        metadata.deleted = Some(prost_types::Timestamp::default());
        metadata.deletion = Some(includes);
        metadata.finalizers.retain(|entry| entry != CASCADE);
        metadata.finalizers.push(CASCADE.into());
        let r#type = if force && !cascade { EventType::Deleted } else { EventType::Modified };
        Ok(self.write(r#type, Object { metadata: Some(metadata), ..object }))
    }

    fn report(&mut self, name: &str, uid: &str, waits_for: String) -> Result<Object, Status> {
        let (object, mut metadata) = self.find(name, uid)?;
        metadata.deletion.get_or_insert_default().waits_for = waits_for;
        Ok(self.write(EventType::Modified, Object { metadata: Some(metadata), ..object }))
    }

    fn release(&mut self, name: &str, uid: &str, finalizer: &str) -> Result<Object, Status> {
        let (object, mut metadata) = self.find(name, uid)?;
        metadata.finalizers.retain(|entry| entry != finalizer);
        let forced =
            finalizer == CASCADE && metadata.deletion.as_ref().is_some_and(|deletion| deletion.force);
        let last = metadata.finalizers.is_empty() || forced;
        let r#type = if last { EventType::Deleted } else { EventType::Modified };
        Ok(self.write(r#type, Object { metadata: Some(metadata), ..object }))
    }
}

fn message(events: Vec<ObjectEvent>, resource_version: i64) -> WatchObjectsResponse {
    WatchObjectsResponse { events, resource_version, epoch: "e".into(), ..Default::default() }
}

#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) url: String,
    store: Arc<Mutex<Store>>,
    changed: watch::Sender<()>,
}

impl Fake {
    pub(crate) async fn start() -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let fake = Fake { url, store: Arc::default(), changed: watch::channel(()).0 };
        // Ends with the test's runtime.
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(ObjectServiceServer::new(fake.clone()))
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        fake
    }

    fn change<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        let result = change(&mut self.store.lock().unwrap());
        self.changed.send_replace(());
        result
    }

    pub(crate) fn create(&self, name: &str, owners: &[(&str, OnDelete)], finalizers: &[&str]) {
        let owner = |(name, on_delete): &(&str, OnDelete)| OwnerReference {
            api: "core".into(),
            kind: "Metric".into(),
            name: (*name).into(),
            uid: format!("uid-{name}"),
            on_delete: (*on_delete).into(),
            ..Default::default()
        };
        let metadata = Metadata {
            name: name.into(),
            uid: format!("uid-{name}"),
            owners: owners.iter().map(owner).collect(),
            finalizers: finalizers.iter().map(|entry| entry.to_string()).collect(),
            ..Default::default()
        };
        let object = Object { api: "core".into(), kind: "Metric".into(), metadata: Some(metadata) };
        self.change(|store| store.write(EventType::Added, object));
    }

    pub(crate) fn delete(&self, name: &str) {
        self.change(|store| store.delete(name, "", false, false)).unwrap();
    }

    pub(crate) fn delete_with_all_that_belongs_to_it(&self, name: &str, force: bool) {
        self.change(|store| store.delete(name, "", true, force)).unwrap();
    }

    /// Lets so many of the next writes fail, as those do that others come in between of all the time.
    pub(crate) fn refuse_writes(&self, count: usize) {
        self.store.lock().unwrap().refused = count;
    }

    /// Refuses to delete an object, and to release it, for this reason.
    pub(crate) fn hold(&self, name: &str, reason: ErrorReason, text: &str) {
        self.store.lock().unwrap().held.insert(name.to_owned(), (reason, text.to_owned()));
    }

    pub(crate) fn hold_no_more(&self) {
        self.store.lock().unwrap().held.clear();
    }

    pub(crate) fn waits_for(&self, name: &str) -> Option<String> {
        Some(self.metadata(name)?.deletion?.waits_for)
    }

    pub(crate) fn release(&self, name: &str, finalizer: &str) {
        self.change(|store| store.release(name, "", finalizer)).unwrap();
    }

    fn metadata(&self, name: &str) -> Option<Metadata> {
        self.store.lock().unwrap().objects.get(name).and_then(|object| object.metadata.clone())
    }

    pub(crate) fn is_deleted(&self, name: &str) -> bool {
        self.metadata(name).is_some_and(|metadata| metadata.deleted.is_some())
    }

    pub(crate) fn last_finalizer(&self, name: &str) -> Option<String> {
        self.metadata(name)?.finalizers.last().cloned()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.store.lock().unwrap().objects.keys().cloned().collect()
    }

    /// The names of what was erased, in order.
    pub(crate) fn erased(&self) -> Vec<String> {
        self.store.lock().unwrap().erased.clone()
    }

    /// Waits until the names of what is left satisfy the condition.
    pub(crate) async fn until(&self, condition: impl Fn(&[String]) -> bool) {
        let mut changed = self.changed.subscribe();
        let reached = changed.wait_for(|()| condition(&self.names()));
        let in_time = tokio::time::timeout(HANG_GUARD, reached).await.is_ok();
        assert!(in_time, "left: {:?}, erased: {:?}", self.names(), self.erased());
    }
}

#[tonic::async_trait]
impl ObjectService for Fake {
    type WatchObjectsStream = BoxStream<'static, Result<WatchObjectsResponse, Status>>;

    async fn watch_objects(
        &self,
        _: Request<WatchObjectsRequest>,
    ) -> Result<Response<Self::WatchObjectsStream>, Status> {
        let (initial, mut place) = {
            let store = self.store.lock().unwrap();
            let added = |object: &Object| ObjectEvent {
                r#type: EventType::Added.into(),
                object: Some(object.clone()),
            };
            let place = store.history.len();
            let events = store.objects.values().map(added).collect();
            (WatchObjectsResponse { synced: true, ..message(events, place as i64) }, place)
        };
        let store = self.store.clone();
        let live = WatchStream::new(self.changed.subscribe()).flat_map(move |()| {
            let new = store.lock().unwrap().history[place..].to_vec();
            place += new.len();
            futures::stream::iter(new)
        });
        Ok(Response::new(futures::stream::iter([initial]).chain(live).map(Ok).boxed()))
    }

    async fn delete_object(&self, request: Request<DeleteObjectRequest>) -> Result<Response<Object>, Status> {
        let DeleteObjectRequest { name, uid, cascade, force, .. } = request.into_inner();
        let delete = |store: &mut Store| {
            store.check_refused()?;
            store.check_held(&name)?;
            store.delete(&name, &uid, cascade, force)
        };
        self.change(delete).map(Response::new)
    }

    async fn remove_finalizer(
        &self,
        request: Request<RemoveFinalizerRequest>,
    ) -> Result<Response<Object>, Status> {
        let RemoveFinalizerRequest { name, uid, finalizer, .. } = request.into_inner();
        if finalizer != CASCADE {
            return Err(Status::internal(format!("{finalizer} is not the garbage collector's")));
        }
        let release = |store: &mut Store| {
            store.check_refused()?;
            store.check_held(&name)?;
            store.release(&name, &uid, &finalizer)
        };
        self.change(release).map(Response::new)
    }

    async fn list_objects(
        &self,
        _: Request<ListObjectsRequest>,
    ) -> Result<Response<ListObjectsResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn get_installation(
        &self,
        _: Request<GetInstallationRequest>,
    ) -> Result<Response<Installation>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn report_deletion(
        &self,
        request: Request<ReportDeletionRequest>,
    ) -> Result<Response<Object>, Status> {
        let ReportDeletionRequest { name, uid, waits_for, .. } = request.into_inner();
        self.change(|store| store.report(&name, &uid, waits_for)).map(Response::new)
    }

    async fn check_tombstones(
        &self,
        _: Request<CheckTombstonesRequest>,
    ) -> Result<Response<CheckTombstonesResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }
}
