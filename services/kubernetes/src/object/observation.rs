//! What is seen of an application's copy on a cluster, object by object. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use crate::cluster::cache::CachedObject;
use crate::object::autoscaler::{self, REPLICAS, Replicas};
use crate::object::drift::{self, Baseline};
use crate::object::expectation::Expected;
use crate::object::health::{self, Health, Verdict};
use crate::object::pods::{Cause, Unready};
use crate::object::prepare::Target;
use crate::object::rendering::DocumentHash;
use crate::object::services;
use crate::object::shared::SharedObject;
use crate::object::{ApplicationUid, CLUSTER_ANNOTATION, ClusterUid, InventoryEntry, ObjectKey, text};

/// Maximum number of workloads of a copy whose pods are asked why they are not ready.
const MAX_UNREADY: usize = 3;

/// What is seen of one object.
#[derive(Clone, Debug)]
pub enum Sight {
    /// The watch has not told yet.
    Pending,
    /// Nothing can be said about this object while the others are seen; why.
    Hidden(String),
    /// Objects of this kind cannot be watched: it is believed to be what was applied.
    Unwatched,
    /// There is no such object of ours.
    Absent,
    /// The object as last seen.
    Present(Arc<CachedObject>),
    /// The last state of the application's object, which ran to its end and is gone.
    Ended(Arc<CachedObject>),
    /// An object that is not the application's, and used.
    Used(Arc<SharedObject>),
}

/// An object as a set of documents wants it, and what is known of it since it was last applied.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The object. Its body is null where only its name is known.
    pub target: Target,
    /// What the server made of it.
    pub baseline: Option<Baseline>,
    /// Why its kind cannot be resolved, so that it can be neither seen nor applied.
    pub unresolved: Option<String>,
}

/// An object about which nothing can be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// The object.
    pub key: ObjectKey,
    /// Why.
    pub why: String,
}

/// What is seen of a whole copy.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// Objects that do not exist, or not as ours.
    pub missing: Vec<ObjectKey>,
    /// Objects whose observed fields somebody changed.
    pub drifted: Vec<ObjectKey>,
    /// Objects about which nothing can be said.
    pub hidden: Vec<Hidden>,
    /// Pods and worst verdict over all objects; never available while something is missing or hidden.
    pub health: Health,
    /// Address per Service.
    pub services: BTreeMap<String, String>,
    /// The objects that exist, with their uids.
    pub present: Vec<InventoryEntry>,
    /// The objects that are not the application's, and used.
    pub used: Vec<ObjectKey>,
    /// Workloads whose pods are not ready: the first few.
    pub unready: Vec<Unready>,
    /// Why they are not, if that was found out.
    pub cause: Option<Cause>,
    /// The replicas of workloads that have more than their documents say.
    pub replicas: Replicas,
    /// Jobs that ran to their end, and the set of documents that they are of.
    pub completed: Vec<(ObjectKey, DocumentHash)>,
}

impl Observation {
    /// Takes in why the pods of a workload do not start: what is said of the workload says so too.
    pub fn explain(&mut self, workload: &ObjectKey, cause: Cause) {
        let said = |why: String| match why.strip_prefix(&format!("{workload}: ")) {
            Some(_) => format!("{why}: {}", cause.text),
            None => format!("{why}; {workload}: {}", cause.text),
        };
        self.health.verdict = match std::mem::replace(&mut self.health.verdict, Verdict::Available) {
            Verdict::Progressing(why) => Verdict::Progressing(said(why)),
            Verdict::Failed(why) => Verdict::Failed(said(why)),
            Verdict::Available => return,
        };
        self.cause = Some(cause);
    }

    /// Whether every object that can be seen is there as it should be.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty() && self.drifted.is_empty()
    }
}

/// What is known of each object since it was last applied.
pub type Baselines = HashMap<ObjectKey, Baseline>;

/// What is seen of each object, put together; and for each which candidate it is, or is to become.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The copy.
    pub observation: Observation,
    /// Index of the candidate of each object.
    pub chosen: Vec<usize>,
}

impl Expected<Candidate> {
    /// The objects of `targets`, each expected as it is.
    pub fn all(targets: &[Target], baselines: &Baselines) -> Vec<Self> {
        let expectation = |target: &Target| {
            let key = target.prepared.key.clone();
            let baseline = baselines.get(&key).cloned();
            let candidate = Candidate { target: target.clone(), baseline, unresolved: None };
            Self { key, candidates: vec![(None, candidate)], optional: false, done: false }
        };
        targets.iter().map(expectation).collect()
    }

    /// The candidate that a live object is, if it is one of them.
    fn fitting(&self, live: &Value) -> Option<usize> {
        let fits = |candidate: &Candidate| {
            drift::drift(&candidate.target.prepared.observed(), live, candidate.baseline.as_ref()).is_empty()
        };
        self.candidates.iter().position(|(_, candidate)| fits(candidate))
    }
}

/// The copy that is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'a> {
    /// Its application.
    pub application: &'a ApplicationUid,
    /// Its cluster, by the uid in Krake.
    pub cluster: &'a ClusterUid,
    /// Whether the application is to run there.
    pub is_bound: bool,
}

impl Whose<'_> {
    /// Whether a live object was applied for another registration of the same Kubernetes cluster.
    fn is_of_another(&self, live: &Value) -> bool {
        text(live, &["metadata", "annotations", CLUSTER_ANNOTATION])
            .is_some_and(|cluster| cluster != self.cluster.as_str())
    }
}

/// What is seen so far.
#[derive(Default)]
struct Tally<'a> {
    missing: Vec<ObjectKey>,
    drifted: Vec<ObjectKey>,
    hidden: Vec<Hidden>,
    present: Vec<InventoryEntry>,
    used: Vec<ObjectKey>,
    completed: Vec<(ObjectKey, DocumentHash)>,
    replicas: Replicas,
    /// The first object that is missing though it is there: whose it is, for people.
    of_others: Option<String>,
    live: Vec<(&'a ObjectKey, Value)>,
    healths: Vec<(&'a ObjectKey, health::Health)>,
}

impl<'a> Tally<'a> {
    /// Takes in an object of the application. Returns which of its candidates it is.
    fn present(
        &mut self,
        expected: &'a Expected<Candidate>,
        object: &CachedObject,
        whose: Whose<'_>,
    ) -> usize {
        let (key, value) = (&expected.key, object.value());
        // What ended well stays as it is, and so does what an earlier set left where another one wants to be.
        let stays = expected.optional || expected.done;
        let is_of_another = whose.is_of_another(&value);
        if is_of_another && whose.is_bound && !stays {
            let why = || format!("{key} was applied for another registration of the cluster");
            self.of_others.get_or_insert_with(why);
            self.missing.push(key.clone());
            return 0;
        }
        let fitting = expected.fitting(&value);
        if fitting.is_none() && !is_of_another && !stays {
            self.drifted.push(key.clone());
        }
        let chosen = fitting.unwrap_or_default();
        let (set, candidate) = &expected.candidates[chosen];
        if let (true, Some(set)) = (health::is_done(&value), set) {
            self.completed.push((key.clone(), *set));
        }
        let more = value.pointer(REPLICAS).and_then(Value::as_i64);
        if let Some(more) = more.filter(|more| *more > autoscaler::wanted(&candidate.target.prepared.body)) {
            self.replicas.insert(key.clone(), more);
        }
        self.present.push(InventoryEntry { key: key.clone(), uid: Some(object.uid.clone()) });
        self.healths.push((key, health::of_object(&value)));
        self.live.push((key, value));
        chosen
    }

    /// Takes in the last state of an object of the application that ran to its end. Returns which of its candidates it was.
    fn ended(&mut self, expected: &Expected<Candidate>, object: &CachedObject) -> usize {
        let fitting = expected.fitting(&object.value());
        match fitting {
            Some(fitting) => {
                let set = expected.candidates[fitting].0;
                self.completed.extend(set.map(|set| (expected.key.clone(), set)));
            }
            None if expected.optional => {}
            None => self.missing.push(expected.key.clone()),
        }
        fitting.unwrap_or_default()
    }

    /// Why the copy is not whole, for people.
    fn lacks(&self) -> Option<String> {
        let missing = || {
            self.missing.first().map(|first| format!("{first} does not exist with the labels of this Krake"))
        };
        self.of_others.clone().or_else(missing).or_else(|| {
            let Hidden { key, why } = self.hidden.first()?;
            Some(format!("{key} cannot be seen: {why}"))
        })
    }

    fn observation(self, cluster_host: &str) -> Observation {
        let lacks = self.lacks();
        let Self { missing, drifted, hidden, present, used, completed, replicas, live, healths, .. } = self;
        let unready = live.iter().filter(|(_, value)| health::of_object(value).verdict != Verdict::Available);
        let unready = unready.filter_map(|(key, value)| Unready::of(key, value)).take(MAX_UNREADY).collect();
        let mut health = health::of_copy(healths);
        if let (Some(why), false) = (lacks, matches!(health.verdict, Verdict::Failed(_))) {
            health.verdict = Verdict::Progressing(why);
        }
        let services = services::addresses(live.iter().map(|(_, value)| value), cluster_host);
        Observation {
            missing,
            drifted,
            hidden,
            health,
            services,
            present,
            used,
            unready,
            cause: None,
            replicas,
            completed,
        }
    }
}

/// Puts together what is seen of all objects, `sights` in their order. Nothing while a watch has still to tell.
///
/// What was applied for another registration of the cluster is missing where the application is to run, which takes it over;
/// elsewhere it is as it should be: two copies must not undo what the other one does.
pub fn observe(
    expected: &[Expected<Candidate>],
    sights: &[Sight],
    whose: Whose<'_>,
    cluster_host: &str,
) -> Option<Seen> {
    let mut tally = Tally::default();
    let mut chosen = vec![0; expected.len()];
    for (index, (expected, sight)) in expected.iter().zip(sights).enumerate() {
        let key = &expected.key;
        match sight {
            Sight::Pending => return None,
            Sight::Hidden(_) if expected.optional => {}
            Sight::Hidden(why) => tally.hidden.push(Hidden { key: key.clone(), why: why.clone() }),
            Sight::Unwatched => {}
            Sight::Used(object) => {
                tally.used.push(key.clone());
                tally.healths.push((key, object.health().clone()));
            }
            Sight::Present(object) if object.application == *whose.application => {
                chosen[index] = tally.present(expected, object, whose);
            }
            Sight::Ended(object) if !expected.done => chosen[index] = tally.ended(expected, object),
            Sight::Ended(_) => {}
            Sight::Absent | Sight::Present(_) if expected.done || expected.optional => {}
            Sight::Absent => tally.missing.push(key.clone()),
            Sight::Present(object) => {
                let why = || format!("{key} bears the label of another application, {}", object.application);
                tally.of_others.get_or_insert_with(why);
                tally.missing.push(key.clone());
            }
        }
    }
    Some(Seen { observation: tally.observation(cluster_host), chosen })
}

#[cfg(test)]
mod tests;
