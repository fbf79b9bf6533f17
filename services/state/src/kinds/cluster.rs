//! Rules for clusters.

mod admit;
mod conditions;
mod derive;
mod identity;
mod lost;

use krake_proto::Resource;
use krake_proto::condition::types;
use krake_proto::finalizer::CLUSTER_COPIES;
use krake_proto::krake::core::v1::MetricRef;
use krake_proto::krake::kubernetes::v1::{Application, Cluster, ClusterSpec, ClusterStatus};
use krake_proto::krake::meta::v1::{Condition, Metadata};
use krake_proto::numbers::kubernetes::v1::cluster_status as field;
use krake_proto::reachability;
use prost::{DecodeError, Message};

use super::{CustomMethod, KindRules, ManagedFinalizer, Need, OwnCondition, Relation, application, typed};
use crate::cache::Stored;
use crate::object::wire::Malformed;

/// The rules.
pub(super) static RULES: KindRules = KindRules {
    defaults: || admit::defaults().encode_to_vec(),
    derived: &[field::STATE, field::REASON],
    derive,
    absence,
    reserved: &[field::LOST, field::REPLACED],
    // New copies cannot come while it is checked: copies on a cluster that is being deleted are refused.
    managed_finalizers: &[ManagedFinalizer {
        name: CLUSTER_COPIES,
        needed: Need::Others(Relation {
            of: Application::KIND,
            holds: has_copy_on,
            has: "still has a copy on it",
        }),
    }],
    conditions: &[
        OwnCondition { r#type: types::REACHABLE, writer: "krake-kubernetes" },
        OwnCondition { r#type: types::NODES_HEALTHY, writer: "krake-kubernetes" },
        OwnCondition { r#type: types::IDENTITY_VERIFIED, writer: "krake-kubernetes" },
        OwnCondition { r#type: types::NEEDS_OPERATOR, writer: "krake-kubernetes" },
        OwnCondition { r#type: types::METRICS_AVAILABLE, writer: "krake-scheduler" },
    ],
    admit_status: admit::validate_status,
    upgrades: &[conditions::UPGRADE],
    custom_methods: &[
        CustomMethod {
            name: "DeclareClusterLost",
            reads: false,
            serve: |registry, call, request| Box::pin(registry.declare_lost(call, request)),
        },
        CustomMethod {
            name: "AcceptClusterIdentity",
            reads: false,
            serve: |registry, call, request| Box::pin(registry.accept_identity(call, request)),
        },
    ],
    ..KindRules::of(Cluster::KIND, |_, spec, _, findings| typed(spec, findings, admit::validate))
};

fn derive(metadata: &Metadata, status: &[u8]) -> Result<Vec<u8>, DecodeError> {
    Ok(derive::derive(metadata, &ClusterStatus::decode(status)?).encode_to_vec())
}

/// Why the cluster is unreachable. A status that cannot be read says nothing.
fn absence(status: &[u8]) -> Option<Condition> {
    reachability::unreachable(&ClusterStatus::decode(status).ok()?).cloned()
}

fn has_copy_on(application: &Stored, cluster: &Stored) -> Result<bool, Malformed> {
    // Most applications are elsewhere, which the index knows.
    if !application.clusters().map_err(Clone::clone)?.contains(&cluster.metadata.uid) {
        return Ok(false);
    }
    let status = application.sections.status.as_deref().unwrap_or_default();
    Ok(application::has_copy_on(status, &cluster.metadata.uid)?)
}

/// Whether a person declared the cluster lost.
pub(super) fn is_lost(cluster: &Stored) -> Result<bool, DecodeError> {
    let status = cluster.sections.status.clone().unwrap_or_default();
    Ok(ClusterStatus::decode(status)?.lost.is_some())
}

/// The metrics that rank a cluster.
pub(super) fn metrics(cluster: &Stored) -> Result<Vec<MetricRef>, DecodeError> {
    Ok(ClusterSpec::decode(cluster.sections.spec.as_deref().unwrap_or_default())?.metrics)
}
