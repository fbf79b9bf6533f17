//! What can be said about a cluster for one application: what is wanted there, by what its copy is judged, and what is seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use krake_client::Client;
use serde_json::Value;

use super::index::Index;
use super::judgement::{self, Judgement};
use super::manifest::{self, Manifest};
use super::memory::{Memory, is_decided_for};
use super::observations::Glance;
use super::pauses::Ending;
use super::project::Application;
use super::refusals::{Held, Holder};
use super::renderings::Source;
use super::stake;
use crate::cluster::clusters::Clusters;
use crate::cluster::discovery::DiscoveryError;
use crate::cluster::{ClusterHandle, Resolved, TargetError};
use crate::object::expectation::Expected;
use crate::object::observation::{Candidate, Observation, Seen, Sight};
use crate::object::prepare::Target;
use crate::object::rendering::{DocumentHash, DocumentSet, Rendering};
use crate::object::{ClusterUid, EVERY_CLUSTER_ANNOTATION, Identity, ObjectKey, text};
use crate::plan::{Aim, Basis, ClusterView, CopyRecord, Phase, Presence, Reason, Targets};

/// How long a look at one cluster may take.
pub(super) const LOOK: Duration = Duration::from_secs(15);

/// An object that can be applied, and the set of documents that it is of.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) target: Target,
    pub(super) set: DocumentHash,
}

/// The documents of the spec as a cluster would get them.
pub(super) struct Wanted {
    pub(super) set: DocumentSet,
    pub(super) pieces: Vec<Piece>,
}

impl Wanted {
    /// Whether an autoscaler of the application decides on the replicas of a workload.
    fn is_scaled(&self) -> bool {
        self.pieces.iter().any(|piece| piece.target.prepared.scaled)
    }

    /// The documents in their canonical form: rarely needed, and made for whoever asks.
    pub(super) fn rendering(&self) -> Rendering {
        Rendering::of(self.pieces.iter().map(|piece| &piece.target.prepared.body))
    }

    /// The objects that users want to run on every cluster.
    fn every_cluster(&self) -> BTreeSet<ObjectKey> {
        let prepared = self.pieces.iter().map(|piece| &piece.target.prepared);
        let annotation = ["metadata", "annotations", EVERY_CLUSTER_ANNOTATION];
        let named = prepared.filter(|prepared| text(&prepared.body, &annotation) == Some("true"));
        named.map(|prepared| prepared.key.clone()).collect()
    }
}

/// A view, with what is needed to act on it.
pub(super) struct Sighting {
    pub(super) view: ClusterView,
    /// The cluster, if it answers.
    pub(super) handle: Option<Arc<ClusterHandle>>,
    /// What `view.wanted` stands for.
    pub(super) wanted: Option<Wanted>,
    /// What a repair applies.
    pub(super) repair: Vec<Piece>,
    /// The set of documents that a repair restores.
    pub(super) repairs: Option<DocumentHash>,
    /// What is seen of what was applied, if all of it was looked at.
    pub(super) glance: Option<Glance>,
    /// What other applications have of it.
    pub(super) held: Held,
    /// The Secrets of what is wanted and of what is there, whose values nothing may tell.
    pub(super) secrets: Vec<Value>,
}

/// A look at a cluster for an application.
pub(super) struct Look<'a> {
    pub(super) client: &'a Client,
    pub(super) clusters: &'a Clusters,
    pub(super) index: &'a Index,
    pub(super) memory: &'a Memory,
    pub(super) application: &'a Application,
    pub(super) identity: &'a Identity,
    pub(super) cluster: &'a ClusterUid,
}

/// The objects of the spec, as far as they are known.
pub(super) struct Prospect {
    pub(super) wanted: Option<Wanted>,
    pub(super) objects: Vec<Resolved>,
    pub(super) targets: Targets,
}

impl Look<'_> {
    /// Looks. `None`: the cluster is not there, and nothing says that it was erased.
    pub(super) async fn take(&self) -> anyhow::Result<Option<Sighting>> {
        let application = self.application;
        if self.index.is_erased(self.cluster) {
            // Whoever looks after it still, what is there does not matter any more.
            return Ok(Some(self.blind(false, Presence::Erased, None)));
        }
        let handle = match self.clusters.get(self.cluster) {
            None if erased(self.client, self.index, self.cluster).await? => {
                return Ok(Some(self.blind(false, Presence::Erased, None)));
            }
            None => return Ok(None),
            Some(Err(error)) => {
                return Ok(Some(self.blind(false, Presence::Unreachable(error.to_string()), None)));
            }
            Some(Ok(handle)) => handle,
        };
        match handle.answers() {
            None => return Ok(Some(self.blind(false, Presence::Unseen, None))),
            Some(Err(why)) => {
                // What failed before the silence may succeed after it.
                self.memory.pauses.revived(&application.uid, self.cluster);
                if handle.is_fenced() {
                    self.memory.distrust(&application.uid, self.cluster);
                }
                return Ok(Some(self.blind(false, Presence::Unreachable(why), None)));
            }
            Some(Ok(())) => {}
        }
        if application.deleted {
            // All that happens there is removal, by what is recorded.
            return Ok(Some(self.blind(true, Presence::Unseen, Some(handle))));
        }
        let prospect = self.prospect(&handle).await?;
        match self.judgement(&handle, &prospect).await? {
            Ok(judgement) => Ok(Some(self.sighting(handle, prospect, judgement).await)),
            // The cluster fell silent in between.
            Err(targets) => {
                let mut sighting = self.blind(true, Presence::Unseen, Some(handle));
                sighting.view.targets = targets;
                Ok(Some(sighting))
            }
        }
    }

    /// A sighting of which nothing else is known.
    fn blind(&self, answers: bool, presence: Presence, handle: Option<Arc<ClusterHandle>>) -> Sighting {
        let (_, attempt) = self.memory.attempt(self.application, self.cluster, answers, None);
        // While the cluster does not answer, or is not known to, nobody waits to see the copy.
        let is_unseen = presence == Presence::Unseen && answers && !self.application.deleted;
        let view = ClusterView {
            unseen: self.memory.unseen.lasts(&self.application.uid, self.cluster, is_unseen),
            hidden: self.memory.hidden.lasts(&self.application.uid, self.cluster, false),
            webhook: false,
            presence,
            basis: Basis::Nothing,
            wanted: None,
            targets: Targets::Unknown(String::new()),
            every_cluster: BTreeSet::new(),
            scaled: false,
            today: BTreeMap::new(),
            renewal: Duration::ZERO,
            attempt,
            refused: BTreeMap::new(),
        };
        Sighting {
            view,
            handle,
            wanted: None,
            repair: Vec::new(),
            repairs: None,
            glance: None,
            held: Held::new(),
            secrets: Vec::new(),
        }
    }

    /// The objects of the spec as the cluster would get them.
    async fn prospect(&self, handle: &ClusterHandle) -> anyhow::Result<Prospect> {
        let unreadable = |error: serde_json::Error| {
            anyhow::anyhow!(error).context("a manifest that was readable is not any more")
        };
        let documents = match &self.application.manifest {
            Manifest::Inline(texts) => manifest::parsed(texts).map_err(unreadable)?,
            Manifest::Stored(set) => {
                match self.memory.documents.read(self.client, self.application, set).await? {
                    Ok(rendering) => rendering.documents().map_err(unreadable)?,
                    Err(why) => {
                        let targets = Targets::Unknown(format!("its manifest cannot be read: {why}"));
                        return Ok(Prospect { wanted: None, objects: Vec::new(), targets });
                    }
                }
            }
        };
        // Where a kind cannot be resolved, the objects of it that are recorded tell whether it has namespaces.
        let inventory = self.copy().map(|copy| copy.inventory.as_slice()).unwrap_or_default();
        let is_namespaced = |api_version: &str, kind: &str| {
            let key = ObjectKey {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
                namespace: None,
                name: String::new(),
            };
            let same = |other: &&ObjectKey| other.kind == key.kind && other.group() == key.group();
            inventory.iter().map(|entry| &entry.key).find(same).map(|key| key.namespace.is_some())
        };
        let resolved = handle.resolve(&documents, self.identity, is_namespaced);
        let objects = match within_limits(handle, resolved).await {
            Ok(objects) => objects,
            Err(targets) => return Ok(Prospect { wanted: None, objects: Vec::new(), targets }),
        };
        let targets = objects.iter().map(|object| &object.target);
        let namespace = handle.connection().default_namespace();
        let source = Source::new(self.application.generation, namespace, targets.clone());
        let render = || Rendering::of(targets.map(|target| &target.prepared.body)).set();
        let set = self.memory.renderings.set(&self.application.uid, self.cluster, source, render);
        let piece = |object: &Resolved| Piece { target: object.target.clone(), set: set.hash };
        let pieces = objects.iter().map(piece).collect();
        let trouble = objects.iter().find_map(|object| object.unresolved.clone());
        let targets = match trouble {
            Some(error) => impossible(&TargetError::Discovery(error)),
            None => Targets::Known(objects.iter().map(|object| object.target.prepared.key.clone()).collect()),
        };
        Ok(Prospect { wanted: Some(Wanted { set, pieces }), objects, targets })
    }

    /// Puts together what is wanted, expected and seen.
    async fn sighting(
        &self,
        handle: Arc<ClusterHandle>,
        prospect: Prospect,
        judgement: Judgement,
    ) -> Sighting {
        let Prospect { wanted, targets, .. } = prospect;
        let Judgement { basis, mut expected, today, applied } = judgement;
        let set = wanted.as_ref().map(|wanted| wanted.set);
        let (seen, sights) = self.seen(&handle, &mut expected).await.unzip();
        let held = sights.as_deref().map(|sights| self.held(&expected, sights)).unwrap_or_default();
        let glance = applied.clone().zip(sights);
        let glance = glance.map(|(applied, sights)| self.glance(applied, &expected, &sights));
        let secrets = secrets(wanted.as_ref(), &expected);
        let repairs = applied.map(|applied| applied.set().hash);
        let refused = self.refused(repairs, seen.as_ref(), &held);
        let repair = seen.as_ref().map(|seen| judgement::repair(&expected, seen, &refused));
        if let (Some(seen), Some(Phase::Running)) = (&seen, self.copy().map(|copy| copy.phase)) {
            self.remember_replicas(&seen.observation);
        }
        let is_served = matches!(targets, Targets::Known(_));
        let waited = self.copy().is_some_and(|copy| copy.applied.reason == Reason::UnsupportedResource);
        if is_served && waited {
            // It failed because a kind was not served, which it is now.
            self.memory.pauses.forget(&self.application.uid, self.cluster);
        }
        // A cluster that has too many requests to answer them all takes longer through no fault of the application.
        let counts = !handle.report().is_some_and(|report| report.record.throttled);
        let (aim, attempt) = self.memory.attempt(self.application, self.cluster, counts, set.as_ref());
        let is_applied = self.copy().is_some_and(|copy| aim.is_applied(copy));
        if matches!(targets, Targets::Impossible(..)) && attempt.pause.is_zero() && !is_applied {
            // What runs there is looked after until the next attempt.
            self.memory.pauses.tried(&self.application.uid, self.cluster, aim, Ending::Lasting);
        }
        let is_hidden = seen.as_ref().is_some_and(|seen| !seen.observation.hidden.is_empty());
        let view = ClusterView {
            unseen: self.memory.unseen.lasts(&self.application.uid, self.cluster, seen.is_none()),
            hidden: self.memory.hidden.lasts(&self.application.uid, self.cluster, is_hidden),
            webhook: self.memory.applies.interruption(&self.application.uid, self.cluster).by_webhook,
            presence: seen.map_or(Presence::Unseen, |seen| Presence::Seen(Box::new(seen.observation))),
            renewal: self.renewal(set.as_ref()),
            basis,
            every_cluster: wanted.as_ref().map(Wanted::every_cluster).unwrap_or_default(),
            scaled: wanted.as_ref().is_some_and(Wanted::is_scaled),
            wanted: set,
            targets,
            today,
            attempt,
            refused,
        };
        let repair = repair.unwrap_or_default();
        Sighting { view, handle: Some(handle), wanted, repair, repairs, glance, held, secrets }
    }

    /// Remembers how many replicas the workloads of the copy have.
    fn remember_replicas(&self, seen: &Observation) {
        let copies: Vec<_> = self.application.copies.iter().map(|copy| copy.record.cluster.clone()).collect();
        if let Some(copy) = self.copy() {
            self.memory.replicas.seen(&self.application.uid, copy, seen, &copies);
        }
    }

    /// The objects that the watches show as other applications'.
    fn held(&self, expected: &[Expected<Candidate>], sights: &[Sight]) -> Held {
        let held = expected.iter().zip(sights).filter_map(|(expected, sight)| match sight {
            Sight::Present(object) if object.application != self.application.uid => {
                let (uid, application) = (object.uid.clone(), object.application.clone());
                let is_erased = self.index.is_erased_application(&application);
                Some((expected.key.clone(), Holder { uid, application, is_erased }))
            }
            _ => None,
        });
        held.collect()
    }

    /// The objects whose repair to the set `applied` is refused, and how long to wait for each.
    fn refused(
        &self,
        applied: Option<DocumentHash>,
        seen: Option<&Seen>,
        held: &Held,
    ) -> BTreeMap<ObjectKey, Duration> {
        let (Some(applied), Some(seen)) = (applied, seen) else { return BTreeMap::new() };
        let (application, refusals) = (&self.application.uid, &self.memory.pauses.refusals);
        let Observation { missing, drifted, .. } = &seen.observation;
        let needs_repair = |key: &ObjectKey| missing.contains(key) || drifted.contains(key);
        refusals.seen(application, self.cluster, needs_repair, held);
        refusals.remaining(application, self.cluster, Aim::Set(applied))
    }

    /// How long to wait before the copy is recorded anew by today's rules, if it was recorded by others or by a version of
    /// Krake that knew no documents.
    fn renewal(&self, wanted: Option<&DocumentSet>) -> Duration {
        let generation = self.application.generation;
        let is_taken_over = self.copy().is_some_and(|copy| copy.is_taken_over(generation, wanted));
        let work = self.copy().and_then(|copy| copy.applied_work);
        let differs = work.zip(wanted).is_some_and(|(work, set)| work.set.hash_version != set.hash_version);
        let (application, renewals) = (&self.application.uid, &self.memory.renewals);
        if is_taken_over || differs && is_decided_for(self.application, self.cluster) {
            return renewals.wait(application, self.cluster);
        }
        renewals.forget(application, self.cluster);
        Duration::ZERO
    }

    pub(super) fn copy(&self) -> Option<&CopyRecord> {
        self.application.copy(self.cluster)
    }
}

/// The Secrets among the objects that are wanted and those that are there.
fn secrets(wanted: Option<&Wanted>, expected: &[Expected<Candidate>]) -> Vec<Value> {
    let wanted = wanted.into_iter().flat_map(|wanted| &wanted.pieces).map(|piece| &piece.target.prepared);
    let candidates = expected.iter().flat_map(|expected| &expected.candidates);
    let all = wanted.chain(candidates.map(|(_, candidate)| &candidate.target.prepared));
    all.filter(|prepared| prepared.key.kind == "Secret").map(|prepared| prepared.body.clone()).collect()
}

/// Waits for objects as long as a look may take, and as long as the cluster answers.
pub(super) async fn within_limits<T>(
    handle: &ClusterHandle,
    objects: impl Future<Output = Result<T, TargetError>>,
) -> Result<T, Targets> {
    match tokio::time::timeout(LOOK, handle.while_answering(objects)).await {
        Ok(Ok(Ok(objects))) => Ok(objects),
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
