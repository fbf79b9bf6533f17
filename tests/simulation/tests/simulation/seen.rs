//! What is worth a simulation, how often it was seen, and whether that is enough.

use std::collections::BTreeMap;

use crate::mood::{Asked, Met, WHIMS, Whim};
use crate::script::CALM_WHIMS;

/// Of this many seeds, at least one must see a failover: a second copy because the cluster of the first did not answer.
const SEEDS_PER_FAILOVER: usize = 20;

/// From so many seeds on, each whim must have been met by writes too, which are few, and each whim of calm scripts must
/// have had something to move.
const SEEDS_FOR_EACH: usize = 200;

/// How often what is worth a simulation happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Seeds.
    pub(crate) seeds: usize,
    /// Looks at an application that was on several clusters.
    pub(crate) handovers: usize,
    /// Times that an application whose old copy goes first was on another cluster than before.
    pub(crate) delete_first_moves: usize,
    /// Second copies that were begun because the cluster of the first did not answer for too long.
    pub(crate) failovers: usize,
    /// Seeds with such copies.
    pub(crate) seeds_with_failovers: usize,
    /// Looks at an application that was being deleted.
    pub(crate) deletions: usize,
    /// How often a leader was succeeded by another process.
    pub(crate) takeovers: usize,
    /// Requests to clusters that change something: each was made by the leader.
    pub(crate) effects: usize,
    /// Requests that met a mood of their cluster.
    pub(crate) met: Met,
    /// Applications that ran on a cluster when such a mood of a calm script began there, and had to stay.
    pub(crate) held: BTreeMap<Whim, usize>,
}

impl Seen {
    /// Adds what was seen elsewhere.
    pub(crate) fn add(&mut self, other: &Seen) {
        self.seeds += other.seeds;
        self.handovers += other.handovers;
        self.delete_first_moves += other.delete_first_moves;
        self.failovers += other.failovers;
        self.seeds_with_failovers += other.seeds_with_failovers;
        self.deletions += other.deletions;
        self.takeovers += other.takeovers;
        self.effects += other.effects;
        for (key, count) in &other.met {
            *self.met.entry(*key).or_default() += count;
        }
        for (whim, count) in &other.held {
            *self.held.entry(*whim).or_default() += count;
        }
    }

    /// What many seeds must have seen, and these have not: laws about it would hold by themselves.
    pub(crate) fn missing(&self) -> Vec<String> {
        let counts = [
            ("handovers", self.handovers),
            ("moves with the old copy first", self.delete_first_moves),
            ("failovers", self.seeds_with_failovers * SEEDS_PER_FAILOVER / self.seeds.max(1)),
            ("deletions", self.deletions),
            ("takeovers", self.takeovers),
            ("effects", self.effects),
        ];
        let few = counts.into_iter().filter(|(_, count)| *count == 0).map(|(what, _)| what.to_owned());
        let (needed, held): (&[Asked], &[Whim]) = match self.seeds {
            ..SEEDS_FOR_EACH if !self.held.is_empty() => (&[Asked::Read], &[]),
            ..SEEDS_FOR_EACH => (&[Asked::Read], &CALM_WHIMS),
            _ => (&[Asked::Read, Asked::Write], &CALM_WHIMS),
        };
        let unmet = WHIMS.into_iter().flat_map(|whim| needed.iter().map(move |asked| (whim, *asked)));
        let unmet = unmet.filter(|key| !self.met.contains_key(key));
        let unmet = unmet.map(|(whim, asked)| format!("{whim:?} of a {asked:?}"));
        let loose = held.iter().filter(|whim| !self.held.contains_key(whim));
        let loose = loose.map(|whim| format!("applications that {whim:?} could have moved"));
        few.chain(unmet).chain(loose).collect()
    }
}

#[test]
fn what_is_missing_is_named() {
    let mut seen = Seen { seeds: 100, handovers: 1, delete_first_moves: 1, deletions: 1, ..Seen::default() };
    seen.add(&Seen { seeds: 100, takeovers: 1, effects: 1, seeds_with_failovers: 9, ..Seen::default() });
    for whim in WHIMS {
        seen.met.extend([((whim, Asked::Read), 1), ((whim, Asked::Write), 1)]);
    }
    seen.held = CALM_WHIMS.into_iter().map(|whim| (whim, 1)).collect();
    assert_eq!(seen.missing(), ["failovers"], "9 of 200");
    seen.seeds_with_failovers = 10;
    assert_eq!(seen.missing(), Vec::<String>::new());
    seen.met.remove(&(Whim::Hang, Asked::Write));
    seen.held.remove(&Whim::Refuse(401));
    assert_eq!(seen.missing(), ["Hang of a Write", "applications that Refuse(401) could have moved"]);
    seen.seeds = 50;
    assert_eq!(seen.missing(), Vec::<String>::new(), "writes are few, and something was held");
    seen.held.clear();
    assert_eq!(seen.missing().len(), 3);
}
