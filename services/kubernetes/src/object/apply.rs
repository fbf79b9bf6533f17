//! Applying the objects of an application to a cluster: look at all of them, then write each under its guard.

use std::time::Duration;

use futures::{FutureExt, StreamExt};
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tracing::Instrument;

use crate::cluster::connection::Connection;
use crate::error::ClusterError;
use crate::object::definition;
use crate::object::field_ownership;
use crate::object::ownership::{self, Admitted, Holder, Live, Refusal};
use crate::object::prepare::Target;
use crate::object::redaction::SecretValues;
use crate::object::{ADOPTED_ANNOTATION, FIELD_MANAGER, Identity, InventoryEntry, ObjectKey};

/// Reads in flight at once during the preflight.
const READS_AT_ONCE: usize = 8;
/// How often, and how far apart, a custom resource definition is looked at until its kind is served.
const ESTABLISHED_LOOKS: u32 = 50;
const ESTABLISHED_PAUSE: Duration = Duration::from_millis(100);
/// How often an object that changes under our hands is looked at again.
const ATTEMPTS: usize = 4;

/// An application was not, or not wholly, applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Objects are not free, or not gone yet. Found before anything was written, unless somebody was faster in between.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The cluster went silent in between. What was written and what not is not known.
    #[error(transparent)]
    Cluster(ClusterError),
    /// The cluster did not accept an object.
    #[error("{key}: {error}")]
    Object {
        /// The object.
        key: ObjectKey,
        /// Why.
        error: ClusterError,
    },
}

impl ApplyError {
    /// The same without values of Secrets in what the cluster said.
    fn without(self, secrets: &SecretValues) -> Self {
        let cut = |error: ClusterError| error.map_message(|message| secrets.cut_out_of(message));
        match self {
            Self::Object { key, error } => Self::Object { key, error: cut(error) },
            Self::Cluster(error) => Self::Cluster(cut(error)),
            refused @ Self::Refused(_) => refused,
        }
    }
}

/// An object as it was after it was applied.
#[derive(Clone, Debug)]
pub struct AppliedObject {
    /// What names it.
    pub key: ObjectKey,
    /// The server's answer: the whole object.
    pub object: DynamicObject,
}

impl AppliedObject {
    /// The entry of the object in the inventory of its copy.
    pub fn inventory_entry(&self) -> InventoryEntry {
        InventoryEntry { key: self.key.clone(), uid: self.object.metadata.uid.clone() }
    }
}

/// Applies all objects of an application, in order. Before the first is written all are read; if one of them is not free,
/// nothing is written. Applying the same objects again changes nothing. What the cluster accepted is pushed to `accepted`,
/// also if a later object fails or the call is dropped. An error holds no value of a Secret.
pub async fn apply(
    connection: &Connection,
    targets: &[Target],
    claim: &Claim<'_>,
    accepted: &mut Vec<AppliedObject>,
) -> Result<(), ApplyError> {
    let applied = apply_all(connection, targets, claim, accepted).await;
    applied.map_err(|error| error.without(&SecretValues::of(targets)))
}

async fn apply_all(
    connection: &Connection,
    targets: &[Target],
    claim: &Claim<'_>,
    accepted: &mut Vec<AppliedObject>,
) -> Result<(), ApplyError> {
    let reads: Vec<_> = targets.iter().map(|target| read(connection, target).boxed()).collect();
    let found: Vec<_> = futures::stream::iter(reads).buffered(READS_AT_ONCE).collect().await;
    let mut seen = Vec::with_capacity(targets.len());
    for (target, live) in targets.iter().zip(found) {
        seen.push((target, live?));
    }
    let holders = seen.iter().map(|(target, live)| claim.holder(target, live.as_ref()));
    let admitted = ownership::preflight(holders, claim.adopt_existing)?;

    for ((target, live), admitted) in seen.into_iter().zip(admitted) {
        let span = tracing::info_span!("apply", otel.kind = "client", object = %target.prepared.key,
            cluster = claim.identity.cluster.as_str());
        let write = write(connection, target, live, admitted, claim);
        let mut object = write.instrument(span).await?;
        if definition::is_definition(&target.prepared.key) {
            object = established(connection, target, object).await?;
        }
        accepted.push(AppliedObject { key: target.prepared.key.clone(), object });
    }
    Ok(())
}

/// By what an application claims its objects.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The marks of its objects.
    pub identity: &'a Identity,
    /// What was applied before, with uids: such an object is the application's even if it has lost a mark.
    pub inventory: &'a [InventoryEntry],
    /// Take over objects that belong to nobody.
    pub adopt_existing: bool,
}

impl Claim<'_> {
    /// Whose the live object of a target is.
    fn holder(&self, target: &Target, live: Option<&DynamicObject>) -> (ObjectKey, Holder) {
        let key = &target.prepared.key;
        let recorded = self.inventory.iter().find(|entry| entry.key == *key);
        let recorded = recorded.and_then(|entry| entry.uid.as_deref());
        let metadata = live.map(|object| &object.metadata);
        (key.clone(), ownership::holder(metadata, self.identity, recorded))
    }
}

/// Waits until the cluster serves the kind that a definition defines, so that its objects can be applied next; not for
/// ever: whatever follows fails then, and is tried again.
async fn established(
    connection: &Connection,
    target: &Target,
    mut object: DynamicObject,
) -> Result<DynamicObject, ApplyError> {
    for _ in 0..ESTABLISHED_LOOKS {
        if definition::established(&object.data) {
            break;
        }
        tokio::time::sleep(ESTABLISHED_PAUSE).await;
        let Some(live) = read(connection, target).await? else { break };
        object = live;
    }
    Ok(object)
}

async fn read(connection: &Connection, target: &Target) -> Result<Option<DynamicObject>, ApplyError> {
    let key = &target.prepared.key;
    let objects = connection.objects(&target.kind, key.namespace.as_deref());
    connection.find(&objects, &key.name).await.map_err(|error| failed(target, error))
}

fn failed(target: &Target, error: ClusterError) -> ApplyError {
    ApplyError::Object { key: target.prepared.key.clone(), error }
}

/// Writes one object. When it is not any more what was seen, it is read and judged again.
async fn write(
    connection: &Connection,
    target: &Target,
    mut live: Option<DynamicObject>,
    mut admitted: Admitted,
    claim: &Claim<'_>,
) -> Result<DynamicObject, ApplyError> {
    let mut attempt = 1;
    loop {
        let outcome = match &admitted {
            Admitted::Create => create(connection, target).await,
            Admitted::Update(seen) => update(connection, target, live.as_ref(), seen).await,
            Admitted::Adopt(seen) => adopt(connection, target, seen).await,
        };
        let error = match outcome {
            Ok(object) => return Ok(object),
            Err(error) => error,
        };
        // Servers answer a wrong uid in a patch with "immutable field" (422), which a bad manifest may give as well.
        let guard_failed = matches!(
            error,
            ClusterError::AlreadyExists(_) | ClusterError::Conflict(_) | ClusterError::Rejected(_)
        );
        if !guard_failed || attempt == ATTEMPTS {
            return Err(failed(target, error));
        }
        attempt += 1;
        live = read(connection, target).await?;
        if matches!(error, ClusterError::Rejected(_)) && uid(live.as_ref()) == admitted.uid() {
            return Err(failed(target, error));
        }
        let again = ownership::preflight([claim.holder(target, live.as_ref())], claim.adopt_existing)?;
        admitted = again.into_iter().next().unwrap_or(Admitted::Create);
    }
}

fn uid(live: Option<&DynamicObject>) -> Option<&str> {
    live?.metadata.uid.as_deref()
}

/// Creates: fails if the object exists, whoever made it.
async fn create(connection: &Connection, target: &Target) -> Result<DynamicObject, ClusterError> {
    let body: DynamicObject = serde_json::from_value(target.prepared.body.clone())
        .map_err(|error| ClusterError::Rejected(error.to_string().into()))?;
    let objects = connection.objects(&target.kind, target.prepared.key.namespace.as_deref());
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    connection.call(objects.create(&params, &body)).await
}

/// Applies to the object with the uid that was seen, after its books are in order.
async fn update(
    connection: &Connection,
    target: &Target,
    live: Option<&DynamicObject>,
    seen: &Live,
) -> Result<DynamicObject, ClusterError> {
    let books = live.and_then(|object| object.metadata.managed_fields.as_deref()).unwrap_or_default();
    if let Some(books) = field_ownership::as_applied(books) {
        let key = &target.prepared.key;
        let patch = json!({"metadata": {
            "uid": seen.uid, "resourceVersion": seen.resource_version, "managedFields": books}});
        let objects = connection.objects(&target.kind, key.namespace.as_deref());
        connection.call(objects.patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch))).await?;
    }
    let mut body = target.prepared.body.clone();
    body["metadata"]["uid"] = seen.uid.clone().into();
    if seen.adopted {
        body["metadata"]["annotations"][ADOPTED_ANNOTATION] = "true".into();
    }
    server_side_apply(connection, target, &body).await
}

/// Applies to exactly the object that was seen, and marks it as one that existed before.
async fn adopt(connection: &Connection, target: &Target, seen: &Live) -> Result<DynamicObject, ClusterError> {
    let mut body = target.prepared.body.clone();
    body["metadata"]["uid"] = seen.uid.clone().into();
    body["metadata"]["resourceVersion"] = seen.resource_version.clone().into();
    body["metadata"]["annotations"][ADOPTED_ANNOTATION] = "true".into();
    server_side_apply(connection, target, &body).await
}

async fn server_side_apply(
    connection: &Connection,
    target: &Target,
    body: &Value,
) -> Result<DynamicObject, ClusterError> {
    let key = &target.prepared.key;
    let objects = connection.objects(&target.kind, key.namespace.as_deref());
    let params = PatchParams::apply(FIELD_MANAGER).force();
    connection.call(objects.patch(&key.name, &params, &Patch::Apply(body))).await
}
