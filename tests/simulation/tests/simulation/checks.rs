//! What must hold at every step, and in the end; by looking into the store and the clusters from outside.

use std::collections::{BTreeMap, BTreeSet};

use futures::FutureExt;
use krake_proto::Resource;
use krake_proto::constraint::LabelConstraint;
use krake_proto::krake::kubernetes::v1::{Application, Cluster, MigrationStrategy, Phase};
use krake_proto::krake::kubernetes::v1::{ApplicationSpec, ApplicationStatus, Binding, Copy};
use krake_proto::krake::meta::v1::{Metadata, ResourceRef};
use krake_state::store::{Key, Page, Store};
use serde_json::Value;

use crate::calm::Held;
use crate::hosts::World;
use crate::mood::{Mood, Of};
use crate::seen::Seen;

/// Label of objects on clusters: uid of their application.
const APPLICATION: &str = krake_kubernetes::object::APPLICATION_LABEL;

/// What was seen so far.
#[derive(Default)]
pub(crate) struct Checker {
    pub(crate) seen: Seen,
    /// Who led each election last.
    leaders: BTreeMap<String, String>,
    /// Where each application was bound at the last look, by uid.
    bound: BTreeMap<String, String>,
    /// Where applications go that were moved away from an unreachable cluster, and have no copy there yet, by uid.
    failing_over: BTreeMap<String, String>,
    /// Where each application was last whose old copy goes first, by uid.
    places: BTreeMap<String, String>,
    /// What must not move any more.
    held: Held,
    /// Versions of the store and of the clusters at the last look.
    looked: Vec<i64>,
    /// Applications that were available at the last look, where a copy is recorded as running.
    serving: BTreeSet<String>,
    /// Applications that were released because no cluster was left, and whose copies may go since then, by uid.
    released: BTreeSet<String>,
}

/// Clusters by the uid of the application that has an object there, and whether that is available.
pub(crate) type Objects = BTreeMap<String, BTreeMap<String, bool>>;

fn stored<K: Resource>(world: &World) -> Vec<K> {
    let prefix = Key::from(format!("/krake/{}/{}/", K::KIND.api, K::KIND.plural));
    let page = Page { after: None, limit: 1000, at: None };
    let listing = world.store.list(&prefix, page).now_or_never().unwrap().unwrap();
    // Magic, format and key are five bytes; then the name of the message, with its length before it.
    let message = |value: &[u8]| K::decode(&value[6 + usize::from(value[5])..]).unwrap();
    listing.entries.iter().map(|entry| message(&entry.value)).collect()
}

fn objects(world: &World) -> Objects {
    let mut objects = Objects::new();
    for (name, cluster) in &world.clusters {
        for object in cluster.contents().deployments() {
            let uid = object["metadata"]["labels"][APPLICATION].as_str().unwrap_or_default().to_owned();
            let available = object["status"]["availableReplicas"].as_u64().unwrap_or(0) > 0;
            objects.entry(uid).or_default().insert((*name).to_owned(), available);
        }
    }
    objects
}

pub(crate) fn uid(application: &Application) -> &str {
    application.metadata.as_ref().map_or("", |metadata| &metadata.uid)
}

/// Names of the clusters that have a recorded copy, and its phase.
pub(crate) fn copies(application: &Application) -> BTreeMap<String, Phase> {
    let copies = application.status.iter().flat_map(|status| &status.copies);
    copies.map(|copy| (copy.cluster.clone().unwrap_or_default().name, copy.phase())).collect()
}

pub(crate) fn bound(application: &Application) -> Option<String> {
    let binding = application.status.as_ref()?.bindings.first()?;
    Some(binding.cluster.clone()?.name)
}

/// The cluster where an application runs, and nowhere else.
pub(crate) fn runs_on(application: &Application, objects: &Objects) -> Option<String> {
    let (place, places) = (bound(application)?, objects.get(uid(application))?);
    let runs = copies(application) == BTreeMap::from([(place.clone(), Phase::Running)])
        && *places == BTreeMap::from([(place.clone(), true)]);
    runs.then_some(place)
}

/// Names of the clusters that do not answer and are not being deleted.
fn unreachable(clusters: &[Cluster]) -> BTreeSet<String> {
    let silent =
        |cluster: &&Cluster| cluster.status.as_ref().is_some_and(|status| status.unreachable_since.is_some());
    let metadata = clusters.iter().filter(silent).filter_map(|cluster| cluster.metadata.as_ref());
    metadata.filter(|metadata| metadata.deleted.is_none()).map(|metadata| metadata.name.clone()).collect()
}

impl Checker {
    /// Looks at everything, if anything has changed; tells what is wrong.
    pub(crate) fn look(&mut self, world: &World) -> Vec<String> {
        let mut versions = vec![world.store.revision().now_or_never().unwrap().unwrap().0];
        versions.extend(world.clusters.values().map(|cluster| cluster.contents().version as i64));
        let mut wrong = std::mem::take(&mut *world.faults.lock().unwrap());
        if versions != self.looked {
            self.looked = versions;
            self.seen.effects = world.elections.effects();
            for (election, leader) in world.elections.leaders() {
                let former = self.leaders.insert(election, leader.clone());
                self.seen.takeovers += usize::from(former.is_some_and(|former| former != leader));
            }
            let (applications, clusters) = (stored::<Application>(world), stored::<Cluster>(world));
            self.count_failovers(&applications, &unreachable(&clusters));
            let going = clusters.into_iter().filter_map(|cluster| cluster.metadata);
            let going =
                going.filter(|metadata| metadata.deleted.is_some()).map(|metadata| metadata.name).collect();
            let objects = objects(world);
            self.check(&applications, &objects, &going, &mut wrong);
            wrong.extend(self.held.moved(&applications, &objects));
        }
        wrong
    }

    /// What was seen in the whole run.
    pub(crate) fn seen(mut self, world: &World) -> Seen {
        self.seen.seeds = 1;
        self.seen.seeds_with_failovers = usize::from(self.seen.failovers > 0);
        for cluster in world.clusters.values() {
            for (key, count) in cluster.moods.met() {
                *self.seen.met.entry(key).or_default() += count;
            }
        }
        self.seen
    }

    /// Whatever runs now must stay where it is from now on. Clusters get these moods.
    pub(crate) fn hold(&mut self, world: &World, moods: &[(&str, Mood)]) {
        self.held = Held::all(&stored(world), &objects(world));
        // By its answers to writes alone no cluster is judged.
        for (cluster, mood) in moods.iter().filter(|(_, mood)| mood.of != Of::Writes) {
            *self.seen.held.entry(mood.whim).or_default() += self.held.on(cluster);
        }
        self.seen.held.retain(|_, count| *count > 0);
    }

    /// Counts second copies that are begun after the binding left a cluster of `unreachable`, while the first is kept.
    fn count_failovers(&mut self, applications: &[Application], unreachable: &BTreeSet<String>) {
        let mut now = BTreeMap::new();
        for application in applications {
            let (uid, copies) = (uid(application).to_owned(), copies(application));
            let Some(bound) = bound(application) else { continue };
            let left = self.bound.get(&uid).filter(|before| **before != bound);
            if left.is_some_and(|left| unreachable.contains(left) && copies.contains_key(left)) {
                self.failing_over.insert(uid.clone(), bound.clone());
            }
            if self.failing_over.get(&uid).is_some_and(|place| copies.contains_key(place)) {
                self.failing_over.remove(&uid);
                self.seen.failovers += usize::from(copies.len() > 1);
            }
            now.insert(uid, bound);
        }
        self.bound = now;
    }

    /// `going`: names of the clusters that are being deleted.
    fn check(
        &mut self,
        applications: &[Application],
        objects: &Objects,
        going: &BTreeSet<String>,
        wrong: &mut Vec<String>,
    ) {
        // Those that are available, and those of them whose copy there is recorded as running: only that is a promise. A copy
        // that became available after it had failed may be on its way out.
        let (mut available, mut serving) = (BTreeSet::new(), BTreeSet::new());
        for (owner, places) in objects {
            let Some(application) = applications.iter().find(|application| uid(application) == owner) else {
                wrong.push(format!("an application that does not exist has objects on {places:?}"));
                continue;
            };
            let name = &application.metadata.clone().unwrap_or_default().name;
            let copies = copies(application);
            if let Some(stray) = places.keys().find(|place| !copies.contains_key(*place)) {
                wrong.push(format!("{name} has an object on {stray}, where no copy is recorded"));
            }
            let strategy = application.spec.as_ref().map(|spec| spec.migration_strategy());
            if strategy == Some(MigrationStrategy::DeleteFirst) {
                if places.len() > 1 {
                    wrong.push(format!("{name} wants the old copy to go first and is on {places:?}"));
                }
                for place in places.keys() {
                    let former = self.places.insert(owner.clone(), place.clone());
                    self.seen.delete_first_moves +=
                        usize::from(former.is_some_and(|former| former != *place));
                }
            }
            self.seen.handovers += usize::from(places.len() > 1);
            self.seen.deletions +=
                usize::from(application.metadata.as_ref().is_some_and(|metadata| metadata.deleted.is_some()));
            if places.values().any(|available| *available) {
                available.insert(owner.clone());
            }
            if places.iter().any(|(place, well)| *well && copies.get(place) == Some(&Phase::Running)) {
                serving.insert(owner.clone());
            }
        }
        for application in applications {
            let spec = application.spec.clone().unwrap_or_default();
            let metadata = application.metadata.clone().unwrap_or_default();
            // Released, it may lose what it has on clusters that go, or that was on its way out before.
            let copies = copies(application);
            let stays =
                |place: &String| !going.contains(place) && copies.get(place) != Some(&Phase::Removing);
            let places = objects.get(&metadata.uid).into_iter().flatten();
            if bound(application).is_none() && !places.into_iter().any(|(place, well)| *well && stays(place))
            {
                self.released.insert(metadata.uid.clone());
            }
            let stays = metadata.deleted.is_none()
                && !self.released.contains(&metadata.uid)
                && spec.migration_strategy() != MigrationStrategy::DeleteFirst;
            if stays && self.serving.contains(&metadata.uid) && !available.contains(&metadata.uid) {
                wrong.push(format!("{} is not available any more", metadata.name));
            }
        }
        self.released.retain(|uid| available.contains(uid));
        self.serving = serving;
    }
}

/// What is not as it must be in the end, when nothing is broken any more.
pub(crate) fn unsettled(world: &World) -> Vec<String> {
    if !*world.idle.lock().unwrap() {
        return vec!["the user is not done".to_owned()];
    }
    let (applications, clusters): (Vec<Application>, Vec<Cluster>) = (stored(world), stored(world));
    let objects = objects(world);
    let mut open = Vec::new();
    for cluster in &clusters {
        let metadata = cluster.metadata.clone().unwrap_or_default();
        if metadata.deleted.is_some() {
            open.push(format!("cluster {} is not gone yet: {:?}", metadata.name, metadata.finalizers));
        }
    }
    let mut known = BTreeMap::new();
    for application in &applications {
        let metadata = application.metadata.clone().unwrap_or_default();
        let places = objects.get(&metadata.uid).cloned().unwrap_or_default();
        let (bound, copies) = (bound(application), copies(application));
        known.insert(metadata.uid, metadata.resource_version);
        let seen = format!("{}: bound to {bound:?}, copies {copies:?}, on {places:?}", metadata.name);
        if metadata.deleted.is_some() {
            open.push(format!("{seen}: not erased yet, {:?}", metadata.finalizers));
            continue;
        }
        let feasible = clusters.iter().any(|cluster| fits(application, cluster));
        let runs = bound.as_ref().is_some_and(|bound| {
            places.len() == 1
                && places.get(bound) == Some(&true)
                && copies.len() == 1
                && copies.get(bound) == Some(&Phase::Running)
                && up_to_date(world, application, bound)
        });
        let waits = bound.is_none() && places.is_empty() && copies.is_empty();
        // What no cluster fits any more stays where it is.
        if !(runs || !feasible && (waits || places.len() == 1)) {
            open.push(seen);
        }
    }
    let told = world.told.lock().unwrap();
    if told.len() != known.len() || known.keys().any(|uid| !told.contains_key(uid)) {
        open.push(format!("the watcher knows {told:?}, there are {known:?}"));
    }
    open
}

fn fits(application: &Application, cluster: &Cluster) -> bool {
    let constraints = application.spec.as_ref().and_then(|spec| spec.constraints.clone()).unwrap_or_default();
    let labels = cluster.metadata.clone().unwrap_or_default().labels;
    let texts = constraints.cluster.unwrap_or_default().labels;
    texts.iter().all(|text| {
        let constraint = LabelConstraint::parse(text).unwrap();
        constraint.matches(&labels)
    })
}

/// Whether the object on the cluster is that of the present spec.
fn up_to_date(world: &World, application: &Application, cluster: &str) -> bool {
    let spec = application.spec.clone().unwrap_or_default();
    let text = spec.manifest.first().and_then(|manifest| manifest.document.clone()?.content);
    let Some(krake_proto::krake::meta::v1::document::Content::Json(text)) = text else { return false };
    let wanted: Value = serde_json::from_str(&text).unwrap();
    let contents = world.clusters[cluster].contents();
    let mut own =
        contents.deployments().filter(|object| object["metadata"]["labels"][APPLICATION] == uid(application));
    own.all(|object| object["spec"]["replicas"] == wanted["spec"]["replicas"])
}

#[test]
fn what_is_wrong_is_found() {
    let application = |bound: &str, strategy: MigrationStrategy| {
        let cluster = |name: &str| Some(ResourceRef { name: name.into(), ..Default::default() });
        let copy = |name| Copy { cluster: cluster(name), phase: Phase::Running.into(), ..Default::default() };
        Application {
            metadata: Some(Metadata { uid: "u".into(), ..Default::default() }),
            spec: Some(ApplicationSpec { migration_strategy: strategy.into(), ..Default::default() }),
            status: Some(ApplicationStatus {
                bindings: vec![Binding { cluster: cluster(bound), ..Default::default() }],
                copies: vec![copy("a"), copy("b")],
                ..Default::default()
            }),
        }
    };
    let places = |names: &[&str]| {
        let places = names.iter().map(|name| ((*name).to_owned(), true));
        Objects::from([("u".to_owned(), places.collect())])
    };
    let check = |checker: &mut Checker, applications: &[Application], objects: &Objects| {
        let mut wrong = Vec::new();
        checker.check(applications, objects, &BTreeSet::new(), &mut wrong);
        wrong.join("\n")
    };
    let first = |strategy, names: &[&str]| {
        check(&mut Checker::default(), &[application("a", strategy)], &places(names))
    };
    let (create, delete) = (MigrationStrategy::CreateFirst, MigrationStrategy::DeleteFirst);
    assert_eq!(first(create, &["a", "b"]), "");
    assert!(first(create, &["c"]).contains("no copy is recorded"));
    assert!(first(delete, &["a", "b"]).contains("the old copy to go first"));
    assert!(check(&mut Checker::default(), &[], &places(&["a"])).contains("does not exist"));
    let (mut checker, applications) = (Checker::default(), [application("a", create)]);
    assert_eq!(check(&mut checker, &applications, &places(&["b"])), "");
    assert!(check(&mut checker, &applications, &places(&[])).contains("not available any more"));
}

#[test]
fn a_second_copy_is_a_failover_only_if_the_first_is_on_a_cluster_that_does_not_answer() {
    let application = |bound: &str, places: &[&str]| {
        let cluster = |name: &str| Some(ResourceRef { name: name.into(), ..Default::default() });
        let copies = places.iter().map(|name| Copy { cluster: cluster(name), ..Default::default() });
        let bindings = vec![Binding { cluster: cluster(bound), ..Default::default() }];
        let status = ApplicationStatus { bindings, copies: copies.collect(), ..Default::default() };
        let metadata = Metadata { uid: "u".into(), ..Default::default() };
        Application { metadata: Some(metadata), status: Some(status), spec: None }
    };
    let failovers = |silent: &[&str], story: &[(&str, &[&str])]| {
        let mut checker = Checker::default();
        for (bound, places) in story {
            let silent = silent.iter().map(|name| (*name).to_owned()).collect();
            checker.count_failovers(&[application(bound, places)], &silent);
        }
        checker.seen.failovers
    };
    let moved: [(&str, &[&str]); 4] = [("a", &["a"]), ("b", &["a"]), ("b", &["a", "b"]), ("b", &["a", "b"])];
    assert_eq!(failovers(&["a"], &moved), 1);
    assert_eq!(failovers(&[], &moved), 0, "a handover");
    assert_eq!(failovers(&["a"], &moved[..2]), 0, "decided only");
    assert_eq!(failovers(&["a"], &[("a", &["a"]), ("b", &["a"]), ("b", &["b"])]), 0, "the first went before");
}
