//! Applying the objects of an application to a cluster: look at all of them, then write each under its guard.

use std::collections::HashMap;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use kube::api::DynamicObject;
use serde_json::Value;
use tokio::time::Instant;
use tracing::Instrument;

use crate::cluster::connection::Connection;
use crate::error::ClusterError;
use crate::object::autoscaler::{Replicas, Scaling};
use crate::object::definition;
use crate::object::ownership::{self, Admitted, Found, Others, Refusal};
use crate::object::pass::{self, Due, Pass};
use crate::object::prepare::Target;
use crate::object::redaction::SecretValues;
use crate::object::remove::OtherUser;
use crate::object::validation::{Findings, Writes};
use crate::object::write::Writer;
use crate::object::{ApplicationUid, Identity, InventoryEntry, ObjectKey};
use crate::object::{scaled, used};

/// Reads in flight at once during the preflight.
const READS_AT_ONCE: usize = 8;
/// How often, and how far apart, a custom resource definition is looked at until its kind is served.
const ESTABLISHED_LOOKS: u32 = 50;
const ESTABLISHED_PAUSE: Duration = Duration::from_millis(100);
/// Maximum number of passes over the objects of an application: each but the last accepts one or more of them.
const MAX_PASSES: usize = 5;
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
    /// The time for it is over. The cluster accepted all that was written so far.
    #[error("{accepted} of {of} objects were accepted so far, and more are being applied")]
    Unfinished {
        /// How many were accepted this time.
        accepted: usize,
        /// How many were to be.
        of: usize,
    },
}

impl ApplyError {
    /// The same without values of Secrets in what the cluster said.
    fn without(self, secrets: &SecretValues) -> Self {
        let cut = |error: ClusterError| error.map_message(|message| secrets.cut_out_of(message));
        match self {
            Self::Object { key, error } => Self::Object { key, error: cut(error) },
            Self::Cluster(error) => Self::Cluster(cut(error)),
            other @ (Self::Refused(_) | Self::Unfinished { .. }) => other,
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
    /// Whether its replicas were left to an autoscaler.
    pub scaling: Scaling,
    /// Whether it is not the application's: it existed before, and is used.
    pub used: bool,
}

impl AppliedObject {
    /// The entry of the object in the inventory of its copy. An object that is only used has no uid there, by which a
    /// removal would take it for the application's.
    pub fn inventory_entry(&self) -> InventoryEntry {
        let uid = self.object.metadata.uid.clone().filter(|_| !self.used);
        InventoryEntry { key: self.key.clone(), uid }
    }
}

/// Takes each object at the moment when the cluster has accepted it.
pub trait Accepts {
    /// The cluster accepted an object.
    fn push(&mut self, applied: AppliedObject);

    /// The cluster did not accept an object, of which another attempt may follow.
    fn refuse(&mut self, key: &ObjectKey, error: &ApplyError) {
        let _ = (key, error);
    }

    /// All were accepted, some of them later than in this order.
    fn sort(&mut self, order: &[&ObjectKey]);
}

impl Accepts for Vec<AppliedObject> {
    fn push(&mut self, applied: AppliedObject) {
        Vec::push(self, applied);
    }

    fn sort(&mut self, order: &[&ObjectKey]) {
        sort_by(self, order, |applied| &applied.key);
    }
}

/// Puts items into the order of their keys; those that it does not name come first. An application may have tens of
/// thousands of objects.
pub(crate) fn sort_by<T>(items: &mut [T], order: &[&ObjectKey], key: impl Fn(&T) -> &ObjectKey) {
    let places: HashMap<&ObjectKey, usize> = order.iter().copied().zip(0..).collect();
    items.sort_by_cached_key(|item| places.get(key(item)).copied());
}

/// Applies all objects of an application, in order. Before the first is written all are read; if one of them is not free,
/// nothing is written, unless it is a repair: that puts right what it can. Applying the same objects again changes nothing.
/// An object that fails in a way that may pass keeps only those from being written that need it, and is tried again after
/// the others. What the cluster accepted is pushed to `accepted`, also if another object fails or the call is dropped, and
/// what it warned of to `findings`. Neither these nor an error hold a value of a Secret.
pub async fn apply(
    connection: &Connection,
    targets: &[Target],
    claim: &Claim<'_>,
    accepted: &mut impl Accepts,
    findings: &mut Findings,
) -> Result<(), ApplyError> {
    let secrets = SecretValues::of(targets, claim.secrets);
    let applied = apply_all(connection, targets, claim, accepted, findings, &secrets).await;
    applied.map_err(|error| error.without(&secrets))?;
    // In the order of the targets, whatever came later because it had failed at first: it is removed in the reverse one.
    let order: Vec<_> = targets.iter().map(|target| &target.prepared.key).collect();
    accepted.sort(&order);
    Ok(())
}

async fn apply_all(
    connection: &Connection,
    targets: &[Target],
    claim: &Claim<'_>,
    accepted: &mut impl Accepts,
    findings: &mut Findings,
    secrets: &SecretValues,
) -> Result<(), ApplyError> {
    let of = targets.len();
    let mut accepted_so_far = 0;
    let (mut all_due, mut unfit) = look_at_all(connection, targets, claim, accepted).await?;
    let mut unsure = None;
    for pass_number in 1.. {
        let mut accepted_now = 0;
        let mut pass = Pass::default();
        for due in all_due {
            if accepted_so_far > 0 && Instant::now() >= claim.until {
                // Trouble with one of them is no reason to go on.
                let trouble = unfit.take().or_else(|| pass.error.take()).or(unsure);
                return Err(trouble.unwrap_or(ApplyError::Unfinished { accepted: accepted_so_far, of }));
            }
            if pass.is_blocked(&due) {
                pass.left.push(due);
                continue;
            }
            let key = &due.target.prepared.key;
            let span = tracing::info_span!("apply", otel.kind = "client", object = %key,
                cluster = claim.identity.cluster.as_str());
            let mut writer = Writer::new(connection, &due, claim.writes);
            let written = write(&mut writer, &due, claim).instrument(span).await;
            findings.warn(key, writer.warnings.collected(), secrets);
            if let (Ok(_), Some(why)) = (&written, writer.not_tried) {
                findings.not_tried(key, secrets.cut_out_of(&why));
            }
            match written {
                Ok(object) => {
                    (accepted_now, accepted_so_far) = (accepted_now + 1, accepted_so_far + 1);
                    let Writer { scaling, used, .. } = writer;
                    let open = unsettled(key, &scaling, claim.writes);
                    accepted.push(AppliedObject { key: key.clone(), object, scaling, used });
                    if let Some(error) = open {
                        accepted.refuse(key, &error);
                        unsure.get_or_insert(error);
                    }
                }
                Err(error) => {
                    accepted.refuse(key, &error);
                    pass.failed(due, error, claim.writes)?;
                }
            }
        }
        match pass.error {
            None => break,
            Some(error) if accepted_now == 0 || pass_number == MAX_PASSES => {
                return Err(unfit.take().unwrap_or(error));
            }
            Some(_) => all_due = pass.left,
        }
    }
    unfit.or(unsure).map_or(Ok(()), Err)
}

/// What remains to be done at an object that was repaired without knowing whether an autoscaler scales it. A first write is
/// complete all the same: the replicas that it leaves as they are differ from the manifest's, which a repair settles.
fn unsettled(key: &ObjectKey, scaling: &Scaling, writes: Writes) -> Option<ApplyError> {
    match scaling {
        Scaling::Unknown(error) if !writes.is_first() => {
            Some(ApplyError::Object { key: key.clone(), error: error.clone() })
        }
        _ => None,
    }
}

/// Reads all objects, and decides how each may be written. In a repair those that may not be, or cannot be read, are left
/// out: the second value says why the first of them is.
async fn look_at_all<'a>(
    connection: &Connection,
    targets: &'a [Target],
    claim: &Claim<'_>,
    accepted: &mut impl Accepts,
) -> Result<(Vec<Due<'a>>, Option<ApplyError>), ApplyError> {
    let reads: Vec<_> = targets.iter().map(|target| read(connection, target).boxed()).collect();
    let found: Vec<_> = futures::stream::iter(reads).buffered(READS_AT_ONCE).collect().await;
    let mut unfit = None;
    let mut leave_out = |target: &Target, error: ApplyError| {
        if !pass::goes_on(&error, claim.writes) || claim.writes.is_first() {
            return Err(error);
        }
        accepted.refuse(&target.prepared.key, &error);
        unfit.get_or_insert(error);
        Ok(())
    };
    let mut seen = Vec::with_capacity(targets.len());
    for (target, live) in targets.iter().zip(found) {
        match live {
            Ok(live) => seen.push((target, live)),
            Err(error) => leave_out(target, error)?,
        }
    }
    let recorded = claim.recorded();
    let mut due = Vec::with_capacity(seen.len());
    if claim.writes.is_first() {
        let found = seen.iter().map(|(target, live)| claim.found(target, live.as_ref(), &recorded));
        let admitted = ownership::preflight(found, claim.adopt_existing)?;
        due.extend(
            seen.into_iter()
                .zip(admitted)
                .map(|((target, live), how)| Due::of(target, live, how, claim.starts)),
        );
    } else {
        for (target, live) in seen {
            let found = claim.found(target, live.as_ref(), &recorded);
            match ownership::preflight([found], claim.adopt_existing) {
                Ok(admitted) => due
                    .extend(admitted.into_iter().map(|how| Due::of(target, live.clone(), how, claim.starts))),
                Err(refusal) => leave_out(target, refusal.into())?,
            }
        }
    }
    scaled::find(connection, &mut due).await;
    Ok((due, unfit))
}

/// By what an application claims its objects.
#[derive(Clone, Copy)]
pub struct Claim<'a> {
    /// The marks of its objects.
    pub identity: &'a Identity,
    /// What was applied before, with uids: such an object is the application's even if it has lost a mark.
    pub inventory: &'a [InventoryEntry],
    /// Finds other applications whose copies on the cluster name an object.
    pub other_user: &'a OtherUser<'a>,
    /// Whether the application with a uid may exist: it is not known to be erased.
    pub exists: &'a (dyn Fn(&ApplicationUid) -> bool + Sync),
    /// Take over objects that belong to nobody.
    pub adopt_existing: bool,
    /// Whether the cluster has accepted the manifest before.
    pub writes: Writes,
    /// The replicas that autoscalers elsewhere have given to the application's workloads.
    pub starts: &'a Replicas,
    /// When no further object is written. One is, however long it took to look at all.
    pub until: Instant,
    /// Further Secrets of the application, whose values are cut out of what the cluster says.
    pub secrets: &'a [Value],
}

impl Claim<'_> {
    /// The uids of the objects that are recorded.
    fn recorded(&self) -> HashMap<&ObjectKey, &str> {
        self.inventory.iter().filter_map(|entry| Some((&entry.key, entry.uid.as_deref()?))).collect()
    }

    /// Whose the live object of a target is.
    fn found(
        &self,
        target: &Target,
        live: Option<&DynamicObject>,
        recorded: &HashMap<&ObjectKey, &str>,
    ) -> Found {
        let key = &target.prepared.key;
        let recorded = recorded.get(key).copied();
        let metadata = live.map(|object| &object.metadata);
        let has = |_: &ApplicationUid| (self.other_user)(&|other| other == key).is_some();
        let others = Others { has: &has, exists: self.exists };
        let holder = ownership::holder(metadata, self.identity, recorded, others);
        let usable = live.and_then(|live| used::usable(&target.prepared, live));
        Found { key: key.clone(), holder, usable }
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

/// Writes one object. When it is not any more what was seen, it is read and judged again. A definition is waited for.
async fn write(
    writer: &mut Writer<'_>,
    due: &Due<'_>,
    claim: &Claim<'_>,
) -> Result<DynamicObject, ApplyError> {
    let (connection, target) = (writer.connection, due.target);
    let (mut live, mut admitted) = (due.live.clone(), due.admitted.clone());
    let mut attempt = 1;
    loop {
        let error = match writer.write(live.as_ref(), &admitted).await {
            Ok(object) if definition::is_definition(&target.prepared.key) => {
                return established(connection, target, object).await;
            }
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
        let found = claim.found(target, live.as_ref(), &claim.recorded());
        let again = ownership::preflight([found], claim.adopt_existing)?;
        admitted = again.into_iter().next().unwrap_or(Admitted::Create);
    }
}

fn uid(live: Option<&DynamicObject>) -> Option<&str> {
    live?.metadata.uid.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_in_the_order_of_their_keys_and_unknown_ones_before() {
        let key = |name: &str| ObjectKey {
            api_version: "v1".into(),
            kind: "A".into(),
            namespace: None,
            name: name.into(),
        };
        let order = ["c", "a", "b"].map(key);
        let mut items = ["a", "x", "b", "c"].map(key);
        sort_by(&mut items, &order.each_ref(), |item| item);
        assert_eq!(items, ["x", "c", "a", "b"].map(key));
        // Each is looked up once: comparing all pairs would take minutes.
        let order: Vec<_> = (0..50_000).map(|number| key(&number.to_string())).collect();
        let mut items: Vec<_> = order.iter().rev().cloned().collect();
        sort_by(&mut items, &order.iter().collect::<Vec<_>>(), |item| item);
        assert_eq!(items, order);
    }
}
