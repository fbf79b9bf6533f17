//! Rules for applications.

mod admit;
mod bind;
mod completed;
mod conditions;
mod copy;
mod derive;
mod disarm;
mod lists;
mod manifest;
mod observed;
mod owners;
mod retry;
mod volumes;
mod works;

use krake_proto::Resource;
use krake_proto::condition::types;
use krake_proto::finalizer::KUBERNETES_RESOURCES;
use krake_proto::krake::kubernetes::v1::{Application, ApplicationStatus};
use krake_proto::krake::meta::v1::{Metadata, ResourceRef};
use krake_proto::numbers::kubernetes::v1::{application_status as field, binding, copy as copy_field};
use prost::{DecodeError, Message};

use super::{CustomMethod, KindRules, ManagedFinalizer, Need, OwnCondition, typed};
use crate::cache::Absences;
use crate::object::wire::{self, Malformed};

pub(super) use admit::{backoff, custom_resource};

/// The rules.
pub(super) static RULES: KindRules = KindRules {
    defaults: || admit::defaults().encode_to_vec(),
    unfold: lists::unfold,
    complete: admit::complete,
    derived: &[
        field::STATE,
        field::REASON,
        field::CONTAINER_HEALTH,
        field::SCHEDULED_TO,
        field::RUNNING_ON,
        field::SERVICES,
        field::LAST_APPLIED_MANIFEST,
        field::UNREACHABLE_CLUSTERS,
        field::LAST_OBSERVED_MANIFEST,
        field::MANGLED_OBSERVER_SCHEMA,
    ],
    derive,
    derived_on_read: &[field::STATE, field::REASON, field::UNREACHABLE_CLUSTERS],
    derive_on_read,
    reserved: &[
        field::BINDINGS,
        field::COPIES,
        field::KUBE_CONTROLLER_TRIGGERED,
        field::SCHEDULED,
        field::SCHEDULED_GENERATION,
        field::HISTORY,
        field::DECISION,
        field::FAILED_ATTEMPTS,
        field::RETRY_REQUESTS,
        field::COMPLETED_JOBS,
    ],
    clusters,
    is_on_clusters: true,
    managed_finalizers: &[ManagedFinalizer { name: KUBERNETES_RESOURCES, needed: Need::Status(has_copies) }],
    conditions: &[OwnCondition { r#type: types::SCHEDULED, writer: "krake-scheduler" }],
    upgrades: &[disarm::UPGRADE, conditions::UPGRADE, volumes::UPGRADE],
    documents: Some(works::hashes),
    large: Some(&manifest::LARGE),
    shown: Some(&observed::SHOWN),
    large_requests: &["PutDocuments", "CreateApplication", "UpdateApplication"],
    custom_methods: &[
        CustomMethod {
            name: "BindApplication",
            reads: false,
            serve: |registry, call, request| Box::pin(registry.bind(call, request)),
        },
        CustomMethod {
            name: "RetryApplication",
            reads: false,
            serve: |registry, call, request| Box::pin(registry.retry(call, request)),
        },
        CustomMethod {
            name: "ReportCopy",
            reads: false,
            serve: |registry, call, request| Box::pin(registry.report_copy(call, request)),
        },
        CustomMethod {
            name: "ReportObservation",
            reads: false,
            serve: |registry, call, request| Box::pin(registry.report_observation(call, request)),
        },
        CustomMethod {
            name: "PutDocuments",
            reads: false,
            serve: |registry, call, request| Box::pin(registry.put_application_documents(call, request)),
        },
        CustomMethod {
            name: "GetApplicationDocuments",
            reads: true,
            serve: |registry, _, request| Box::pin(registry.get_application_documents(request)),
        },
    ],
    ..KindRules::of(Application::KIND, |_, spec, documents, findings| {
        typed(spec, findings, |spec, findings| admit::validate(spec, documents, findings));
    })
};

fn derive(metadata: &Metadata, status: &[u8]) -> Result<Vec<u8>, DecodeError> {
    Ok(derive::derive(metadata, &ApplicationStatus::decode(status)?).encode_to_vec())
}

fn derive_on_read(metadata: &Metadata, status: &[u8], absences: &Absences) -> Result<Vec<u8>, DecodeError> {
    Ok(derive::on_read(metadata, &ApplicationStatus::decode(status)?, absences).encode_to_vec())
}

fn has_copies(status: &[u8]) -> Result<bool, DecodeError> {
    Ok(!ApplicationStatus::decode(status)?.copies.is_empty())
}

/// Whether the application has a copy on the cluster with this uid, whether it is bound there or not.
pub(super) fn has_copy_on(status: &[u8], cluster: &str) -> Result<bool, DecodeError> {
    let status = ApplicationStatus::decode(status)?;
    Ok(status.copies.iter().filter_map(|copy| copy.cluster.as_ref()).any(|copy| copy.uid == cluster))
}

/// The uids of the clusters that an application is bound to or has a copy on, each once. Reads only these fields:
/// every change of an application is asked for them by each watch of a cluster.
fn clusters(status: &[u8]) -> Result<Vec<String>, Malformed> {
    let mut found = Vec::new();
    for place in wire::fields(status) {
        let place = place?;
        let cluster = match place.number {
            field::BINDINGS => binding::CLUSTER,
            field::COPIES => copy_field::CLUSTER,
            _ => continue,
        };
        let content =
            place.content().ok_or_else(|| Malformed::new(format!("field {} is no message", place.number)))?;
        let reference = wire::singular(content, cluster)?.unwrap_or_default();
        let uid = ResourceRef::decode(reference.as_slice())?.uid;
        if !uid.is_empty() && !found.contains(&uid) {
            found.push(uid);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use krake_proto::krake::kubernetes::v1::{Binding, Copy};

    #[test]
    fn an_application_is_where_it_is_bound_and_where_it_has_copies() {
        let cluster =
            |uid: &str| Some(ResourceRef { uid: uid.into(), name: "c".into(), ..Default::default() });
        let status = ApplicationStatus {
            bindings: vec![Binding { cluster: cluster("new"), ..Default::default() }],
            copies: vec![
                Copy {
                    cluster: cluster("old"),
                    services: [("a".into(), "b".into())].into(),
                    ..Default::default()
                },
                Copy { cluster: cluster("new"), ..Default::default() },
            ],
            scheduled_to: cluster("derived"),
            ..Default::default()
        };
        assert_eq!(clusters(&status.encode_to_vec()).unwrap(), ["new", "old"]);
        assert!(has_copy_on(&status.encode_to_vec(), "old").unwrap());
        assert!(!has_copy_on(&status.encode_to_vec(), "derived").unwrap());
    }
}
