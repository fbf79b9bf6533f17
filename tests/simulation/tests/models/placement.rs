//! Placement and migration: a scheduler and two adapters over the store, with stale caches, delayed effects, crashes,
//! fail-over, and the deletion of the application and of a cluster.
//!
//! Modelled: the store's rules ([`store`]), the order of an adapter's steps (`plan.rs` and `controller/execute.rs` of
//! `krake-kubernetes`), a request to a cluster that lands late or never. Not modelled: several objects per copy, health
//! (what was applied is available), clusters that do not answer, orphans of other installations.

mod adapter;
mod checks;
mod store;

use adapter::{Adapter, Effect, Step};
use stateright::{Model, Property};
use store::{Cluster, Life, Phase, Store};

/// Name of the property that everything else rests on.
const RECORDED: &str = "a copy runs only where it is recorded";
/// Name of the property that an erased application leaves nothing behind.
const ERASED: &str = "nothing runs after the erasure";

/// What is checked: the protocol as it is, or with a part left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placement {
    /// A copy is recorded before anything is done on its cluster; else only after.
    pub(crate) record_first: bool,
    /// Only the leader writes and acts, and a new leader begins when requests of the former one cannot land any more.
    pub(crate) lease: bool,
    /// The old copy goes before the new one comes, as `migration_strategy` DELETE_FIRST wants.
    pub(crate) delete_first: bool,
    /// A new leader waits until its mirror shows all that was stored before its term.
    pub(crate) fresh_start: bool,
}

/// How often things happen that nobody has to do.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) struct Events {
    moves: u8,
    failovers: u8,
    crashes: u8,
    losses: u8,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub(crate) struct World {
    store: Store,
    /// Where the application's object is.
    running: [bool; 2],
    adapters: [Adapter; 2],
    leader: Option<usize>,
    left: Events,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub(crate) enum Action {
    DeleteApplication,
    DeleteCluster(Cluster),
    /// A scheduler binds a cluster that it finds better, on whatever it believes.
    Move(Cluster),
    /// The lease of the leader expires: it was paused, cut off or killed.
    Depose,
    /// Without leases: an adapter's process ends and starts again.
    Crash(usize),
    /// A request to a cluster never arrives.
    Lose(usize),
    SyncAdapter(usize),
    /// The scheduler does what must be done.
    Place(Option<Cluster>),
    CollectApplication,
    CollectCluster(Cluster),
    Lead(usize),
    Step(usize, Step),
    /// A request reaches its cluster and is answered.
    Land(usize),
}

impl Action {
    /// Whether the action is somebody's duty; the others may happen or not.
    fn duty(&self) -> bool {
        use Action::{Crash, DeleteApplication, DeleteCluster, Depose, Lose, Move};
        !matches!(self, DeleteApplication | DeleteCluster(_) | Move(_) | Depose | Crash(_) | Lose(_))
    }
}

impl Placement {
    fn may_act(&self, world: &World, adapter: usize) -> bool {
        !self.lease || world.leader == Some(adapter)
    }

    /// What a scheduler must write sooner or later: `decide.rs` without scores. What stale ones may write is among the
    /// moves, since the store compares bindings and nothing else.
    fn placements(shown: &Store) -> Vec<Option<Cluster>> {
        let open = |cluster: &Cluster| !shown.clusters[*cluster].marked();
        let must = shown.bound.is_none_or(|bound| !open(&bound));
        if shown.application.marked() || !must {
            return Vec::new();
        }
        let candidates: Vec<_> = [0, 1].into_iter().filter(open).map(Some).collect();
        if candidates.is_empty() && shown.bound.is_some() { vec![None] } else { candidates }
    }

    /// Whether nobody has anything to do any more.
    fn quiet(&self, world: &World) -> bool {
        let mut actions = Vec::new();
        self.actions(world, &mut actions);
        actions.retain(Action::duty);
        !actions.into_iter().any(|action| self.next_state(world, action).is_some_and(|next| next != *world))
    }

    /// The end of a term: its plan is not gone on with, and its writes would be refused by their fence.
    fn stand_down(&self, adapter: &mut Adapter) {
        adapter.abandon();
        if self.fresh_start {
            adapter.shown = Store::new();
        }
    }

    fn store(world: &World, after: Option<Store>) -> Option<World> {
        Some(World { store: after?, ..world.clone() })
    }

    fn step(&self, world: &World, adapter: usize, step: Step) -> Option<World> {
        let mut next = world.clone();
        match world.adapters[adapter].take(&world.store, step) {
            adapter::Outcome::Acts(after) => next.adapters[adapter] = after,
            adapter::Outcome::Writes(after, store) => {
                next.store = store;
                // The next plan is made on a mirror that shows this write.
                next.adapters[adapter] = Adapter { shown: store, ..after };
            }
        }
        Some(next)
    }

    fn land(world: &World, adapter: usize, arrives: bool) -> Option<World> {
        let mut next = world.clone();
        let effect = next.adapters[adapter].flight.take()?;
        if arrives {
            match effect {
                Effect::Apply(cluster) => next.running[cluster] = true,
                Effect::Remove(cluster) => next.running[cluster] = false,
            }
        }
        next.adapters[adapter].answered(arrives);
        Some(next)
    }
}

impl Model for Placement {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let store = Store::new();
        let adapters = [Adapter::new(store), Adapter::new(store)];
        let left = Events { moves: 2, failovers: 2, crashes: 1, losses: 1 };
        vec![World { store, running: [false; 2], adapters, leader: Some(0), left }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        actions.extend([Action::DeleteApplication, Action::DeleteCluster(0)]);
        if world.left.moves > 0 {
            actions.extend([Action::Move(0), Action::Move(1)]);
        }
        actions.extend([Action::CollectApplication, Action::CollectCluster(0)]);
        actions.extend(Placement::placements(&world.store).into_iter().map(Action::Place));
        if self.lease && world.leader.is_some() && world.left.failovers > 0 {
            actions.push(Action::Depose);
        }
        for (index, adapter) in world.adapters.iter().enumerate() {
            if self.lease && world.leader.is_none() {
                actions.push(Action::Lead(index));
            }
            let acts = self.may_act(world, index);
            // With a fresh start it does not matter what a standby sees.
            if adapter.shown != world.store && (acts || !self.fresh_start) {
                actions.push(Action::SyncAdapter(index));
            }
            if !self.lease && world.left.crashes > 0 {
                actions.push(Action::Crash(index));
            }
            if adapter.flight.is_some() {
                actions.push(Action::Land(index));
                if world.left.losses > 0 {
                    actions.push(Action::Lose(index));
                }
            } else if acts {
                let steps = adapter.steps(&world.running, self.record_first, self.delete_first);
                actions.extend(steps.into_iter().map(|step| Action::Step(index, step)));
            }
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        match action {
            Action::DeleteApplication => return Self::store(world, world.store.delete_application()),
            Action::DeleteCluster(cluster) => return Self::store(world, world.store.delete_cluster(cluster)),
            Action::CollectApplication => return Self::store(world, world.store.collect_application()),
            Action::CollectCluster(cluster) => {
                return Self::store(world, world.store.collect_cluster(cluster));
            }
            Action::Move(to) => {
                next.store = world.store.bind(None, Some(to))?;
                next.left.moves -= 1;
            }
            Action::Place(to) => return Self::store(world, world.store.bind(world.store.bound, to)),
            Action::SyncAdapter(index) => next.adapters[index].shown = world.store,
            Action::Depose => {
                let former = next.leader.take()?;
                self.stand_down(&mut next.adapters[former]);
                next.left.failovers -= 1;
            }
            Action::Lead(index) => {
                // A lease outlasts the requests that were sent under it.
                if world.adapters.iter().any(|adapter| adapter.flight.is_some()) {
                    return None;
                }
                next.leader = Some(index);
                if self.fresh_start {
                    next.adapters[index].shown = world.store;
                }
            }
            Action::Crash(index) => {
                next.left.crashes -= 1;
                next.adapters[index].abandon();
                next.adapters[index].shown = world.store;
            }
            Action::Lose(index) => {
                next = Self::land(world, index, false)?;
                next.left.losses -= 1;
            }
            Action::Land(index) => return Self::land(world, index, true),
            Action::Step(index, step) => return self.step(world, index, step),
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(RECORDED, |_, world: &World| {
                (0..2).all(|cluster| !world.running[cluster] || world.store.copies[cluster].is_some())
            }),
            Property::always(ERASED, |_, world: &World| {
                world.store.application != Life::Erased || world.running == [false; 2]
            }),
            Property::always("no cluster is erased while it runs a copy", |_, world: &World| {
                (0..2).all(|cluster| world.store.clusters[cluster] != Life::Erased || !world.running[cluster])
            }),
            Property::always("two copies run only in a handover", |model, world: &World| {
                let strays =
                    (0..2).filter(|cluster| world.running[*cluster] && world.store.bound != Some(*cluster));
                world.running != [true; 2] || (!model.delete_first && strays.count() >= 1)
            }),
            Property::always(
                "when nobody has anything to do, all is as it should be",
                |model, world: &World| !model.quiet(world) || settled(world),
            ),
            Property::sometimes("a move completes", |_, world: &World| {
                let copy = world.store.copies[1];
                world.running == [false, true]
                    && world.store.bound == Some(1)
                    && world.left.moves < 2
                    && copy.is_some_and(|copy| copy.phase == Phase::Running)
            }),
            Property::sometimes("the application can be erased", |_, world: &World| {
                world.store.application == Life::Erased && world.left.moves < 2
            }),
            Property::sometimes("a cluster can be drained and erased", |_, world: &World| {
                world.store.clusters[0] == Life::Erased && world.running == [false, true]
            }),
        ]
    }
}

/// The application runs exactly where it is bound, or nowhere if it is erased; a deleted cluster is gone.
fn settled(world: &World) -> bool {
    let store = &world.store;
    let cluster_gone = matches!(store.clusters[0], Life::Active | Life::Erased);
    let as_wanted = match (store.application, store.bound) {
        (Life::Erased, _) => world.running == [false; 2],
        (Life::Active, Some(bound)) => {
            let phase = store.copies[bound].map(|copy| copy.phase);
            world.running[bound]
                && !world.running[1 - bound]
                && phase == Some(Phase::Running)
                && store.copies[1 - bound].is_none()
        }
        _ => false,
    };
    cluster_gone && as_wanted
}
