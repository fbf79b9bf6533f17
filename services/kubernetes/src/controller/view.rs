//! What can be said about a cluster for one application, and what is remembered between two looks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use krake_client::Client;

use super::attempts::{Attempts, Elapsed};
use super::index::Index;
use super::manifest::Manifest;
use super::pauses::{Ending, Pauses};
use super::project::Application;
use super::stake;
use crate::cluster::clusters::Clusters;
use crate::cluster::discovery::DiscoveryError;
use crate::cluster::{ClusterHandle, TargetError};
use crate::object::observation::{Baselines, observe};
use crate::object::prepare::Target;
use crate::object::{ApplicationUid, ClusterUid, Identity};
use crate::plan::{Attempt, ClusterView, CopyRecord, Phase, Presence, Reason, Targets};

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

/// What was last applied where, how often that was tried, and for how long.
#[derive(Default)]
pub(crate) struct Memory {
    copies: Mutex<HashMap<(ApplicationUid, ClusterUid), Remembered>>,
    pub(super) pauses: Pauses,
    attempts: Attempts,
}

#[derive(Clone, Default)]
struct Remembered {
    /// The generation, and its manifest.
    applied: Option<(i64, Manifest)>,
    baselines: Arc<Baselines>,
    /// A generation of which objects were accepted and others not: what is there is neither the one nor the other.
    halfway: Option<i64>,
}

impl Memory {
    /// Nothing remembered, with these pauses.
    pub(crate) fn new(pauses: Pauses) -> Self {
        Self { pauses, ..Self::default() }
    }

    /// Remembers that some objects of a generation were accepted, and others not.
    pub(super) fn halfway(&self, application: &ApplicationUid, cluster: &ClusterUid, generation: i64) {
        self.lock().entry((application.clone(), cluster.clone())).or_default().halfway = Some(generation);
    }

    /// Remembers what was just applied.
    pub(super) fn applied(
        &self,
        application: &ApplicationUid,
        cluster: &ClusterUid,
        objects: &Objects,
        baselines: Baselines,
    ) {
        let applied = objects.manifest.clone().map(|manifest| (objects.basis, manifest));
        let remembered = Remembered { applied, baselines: Arc::new(baselines), halfway: None };
        self.lock().insert((application.clone(), cluster.clone()), remembered);
    }

    /// Forgets a copy.
    pub(super) fn forget(&self, application: &ApplicationUid, cluster: &ClusterUid) {
        self.lock().remove(&(application.clone(), cluster.clone()));
        self.pauses.forget(application, cluster);
        self.attempts.forget(application, cluster);
    }

    /// Takes in a look at a copy: how long its attempt has lasted, and how long to wait before it is applied.
    fn attempt(&self, application: &Application, cluster: &ClusterUid, answers: bool, basis: i64) -> Attempt {
        let decided = application.scheduled_generation;
        let elapsed = match application.copy(cluster) {
            Some(copy) => self.attempts.look(&application.uid, copy, decided, answers),
            None => Elapsed::default(),
        };
        let failed = |copy: &CopyRecord| copy.phase == Phase::Failed && copy.observed_generation == decided;
        let copy = application.copy(cluster);
        if copy.is_some_and(|copy| copy.retry_request != application.retry_requests) {
            // A user asks for an attempt at once.
            self.pauses.forget(&application.uid, cluster);
        } else if copy.is_some_and(failed) {
            self.pauses.failed(&application.uid, cluster, decided);
        }
        let pause =
            |generation| self.pauses.remaining(&application.uid, cluster, generation).unwrap_or_default();
        Attempt {
            elapsed: elapsed.time,
            ran: elapsed.ran,
            pause: pause(application.generation),
            repair_pause: pause(basis),
        }
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
    let view = |answers, presence, basis, targets| ClusterView {
        presence,
        basis,
        targets,
        attempt: memory.attempt(application, cluster, answers, basis),
        unseen: String::new(),
    };
    let blind = |answers, presence, handle| {
        let view = view(answers, presence, application.generation, Targets::Unknown(String::new()));
        Ok(Some(Sighting { view, handle, objects: None }))
    };
    let handle = match clusters.get(cluster) {
        None if erased(client, index, cluster).await? => return blind(false, Presence::Erased, None),
        None => return Ok(None),
        Some(Err(error)) => return blind(false, Presence::Unreachable(error.to_string()), None),
        Some(Ok(handle)) => handle,
    };
    match handle.answers() {
        None => return blind(false, Presence::Unseen, None),
        Some(Err(why)) => {
            // What failed before the silence may succeed after it.
            memory.pauses.revived(&application.uid, cluster);
            return blind(false, Presence::Unreachable(why), None);
        }
        Some(Ok(())) => {}
    }
    if application.deleted {
        // All that happens there is removal, by what is recorded.
        return blind(true, Presence::Unseen, Some(handle));
    }
    let remembered = memory.get(&application.uid, cluster);
    let known = manifest(memory, application, cluster, &remembered);
    let targets = targets(&handle, known.1.as_ref(), application, identity).await?;
    let ((basis, manifest), targets) = match targets {
        Ok(targets) => (known, targets),
        Err(targets) => {
            let view = view(true, Presence::Unseen, application.generation, targets);
            if matches!(view.targets, Targets::Impossible(..)) && view.attempt.pause.is_zero() {
                // What runs there is looked after until the next attempt.
                memory.pauses.tried(&application.uid, cluster, application.generation, Ending::Lasting);
            }
            return Ok(Some(Sighting { view, handle: Some(handle), objects: None }));
        }
    };
    let sights = handle.sights(&targets, &application.uid);
    let host = handle.connection().host();
    let seen = observe(&targets, &sights, &remembered.baselines, &application.uid, host);
    let keys = targets.iter().map(|target| target.prepared.key.clone()).collect();
    let presence = seen.map_or(Presence::Unseen, Presence::Seen);
    let mut view = view(true, presence, basis, Targets::Known(keys));
    if view.presence == Presence::Unseen {
        view.unseen = handle.unseen(&targets, &application.uid);
    }
    Ok(Some(Sighting { view, handle: Some(handle), objects: Some(Objects { basis, manifest, targets }) }))
}

/// The objects of a manifest or, where that is not known, those that are recorded.
async fn targets(
    handle: &ClusterHandle,
    manifest: Option<&Manifest>,
    application: &Application,
    identity: &Identity,
) -> anyhow::Result<Result<Vec<Target>, Targets>> {
    let Some(manifest) = manifest else {
        let recorded = application.copy(&identity.cluster);
        let inventory = recorded.map(|copy| copy.inventory.as_slice()).unwrap_or_default();
        return Ok(within_limits(handle, handle.recorded(inventory)).await);
    };
    let documents = manifest.documents().context("a manifest that was readable is not any more")?;
    Ok(within_limits(handle, handle.targets(&documents, identity)).await)
}

/// The manifest by which a copy is looked at, and its generation: the present one where that is to be applied, and
/// otherwise what was applied there last, as far as it is still known.
fn manifest(
    memory: &Memory,
    application: &Application,
    cluster: &ClusterUid,
    remembered: &Remembered,
) -> (i64, Option<Manifest>) {
    let present = || (application.generation, Some(application.manifest.clone()));
    let recorded = application.copy(cluster).filter(|copy| copy.observed_generation != 0);
    let Some(copy) = recorded else { return present() };
    let bound = application.bindings.iter().any(|binding| binding.uid == cluster.as_str());
    let undecided = application.scheduled_generation != application.generation;
    let applied = remembered.applied.clone();
    if !undecided && bound {
        // An update that was refused rests: until it is tried again, what runs is repaired.
        let rests = copy.phase == Phase::Running
            && remembered.halfway.is_none()
            && memory.pauses.remaining(&application.uid, cluster, application.generation).is_some();
        let former = applied.filter(|(basis, _)| rests && *basis == copy.observed_generation);
        return former.map_or_else(present, |(basis, manifest)| (basis, Some(manifest)));
    }
    match applied {
        Some((basis, manifest)) => (basis, Some(manifest)),
        None if copy.observed_generation == application.generation => present(),
        // What the former spec said is not known any more. What is recorded of the copy has to do.
        None => (copy.observed_generation, None),
    }
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
