//! BindApplication: the wanted set of clusters, replaced as a whole.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use krake_proto::Resource;
use krake_proto::krake::kubernetes::v1::{
    Application, ApplicationStatus, BindApplicationRequest, Binding, Cluster, ClusterSpec, Decision,
    PlacementRecord,
};
use krake_proto::krake::meta::v1::{
    Condition, ConditionReason, ConditionStatus, ConditionType, OnDelete, OwnerReference, ResourceRef,
};
use prost::Message;

use super::create::size;
use super::status::merge_conditions;
use super::transact::{Outcome, Write};
use super::{Call, Error, Registry, checked_key, what};
use crate::cache::Stored;
use crate::derive;
use crate::object::metadata::{Edit, timestamp};
use crate::object::sections::Sections;
use crate::object::{key, wire};
use crate::store::{Guard, Txn};

/// How many past placements are kept.
const HISTORY: usize = 10;

/// Numbers of the status fields that a binding writes.
mod field {
    pub(super) const KUBE_CONTROLLER_TRIGGERED: u32 = 4;
    pub(super) const SCHEDULED: u32 = 5;
    pub(super) const CONDITIONS: u32 = 24;
    pub(super) const HISTORY: u32 = 25;
    pub(super) const DECISION: u32 = 26;
    pub(super) const BINDINGS: u32 = 30;
    pub(super) const SCHEDULED_GENERATION: u32 = 32;
}

/// Numbers of the request's fields that are taken over as they came, so that a newer scheduler's fields are kept.
mod requested {
    pub(super) const BINDINGS: u32 = 3;
    pub(super) const DECISION: u32 = 7;
}

/// Numbers of the fields of a binding that the state service knows, and fills.
const KNOWN_OF_BINDING: [u32; 3] = [1, 2, 3];

/// A cluster that may be bound, and what must still hold then.
struct Target {
    reference: ResourceRef,
    guard: Guard,
}

impl Registry {
    /// Serves `BindApplication`. `encoded` is the request as it came.
    pub(crate) async fn bind(&self, call: &Call, encoded: Bytes) -> Result<Bytes, Error> {
        let mut request = BindApplicationRequest::decode(encoded.clone())?;
        if request.bindings.is_empty() && request.cluster.is_some() {
            request.bindings.push(Binding { cluster: request.cluster.take(), ..Default::default() });
        }
        if request.bindings.len() > 1 {
            return Err(Error::invalid("bindings", "only one cluster is supported yet"));
        }
        check_scores(request.decision.as_ref())?;
        checked_key(Application::KIND, &request.namespace, &request.name)?;
        if request.bindings.is_empty() || self.targets(&request).is_err() {
            // Whether a cluster may be bound or left depends on the cluster, which the cache must show as it is.
            self.refresh(0).await?;
        }
        let (namespace, name) = (request.namespace.clone(), request.name.clone());
        let after = self
            .transact(call, Application::KIND, &namespace, &name, 0, |stored| {
                let targets = self.targets(&request)?;
                let clusters: Vec<_> = targets.iter().map(|target| target.reference.clone()).collect();
                let outcome = self.decide_binding(call, stored, &request, &encoded, &clusters)?;
                // A cluster whose deletion begins meanwhile is not bound any more.
                let also = targets.into_iter().fold(Txn::new(), |txn, target| txn.guard(target.guard));
                Ok(Write { outcome, also })
            })
            .await?;
        Ok(after.encode())
    }

    /// The clusters that a request names, as the cache shows them, if the application may be bound to them.
    fn targets(&self, request: &BindApplicationRequest) -> Result<Vec<Target>, Error> {
        let bindings = request.bindings.iter().enumerate();
        let targets = bindings.map(|(index, binding)| {
            let wanted = binding.cluster.clone().unwrap_or_default();
            self.target(&format!("bindings[{index}].cluster"), &request.namespace, wanted)
        });
        targets.collect()
    }

    fn target(&self, field: &str, namespace: &str, mut wanted: ResourceRef) -> Result<Target, Error> {
        if wanted.namespace.is_empty() {
            wanted.namespace = namespace.to_owned();
        }
        for (part, text) in [("namespace", &wanted.namespace), ("name", &wanted.name)] {
            krake_proto::name::resource_name(text)
                .map_err(|error| Error::invalid(format!("{field}.{part}"), error.to_string()))?;
        }
        let key = key::resource(Cluster::KIND, &wanted.namespace, &wanted.name);
        let cluster = bindable(field, namespace, &wanted, self.cache.get(&key))?;
        let reference = Cluster::KIND.reference(&cluster.metadata);
        Ok(Target { reference, guard: Guard::At(key, cluster.revision) })
    }

    fn decide_binding(
        &self,
        call: &Call,
        stored: &Stored,
        request: &BindApplicationRequest,
        encoded_request: &[u8],
        clusters: &[ResourceRef],
    ) -> Result<Outcome, Error> {
        let application = what(stored.kind, &stored.metadata.namespace, &stored.metadata.name);
        if stored.metadata.deleted.is_some() {
            return Err(Error::BeingDeleted(application));
        }
        let generation = stored.metadata.generation;
        if request.generation != 0 && request.generation != generation {
            return Err(Error::Conflict {
                message: format!(
                    "generation: {application} is at {generation}, the binding is for {}",
                    request.generation
                ),
                resource_version: stored.revision.0,
            });
        }
        let old = stored.sections.status.clone().unwrap_or_default();
        let status = ApplicationStatus::decode(old.clone())?;
        let bound: BTreeSet<&str> =
            uids(status.bindings.iter().filter_map(|binding| binding.cluster.as_ref()));
        let replaces: BTreeSet<&str> = request.replaces.iter().map(String::as_str).collect();
        if !replaces.is_empty() && replaces != bound {
            return Err(Error::Conflict {
                message: format!(
                    "replaces: {application} is bound to {bound:?}, the binding replaces {replaces:?}"
                ),
                resource_version: stored.revision.0,
            });
        }
        let wanted = uids(clusters.iter());
        let moved = wanted != bound;
        if moved && wanted.is_empty() {
            self.check_unbinding(&status)?;
        }
        let now = timestamp((self.clock)());
        let bindings: Vec<Binding> =
            clusters.iter().map(|cluster| binding(cluster, request, &status, now)).collect();
        let rebound = bindings != status.bindings;
        let decided = request.decision.is_some() && request.decision != status.decision;
        let settled = clusters.is_empty()
            || status.conditions.iter().any(|condition| {
                condition.r#type() == ConditionType::Scheduled && condition.status() == ConditionStatus::True
            });
        if !rebound && !decided && settled && status.scheduled_generation == generation {
            return Ok(Outcome::Keep);
        }
        let mut numbers = vec![field::KUBE_CONTROLLER_TRIGGERED, field::SCHEDULED_GENERATION];
        let mut written = ApplicationStatus {
            kube_controller_triggered: Some(now),
            scheduled_generation: generation,
            ..Default::default()
        };
        let mut taken_over = Vec::new();
        if rebound {
            numbers.push(field::BINDINGS);
            taken_over.extend(encoded_bindings(&bindings, encoded_request)?);
        }
        if decided {
            numbers.push(field::DECISION);
            let decision = wire::singular(encoded_request, requested::DECISION)?.unwrap_or_default();
            taken_over.extend(wire::delimited(field::DECISION, &decision));
        }
        let mut past = Vec::new();
        if moved {
            numbers.extend([field::SCHEDULED, field::HISTORY]);
            written.scheduled = Some(now);
            written.history = vec![newest(&status, clusters, request, now)];
            past = wire::elements(&old, field::HISTORY)?;
        }
        let mut encoded = written.encode_to_vec();
        encoded.extend(taken_over);
        encoded.extend(past.iter().take(HISTORY - 1).flat_map(|item| wire::delimited(field::HISTORY, item)));
        let mut new = wire::overwrite(&old, &numbers, &encoded)?;
        if !clusters.is_empty() {
            new = self.scheduled(&new, generation)?;
        }
        let copies = status.copies.iter().filter_map(|copy| copy.cluster.as_ref());
        let owners = owners(&stored.metadata.owners, clusters.iter().chain(copies));
        let metadata =
            Edit::new(&stored.sections.metadata).owners(owners)?.trace_parent(&call.trace_parent)?;
        let mut sections =
            Sections { metadata: metadata.finish(), status: Some(new.into()), ..stored.sections.clone() };
        sections.status = derive::status(stored.kind, &sections)?;
        size(&sections)?;
        Ok(Outcome::Put(sections))
    }

    /// Nothing is ever unbound except from a cluster that is gone or going.
    fn check_unbinding(&self, status: &ApplicationStatus) -> Result<(), Error> {
        for cluster in status.bindings.iter().filter_map(|binding| binding.cluster.as_ref()) {
            let stored = self.cache.get(&key::resource(Cluster::KIND, &cluster.namespace, &cluster.name));
            let stays = stored.is_some_and(|stored| {
                stored.metadata.uid == cluster.uid && stored.metadata.deleted.is_none()
            });
            if stays {
                let text = format!("{} is not being deleted; bind another cluster instead", cluster.name);
                return Err(Error::invalid("bindings", text));
            }
        }
        Ok(())
    }

    /// `status` with the condition SCHEDULED true.
    fn scheduled(&self, status: &[u8], generation: i64) -> Result<Vec<u8>, Error> {
        let condition = Condition {
            r#type: ConditionType::Scheduled.into(),
            status: ConditionStatus::True.into(),
            reason: ConditionReason::Bound.into(),
            observed_generation: generation,
            ..Default::default()
        };
        let present = wire::elements(status, field::CONDITIONS)?;
        let new = vec![condition.encode_to_vec().into()];
        let merged = merge_conditions("status.conditions", present, new, (self.clock)())?;
        let encoded: Vec<u8> =
            merged.iter().flat_map(|item| wire::delimited(field::CONDITIONS, item)).collect();
        Ok(wire::overwrite(status, &[field::CONDITIONS], &encoded)?)
    }
}

/// The wanted cluster, if applications of `namespace` may be bound to it.
fn bindable(
    field: &str,
    namespace: &str,
    wanted: &ResourceRef,
    stored: Option<Arc<Stored>>,
) -> Result<Arc<Stored>, Error> {
    let kind = Cluster::KIND;
    let shown = what(kind, &wanted.namespace, &wanted.name);
    let fits = |cluster: &Arc<Stored>| wanted.uid.is_empty() || cluster.metadata.uid == wanted.uid;
    let Some(cluster) = stored.filter(fits) else {
        return Err(Error::invalid(field, format!("{shown} with uid {:?} does not exist", wanted.uid)));
    };
    if cluster.metadata.deleted.is_some() {
        return Err(Error::BeingDeleted(shown));
    }
    if wanted.namespace != namespace {
        let spec = ClusterSpec::decode(cluster.sections.spec.clone().unwrap_or_default())?;
        if !spec.allowed_namespaces.iter().any(|allowed| allowed == namespace || allowed == "*") {
            let text = format!("spec.allowed_namespaces of the cluster does not hold {namespace:?}");
            return Err(Error::invalid(field, text));
        }
    }
    Ok(cluster)
}

/// Refuses scores that are no numbers: they equal nothing, not even themselves, and JSON has none.
fn check_scores(decision: Option<&Decision>) -> Result<(), Error> {
    let Some(decision) = decision else { return Ok(()) };
    let mut scored = decision.chosen.iter().chain(&decision.runner_up).chain(&decision.top);
    if scored.all(|scored| scored.score.is_finite()) {
        return Ok(());
    }
    Err(Error::invalid("decision", "holds a score that is not a finite number"))
}

#[cfg(test)]
pub(super) fn status_descriptor() -> prost_reflect::MessageDescriptor {
    krake_proto::POOL
        .get_message_by_name("krake.kubernetes.v1.ApplicationStatus")
        .expect("part of the contract")
}

fn uids<'a>(clusters: impl Iterator<Item = &'a ResourceRef>) -> BTreeSet<&'a str> {
    clusters.map(|cluster| cluster.uid.as_str()).collect()
}

/// The binding to `cluster`; a binding that stays keeps the time at which it began.
fn binding(
    cluster: &ResourceRef,
    request: &BindApplicationRequest,
    status: &ApplicationStatus,
    now: prost_types::Timestamp,
) -> Binding {
    let same = |binding: &&Binding| binding.cluster.as_ref().is_some_and(|bound| bound.uid == cluster.uid);
    let old = status.bindings.iter().find(same);
    Binding {
        cluster: Some(cluster.clone()),
        bound: old.and_then(|binding| binding.bound).or(Some(now)),
        replicas: request.bindings.first().and_then(|binding| binding.replicas),
    }
}

/// The new bindings as they are stored: with what else the request says about them.
fn encoded_bindings(bindings: &[Binding], request: &[u8]) -> Result<Vec<u8>, Error> {
    let requested = wire::elements(request, requested::BINDINGS)?;
    let mut encoded = Vec::new();
    for (index, binding) in bindings.iter().enumerate() {
        let requested = requested.get(index).map_or(&[][..], |requested| requested);
        let whole = wire::overwrite(requested, &KNOWN_OF_BINDING, &binding.encode_to_vec())?;
        encoded.extend(wire::delimited(field::BINDINGS, &whole));
    }
    Ok(encoded)
}

/// The record of the move that is being made.
fn newest(
    status: &ApplicationStatus,
    clusters: &[ResourceRef],
    request: &BindApplicationRequest,
    now: prost_types::Timestamp,
) -> PlacementRecord {
    let decision = request.decision.clone().unwrap_or_default();
    PlacementRecord {
        from: status.bindings.first().and_then(|binding| binding.cluster.clone()),
        to: clusters.first().cloned(),
        time: Some(now),
        reason: decision.reason,
        world_revision: decision.world_revision,
    }
}

/// The owners of an application: its clusters, released when one is deleted, and whatever else was there.
pub(super) fn owners<'a>(
    present: &[OwnerReference],
    clusters: impl Iterator<Item = &'a ResourceRef>,
) -> Vec<OwnerReference> {
    let is_cluster = |owner: &OwnerReference| {
        (owner.api.as_str(), owner.kind.as_str()) == (Cluster::KIND.api, Cluster::KIND.kind)
            && owner.on_delete() == OnDelete::Release
    };
    let mut owners: Vec<OwnerReference> =
        present.iter().filter(|owner| !is_cluster(owner)).cloned().collect();
    let mut seen = BTreeSet::new();
    for cluster in clusters.filter(|cluster| seen.insert(cluster.uid.clone())) {
        owners.push(OwnerReference {
            api: cluster.api.clone(),
            kind: cluster.kind.clone(),
            namespace: cluster.namespace.clone(),
            name: cluster.name.clone(),
            uid: cluster.uid.clone(),
            on_delete: OnDelete::Release.into(),
        });
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_scheduler_says_about_a_binding_is_kept() {
        let cluster = |name: &str| Some(ResourceRef { name: name.into(), ..Default::default() });
        let told = Binding { cluster: cluster("told"), replicas: Some(1), ..Default::default() };
        let newer = wire::delimited(4000, b"from a newer peer");
        let told = [told.encode_to_vec(), newer.clone()].concat();
        let request = wire::delimited(requested::BINDINGS, &told);
        let known = Binding { cluster: cluster("known"), replicas: Some(2), ..Default::default() };
        let stored = encoded_bindings(std::slice::from_ref(&known), &request).unwrap();
        let stored = wire::elements(&stored, field::BINDINGS).unwrap();
        assert_eq!(Binding::decode(stored[0].clone()).unwrap(), known);
        assert_eq!(wire::occurrences(&stored[0], 4000).unwrap(), newer);
    }

    #[test]
    fn the_numbers_are_those_of_the_contract() {
        let descriptor = status_descriptor();
        let expected = [
            (field::KUBE_CONTROLLER_TRIGGERED, "kube_controller_triggered"),
            (field::SCHEDULED, "scheduled"),
            (field::CONDITIONS, "conditions"),
            (field::HISTORY, "history"),
            (field::DECISION, "decision"),
            (field::BINDINGS, "bindings"),
            (field::SCHEDULED_GENERATION, "scheduled_generation"),
        ];
        for (number, name) in expected {
            assert_eq!(descriptor.get_field(number).unwrap().name(), name);
        }
        let message = |name: &str| {
            krake_proto::POOL.get_message_by_name(&format!("krake.kubernetes.v1.{name}")).unwrap()
        };
        let request = message("BindApplicationRequest");
        for (number, name) in [(requested::BINDINGS, "bindings"), (requested::DECISION, "decision")] {
            assert_eq!(request.get_field(number).unwrap().name(), name);
        }
        assert!(message("Binding").fields().map(|field| field.number()).eq(KNOWN_OF_BINDING));
    }
}
