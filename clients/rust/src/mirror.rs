//! The mirror: a local cache of compact values, fed by a watch.

mod barrier;
mod contents;

use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use krake_proto::Resource;
use krake_proto::krake::meta::v1::{Metadata, Object};
use thiserror::Error;
use tokio::sync::watch;

use crate::error::Error;
use crate::objects::ObjectKey;
use crate::watch::{Delivery, Watch, WatchEvent};
pub use barrier::Barrier;
use contents::Contents;

/// Names one object within its kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamespacedName {
    /// Empty for global objects.
    pub namespace: String,
    /// Name within the namespace.
    pub name: String,
}

impl NamespacedName {
    /// The name of an object.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        NamespacedName { namespace: namespace.into(), name: name.into() }
    }
}

impl From<&Metadata> for NamespacedName {
    fn from(metadata: &Metadata) -> Self {
        Self::new(metadata.namespace.as_str(), metadata.name.as_str())
    }
}

impl std::fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let slash = if self.namespace.is_empty() { "" } else { "/" };
        write!(f, "{}{slash}{}", self.namespace, self.name)
    }
}

/// What happened to a mirrored object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// It is new, or has changed.
    Applied,
    /// It was erased: a positive record.
    Deleted,
    /// It was not among the objects after the watch had to start over. Nobody saw how it went: never a reason to
    /// remove anything without asking first.
    Vanished,
    /// It exists, but no longer matches the watch's filter, or is of no interest to the projection. Never a reason to
    /// remove anything.
    LeftFilter,
    /// The watch started over and the object is still there, unchanged.
    Resynced,
}

/// One change of a mirror's contents. When it is told, the mirror shows `after` already.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice<T, Key = NamespacedName> {
    /// Which object.
    pub key: Key,
    /// What happened.
    pub change: Change,
    /// The value until now, if there was one.
    pub before: Option<Arc<T>>,
    /// The value from now on, if there is one.
    pub after: Option<Arc<T>>,
}

/// How far a mirror has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Progress {
    synced: bool,
    resource_version: i64,
    /// So many requests to resume had been made when the stream was opened that told of this revision.
    requests: u64,
}

/// The mirror was waited for, but nothing feeds it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the watch that feeds this mirror has ended")]
pub struct MirrorClosed;

/// A local, read-only, eventually consistent copy of what a watch delivers, reduced to what its user needs. Cheap to
/// clone; all clones show the same contents. Reads take a lock for moments only and never wait for the network.
pub struct Mirror<T, Key = NamespacedName> {
    contents: Arc<RwLock<Contents<T, Key>>>,
    barrier: Barrier,
}

impl<T, Key> Clone for Mirror<T, Key> {
    fn clone(&self) -> Self {
        Mirror { contents: self.contents.clone(), barrier: self.barrier.clone() }
    }
}

impl<T, Key> std::fmt::Debug for Mirror<T, Key> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mirror").field("progress", &self.barrier.progress()).finish_non_exhaustive()
    }
}

impl<T> Mirror<T> {
    /// An empty mirror of objects of one kind, and what fills it. `project` reduces an object to the value that is
    /// kept; objects for which it returns nothing are not kept.
    pub fn of_kind<K: Resource>(
        project: impl Fn(&K) -> Option<T> + Send + Sync + 'static,
    ) -> (Self, MirrorFeed<K, T>) {
        let key = |object: &K| object.metadata().map(NamespacedName::from).unwrap_or_default();
        MirrorFeed::connect(key, K::metadata, project)
    }
}

impl<T> Mirror<T, ObjectKey> {
    /// An empty mirror of the metadata of objects of several kinds, and what fills it; see [`Mirror::of_kind`].
    pub fn of_objects(
        project: impl Fn(&Object) -> Option<T> + Send + Sync + 'static,
    ) -> (Self, MirrorFeed<Object, T, ObjectKey>) {
        MirrorFeed::connect(|object| ObjectKey::from(object), |object| object.metadata.as_ref(), project)
    }
}

impl<T, Key: Ord + Clone> Mirror<T, Key> {
    /// The value of an object.
    pub fn get(&self, key: &Key) -> Option<Arc<T>> {
        self.contents.read().unwrap_or_else(PoisonError::into_inner).get(key)
    }

    /// All values, ordered by key.
    pub fn snapshot(&self) -> Vec<(Key, Arc<T>)> {
        self.contents.read().unwrap_or_else(PoisonError::into_inner).all()
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.contents.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the contents are those of one revision: not before the first initial state is complete, and not while
    /// a further one arrives because the watch had to start over. Meanwhile absence tells nothing.
    pub fn is_synced(&self) -> bool {
        self.barrier.progress().synced
    }

    /// Everything up to this revision is in the mirror; 0 before the first initial state is complete. Changes that the
    /// watch's filter hides raise it only with the next bookmark, 30 s at most.
    pub fn resource_version(&self) -> i64 {
        self.barrier.progress().resource_version
    }

    /// Waits until [`Mirror::is_synced`].
    ///
    /// # Errors
    /// When the feed has ended before.
    pub async fn synced(&self) -> Result<(), MirrorClosed> {
        self.barrier.reached(|progress| progress.synced).await
    }

    /// Waits until the mirror is synced and shows everything up to a revision, for example that of a write of one's own
    /// to an object that the watch shows. A restored store may never reach a revision of its former history: give the
    /// wait a deadline.
    ///
    /// # Errors
    /// When the feed has ended before.
    pub async fn wait_for(&self, resource_version: i64) -> Result<(), MirrorClosed> {
        self.barrier
            .reached(|progress| progress.synced && progress.resource_version >= resource_version)
            .await
    }

    /// What makes sure that the mirror is not behind.
    pub fn barrier(&self) -> Barrier {
        self.barrier.clone()
    }
}

/// Reduces an object to the value that is kept of it, if it is of interest.
type Project<O, T> = dyn Fn(&O) -> Option<T> + Send + Sync;

/// The writing side of a [`Mirror`]. There is one; dropping it leaves the mirror as it is.
pub struct MirrorFeed<O, T, Key = NamespacedName> {
    contents: Arc<RwLock<Contents<T, Key>>>,
    progress: watch::Sender<Progress>,
    /// Counts the requests to resume.
    requests: watch::Receiver<u64>,
    key: fn(&O) -> Key,
    metadata: fn(&O) -> Option<&Metadata>,
    project: Box<Project<O, T>>,
}

impl<O, T, Key> std::fmt::Debug for MirrorFeed<O, T, Key> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MirrorFeed").field("progress", &*self.progress.borrow()).finish_non_exhaustive()
    }
}

impl<O, T, Key> MirrorFeed<O, T, Key> {
    fn connect(
        key: fn(&O) -> Key,
        metadata: fn(&O) -> Option<&Metadata>,
        project: impl Fn(&O) -> Option<T> + Send + Sync + 'static,
    ) -> (Mirror<T, Key>, Self) {
        let contents = Arc::new(RwLock::new(Contents::new()));
        let (sender, progress) = watch::channel(Progress::default());
        let (barrier, requests) = Barrier::new(progress);
        let feed = MirrorFeed {
            contents: contents.clone(),
            progress: sender,
            requests,
            key,
            metadata,
            project: Box::new(project),
        };
        (Mirror { contents, barrier }, feed)
    }
}

impl<O: Send + 'static, T, Key: Ord + Clone> MirrorFeed<O, T, Key> {
    /// Feeds the mirror until the watch fails for good; to stop it, drop the future.
    ///
    /// `on_change` is told every change, in order, after the mirror shows it and before [`Mirror::resource_version`]
    /// passes it. It must not block: what is to be done, it hands over, for example to a queue of keys.
    ///
    /// # Errors
    /// Those that end a watch: trying again does not help.
    pub async fn run(
        mut self,
        mut watch: Watch<O>,
        mut on_change: impl FnMut(Notice<T, Key>),
    ) -> Result<(), Error> {
        loop {
            tokio::select! {
                delivery = watch.deliver() => match delivery {
                    Some(delivery) => self.take(delivery?, &mut on_change),
                    None => return Ok(()),
                },
                // Without a mirror left nobody asks any more, and nothing needs to be done.
                Ok(()) = self.requests.changed() => watch.resume(*self.requests.borrow_and_update()),
            }
        }
    }

    fn take(&self, delivery: Delivery<O>, on_change: &mut impl FnMut(Notice<T, Key>)) {
        let Delivery { event, requests } = delivery;
        let mut progress = *self.progress.borrow();
        // The lock is released at the end of this statement: nobody is told under it.
        let notices = match event {
            WatchEvent::Applied { object, .. } => self.apply(&object),
            WatchEvent::LeftFilter(object) => self.write().remove(&(self.key)(&object), Change::LeftFilter),
            WatchEvent::Deleted(object) => self.write().remove(&(self.key)(&object), Change::Deleted),
            WatchEvent::Restarted => {
                progress.synced = false;
                self.write().begin_initial_state();
                Vec::new()
            }
            WatchEvent::Synced { resource_version } => {
                progress = Progress { synced: true, resource_version, requests };
                self.write().end_initial_state()
            }
            WatchEvent::Bookmark { resource_version } => {
                progress = Progress { resource_version, requests, ..progress };
                Vec::new()
            }
        };
        notices.into_iter().for_each(on_change);
        self.progress.send_if_modified(|shown| std::mem::replace(shown, progress) != progress);
    }

    fn apply(&self, object: &O) -> Vec<Notice<T, Key>> {
        let key = (self.key)(object);
        let metadata = (self.metadata)(object);
        let uid = metadata.map(|metadata| metadata.uid.as_str()).unwrap_or_default();
        let version = metadata.map_or(0, |metadata| metadata.resource_version);
        match (self.project)(object) {
            Some(value) => self.write().apply(&key, uid, version, value),
            None => self.write().remove(&key, Change::LeftFilter),
        }
    }

    fn write(&self) -> RwLockWriteGuard<'_, Contents<T, Key>> {
        self.contents.write().unwrap_or_else(PoisonError::into_inner)
    }
}
