//! By what a copy is judged, and what is seen of it by that: the documents of its own Works or, where they are not known, its
//! inventory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use krake_proto::json::CANONICAL_VERSION;

use super::memory::{Accepted, is_decided_for};
use super::observations::Glance;
use super::view::{LOOK, Look, Piece, Prospect, Wanted, within_limits};
use crate::cluster::{ClusterHandle, Resolved};
use crate::object::containers::is_container;
use crate::object::drift::Baseline;
use crate::object::expectation::{Expected, Objects, expected};
use crate::object::observation::{Candidate, Observation, Seen, Sight, Whose, observe};
use crate::object::pods::Cause;
use crate::object::prepare::Prepared;
use crate::object::redaction::SecretValues;
use crate::object::rehearsal::rehearse;
use crate::object::rendering::{self, DocumentHash, DocumentSet, Rendering};
use crate::object::{ObjectKey, keys};
use crate::plan::{self, Basis, CopyRecord, Phase, Targets, Work};

/// Rehearsals of one look that are under way at once.
const REHEARSALS: usize = 8;
/// Objects that no watch shows, of one look, that are asked for at once.
const QUESTIONS: usize = 8;

/// By what a copy is judged: its own Works, or its inventory.
pub(super) struct Judgement {
    pub(super) basis: Basis,
    pub(super) expected: Vec<Expected<Candidate>>,
    pub(super) today: BTreeMap<DocumentHash, DocumentHash>,
    /// What was accepted whole.
    pub(super) applied: Option<Known>,
}

/// A set of documents that can be read.
#[derive(Clone, PartialEq)]
pub(super) enum Known {
    /// What is wanted: its documents need not be read.
    Wanted(DocumentSet),
    /// Another one.
    Read(Rendering),
}

impl Known {
    /// The name.
    pub(super) fn set(&self) -> DocumentSet {
        match self {
            Self::Wanted(set) => *set,
            Self::Read(rendering) => rendering.set(),
        }
    }
}

impl Look<'_> {
    /// By what the copy is judged. `Err`: the cluster fell silent in between.
    pub(super) async fn judgement(
        &self,
        handle: &ClusterHandle,
        prospect: &Prospect,
    ) -> anyhow::Result<Result<Judgement, Targets>> {
        let nothing =
            Judgement { basis: Basis::Nothing, expected: Vec::new(), today: BTreeMap::new(), applied: None };
        let Some(copy) = self.copy() else { return Ok(Ok(nothing)) };
        let wanted = prospect.wanted.as_ref();
        let set = wanted.map(|wanted| wanted.set);
        let (applied, intended) = copy.works(self.application.generation, set.as_ref());
        let applied_documents = self.documents(applied, wanted).await?;
        let intended_documents = self.documents(intended, wanted).await?.and_then(Result::ok);
        let basis = plan::basis(copy, self.application.generation, set.as_ref(), |_| {
            applied_documents.as_ref().map_or(Ok(()), |read| read.as_ref().map(drop).map_err(Clone::clone))
        });
        let (Basis::Works, Some(Ok(applied))) = (&basis, applied_documents) else {
            let recorded = within_limits(handle, async { Ok(handle.recorded(&copy.inventory).await) }).await;
            let expected = recorded.map(|objects| by_inventory(copy, &basis, objects));
            return Ok(expected.map(|expected| Judgement { basis, expected, ..nothing }));
        };
        let accepted = self.memory.accepted(&self.application.uid, self.cluster);
        let mut today = BTreeMap::new();
        let mut sets = Vec::new();
        for known in [Some(applied.clone()), intended_documents].into_iter().flatten() {
            match self.objects(handle, prospect, &known, &accepted).await {
                Ok((objects, hash)) => {
                    today.extend(hash.map(|hash| (known.set().hash, hash)));
                    sets.push(objects);
                }
                Err(targets) => return Ok(Err(targets)),
            }
        }
        let last = |key: &ObjectKey| accepted.get(key).map(|(set, _)| *set);
        let completed = |key: &ObjectKey, set| copy.has_completed(key, set);
        let expected = match sets.as_slice() {
            [applied, rest @ ..] => expected(applied, rest.first(), last, completed),
            [] => Vec::new(),
        };
        Ok(Ok(Judgement { basis, expected, today, applied: Some(applied) }))
    }

    /// The documents of a Work, if there is one; `Err` says why they cannot be read.
    async fn documents(
        &self,
        work: Option<Work>,
        wanted: Option<&Wanted>,
    ) -> anyhow::Result<Option<Result<Known, String>>> {
        let Some(work) = work else { return Ok(None) };
        if wanted.is_some_and(|wanted| wanted.set == work.set) {
            return Ok(Some(Ok(Known::Wanted(work.set))));
        }
        let read = self.memory.documents.read(self.client, self.application, &work.set).await?;
        Ok(Some(read.map(Known::Read)))
    }

    /// The objects of a set of documents, and its hash today if it was written by other rules.
    async fn objects(
        &self,
        handle: &ClusterHandle,
        prospect: &Prospect,
        known: &Known,
        accepted: &Accepted,
    ) -> Result<(Objects<Candidate>, Option<DocumentHash>), Targets> {
        let set = known.set();
        let resolved = match known {
            Known::Wanted(_) => prospect.objects.clone(),
            Known::Read(rendering) => self.resolve(handle, rendering).await?,
        };
        let by_other_rules = set.hash_version != CANONICAL_VERSION;
        let today = by_other_rules
            .then(|| Rendering::of(resolved.iter().map(|object| &object.target.prepared.body)).set().hash);
        let object = |Resolved { target, unresolved }: Resolved| {
            let key = target.prepared.key.clone();
            let last = accepted.get(&key).filter(|(last, _)| *last == set.hash);
            let baseline = last.map(|(_, baseline)| baseline.clone());
            let unresolved = unresolved.map(|error| error.to_string());
            (key, Candidate { target, baseline, unresolved })
        };
        Ok((Objects { hash: set.hash, objects: resolved.into_iter().map(object).collect() }, today))
    }

    /// The objects of documents that were applied before.
    async fn resolve(&self, handle: &ClusterHandle, rendering: &Rendering) -> Result<Vec<Resolved>, Targets> {
        let unreadable = |error: serde_json::Error| Targets::Unknown(error.to_string());
        let documents = rendering.documents().map_err(unreadable)?;
        let keys: Vec<ObjectKey> = documents.iter().filter_map(rendering::key).collect();
        let scopes: HashMap<(&str, &str), bool> = keys
            .iter()
            .map(|key| ((key.api_version.as_str(), key.kind.as_str()), key.namespace.is_some()))
            .collect();
        let is_namespaced = |api_version: &str, kind: &str| scopes.get(&(api_version, kind)).copied();
        within_limits(handle, handle.resolve(&documents, self.identity, is_namespaced)).await
    }

    /// What is seen of the objects that a copy should have, and of each. Where one differs from its document, and nothing is
    /// known of what the server made of that, a rehearsal tells.
    pub(super) async fn seen(
        &self,
        handle: &ClusterHandle,
        expected: &mut [Expected<Candidate>],
    ) -> Option<(Seen, Vec<Sight>)> {
        let sights = self.sights(handle, expected).await?;
        let is_bound = is_decided_for(self.application, self.cluster);
        let whose = Whose { application: &self.application.uid, cluster: self.cluster, is_bound };
        let host = handle.connection().host();
        let mut seen = observe(expected, &sights, whose, host)?;
        if self.rehearse_all(handle, expected, &sights, &seen).await {
            seen = observe(expected, &sights, whose, host)?;
        }
        self.explain(handle, expected, &mut seen).await;
        Some((seen, sights))
    }

    /// Finds out what the server would make of objects that differ from their documents; whether there were any of which
    /// that was not known.
    async fn rehearse_all(
        &self,
        handle: &ClusterHandle,
        expected: &mut [Expected<Candidate>],
        sights: &[Sight],
        seen: &Seen,
    ) -> bool {
        let drifted: HashSet<_> = seen.observation.drifted.iter().collect();
        let differing = expected.iter_mut().zip(sights);
        let differing = differing.filter(|(expected, _)| drifted.contains(&expected.key));
        let rehearsals: Vec<_> = differing
            .filter_map(|(expected, sight)| {
                let Sight::Present(live) = sight else { return None };
                let [(Some(set), candidate)] = expected.candidates.as_mut_slice() else { return None };
                let is_due = candidate.baseline.is_none();
                is_due.then(|| self.rehearse(handle, *set, candidate, live.uid.clone()).boxed())
            })
            .collect();
        let any = !rehearsals.is_empty();
        let all = futures::stream::iter(rehearsals).buffer_unordered(REHEARSALS).collect::<Vec<()>>();
        drop(within_limits(handle, all.map(Ok)).await);
        any
    }

    /// Asks the pods of workloads that are not ready why they do not start. The first that say so do.
    async fn explain(&self, handle: &ClusterHandle, expected: &[Expected<Candidate>], seen: &mut Seen) {
        let is_awaited = |copy: &CopyRecord| matches!(copy.phase, Phase::Applying | Phase::Running);
        if !self.copy().is_some_and(is_awaited) {
            return;
        }
        let candidates = expected.iter().flat_map(|expected| &expected.candidates);
        let prepared = candidates.map(|(_, candidate)| &candidate.target.prepared);
        let secrets = prepared.filter(|prepared| prepared.key.kind == "Secret");
        let secrets = SecretValues::of_bodies(secrets.map(|prepared| &prepared.body));
        for workload in seen.observation.unready.clone() {
            let asked = handle.pods().of(&workload).map(Ok);
            let Ok(Some(Cause { text, class })) = within_limits(handle, asked).await else { continue };
            let cause = Cause { text: secrets.cut_out_of(&text), class };
            seen.observation.explain(&workload.key, cause);
            return;
        }
    }

    /// What of the objects that were applied is there, by what is seen of each.
    pub(super) fn glance(
        &self,
        applied: Known,
        expected: &[Expected<Candidate>],
        sights: &[Sight],
    ) -> Glance {
        let own = expected.iter().zip(sights).filter_map(|(expected, sight)| match sight {
            Sight::Present(object) if object.application == self.application.uid => {
                Some((expected.key.clone(), Arc::clone(object)))
            }
            _ => None,
        });
        Glance::new(applied, own.collect())
    }

    /// Finds out what the server would make of an object.
    async fn rehearse(
        &self,
        handle: &ClusterHandle,
        set: DocumentHash,
        candidate: &mut Candidate,
        uid: String,
    ) {
        let prepared = &candidate.target.prepared;
        let Prepared { key, .. } = prepared;
        match rehearse(handle.connection(), &candidate.target, &uid).await {
            Ok(answer) => {
                let baseline = Baseline::rehearsed(&prepared.observed(), &answer);
                let application = &self.application.uid;
                self.memory.accept(application, self.cluster, key.clone(), set, baseline.clone());
                candidate.baseline = Some(baseline);
            }
            // Then it is applied.
            Err(error) => tracing::debug!(object = %key, %error, "not rehearsed"),
        }
    }

    /// What is seen of each object. Those that no watch shows are asked for, all of them within the time of a look. `None`: the
    /// cluster fell silent in between.
    async fn sights(&self, handle: &ClusterHandle, expected: &[Expected<Candidate>]) -> Option<Vec<Sight>> {
        let application = &self.application.uid;
        let inventory = self.copy().map(|copy| copy.inventory.as_slice()).unwrap_or_default();
        let recorded: HashMap<_, _> =
            inventory.iter().map(|entry| (&entry.key, entry.uid.as_deref())).collect();
        let uid = |expected: &Expected<Candidate>| recorded.get(&expected.key).copied().flatten();
        let mut sights: Vec<_> =
            expected.iter().map(|expected| self.sight(handle, expected, uid(expected))).collect();
        let asked = expected.iter().zip(&sights).enumerate().filter_map(|(index, (expected, seen))| {
            let target = &resolved(expected).filter(|_| is_container(&expected.key))?.target;
            ClusterHandle::is_asked_for(seen, target, application).then(|| (index, target, seen.clone()))
        });
        let asked: Vec<_> = asked.collect();
        if asked.is_empty() {
            return Some(sights);
        }
        let answers = asked.iter().map(|(index, target, seen)| {
            let recorded = recorded.get(&target.prepared.key).copied().flatten();
            let answer = handle.shared_sight(seen.clone(), target, self.identity, recorded);
            answer.map(|sight| (*index, sight)).boxed()
        });
        let mut answers = handle.while_answering(within(LOOK, answers.collect())).await.ok()?;
        for (index, _, seen) in asked {
            let too_late = || match seen {
                Sight::Hidden(why) => Sight::Hidden(why),
                _ => Sight::Hidden(format!("the cluster does not show it within {} s", LOOK.as_secs())),
            };
            sights[index] = answers.remove(&index).unwrap_or_else(too_late);
        }
        Some(sights)
    }

    /// What the watches show of an object, by the first of its candidates whose kind is known. `recorded`: its uid.
    fn sight(&self, handle: &ClusterHandle, expected: &Expected<Candidate>, recorded: Option<&str>) -> Sight {
        match resolved(expected) {
            Some(Candidate { target, .. }) => match handle.sight(target, &self.application.uid) {
                Sight::Absent => recorded
                    .and_then(|uid| handle.ended(target, &self.application.uid, uid))
                    .unwrap_or(Sight::Absent),
                sight => sight,
            },
            None => {
                let mut candidates = expected.candidates.iter().map(|(_, candidate)| candidate);
                let why = candidates.find_map(|candidate| candidate.unresolved.clone());
                Sight::Hidden(why.unwrap_or_default())
            }
        }
    }
}

/// The first candidate of an object whose kind is known.
fn resolved(expected: &Expected<Candidate>) -> Option<&Candidate> {
    let mut candidates = expected.candidates.iter().map(|(_, candidate)| candidate);
    candidates.find(|candidate| candidate.unresolved.is_none())
}

/// The answers that come within a time, some questions being under way at once.
async fn within<T>(limit: Duration, asked: Vec<BoxFuture<'_, (usize, T)>>) -> HashMap<usize, T> {
    let mut answers = HashMap::new();
    let mut coming = futures::stream::iter(asked).buffer_unordered(QUESTIONS);
    let all = async {
        while let Some((index, answer)) = coming.next().await {
            answers.insert(index, answer);
        }
    };
    // What did not come in time is not waited for.
    let _ = tokio::time::timeout(limit, all).await;
    answers
}

/// The recorded objects of a copy of which no documents are known. One that was perhaps never accepted is not missed where
/// the whole was accepted.
fn by_inventory(copy: &CopyRecord, basis: &Basis, objects: Vec<Resolved>) -> Vec<Expected<Candidate>> {
    let accepted = keys(copy.inventory.iter().filter(|entry| entry.uid.is_some()));
    let expectation = |Resolved { target, unresolved }: Resolved| {
        let key = target.prepared.key.clone();
        let is_accepted = accepted.contains(&key);
        let unresolved = unresolved.map(|error| error.to_string());
        Expected {
            optional: *basis != Basis::Nothing && !is_accepted,
            done: copy.completed.contains_key(&key),
            candidates: vec![(None, Candidate { target, baseline: None, unresolved })],
            key,
        }
    };
    objects.into_iter().map(expectation).collect()
}

/// What a repair applies: what is missing or changed, but for what ended well, what was perhaps never accepted, and what is
/// refused.
pub(super) fn repair(
    expected: &[Expected<Candidate>],
    seen: &Seen,
    refused: &BTreeMap<ObjectKey, Duration>,
) -> Vec<Piece> {
    let Observation { missing, drifted, .. } = &seen.observation;
    let troubled: HashSet<&ObjectKey> = missing.iter().chain(drifted).collect();
    let is_due = |expected: &Expected<Candidate>| {
        !expected.done
            && !expected.optional
            && troubled.contains(&expected.key)
            && !refused.contains_key(&expected.key)
    };
    let due = expected.iter().zip(&seen.chosen).filter(|(expected, _)| is_due(expected));
    let piece = |(expected, chosen): (&Expected<Candidate>, &usize)| {
        let (set, candidate) = expected.candidates.get(*chosen)?;
        let set = set.filter(|_| candidate.unresolved.is_none())?;
        Some(Piece { target: candidate.target.clone(), set })
    };
    due.filter_map(piece).collect()
}

#[cfg(test)]
mod tests;
