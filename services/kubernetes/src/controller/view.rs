//! What can be said about a cluster for one application, and what is remembered between two looks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use krake_client::Client;

use super::index::Index;
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

/// The objects of one generation of an application on one cluster.
#[derive(Clone)]
pub(super) struct Manifest {
    /// The generation.
    pub(super) basis: i64,
    /// The objects.
    pub(super) targets: Arc<Vec<Target>>,
}

/// What was last applied where, and how often that was tried.
#[derive(Default)]
pub(crate) struct Memory {
    copies: Mutex<HashMap<(ApplicationUid, ClusterUid), Remembered>>,
    pub(super) pauses: Pauses,
}

#[derive(Clone, Default)]
struct Remembered {
    applied: Option<Manifest>,
    baselines: Arc<Baselines>,
}

impl Memory {
    /// Remembers what was just applied.
    pub(super) fn applied(
        &self,
        application: &ApplicationUid,
        cluster: &ClusterUid,
        manifest: Manifest,
        baselines: Baselines,
    ) {
        let remembered = Remembered { applied: Some(manifest), baselines: Arc::new(baselines) };
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
    pub(super) manifest: Option<Manifest>,
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
        Ok(Some(Sighting { view, handle, manifest: None }))
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
    let manifest = match remembered.applied.filter(|_| undecided) {
        Some(applied) => applied,
        None => {
            let targets = handle.while_answering(handle.targets(&application.manifest, identity));
            let unknown = match tokio::time::timeout(LOOK, targets).await {
                Ok(Ok(Ok(targets))) => Ok(targets),
                Ok(Ok(Err(error))) => Err(impossible(&error)),
                Ok(Err(error)) => Err(Targets::Unknown(error.to_string())),
                Err(_) => {
                    let why = format!("it does not tell within {} s which kinds it serves", LOOK.as_secs());
                    Err(Targets::Unknown(why))
                }
            };
            match unknown {
                Ok(targets) => Manifest { basis: application.generation, targets: Arc::new(targets) },
                Err(targets) => {
                    let (presence, basis) = (Presence::Unseen, application.generation);
                    let view = ClusterView { presence, basis, targets };
                    return Ok(Some(Sighting { view, handle: Some(handle), manifest: None }));
                }
            }
        }
    };
    let sights = handle.sights(&manifest.targets, &application.uid);
    let host = handle.connection().host();
    let seen = observe(&manifest.targets, &sights, &remembered.baselines, &application.uid, host);
    let keys = manifest.targets.iter().map(|target| target.prepared.key.clone()).collect();
    let view = ClusterView {
        presence: seen.map_or(Presence::Unseen, Presence::Seen),
        basis: manifest.basis,
        targets: Targets::Known(keys),
    };
    Ok(Some(Sighting { view, handle: Some(handle), manifest: Some(manifest) }))
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
