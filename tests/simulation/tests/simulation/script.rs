//! What happens in a simulation: deeds of the user, and faults, all drawn from the seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use turmoil::Sim;

use crate::hosts::{ADAPTERS, CLUSTERS, COLLECTOR, OFFLINE_GRACE, SCHEDULERS, World};
use crate::mood::{Mood, Of, WHIMS, Whim};
use crate::user::{Deed, Wish};

/// How long faults and deeds go on.
pub(crate) const UNREST: Duration = Duration::from_secs(16);
/// The user has registered clusters by then, if nothing comes between.
const BEGIN: Duration = Duration::from_secs(2);
/// One in so many scripts is calm.
const CALM: u64 = 8;
/// When moods begin in a calm script: everything runs by then.
const CALM_UNTIL: Duration = Duration::from_secs(8);
/// The moods of calm scripts: by these, nothing that runs may be moved.
pub(crate) const CALM_WHIMS: [Whim; 3] = [Whim::Refuse(401), Whim::Refuse(403), Whim::Refuse(429)];

/// Names of applications.
const NAMES: [&str; 3] = ["echo", "mono", "blog"];

/// What breaks. Everything is mended after a while.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Messages are lost.
    Partition(String, String),
    /// Messages wait, and arrive when the fault is over.
    Hold(String, String),
    /// Messages take this long.
    Slow(String, String, Duration),
    /// The process is killed, and started again when the fault is over.
    Crash(String),
    /// The API server of this cluster has a mood.
    Mood(&'static str, Mood),
}

/// A fault, and from when to when it lasts.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) fault: Fault,
    pub(crate) from: Duration,
    pub(crate) to: Duration,
}

#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) deeds: Vec<(Duration, Deed)>,
    pub(crate) troubles: Vec<Trouble>,
    /// From then on, what runs must stay where it is.
    pub(crate) calm_from: Option<Duration>,
}

fn time(rng: &mut StdRng, from: Duration, to: Duration) -> Duration {
    Duration::from_millis(rng.random_range(from.as_millis() as u64..to.as_millis() as u64))
}

fn wish(rng: &mut StdRng, name: &str) -> Wish {
    let number = rng.random_range(1..=3);
    let sites = CLUSTERS.choose_multiple(rng, number).copied().collect();
    // The strategy is a matter of the name, so that no update changes it.
    Wish { name: name.to_owned(), replicas: rng.random_range(1..4), sites, delete_first: name == "mono" }
}

impl Script {
    pub(crate) fn draw(seed: u64) -> Self {
        let rng = &mut StdRng::seed_from_u64(seed);
        match seed % CALM {
            0 => Script::calm(rng, (seed / CALM) as usize),
            _ => Script::wild(rng, seed as usize),
        }
    }

    /// API servers throttle or refuse the credentials for long, and nothing else happens that could move anything.
    fn calm(rng: &mut StdRng, turn: usize) -> Self {
        let create = |name: &str| Wish {
            name: name.to_owned(),
            replicas: 2,
            sites: CLUSTERS.to_vec(),
            delete_first: name == "mono",
        };
        let mut deeds: Vec<_> =
            NAMES.iter().map(|name| (time(rng, BEGIN, UNREST / 4), Deed::Create(create(name)))).collect();
        deeds.sort_by_key(|(time, _)| *time);
        if rng.random_bool(0.5) {
            let changed = Wish { replicas: 3, ..create(NAMES.choose(rng).unwrap()) };
            deeds.push((time(rng, CALM_UNTIL, CALM_UNTIL + OFFLINE_GRACE), Deed::Update(changed)));
        }
        let moody: Vec<_> = CLUSTERS.choose_multiple(rng, 2).copied().collect();
        let troubles = moody.into_iter().enumerate().map(|(place, cluster)| {
            let whim = CALM_WHIMS[(turn + place) % CALM_WHIMS.len()];
            let of = *[Of::All, Of::All, Of::Reads, Of::Writes].choose(rng).unwrap();
            let mood = Mood { whim, of, ..mood(rng, 0) };
            let to = CALM_UNTIL + time(rng, OFFLINE_GRACE * 3 / 2, OFFLINE_GRACE * 3);
            Trouble { fault: Fault::Mood(cluster, mood), from: CALM_UNTIL, to }
        });
        Script { troubles: troubles.collect(), deeds, calm_from: Some(CALM_UNTIL) }
    }

    fn wild(rng: &mut StdRng, turn: usize) -> Self {
        let mut deeds: Vec<_> = NAMES[..rng.random_range(1..=3)]
            .iter()
            .map(|name| (time(rng, BEGIN, UNREST / 4), Deed::Create(wish(rng, name))))
            .collect();
        for _ in 0..rng.random_range(2..8) {
            let name = *NAMES.choose(rng).unwrap();
            let deed = match rng.random_range(0..10) {
                0..3 => Deed::Update(wish(rng, name)),
                3 => Deed::Delete(name.to_owned()),
                4 => Deed::DeleteCluster(CLUSTERS.choose(rng).unwrap()),
                5 => Deed::RegisterCluster(CLUSTERS.choose(rng).unwrap()),
                6 => Deed::Create(wish(rng, name)),
                _ => Deed::Rank(rng.random()),
            };
            deeds.push((time(rng, BEGIN * 2, UNREST), deed));
        }
        deeds.sort_by_key(|(time, _)| *time);
        let mut troubles: Vec<_> = (0..rng.random_range(1..7)).map(|_| trouble(rng)).collect();
        if rng.random_bool(0.7) {
            troubles.push(outage(rng));
        }
        for number in 0..rng.random_range(1..3) {
            let mood = mood(rng, turn + number * WHIMS.len() * 3 / 2);
            // Writes come when something is done.
            let deed = deeds.choose(rng).filter(|_| mood.of == Of::Writes || rng.random_bool(0.5));
            let deed = deed.map(|(time, _)| *time);
            troubles.extend(moody(rng, mood, deed));
        }
        Script { deeds, troubles, calm_from: None }
    }

    /// The moods that begin when nothing must move any more.
    pub(crate) fn calm_moods(&self) -> Vec<(&'static str, Mood)> {
        let moods = self.troubles.iter().filter(|trouble| Some(trouble.from) == self.calm_from);
        let mood = |trouble: &Trouble| match &trouble.fault {
            Fault::Mood(cluster, mood) => Some((*cluster, *mood)),
            _ => None,
        };
        moods.filter_map(mood).collect()
    }
}

/// The mood of a turn: all whims come before the requests that they are about change.
fn mood(rng: &mut StdRng, turn: usize) -> Mood {
    // Where reads fail, there are hardly any writes.
    let of = [Of::All, Of::Writes, Of::Reads, Of::Writes][turn / WHIMS.len() % 4];
    let retry_after = rng.random_bool(0.5).then(|| rng.random_range(1..=10));
    Mood { whim: WHIMS[turn % WHIMS.len()], of, retry_after, ends_watches: rng.random_bool(0.5) }
}

/// Some API servers have the same mood for a while. `deed`: soon after it begins, something is done.
fn moody(rng: &mut StdRng, mood: Mood, deed: Option<Duration>) -> Vec<Trouble> {
    let from = match deed {
        Some(deed) => deed.saturating_sub(time(rng, Duration::ZERO, Duration::from_millis(500))),
        None => time(rng, BEGIN, UNREST),
    };
    let longest = Duration::from_secs(if rng.random_bool(0.5) { 4 } else { 12 });
    let to = (from + time(rng, Duration::from_millis(500), longest)).min(UNREST + BEGIN);
    let number = rng.random_range(1..=CLUSTERS.len());
    let clusters = CLUSTERS.choose_multiple(rng, number);
    clusters.map(|cluster| Trouble { fault: Fault::Mood(cluster, mood), from, to }).collect()
}

fn trouble(rng: &mut StdRng) -> Trouble {
    let cluster = format!("kube-{}", CLUSTERS.choose(rng).unwrap());
    let mut one_of = |hosts: [&'static str; 2]| *hosts.choose(rng).unwrap();
    let (scheduler, adapter) = (one_of(SCHEDULERS), one_of(ADAPTERS));
    let clients = [scheduler, scheduler, COLLECTOR, adapter, adapter, adapter, "watcher", "user"];
    let (one, other) = match rng.random_range(0..4) {
        0 => (adapter.to_owned(), cluster.clone()),
        _ => ((*clients.choose(rng).unwrap()).to_owned(), "state".to_owned()),
    };
    let servers = ["state", scheduler, COLLECTOR, adapter, adapter, adapter, &cluster];
    let fault = match rng.random_range(0..6) {
        0 => Fault::Partition(one, other),
        1 => Fault::Hold(one, other),
        2 => Fault::Slow(one, other, time(rng, Duration::from_millis(50), Duration::from_millis(1500))),
        _ => Fault::Crash((*servers.choose(rng).unwrap()).to_owned()),
    };
    let from = time(rng, BEGIN, UNREST);
    let longest = if rng.random_bool(0.5) { Duration::from_millis(1500) } else { Duration::from_secs(9) };
    Trouble { fault, from, to: (from + time(rng, Duration::from_millis(50), longest)).min(UNREST + BEGIN) }
}

/// A cluster is down for so long that what runs there is started elsewhere, if it may be.
fn outage(rng: &mut StdRng) -> Trouble {
    let fault = Fault::Crash(format!("kube-{}", CLUSTERS.choose(rng).unwrap()));
    let from = time(rng, BEGIN * 2, UNREST / 2);
    Trouble { fault, from, to: from + time(rng, OFFLINE_GRACE * 3 / 2, OFFLINE_GRACE * 5 / 2) }
}

/// Latency of a link without trouble.
const USUAL: Duration = Duration::from_millis(20);

impl Fault {
    pub(crate) fn begin(&self, sim: &mut Sim<'_>, world: &World) {
        match self {
            Fault::Partition(one, other) => sim.partition(one.as_str(), other.as_str()),
            Fault::Hold(one, other) => sim.hold(one.as_str(), other.as_str()),
            Fault::Slow(one, other, time) => sim.set_link_latency(one.as_str(), other.as_str(), *time),
            Fault::Crash(host) => sim.crash(host.as_str()),
            Fault::Mood(cluster, mood) => world.clusters[cluster].moods.begin(*mood),
        }
    }

    pub(crate) fn end(&self, sim: &mut Sim<'_>, world: &World) {
        match self {
            Fault::Partition(one, other) => sim.repair(one.as_str(), other.as_str()),
            Fault::Hold(one, other) => sim.release(one.as_str(), other.as_str()),
            Fault::Slow(one, other, _) => sim.set_link_latency(one.as_str(), other.as_str(), USUAL),
            Fault::Crash(host) => sim.bounce(host.as_str()),
            Fault::Mood(cluster, mood) => world.clusters[cluster].moods.end(*mood),
        }
    }
}
