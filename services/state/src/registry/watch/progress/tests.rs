//! Laws of initial states that are read while objects change.

use std::collections::BTreeMap;
use std::time::Duration;

use krake_proto::Resource;
use krake_proto::krake::core::v1::Metric;
use krake_proto::krake::meta::v1::Metadata;
use proptest::prelude::*;
use prost::Message as _;
use tokio::task::JoinSet;

use super::*;
use crate::object::{key, value};
use crate::store::{MemoryStore, Store, Txn};

/// With an object of this size, two fill a message.
const SIZE: usize = MESSAGE_BYTES * 2 / 3;
const PATIENCE: Duration = Duration::from_secs(30);

/// A store, its cache, and the objects that a selector shows at each revision, as name and revision of the write.
struct World {
    store: Arc<MemoryStore>,
    cache: Arc<Cache>,
    shown: BTreeMap<String, Revision>,
    states: BTreeMap<Revision, BTreeMap<String, Revision>>,
    _feed: JoinSet<()>,
}

impl World {
    async fn start(objects: u8) -> Self {
        let (store, cache) = (Arc::new(MemoryStore::new()), Arc::new(Cache::default()));
        let mut feed = JoinSet::new();
        let (fed, from) = (cache.clone(), store.clone());
        feed.spawn(async move { fed.feed(from).await });
        let mut world =
            World { store, cache, shown: BTreeMap::default(), states: BTreeMap::default(), _feed: feed };
        for number in 0..objects {
            world.put(&[(number, true)]).await;
        }
        world
    }

    /// Writes objects in one commit; those that are not tagged are hidden.
    async fn put(&mut self, objects: &[(u8, bool)]) {
        let mut txn = Txn::new();
        for (number, tagged) in objects {
            let name = name(*number);
            let labels = tagged.then(|| ("tag".to_owned(), String::new()));
            let metadata = Metadata {
                name: name.clone(),
                labels: labels.into_iter().collect(),
                annotations: [("long".to_owned(), "x".repeat(SIZE))].into(),
                ..Default::default()
            };
            let metric = Metric { metadata: Some(metadata), ..Default::default() };
            let value = value::encode(Metric::KIND.message, &metric.encode_to_vec());
            txn = txn.put(key::resource(Metric::KIND, "ns", &name), value);
        }
        let revision = self.store.commit(txn).await.unwrap().unwrap();
        for (number, tagged) in objects {
            self.shown.remove(&name(*number));
            self.shown.extend(tagged.then(|| (name(*number), revision)));
        }
        self.reached(revision).await;
    }

    async fn delete(&mut self, number: u8) {
        let txn = Txn::new().delete(key::resource(Metric::KIND, "ns", &name(number)));
        let revision = self.store.commit(txn).await.unwrap().unwrap();
        self.shown.remove(&name(number));
        self.reached(revision).await;
    }

    async fn reached(&mut self, revision: Revision) {
        self.states.insert(revision, self.shown.clone());
        assert!(self.cache.reach(revision, PATIENCE).await);
    }

    fn watch(&self) -> Progress {
        let filter = Filter::request(Metric::KIND, "ns", "tag").unwrap();
        Progress::initial(filter, self.cache.revision())
    }
}

fn name(number: u8) -> String {
    format!("m{number:03}")
}

/// What a watch has told.
#[derive(Default)]
struct Told {
    objects: BTreeMap<String, Revision>,
    /// The last version that was told of each.
    versions: BTreeMap<String, Revision>,
    place: Revision,
    synced: bool,
}

impl Told {
    /// Takes a message. `states` tells what is shown at each revision.
    fn take(&mut self, message: &Message, states: &BTreeMap<Revision, BTreeMap<String, Revision>>) {
        assert!(message.revision >= self.place, "places do not go back");
        assert!(!(self.synced && message.synced), "once");
        assert!(!message.events.is_empty() || message.synced);
        self.place = message.revision;
        for (r#type, object) in &message.events {
            let name = object.metadata.name.clone();
            let is_new =
                self.versions.insert(name.clone(), object.revision).is_none_or(|told| told < object.revision);
            match r#type {
                EventType::Added | EventType::Modified => {
                    assert!(is_new, "{name} was told twice");
                    let before = self.objects.insert(name, object.revision);
                    assert_eq!(before.is_none(), *r#type == EventType::Added);
                }
                EventType::LeftFilter => assert!(is_new && self.objects.remove(&name).is_some(), "{name}"),
                _ => assert!(self.objects.remove(&name).is_some(), "{name} was not told of, and is erased"),
            }
        }
        self.synced |= message.synced;
        assert!(self.synced || message.partial, "nothing is whole before the end of the initial state");
        if self.synced && !message.partial {
            let (_, expected) = states.range(..=message.revision).next_back().unwrap();
            assert_eq!(&self.objects, expected, "at {}", message.revision);
        }
    }
}

/// Takes the next message, if there is one.
fn advance(progress: &mut Progress, world: &World, told: &mut Told) -> bool {
    loop {
        match progress.next(&world.cache).unwrap() {
            Step::Message(message) => {
                told.take(&message, &world.states);
                return true;
            }
            Step::Again => {}
            Step::UpToDate => return false,
        }
    }
}

#[derive(Debug, Clone)]
enum Act {
    Put(Vec<(u8, bool)>),
    Delete(u8),
    Read,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let object = (0..12_u8, proptest::bool::weighted(0.7));
    let objects = proptest::collection::btree_map(0..12_u8, proptest::bool::weighted(0.7), 1..8);
    proptest::collection::vec(
        prop_oneof![
            3 => object.prop_map(|object| Act::Put(vec![object])),
            1 => objects.prop_map(|objects| Act::Put(objects.into_iter().collect())),
            2 => (0..12_u8).prop_map(Act::Delete),
            5 => Just(Act::Read),
        ],
        0..40,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..Default::default() })]

    #[test]
    fn whatever_changes_meanwhile_the_receiver_has_each_state_once_and_ends_with_the_present(acts in acts()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::start(8).await;
            let (mut progress, mut told) = (world.watch(), Told::default());
            for act in acts {
                match act {
                    Act::Put(objects) => world.put(&objects).await,
                    Act::Delete(number) if world.shown.contains_key(&name(number)) => world.delete(number).await,
                    Act::Delete(_) => {}
                    Act::Read => {
                        advance(&mut progress, &world, &mut told);
                    }
                }
            }
            while advance(&mut progress, &world, &mut told) {}
            assert!(told.synced);
            assert_eq!(told.objects, world.shown);
        });
    }
}

#[tokio::test]
async fn a_message_is_bounded_and_a_watch_that_waits_keeps_no_objects() {
    let mut world = World::start(40).await;
    let (mut progress, mut told) = (world.watch(), Told::default());
    for _ in 0..5 {
        assert!(advance(&mut progress, &world, &mut told));
    }
    assert!(told.objects.len() <= 10 && progress.is_initial());
    let all: Vec<(u8, bool)> = (0..40).map(|number| (number, true)).collect();
    let before = world.cache.get(&key::resource(Metric::KIND, "ns", &name(30))).unwrap();
    let kept = Arc::strong_count(&before);
    for chunk in all.chunks(8) {
        world.put(chunk).await;
    }
    // In place of the cache itself the history holds it now.
    assert!(Arc::strong_count(&before) <= kept);
    while advance(&mut progress, &world, &mut told) {}
    assert_eq!(told.objects, world.shown);
}

#[tokio::test]
async fn who_does_not_keep_up_with_the_changes_is_told() {
    let store = Arc::new(MemoryStore::new());
    let cache = Arc::new(Cache::with_history(2));
    let mut feed = JoinSet::new();
    let (fed, from) = (cache.clone(), store.clone());
    feed.spawn(async move { fed.feed(from).await });
    let mut world =
        World { store, cache, shown: BTreeMap::default(), states: BTreeMap::default(), _feed: feed };
    for number in 0..8 {
        world.put(&[(number, true)]).await;
    }
    let (mut unread, mut slow) = (world.watch(), world.watch());
    assert!(matches!(slow.next(&world.cache), Ok(Step::Message(_))));
    for number in 0..4 {
        world.put(&[(number, true)]).await;
    }
    assert!(slow.next(&world.cache).is_err());
    let mut told = Told::default();
    while advance(&mut unread, &world, &mut told) {}
    assert_eq!(told.objects, world.shown, "one that has sent nothing has missed nothing");
}
