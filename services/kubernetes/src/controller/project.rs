//! From the API's messages to what this adapter keeps of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use krake_client::NamespacedName;
use krake_proto::finalizer::KUBERNETES_RESOURCES;
use krake_proto::json::document_value;
use krake_proto::krake::kubernetes::v1 as api;
use krake_proto::krake::meta::v1::{Condition, Metadata, ResourceRef};
use serde_json::Value;

use super::manifest::Manifest;
use super::record;
use crate::cluster::identity::{ClusterIdentity, Known};
use crate::object::rendering::DocumentHash;
use crate::object::validation::FieldValidation;
use crate::object::{ApplicationUid, ClusterUid, ObjectKey};
use crate::plan::{CopyRecord, Strategy};

/// An application as this adapter keeps it.
#[derive(Debug, Clone)]
pub(crate) struct Application {
    pub(crate) key: NamespacedName,
    pub(crate) uid: ApplicationUid,
    /// Marked as deleted.
    pub(crate) deleted: bool,
    /// Nobody else's finalizer stands before ours.
    pub(crate) our_turn: bool,
    /// Store revision of what this shows.
    pub(crate) resource_version: i64,
    pub(crate) generation: i64,
    pub(crate) scheduled_generation: i64,
    /// Number of retries that were requested so far.
    pub(crate) retry_requests: i64,
    /// The trace context of the write that made it what it is.
    pub(crate) trace_parent: String,
    pub(crate) manifest: Manifest,
    pub(crate) adopt_existing: bool,
    pub(crate) field_validation: FieldValidation,
    pub(crate) strategy: Strategy,
    /// If it claims volumes: the clusters where an attempt failed and was given up for another one.
    pub(crate) given_up: BTreeSet<ClusterUid>,
    /// The wanted set.
    pub(crate) bindings: Vec<ResourceRef>,
    /// What is recorded.
    pub(crate) copies: Vec<RecordedCopy>,
    /// Jobs that ran to their end on copies that were forgotten since.
    pub(crate) completed: BTreeMap<ObjectKey, DocumentHash>,
}

/// A copy with the API's name of its cluster.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RecordedCopy {
    pub(crate) cluster: ResourceRef,
    pub(crate) record: CopyRecord,
}

impl Application {
    /// The API's name of a cluster that the application is bound to or has a copy on.
    pub(crate) fn cluster(&self, uid: &ClusterUid) -> Option<&ResourceRef> {
        let copies = self.copies.iter().map(|copy| &copy.cluster);
        self.bindings.iter().chain(copies).find(|cluster| cluster.uid == uid.as_str())
    }

    /// The copy on a cluster.
    pub(crate) fn copy(&self, uid: &ClusterUid) -> Option<&CopyRecord> {
        self.copies.iter().map(|copy| &copy.record).find(|record| record.cluster == *uid)
    }

    /// The clusters that matter to the application, each once.
    pub(crate) fn clusters(&self) -> Vec<ClusterUid> {
        let copies = self.copies.iter().map(|copy| &copy.cluster);
        let mut uids: Vec<ClusterUid> =
            self.bindings.iter().chain(copies).map(|cluster| cluster.uid.as_str().into()).collect();
        uids.sort_unstable();
        uids.dedup();
        uids
    }
}

/// An application. One whose manifest cannot be read is not kept: nothing is done for it, and nothing against it.
pub(crate) fn application(object: &api::Application) -> Option<Application> {
    let metadata = object.metadata.clone()?;
    let key = NamespacedName::from(&metadata);
    let (spec, status) = (object.spec.clone().unwrap_or_default(), object.status.clone().unwrap_or_default());
    let manifest = match Manifest::read(&spec) {
        Ok(manifest) => manifest,
        Err(error) => {
            tracing::error!(application = %key, ?error, "a stored manifest cannot be read");
            return None;
        }
    };
    let mut copies: Vec<_> = status.copies.iter().filter_map(copy).collect();
    // Most applications have one copy, and collecting made room for four, of 600 bytes each.
    copies.shrink_to_fit();
    let strategy = match spec.migration_strategy() {
        api::MigrationStrategy::DeleteFirst => Strategy::DeleteFirst,
        api::MigrationStrategy::CreateFirst | api::MigrationStrategy::Unspecified => Strategy::CreateFirst,
    };
    Some(Application {
        uid: metadata.uid.as_str().into(),
        deleted: metadata.deleted.is_some(),
        our_turn: metadata.finalizers.last().is_none_or(|finalizer| finalizer == KUBERNETES_RESOURCES),
        resource_version: metadata.resource_version,
        generation: metadata.generation,
        scheduled_generation: status.scheduled_generation,
        retry_requests: status.retry_requests,
        trace_parent: metadata.trace_parent,
        manifest,
        adopt_existing: spec.adopt_existing,
        field_validation: match spec.field_validation() {
            api::FieldValidation::Warn => FieldValidation::Warn,
            api::FieldValidation::Strict | api::FieldValidation::Unspecified => FieldValidation::Strict,
        },
        strategy,
        given_up: given_up(&spec, &status),
        completed: status.completed_jobs.iter().filter_map(record::completed_from_api).collect(),
        bindings: status.bindings.into_iter().filter_map(|binding| binding.cluster).collect(),
        copies,
        key,
    })
}

/// Clusters where attempts failed that left volumes, or what claims them.
fn given_up(spec: &api::ApplicationSpec, status: &api::ApplicationStatus) -> BTreeSet<ClusterUid> {
    if !spec.manifest.iter().any(|entry| entry.claims_volumes) {
        return BTreeSet::new();
    }
    let clusters = status.failed_attempts.iter().filter_map(|attempt| attempt.cluster.as_ref());
    clusters.map(|cluster| cluster.uid.as_str().into()).collect()
}

/// A copy as recorded.
pub(crate) fn copy(copy: &api::Copy) -> Option<RecordedCopy> {
    let cluster = copy.cluster.clone()?;
    Some(RecordedCopy { record: record::from_api(&cluster, copy), cluster })
}

/// A cluster as this adapter keeps it.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub(crate) reference: ResourceRef,
    pub(crate) uid: ClusterUid,
    pub(crate) deleted: bool,
    /// When its deletion began.
    pub(crate) deleted_at: Option<Timestamp>,
    /// What its deletion is said to wait for.
    pub(crate) waits_for: String,
    /// The finalizer whose owner is to work next.
    pub(crate) next_finalizer: Option<String>,
    pub(crate) kubeconfig: Arc<Value>,
    /// A person declared it lost.
    pub(crate) lost: bool,
    /// It may be the same as another cluster.
    pub(crate) allow_duplicate: bool,
    /// What is told of it now.
    pub(crate) told: Told,
    /// Which orphans are shown.
    pub(crate) orphans: Vec<api::Orphan>,
    /// Generation of its spec, which has the kubeconfig.
    pub(crate) generation: i64,
    pub(crate) resource_version: i64,
}

impl Cluster {
    /// What it is known by. An older version did not record by which kubeconfig it was reached.
    pub(crate) fn known(&self) -> Known {
        let Told { identity, identity_generation, .. } = &self.told;
        let by_another_kubeconfig = *identity_generation != 0 && *identity_generation != self.generation;
        Known { identity: identity.clone(), by_another_kubeconfig }
    }
}

/// What the API shows of a cluster's health.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Told {
    pub(crate) conditions: Vec<Condition>,
    pub(crate) nodes: Vec<api::ClusterNode>,
    /// Numbers of all nodes; absent if they are not known.
    pub(crate) counts: Option<api::NodeCounts>,
    pub(crate) version: String,
    /// What it is known by.
    pub(crate) identity: ClusterIdentity,
    /// Generation of the last spec by whose kubeconfig it was reached as that; 0 if that is not known.
    pub(crate) identity_generation: i64,
    /// The first of the failures for which the cluster is unreachable.
    pub(crate) unreachable_since: Option<Timestamp>,
}

fn identity(identity: api::ClusterIdentity) -> ClusterIdentity {
    ClusterIdentity { kube_system_uid: identity.kube_system_uid, ca_sha256: identity.ca_sha256 }
}

/// A cluster with a kubeconfig; others are not this adapter's.
pub(crate) fn cluster(object: &api::Cluster) -> Option<Cluster> {
    let metadata: Metadata = object.metadata.clone()?;
    let kubeconfig = document_value(object.spec.as_ref()?.kubeconfig.as_ref()?).ok()?;
    let status = object.status.clone().unwrap_or_default();
    Some(Cluster {
        reference: <api::Cluster as krake_proto::Resource>::KIND.reference(&metadata),
        uid: metadata.uid.as_str().into(),
        deleted: metadata.deleted.is_some(),
        deleted_at: metadata.deleted.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok()),
        waits_for: metadata.deletion.map(|deletion| deletion.waits_for).unwrap_or_default(),
        next_finalizer: metadata.finalizers.last().cloned(),
        kubeconfig: Arc::new(kubeconfig),
        lost: status.lost.is_some(),
        allow_duplicate: object.spec.as_ref().is_some_and(|spec| spec.allow_duplicate),
        generation: metadata.generation,
        orphans: status.orphans,
        told: Told {
            conditions: status.conditions,
            nodes: status.nodes,
            counts: status.node_counts,
            identity_generation: status.identity.as_ref().map_or(0, |identity| identity.generation),
            identity: status.identity.map(identity).unwrap_or_default(),
            version: status.kubernetes_version,
            unreachable_since: status
                .unreachable_since
                .and_then(|time| Timestamp::new(time.seconds, time.nanos).ok()),
        },
        resource_version: metadata.resource_version,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_claims_volumes_waits_until_what_failed_is_gone() {
        let given_up = |claims_volumes| {
            let entry = api::Manifest { claims_volumes, ..Default::default() };
            let cluster = Some(ResourceRef { uid: "c".into(), ..Default::default() });
            let failed_attempts = vec![api::FailedAttempt { cluster, ..Default::default() }];
            given_up(
                &api::ApplicationSpec {
                    manifest: vec![api::Manifest::default(), entry],
                    ..Default::default()
                },
                &api::ApplicationStatus { failed_attempts, ..Default::default() },
            )
        };
        assert_eq!(given_up(true), ["c".into()].into());
        assert_eq!(given_up(false), BTreeSet::new());
    }

    #[test]
    fn an_application_takes_no_more_memory_than_its_copies_need() {
        let copy = |uid: &str| api::Copy {
            cluster: Some(ResourceRef { uid: uid.to_owned(), ..ResourceRef::default() }),
            ..api::Copy::default()
        };
        let copies = vec![copy("one"), api::Copy::default(), copy("two")];
        let object = api::Application {
            metadata: Some(Metadata::default()),
            spec: None,
            status: Some(api::ApplicationStatus { copies, ..api::ApplicationStatus::default() }),
        };
        let kept = application(&object).unwrap().copies;
        let uids: Vec<&str> = kept.iter().map(|copy| copy.cluster.uid.as_str()).collect();
        assert_eq!((uids, kept.capacity()), (vec!["one", "two"], 2));
    }
}
