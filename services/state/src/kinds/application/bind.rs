//! BindApplication: the wanted set of clusters, replaced as a whole.

mod record;
mod target;

use std::collections::BTreeSet;

use bytes::Bytes;
use krake_proto::Resource;
use krake_proto::condition::{find, types};
use krake_proto::krake::kubernetes::v1::{
    Application, ApplicationStatus, BindApplicationRequest, Binding, Decision,
};
use krake_proto::krake::meta::v1::{ConditionStatus, ResourceRef};
use prost::Message;

use super::owners::owners;
use crate::cache::Stored;
use crate::derive;
use crate::object::metadata::Edit;
use crate::object::sections::Sections;
use crate::registry::{Call, Effect, Error, Registry, Write, check_growth, checked_key, what};
use crate::store::Txn;

use record::Change;
use target::{guards_on_left_clusters, targets};

impl Registry {
    /// Serves `BindApplication`. `encoded` is the request as it came.
    pub(super) async fn bind(&self, call: &Call, encoded: Bytes) -> Result<Bytes, Error> {
        let mut request = BindApplicationRequest::decode(encoded.clone())?;
        if request.bindings.is_empty() && request.cluster.is_some() {
            request.bindings.push(Binding { cluster: request.cluster.take(), ..Default::default() });
        }
        if request.bindings.len() > 1 {
            return Err(Error::invalid("bindings", "only one cluster is supported yet"));
        }
        check_scores(request.decision.as_ref())?;
        checked_key(Application::KIND, &request.namespace, &request.name)?;
        if request.bindings.is_empty() || targets(self.cache(), &request).is_err() {
            // Whether a cluster may be bound or left depends on the cluster, which the cache must show as it is.
            self.refresh().await?;
        }
        let (namespace, name) = (request.namespace.clone(), request.name.clone());
        let after = self
            .transact(call, Application::KIND, &namespace, &name, 0, |stored| {
                let targets = targets(self.cache(), &request)?;
                let clusters: Vec<_> = targets.iter().map(|target| target.reference.clone()).collect();
                let mut write = self.decide_binding(call, stored, (&request, &encoded), &clusters)?;
                write.also.guards.extend(targets.into_iter().map(|target| target.guard));
                Ok(write)
            })
            .await?;
        Ok(after.encode())
    }

    fn decide_binding(
        &self,
        call: &Call,
        stored: &Stored,
        (request, encoded_request): (&BindApplicationRequest, &[u8]),
        clusters: &[ResourceRef],
    ) -> Result<Write, Error> {
        let old = stored.sections.status.clone().unwrap_or_default();
        let before = ApplicationStatus::decode(old.clone())?;
        let bound = uids(before.bindings.iter().filter_map(|binding| binding.cluster.as_ref()));
        check_preconditions(stored, request, &bound)?;
        check_copies(stored, request, &before)?;
        let now = (self.clock())();
        let bindings: Vec<Binding> =
            clusters.iter().map(|cluster| record::binding_to(cluster, request, &before, now)).collect();
        let change = Change {
            moved: uids(clusters.iter()) != bound,
            rebound: bindings != before.bindings,
            decided: request.decision.is_some() && request.decision != before.decision,
        };
        let mut also = Txn::new();
        if change.moved {
            also.guards = guards_on_left_clusters(self.cache(), &before, clusters, request.without_copies)?;
        }
        let generation = stored.metadata.generation;
        let settled = (clusters.is_empty() || is_scheduled(&before))
            && before.scheduled_generation == generation
            && !change.rebound
            && !change.decided;
        if settled {
            return Ok(Effect::Keep.into());
        }
        let new =
            record::status(&old, &before, (request, encoded_request), &bindings, change, (generation, now))?;
        let copies = before.copies.iter().filter_map(|copy| copy.cluster.as_ref());
        let owners = owners(&stored.metadata.owners, clusters.iter().chain(copies));
        let metadata =
            Edit::new(&stored.sections.metadata).owners(owners)?.trace_parent(&call.trace_parent)?;
        let mut sections =
            Sections { metadata: metadata.finish(), status: Some(new.into()), ..stored.sections.clone() };
        sections.status = derive::status(stored.kind, &sections)?;
        check_growth(stored, &sections)?;
        Ok(Write { effect: Effect::Put(sections), also })
    }
}

/// Refuses a binding that was decided for another state of the application than the stored one.
fn check_preconditions(
    stored: &Stored,
    request: &BindApplicationRequest,
    bound: &BTreeSet<&str>,
) -> Result<(), Error> {
    let application = what(stored.kind, &stored.metadata.namespace, &stored.metadata.name);
    if stored.metadata.deleted.is_some() {
        return Err(Error::BeingDeleted(application));
    }
    let conflict = |message| Err(Error::Conflict { message, resource_version: stored.revision.0 });
    let generation = stored.metadata.generation;
    if request.generation != 0 && request.generation != generation {
        let decided = request.generation;
        return conflict(format!(
            "generation: {application} is at {generation}, the binding is for {decided}"
        ));
    }
    let replaces: BTreeSet<&str> = request.replaces.iter().map(String::as_str).collect();
    if !replaces.is_empty() && replaces != *bound {
        return conflict(format!(
            "replaces: {application} is bound to {bound:?}, the binding replaces {replaces:?}"
        ));
    }
    Ok(())
}

/// Refuses to take back a binding that a copy was begun for meanwhile.
fn check_copies(
    stored: &Stored,
    request: &BindApplicationRequest,
    before: &ApplicationStatus,
) -> Result<(), Error> {
    if !request.without_copies || before.copies.is_empty() {
        return Ok(());
    }
    let (application, count) =
        (what(stored.kind, &stored.metadata.namespace, &stored.metadata.name), before.copies.len());
    let message = format!("without_copies: {application} has {count} of them");
    Err(Error::Conflict { message, resource_version: stored.revision.0 })
}

fn is_scheduled(status: &ApplicationStatus) -> bool {
    find(&status.conditions, types::SCHEDULED)
        .is_some_and(|condition| condition.status() == ConditionStatus::True)
}

fn uids<'a>(clusters: impl Iterator<Item = &'a ResourceRef>) -> BTreeSet<&'a str> {
    clusters.map(|cluster| cluster.uid.as_str()).collect()
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
