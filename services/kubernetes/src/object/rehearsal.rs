//! Rehearsals: what a server would make of an object that is there, found out by an apply that changes nothing.
//!
//! A new process does not know what servers and webhooks made of what was applied before it. Where a live object differs from
//! its document, a rehearsal tells whether an apply would change it.

use kube::api::{DynamicObject, Patch, PatchParams};

use crate::cluster::connection::Connection;
use crate::error::ClusterError;
use crate::object::FIELD_MANAGER;
use crate::object::prepare::Target;

/// The object with this uid as it would be after an apply.
///
/// # Errors
/// When the server would refuse it, or cannot rehearse: webhooks with side effects forbid it.
pub async fn rehearse(
    connection: &Connection,
    target: &Target,
    uid: &str,
) -> Result<DynamicObject, ClusterError> {
    let key = &target.prepared.key;
    let mut body = target.prepared.body.clone();
    body["metadata"]["uid"] = uid.into();
    let params = PatchParams { dry_run: true, ..PatchParams::apply(FIELD_MANAGER).force() };
    let objects = connection.objects(&target.kind, key.namespace.as_deref());
    connection.call(objects.patch(&key.name, &params, &Patch::Apply(&body))).await
}
