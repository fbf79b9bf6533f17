//! The shared watches of one cluster: one per kind, however many applications have objects of it.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use kube::api::{Api, DynamicObject};
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::watch::Receiver;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::cluster::cache::KindCache;
use crate::cluster::connection::Connection;
use crate::cluster::discovery::ResolvedKind;
use crate::cluster::paging::PageSize;
use crate::cluster::wake::{Wake, Wakes};
use crate::error::ClusterError;
use crate::object::{ApplicationUid, ClusterUid, INSTALLATION_LABEL};

/// API version, kind, and the namespace where a kind may not be listed in all of them.
type WatchKey = (String, String, Option<String>);

/// All watches of one cluster. They end with `cancel`.
pub struct Watches {
    cluster: ClusterUid,
    connection: Connection,
    installation: String,
    wakes: Arc<Wakes>,
    /// Changes when the cluster answers again: every watch starts over then.
    revived: Receiver<u64>,
    tasks: TaskTracker,
    cancel: CancellationToken,
    caches: Mutex<HashMap<WatchKey, Arc<KindCache>>>,
}

impl Watches {
    pub(crate) fn new(
        cluster: ClusterUid,
        connection: Connection,
        installation: String,
        wakes: Arc<Wakes>,
        revived: Receiver<u64>,
        tasks: TaskTracker,
        cancel: CancellationToken,
    ) -> Self {
        let caches = Mutex::default();
        Self { cluster, connection, installation, wakes, revived, tasks, cancel, caches }
    }

    /// The cache that holds our objects of a kind; its watch is started if nobody needed it before. Where the credentials may
    /// not list the kind in all namespaces, it is the cache of `namespace`. The application is woken when the cache is synced.
    pub fn cache(
        &self,
        kind: &ResolvedKind,
        namespace: Option<&str>,
        application: &ApplicationUid,
    ) -> Arc<KindCache> {
        let everywhere = self.start_once(kind, None);
        everywhere.await_sync(application);
        match namespace {
            Some(namespace) if kind.namespaced && everywhere.forbidden() => {
                let here = self.start_once(kind, Some(namespace));
                here.await_sync(application);
                here
            }
            _ => everywhere,
        }
    }

    fn start_once(&self, kind: &ResolvedKind, namespace: Option<&str>) -> Arc<KindCache> {
        let resource = &kind.resource;
        let key = (resource.api_version.clone(), resource.kind.clone(), namespace.map(str::to_owned));
        let mut caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        let cache = caches.entry(key).or_insert_with(|| {
            let cache = Arc::new(KindCache::new(&kind.resource));
            let mut revived = self.revived.clone();
            revived.mark_unchanged();
            let watch = Watch {
                cluster: self.cluster.clone(),
                objects: self.connection.objects(kind, namespace),
                config: watcher::Config::default()
                    .labels(&format!("{INSTALLATION_LABEL}={}", self.installation))
                    .timeout(self.connection.deadlines().watch.as_secs().try_into().unwrap_or(u32::MAX)),
                narrowable: kind.namespaced && namespace.is_none(),
                cache: Arc::clone(&cache),
                wakes: Arc::clone(&self.wakes),
                revived,
            };
            let cancel = self.cancel.clone();
            self.tasks.spawn(async move { cancel.run_until_cancelled(watch.run()).await });
            cache
        });
        Arc::clone(cache)
    }
}

/// One watch: fills one cache until it is cancelled.
struct Watch {
    cluster: ClusterUid,
    objects: Api<DynamicObject>,
    config: watcher::Config,
    /// Whether there are narrower watches to fall back to when this one is forbidden.
    narrowable: bool,
    cache: Arc<KindCache>,
    wakes: Arc<Wakes>,
    revived: Receiver<u64>,
}

impl Watch {
    async fn run(mut self) {
        let mut page = PageSize::default();
        loop {
            let config = self.config.clone().page_size(page.objects());
            let events = watcher::watcher(self.objects.clone(), config).default_backoff();
            let mut events = pin!(events);
            loop {
                let event = tokio::select! {
                    changed = self.revived.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    event = events.next() => event,
                };
                match event {
                    Some(Ok(event)) => self.wake(self.cache.take_in(event)),
                    Some(Err(error)) if self.narrowable && forbidden(&error) => {
                        self.wake(self.cache.forbid());
                        return;
                    }
                    Some(Err(error)) if page.shrink_after(&error) => break,
                    Some(Err(error)) => {
                        let kind = self.objects.resource_url();
                        debug!(cluster = %self.cluster, kind, error = %cause(error), "watch interrupted");
                    }
                    None => break,
                }
            }
        }
    }

    fn wake(&self, applications: Vec<ApplicationUid>) {
        for application in applications {
            self.wakes.push(Wake::Application(application, self.cluster.clone()));
        }
    }
}

fn forbidden(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.is_forbidden(),
        _ => false,
    }
}

/// The cause of an interruption, without anything that could be a credential.
pub(crate) fn cause(error: watcher::Error) -> ClusterError {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => error.into(),
        watcher::Error::WatchError(status) => kube::Error::Api(status).into(),
        watcher::Error::NoResourceVersion => {
            ClusterError::Unreachable("its list bears no resource version".to_owned())
        }
    }
}
