//! The clusters that a binding names: which of them an application may be bound to, and what must still hold then.

use std::sync::Arc;

use krake_proto::Resource;
use krake_proto::krake::kubernetes::v1::{
    ApplicationStatus, BindApplicationRequest, Cluster, ClusterSpec, Copy,
};
use krake_proto::krake::meta::v1::ResourceRef;
use prost::Message;

use crate::cache::{Cache, Stored};
use crate::kinds::cluster::is_lost;
use crate::object::key;
use crate::registry::{Error, what};
use crate::store::Guard;

/// A cluster that may be bound.
pub(super) struct Target {
    /// The cluster, with its uid.
    pub(super) reference: ResourceRef,
    /// Fails the commit if the cluster changed since it was looked at: its deletion may have begun.
    pub(super) guard: Guard,
}

/// The clusters that a request names, if the application may be bound to them as `cache` shows them.
pub(super) fn targets(cache: &Cache, request: &BindApplicationRequest) -> Result<Vec<Target>, Error> {
    let bindings = request.bindings.iter().enumerate();
    let targets = bindings.map(|(index, binding)| {
        let wanted = binding.cluster.clone().unwrap_or_default();
        target(cache, &format!("bindings[{index}].cluster"), &request.namespace, wanted)
    });
    targets.collect()
}

fn target(cache: &Cache, field: &str, namespace: &str, mut wanted: ResourceRef) -> Result<Target, Error> {
    let kind = Cluster::KIND;
    for (part, given, expected) in [("api", &wanted.api, kind.api), ("kind", &wanted.kind, kind.kind)] {
        if !given.is_empty() && given != expected {
            let text = format!("must be {expected:?}, found {given:?}: applications run on clusters");
            return Err(Error::invalid(format!("{field}.{part}"), text));
        }
    }
    if wanted.namespace.is_empty() {
        wanted.namespace = namespace.to_owned();
    }
    for (part, text) in [("namespace", &wanted.namespace), ("name", &wanted.name)] {
        krake_proto::name::resource_name(text)
            .map_err(|error| Error::invalid(format!("{field}.{part}"), error.to_string()))?;
    }
    let key = key::resource(kind, &wanted.namespace, &wanted.name);
    let cluster = bindable(field, namespace, &wanted, cache.get_readable(&key)?)?;
    let reference = kind.reference(&cluster.metadata);
    Ok(Target { reference, guard: Guard::At(key, cluster.revision) })
}

/// The wanted cluster, if applications of `namespace` may be bound to it.
fn bindable(
    field: &str,
    namespace: &str,
    wanted: &ResourceRef,
    stored: Option<Arc<Stored>>,
) -> Result<Arc<Stored>, Error> {
    let shown = what(Cluster::KIND, &wanted.namespace, &wanted.name);
    let fits = |cluster: &Arc<Stored>| wanted.uid.is_empty() || cluster.metadata.uid == wanted.uid;
    let Some(cluster) = stored.filter(fits) else {
        let uid = if wanted.uid.is_empty() { String::new() } else { format!(" with uid {:?}", wanted.uid) };
        return Err(Error::invalid(field, format!("{shown}{uid} does not exist")));
    };
    if cluster.metadata.deleted.is_some() {
        return Err(Error::BeingDeleted(shown));
    }
    if is_lost(&cluster)? {
        return Err(Error::invalid(field, format!("{shown} was declared lost")));
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

/// Guards on the clusters that an application leaves for `targets`. They fail the commit if one of these clusters has
/// changed since `cache` showed it: its deletion may have begun. `without_copies` says that nothing of it is anywhere.
///
/// # Errors
/// When it would be unbound from a cluster that stays although it has copies, or moved away from one whose deletion takes
/// its applications along.
pub(super) fn guards_on_left_clusters(
    cache: &Cache,
    status: &ApplicationStatus,
    targets: &[ResourceRef],
    without_copies: bool,
) -> Result<Vec<Guard>, Error> {
    let must_be_bound = targets.is_empty() && !without_copies;
    let is_left = |cluster: &&ResourceRef| targets.iter().all(|target| target.uid != cluster.uid);
    let mut guards = Vec::new();
    for cluster in status.bindings.iter().filter_map(|binding| binding.cluster.as_ref()).filter(is_left) {
        let key = key::resource(Cluster::KIND, &cluster.namespace, &cluster.name);
        let stored = cache.get_readable(&key)?;
        guards.push(match &stored {
            Some(stored) => Guard::At(key, stored.revision),
            None => Guard::Absent(key),
        });
        let Some(stored) = stored.filter(|stored| stored.metadata.uid == cluster.uid) else { continue };
        let cascades = stored.metadata.deletion.as_ref().is_some_and(|deletion| deletion.cascade);
        if cascades {
            return Err(Error::BeingDeleted(format!(
                "{} with all that runs on it",
                what(stored.kind, &cluster.namespace, &cluster.name)
            )));
        }
        if must_be_bound && !is_given_up(&stored)? && !is_free(cache, status, cluster)? {
            let text = format!(
                "{} is not being deleted; bind another cluster instead, or set without_copies if nothing was begun",
                cluster.name
            );
            return Err(Error::invalid("bindings", text));
        }
    }
    Ok(guards)
}

/// Whether a cluster is being deleted, or was declared lost.
fn is_given_up(cluster: &Stored) -> Result<bool, Error> {
    Ok(cluster.metadata.deleted.is_some() || is_lost(cluster)?)
}

/// Whether a cluster accepted a copy as a whole, even if another set of documents is being applied now.
fn was_applied(copy: &Copy) -> bool {
    copy.observed_generation > 0 || copy.applied_work.is_some()
}

/// Whether nothing was applied anywhere so far; or not on `cluster`, and a copy is on another one that is given up: that one
/// waits until the copy on `cluster` runs, which may never be.
fn is_free(cache: &Cache, status: &ApplicationStatus, cluster: &ResourceRef) -> Result<bool, Error> {
    // Where none was begun, one may begin now: `without_copies` is for that.
    let is_begun = !status.copies.is_empty();
    if is_begun && !status.copies.iter().any(was_applied) {
        return Ok(true);
    }
    let places = || status.copies.iter().filter_map(|copy| Some((copy, copy.cluster.as_ref()?)));
    if places().any(|(copy, place)| place.uid == cluster.uid && was_applied(copy)) {
        return Ok(false);
    }
    for (_, place) in places().filter(|(_, place)| place.uid != cluster.uid) {
        let stored = cache.get_readable(&key::resource(Cluster::KIND, &place.namespace, &place.name))?;
        let stored = stored.filter(|stored| stored.metadata.uid == place.uid);
        if stored.map_or(Ok(false), |stored| is_given_up(&stored))? {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use krake_proto::krake::kubernetes::v1::Work;

    use super::*;

    #[test]
    fn what_was_accepted_once_counts_while_something_else_is_applied() {
        let work = Some(Work::default());
        assert!(was_applied(&Copy { applied_work: work.clone(), ..Copy::default() }));
        assert!(was_applied(&Copy { observed_generation: 1, ..Copy::default() }));
        assert!(!was_applied(&Copy { intended_work: work, ..Copy::default() }));
    }
}
