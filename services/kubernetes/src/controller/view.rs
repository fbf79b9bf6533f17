//! What can be said about a cluster for one application, and what is remembered between two looks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use krake_client::Client;

use super::index::Index;
use super::manifest::Manifest;
use super::pauses::Pauses;
use super::project::Application;
use super::stake;
use crate::cluster::clusters::Clusters;
use crate::cluster::discovery::DiscoveryError;
use crate::cluster::{ClusterHandle, TargetError};
use crate::object::observation::{Baselines, observe};
use crate::object::prepare::Target;
use crate::object::{ApplicationUid, ClusterUid, Identity};
use crate::plan::{ClusterView, Presence, Reason, Targets};

/// How long a look at one cluster may take.
const LOOK: Duration = Duration::from_secs(15);

/// The objects of one generation of an application on one cluster, for one look at it.
pub(super) struct Objects {
    /// The generation.
    pub(super) basis: i64,
    /// What they were made from. `None`: only their names are known, so that nothing can be applied.
    pub(super) manifest: Option<Manifest>,
    /// The objects.
    pub(super) targets: Vec<Target>,
}

/// What was last applied where, and how often that was tried.
#[derive(Default)]
pub(crate) struct Memory {
    copies: Mutex<HashMap<(ApplicationUid, ClusterUid), Remembered>>,
    pub(super) pauses: Pauses,
}

#[derive(Clone, Default)]
struct Remembered {
    /// The generation, and its manifest.
    applied: Option<(i64, Manifest)>,
    baselines: Arc<Baselines>,
}

impl Memory {
    /// Remembers what was just applied.
    pub(super) fn applied(
        &self,
        application: &ApplicationUid,
        cluster: &ClusterUid,
        objects: &Objects,
        baselines: Baselines,
    ) {
        let applied = objects.manifest.clone().map(|manifest| (objects.basis, manifest));
        let remembered = Remembered { applied, baselines: Arc::new(baselines) };
        self.lock().insert((application.clone(), cluster.clone()), remembered);
    }

    /// Forgets a copy.
    pub(super) fn forget(&self, application: &ApplicationUid, cluster: &ClusterUid) {
        self.lock().remove(&(application.clone(), cluster.clone()));
        self.pauses.forget(application, cluster);
    }

    fn get(&self, application: &ApplicationUid, cluster: &ClusterUid) -> Remembered {
        self.lock().get(&(application.clone(), cluster.clone())).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(ApplicationUid, ClusterUid), Remembered>> {
        // Nothing that holds the lock panics halfway through a change.
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A view, with what is needed to act on it.
pub(super) struct Sighting {
    pub(super) view: ClusterView,
    /// The cluster, if it answers.
    pub(super) handle: Option<Arc<ClusterHandle>>,
    /// What `view.basis` stands for.
    pub(super) objects: Option<Objects>,
}

/// Looks at a cluster for an application. `None`: it is not there, and nothing says that it was erased.
pub(super) async fn look(
    client: &Client,
    clusters: &Clusters,
    index: &Index,
    memory: &Memory,
    application: &Application,
    identity: &Identity,
    cluster: &ClusterUid,
) -> anyhow::Result<Option<Sighting>> {
    let blind = |presence, handle| {
        let targets = Targets::Unknown("the cluster was not looked at yet".to_owned());
        let view = ClusterView { presence, basis: application.generation, targets };
        Ok(Some(Sighting { view, handle, objects: None }))
    };
    let handle = match clusters.get(cluster) {
        None if erased(client, index, cluster).await? => return blind(Presence::Erased, None),
        None => return Ok(None),
        Some(Err(error)) => return blind(Presence::Unreachable(error.to_string()), None),
        Some(Ok(handle)) => handle,
    };
    match handle.answers() {
        None => return blind(Presence::Unseen, None),
        Some(Err(why)) => {
            // What failed before the silence may succeed after it.
            memory.pauses.forget(&application.uid, cluster);
            return blind(Presence::Unreachable(why), None);
        }
        Some(Ok(())) => {}
    }
    if application.deleted {
        // All that happens there is removal, by what is recorded.
        return blind(Presence::Unseen, Some(handle));
    }
    let remembered = memory.get(&application.uid, cluster);
    let undecided = application.scheduled_generation != application.generation;
    let recorded = application.copy(cluster).filter(|copy| copy.observed_generation != 0);
    let known = match (remembered.applied.filter(|_| undecided), recorded) {
        (Some((basis, manifest)), _) => (basis, Some(manifest)),
        // What the former spec said is not known any more. What is recorded of the copy has to do.
        (None, Some(copy)) if undecided => (copy.observed_generation, None),
        (None, _) => (application.generation, Some(application.manifest.clone())),
    };
    let targets = match &known {
        (_, Some(manifest)) => {
            let documents = manifest.documents().context("a manifest that was readable is not any more")?;
            within_limits(&handle, handle.targets(&documents, identity)).await
        }
        (_, None) => {
            let inventory = recorded.map(|copy| copy.inventory.as_slice()).unwrap_or_default();
            within_limits(&handle, handle.recorded(inventory)).await
        }
    };
    let ((basis, manifest), targets) = match targets {
        Ok(targets) => (known, targets),
        Err(targets) => {
            let (presence, basis) = (Presence::Unseen, application.generation);
            let view = ClusterView { presence, basis, targets };
            return Ok(Some(Sighting { view, handle: Some(handle), objects: None }));
        }
    };
    let sights = handle.sights(&targets, &application.uid);
    let host = handle.connection().host();
    let seen = observe(&targets, &sights, &remembered.baselines, &application.uid, host);
    let keys = targets.iter().map(|target| target.prepared.key.clone()).collect();
    let presence = seen.map_or(Presence::Unseen, Presence::Seen);
    let view = ClusterView { presence, basis, targets: Targets::Known(keys) };
    Ok(Some(Sighting { view, handle: Some(handle), objects: Some(Objects { basis, manifest, targets }) }))
}

/// Waits for objects as long as a look may take, and as long as the cluster answers.
async fn within_limits(
    handle: &ClusterHandle,
    targets: impl Future<Output = Result<Vec<Target>, TargetError>>,
) -> Result<Vec<Target>, Targets> {
    match tokio::time::timeout(LOOK, handle.while_answering(targets)).await {
        Ok(Ok(Ok(targets))) => Ok(targets),
        Ok(Ok(Err(error))) => Err(impossible(&error)),
        Ok(Err(error)) => Err(Targets::Unknown(error.to_string())),
        Err(_) => {
            let seconds = LOOK.as_secs();
            Err(Targets::Unknown(format!("it does not tell within {seconds} s which kinds it serves")))
        }
    }
}

fn impossible(error: &TargetError) -> Targets {
    match error {
        TargetError::Manifest(error) => Targets::Impossible(Reason::InvalidResource, error.to_string()),
        TargetError::Discovery(error @ DiscoveryError::Unsupported { .. }) => {
            Targets::Impossible(Reason::UnsupportedResource, error.to_string())
        }
        TargetError::Discovery(error) => Targets::Unknown(error.to_string()),
    }
}

/// Whether a cluster that is not there was erased: only a positive record counts.
async fn erased(client: &Client, index: &Index, cluster: &ClusterUid) -> anyhow::Result<bool> {
    if index.is_erased(cluster) {
        return Ok(true);
    }
    if index.cluster_key(cluster).is_some() {
        // It is there and only not looked after yet.
        return Ok(false);
    }
    let erased = !stake::erased(client, [cluster.to_string()]).await?.is_empty();
    if erased {
        index.forget_cluster(cluster, true);
    }
    Ok(erased)
}
