//! The objects of one kind on one cluster that bear our installation's label, kept by one watch.

mod contents;

use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use kube::api::{ApiResource, DynamicObject, TypeMeta};
use kube::runtime::watcher::Event;
use serde_json::Value;
use tokio::sync::{Notify, watch};

use self::contents::{Arriving, Contents};
use crate::cluster::holdings::{Holdings, Overflow, Sum};
use crate::object::{APPLICATION_LABEL, ApplicationUid, health};

/// A live object as last seen. Kept as compact JSON: parsed objects take ten times the memory, and few are looked at.
#[derive(Debug)]
pub struct CachedObject {
    /// uid on the cluster.
    pub uid: String,
    /// Version of the object.
    pub resource_version: String,
    /// The application on its label.
    pub application: ApplicationUid,
    json: Box<[u8]>,
}

impl CachedObject {
    fn of(mut object: DynamicObject, kind: &TypeMeta) -> Option<(Name, Self)> {
        // The items of a list come without.
        object.types = Some(kind.clone());
        // By far the largest part, and nothing here looks at it.
        object.metadata.managed_fields = None;
        let application = object.metadata.labels.as_ref()?.get(APPLICATION_LABEL)?.as_str().into();
        let name = (object.metadata.namespace.clone(), object.metadata.name.clone()?);
        let json = serde_json::to_vec(&object).ok()?.into_boxed_slice();
        let uid = object.metadata.uid.unwrap_or_default();
        let resource_version = object.metadata.resource_version.unwrap_or_default();
        Some((name, Self { uid, resource_version, application, json }))
    }

    /// An object as a watch would bring it.
    #[cfg(test)]
    pub(crate) fn of_test(object: DynamicObject) -> Self {
        let kind = object.types.clone().unwrap_or_default();
        Self::of(object, &kind).expect("it bears the label of its application").1
    }

    /// Whether this is a later state than `present`. Versions are numbers that rise over all objects of a kind
    /// (KEP-5504); where one is not, what is present stays.
    fn replaces(&self, present: &CachedObject) -> bool {
        let version = |object: &CachedObject| object.resource_version.parse::<u64>().ok();
        matches!((version(self), version(present)), (Some(ours), Some(theirs)) if ours > theirs)
    }

    /// What it takes to keep it under a name.
    fn size(&self, name: &Name) -> Sum {
        let named = name.0.as_ref().map_or(0, String::len) + name.1.len();
        Sum::of(self.json.len() + named)
    }

    /// The whole object, without its managed fields.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.json).unwrap_or_default()
    }
}

/// Namespace (absent for cluster-scoped objects) and name.
type Name = (Option<String>, String);

/// What a cache knows of one object.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// Nothing: no list is complete that began after the last silence of the cluster.
    Unknown,
    /// There is no such object of ours.
    Absent,
    /// The object as last seen.
    Present(Arc<CachedObject>),
}

/// The cache. Written by its watch, read by whoever observes.
#[derive(Debug)]
pub struct KindCache {
    kind: TypeMeta,
    holdings: Arc<Holdings>,
    contents: RwLock<Contents>,
    nudge: Notify,
    /// A list is complete, or it is known why there is none.
    settled: Notify,
    /// How often the cluster has come back from a silence. What was seen before it says little: the watch lists anew.
    revived: watch::Receiver<u64>,
}

impl Drop for KindCache {
    fn drop(&mut self) {
        let contents = self.contents.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(contents.empty(&self.holdings));
    }
}

impl KindCache {
    /// Nothing known yet of the objects of a kind. What it will hold counts among the `holdings` of its cluster.
    pub(crate) fn new(kind: &ApiResource, holdings: Arc<Holdings>, revived: watch::Receiver<u64>) -> Self {
        let kind = TypeMeta { api_version: kind.api_version.clone(), kind: kind.kind.clone() };
        Self {
            kind,
            holdings,
            contents: RwLock::default(),
            nudge: Notify::new(),
            settled: Notify::new(),
            revived,
        }
    }

    /// What is known of an object.
    pub fn get(&self, namespace: Option<&str>, name: &str) -> Lookup {
        if !self.synced() {
            return Lookup::Unknown;
        }
        self.last_seen(namespace, name).map_or(Lookup::Absent, Lookup::Present)
    }

    /// The object as it was seen last, perhaps before a silence of the cluster.
    pub(crate) fn last_seen(&self, namespace: Option<&str>, name: &str) -> Option<Arc<CachedObject>> {
        self.read().objects.get(&(namespace.map(str::to_owned), name.to_owned())).cloned()
    }

    /// The last state of the job with this uid, if it ran to its end and is gone.
    pub(crate) fn ended(&self, namespace: Option<&str>, name: &str, uid: &str) -> Option<Arc<CachedObject>> {
        let contents = self.read();
        let is_it = |(named, object): &&(Name, Arc<CachedObject>)| {
            named.0.as_deref() == namespace && named.1 == name && object.uid == uid
        };
        contents.ended.iter().rev().find(is_it).map(|(_, object)| Arc::clone(object))
    }

    /// Whether a list was complete that began after the last silence of the cluster.
    pub fn synced(&self) -> bool {
        self.is_synced(&self.read())
    }

    fn is_synced(&self, contents: &Contents) -> bool {
        contents.synced == Some(*self.revived.borrow())
    }

    /// Whether listing in all namespaces was forbidden.
    pub(crate) fn forbidden(&self) -> bool {
        self.read().forbidden
    }

    /// Why no list is complete, if that is known.
    pub(crate) fn trouble(&self) -> Option<String> {
        let contents = self.read();
        self.current_trouble(&contents).filter(|_| !self.is_synced(&contents)).map(str::to_owned)
    }

    /// The trouble that was met since the last silence of the cluster.
    fn current_trouble<'a>(&self, contents: &'a Contents) -> Option<&'a str> {
        let (met, trouble) = contents.trouble.as_ref()?;
        (*met == *self.revived.borrow()).then_some(trouble)
    }

    /// The watch is refused for good, and what was seen before says nothing any more. `is_unserved`: because the cluster no
    /// longer serves the kind. Returns the applications that this concerns.
    pub(crate) fn lose(&self, why: String, is_unserved: bool) -> Vec<ApplicationUid> {
        let mut contents = self.write();
        let is_news = self.is_synced(&contents) || self.current_trouble(&contents).is_none();
        (contents.synced, contents.lost) = (None, is_unserved);
        contents.trouble = Some((*self.revived.borrow(), why));
        let objects = contents.empty(&self.holdings);
        let users = objects.values().map(|object| object.application.clone());
        contents.waiting.extend(users);
        self.settled.notify_waiters();
        if is_news { contents.waiting.iter().cloned().collect() } else { Vec::new() }
    }

    /// A watch that was refused because the cluster did not serve the kind is opened anew at once; whether it was.
    pub(crate) fn nudge(&self) -> bool {
        let is_lost = self.read().lost;
        if is_lost {
            self.nudge.notify_one();
        }
        is_lost
    }

    /// Waits until the watch is to be opened anew.
    pub(crate) async fn nudged(&self) {
        self.nudge.notified().await;
    }

    /// The watch met trouble. Returns the applications that learn by this why there is no first list.
    pub(crate) fn meet(&self, trouble: String) -> Vec<ApplicationUid> {
        let mut contents = self.write();
        let is_news = !self.is_synced(&contents) && self.current_trouble(&contents).is_none();
        contents.trouble = Some((*self.revived.borrow(), trouble));
        self.settled.notify_waiters();
        if is_news { contents.waiting.iter().cloned().collect() } else { Vec::new() }
    }

    /// Waits until a list is complete, or it is known why there is none.
    pub(crate) async fn settled(&self) {
        loop {
            let mut settled = pin!(self.settled.notified());
            settled.as_mut().enable();
            let is_settled = {
                let contents = self.read();
                contents.forbidden || self.is_synced(&contents) || self.current_trouble(&contents).is_some()
            };
            if is_settled {
                return;
            }
            settled.await;
        }
    }

    /// The application is woken when the first list is complete, or turns out to be forbidden.
    pub(crate) fn await_sync(&self, application: &ApplicationUid) {
        let mut contents = self.write();
        if !self.is_synced(&contents) && !contents.forbidden {
            contents.waiting.insert(application.clone());
        }
    }

    /// Takes over an object that we just wrote, so that nobody takes it for missing before the watch delivers it. What
    /// the watch delivered meanwhile is newer than the answer to our write, and may be the last that it has to tell.
    pub(crate) fn note(&self, object: DynamicObject) {
        let Some((name, object)) = CachedObject::of(object, &self.kind) else { return };
        let mut contents = self.write();
        let newest = contents.objects.get(&name).is_none_or(|present| object.replaces(present));
        if newest && !contents.is_deleted_since(&name, &object) {
            // Where there is no room for it, the watch will say so.
            let _ = contents.insert(&self.holdings, name, object);
        }
    }

    /// Marks the kind as one that may not be listed in all namespaces. Returns the applications that have to look elsewhere:
    /// those that waited, and those with objects of it, of which no more is heard here.
    pub(crate) fn forbid(&self) -> Vec<ApplicationUid> {
        let mut contents = self.write();
        contents.forbidden = true;
        let mut concerned = std::mem::take(&mut contents.waiting);
        let objects = contents.empty(&self.holdings);
        concerned.extend(objects.into_values().map(|object| object.application.clone()));
        contents.synced = None;
        self.settled.notify_waiters();
        concerned.into_iter().collect()
    }

    /// Takes in one event of the watch; returns the applications that it concerns, each at most once.
    ///
    /// # Errors
    /// When the cluster shows more than is kept of it: then the watch is to end, and what was seen by it is lost.
    pub(crate) fn take_in(&self, event: Event<DynamicObject>) -> Result<Vec<ApplicationUid>, Overflow> {
        let mut contents = self.write();
        let holdings = &*self.holdings;
        match event {
            Event::Init => {
                contents.drop_arriving(holdings);
                contents.arriving = Some(Arriving { began: *self.revived.borrow(), ..Arriving::default() });
                Ok(Vec::new())
            }
            Event::InitApply(object) => {
                contents.arrive(holdings, CachedObject::of(object, &self.kind))?;
                Ok(Vec::new())
            }
            Event::InitDone => {
                let mut concerned = contents.complete(holdings)?;
                concerned.extend(contents.waiting.drain());
                (contents.lost, contents.trouble) = (false, None);
                self.settled.notify_waiters();
                Ok(concerned.into_iter().collect())
            }
            Event::Apply(object) => {
                let name =
                    (object.metadata.namespace.clone(), object.metadata.name.clone().unwrap_or_default());
                let version = object.metadata.resource_version.clone();
                let Some((name, object)) = CachedObject::of(object, &self.kind) else {
                    // It has lost the label of its application, which is to put it back.
                    let before = contents.remove(holdings, name, version.as_deref());
                    return Ok(before.map(|object| object.application.clone()).into_iter().collect());
                };
                let application = object.application.clone();
                Ok(match contents.insert(holdings, name, object)? {
                    Some(before) if before.application != application => {
                        vec![application, before.application.clone()]
                    }
                    _ => vec![application],
                })
            }
            Event::Delete(object) => {
                let name =
                    (object.metadata.namespace.clone(), object.metadata.name.clone().unwrap_or_default());
                let version = object.metadata.resource_version.clone();
                let before = contents.remove(holdings, name, version.as_deref());
                if health::is_job(&self.kind.api_version, &self.kind.kind)
                    && let Some((name, object)) = CachedObject::of(object, &self.kind)
                {
                    contents.remember_end(name, object);
                }
                Ok(before.map(|object| object.application.clone()).into_iter().collect())
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Contents> {
        self.contents.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Contents> {
        self.contents.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
