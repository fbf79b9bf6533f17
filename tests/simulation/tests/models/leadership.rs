//! Leadership: two candidates over one lease, with pauses, late messages (one that is lost is one that comes too late), and writes that bear a fence.
//!
//! Time passes in ticks, at one speed for all; anything else may take any number of them. A candidate counts its lease
//! from when it sent the request, the store from when that arrived; and the store may notice an end late. A write bears
//! the fence of its sender's term and may arrive at any later time. The store compares it in the write's transaction.

use stateright::{Checker, HasDiscoveries, Model, Property};

/// Names of properties.
const IN_ORDER: &str = "no write of an earlier term follows one of a later";
const ONE_ACTS: &str = "two never act outside at the same time";

/// How long a lease lasts, in ticks.
const TTL: u8 = 2;
/// How long is looked.
const END: u8 = 4;

/// The protocol as it is, or with a part left out.
#[derive(Clone, Copy, Debug)]
struct Election {
    /// The store compares the fence of each write with that of the present lease.
    fenced: bool,
    /// Candidates count their lease from sending the request; else from the answer.
    counts_from_sending: bool,
}

/// The lease in the store.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
struct Lease {
    holder: usize,
    fence: u8,
    ends: u8,
}

#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
struct Candidate {
    /// When the request that is under way was sent.
    asking: Option<u8>,
    /// An answer under way: when its request was sent, and the fence; 0 = somebody else leads.
    answer: Option<(u8, u8)>,
    /// When it asked last.
    asked: Option<u8>,
    /// The fence of its term, as it believes.
    fence: u8,
    /// It leads before this time, as it believes.
    until: u8,
    /// Fence of a write under way.
    write: Option<u8>,
    /// Does nothing any more.
    stopped: bool,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct World {
    now: u8,
    revision: u8,
    lease: Option<Lease>,
    candidates: [Candidate; 2],
    /// Fence of the last write that was accepted.
    newest: u8,
    /// A write of an earlier term was accepted after one of a later term.
    went_back: bool,
    /// A write was accepted from somebody who does not lead.
    stolen: bool,
    /// A write was refused.
    refused: bool,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Action {
    Tick,
    Stop(usize),
    Ask(usize),
    Arrive(usize),
    Hear(usize),
    Expire,
    Write(usize),
    Land(usize),
}

impl Candidate {
    fn leads(&self, now: u8) -> bool {
        now < self.until
    }
}

impl Election {
    fn arrive(self, world: &World, index: usize) -> Option<World> {
        let mut next = world.clone();
        let sent = next.candidates[index].asking.take()?;
        let fence = match &mut next.lease {
            Some(lease) if lease.holder != index => 0,
            Some(lease) => {
                lease.ends = world.now + TTL;
                lease.fence
            }
            free => {
                next.revision += 1;
                let lease = Lease { holder: index, fence: next.revision, ends: world.now + TTL };
                free.insert(lease).fence
            }
        };
        next.candidates[index].answer = Some((sent, fence));
        Some(next)
    }

    fn land(self, world: &World, index: usize) -> Option<World> {
        let mut next = world.clone();
        let fence = next.candidates[index].write.take()?;
        let leads = world.lease.is_some_and(|lease| lease.fence == fence);
        if self.fenced && !leads {
            next.refused = true;
            return Some(next);
        }
        next.went_back |= fence < world.newest;
        next.stolen |= !leads;
        next.newest = fence;
        Some(next)
    }
}

impl Model for Election {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            now: 0,
            revision: 0,
            lease: None,
            candidates: Default::default(),
            newest: 0,
            went_back: false,
            stolen: false,
            refused: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.now < END {
            actions.push(Action::Tick);
        }
        if world.lease.is_some_and(|lease| lease.ends <= world.now) {
            actions.push(Action::Expire);
        }
        for (index, candidate) in world.candidates.iter().enumerate() {
            if candidate.asking.is_some() {
                actions.push(Action::Arrive(index));
            }
            if candidate.write.is_some() {
                actions.push(Action::Land(index));
            }
            if candidate.stopped {
                continue;
            }
            if candidate.answer.is_some() {
                actions.push(Action::Hear(index));
            } else if candidate.asking.is_none() {
                // One question per tick; when time stands still, until somebody leads.
                let again = world.now == END && world.lease.is_none();
                if again || candidate.asked != Some(world.now) {
                    actions.push(Action::Ask(index));
                }
            }
            if candidate.leads(world.now) && candidate.write.is_none() {
                actions.push(Action::Write(index));
            }
            // The candidates are alike: it is enough to stop the first.
            if index == 0 {
                actions.push(Action::Stop(index));
            }
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        match action {
            Action::Tick => next.now += 1,
            Action::Stop(index) => next.candidates[index].stopped = true,
            Action::Ask(index) => {
                next.candidates[index].asking = Some(world.now);
                next.candidates[index].asked = Some(world.now);
            }
            Action::Arrive(index) => return self.arrive(world, index),
            Action::Hear(index) => {
                let candidate = &mut next.candidates[index];
                let (sent, fence) = candidate.answer.take()?;
                let counted = if self.counts_from_sending { sent } else { world.now };
                candidate.fence = fence;
                candidate.until = if fence == 0 { 0 } else { counted + TTL };
            }
            Action::Expire => next.lease = None,
            Action::Write(index) => next.candidates[index].write = Some(world.candidates[index].fence),
            Action::Land(index) => return self.land(world, index),
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("only the leader's writes are accepted", |_, world: &World| !world.stolen),
            Property::always(IN_ORDER, |_, world: &World| !world.went_back),
            Property::always(ONE_ACTS, |_, world: &World| {
                !world.candidates.iter().all(|candidate| candidate.leads(world.now))
            }),
            Property::always("a standby takes over", |model, world: &World| {
                let mut open = Vec::new();
                model.actions(world, &mut open);
                let waits = |action: &Action| !matches!(action, Action::Stop(_) | Action::Write(_));
                // Nobody has anything to do, and time has ended: somebody who still runs leads, or a lease is not over.
                let ended = !open.iter().any(waits);
                let led = |lease: Lease| !world.candidates[lease.holder].stopped || lease.ends > world.now;
                !ended || world.lease.is_some_and(led)
            }),
            Property::sometimes(
                "a stopped leader is succeeded, and the successor writes",
                |_, world: &World| {
                    let [first, second] = &world.candidates;
                    first.stopped
                        && second.leads(world.now)
                        && world.newest == second.fence
                        && second.fence > 1
                },
            ),
            Property::sometimes("a paused leader's write is refused", |_, world: &World| {
                world.refused && world.newest > 1
            }),
        ]
    }
}

const KRAKE: Election = Election { fenced: true, counts_from_sending: true };

/// Looks at all states, or until something is found; prints how many there were.
fn explore(name: &str, model: Election, until: HasDiscoveries) -> impl Checker<Election> {
    let checker = model.checker().threads(2).finish_when(until).spawn_bfs().join();
    eprintln!("{name}: {} states, {} deep", checker.unique_state_count(), checker.max_depth());
    checker
}

#[test]
fn fenced_leadership_holds_under_any_timing() {
    explore("election", KRAKE, HasDiscoveries::AnyFailures).assert_properties();
}

#[test]
fn without_a_fence_a_paused_leader_overwrites_its_successor() {
    let model = Election { fenced: false, ..KRAKE };
    explore("election without a fence", model, HasDiscoveries::AnyOf([IN_ORDER].into()))
        .assert_any_discovery(IN_ORDER);
}

#[test]
fn a_lease_that_is_counted_from_the_answer_has_two_leaders_act() {
    let model = Election { counts_from_sending: false, ..KRAKE };
    let checker = explore("lease counted from the answer", model, HasDiscoveries::AnyOf([ONE_ACTS].into()));
    checker.assert_any_discovery(ONE_ACTS);
}
