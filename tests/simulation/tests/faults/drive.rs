//! One case, from the registration of its clusters to its verdict.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use krake_client::{DeleteOptions, Mask};
use krake_cluster_sim::{Faults, Rule};
use krake_proto::krake::kubernetes::v1::{Application, Cluster};
use tokio::time::Instant;

use crate::case::{Case, Situation, Verb};
use crate::known;
use crate::laws::{self, Allowed, Place};
use crate::shop::{self, APPLICATION, KINDS};
use crate::world::{REQUEST_DEADLINE, World};

/// How long a fault lasts once a request has met it: longer than the deadline of a request, so that one that hangs is
/// given up.
const FAULT: Duration = REQUEST_DEADLINE.saturating_add(Duration::from_millis(500));
/// Longest time that a fault lasts. Where no request has the verb, it ends with the end state before.
const LONGEST_FAULT: Duration = Duration::from_secs(180);
/// Number that is counted down by the requests that meet a fault: more than there will be.
const MANY: u32 = 1_000_000;
/// Watches are cut at this age where the fault is of watches, so that new ones are opened.
const WATCH_AGE_MS: u64 = 300;
/// Longest time until the end state, which pauses of the adapter and a busy machine take most of.
const SETTLING: Duration = Duration::from_secs(200);
/// The same of a case that is known to fail: soon on an idle machine, where the list of these cases is kept true.
const SETTLING_OF_KNOWN: Duration = Duration::from_secs(30);
/// How long the end state must stay.
const QUIET: Duration = Duration::from_secs(1);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// What came of a case.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// Number of requests that met the fault.
    pub(crate) met: u32,
    /// Time from the end of the fault to the end state.
    pub(crate) settled: Duration,
    /// What is wrong; nothing in a good case.
    pub(crate) wrong: Vec<String>,
}

/// What the end of a case is like.
#[derive(Clone, Copy, Debug)]
enum Goal {
    /// It runs on one cluster: on this one, if there is a choice to make.
    Running(Option<&'static str>),
    /// It is gone.
    Gone,
}

struct Run<'a> {
    world: &'a World,
    case: Case,
    /// Namespace in Krake, and the beginning of the clusters' names.
    name: String,
    places: [Place; 2],
    /// Number of requests that met the fault, once it is over.
    met: AtomicU32,
}

/// Runs a case.
pub(crate) async fn run(world: &World, case: Case) -> Verdict {
    let name = case.name();
    let mut places = Vec::new();
    for site in ["one", "two"] {
        let full = format!("{name}-{site}");
        let place = Place::prepare(site, world.fleet.add(&full).unwrap()).await;
        let kubeconfig = world.fleet.kubeconfig(&full).unwrap();
        world.client.api().create(&shop::cluster(&name, site, kubeconfig)).await.unwrap();
        places.push(place);
    }
    let run = Run { world, case, name, places: places.try_into().ok().unwrap(), met: AtomicU32::new(0) };
    let mut verdict = tokio::select! {
        verdict = run.story() => verdict,
        wrong = laws::not_allowed(&run.places, Allowed::of(case)) => {
            Verdict { met: run.met().max(run.met.load(Ordering::Relaxed)), settled: Duration::ZERO, wrong: vec![wrong] }
        }
    };
    verdict.wrong.extend(run.places.iter().flat_map(Place::touched));
    run.clean_up().await;
    verdict
}

impl Run<'_> {
    async fn story(&self) -> Verdict {
        let site = (self.case.situation == Situation::Handover).then_some("one");
        let application = shop::application(&self.name, self.case.strategy, site);
        let applications = self.world.client.api::<Application>();
        if self.case.situation != Situation::Placement {
            applications.create(&application).await.unwrap();
            let begun = self.settle(Goal::Running(site)).await;
            if !begun.wrong.is_empty() {
                let wrong = begun.wrong.into_iter().map(|wrong| format!("before the fault: {wrong}"));
                return Verdict { wrong: wrong.collect(), ..begun };
            }
        }
        self.set_faults(&self.faults());
        let goal = match self.case.situation {
            Situation::Placement => {
                applications.create(&application).await.unwrap();
                Goal::Running(None)
            }
            Situation::Drift => {
                self.interfere();
                Goal::Running(None)
            }
            Situation::Handover => {
                let moved = shop::application(&self.name, self.case.strategy, Some("two"));
                applications.update(&moved, Mask::fields(["spec"])).await.unwrap();
                Goal::Running(Some("two"))
            }
            Situation::Removal => {
                let options = DeleteOptions::default();
                applications.delete(&self.name, APPLICATION, &options).await.unwrap();
                Goal::Gone
            }
        };
        let met = self.fault_has_lasted(goal).await;
        self.met.store(met, Ordering::Relaxed);
        self.set_faults(&Faults::default());
        let settled = self.settle(goal).await;
        // Otherwise the case shows nothing.
        let unmet = (met == 0 && self.case.must_meet()).then(|| "no request met the fault".to_owned());
        Verdict { met, wrong: settled.wrong.into_iter().chain(unmet).collect(), ..settled }
    }

    /// The faults of both clusters: of the verb, for the kinds of the application.
    fn faults(&self) -> Faults {
        let Case { verb, trouble, .. } = self.case;
        let kinds = KINDS.map(str::to_owned).to_vec();
        let rule = Rule { verbs: vec![verb.rule()], kinds, fault: trouble.fault(), times: Some(MANY) };
        Faults {
            rules: vec![rule],
            // What is open goes on, so that lists and watches would not meet a fault.
            expire_watches: verb == Verb::List,
            cut_watches_after_ms: (verb == Verb::Watch).then_some(WATCH_AGE_MS),
            ..Faults::default()
        }
    }

    fn set_faults(&self, faults: &Faults) {
        for place in &self.places {
            place.cluster.set_faults(faults.clone());
        }
    }

    /// Number of requests that met the fault so far.
    fn met(&self) -> u32 {
        let rules = self.places.iter().flat_map(|place| place.cluster.faults().rules);
        rules.map(|rule| MANY - rule.times.unwrap_or(MANY)).sum()
    }

    /// Waits until requests have met the fault for long enough, or it hinders nothing; returns how many met it.
    async fn fault_has_lasted(&self, goal: Goal) -> u32 {
        let begun = Instant::now();
        let (mut first_met, mut settled) = (None, None);
        loop {
            tokio::time::sleep(LOOK).await;
            let elapsed = begun.elapsed();
            if self.met() > 0 {
                first_met.get_or_insert(elapsed);
            }
            if self.open(goal).is_empty() {
                settled.get_or_insert(elapsed);
            } else {
                settled = None;
            }
            let over =
                |since: Option<Duration>, long: Duration| since.is_some_and(|since| elapsed - since >= long);
            if elapsed >= LONGEST_FAULT
                || over(first_met, FAULT)
                || first_met.is_none() && over(settled, QUIET)
            {
                return self.met();
            }
        }
    }

    /// Changes and deletes objects of the application by hand.
    fn interfere(&self) {
        let place = self.places.iter().find(|place| place.holds()).unwrap();
        let [_, mut workload, _] = shop::manifest();
        workload["spec"]["replicas"] = 5.into();
        assert!(place.cluster.apply(shop::WORKLOAD, &workload).is_some());
        assert!(place.cluster.delete(shop::SETTINGS));
    }

    /// What is not as it must be in the end.
    fn open(&self, goal: Goal) -> Vec<String> {
        let application = self.world.application(&self.name);
        match goal {
            Goal::Running(site) => laws::not_running(application.as_ref(), &self.places, site),
            Goal::Gone => laws::not_gone(application.as_ref(), &self.places),
        }
    }

    /// Waits for the end state.
    async fn settle(&self, goal: Goal) -> Verdict {
        let begun = Instant::now();
        // Before the fault, a known case is as any other.
        let known = self.met.load(Ordering::Relaxed) > 0 && known::reason(self.case).is_some();
        let longest = if known { SETTLING_OF_KNOWN } else { SETTLING };
        let mut since = None;
        loop {
            let open = self.open(goal);
            let elapsed = begun.elapsed();
            let wrong = match (open.is_empty(), since) {
                (true, None) => {
                    since = Some(elapsed);
                    Vec::new()
                }
                (true, Some(since)) if elapsed - since >= QUIET => {
                    return Verdict { met: 0, settled: since, wrong: Vec::new() };
                }
                (true, Some(_)) => Vec::new(),
                (false, _) => {
                    since = None;
                    open
                }
            };
            if elapsed > longest && !wrong.is_empty() {
                return Verdict { met: 0, settled: elapsed, wrong };
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Lets go of what the case has used, so that it costs the others nothing.
    async fn clean_up(&self) {
        self.set_faults(&Faults::default());
        let (client, options) = (&self.world.client, DeleteOptions::default());
        // Of a removal it is gone already.
        let _ = client.api::<Application>().delete(&self.name, APPLICATION, &options).await;
        for place in &self.places {
            client.api::<Cluster>().delete(&self.name, place.site, &options).await.unwrap();
        }
    }
}
