//! Works: what was applied to a cluster and what is meant to be, by the sets of documents that are recorded with a copy. Pure.

use super::{ClusterView, CopyRecord, Phase, Reason, Snapshot, Truth};
use crate::object::ObjectKey;
use crate::object::rendering::{DocumentHash, DocumentSet};

/// A stored set of documents that a copy names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// The documents.
    pub set: DocumentSet,
    /// Generation of the spec that they were made from.
    pub generation: i64,
    /// Number of pieces in which the state service stores them; 0 before it does.
    pub pieces: u32,
}

impl Work {
    /// A set that is not stored yet.
    pub fn new(set: DocumentSet, generation: i64) -> Self {
        Self { set, generation, pieces: 0 }
    }
}

/// By what the objects of a copy are judged, and to what they are repaired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Its own Works.
    Works,
    /// Nothing was accepted whole: what is seen says how far it came.
    Nothing,
    /// What was applied is not known; why. Its recorded objects are looked at, and left as they are.
    Unknown(String),
}

/// What is attempted at a copy: the pause before the next try, and the time of the attempt, are counted for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Aim {
    /// To have this set of documents there.
    Set(DocumentHash),
    /// To have this generation there, of which the documents are not known.
    Generation(i64),
}

impl Aim {
    /// What is attempted at a copy. `wanted`: the documents of the spec, if its bindings are for this generation and name
    /// the cluster, and if they are known.
    pub fn of(copy: Option<&CopyRecord>, generation: i64, wanted: Option<&DocumentSet>) -> Self {
        let intended = copy.and_then(|copy| copy.intended_work);
        match (wanted, intended) {
            (Some(wanted), _) => Self::Set(wanted.hash),
            (None, Some(intended)) if intended.generation == generation => Self::Set(intended.set.hash),
            _ => Self::Generation(generation),
        }
    }

    /// Whether the cluster has accepted all of it.
    pub fn is_applied(&self, copy: &CopyRecord) -> bool {
        match self {
            Self::Set(hash) => copy.applied_work.is_some_and(|applied| applied.set.hash == *hash),
            Self::Generation(generation) => copy.observed_generation == *generation,
        }
    }
}

impl Aim {
    /// Whether it is still to be seen what becomes of the attempt at a copy.
    pub fn is_awaited(&self, copy: &CopyRecord) -> bool {
        match copy.phase {
            Phase::Failed => false,
            Phase::Running => {
                let reason = copy.available.reason;
                let awaited = reason.is_starting() || reason == Reason::DeadlineExceeded;
                !self.is_applied(copy) || (copy.available.truth != Truth::True && awaited)
            }
            _ => true,
        }
    }
}

impl CopyRecord {
    /// What was accepted whole, and what is meant to be there. A copy that an older version of Krake recorded names neither:
    /// if it is of the present generation, both are what this means now.
    pub fn works(&self, generation: i64, wanted: Option<&DocumentSet>) -> (Option<Work>, Option<Work>) {
        if self.applied_work.is_some() || self.intended_work.is_some() {
            return (self.applied_work, self.intended_work);
        }
        let was_accepted = match self.phase {
            Phase::Applying | Phase::Running => true,
            Phase::Failed => self.applied.truth == Truth::True,
            Phase::Intended | Phase::Removing => false,
        };
        let is_present = generation != 0 && self.observed_generation == generation;
        let work = wanted.filter(|_| was_accepted && is_present).map(|set| Work::new(*set, generation));
        (work, work)
    }

    /// Whether an older version of Krake recorded the copy, of which it is known what it applied.
    pub(crate) fn is_taken_over(&self, generation: i64, wanted: Option<&DocumentSet>) -> bool {
        self.intended_work.is_none()
            && self.works(generation, wanted).0.is_some()
            && self.applied_work.is_none()
    }

    /// Whether the cluster has accepted all that was meant to be there.
    pub(super) fn is_whole(&self) -> bool {
        let set = |work: Option<Work>| work.map(|work| work.set);
        self.applied_work.is_some() && set(self.applied_work) == set(self.intended_work)
    }

    /// The recorded Work with these documents.
    pub(super) fn recorded(&self, set: &DocumentSet) -> Option<Work> {
        [self.intended_work, self.applied_work].into_iter().flatten().find(|work| work.set == *set)
    }

    /// Whether a Job of a set of documents ran to its end.
    pub fn has_completed(&self, key: &ObjectKey, set: DocumentHash) -> bool {
        self.completed.get(key) == Some(&set)
    }
}

/// By what a copy is judged. `readable` tells of the set that was accepted whole, `Err` why it cannot be read.
pub fn basis(
    copy: &CopyRecord,
    generation: i64,
    wanted: Option<&DocumentSet>,
    readable: impl FnOnce(&DocumentSet) -> Result<(), String>,
) -> Basis {
    let (applied, intended) = copy.works(generation, wanted);
    match applied {
        Some(applied) => match readable(&applied.set) {
            Ok(()) => Basis::Works,
            Err(why) => Basis::Unknown(format!("the documents that were applied cannot be read: {why}")),
        },
        None if intended.is_some() || copy.observed_generation == 0 || copy.phase == Phase::Failed => {
            Basis::Nothing
        }
        None => Basis::Unknown("an older version of Krake applied it, and did not record what".to_owned()),
    }
}

/// Whether a recorded Work means the wanted documents: they are the same or, where they were written down by other rules,
/// mean the same.
fn stands_for(view: &ClusterView, generation: i64, work: &Work, wanted: &DocumentSet) -> bool {
    let by_other_rules = work.set.hash_version != wanted.hash_version;
    work.set == *wanted
        || by_other_rules
            && (work.generation == generation || view.today.get(&work.set.hash) == Some(&wanted.hash))
}

/// Whether the wanted documents are to be applied to a bound cluster, rather than looked after.
pub(super) fn needs_apply(snapshot: &Snapshot, copy: &CopyRecord, view: &ClusterView) -> bool {
    let generation = snapshot.generation;
    let of_another = copy.observed_generation != generation;
    let differs = match (&copy.intended_work, &view.wanted) {
        (Some(work), Some(wanted)) => !stands_for(view, generation, work, wanted),
        // It cannot be told at present, so the generation has to do.
        (Some(work), None) => work.generation != generation,
        (None, _) => of_another,
    };
    match copy.phase {
        Phase::Intended | Phase::Removing => true,
        Phase::Failed => of_another || differs,
        _ => differs || (copy.intended_work.is_some() && !copy.is_whole()),
    }
}

/// The record of a copy whose Works are to be written anew without touching the cluster: an older version of Krake recorded
/// it, the spec changed without a change of its documents, or the rules by which they are written did.
pub(super) fn renewed(
    snapshot: &Snapshot,
    copy: &CopyRecord,
    view: &ClusterView,
    bound: bool,
) -> Option<CopyRecord> {
    let generation = snapshot.generation;
    let wanted = view.wanted.as_ref()?;
    let (applied, intended) = copy.works(generation, Some(wanted));
    if copy.is_taken_over(generation, Some(wanted)) {
        // Until its turn it is judged and repaired as if it were recorded.
        if !view.renewal.is_zero() {
            return None;
        }
        return Some(CopyRecord { applied_work: applied, intended_work: intended, ..copy.clone() });
    }
    let intended = intended.filter(|_| copy.is_whole() && bound && snapshot.decided())?;
    let changes = !matches!(copy.phase, Phase::Intended | Phase::Removing)
        && (copy.phase != Phase::Failed || copy.observed_generation == generation);
    if !changes || !stands_for(view, generation, &intended, wanted) {
        return None;
    }
    let work = match intended.set == *wanted {
        true => Work { generation, ..intended },
        false if view.renewal.is_zero() => Work::new(*wanted, generation),
        false => return None,
    };
    let completed = copy.completed.iter().map(|(key, set)| {
        let set = if *set == intended.set.hash { wanted.hash } else { *set };
        (key.clone(), set)
    });
    let renewed = CopyRecord {
        applied_work: Some(work),
        intended_work: Some(work),
        observed_generation: generation,
        completed: completed.collect(),
        ..copy.clone()
    };
    (renewed != *copy).then_some(renewed)
}
