//! The shared watches of one cluster: one per kind, however many applications have objects of it.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use kube::api::{Api, DynamicObject};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::watch::Receiver;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::cluster::cache::KindCache;
use crate::cluster::connection::Connection;
use crate::cluster::discovery::ResolvedKind;
use crate::cluster::holdings::Holdings;
use crate::cluster::paging::PageSize;
use crate::cluster::wake::{Wake, Wakes};
use crate::error::ClusterError;
use crate::object::{ApplicationUid, ClusterUid, INSTALLATION_LABEL, ObjectKey};

/// Pause after the first time that a watch was refused.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause before a watch that was refused is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Longest time until a list is complete: one of 100,000 objects takes 500 pages. A list whose pages bring nothing may go on
/// for ever.
const LIST_DEADLINE: Duration = Duration::from_secs(900);

/// How long it is tried to start a watch after its list. What its cache shows gets no newer meanwhile.
const LONGEST_BROKEN: Duration = Duration::from_secs(60);

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
    kinds: Mutex<HashMap<WatchKey, Watched>>,
    /// What all of them hold.
    holdings: Arc<Holdings>,
}

/// A watch that runs, and who needs it.
struct Watched {
    cache: Arc<KindCache>,
    users: HashSet<ApplicationUid>,
    /// Ends the watch with its last user.
    _cancel_on_drop: DropGuard,
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
        let (kinds, holdings) = (Mutex::default(), Arc::default());
        Self { cluster, connection, installation, wakes, revived, tasks, cancel, kinds, holdings }
    }

    /// The cache that holds our objects of a kind; its watch is started if nobody needed it before. Where the credentials may
    /// not list the kind in all namespaces, it is the cache of `namespace`. The application is woken when the cache is synced.
    pub fn cache(
        &self,
        kind: &ResolvedKind,
        namespace: Option<&str>,
        application: &ApplicationUid,
    ) -> Arc<KindCache> {
        let everywhere = self.start_once(kind, None, application);
        everywhere.await_sync(application);
        match namespace {
            Some(namespace) if kind.namespaced && everywhere.forbidden() => {
                let here = self.start_once(kind, Some(namespace), application);
                here.await_sync(application);
                here
            }
            _ => everywhere,
        }
    }

    /// Whether a watch that runs shows this object with the label of the application.
    pub(crate) fn shows(&self, key: &ObjectKey, application: &ApplicationUid) -> bool {
        let kinds = self.lock();
        let of_kind = kinds
            .iter()
            .filter(|((api_version, kind, _), _)| *api_version == key.api_version && *kind == key.kind);
        of_kind.into_iter().any(|(_, watched)| {
            let seen = watched.cache.last_seen(key.namespace.as_deref(), &key.name);
            seen.is_some_and(|object| object.application == *application)
        })
    }

    /// Removes an application from the users of all watches, and ends the watches without users.
    pub fn release(&self, application: &ApplicationUid) {
        self.lock().retain(|_, watched| {
            watched.users.remove(application);
            !watched.users.is_empty()
        });
    }

    fn start_once(
        &self,
        kind: &ResolvedKind,
        namespace: Option<&str>,
        application: &ApplicationUid,
    ) -> Arc<KindCache> {
        let resource = &kind.resource;
        let key = (resource.api_version.clone(), resource.kind.clone(), namespace.map(str::to_owned));
        let mut kinds = self.lock();
        let watched = kinds.entry(key).or_insert_with(|| {
            let mut revived = self.revived.clone();
            revived.mark_unchanged();
            let holdings = Arc::clone(&self.holdings);
            let cache = Arc::new(KindCache::new(&kind.resource, holdings, revived.clone()));
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
            let cancel = self.cancel.child_token();
            let ends = cancel.clone();
            self.tasks.spawn(async move { ends.run_until_cancelled(watch.run()).await });
            Watched { cache, users: HashSet::new(), _cancel_on_drop: cancel.drop_guard() }
        });
        watched.users.insert(application.clone());
        Arc::clone(&watched.cache)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WatchKey, Watched>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a watch ended.
enum End {
    /// Nobody needs it, or its cache has others to fall back to.
    Over,
    /// To be opened anew at once.
    Anew,
    /// The server forbids it, or does not serve the kind.
    Refused(watcher::Error),
    /// It shows more than is kept.
    Excess(String),
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
        let (mut refusals, mut excesses) = (0, Excesses::default());
        loop {
            let begun = Instant::now();
            match self.follow(&mut page, &mut refusals).await {
                End::Over => return,
                End::Anew => {}
                End::Refused(error) => {
                    let pause = pause_after_refusals(refusals);
                    refusals += 1;
                    self.refused(error, pause, refusals);
                    if !self.rest(pause).await {
                        return;
                    }
                }
                End::Excess(why) => {
                    let pause = excesses.pause_after(begun.elapsed());
                    let kind = self.objects.resource_url();
                    warn!(cluster = %self.cluster, kind, ?pause, why, "watch given up");
                    self.wake(self.cache.lose(why, false));
                    if !self.rest(pause).await {
                        return;
                    }
                }
            }
        }
    }

    /// Lists and watches until that is to begin anew.
    async fn follow(&mut self, page: &mut PageSize, refusals: &mut u32) -> End {
        let config = self.config.clone().page_size(page.objects());
        let events = watcher::watcher(self.objects.clone(), config).default_backoff();
        let mut events = pin!(events);
        // By when the list that arrives has to be complete.
        let mut deadline = Some(Instant::now() + LIST_DEADLINE);
        // Since when the server has accepted the watch, if it has.
        let mut watching = None;
        // Since when the watch cannot be started after its list, if it cannot.
        let mut broken = None;
        // What kept the list from its end last.
        let mut trouble: Option<String> = None;
        loop {
            let event = tokio::select! {
                changed = self.revived.changed() => match changed {
                    Ok(()) => return End::Anew,
                    Err(_) => return End::Over,
                },
                event = events.next() => event,
                () = until(deadline) => {
                    let minutes = LIST_DEADLINE.as_secs() / 60;
                    let why = trouble.map(|trouble| format!(": {trouble}")).unwrap_or_default();
                    return End::Excess(format!("its list did not come to its end within {minutes} min{why}"));
                }
            };
            match event {
                Some(Ok(event)) => {
                    match event {
                        // Also after a list that failed: what was seen before it gets no newer meanwhile.
                        Event::Init => {
                            deadline = deadline.or_else(|| Some(Instant::now() + LIST_DEADLINE));
                            watching = None;
                        }
                        Event::InitDone => {
                            (deadline, watching) = (None, Some(Instant::now()));
                            (trouble, broken) = (None, None);
                        }
                        Event::Apply(_) | Event::Delete(_) => (*refusals, broken) = (0, None),
                        Event::InitApply(_) => {}
                    }
                    match self.cache.take_in(event) {
                        Ok(concerned) => self.wake(concerned),
                        Err(overflow) => return End::Excess(overflow.to_string()),
                    }
                }
                Some(Err(error)) if self.narrowable && forbidden(&error) => {
                    self.wake(self.cache.forbid());
                    return End::Over;
                }
                Some(Err(error)) if forbidden(&error) || is_not_served(&error) => {
                    // One that is refused is so at once after its list. One that lasted was accepted.
                    if watching.is_some_and(|since: Instant| since.elapsed() > FIRST_PAUSE) {
                        *refusals = 0;
                    }
                    return End::Refused(error);
                }
                Some(Err(error)) if page.shrink_after(&error) => return End::Anew,
                Some(Err(error)) => {
                    let starts = !matches!(error, watcher::Error::WatchStartFailed(_));
                    trouble = Some(self.interrupted(error));
                    if !starts && broken.get_or_insert_with(Instant::now).elapsed() >= LONGEST_BROKEN {
                        // A list tells what the watch does not.
                        return End::Anew;
                    }
                }
                None => return End::Anew,
            }
        }
    }

    /// The watch met trouble that may pass. Returns what.
    fn interrupted(&self, error: watcher::Error) -> String {
        let (kind, error) = (self.objects.resource_url(), cause(error).to_string());
        debug!(cluster = %self.cluster, kind, error, "watch interrupted");
        self.wake(self.cache.meet(error.clone()));
        error
    }

    /// Waits until the watch is to be opened again; false if its cluster is not looked after any more.
    async fn rest(&mut self, pause: Duration) -> bool {
        tokio::select! {
            changed = self.revived.changed() => changed.is_ok(),
            () = tokio::time::sleep(pause) => true,
            () = self.cache.nudged() => true,
        }
    }

    /// The watch ends for a pause: the server forbids it, or does not serve the kind.
    fn refused(&self, error: watcher::Error, pause: Duration, refusals: u32) {
        let is_lost = is_not_served(&error);
        // One refusal may pass. After the second, what was seen before the first says nothing any more.
        let is_final = is_lost || refusals > 1;
        let (kind, error) = (self.objects.resource_url(), cause(error).to_string());
        debug!(cluster = %self.cluster, kind, ?pause, error, "watch refused");
        self.wake(if is_final { self.cache.lose(error, is_lost) } else { self.cache.meet(error) });
    }

    fn wake(&self, applications: Vec<ApplicationUid>) {
        for application in applications {
            self.wakes.push(Wake::Application(application, self.cluster.clone()));
        }
    }
}

/// Waits until a moment, or for ever.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Pause before a watch is tried again that was refused this many times in a row before: rights change when a
/// person changes them.
fn pause_after_refusals(refusals: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2u32.saturating_pow(refusals)).min(LONGEST_PAUSE)
}

/// How often in a row a watch was given up because it showed more than is kept.
#[derive(Debug, Default)]
struct Excesses(u32);

impl Excesses {
    /// Pause after a watch was given up that has lasted for so long. A long one fitted most of that time, so that it is the
    /// first of a row.
    fn pause_after(&mut self, lasted: Duration) -> Duration {
        if lasted > LONGEST_PAUSE + LIST_DEADLINE {
            self.0 = 0;
        }
        let pause = pause_after_refusals(self.0);
        self.0 = self.0.saturating_add(1);
        pause
    }
}

fn forbidden(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.is_forbidden(),
        _ => false,
    }
}

/// Whether the server says that it has no such kind, or one that cannot be listed and watched any more.
fn is_not_served(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => matches!(status.code, 404 | 405),
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

#[cfg(test)]
mod tests;
