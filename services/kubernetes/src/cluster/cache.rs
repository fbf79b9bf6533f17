//! The objects of one kind on one cluster that bear our installation's label, kept by one watch.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use kube::api::{ApiResource, DynamicObject, TypeMeta};
use kube::runtime::watcher::Event;
use serde_json::Value;
use tokio::sync::Notify;

use crate::cluster::holdings::{Holdings, Overflow, Part, Sum};
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
    /// What `objects` take.
    kept: Sum,
    /// A list that is not complete yet, which will replace `objects`.
    arriving: Option<Arriving>,
    /// Who waits for the first list.
    waiting: HashSet<ApplicationUid>,
    /// Why there is no first list yet.
    trouble: Option<String>,
    /// The kind was not served when the watch was opened last.
    lost: bool,
    /// What was deleted last, and the version of its deletion.
    deleted: VecDeque<(Name, u64)>,
}

/// A list that is not complete yet.
#[derive(Debug, Default)]
struct Arriving {
    objects: Objects,
    /// What they take.
    sum: Sum,
    /// Number of objects of the list so far, also of those that are not kept.
    listed: usize,
}

impl Contents {
    /// Puts an object in, in the place of the one that has its name; returns that.
    fn insert(
        &mut self,
        holdings: &Holdings,
        name: Name,
        object: CachedObject,
    ) -> Result<Option<Arc<CachedObject>>, Overflow> {
        let before = self.objects.get(&name).map(|before| before.size(&name)).unwrap_or_default();
        let size = object.size(&name);
        holdings.replace(Part::Kept, before, size)?;
        self.kept.add(size);
        self.kept.subtract(before);
        Ok(self.objects.insert(name, Arc::new(object)))
    }

    /// Lets a list that is not complete go.
    fn drop_arriving(&mut self, holdings: &Holdings) {
        if let Some(arriving) = self.arriving.take() {
            holdings.give_back(Part::Arriving, arriving.sum);
        }
    }

    /// Takes all objects out.
    fn empty(&mut self, holdings: &Holdings) -> Objects {
        self.drop_arriving(holdings);
        holdings.give_back(Part::Kept, std::mem::take(&mut self.kept));
        std::mem::take(&mut self.objects)
    }

    /// An object of a list arrived; `None` if it is of no application.
    fn arrive(&mut self, holdings: &Holdings, object: Option<(Name, CachedObject)>) -> Result<(), Overflow> {
        let Some(arriving) = self.arriving.as_mut() else { return Ok(()) };
        arriving.listed += 1;
        holdings.check_listed(arriving.listed)?;
        let Some((name, object)) = object else { return Ok(()) };
        let before = arriving.objects.get(&name).map(|before| before.size(&name)).unwrap_or_default();
        let size = object.size(&name);
        holdings.replace(Part::Arriving, before, size)?;
        arriving.sum.add(size);
        arriving.sum.subtract(before);
        arriving.objects.insert(name, Arc::new(object));
        Ok(())
    }

    /// The list is complete: it replaces what is kept. Returns the applications that this concerns.
    fn complete(&mut self, holdings: &Holdings) -> Result<HashSet<ApplicationUid>, Overflow> {
        let Arriving { objects, sum, .. } = self.arriving.take().unwrap_or_default();
        holdings.give_back(Part::Arriving, sum);
        holdings.replace(Part::Kept, self.kept, sum)?;
        let concerned = changed(&self.objects, &objects);
        (self.kept, self.objects) = (sum, objects);
        Ok(concerned)
    }

    /// Takes out an object that is deleted, or does not bear our marks any more, since this version.
    fn remove(
        &mut self,
        holdings: &Holdings,
        name: Name,
        version: Option<&str>,
    ) -> Option<Arc<CachedObject>> {
        let before = self.objects.remove(&name);
        if let Some(before) = &before {
            let size = before.size(&name);
            holdings.give_back(Part::Kept, size);
            self.kept.subtract(size);
        }
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
    holdings: Arc<Holdings>,
    contents: RwLock<Contents>,
    nudge: Notify,
}

impl Drop for KindCache {
    fn drop(&mut self) {
        let contents = self.contents.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(contents.empty(&self.holdings));
    }
}

impl KindCache {
    /// Nothing known yet of the objects of a kind. What it will hold counts among the `holdings` of its cluster.
    pub(crate) fn new(kind: &ApiResource, holdings: Arc<Holdings>) -> Self {
        let kind = TypeMeta { api_version: kind.api_version.clone(), kind: kind.kind.clone() };
        Self { kind, holdings, contents: RwLock::default(), nudge: Notify::new() }
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
        let objects = contents.empty(&self.holdings);
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
        contents.synced = false;
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
                contents.arriving = Some(Arriving::default());
                Ok(Vec::new())
            }
            Event::InitApply(object) => {
                contents.arrive(holdings, CachedObject::of(object, &self.kind))?;
                Ok(Vec::new())
            }
            Event::InitDone => {
                let mut concerned = contents.complete(holdings)?;
                concerned.extend(contents.waiting.drain());
                (contents.synced, contents.lost) = (true, false);
                contents.trouble = None;
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
                let name = (object.metadata.namespace, object.metadata.name.unwrap_or_default());
                let before = contents.remove(holdings, name, object.metadata.resource_version.as_deref());
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
