//! The model of a store: its whole history, and what calls may answer by it.

use std::collections::BTreeMap;

use krake_state::store::{Batch, Change, ChangeKind, Conflict, Entry, Guard, Key, Revision, Txn};
use proptest::sample::Index;

use super::key;

pub(super) type State = BTreeMap<Key, Entry>;

/// A commit: puts of a byte and deletes.
#[derive(Debug, Clone)]
pub(super) struct Proposal {
    pub(super) guards: Vec<Guard>,
    pub(super) ops: BTreeMap<&'static str, Option<u8>>,
}

impl Proposal {
    pub(super) fn txn(&self) -> Txn {
        let guards = Txn { guards: self.guards.clone(), ops: vec![] };
        self.ops.iter().fold(guards, |txn, (name, value)| match value {
            Some(byte) => txn.put(*name, vec![*byte]),
            None => txn.delete(*name),
        })
    }

    /// The first guard that fails in a state.
    fn failing<'a>(&'a self, state: &State) -> Option<&'a Guard> {
        self.guards.iter().find(|guard| {
            let entry = state.get(guard.key());
            match guard {
                Guard::Absent(_) => entry.is_some(),
                Guard::Exists(_) => entry.is_none(),
                Guard::At(_, at) => entry.is_none_or(|entry| entry.modified != *at),
                Guard::CreatedAt(_, at) => entry.is_none_or(|entry| entry.created != *at),
            }
        })
    }

    fn deletes_only(&self) -> bool {
        self.ops.values().all(Option::is_none)
    }

    /// What it changes in a state, if it is applied at `revision`.
    fn changes(&self, state: &State, revision: Revision) -> Vec<Change> {
        let change = |(name, value): (&&str, &Option<u8>)| {
            let previous = state.get(&key(name)).cloned();
            let created = previous.as_ref().map_or(revision, |entry| entry.created);
            let kind = match value {
                Some(byte) => {
                    let value = vec![*byte].into();
                    ChangeKind::Put(Entry { key: key(name), value, created, modified: revision })
                }
                None if previous.is_none() => return None,
                None => ChangeKind::Delete,
            };
            Some(Change { key: key(name), kind, previous })
        };
        self.ops.iter().filter_map(change).collect()
    }

    /// Whether it writes what the other one writes or has a guard on.
    fn disturbs(&self, other: &Proposal) -> bool {
        let guarded = |name: &str| other.guards.iter().any(|guard| *guard.key() == key(name));
        self.ops.keys().any(|name| other.ops.contains_key(name) || guarded(name))
    }
}

/// The whole history, nothing forgotten.
pub(super) struct Model {
    /// The state after each revision, the empty one first.
    states: Vec<(Revision, State)>,
    /// The changes of each revision, by key.
    batches: Vec<Batch>,
    pub(super) compacted: Revision,
}

impl Model {
    pub(super) fn new(start: Revision) -> Self {
        Self { states: vec![(start, State::new())], batches: Vec::new(), compacted: Revision(0) }
    }

    pub(super) fn present(&self) -> &(Revision, State) {
        self.states.last().unwrap()
    }

    pub(super) fn point(&self, index: Index) -> &(Revision, State) {
        index.get(&self.states)
    }

    fn state_at(&self, revision: Revision) -> &State {
        &self.states.iter().rev().find(|(since, _)| *since <= revision).unwrap().1
    }

    /// Takes the answers to commits that were made at the same time, and fails if no order of them explains these.
    pub(super) fn settle(&mut self, answers: Vec<(Proposal, Result<Revision, Conflict>)>) {
        let before = self.present().0;
        let mut applied: BTreeMap<Revision, Vec<Proposal>> = BTreeMap::new();
        let mut refused = Vec::new();
        for (proposal, answer) in answers {
            match answer {
                Ok(revision) => applied.entry(revision).or_default().push(proposal),
                Err(conflict) => refused.push((proposal, conflict)),
            }
        }
        for (revision, proposals) in applied {
            assert!(revision >= before);
            self.apply(revision, &proposals);
        }
        for (proposal, conflict) in refused {
            assert!(conflict.revision >= before);
            let state = self.state_at(conflict.revision);
            let failed = proposal.failing(state).expect("all guards hold where the conflict was seen");
            assert_eq!(
                (&conflict.key, conflict.current.as_ref()),
                (failed.key(), state.get(failed.key())),
                "the first guard that fails, and what its key holds"
            );
        }
    }

    /// Applies the commits that answered the same revision: one, or independent ones that share it, and deletes of
    /// nothing that came after them.
    fn apply(&mut self, revision: Revision, proposals: &[Proposal]) {
        let (last, before) = self.present().clone();
        let mut changes: BTreeMap<Key, Change> = BTreeMap::new();
        for proposal in proposals.iter().filter(|proposal| proposal.failing(&before).is_none()) {
            let changed = proposal.changes(&before, revision);
            changes.extend(changed.into_iter().map(|change| (change.key.clone(), change)));
        }
        let mut after = before.clone();
        for change in changes.values() {
            match &change.kind {
                ChangeKind::Put(entry) => after.insert(change.key.clone(), entry.clone()),
                ChangeKind::Delete => after.remove(&change.key),
            };
        }
        for (place, proposal) in proposals.iter().enumerate() {
            let did_nothing = proposal.deletes_only()
                && proposal.failing(&after).is_none()
                && proposal.ops.keys().all(|name| !after.contains_key(&key(name)));
            if did_nothing {
                continue;
            }
            assert!(proposal.failing(&before).is_none(), "{proposal:?} was applied to {before:?}");
            let others = proposals.iter().enumerate().filter(|(other, _)| *other != place);
            for (_, other) in others.filter(|(_, other)| !other.deletes_only()) {
                assert!(!proposal.disturbs(other), "{proposal:?} and {other:?} share revision {revision}");
            }
        }
        if !changes.is_empty() {
            assert!(revision > last, "revision {revision} after {last}");
            self.states.push((revision, after));
            self.batches.push(Batch { revision, changes: changes.into_values().collect() });
        }
    }

    /// The batches that a watch tells.
    pub(super) fn told(&self, prefix: &str, after: Revision) -> Vec<Batch> {
        let below = |change: &&Change| change.key.as_str().unwrap().starts_with(prefix);
        let batch = |batch: &Batch| {
            let changes: Vec<Change> = batch.changes.iter().filter(below).cloned().collect();
            (!changes.is_empty()).then_some(Batch { revision: batch.revision, changes })
        };
        self.batches.iter().filter(|batch| batch.revision > after).filter_map(batch).collect()
    }
}
