//! BindApplication: the wanted set of clusters, replaced as a whole.

use std::collections::BTreeSet;

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
use super::transact::Outcome;
use super::{Call, Error, Registry, checked_key, what};
use crate::cache::Stored;
use crate::derive;
use crate::object::metadata::{Edit, timestamp};
use crate::object::sections::Sections;
use crate::object::{key, wire};

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

impl Registry {
    /// Serves `BindApplication`.
    pub(crate) async fn bind(
        &self,
        call: &Call,
        mut request: BindApplicationRequest,
    ) -> Result<Bytes, Error> {
        if request.bindings.is_empty() && request.cluster.is_some() {
            request.bindings.push(Binding { cluster: request.cluster.take(), ..Default::default() });
        }
        if request.bindings.len() > 1 {
            return Err(Error::invalid("bindings", "only one cluster is supported yet"));
        }
        check_scores(request.decision.as_ref())?;
        checked_key(Application::KIND, &request.namespace, &request.name)?;
        let mut clusters = Vec::new();
        for (index, binding) in request.bindings.iter().enumerate() {
            let wanted = binding.cluster.clone().unwrap_or_default();
            let field = format!("bindings[{index}].cluster");
            clusters.push(self.bindable(&field, &request.namespace, &wanted).await?);
        }
        if clusters.is_empty() {
            // Whether a cluster may be left depends on the cluster, which the cache must show as it is.
            self.refresh(0).await?;
        }
        let (namespace, name) = (request.namespace.clone(), request.name.clone());
        let after = self
            .transact(call, Application::KIND, &namespace, &name, 0, |stored| {
                Ok(self.decide_binding(call, stored, &request, &clusters)?.into())
            })
            .await?;
        Ok(after.encode())
    }

    /// The cluster that a binding names, if applications of `namespace` may be bound to it.
    async fn bindable(
        &self,
        field: &str,
        namespace: &str,
        wanted: &ResourceRef,
    ) -> Result<ResourceRef, Error> {
        let cluster_namespace = if wanted.namespace.is_empty() { namespace } else { &wanted.namespace };
        for (part, text) in [("namespace", cluster_namespace), ("name", &wanted.name)] {
            krake_proto::name::resource_name(text)
                .map_err(|error| Error::invalid(format!("{field}.{part}"), error.to_string()))?;
        }
        let key = key::resource(Cluster::KIND, cluster_namespace, &wanted.name);
        let wanted = ResourceRef { namespace: cluster_namespace.to_owned(), ..wanted.clone() };
        match bindable(field, namespace, &wanted, self.cache.get(&key).as_deref()) {
            Ok(reference) => Ok(reference),
            // The cache may lag behind; what the store says is final.
            Err(_) => bindable(field, namespace, &wanted, self.fetch(&key).await?.as_deref()),
        }
    }

    fn decide_binding(
        &self,
        call: &Call,
        stored: &Stored,
        request: &BindApplicationRequest,
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
        let decision = request.decision.clone().filter(|decision| status.decision.as_ref() != Some(decision));
        let settled = clusters.is_empty()
            || status.conditions.iter().any(|condition| {
                condition.r#type() == ConditionType::Scheduled && condition.status() == ConditionStatus::True
            });
        if !rebound && decision.is_none() && settled && status.scheduled_generation == generation {
            return Ok(Outcome::Keep);
        }
        let mut numbers = vec![field::KUBE_CONTROLLER_TRIGGERED, field::SCHEDULED_GENERATION];
        let mut written = ApplicationStatus {
            kube_controller_triggered: Some(now),
            scheduled_generation: generation,
            ..Default::default()
        };
        if rebound {
            numbers.push(field::BINDINGS);
            written.bindings = bindings;
        }
        if decision.is_some() {
            numbers.push(field::DECISION);
            written.decision = decision;
        }
        let mut past = Vec::new();
        if moved {
            numbers.extend([field::SCHEDULED, field::HISTORY]);
            written.scheduled = Some(now);
            written.history = vec![newest(&status, clusters, request, now)];
            past = wire::elements(&old, field::HISTORY)?;
        }
        let mut encoded = written.encode_to_vec();
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

/// The reference to a cluster as the store has it, if applications of `namespace` may be bound to it.
fn bindable(
    field: &str,
    namespace: &str,
    wanted: &ResourceRef,
    stored: Option<&Stored>,
) -> Result<ResourceRef, Error> {
    let kind = Cluster::KIND;
    let shown = what(kind, &wanted.namespace, &wanted.name);
    let fits = |cluster: &&Stored| wanted.uid.is_empty() || cluster.metadata.uid == wanted.uid;
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
    Ok(kind.reference(&cluster.metadata))
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
    }
}
