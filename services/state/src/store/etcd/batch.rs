//! Which waiting commits share the next etcd transaction. Pure.
//!
//! Each commit becomes a nested transaction with its own guards and its own answer. etcd compares the guards of all
//! of them before it applies any, which is the same as one after the other as long as none writes what another one
//! writes or has a guard on.

use std::collections::HashMap;

use super::super::{Key, MAX_TXN_OPS, Txn};

/// The most commits that share a transaction.
pub(super) const MAX_CHILDREN: usize = 32;

/// The most bytes that they have together, as [`Txn::size`] counts them.
pub(super) const MAX_BYTES: usize = 1024 * 1024;

/// Waiting commits that are examined for one batch, so that many on one key cost little.
const EXAMINED_COMMITS: usize = 256;

/// Whether a commit may share a transaction at all; commits that would nearly fill a batch may not. Writes of a leader
/// may: they only read the election's key, and elections themselves do not come this way.
pub(super) fn may_share(txn: &Txn) -> bool {
    width(txn) + MAX_CHILDREN <= MAX_TXN_OPS && txn.size() <= MAX_BYTES / 4
}

/// Chooses the next batch: the places of its commits in the queue, ascending. The first one is always among them, so
/// none waits for ever; none waits for others to come.
pub(super) fn next_batch<'a>(waiting: impl IntoIterator<Item = &'a Txn>) -> Vec<usize> {
    let (mut chosen, mut bytes) = (Vec::new(), 0);
    let mut uses = Uses::default();
    for (place, txn) in waiting.into_iter().take(EXAMINED_COMMITS).enumerate() {
        if chosen.len() == MAX_CHILDREN {
            break;
        }
        let size = txn.size();
        if chosen.is_empty() || (bytes + size <= MAX_BYTES && uses.allow(txn)) {
            bytes += size;
            uses.add(txn);
            chosen.push(place);
        }
    }
    chosen
}

/// What etcd counts against its `--max-txn-ops`: the longest of the lists of a transaction. For a nested one the limit
/// is less by the number of its siblings.
fn width(txn: &Txn) -> usize {
    txn.guards.len().max(txn.ops.len())
}

/// The keys of a batch, and whether they are written or only guarded.
#[derive(Default)]
struct Uses<'a>(HashMap<&'a Key, Use>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Guarded,
    Written,
}

impl<'a> Uses<'a> {
    fn allow(&self, txn: &Txn) -> bool {
        let unused = txn.ops.iter().all(|op| !self.0.contains_key(op.key()));
        unused && txn.guards.iter().all(|guard| self.0.get(guard.key()) != Some(&Use::Written))
    }

    fn add(&mut self, txn: &'a Txn) {
        for guard in &txn.guards {
            self.0.entry(guard.key()).or_insert(Use::Guarded);
        }
        for op in &txn.ops {
            self.0.insert(op.key(), Use::Written);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::{Guard, Op, Revision};

    fn create(key: &str) -> Txn {
        Txn::new().guard(Guard::Absent(key.into())).put(key, "v")
    }

    fn places(waiting: &[Txn]) -> Vec<usize> {
        next_batch(waiting)
    }

    #[test]
    fn commits_share_a_batch_unless_one_writes_what_another_uses() {
        let guarded = |key: &str, other: &str| create(key).guard(Guard::Exists(other.into()));
        assert_eq!(places(&[]), [0; 0]);
        assert_eq!(places(&[create("a"), create("b"), create("c")]), [0, 1, 2]);
        assert_eq!(places(&[create("a"), create("a"), create("b")]), [0, 2], "no key is written twice");
        assert_eq!(places(&[create("a"), guarded("b", "a")]), [0], "no guard on what is written");
        assert_eq!(places(&[guarded("b", "a"), create("a")]), [0], "no write of what is guarded");
        assert_eq!(places(&[guarded("a", "x"), guarded("b", "x")]), [0, 1], "guards on one key agree");
        assert_eq!(places(&[create("a"), create("a"), guarded("b", "a"), create("b")]), [0, 3]);
    }

    #[test]
    fn a_batch_ends_at_its_limits() {
        let many: Vec<Txn> = (0..100).map(|number| create(&number.to_string())).collect();
        assert_eq!(places(&many), (0..MAX_CHILDREN).collect::<Vec<_>>());
        let large = |key: &str| Txn::new().put(key, vec![0; MAX_BYTES / 4 - 1024]);
        let waiting = [large("a"), large("b"), large("c"), large("d"), large("e"), create("f")];
        assert_eq!(places(&waiting), [0, 1, 2, 3, 5], "a small one still fits");
        let same: Vec<Txn> = (0..1000).map(|_| create("a")).collect();
        assert_eq!(places(&same), [0]);
    }

    #[test]
    fn giants_commit_alone() {
        assert!(may_share(&create("a").guard(Guard::CreatedAt("leader".into(), Revision(7)))));
        assert!(!may_share(&Txn::new().put("a", vec![0; MAX_BYTES / 4])));
        let wide = |ops: usize| (0..ops).fold(Txn::new(), |txn, number| txn.delete(number.to_string()));
        assert!(may_share(&wide(MAX_TXN_OPS - MAX_CHILDREN)));
        assert!(!may_share(&wide(MAX_TXN_OPS - MAX_CHILDREN + 1)));
    }

    fn txn() -> impl Strategy<Value = Txn> {
        let key = || (0..40_u8).prop_map(|number| Key::from(format!("k{number}")));
        let guards = prop::collection::vec(key().prop_map(Guard::Exists), 0..3);
        let ops =
            prop::collection::hash_map(key(), prop_oneof![9 => 0..2_000_usize, 1 => 0..250_000_usize], 1..4);
        let op = |(key, size): (Key, usize)| Op::Put(key, vec![0; size].into());
        (guards, ops).prop_map(move |(guards, ops)| Txn { guards, ops: ops.into_iter().map(op).collect() })
    }

    proptest! {
        #[test]
        fn a_batch_is_within_limits_and_its_commits_are_independent(
            waiting in prop::collection::vec(txn(), 1..80),
        ) {
            let chosen = places(&waiting);
            prop_assert_eq!(chosen[0], 0);
            prop_assert!(chosen.is_sorted() && chosen.len() <= MAX_CHILDREN);
            let size = |places: &[usize]| places.iter().map(|place| waiting[*place].size()).sum::<usize>();
            prop_assert!(size(&chosen) <= MAX_BYTES || chosen.len() == 1);
            let disjoint = |one: &Txn, other: &Txn| one.ops.iter().all(|op| {
                other.ops.iter().all(|theirs| theirs.key() != op.key())
                    && other.guards.iter().all(|guard| guard.key() != op.key())
            });
            let independent = |one: usize, other: usize| {
                disjoint(&waiting[one], &waiting[other]) && disjoint(&waiting[other], &waiting[one])
            };
            for one in &chosen {
                prop_assert!(chosen.iter().all(|other| one == other || independent(*one, *other)));
            }
            // Nobody is left out without a reason that stood when it was looked at.
            let last = chosen[chosen.len() - 1];
            let end = if chosen.len() == MAX_CHILDREN { last } else { waiting.len() };
            for left in (0..end).filter(|place| !chosen.contains(place)) {
                let before: Vec<usize> = chosen.iter().copied().filter(|place| *place < left).collect();
                let full = size(&before) + waiting[left].size() > MAX_BYTES;
                prop_assert!(full || before.iter().any(|other| !independent(left, *other)));
            }
        }
    }
}
