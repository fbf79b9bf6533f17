//! The Job of the simulated world, which runs to its end and is collected then, and what is recorded of that.
//!
//! The law: what is recorded to have run to its end for a set of documents is not applied again for that set, neither to the
//! copy that it is recorded of nor to one that is begun later.

use std::collections::BTreeMap;

use super::{Cluster, World, set};
use crate::object::rendering::DocumentHash;
use crate::object::{ClusterUid, ObjectKey};
use crate::plan::CopyRecord;

/// What is known of Jobs that ran to their end.
#[derive(Default)]
pub(super) struct Jobs {
    /// Those of copies that are forgotten, as the state service keeps them.
    pub(super) kept: BTreeMap<ObjectKey, DocumentHash>,
    /// For each copy those that must not run again there.
    done: BTreeMap<ClusterUid, BTreeMap<ObjectKey, DocumentHash>>,
}

/// The Job that all documents have.
pub(super) fn key() -> ObjectKey {
    ObjectKey { api_version: "batch/v1".into(), kind: "Job".into(), namespace: None, name: "once".into() }
}

impl Cluster {
    /// Documents are applied to an object: a Job of others begins to run.
    pub(super) fn write(&mut self, key: &ObjectKey, documents: i64) {
        let before = self.objects.insert(key.clone(), documents);
        if *key == self::key() && before != Some(documents) {
            self.ended = false;
        }
    }

    /// Whether an object is a Job that ran to its end.
    pub(super) fn has_ended(&self, key: &ObjectKey) -> bool {
        *key == self::key() && self.ended && self.objects.contains_key(key)
    }

    /// The Job that is there runs to its end.
    pub(super) fn end_job(&mut self) {
        self.ended = self.objects.contains_key(&key());
    }

    /// A Job that ran to its end is deleted, as by its time to live.
    pub(super) fn collect_job(&mut self) {
        if self.has_ended(&key()) {
            self.objects.remove(&key());
        }
    }

    /// Somebody deletes an object by hand, and no Job.
    pub(super) fn vandalise(&mut self) {
        let victim = self.objects.keys().find(|object| **object != key()).cloned();
        victim.map(|victim| self.objects.remove(&victim));
    }
}

impl World {
    /// A record of a copy is about to replace the one before.
    pub(super) fn jobs_recorded(&mut self, copy: &CopyRecord) {
        let uid = &copy.cluster;
        let wanted = set(self.documents).hash;
        let is_first = !self.copies.contains_key(uid);
        let others = self.copies.values().filter(|other| other.cluster != *uid);
        let is_done = others.into_iter().any(|other| other.has_completed(&key(), wanted))
            || self.jobs.kept.get(&key()) == Some(&wanted);
        let done = self.jobs.done.entry(uid.clone()).or_default();
        if is_first && is_done {
            done.insert(key(), wanted);
        }
        done.extend(copy.completed.clone());
        // As in the state service: a bound copy that is whole named those that it takes over.
        if !is_first && copy.applied_work.is_some() && self.bindings.contains(uid) {
            self.jobs.kept.clear();
        }
    }

    /// A copy is about to be forgotten.
    pub(super) fn jobs_forgotten(&mut self, uid: &ClusterUid) {
        self.jobs.done.remove(uid);
        if !self.deleted {
            self.jobs.kept.extend(self.copies[uid].completed.clone());
        }
    }

    /// The law, when objects are applied.
    pub(super) fn check_jobs(&self, uid: &ClusterUid, objects: &[(ObjectKey, i64)]) {
        let Some(done) = self.jobs.done.get(uid) else { return };
        for (key, documents) in objects {
            let is_done = done.get(key) == Some(&set(*documents).hash);
            assert!(!is_done, "{key} ran to its end for these documents, and is run again on {uid}");
        }
    }
}
