//! The objects of one kind on one cluster that bear our installation's label, kept by one watch.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use kube::api::{ApiResource, DynamicObject, TypeMeta};
use kube::runtime::watcher::Event;
use serde_json::Value;

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
}

/// The cache. Written by its watch, read by whoever observes.
#[derive(Debug)]
pub struct KindCache {
    kind: TypeMeta,
    contents: RwLock<Contents>,
}

impl KindCache {
    /// Nothing known yet of the objects of a kind.
    pub(crate) fn new(kind: &ApiResource) -> Self {
        let kind = TypeMeta { api_version: kind.api_version.clone(), kind: kind.kind.clone() };
        Self { kind, contents: RwLock::default() }
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

    /// The watch met trouble before its first list was complete, or after.
    pub(crate) fn meet(&self, trouble: String) {
        self.write().trouble = Some(trouble);
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
        if contents.objects.get(&name).is_none_or(|present| object.replaces(present)) {
            contents.objects.insert(name, Arc::new(object));
        }
    }

    /// Marks the kind as one that may not be listed in all namespaces; returns who waited.
    pub(crate) fn forbid(&self) -> Vec<ApplicationUid> {
        let mut contents = self.write();
        contents.forbidden = true;
        contents.waiting.drain().collect()
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
                contents.synced = true;
                concerned.into_iter().collect()
            }
            Event::Apply(object) => {
                let name =
                    (object.metadata.namespace.clone(), object.metadata.name.clone().unwrap_or_default());
                let Some((name, object)) = CachedObject::of(object, &self.kind) else {
                    // It has lost the label of its application, which is to put it back.
                    let before = contents.objects.remove(&name);
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
                let before = contents.objects.remove(&name);
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
mod tests {
    use super::*;
    use kube::api::GroupVersionKind;
    use serde_json::json;

    fn object(name: &str, application: &str, version: &str) -> DynamicObject {
        serde_json::from_value(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"v": version}, "metadata": {
            "namespace": "demo", "name": name, "uid": format!("uid-{name}"), "resourceVersion": version,
            "labels": {APPLICATION_LABEL: application}, "managedFields": [{"manager": "krake"}]}}),
        )
        .unwrap()
    }

    fn cache() -> KindCache {
        KindCache::new(&ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap")))
    }

    fn sorted(mut woken: Vec<ApplicationUid>) -> Vec<String> {
        woken.sort();
        woken.iter().map(ToString::to_string).collect()
    }

    fn listed(cache: &KindCache, objects: &[DynamicObject]) -> Vec<String> {
        assert!(cache.take_in(Event::Init).is_empty());
        for object in objects {
            assert!(cache.take_in(Event::InitApply(object.clone())).is_empty());
        }
        sorted(cache.take_in(Event::InitDone))
    }

    #[test]
    fn nothing_is_absent_before_the_first_list_is_complete() {
        let cache = cache();
        cache.take_in(Event::Init);
        cache.take_in(Event::InitApply(object("a", "app", "1")));
        assert!(matches!(cache.get(Some("demo"), "a"), Lookup::Unknown));
        assert!(matches!(cache.get(Some("demo"), "b"), Lookup::Unknown));
        cache.take_in(Event::InitDone);
        assert!(matches!(cache.get(Some("demo"), "a"), Lookup::Present(_)));
        assert!(matches!(cache.get(Some("demo"), "b"), Lookup::Absent));
        assert!(matches!(cache.get(None, "a"), Lookup::Absent));
    }

    #[test]
    fn those_who_wait_for_the_first_list_are_woken_even_without_objects() {
        let cache = cache();
        cache.await_sync(&"waits".into());
        assert_eq!(listed(&cache, &[object("a", "app", "1")]), ["app", "waits"]);
        cache.await_sync(&"late".into());
        assert_eq!(listed(&cache, &[object("a", "app", "1")]), [""; 0]);
    }

    #[test]
    fn a_new_list_wakes_those_whose_objects_came_changed_or_went() {
        let cache = cache();
        listed(&cache, &[object("a", "stays", "1"), object("b", "changes", "2"), object("c", "goes", "3")]);
        cache.take_in(Event::Init);
        assert!(matches!(cache.get(Some("demo"), "c"), Lookup::Present(_)), "the old list holds meanwhile");
        let woken = listed(
            &cache,
            &[object("a", "stays", "1"), object("b", "changes", "9"), object("d", "comes", "4")],
        );
        assert_eq!(woken, ["changes", "comes", "goes"]);
        assert!(matches!(cache.get(Some("demo"), "c"), Lookup::Absent));
    }

    #[test]
    fn changes_wake_the_application_and_the_one_before() {
        let cache = cache();
        listed(&cache, &[]);
        assert_eq!(sorted(cache.take_in(Event::Apply(object("a", "one", "1")))), ["one"]);
        assert_eq!(sorted(cache.take_in(Event::Apply(object("a", "two", "2")))), ["one", "two"]);
        assert_eq!(sorted(cache.take_in(Event::Delete(object("a", "two", "3")))), ["two"]);
        assert!(matches!(cache.get(Some("demo"), "a"), Lookup::Absent));
    }

    #[test]
    fn an_object_that_loses_its_label_is_not_there_any_more() {
        let cache = cache();
        listed(&cache, &[object("a", "one", "1")]);
        let mut bare = object("a", "one", "2");
        bare.metadata.labels = None;
        assert_eq!(sorted(cache.take_in(Event::Apply(bare.clone()))), ["one"]);
        assert!(matches!(cache.get(Some("demo"), "a"), Lookup::Absent));
        assert_eq!(sorted(cache.take_in(Event::Apply(bare))), [""; 0]);
    }

    #[test]
    fn a_write_of_ours_never_hides_what_the_watch_told_since() {
        let cache = cache();
        listed(&cache, &[object("a", "app", "5")]);
        let version = || match cache.get(Some("demo"), "a") {
            Lookup::Present(object) => object.resource_version.clone(),
            other => panic!("{other:?}"),
        };
        cache.note(object("a", "app", "10"));
        assert_eq!(version(), "10", "it is known before the watch tells");
        cache.take_in(Event::Apply(object("a", "app", "12")));
        cache.note(object("a", "app", "11"));
        assert_eq!(version(), "12");
        cache.note(object("b", "app", "11"));
        assert!(matches!(cache.get(Some("demo"), "b"), Lookup::Present(_)));
    }

    #[test]
    fn an_item_of_a_list_gets_its_kind() {
        let cache = cache();
        let mut item = object("a", "one", "1");
        item.types = None;
        listed(&cache, &[item]);
        let Lookup::Present(found) = cache.get(Some("demo"), "a") else { panic!("missing") };
        assert_eq!(
            (&found.value()["apiVersion"], &found.value()["kind"]),
            (&json!("v1"), &json!("ConfigMap"))
        );
    }

    #[test]
    fn what_we_wrote_is_there_at_once_and_whole() {
        let cache = cache();
        listed(&cache, &[]);
        cache.note(object("a", "one", "1"));
        let Lookup::Present(found) = cache.get(Some("demo"), "a") else { panic!("missing") };
        assert_eq!(found.value()["data"]["v"], "1");
        assert!(found.value()["metadata"].get("managedFields").is_none());
    }
}
