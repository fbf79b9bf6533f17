//! What controllers do after a change: namespaces and definitions take their objects along, owners their dependents, and
//! workloads come to run. It happens at once, but for the time that pods take.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::definition::{self, CLEAN_UP};
use crate::api::kinds::{self, Kind};
use crate::api::workload;
use crate::store::remove::FOREGROUND;
use crate::store::stored::Name;
use crate::store::{Store, Touched, Work};

impl Store {
    /// Follows up what was touched. Without `now` on the clock no workload is taken up.
    pub(super) fn settle(&mut self, now: &str, clock: Option<Instant>) {
        while let Some(touched) = self.touched.pop_front() {
            match touched {
                Touched::Put(kind, name) => self.after_put(&kind, &name, now, clock),
                Touched::Erased { kind, name, uid, orphan } => {
                    self.after_erase(&kind, &name, &uid, orphan, now)
                }
            }
        }
    }

    fn after_put(&mut self, kind: &Arc<Kind>, name: &Name, now: &str, clock: Option<Instant>) {
        if self.foreground.contains(&(kind.resource(), name.clone())) {
            self.end_foreground(kind, name, now);
        }
        let worked_on = workload::is_worked_on(kind);
        let special = kind.is("", "Namespace") || kind.is("apiextensions.k8s.io", "CustomResourceDefinition");
        if !worked_on && !special {
            return;
        }
        let Some(object) = self.get(kind, name).map(|stored| stored.value(kind)) else { return };
        if worked_on {
            if let Some(clock) = clock {
                self.take_up(kind, name, &object, clock);
            }
        } else if kind.is("", "Namespace") {
            self.tend_namespace(kind, name, &object, now);
        } else {
            self.tend_definition(kind, name, object, now, clock);
        }
    }

    fn take_up(&mut self, kind: &Arc<Kind>, name: &Name, object: &Value, clock: Instant) {
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
        let generation = object["metadata"]["generation"].as_u64().unwrap_or(0);
        let key = (kind.resource(), name.clone());
        let known = self.works.get(&key).is_some_and(|work| work.uid == uid && work.generation == generation);
        if !known {
            let work = Work {
                kind: Arc::clone(kind),
                uid: uid.to_owned(),
                generation,
                since: clock,
                due: Some(clock),
            };
            self.works.insert(key, work);
        }
    }

    /// When the next workload or definition wants to be looked at.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.works.values().filter_map(|work| work.due).chain(self.establishing.values().copied()).min()
    }

    /// Takes every workload whose time has come a step on, and every definition.
    pub(crate) fn work(&mut self, clock: Instant, now: &str) {
        let due: Vec<(String, Name)> = self
            .works
            .iter()
            .filter(|(_, work)| work.due.is_some_and(|due| due <= clock))
            .map(|(key, _)| key.clone())
            .collect();
        let node_kind = kinds::built_in().iter().find(|kind| kind.is("", "Node"));
        let nodes =
            node_kind.and_then(|kind| self.objects.get(&kind.resource())).map_or(0, |nodes| nodes.len());
        for key in due {
            let Some(work) = self.works.get_mut(&key) else { continue };
            let kind = Arc::clone(&work.kind);
            let age = clock.saturating_duration_since(work.since);
            let Some(mut object) =
                self.objects.get(&key.0).and_then(|all| all.get(&key.1)).map(|one| one.value(&kind))
            else {
                continue;
            };
            let workload::Step { status, next } =
                workload::step(&kind, &object, age, self.ready_after, nodes, now);
            work.due = next.map(|next| clock + next.max(Duration::from_millis(1)));
            if object["status"] != status {
                object["status"] = status;
                self.put(&kind, object);
            }
        }
        self.establish(clock, now);
        self.settle(now, Some(clock));
    }

    fn tend_namespace(&mut self, kind: &Arc<Kind>, name: &Name, object: &Value, now: &str) {
        if object["metadata"]["deletionTimestamp"].is_string() {
            let inside: Vec<(Arc<Kind>, Name)> =
                self.all().filter(|(_, (namespace, _))| *namespace == name.1).collect();
            for (inner, inner_name) in &inside {
                if let Some(object) = self.get(inner, inner_name).map(|stored| stored.value(inner)) {
                    self.begin_deletion(inner, inner_name, object, now, true);
                }
            }
            self.end_namespace(kind, name);
            return;
        }
        let accounts = kinds::built_in().iter().find(|kind| kind.is("", "ServiceAccount"));
        let default = (name.1.clone(), "default".to_owned());
        if let Some(accounts) = accounts.filter(|accounts| self.get(accounts, &default).is_none()) {
            let account = json!({"metadata": {"name": "default", "namespace": name.1, "creationTimestamp": now,
                "uid": uuid::Uuid::new_v4().to_string()}});
            self.put(accounts, account);
        }
    }

    /// Erases a namespace that is being deleted once nothing is left in it.
    fn end_namespace(&mut self, kind: &Arc<Kind>, name: &Name) {
        let terminating = self
            .get(kind, name)
            .is_some_and(|stored| stored.untyped()["metadata"]["deletionTimestamp"].is_string());
        if terminating && !self.all().any(|(_, (namespace, _))| namespace == name.1) {
            self.erase(kind, name, true);
        }
    }

    fn tend_definition(
        &mut self,
        kind: &Arc<Kind>,
        name: &Name,
        mut object: Value,
        now: &str,
        clock: Option<Instant>,
    ) {
        if object["metadata"]["deletionTimestamp"].is_string() {
            let kinds: Vec<Arc<Kind>> =
                self.defined.iter().filter(|kind| kind.resource() == name.1).cloned().collect();
            if let Some(defined) = kinds.first() {
                let names: Vec<Name> =
                    self.objects.get(&name.1).into_iter().flat_map(|all| all.keys().cloned()).collect();
                for name in names {
                    if let Some(object) = self.get(defined, &name).map(|stored| stored.value(defined)) {
                        self.begin_deletion(defined, &name, object, now, true);
                    }
                }
            }
            self.end_definition(kind, name);
            return;
        }
        if definition::is_established(&object) {
            return;
        }
        if let Some(clock) = clock {
            let after = self.established_after;
            let due = *self.establishing.entry(name.clone()).or_insert_with(|| clock + after);
            if due > clock {
                return;
            }
        }
        self.establishing.remove(name);
        object["status"] = definition::established(&object, now);
        object["metadata"]["finalizers"] = json!([CLEAN_UP]);
        self.put(kind, object);
    }

    /// Establishes the definitions whose time has come.
    fn establish(&mut self, clock: Instant, now: &str) {
        let definitions =
            kinds::built_in().iter().find(|kind| kind.is("apiextensions.k8s.io", "CustomResourceDefinition"));
        let due = self.establishing.iter().filter(|(_, due)| **due <= clock);
        for name in due.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            let Some(kind) = definitions else { return };
            if let Some(object) = self.get(kind, &name).map(|stored| stored.value(kind)) {
                self.tend_definition(kind, &name, object, now, Some(clock));
            }
        }
    }

    fn end_definition(&mut self, kind: &Arc<Kind>, name: &Name) {
        let Some(stored) = self.get(kind, name) else { return };
        let object = stored.untyped();
        let only_ours = object["metadata"]["finalizers"] == json!([CLEAN_UP]);
        let empty = self.objects.get(&name.1).is_none_or(|all| all.is_empty());
        if object["metadata"]["deletionTimestamp"].is_string() && only_ours && empty {
            self.erase(kind, name, true);
        }
    }

    fn after_erase(&mut self, kind: &Arc<Kind>, name: &Name, uid: &str, orphan: bool, now: &str) {
        if !orphan {
            self.collect_dependents(uid, now);
        }
        self.foreground.remove(&(kind.resource(), name.clone()));
        for (resource, name) in self.foreground.clone() {
            if let Some(kind) = self.kinds().into_iter().find(|kind| kind.resource() == resource) {
                self.end_foreground(&kind, &name, now);
            }
        }
        let built_in =
            |group: &str, wanted: &str| kinds::built_in().iter().find(|kind| kind.is(group, wanted));
        if !name.0.is_empty()
            && let Some(namespaces) = built_in("", "Namespace")
        {
            self.end_namespace(namespaces, &(String::new(), name.0.clone()));
        }
        if kind.custom
            && let Some(definitions) = built_in("apiextensions.k8s.io", "CustomResourceDefinition")
        {
            self.end_definition(definitions, &(String::new(), kind.resource()));
        }
    }

    /// Deletes what an object owns that is deleted in the foreground, and the object once nothing of that is left that
    /// blocks its deletion.
    fn end_foreground(&mut self, kind: &Arc<Kind>, name: &Name, now: &str) {
        let Some(mut object) = self.get(kind, name).map(|stored| stored.value(kind)) else { return };
        let finalizers = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        if object["metadata"]["deletionTimestamp"].is_null() || !finalizers.contains(&json!(FOREGROUND)) {
            return;
        }
        self.collect_dependents(&uid, now);
        let blocks =
            |owner: &Value| owner["uid"] == uid.as_str() && owner["blockOwnerDeletion"] == json!(true);
        if !self.dependents(&uid, blocks).is_empty() {
            return;
        }
        self.foreground.remove(&(kind.resource(), name.clone()));
        let rest: Vec<Value> = finalizers.into_iter().filter(|name| *name != json!(FOREGROUND)).collect();
        if rest.is_empty() {
            self.erase(kind, name, true);
        } else {
            object["metadata"]["finalizers"] = json!(rest);
            self.put(kind, object);
        }
    }

    fn collect_dependents(&mut self, uid: &str, now: &str) {
        for (kind, name, object) in self.dependents(uid, |owner| owner["uid"] == uid) {
            self.begin_deletion(&kind, &name, object, now, false);
        }
    }

    /// The objects with such a reference to their owner, who has this uid.
    fn dependents(&self, uid: &str, fits: impl Fn(&Value) -> bool) -> Vec<(Arc<Kind>, Name, Value)> {
        let owned = |object: &Value| {
            let owners = object["metadata"]["ownerReferences"].as_array();
            owners.is_some_and(|owners| owners.iter().any(&fits))
        };
        let of_owner = |(kind, name): (Arc<Kind>, Name)| {
            let stored = self.get(&kind, &name).filter(|stored| stored.mentions(uid))?;
            let object = stored.value(&kind);
            owned(&object).then_some((kind, name, object))
        };
        self.all().filter_map(of_owner).collect()
    }

    /// Every object, by its kind and name.
    fn all(&self) -> impl Iterator<Item = (Arc<Kind>, Name)> + '_ {
        let mut seen = std::collections::BTreeSet::new();
        let kinds: Vec<Arc<Kind>> =
            self.kinds().into_iter().filter(|kind| seen.insert(kind.resource())).collect();
        kinds.into_iter().flat_map(|kind| {
            let names: Vec<Name> =
                self.objects.get(&kind.resource()).into_iter().flat_map(|all| all.keys().cloned()).collect();
            names.into_iter().map(move |name| (Arc::clone(&kind), name))
        })
    }
}
