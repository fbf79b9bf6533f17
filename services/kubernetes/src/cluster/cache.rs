//! The objects of one kind on one cluster that bear our installation's label, kept by one watch.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use kube::api::{ApiResource, DynamicObject, TypeMeta};
use kube::runtime::watcher::Event;
use serde_json::Value;
use tokio::sync::Notify;

use crate::object::{APPLICATION_LABEL, ApplicationUid};

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

    /// The whole object, without its managed fields.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.json).unwrap_or_default()
    }
}

/// Deletions that are remembered, so that the answer to a write which was overtaken by one brings nothing back.
const REMEMBERED_DELETIONS: usize = 256;

/// Namespace (absent for cluster-scoped objects) and name.
type Name = (Option<String>, String);
type Objects = HashMap<Name, Arc<CachedObject>>;

/// What a cache knows of one object.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// Nothing: the first list is not complete.
    Unknown,
    /// There is no such object of ours.
    Absent,
    /// The object as last seen.
    Present(Arc<CachedObject>),
}

#[derive(Debug, Default)]
struct Contents {
    /// The first list was complete once.
    synced: bool,
    /// Nobody may list this kind in all namespaces.
    forbidden: bool,
    objects: Objects,
    /// A list that is not complete yet, which will replace `objects`.
    arriving: Option<Objects>,
    /// Who waits for the first list.
    waiting: HashSet<ApplicationUid>,
    /// Why there is no first list yet.
    trouble: Option<String>,
    /// The kind was not served when the watch was opened last.
    lost: bool,
    /// What was deleted last, and the version of its deletion.
    deleted: VecDeque<(Name, u64)>,
}

impl Contents {
    /// Takes out an object that is deleted, or does not bear our marks any more, since this version.
    fn remove(&mut self, name: Name, version: Option<&str>) -> Option<Arc<CachedObject>> {
        let before = self.objects.remove(&name);
        if let Some(version) = version.and_then(|version| version.parse().ok()) {
            self.deleted.push_back((name, version));
            let surplus = self.deleted.len().saturating_sub(REMEMBERED_DELETIONS);
            self.deleted.drain(..surplus);
        }
        before
    }

    /// Whether an object was deleted after this version of it.
    fn is_deleted_since(&self, name: &Name, object: &CachedObject) -> bool {
        let version: Option<u64> = object.resource_version.parse().ok();
        let later = |deletion: &u64| version.is_some_and(|version| *deletion > version);
        self.deleted.iter().any(|(deleted, deletion)| deleted == name && later(deletion))
    }
}

/// The cache. Written by its watch, read by whoever observes.
#[derive(Debug)]
pub struct KindCache {
    kind: TypeMeta,
    contents: RwLock<Contents>,
    nudge: Notify,
}

impl KindCache {
    /// Nothing known yet of the objects of a kind.
    pub(crate) fn new(kind: &ApiResource) -> Self {
        let kind = TypeMeta { api_version: kind.api_version.clone(), kind: kind.kind.clone() };
        Self { kind, contents: RwLock::default(), nudge: Notify::new() }
    }

    /// What is known of an object.
    pub fn get(&self, namespace: Option<&str>, name: &str) -> Lookup {
        let contents = self.read();
        if !contents.synced {
            return Lookup::Unknown;
        }
        match contents.objects.get(&(namespace.map(str::to_owned), name.to_owned())) {
            Some(object) => Lookup::Present(Arc::clone(object)),
            None => Lookup::Absent,
        }
    }

    /// Whether the first list was complete.
    pub fn synced(&self) -> bool {
        self.read().synced
    }

    /// Whether listing in all namespaces was forbidden.
    pub(crate) fn forbidden(&self) -> bool {
        self.read().forbidden
    }

    /// Why the first list is not complete, if that is known.
    pub(crate) fn trouble(&self) -> Option<String> {
        let contents = self.read();
        contents.trouble.clone().filter(|_| !contents.synced)
    }

    /// The watch is refused for good, and what was seen before says nothing any more. `is_unserved`: because the cluster no
    /// longer serves the kind. Returns the applications that this concerns.
    pub(crate) fn lose(&self, why: String, is_unserved: bool) -> Vec<ApplicationUid> {
        let mut contents = self.write();
        let is_news = contents.synced || contents.trouble.is_none();
        (contents.synced, contents.lost) = (false, is_unserved);
        contents.trouble = Some(why);
        let objects = std::mem::take(&mut contents.objects);
        let users = objects.values().map(|object| object.application.clone());
        contents.waiting.extend(users);
        if is_news { contents.waiting.iter().cloned().collect() } else { Vec::new() }
    }

    /// The cluster serves the kind: a watch that was refused because it did not is opened anew at once.
    pub(crate) fn nudge(&self) {
        if self.read().lost {
            self.nudge.notify_one();
        }
    }

    /// Waits until the watch is to be opened anew.
    pub(crate) async fn nudged(&self) {
        self.nudge.notified().await;
    }

    /// The watch met trouble. Returns the applications that learn by this why there is no first list.
    pub(crate) fn meet(&self, trouble: String) -> Vec<ApplicationUid> {
        let mut contents = self.write();
        let is_news = !contents.synced && contents.trouble.is_none();
        contents.trouble = Some(trouble);
        if is_news { contents.waiting.iter().cloned().collect() } else { Vec::new() }
    }

    /// The application is woken when the first list is complete, or turns out to be forbidden.
    pub(crate) fn await_sync(&self, application: &ApplicationUid) {
        let mut contents = self.write();
        if !contents.synced && !contents.forbidden {
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
            contents.objects.insert(name, Arc::new(object));
        }
    }

    /// Marks the kind as one that may not be listed in all namespaces. Returns the applications that have to look elsewhere:
    /// those that waited, and those with objects of it, of which no more is heard here.
    pub(crate) fn forbid(&self) -> Vec<ApplicationUid> {
        let mut contents = self.write();
        contents.forbidden = true;
        let mut concerned = std::mem::take(&mut contents.waiting);
        concerned.extend(contents.objects.drain().map(|(_, object)| object.application.clone()));
        contents.synced = false;
        concerned.into_iter().collect()
    }

    /// Takes in one event of the watch; returns the applications that it concerns, each at most once.
    pub(crate) fn take_in(&self, event: Event<DynamicObject>) -> Vec<ApplicationUid> {
        let mut contents = self.write();
        match event {
            Event::Init => {
                contents.arriving = Some(Objects::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                if let (Some(arriving), Some((name, object))) =
                    (contents.arriving.as_mut(), CachedObject::of(object, &self.kind))
                {
                    arriving.insert(name, Arc::new(object));
                }
                Vec::new()
            }
            Event::InitDone => {
                let arrived = contents.arriving.take().unwrap_or_default();
                let mut concerned = changed(&contents.objects, &arrived);
                concerned.extend(contents.waiting.drain());
                contents.objects = arrived;
                (contents.synced, contents.lost) = (true, false);
                contents.trouble = None;
                concerned.into_iter().collect()
            }
            Event::Apply(object) => {
                let name =
                    (object.metadata.namespace.clone(), object.metadata.name.clone().unwrap_or_default());
                let version = object.metadata.resource_version.clone();
                let Some((name, object)) = CachedObject::of(object, &self.kind) else {
                    // It has lost the label of its application, which is to put it back.
                    let before = contents.remove(name, version.as_deref());
                    return before.map(|object| object.application.clone()).into_iter().collect();
                };
                let application = object.application.clone();
                match contents.objects.insert(name, Arc::new(object)) {
                    Some(before) if before.application != application => {
                        vec![application, before.application.clone()]
                    }
                    _ => vec![application],
                }
            }
            Event::Delete(object) => {
                let name = (object.metadata.namespace, object.metadata.name.unwrap_or_default());
                let before = contents.remove(name, object.metadata.resource_version.as_deref());
                before.map(|object| object.application.clone()).into_iter().collect()
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

/// The applications of all objects that came, went or are of another version.
fn changed(before: &Objects, after: &Objects) -> HashSet<ApplicationUid> {
    let differs = |this: &CachedObject, other: Option<&Arc<CachedObject>>| {
        other.is_none_or(|other| this.uid != other.uid || this.resource_version != other.resource_version)
    };
    let of = |these: &Objects, others: &Objects| -> HashSet<ApplicationUid> {
        let differing = these.iter().filter(|(name, object)| differs(object, others.get(*name)));
        differing.map(|(_, object)| object.application.clone()).collect()
    };
    let mut applications = of(before, after);
    applications.extend(of(after, before));
    applications
}

#[cfg(test)]
mod tests;
